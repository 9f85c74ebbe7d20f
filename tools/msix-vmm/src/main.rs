// SPDX-License-Identifier: GPL-2.0-only

//! `msix-vmm`: a VMM whose guest masks MSI-X vectors while a device signals them.

use clap::{Parser, Subcommand};
use msix_vmm::{vhost, Masks};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    version,
    about = "Test MSI-X with a guest, with and without /dev/doorbell"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(about = msix_vmm::MASKS_HELP)]
    Masks(Masks),
    Vhost(vhost::Vhost),
    #[command(hide = true)]
    VhostBackend(vhost::Backend),
    #[command(hide = true)]
    VhostVmm(vhost::Vmm),
}

fn main() -> ExitCode {
    let passed = match Cli::parse().command {
        Command::Masks(masks) => masks.run(),
        Command::Vhost(vhost) => vhost.run(),
        Command::VhostBackend(backend) => backend.run().map(|()| true),
        Command::VhostVmm(vmm) => vmm.run().map(|()| true),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("msix-vmm: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, ValueEnum};
    use msix_vmm::Scenario;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_a_terminal() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.clone().term_width(80).render_long_help();
            for line in help.to_string().lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn help_has_all_scenarios() {
        let mut command = Cli::command();
        let masks = command.find_subcommand_mut("masks").unwrap();
        let help = masks.render_long_help().to_string();
        for scenario in Scenario::value_variants() {
            let name = scenario.to_possible_value().unwrap().get_name().to_owned();
            assert!(help.contains(&format!("\n  {name} ")), "{name}");
        }
    }
}
