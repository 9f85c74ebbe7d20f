// SPDX-License-Identifier: GPL-2.0-only

//! What assigning costs, and whether size does.

use crate::{
    rtt::{self, median, Group, Options, Report},
    sys, Context, EventFd,
};
use std::{
    io,
    time::{Duration, Instant},
};

/// What [`assign`] found out; times in ns.
#[derive(Debug, serde::Serialize)]
pub struct Assign {
    /// Assigning and deassigning an irqfd.
    pub irqfd_pair_ns: f64,
    /// Assigning and deassigning a trigger.
    pub trigger_pair_ns: f64,
    /// The same pair with KVM_IRQFD, if there is KVM.
    pub kvm_irqfd_pair_ns: Option<f64>,
    /// Why there is no such figure.
    pub kvm_missing: Option<String>,
    /// How many irqfds and as many triggers the context had that was closed.
    pub closed_with: u32,
    /// How long closing it took.
    pub close_ns: f64,
}

/// Pairs of assign and deassign, and closing a context with `many` of each.
pub fn assign(device: &str, many: u32) -> anyhow::Result<Assign> {
    let context = Context::open_path(device)?;
    context.set_lines(1)?;
    let eventfd = EventFd::new(0)?;
    let kvm = sys::KvmIrqfds::new();

    let mut irqfd = Vec::new();
    let mut trigger = Vec::new();
    let mut theirs = Vec::new();
    // In turns, as everything that is compared.
    for _ in 0..30 {
        irqfd.push(pairs(50, || {
            context.assign_irqfd(&eventfd, 0)?;
            context.deassign_irqfd(&eventfd, 0)
        })?);
        trigger.push(pairs(50, || {
            context.assign_trigger(&eventfd, 0)?;
            context.deassign_trigger(&eventfd, 0)
        })?);
        if let Ok(kvm) = &kvm {
            theirs.push(pairs(50, || -> io::Result<()> {
                use std::os::fd::AsFd;
                kvm.irqfd(eventfd.as_fd(), true)?;
                kvm.irqfd(eventfd.as_fd(), false)
            })?);
        }
    }

    let context = Context::open_path(device)?;
    context.set_lines(many)?;
    let filling = rtt::Filling::new(&context, 0)?;
    let start = Instant::now();
    drop(context);
    let close_ns = start.elapsed().as_nanos() as f64;

    Ok(Assign {
        irqfd_pair_ns: median(&mut irqfd),
        trigger_pair_ns: median(&mut trigger),
        kvm_irqfd_pair_ns: kvm.is_ok().then(|| median(&mut theirs)),
        kvm_missing: kvm.err().map(|error| format!("/dev/kvm: {error}")),
        closed_with: filling.lines,
        close_ns,
    })
}

/// Time per call of `f` in ns, over `n` calls.
fn pairs<E>(n: u32, mut f: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    for _ in 0..n {
        f()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(n))
}

/// The one-thread rows in a context with few lines, and in one with `lines` lines, all of them
/// assigned.
pub fn scale(
    device: &str,
    lines: u32,
    time: Duration,
    progress: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<(Report, Report)> {
    let options = |lines, fill| Options {
        time: time / 4,
        rounds: 20,
        lines,
        fill,
        rows: vec!["doorbell".into()],
        device: device.into(),
    };
    // Small, large, large, small: a drift of the machine hits both alike.
    let mut quarter = 0;
    let mut one = |options| {
        let report = rtt::run_groups(&options, &[Group::OneThread], &mut |done, of| {
            progress(quarter * of + done, 4 * of);
        });
        quarter += 1;
        report
    };
    let small = one(options(1, false))?;
    let large = one(options(lines, true))?;
    let large = mean(large, one(options(lines, true))?);
    let small = mean(small, one(options(1, false))?);
    Ok((small, large))
}

/// Two runs of the same rows as one.
fn mean(mut a: Report, b: Report) -> Report {
    for (a, b) in a.rows.iter_mut().zip(b.rows) {
        a.ns = (a.ns + b.ns) / 2.0;
        a.ratio = (a.ratio + b.ratio) / 2.0;
    }
    a
}
