// SPDX-License-Identifier: GPL-2.0-only

//! Arguments of measurements with QEMU.

use clap::Args;
use doorbell_tools::{ivshmem::vm, rtt::qemu::Options, stop::Stop};
use std::path::{Path, PathBuf};

/// Arguments that choose a QEMU and the number of its guests.
#[derive(Args)]
pub struct Qemu {
    /// Run PROGRAM as QEMU
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    qemu_program: PathBuf,
    /// Run QEMU with the accelerator ACCEL
    #[arg(long, value_name = "ACCEL", default_value = "kvm")]
    qemu_accel: String,
    /// Boot each guest N times
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    qemu_boots: u32,
    /// Make N batches of 200 writes, or of 20 round trips, per boot
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    qemu_batches: u32,
}

impl Qemu {
    /// Returns the options of a measurement.
    pub fn options(&self, device: &Path, stop: Stop) -> Options {
        Options {
            qemu: vm::Qemu {
                program: self.qemu_program.clone(),
                accelerator: self.qemu_accel.clone(),
            },
            boots: self.qemu_boots,
            writes: 200,
            batches: self.qemu_batches,
            trips: 20 * self.qemu_batches,
            device: device.to_owned(),
            stop,
        }
    }
}
