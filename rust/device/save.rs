// SPDX-License-Identifier: GPL-2.0

//! DOORBELL_SAVE and DOORBELL_RESTORE.

use super::{
    argument::{
        check_flags,
        check_reserved,
        Argument, //
    },
    DoorbellFile, //
};
use crate::{
    bus::Failed,
    context::{
        pause_after,
        Context, //
    },
    kernel_ext::{
        alloc::user_alloc_flags,
        task::fatal_signal_pending, //
    },
    line::save::SavedLine,
    uapi::{
        doorbell_restore,
        doorbell_save,
        doorbell_saved_line,
        DOORBELL_SAVED_LINE_SIZE,
        DOORBELL_SAVED_LINE_SIZE_MAX, //
    }, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// The size of a record that this module knows all of.
const KNOWN: usize = size_of::<doorbell_saved_line>();

// The sizes of later versions are larger, and this one stays possible.
const _: () = assert!(KNOWN == DOORBELL_SAVED_LINE_SIZE as usize);

/// The caller's array of records.
struct Records {
    at: UserPtr,
    size: usize,
    len: usize,
}

impl Records {
    /// Returns the array of `len` records of `size` bytes at the address `at`.
    ///
    /// # Errors
    ///
    /// EINVAL, EFAULT: see the UAPI header.
    fn new(at: u64, size: u32, len: u32) -> Result<Self> {
        let sizes = DOORBELL_SAVED_LINE_SIZE..=DOORBELL_SAVED_LINE_SIZE_MAX;
        if len == 0 || !sizes.contains(&size) || size as usize % size_of::<u64>() != 0 {
            return Err(EINVAL);
        }
        Ok(Self {
            at: UserPtr::from_addr(usize::try_from(at).map_err(|_| EFAULT)?),
            size: size as usize,
            len: len as usize,
        })
    }

    fn slice(&self) -> UserSlice {
        UserSlice::new(self.at, self.size * self.len)
    }

    /// Returns the number of bytes of a record that are not known.
    fn tail(&self) -> usize {
        self.size - KNOWN
    }

    /// Calls `f` for the pieces of a tail, until it fails.
    fn each_piece(&self, mut f: impl FnMut(&mut [u8]) -> Result) -> Result {
        let mut left = self.tail();
        while left != 0 {
            let mut piece = [0u8; 64];
            let len = left.min(piece.len());
            f(&mut piece[..len])?;
            left -= len;
        }
        Ok(())
    }

    /// Writes the records of the lines from `first` on.
    fn write(&self, context: &Context, first: u32) -> Result {
        let lines = || {
            let part = context.lines().part(first as usize, self.len);
            part.ok_or(ENXIO)
        };
        let mut writer = self.slice().writer();
        // What is owed for many lines takes long. If the task is killed, the loop below ends after its first line.
        context.settle(lines()?.iter().take_while(|_| !fatal_signal_pending()));
        for (line, index) in lines()?.iter().zip(0..) {
            let usage = context.usage_of(first + index);
            writer.write(&doorbell_saved_line {
                nr_irqfds: usage.irqfds,
                nr_triggers: usage.triggers,
                nr_notifiers: usage.notifiers,
                nr_resamplefds: usage.resamplefds,
                nr_unmaskfds: usage.unmaskfds,
                nr_ackfds: usage.ackfds,
                ..context.save(line).to_record()
            })?;
            self.each_piece(|zeroes| writer.write_slice(zeroes))?;
            next(index)?;
        }
        Ok(())
    }

    /// Reads all records.
    fn read(&self) -> Result<KVVec<SavedLine>, Failed> {
        let mut reader = self.slice().reader();
        let mut records = KVVec::with_capacity(self.len, user_alloc_flags())?;
        for index in 0..self.len as u32 {
            let mut read = || {
                let record = reader.read::<doorbell_saved_line>()?;
                self.each_piece(|piece| {
                    reader.read_slice(piece)?;
                    if piece.iter().any(|&byte| byte != 0) {
                        return Err(E2BIG);
                    }
                    Ok(())
                })?;
                SavedLine::from_record(&record)
            };
            let record = read().map_err(Failed::at(index))?;
            // Cannot fail: there is room.
            let _ = records.push_within_capacity(record);
            next(index)?;
        }
        Ok(records)
    }
}

/// Lets other tasks run after some records, of which `index` is the last.
///
/// # Errors
///
/// EINTR: the task was killed.
fn next(index: u32) -> Result {
    pause_after(index);
    if fatal_signal_pending() {
        return Err(EINTR);
    }
    Ok(())
}

impl DoorbellFile {
    /// Handles DOORBELL_SAVE.
    #[inline(never)]
    pub(super) fn save(&self, arg: &Argument) -> Result {
        let save: doorbell_save = arg.read()?;
        check_flags(save.flags, 0)?;
        check_reserved(&save.reserved)?;
        let records = Records::new(save.lines, save.record_size, save.nr_lines)?;
        records.write(self.context()?, save.line)
    }

    /// Handles DOORBELL_RESTORE.
    #[inline(never)]
    pub(super) fn restore(&self, arg: &Argument) -> Result {
        let mut restore: doorbell_restore = arg.read()?;
        // Written first: the lines could not be reset if this failed later.
        restore.failed = u32::MAX;
        arg.write(&restore)?;
        check_flags(restore.flags, 0)?;
        check_reserved(&restore.reserved)?;
        let records = Records::new(restore.lines, restore.record_size, restore.nr_lines)?;
        let context = self.context()?;
        let lines = context.lines();
        if lines.part(restore.line as usize, records.len).is_none() {
            return Err(ENXIO);
        }
        let restored = records
            .read()
            .and_then(|records| context.restore(restore.line, &records));
        restored.map_err(|failed| {
            if let Some(index) = failed.index {
                restore.failed = index;
                // If it cannot be written any more, there is still the error.
                let _ = arg.write(&restore);
            }
            failed.error
        })
    }
}
