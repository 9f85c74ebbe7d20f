// SPDX-License-Identifier: GPL-2.0-only

//! What a guest's notification costs: the table of 2009.
//!
//! The guest, and what it is wired to, are tools/kvm-rtt. Its rows take turns in `guest.rs`.

use super::{Options, Progress, Report};

/// What is known of a run with a guest besides its rows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel module that runs the guest.
    pub module: &'static str,
    /// How often the guest's TSC ticks per second of CLOCK_MONOTONIC.
    pub tsc_hz: f64,
    /// The same as KVM_GET_TSC_KHZ has it.
    pub tsc_khz: Option<u32>,
    /// As many as there are rows.
    pub rows: Vec<Counts>,
}

/// What was counted while a row had its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often the guest wrote.
    pub writes: u64,
    /// How often the line was rung.
    pub rings: Option<u64>,
    /// How often a vCPU came back to the VMM.
    pub returns: u64,
    /// How often vCPUs left the guest, if KVM says so.
    pub exits: Option<u64>,
}

/// Measures; with `count`, that many writes in each row instead of a time.
pub fn run(
    options: &Options,
    count: Option<u32>,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    #[cfg(target_arch = "x86_64")]
    {
        super::guest::run(options, count, progress)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (options, count, progress);
        anyhow::bail!("there is no guest for this architecture, only for x86-64")
    }
}
