// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-user-echo SOCKET`: a PCI device in a process of its own, for QEMU's `vfio-user-pci`.
//!
//! The device echoes: the guest writes a number to a register, and gets so many signals of an MSI-X
//! vector. Each vector is a line of a doorbell context, which has the mask and the pending bit. See
//! [`layout`] for the registers, and [`vectors`] for what QEMU sends when a guest masks a vector.

mod backend;
mod config;
mod device;
mod layout;
mod socket;
mod vectors;

use anyhow::{anyhow, ensure, Context as _};
use backend::Backend;
use clap::Parser;
use device::Device;
use doorbell::Context;
use layout::{Lines, MAX_VECTORS};
use std::{
    fmt,
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process,
    sync::Arc,
    thread,
};
use vectors::Vectors;

/// Serve a PCI device to one QEMU, whose MSI-X vectors are lines of /dev/doorbell
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
Example:
  vfio-user-echo /tmp/echo &
  qemu-system-x86_64 ... -device \\
    '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/tmp/echo\"}}'

The guest writes N to a register of BAR 0, and gets N signals of a vector. The
process ends when QEMU does, and prints the counters of each vector. SIGINT,
SIGTERM and SIGHUP end it, too, without counters."
)]
struct Cli {
    /// Listen on the UNIX socket at PATH, which must not exist
    #[arg(value_name = "PATH")]
    socket: PathBuf,
    /// Offer NUMBER MSI-X vectors, 1 to 64
    #[arg(long, value_name = "NUMBER", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_VECTORS)))]
    vectors: u16,
    /// Open the device at PATH
    #[arg(long, value_name = "PATH", env = "DOORBELL_DEVICE", default_value = doorbell::DEVICE)]
    device: PathBuf,
}

/// Writes what vfio_user logs to stderr: the errors of requests, which it does not return.
struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            complain(record.args());
        }
    }

    fn flush(&self) {}
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let context = Arc::new(
        Context::open_path(&cli.device)
            .context("no doorbell (is the module loaded? modprobe doorbell)")?,
    );
    let lines = Lines {
        vectors: cli.vectors,
    };
    context.set_lines(lines.count())?;
    let (device, records) = Device::new(context.clone(), lines)?;
    let device = Arc::new(device);
    let mut backend = Backend::new(Vectors::new(context.clone(), lines)?, device.clone(), lines);
    let server = vfio_user::Server::new(
        &cli.socket,
        true,
        Backend::irqs(cli.vectors),
        Backend::regions(),
    )
    .map_err(|error| match error {
        vfio_user::Error::SocketPathExists => {
            anyhow!("it exists: remove it, if no server uses it")
        }
        error => error.into(),
    })
    .with_context(|| format!("listen on {}", cli.socket.display()))?;
    socket::remove_at_signals(&cli.socket).context("handle signals")?;
    println!("listening on {}", cli.socket.display());
    io::stdout().flush()?;

    let worker = thread::spawn({
        let device = device.clone();
        // Without it no request would ever be done, and a reset would wait for that.
        move || match panic::catch_unwind(AssertUnwindSafe(|| device.run(records))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => fail_worker(&error),
            Err(_) => fail_worker(&anyhow!("the worker panicked")),
        }
    });
    let served = server.run(&mut backend);
    device.drain();
    device.stop()?;
    worker.join().map_err(|_| anyhow!("the worker panicked"))?;
    match served {
        Err(error) if !is_end(&error) => Err(error).context("serve QEMU"),
        _ => print(&context, &device, lines),
    }
}

/// Returns whether the client has gone. A QEMU that is killed leaves messages unread or incomplete.
fn is_end(error: &vfio_user::Error) -> bool {
    use vfio_user::Error;
    match error {
        Error::StreamRead(error) | Error::StreamWrite(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        ),
        Error::ReceiveWithFd(error) | Error::SendWithFd(error) => {
            matches!(error.errno(), libc::ECONNRESET | libc::EPIPE)
        }
        _ => false,
    }
}

/// Prints the counters, and checks that they agree.
fn print(context: &Context, device: &Device, lines: Lines) -> anyhow::Result<()> {
    println!("vector  signals  deliveries  pending");
    for vector in 0..lines.vectors {
        let line = context.query(vector.into())?;
        let signals = device.signals(vector);
        let (deliveries, pending) = (line.deliveries, u8::from(line.pending));
        println!("{vector:6}  {signals:7}  {deliveries:10}  {pending:7}");
        ensure!(
            line.rings == signals,
            "vector {vector}: {signals} signals, and its line was rung {} times",
            line.rings
        );
    }
    Ok(())
}

/// Ends the process from the worker.
fn fail_worker(error: &anyhow::Error) -> ! {
    socket::remove();
    fail(error)
}

/// Writes a line to stderr. An error is ignored, where `eprintln!` would panic.
fn complain(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "vfio-user-echo: {text}");
}

/// Ends the process.
fn fail(error: &anyhow::Error) -> ! {
    complain(format_args!("{error:#}"));
    process::exit(1)
}

fn main() {
    log::set_max_level(log::LevelFilter::Warn);
    log::set_logger(&Log).expect("there is no other logger");
    run(&Cli::parse()).unwrap_or_else(|error| fail(&error));
}

#[cfg(test)]
mod tests {
    use super::*;
    use vfio_user::Error;

    #[test]
    fn a_client_that_has_gone_is_the_end() {
        for kind in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof,
        ] {
            assert!(is_end(&Error::StreamRead(kind.into())), "{kind}");
            assert!(is_end(&Error::StreamWrite(kind.into())), "{kind}");
        }
        assert!(!is_end(&Error::StreamRead(io::ErrorKind::TimedOut.into())));
        assert!(!is_end(&Error::SocketAccept(
            io::ErrorKind::BrokenPipe.into()
        )));
        assert!(!is_end(&Error::InvalidInput));
    }
}
