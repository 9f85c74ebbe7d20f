// SPDX-License-Identifier: GPL-2.0-only

//! Rows whose lines have waiters instead of an eventfd as their trigger.
//!
//! Other rows use the same lines with their triggers. So the waiters are assigned for a slot only.

use super::probe::{Channel, DoorbellPath, Legs, PingPong, Probe};
use std::{io, sync::Arc};

/// Replaces the trigger of the line by waiters.
pub(super) fn assign(path: &DoorbellPath) -> io::Result<()> {
    let context = path.context();
    context
        .deassign_trigger(&path.trigger, path.line)
        .and_then(|()| context.assign_waiters(path.line))
        .map_err(io::Error::other)
}

/// Replaces the waiters of the line by its trigger.
pub(super) fn restore(path: &DoorbellPath) -> io::Result<()> {
    let context = path.context();
    context
        .deassign_waiters(path.line)
        .and_then(|()| context.assign_trigger(&path.trigger, path.line))
        .map_err(io::Error::other)
}

/// Signals the irqfd of the line.
#[inline]
fn signal(path: &DoorbellPath) -> io::Result<()> {
    path.signal()
}

/// Waits for a delivery of the line.
#[inline]
fn wait(path: &DoorbellPath) -> io::Result<()> {
    let waited = path.context().wait(path.line, None);
    waited.map(drop).map_err(io::Error::other)
}

/// Rings the line and waits for a delivery of `back`, in one system call.
#[inline]
fn ring_wait(path: &DoorbellPath, back: &DoorbellPath) -> io::Result<()> {
    let answer = path.context().ring_wait_line(path.line, back.line, None);
    answer.map(drop).map_err(io::Error::other)
}

/// One thread: signals the irqfd and waits for the line; with `ONE_CALL` rings and waits in one system call.
pub(super) struct Alone<const ONE_CALL: bool>(pub(super) Arc<DoorbellPath>);

impl<const ONE_CALL: bool> Probe for Alone<ONE_CALL> {
    fn start(&mut self) -> io::Result<()> {
        assign(&self.0)
    }

    fn stop(&mut self) -> io::Result<u64> {
        restore(&self.0)?;
        Ok(0)
    }

    fn rescuer(&self) -> Option<Box<dyn Fn() + Send>> {
        let path = self.0.clone();
        Some(Box::new(move || {
            let _ = path.ring();
        }))
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        if ONE_CALL {
            ring_wait(&self.0, &self.0)
        } else {
            signal(&self.0)?;
            wait(&self.0)
        }
    }
}

/// A line in each direction.
pub(super) struct Lines<const ONE_CALL: bool>([Arc<DoorbellPath>; 2]);

impl<const ONE_CALL: bool> Channel for Lines<ONE_CALL> {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        if ONE_CALL {
            self.0[side].ring()
        } else {
            signal(&self.0[side])
        }
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        wait(&self.0[1 - side])
    }

    #[inline]
    fn exchange(&self, side: usize) -> io::Result<()> {
        if ONE_CALL {
            ring_wait(&self.0[side], &self.0[1 - side])
        } else {
            self.send(side)?;
            self.receive(side)
        }
    }

    fn rescue(&self) {
        for path in &self.0 {
            let _ = path.ring();
        }
    }
}

/// Two threads that send each other messages in turn, over lines with waiters.
pub(super) struct TwoThreads<const ONE_CALL: bool> {
    paths: [Arc<DoorbellPath>; 2],
    threads: PingPong<Lines<ONE_CALL>>,
}

impl<const ONE_CALL: bool> TwoThreads<ONE_CALL> {
    /// Creates a probe whose second thread runs on the CPU `peer`.
    pub(super) fn new(paths: [Arc<DoorbellPath>; 2], peer: usize) -> Self {
        Self {
            threads: PingPong::new(Lines(paths.clone()), peer),
            paths,
        }
    }
}

impl<const ONE_CALL: bool> Probe for TwoThreads<ONE_CALL> {
    fn start(&mut self) -> io::Result<()> {
        self.paths.iter().try_for_each(|path| assign(path))?;
        self.threads.start()
    }

    fn stop(&mut self) -> io::Result<u64> {
        let trips = self.threads.stop()?;
        self.paths.iter().try_for_each(|path| restore(path))?;
        Ok(trips)
    }

    fn rescuer(&self) -> Option<Box<dyn Fn() + Send>> {
        self.threads.rescuer()
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.threads.once()
    }

    fn legs(&mut self, n: u64, legs: &mut Vec<Legs>) -> io::Result<bool> {
        self.threads.legs(n, legs)
    }
}
