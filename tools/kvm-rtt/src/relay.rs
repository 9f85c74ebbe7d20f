// SPDX-License-Identifier: GPL-2.0-only

//! A thread that waits for an eventfd and passes its signals on, in the place of a doorbell's line or
//! unmaskfd.

use crate::testbench::pin;
use anyhow::{Context, Result};
use std::{
    io,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc,
    },
    thread::{self, JoinHandle},
};
use vmm_sys_util::eventfd::EventFd;

pub(crate) struct Relay {
    from: EventFd,
    seen: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Relay {
    /// Starts the thread, on `cpu` if given. It calls `pass_on` for each read of `from`.
    pub(crate) fn new(
        from: EventFd,
        cpu: Option<usize>,
        pass_on: impl Fn() -> io::Result<()> + Send + 'static,
    ) -> Result<Self> {
        let seen = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let input = from.try_clone()?;
        let (count, ended) = (seen.clone(), stop.clone());
        let run = move || {
            if let Some(cpu) = cpu {
                pin(cpu).map_err(io::Error::other)?;
            }
            loop {
                let n = input.read()?;
                if ended.load(Ordering::SeqCst) {
                    return Ok(());
                }
                count.fetch_add(n, Ordering::SeqCst);
                pass_on()?;
            }
        };
        let thread = thread::Builder::new().name("relay".into()).spawn(run);
        Ok(Self {
            from,
            seen,
            stop,
            thread: Some(thread.context("start the relay")?),
        })
    }

    /// Returns the number of signals that it has seen.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The thread waits for this eventfd.
        let told = self.from.write(1);
        if let (Ok(()), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_passes_on_what_it_sees_and_ends() {
        let (from, to) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
        let relay = Relay::new(from.try_clone().unwrap(), None, {
            let to = to.try_clone().unwrap();
            move || to.write(1)
        })
        .unwrap();
        for n in 1..=3 {
            from.write(1).unwrap();
            assert_eq!(to.read().unwrap(), 1);
            assert_eq!(relay.seen(), n);
        }
        drop(relay);
        from.write(5).unwrap();
        assert_eq!(from.read().unwrap(), 5, "the thread has ended");
    }
}
