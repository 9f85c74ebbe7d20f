// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::sys::ValueMapping;
use std::{fmt, hint};

/// The last value written to a region, and the number of writes, from [`Values::read`].
///
/// # Examples
///
/// ```
/// use doorbell::Value;
///
/// let (before, now) = (Value { value: 7, writes: 3 }, Value { value: 9, writes: 8 });
/// assert_eq!(now.writes - before.writes - 1, 4, "values that were overwritten unseen");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Value {
    /// The value; bits beyond the length of the write are zero.
    pub value: u64,
    /// Number of writes.
    pub writes: u64,
}

/// The mapped last values of a context, from [`Context::map_values`](crate::Context::map_values).
///
/// Each slot has the last value that was written to the [`Region`](crate::Region) with that
/// [`last`](crate::Region::last). A write is stored before the region's eventfd or line signals it. No
/// write is refused for lack of room, which is the difference to records. This is the shadow ioeventfd of
/// libvfio-user: value, count and wake-up.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, EventFd, Region, Target};
///
/// let context = Context::open()?;
/// context.set_lines(1)?;
/// context.set_values(64)?;
/// let values = context.map_values()?;
/// let kick = EventFd::new(0)?;
/// context.assign_region(&Region::mmio(0x1000, 4).last(5), Target::eventfd(&kick))?;
/// loop {
///     kick.read()?;
///     println!("the tail is {:#x} now", values.value(5));
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Values(ValueMapping);

impl Values {
    pub(crate) fn new(mapping: ValueMapping) -> Self {
        Self(mapping)
    }

    /// Returns the number of slots.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.set_values(64)?;
    /// assert_eq!(context.map_values()?.slots(), 64);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn slots(&self) -> u32 {
        self.0.slots()
    }

    /// Returns the last value of `slot`, zero if none was written. This is one load.
    ///
    /// # Panics
    ///
    /// Panics if there is no such slot.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// # let values = context.map_values()?;
    /// println!("{:#x}", values.value(5));
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn value(&self, slot: u32) -> u64 {
        self.0.value(slot)
    }

    /// Returns the last value of `slot` and the number of writes that it is the result of. Spins while a
    /// write is in flight in the kernel, which is not preempted then.
    ///
    /// # Panics
    ///
    /// Panics if there is no such slot.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// # let values = context.map_values()?;
    /// let last = values.read(5);
    /// println!("{:#x} after {} writes", last.value, last.writes);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn read(&self, slot: u32) -> Value {
        loop {
            if let Some(value) = self.try_read(slot) {
                return value;
            }
            hint::spin_loop();
        }
    }

    /// Returns what [`read`](Self::read) does, or [`None`] if a write is in flight: for a caller that must not
    /// spin.
    ///
    /// # Panics
    ///
    /// Panics if there is no such slot.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// # let values = context.map_values()?;
    /// match values.try_read(5) {
    ///     Some(last) => println!("{:#x} after {} writes", last.value, last.writes),
    ///     None => println!("the value changes"),
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn try_read(&self, slot: u32) -> Option<Value> {
        let (value, writes) = self.0.try_read(slot)?;
        Some(Value { value, writes })
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values")
            .field("slots", &self.slots())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsFd, os::unix::fs::FileExt};

    /// Maps a file in place of the device, and writes a slot as the kernel does.
    #[test]
    fn value_and_count_are_read_together() {
        let path = std::env::temp_dir().join(format!("doorbell-values-{}", std::process::id()));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(4096).unwrap();
        let values = Values::new(ValueMapping::new(file.as_fd(), 0, 2).unwrap());
        let set = |word: u64, value: u64| {
            let at = 64 + 8 * word;
            file.write_all_at(&value.to_ne_bytes(), at).unwrap();
        };
        assert_eq!(values.read(1), Value::default());
        set(2, 1);
        set(0, 7);
        // The value is there, and the write is in flight.
        assert_eq!(values.value(1), 7);
        assert_eq!(values.try_read(1), None);
        set(1, 1);
        let first = Value {
            value: 7,
            writes: 1,
        };
        assert_eq!(values.read(1), first);
        assert_eq!(values.try_read(1), Some(first));
        assert_eq!(values.read(0), Value::default());
        assert_eq!(values.slots(), 2);
    }

    #[test]
    #[should_panic(expected = "no slot 2")]
    fn other_slot_panics() {
        let file = File::open("/proc/self/exe").unwrap();
        Values::new(ValueMapping::new(file.as_fd(), 0, 2).unwrap()).value(2);
    }
}
