// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-user-client SOCKET`: tests vfio-user-echo by what QEMU 11.1 never sends: masks in SET_IRQS,
//! signals by the client, eventfds that have a count or two vectors, invalid ranges, and resets. It
//! prints a line for each case, and needs neither QEMU nor KVM.
//!
//! `vfio-user-client SOCKET vanish`: goes without reading a reply, as a QEMU that is killed does.

use anyhow::{bail, ensure, Context as _};
use doorbell::EventFd;
use std::{
    env, io::Write, os::fd::AsRawFd, os::unix::net::UnixStream, path::Path, process, thread,
};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_MASK as MASK, VFIO_IRQ_SET_ACTION_TRIGGER as TRIGGER,
    VFIO_IRQ_SET_ACTION_UNMASK as UNMASK, VFIO_IRQ_SET_DATA_EVENTFD as EVENTFD,
    VFIO_IRQ_SET_DATA_NONE as NONE, VFIO_PCI_CONFIG_REGION_INDEX as CONFIG,
    VFIO_PCI_MSIX_IRQ_INDEX as MSIX,
};

const REGISTERS: u32 = 0;
const TABLE: u32 = 2;
const PBA: u64 = 0x1000;
const VECTORS: u32 = 4;
const MESSAGE_CONTROL: u64 = 0x42;
const ENABLE: u16 = 0x8000;

struct Client(vfio_user::Client);

type Result<T = ()> = anyhow::Result<T>;

impl Client {
    fn register(&mut self, at: u64) -> Result<u32> {
        let mut bytes = [0; 4];
        self.0.region_read(REGISTERS, at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn request(&mut self, vector: u64, signals: u32) -> Result {
        let at = 0x100 + 16 * vector;
        Ok(self.0.region_write(REGISTERS, at, &signals.to_le_bytes())?)
    }

    fn done(&mut self, vector: u64) -> Result<u32> {
        self.register(0x108 + 16 * vector)
    }

    fn rings(&mut self, vector: u64) -> Result<u32> {
        self.register(0x800 + 16 * vector)
    }

    fn set(&mut self, flags: u32, start: u32, count: u32, eventfds: &[&EventFd]) -> Result {
        let fds: Vec<_> = eventfds.iter().map(|eventfd| eventfd.as_raw_fd()).collect();
        Ok(self.0.set_irqs(MSIX, flags, start, count, &fds)?)
    }

    fn set_eventfd(&mut self, vector: u32, eventfd: &EventFd) -> Result {
        self.set(TRIGGER | EVENTFD, vector, 1, &[eventfd])
    }

    fn signal(&mut self, vector: u32) -> Result {
        self.set(TRIGGER | NONE, vector, 1, &[])
    }

    fn enable(&mut self) -> Result {
        let bytes = ENABLE.to_le_bytes();
        Ok(self.0.region_write(CONFIG, MESSAGE_CONTROL, &bytes)?)
    }

    /// Checks the pending bits and the count of an eventfd.
    fn expect(&mut self, when: &str, pending: u64, eventfd: &EventFd, count: u64) -> Result {
        let mut bytes = [0; 8];
        self.0.region_read(TABLE, PBA, &mut bytes)?;
        let is = (u64::from_le_bytes(bytes), eventfd.count()?);
        ensure!(
            is == (pending, count),
            "{when}: pending bits and count are {is:?}, not {:?}",
            (pending, count)
        );
        Ok(())
    }
}

/// Two reasons mask a vector: the end of one is not the end of the other.
fn masks(client: &mut Client) -> Result {
    let (one, other) = (EventFd::new(0)?, EventFd::new(0)?);
    client.set_eventfd(0, &one)?;
    client.signal(0)?;
    client.expect("not masked", 0, &one, 1)?;
    client.set(MASK | NONE, 0, 1, &[])?;
    client.signal(0)?;
    client.expect("masked", 1, &one, 1)?;
    client.set_eventfd(0, &one)?;
    client.expect("the same eventfd", 1, &one, 1)?;
    client.set_eventfd(0, &other)?;
    client.expect("another eventfd", 1, &other, 0)?;
    client.set(TRIGGER | EVENTFD, 0, 1, &[])?;
    client.set(UNMASK | NONE, 0, 1, &[])?;
    client.expect("unmasked without an eventfd", 1, &other, 0)?;
    client.set_eventfd(0, &other)?;
    client.expect("unmasked with an eventfd", 0, &other, 1)?;
    client.expect("unmasked with an eventfd", 0, &one, 1)?;
    client.set_eventfd(0, &one)?;
    client.signal(0)?;
    client.expect("the first eventfd once more", 0, &one, 2)?;
    client.set(TRIGGER | EVENTFD, 0, 1, &[])
}

/// The device counts the client's signals as its own.
fn signals(client: &mut Client) -> Result {
    let eventfds = [(); VECTORS as usize].map(|()| EventFd::new(0));
    let eventfds = eventfds.into_iter().collect::<std::io::Result<Vec<_>>>()?;
    let all: Vec<&EventFd> = eventfds.iter().collect();
    client.set(TRIGGER | EVENTFD, 0, VECTORS, &all)?;
    let before = client.rings(3)?;
    client.set(TRIGGER | NONE, 1, 3, &[])?;
    for (vector, eventfd) in eventfds.iter().enumerate() {
        let count = u64::from(vector != 0);
        client.expect(&format!("vector {vector}"), 0, eventfd, count)?;
    }
    ensure!(client.rings(3)? == before + 1, "the line was not rung once");
    // Without eventfds all vectors are masked.
    client.set(TRIGGER | NONE, 0, 0, &[])?;
    client.set(TRIGGER | NONE, 2, 2, &[])?;
    client.expect("no eventfds", 0b1100, &eventfds[2], 1)?;
    client.set(TRIGGER | EVENTFD, 2, 2, &all[2..])?;
    client.expect("eventfds again", 0, &eventfds[2], 2)?;
    client.set(TRIGGER | NONE, 0, 0, &[])
}

/// The server finds out who listens on an eventfd, and leaves its count.
fn counts(client: &mut Client) -> Result {
    let eventfd = EventFd::new(5)?;
    client.set_eventfd(1, &eventfd)?;
    client.expect("set", 0, &eventfd, 5)?;
    client.set_eventfd(2, &eventfd)?;
    client.expect("set twice", 0, &eventfd, 5)?;
    client.signal(1)?;
    client.signal(2)?;
    client.expect("signalled twice", 0, &eventfd, 7)?;
    client.set(TRIGGER | NONE, 0, 0, &[])
}

/// Requests add up, and a register is read at any size.
fn requests(client: &mut Client) -> Result {
    let (rings, done) = (client.rings(3)?, client.done(3)?);
    for signals in [3, 0, 4, 0x1_0002] {
        client.request(3, signals)?;
    }
    while client.done(3)? != done + 4 {
        thread::yield_now();
    }
    ensure!(
        client.rings(3)? == rings + 9,
        "{} rings",
        client.rings(3)? - rings
    );
    ensure!(client.register(0x130)? == 0x1_0002, "the last value");
    let mut bytes = [0; 10];
    client.0.region_read(REGISTERS, 0, &mut bytes)?;
    ensure!(bytes == *b"echo\x04\0\0\0\0\0", "{bytes:?}");
    let mut bytes = [0; 3];
    client.0.region_read(REGISTERS, 2, &mut bytes)?;
    ensure!(bytes == *b"ho\x04", "{bytes:?}");
    Ok(())
}

/// The server prints an error of each of these, and changes nothing. The protocol's reply has none.
fn ranges(client: &mut Client) -> Result {
    let eventfd = EventFd::new(0)?;
    client.set_eventfd(3, &eventfd)?;
    client.signal(3)?;
    client.expect("signalled", 0, &eventfd, 2)?;
    for (flags, start, count) in [
        (TRIGGER | NONE, 3, 2),
        (TRIGGER | NONE, 4, 1),
        (TRIGGER | NONE, u32::MAX, 2),
        (MASK | NONE, 3, u32::MAX),
        (MASK | EVENTFD, 3, 1),
    ] {
        // vfio_user 0.1.7 may see the error of the reply, or not.
        let _ = client.set(flags, start, count, &[]);
    }
    let _ = client.set(TRIGGER | EVENTFD, 2, 2, &[&eventfd]);
    client.expect("nothing has changed", 0, &eventfd, 2)?;
    client.signal(3)?;
    client.expect("signalled again", 0, &eventfd, 3)
}

/// A reset ends the device's work, and drops eventfds, masks and messages.
fn reset(client: &mut Client) -> Result {
    let eventfd = EventFd::new(0)?;
    client.set_eventfd(0, &eventfd)?;
    client.set(MASK | NONE, 0, 1, &[])?;
    client.signal(0)?;
    client.expect("masked", 1, &eventfd, 0)?;
    let done = client.done(1)?;
    for _ in 0..64 {
        client.request(1, 0xffff)?;
    }
    client.0.reset()?;
    ensure!(client.done(1)? == done + 64, "requests are left");
    let rings = client.rings(1)?;
    client.expect("reset", 0, &eventfd, 0)?;
    client.signal(0)?;
    client.expect("no eventfd", 1, &eventfd, 0)?;
    client.set_eventfd(0, &eventfd)?;
    client.expect("not enabled", 1, &eventfd, 0)?;
    client.enable()?;
    client.expect("enabled, and not masked", 0, &eventfd, 1)?;
    ensure!(client.rings(1)? == rings, "the device did not stop");
    Ok(())
}

fn run(path: &Path) -> Result<bool> {
    let mut client = Client(vfio_user::Client::new(path)?);
    let info = client.0.get_irq_info(MSIX)?;
    ensure!(info.count == VECTORS, "{} vectors, not 4", info.count);
    client.enable()?;
    let mut passed = true;
    for (name, case) in [
        (
            "a vector is masked until its last reason ends",
            masks as fn(&mut Client) -> Result,
        ),
        ("signals by the client arrive and count", signals),
        (
            "an eventfd keeps its count, and can have two vectors",
            counts,
        ),
        (
            "requests add up, and registers are read at any size",
            requests,
        ),
        ("an invalid range changes nothing", ranges),
        ("a reset ends the device's work", reset),
    ] {
        match case(&mut client) {
            Ok(()) => println!("ok {name}"),
            Err(error) => {
                println!("not ok {name}: {error:#}");
                passed = false;
            }
        }
    }
    Ok(passed)
}

/// Sends a message that is no command, so that there is a reply.
fn vanish(path: &Path) -> Result<bool> {
    let mut message = [0; 16];
    message[2..4].copy_from_slice(&99_u16.to_le_bytes());
    message[4..8].copy_from_slice(&16_u32.to_le_bytes());
    UnixStream::connect(path)?.write_all(&message)?;
    Ok(true)
}

fn main() -> Result {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let passed = match arguments.as_slice() {
        [path] => run(path.as_ref()),
        [path, mode] if mode == "vanish" => vanish(path.as_ref()),
        _ => bail!("usage: vfio-user-client SOCKET [vanish]"),
    };
    process::exit(i32::from(!passed.context("use the server")?))
}
