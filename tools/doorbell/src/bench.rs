// SPDX-License-Identifier: GPL-2.0-only

//! Benchmarks of assigning and closing, of masks, and of scale.

pub mod bus;
pub mod mask;

pub use crate::rtt::scale;

use crate::{
    rtt::{quantile, BackgroundLines, Progress},
    sys,
};
use doorbell::{Context, EventFd};
use std::{
    io,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

/// The result of [`assign`]. Times are in ns.
#[derive(Debug, serde::Serialize)]
pub struct Assign {
    /// Assigning and deassigning an irqfd.
    pub irqfd_pair_ns: f64,
    /// Assigning and deassigning a trigger.
    pub trigger_pair_ns: f64,
    /// The same pair with KVM_IRQFD, if KVM works.
    pub kvm_irqfd_pair_ns: Option<f64>,
    /// The error of KVM, if it does not work.
    pub kvm_missing: Option<String>,
    /// The number of irqfds, and of triggers, of the contexts that are closed.
    pub many: u32,
    /// Closing a context while the eventfds of all its irqfds are open.
    pub close_ns: f64,
    /// Closing all these eventfds first, which deassigns the irqfds, ...
    pub eventfds_close_ns: f64,
    /// ... and then the context.
    pub close_after_ns: f64,
}

const ROUNDS: u32 = 50;
const PAIRS_PER_ROUND: u32 = 50;

/// Measures pairs of assign and deassign, and closing a context with `many` irqfds and triggers.
///
/// # Errors
///
/// If a call fails, or the context does not count all assignments.
pub fn assign(device: &Path, many: u32, progress: Progress<'_>) -> anyhow::Result<Assign> {
    let context = Context::open_path(device)?;
    context.set_lines(1)?;
    let eventfd = EventFd::new(0)?;
    // /dev/kvm may exist and not work, so try one pair.
    let kvm = sys::kvm::Vm::new().and_then(|kvm| {
        kvm.irqfd(eventfd.as_fd(), true)?;
        kvm.irqfd(eventfd.as_fd(), false)?;
        Ok(kvm)
    });

    let (mut irqfd, mut trigger, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    // Interleave the measurements that are compared.
    for round in 0..=ROUNDS {
        let ours = pairs(PAIRS_PER_ROUND, || {
            context.assign_irqfd(&eventfd, 0)?;
            context.deassign_irqfd(&eventfd, 0)
        })?;
        irqfd.push(ours);
        trigger.push(pairs(PAIRS_PER_ROUND, || {
            context.assign_trigger(&eventfd, 0)?;
            context.deassign_trigger(&eventfd, 0)
        })?);
        if let Ok(kvm) = &kvm {
            theirs.push(pairs(PAIRS_PER_ROUND, || -> io::Result<()> {
                kvm.irqfd(eventfd.as_fd(), true)?;
                kvm.irqfd(eventfd.as_fd(), false)
            })?);
        }
        if round == 0 {
            // The first round is the warm-up.
            irqfd.clear();
            trigger.clear();
            theirs.clear();
        }
        progress("assigning", round.into(), ROUNDS.into());
    }

    let mut filled = || -> anyhow::Result<(Context, BackgroundLines)> {
        let context = Context::open_path(device)?;
        context.set_lines(many)?;
        let filling = BackgroundLines::new(&context, many, 0..0, progress)?;
        let info = context.info()?;
        anyhow::ensure!(
            (info.nr_irqfds, info.nr_triggers) == (many, many),
            "{many} irqfds and triggers assigned, but the context has {} and {}: please report this",
            info.nr_irqfds,
            info.nr_triggers
        );
        Ok((context, filling))
    };
    let (context, filling) = filled()?;
    let close = time(|| drop(context));
    drop(filling);
    let (context, filling) = filled()?;
    let eventfds_close = time(|| drop(filling));
    let close_after = time(|| drop(context));

    let ns = |time: Duration| time.as_nanos() as f64;
    Ok(Assign {
        irqfd_pair_ns: quantile(&mut irqfd, 0.5),
        trigger_pair_ns: quantile(&mut trigger, 0.5),
        kvm_irqfd_pair_ns: kvm.is_ok().then(|| quantile(&mut theirs, 0.5)),
        kvm_missing: kvm.err().map(|error| format!("/dev/kvm: {error}")),
        many,
        close_ns: ns(close),
        eventfds_close_ns: ns(eventfds_close),
        close_after_ns: ns(close_after),
    })
}

/// Returns the duration of `f`.
fn time(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

/// Calls `f` `n` times. Returns the time per call in ns.
fn pairs<E>(n: u32, mut f: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    for _ in 0..n {
        f()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain;

    #[test]
    fn missing_device_is_explained() {
        let error = assign(Path::new("/nonexistent"), 10, &mut |_, _, _| {}).unwrap_err();
        let text = explain(error.as_ref());
        assert!(text.contains("modprobe"), "{text}");
    }

    #[test]
    fn failing_pair_ends_the_measurement() {
        let mut calls = 0;
        let result = pairs(PAIRS_PER_ROUND, || {
            calls += 1;
            if calls == 3 {
                Err(())
            } else {
                Ok(())
            }
        });
        assert_eq!((result, calls), (Err(()), 3));
    }
}
