// SPDX-License-Identifier: GPL-2.0

//! Records of writes to the bus, in a ring that userspace can map and consume.
//!
//! There is any number of producers in any context, and no lock. A producer reserves the next place by one
//! compare-exchange of `tail`, fills it, and publishes it by the record's sequence number, which the
//! consumer reads first. `head` is the only word that the module reads back from memory that userspace can
//! write. Its value only decides about room.

use crate::{
    bus::region::Access,
    kernel_ext::{
        compat::{
            with_interrupts_disabled,
            ENOBUFS, //
        },
        fetch_or::fetch_or,
        iov::revert,
        mmap_pages::MmapPages,
        poll_queue::PollQueue, //
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

/// A record, or a part of the header of the same size. It consists of atomic words, because userspace may
/// write to them at any time. The fields of `struct doorbell_record` are, in this order, three words and
/// the two halves of a word.
type Words = [Atomic<u64>; 4];

/// The size of a record.
const RECORD: usize = size_of::<doorbell_record>();

/// The number of records that read(2) copies at once.
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

/// A flag in `tail`: producers wake the waiters for the file. A producer that finds it takes the path of a
/// full ring. There never are that many records.
const POLLED: u64 = 1 << 63;

/// Returns true if a ring of `len` records with the tail `tail`, without [`POLLED`], has room. An impossible
/// `head` is a full ring.
#[inline(always)]
fn has_room(tail: u64, head: u64, len: u64) -> bool {
    matches!(tail.checked_sub(head), Some(used) if used < len)
}

/// The records of a context.
pub(crate) struct Records {
    pages: Arc<MmapPages<Words>>,
    /// Number of records, a power of two.
    len: u64,
    /// Number of places reserved so far, and [`POLLED`].
    tail: Atomic<u64>,
    /// Number of writes that found no room.
    refused: Atomic<u64>,
    /// The waiters for the file.
    poll: Arc<PollQueue>,
    /// Not zero once all producers see [`POLLED`].
    polled: Atomic<u32>,
}

impl Records {
    /// Creates a ring of `len` records, a power of two. `poll` has the waiters for the file. Process
    /// context.
    pub(crate) fn new(len: u32, poll: Arc<PollQueue>, flags: Flags) -> Result<Arc<Self>> {
        let words = || [const { Atomic::new(0u64) }; 4];
        let (pages, _) = MmapPages::new(HEADER + len as usize, words, flags)?;
        let records = Self {
            pages,
            len: u64::from(len),
            tail: Atomic::new(0),
            refused: Atomic::new(0),
            poll,
            polled: Atomic::new(0),
        };
        Ok(Arc::new(records, flags)?)
    }

    /// Returns the size of the ring in records.
    pub(crate) fn len(&self) -> u32 {
        self.len as u32
    }

    /// Returns the number of writes that were recorded. Any context.
    pub(crate) fn recorded(&self) -> u64 {
        // ORDERING: None: a count for statistics, of any moment of the call.
        self.tail.load(Relaxed) & !POLLED
    }

    /// Returns the number of writes that found no room. Any context.
    pub(crate) fn refused(&self) -> u64 {
        // ORDERING: None: a count for statistics, of any moment of the call.
        self.refused.load(Relaxed)
    }

    /// Maps the ring to `vma`, from the start. Call it in an mmap hook.
    ///
    /// # Errors
    ///
    /// EINVAL, EACCES: see the UAPI header.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        self.pages.map_writable(vma)
    }

    /// Returns true once each record that is stored wakes the waiters. Process context.
    pub(crate) fn is_polled(&self) -> bool {
        // ORDERING: Pairs with `Records::set_polled`: the producers that began before `start_polling` have
        // ended.
        self.polled.load(Acquire) != 0
    }

    /// Tells producers that reserve a place from now on to wake the waiters. Process context.
    pub(crate) fn start_polling(&self) {
        fetch_or(&self.tail, POLLED);
    }

    /// Records that no producer is left that began before [`Records::start_polling`]. Process context.
    pub(crate) fn set_polled(&self) {
        // ORDERING: Pairs with `Records::is_polled`: the grace period that the caller has waited for comes
        // before.
        self.polled.store(1u32, Release);
    }

    /// Returns true if there is a record to consume. Any context.
    pub(crate) fn is_available(&self) -> bool {
        // ORDERING: The head pairs with `Records::read` or the consumer in userspace, `RecordMapping::take`. The
        // sequence number pairs with `Records::store`.
        let head = self.head().load(Acquire);
        self.place(head)[0].load(Acquire) == head.wrapping_add(1)
    }

    #[inline]
    fn head(&self) -> &Atomic<u64> {
        &self.pages.objects()[0][0]
    }

    #[inline]
    fn place(&self, position: u64) -> &Words {
        &self.pages.objects()[HEADER + (position & (self.len - 1)) as usize]
    }

    /// Records `access`.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    ///
    /// # Errors
    ///
    /// ENOBUFS: there is no room. This is counted.
    #[inline]
    pub(crate) fn record(&self, access: &Access) -> Result {
        // A producer that is interrupted after it has reserved a place would hide later records.
        with_interrupts_disabled(|| self.record_uninterrupted(access))
    }

    /// Does what [`Records::record`] does. Interrupts are off.
    #[inline(always)]
    fn record_uninterrupted(&self, access: &Access) -> Result {
        // ORDERING: The head pairs with `Records::read`, and with `RecordMapping::take` of the client library:
        // the consumer has read the place before this writes to it. The tail needs no order: its exchange only
        // makes the place this caller's, and `Records::store` publishes the record.
        let mut tail = self.tail.load(Relaxed);
        loop {
            // Acquire: the consumer has read the place before it advances `head`.
            let head = self.head().load(Acquire);
            // With the flag, the difference to a head that userspace has made up could be small.
            if tail & POLLED != 0 || !has_room(tail, head, self.len) {
                // A head beyond the tail is impossible, unless other producers have advanced the tail since
                // it was read, and the consumer has consumed their records.
                let now = self.tail.load(Relaxed);
                if now != tail {
                    tail = now;
                    continue;
                }
                return self.record_polled(access);
            }
            match self.tail.cmpxchg(tail, tail.wrapping_add(1), Relaxed) {
                Ok(_) => break,
                Err(now) => tail = now,
            }
        }
        self.store(tail, access);
        Ok(())
    }

    /// Stores `access` at the place `tail`, which the caller has reserved.
    #[inline(always)]
    fn store(&self, tail: u64, access: &Access) {
        let [sequence, addr, value, shape] = self.place(tail);
        // ORDERING: Pairs with `Records::copy`, and with `RecordMapping::take` of the client library: the record
        // is complete before its sequence number.
        addr.store(access.addr(), Relaxed);
        value.store(access.value(), Relaxed);
        shape.store(two_halves(access.length(), access.space()), Relaxed);
        sequence.store(tail.wrapping_add(1), Release);
    }

    /// Does what [`Records::record`] does if the file was polled, and wakes the waiters. Otherwise, or if
    /// there is no room, counts the write as refused. Interrupts are off.
    #[cold]
    fn record_polled(&self, access: &Access) -> Result {
        loop {
            // ORDERING: As in `record()`; the head pairs with `Records::read`.
            let now = self.tail.load(Relaxed);
            let tail = now & !POLLED;
            // As in `record()`.
            let head = self.head().load(Acquire);
            if now == tail || !has_room(tail, head, self.len) {
                if self.tail.load(Relaxed) != now {
                    continue;
                }
                self.refused.fetch_add(1u64, Relaxed);
                return Err(ENOBUFS);
            }
            if self.tail.cmpxchg(now, now.wrapping_add(1), Relaxed).is_ok() {
                self.store(tail, access);
                // Not here: the caller may be in the callback of a wake-up.
                self.poll.wake_later();
                return Ok(());
            }
        }
    }

    /// Copies records from the position `head` on to `block`, and returns the number of bytes. The caller
    /// has to check afterwards that `head` has not advanced.
    fn copy(&self, head: u64, block: &mut [u8]) -> usize {
        let mut done = 0;
        for (position, record) in (head..u64::MAX).zip(block.chunks_exact_mut(RECORD)) {
            let words = self.place(position);
            // ORDERING: Pairs with `Records::store`: a record with its sequence number is complete.
            // `Records::read` checks the head afterwards, so that no next record is mixed in.
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

    /// Consumes as many records as exist and fit.
    ///
    /// No lock is held during the copy to userspace, which can take any time. A compare-exchange of `head`
    /// consumes a block after it was copied. If another reader was faster, this one tries again from the
    /// new `head`.
    ///
    /// # Context
    ///
    /// Process context. May sleep.
    ///
    /// # Errors
    ///
    /// EINVAL: no record fits. EAGAIN: there is none. EFAULT: none could be copied. ERESTARTSYS: other
    /// readers were faster until a signal arrived.
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
            // ORDERING: The load pairs with the exchange of another reader in `Records::read`. The exchange pairs
            // with the load in `Records::record_uninterrupted`: this reader has copied the records before a producer
            // overwrites them.
            let head = self.head().load(Acquire);
            let len = self.copy(head, &mut block[..room]);
            let copied = iov.copy_to_iter(&block[..len]);
            let taken = copied - copied % RECORD;
            let next = head + (taken / RECORD) as u64;
            // Fully ordered: the records were read before. If there is none, the exchange checks that this
            // is true of the present `head`.
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
            // Here at least one record has been read.
            if current!().signal_pending() {
                break;
            }
        }
        if done == 0 {
            return Err(error);
        }
        Ok(done)
    }
}

/// Returns the word that has `first` and `second`, in this order, in memory.
fn two_halves(first: u32, second: u32) -> u64 {
    let (first, second) = (u64::from(first), u64::from(second));
    if cfg!(target_endian = "little") {
        first | (second << 32)
    } else {
        (first << 32) | second
    }
}
