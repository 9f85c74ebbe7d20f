// SPDX-License-Identifier: GPL-2.0-only

use super::*;
use std::cell::Cell;

/// A fault of a [`Fake`].
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The mask does nothing.
    Open,
    /// A message under the mask is forgotten.
    Forgets,
    /// Each unmask interrupts.
    Invents,
    /// The pending bit is always clear.
    Blind,
}

/// A way without a kernel. The eventfd counts the signals.
struct Fake {
    fault: Fault,
    device: Arc<EventFd>,
    masked: Cell<bool>,
    pending: Cell<bool>,
    interrupted: Cell<bool>,
}

impl Fake {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            device: Arc::new(EventFd::non_blocking(false).unwrap()),
            masked: Cell::new(false),
            pending: Cell::new(false),
            interrupted: Cell::new(false),
        }
    }

    /// Handles the signals since the last call.
    fn poll(&self) {
        if self.device.take().unwrap() == 0 {
            return;
        }
        match self.masked.get() && self.fault != Fault::Open {
            true => self.pending.set(self.fault != Fault::Forgets),
            false => self.interrupted.set(true),
        }
    }
}

impl Way for Fake {
    fn mask(&mut self) -> anyhow::Result<()> {
        self.poll();
        self.masked.set(true);
        Ok(())
    }

    fn unmask(&mut self) -> anyhow::Result<()> {
        self.poll();
        self.masked.set(false);
        if self.pending.take() || self.fault == Fault::Invents {
            self.interrupted.set(true);
        }
        Ok(())
    }

    fn pending(&self) -> anyhow::Result<bool> {
        self.poll();
        Ok(self.pending.get() && self.fault != Fault::Blind)
    }

    fn take(&self) -> anyhow::Result<bool> {
        self.poll();
        Ok(self.interrupted.take())
    }

    fn device(&self) -> &Arc<EventFd> {
        &self.device
    }
}

/// Returns what the trials find: lost, spurious, wrong pending bits. One trial of each situation.
fn found(fault: Fault) -> [u64; 3] {
    let (mut way, mut faults) = (Fake::new(fault), Faults::default());
    faults.masked(&mut way, true).unwrap();
    faults.masked(&mut way, false).unwrap();
    let storm = Storm::new(way.device().clone());
    faults.storm(&mut way, &storm).unwrap();
    storm.end().unwrap();
    [faults.lost, faults.spurious, faults.wrong_pending]
}

#[test]
fn mask_of_a_vector_has_no_fault() {
    assert_eq!(found(Fault::None), [0, 0, 0]);
}

#[test]
fn each_fault_is_found() {
    // The message interrupts at once, so that the unmask has none, and nothing is pending.
    assert_eq!(found(Fault::Open), [1, 2, 2]);
    // Others follow in the storm.
    assert_eq!(found(Fault::Forgets), [1, 0, 2]);
    // One interrupt too many after each of the two unmasks, or the only one.
    assert_eq!(found(Fault::Invents), [0, 3, 0]);
    assert_eq!(found(Fault::Blind), [0, 0, 2]);
}

#[test]
fn storm_that_has_ended_is_an_error() {
    // A write to a socket that is shut down fails.
    let (reader, _writer) = std::os::unix::net::UnixStream::pair().unwrap();
    reader.shutdown(std::net::Shutdown::Write).unwrap();
    let storm = Storm::new(Arc::new(EventFd::from(std::os::fd::OwnedFd::from(reader))));
    assert!(storm.wait().is_err());
    assert!(storm.end().is_err());
}

#[test]
fn pairs_are_timed_one_by_one() {
    let times = pairs(&mut Fake::new(Fault::None)).unwrap();
    assert!(!times.is_empty() && times.iter().all(|&ns| ns >= 0.0));
}
