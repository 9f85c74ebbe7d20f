// SPDX-License-Identifier: GPL-2.0-only

//! The options for settings of this process while it measures.

use clap::Args;
use doorbell_tools::realtime::{Applied, Settings};

/// Arguments that change this process for the time of a measurement.
#[derive(Args)]
pub struct Realtime {
    /// Measure under SCHED_FIFO with PRIORITY, 1 to 99, with memory locked and --latency 0
    #[arg(long, value_name = "PRIORITY", value_parser = clap::value_parser!(u8).range(1..=99))]
    fifo: Option<u8>,
    /// Keep CPUs from idle states that take longer than US microseconds to wake up from
    #[arg(long, value_name = "US", value_parser = clap::value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    latency: Option<u32>,
}

impl Realtime {
    /// Applies the settings until the result is dropped.
    pub fn apply(&self) -> anyhow::Result<Applied> {
        let settings = Settings {
            fifo: self.fifo,
            latency_us: self.latency,
        };
        let applied = settings.apply()?;
        if let Some(warning) = &applied.warning {
            doorbell_tools::note!("{warning}");
        }
        Ok(applied)
    }
}
