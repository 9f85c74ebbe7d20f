// SPDX-License-Identifier: GPL-2.0-only

//! The scheduling policy of this thread. The calls are libc's, as rustix has none of them.

use super::check;
use std::{io, mem::zeroed};

/// A policy with its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    number: i32,
    priority: i32,
}

impl Policy {
    /// Returns SCHED_FIFO with `priority`, which is 1 to 99.
    pub(crate) fn fifo(priority: u8) -> Self {
        Self {
            number: libc::SCHED_FIFO,
            priority: priority.into(),
        }
    }

    /// Returns the policy of this thread.
    pub(crate) fn current() -> io::Result<Self> {
        // SAFETY: All bytes zero are a valid `struct sched_param`.
        let mut param: libc::sched_param = unsafe { zeroed() };
        // SAFETY: The call takes no pointer.
        let number = check(unsafe { libc::sched_getscheduler(0) }.into())?;
        // SAFETY: `param` may be written to.
        check(unsafe { libc::sched_getparam(0, &mut param) }.into())?;
        Ok(Self {
            number: number as i32 & !libc::SCHED_RESET_ON_FORK,
            priority: param.sched_priority,
        })
    }

    /// Sets the policy of this thread. Threads that it creates inherit it.
    pub(crate) fn set(self) -> io::Result<()> {
        // SAFETY: All bytes zero are a valid `struct sched_param`.
        let mut param: libc::sched_param = unsafe { zeroed() };
        param.sched_priority = self.priority;
        // SAFETY: `param` is valid.
        check(unsafe { libc::sched_setscheduler(0, self.number, &param) }.into()).map(drop)
    }

    /// Returns the name, with the priority if the policy has one; none for the policy that all
    /// threads begin with.
    pub(crate) fn name(self) -> Option<String> {
        let Self { number, priority } = self;
        Some(match number {
            libc::SCHED_OTHER => return None,
            libc::SCHED_FIFO => format!("SCHED_FIFO {priority}"),
            libc::SCHED_RR => format!("SCHED_RR {priority}"),
            libc::SCHED_BATCH => "SCHED_BATCH".into(),
            libc::SCHED_IDLE => "SCHED_IDLE".into(),
            libc::SCHED_DEADLINE => "SCHED_DEADLINE".into(),
            other => format!("scheduling policy {other}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_names() {
        assert_eq!(Policy::fifo(7).name().unwrap(), "SCHED_FIFO 7");
        let other = Policy {
            number: libc::SCHED_OTHER,
            priority: 0,
        };
        assert_eq!(other.name(), None);
    }

    #[test]
    fn impossible_priority_is_refused() {
        let before = Policy::current().unwrap();
        assert!(Policy::fifo(100).set().is_err());
        assert_eq!(Policy::current().unwrap(), before);
    }
}
