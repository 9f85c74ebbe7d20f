// SPDX-License-Identifier: GPL-2.0-only

//! Cost of a guest's notification: the table of 2009.
//!
//! The crate kvm-rtt has the guest and its VMM. The module `guest` interleaves its scenarios as
//! rows.

use super::{Options, Progress, Report};

/// The counter that the guest reads.
pub(crate) const COUNTER: &str = match cfg!(target_arch = "aarch64") {
    true => "counter",
    false => "TSC",
};

/// Facts about a run with a guest, besides its rows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel module that runs the guest.
    pub module: &'static str,
    /// Frequency of the guest's TSC, or on arm64 of its counter: ticks per second of CLOCK_MONOTONIC.
    pub tsc_hz: f64,
    /// The frequency that KVM_GET_TSC_KHZ returns.
    pub tsc_khz: Option<u32>,
    /// The counts of each row.
    pub rows: Vec<Counts>,
}

/// Counts of a row over all its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes of the guest.
    pub writes: u64,
    /// Rings of the line, if the row has one.
    pub rings: Option<u64>,
    /// Returns of a vCPU to the VMM.
    pub returns: u64,
    /// Exits of vCPUs from the guest, if KVM's counter is readable.
    pub exits: Option<u64>,
}

/// Returns the "group name" of each row that a run with `filter` measures, if it can.
///
/// # Errors
///
/// If a text in `filter` selects none.
pub fn selected(filter: &[String]) -> anyhow::Result<Vec<String>> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        super::guest::selected(filter)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = filter;
        anyhow::bail!("there is no guest for this architecture, only for x86-64 and arm64")
    }
}

/// Measures. If `count` is given, each row makes that many writes; otherwise the time is the limit.
pub fn run(
    options: &Options,
    count: Option<u32>,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        super::guest::run(options, count, progress)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = (options, count, progress);
        anyhow::bail!("there is no guest for this architecture, only for x86-64 and arm64")
    }
}
