// SPDX-License-Identifier: GPL-2.0-only

//! The vhost-user backend: a device that echoes.
//!
//! It is a process of its own, and has no other connection to the VMM than the socket, the guest's memory
//! and two eventfds. It does not know that the eventfds lead to lines: the kick is the trigger of a line, and
//! the call is the irqfd of another one.

use super::{
    layout,
    ledger::{Entry, Ledger, Stage},
};
use anyhow::{anyhow, Context as _, Result};
use std::{
    fs::OpenOptions,
    io,
    os::{fd::AsFd, unix::net::UnixListener},
    path::Path,
    process,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use vhost::vhost_user::{
    message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures},
    Error as VhostUserError, Listener,
};
use vhost_user_backend::{
    Error as DaemonError, VhostUserBackendMut, VhostUserDaemon, VringMutex, VringState, VringT,
};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::{
    epoll::EventSet,
    event::{new_event_consumer_and_notifier, EventConsumer, EventFlag, EventNotifier},
};

/// The bit of VIRTIO_F_VERSION_1.
const VERSION_1: u64 = 1 << 32;

/// The interval of looking whether a stop has ended.
const LOOK: Duration = Duration::from_micros(100);

struct Echo {
    ledger: Ledger,
    memory: Option<GuestMemoryAtomic<GuestMemoryMmap>>,
}

/// Stops until the run kills this process, or lets it go on.
fn stop(ledger: &Ledger) {
    ledger.set(Entry::Stopped, 1);
    while ledger.get(Entry::StopAt) != 0 {
        thread::sleep(LOOK);
    }
}

impl Echo {
    /// Answers all requests of the available ring, in order.
    fn answer_all(&mut self, vring: &mut VringState) -> io::Result<()> {
        let memory = self.memory.as_ref().context("no memory yet");
        let memory = memory.map_err(io::Error::other)?.memory();
        let mut answered = None;
        while let Some(chain) = vring.get_queue_mut().pop_descriptor_chain(memory.clone()) {
            let head = chain.head_index();
            let mut reader = chain.clone().reader(&memory).map_err(io::Error::other)?;
            let [id, value]: [u64; 2] = reader.read_obj()?;
            if self.ledger.stops(id..=id, Stage::Taken) {
                stop(&self.ledger);
            }
            match id.wrapping_sub(self.ledger.get(Entry::Executed)) {
                1 => self.ledger.set(Entry::Executed, id),
                0 => self.ledger.add(Entry::Repeated),
                _ => self.ledger.add(Entry::Refused),
            }
            if self.ledger.stops(id..=id, Stage::Executed) {
                stop(&self.ledger);
            }
            let sequence = self.ledger.get(Entry::Executed);
            let mut writer = chain.writer(&memory).map_err(io::Error::other)?;
            writer.write_obj([id, value.wrapping_add(1), sequence])?;
            let len = layout::ANSWER_SIZE;
            vring.add_used(head, len).map_err(io::Error::other)?;
            let (first, _) = *answered.get_or_insert((id, id));
            answered = Some((first, id));
        }
        if let Some((first, last)) = answered {
            if self.ledger.stops(first..=last, Stage::Used) {
                stop(&self.ledger);
            }
            if vring.needs_notification().map_err(io::Error::other)? {
                self.ledger.add(Entry::SignalsBegun);
                vring.signal_used_queue()?;
                self.ledger.add(Entry::SignalsSent);
            }
        }
        Ok(())
    }
}

impl VhostUserBackendMut for Echo {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        layout::QUEUE_SIZE.into()
    }

    fn features(&self) -> u64 {
        VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&mut self, _enabled: bool) {}

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        // Without it the thread of the queue would not end.
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        self.memory = Some(memory);
        Ok(())
    }

    fn handle_event(
        &mut self,
        _event: u16,
        _set: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> io::Result<()> {
        let mut vring = vrings[0].get_mut();
        // GET_VRING_BASE may have come after the kick was read.
        if !vring.get_queue().ready() || !vring.is_enabled() {
            return Ok(());
        }
        // Without the abort only the thread of the queue would end, and the process would go on without it.
        if let Err(error) = self.answer_all(&mut vring) {
            eprintln!("msix-vmm: backend: {error:#}");
            process::abort();
        }
        Ok(())
    }
}

/// Runs the backend: accepts one connection at the socket that is its standard input, and serves it until
/// the frontend closes it.
pub(crate) fn run(ledger: &Path) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(ledger);
    let file = file.with_context(|| format!("open the ledger {}", ledger.display()))?;
    let echo = Echo {
        ledger: Ledger::map(file)?,
        memory: None,
    };
    let socket = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut listener = Listener::from(socket);
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let echo = Arc::new(Mutex::new(echo));
    let failed = |error: DaemonError| anyhow!("{error}");
    let mut daemon = VhostUserDaemon::new("echo".into(), echo, memory).map_err(failed)?;
    daemon.start(&mut listener).map_err(failed)?;
    let ended = daemon.wait();
    for handler in daemon.get_epoll_handlers() {
        handler.send_exit_event();
    }
    match ended {
        Ok(()) => Ok(()),
        // The frontend has gone.
        Err(DaemonError::HandleRequest(
            VhostUserError::Disconnected | VhostUserError::PartialMessage,
        )) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
