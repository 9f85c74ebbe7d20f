// SPDX-License-Identifier: GPL-2.0

//! Kept values: what was written to the bus, in a ring that userspace can take it out of by itself.
//!
//! Any number of producers in any context, no lock: a producer takes the next place by one
//! compare-exchange of `tail`, fills it, and then says so by the record's sequence number, which is
//! what the consumer looks at. The only thing that is ever read back from memory that userspace can
//! write is `head`, and whatever is there, it only decides whether there is room.

use crate::{
    bus::region::Access,
    kernel_ext::{
        iov::revert,
        mmap_pages::MmapPages, //
    },
    uapi::{
        doorbell_record,
        doorbell_record_ring, //
    }, //
};
use core::mem::offset_of;
use kernel::{
    alloc::Flags,
    current,
    interrupt::local_interrupt_disable,
    iov::IovIterDest,
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

/// A record, or as much of what comes before them: nothing but words, because userspace may write
/// there at any time. The fields of `struct doorbell_record` are, in this order, three words and two
/// halves of one.
type Words = [Atomic<u64>; 4];

/// The size of a record.
const RECORD: usize = size_of::<doorbell_record>();

/// How many records read(2) takes at once.
const BLOCK: usize = 16;

const HEADER: usize = offset_of!(doorbell_record_ring, records) / size_of::<Words>();

const _: () = {
    const WORD: usize = size_of::<u64>();
    assert!(size_of::<doorbell_record>() == size_of::<Words>());
    assert!(offset_of!(doorbell_record_ring, head) == 0);
    assert!(offset_of!(doorbell_record_ring, records) % size_of::<Words>() == 0);
    assert!(offset_of!(doorbell_record, sequence) == 0);
    assert!(offset_of!(doorbell_record, addr) == WORD);
    assert!(offset_of!(doorbell_record, value) == 2 * WORD);
    assert!(offset_of!(doorbell_record, length) == 3 * WORD);
    assert!(offset_of!(doorbell_record, space) == 3 * WORD + WORD / 2);
};

/// The records of a context.
pub(crate) struct Records {
    pages: Arc<MmapPages<Words>>,
    /// How many, a power of two.
    len: u64,
    /// How many places have been taken.
    tail: Atomic<u64>,
    /// How many writes found no room.
    refused: Atomic<u64>,
}

impl Records {
    /// Room for `len` records, a power of two. Process context.
    pub(crate) fn new(len: u32, flags: Flags) -> Result<Arc<Self>> {
        let words = || [const { Atomic::new(0u64) }; 4];
        let (pages, _) = MmapPages::new(HEADER + len as usize, words, flags)?;
        let records = Self {
            pages,
            len: u64::from(len),
            tail: Atomic::new(0),
            refused: Atomic::new(0),
        };
        Ok(Arc::new(records, flags)?)
    }

    /// How many there is room for.
    pub(crate) fn len(&self) -> u32 {
        self.len as u32
    }

    /// Returns the number of writes that were recorded. Any context.
    pub(crate) fn recorded(&self) -> u64 {
        self.tail.load(Relaxed)
    }

    /// How many writes found no room. Any context.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Maps them to `vma`, from the start. In an mmap hook.
    ///
    /// EINVAL, EACCES: see the UAPI header.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        self.pages.map_writable(vma)
    }

    #[inline]
    fn head(&self) -> &Atomic<u64> {
        &self.pages.objects()[0][0]
    }

    #[inline]
    fn place(&self, position: u64) -> &Words {
        &self.pages.objects()[HEADER + (position & (self.len - 1)) as usize]
    }

    /// Keeps `access`. Any context but NMI.
    ///
    /// ENOBUFS: there is no room, and this has been counted.
    #[inline]
    pub(crate) fn record(&self, access: &Access) -> Result {
        // Who is interrupted between the two steps would keep the consumer from what comes after.
        let _interrupts = local_interrupt_disable();
        let mut tail = self.tail.load(Relaxed);
        loop {
            // The consumer is done with the place before it says so.
            let head = self.head().load(Acquire);
            let has_room = matches!(tail.checked_sub(head), Some(used) if used < self.len);
            if !has_room {
                // A head that is beyond the tail cannot be; unless others have gone on, and what they
                // wrote has been taken out, since the tail was read.
                let now = self.tail.load(Relaxed);
                if now != tail {
                    tail = now;
                    continue;
                }
                self.refused.fetch_add(1u64, Relaxed);
                return Err(ENOBUFS);
            }
            match self.tail.cmpxchg(tail, tail + 1, Relaxed) {
                Ok(_) => break,
                Err(now) => tail = now,
            }
        }
        let [sequence, addr, value, shape] = self.place(tail);
        addr.store(access.addr(), Relaxed);
        value.store(access.value(), Relaxed);
        shape.store(two_halves(access.length(), access.space()), Relaxed);
        sequence.store(tail + 1, Release);
        Ok(())
    }

    /// Copies records to `block` from the position `head` on, and returns the number of bytes. That
    /// they are still the ones at `head` has to be checked afterwards.
    fn look(&self, head: u64, block: &mut [u8]) -> usize {
        let mut done = 0;
        for (position, record) in (head..u64::MAX).zip(block.chunks_exact_mut(RECORD)) {
            let words = self.place(position);
            if words[0].load(Acquire) != position + 1 {
                break;
            }
            for (bytes, word) in record.chunks_exact_mut(size_of::<u64>()).zip(words) {
                bytes.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
            }
            done += RECORD;
        }
        done
    }

    /// Takes records out, as many as there are and as fit. Process context, may sleep.
    ///
    /// No lock is held while they are copied to userspace, which can take any time. A block of them is
    /// taken by a compare-exchange of `head` after it has been copied. If another reader was faster, the
    /// block is its own, and this one tries again from the new `head`.
    ///
    /// # Errors
    ///
    /// EINVAL: not even one fits. EAGAIN: there is none. EFAULT: none could be copied. ERESTARTSYS: other
    /// readers were faster until a signal came.
    pub(crate) fn read(&self, iov: &mut IovIterDest<'_>) -> Result<usize> {
        if iov.len() < RECORD {
            return Err(EINVAL);
        }
        let mut block = [0u8; BLOCK * RECORD];
        let mut done = 0;
        let mut error = EAGAIN;
        while iov.len() >= RECORD {
            let before = iov.len();
            let room = block.len().min(before);
            let head = self.head().load(Acquire);
            let len = self.look(head, &mut block[..room]);
            let copied = iov.copy_to_iter(&block[..len]);
            let taken = copied - copied % RECORD;
            let next = head + (taken / RECORD) as u64;
            // Fully ordered: what was read of the records was read before. If there is nothing to take,
            // this says whether that is true of the present `head`.
            if self.head().cmpxchg(head, next, Full).is_err() {
                revert(iov, before);
                if current!().signal_pending() {
                    error = ERESTARTSYS;
                    break;
                }
                continue;
            }
            done += taken;
            if copied < len {
                error = EFAULT;
                break;
            }
            if len < room - room % RECORD {
                break;
            }
        }
        if done == 0 {
            return Err(error);
        }
        Ok(done)
    }
}

/// A word with `first` in its first half and `second` in its second, in memory.
fn two_halves(first: u32, second: u32) -> u64 {
    let (first, second) = (u64::from(first), u64::from(second));
    if cfg!(target_endian = "little") {
        first | (second << 32)
    } else {
        (first << 32) | second
    }
}
