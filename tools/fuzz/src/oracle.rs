// SPDX-License-Identifier: GPL-2.0-only

//! An oracle for programs of one thread: it predicts results, states and counters of lines with the state
//! machine of the module, and compares them.
//!
//! An event that it does not predict makes a line, or the rest of a program, unknown. It then compares nothing
//! there.

mod ioctls;
mod line;

// The model does not use all of it.
#[path = "../../../rust/line/state.rs"]
#[allow(missing_docs, dead_code, unused_imports)]
mod machine;

use self::line::{Id, LineModel, Seen, Signals};
use crate::{
    arena,
    calls::{Action, Op, CONTEXTS, EVENTFDS},
    job::now,
    program::Call,
    sys,
    world::World,
};
use doorbell::uapi;
use std::{collections::HashMap, time::Duration};

/// The maximum number of relays that one call may cause.
const MAX_RELAYS: usize = 8;

/// The time that callbacks have to do what a call has caused.
const PATIENCE: Duration = Duration::from_secs(10);

/// A line: the number of its context, and its own.
type Key = (usize, u64);

/// The expected state of a context.
#[derive(Debug, Default)]
struct ContextModel {
    /// The number of descriptors in the pool; zero if it is closed.
    descriptors: u32,
    nr_lines: u64,
    masked: bool,
    mapped: bool,
}

/// An eventfd.
#[derive(Debug, Default)]
struct EventFdModel {
    descriptors: u32,
    semaphore: bool,
    /// The line that it rings.
    listener: Option<Key>,
}

/// The expected state of the world.
#[derive(Debug, Default)]
pub struct Oracle {
    contexts: Vec<ContextModel>,
    eventfds: Vec<EventFdModel>,
    context_slots: [Option<usize>; CONTEXTS as usize],
    eventfd_slots: [Option<usize>; EVENTFDS as usize],
    lines: HashMap<Key, LineModel>,
    /// The rest of the program is not predicted.
    off: bool,
    /// The count of the eventfd that the call is about to make an irqfd.
    peeked: Option<u64>,
    /// An allocation or user copy of the next call fails.
    injected: bool,
    /// The lines that the call has rung by relays.
    relayed: Vec<Key>,
    /// The lines that the call has changed itself.
    touched: Vec<Key>,
}

impl Oracle {
    /// Notes what the call will change without a trace.
    pub fn before(&mut self, call: &Call, world: &World) {
        self.peeked = None;
        if !self.off && call.form().name == "irqfd" {
            let argument = uapi::Eventfd {
                fd: world.eventfd(call.get("fd")),
                ..Default::default()
            };
            let at = arena::argument(0);
            let mut bytes = [0; size_of::<uapi::Eventfd>()];
            bytes[..4].copy_from_slice(&argument.fd.to_ne_bytes());
            sys::store(at, &bytes);
            let fd = world.context(call.values[0]);
            if sys::ioctl(fd, uapi::EVENTFD_PEEK, at.number()) == 0 {
                sys::load(at, &mut bytes);
                self.peeked = bytes[8..16].try_into().ok().map(u64::from_ne_bytes);
            }
        }
    }

    /// Compares the result of a call with the expected one, and predicts what it has changed.
    pub fn after(&mut self, call: &Call, result: i64, world: &World) -> Result<(), String> {
        if self.off {
            return Ok(());
        }
        self.relayed.clear();
        self.touched.clear();
        if std::mem::take(&mut self.injected) && result < 0 {
            // A failed call changes nothing, but one for a set of lines can fail after its changes.
            self.off |= result == -i64::from(libc::EFAULT);
            return Ok(());
        }
        match call.form().action {
            Action::Other(op) => self.other(op, call, result),
            Action::Store(..) => {}
            _ => {
                let expected = self.ioctl(call, result);
                if let Some(expected) = expected.filter(|expected| *expected != result) {
                    return Err(format!("{call}: {result} instead of {expected}"));
                }
            }
        }
        for key in std::mem::take(&mut self.relayed) {
            self.check(key, world)
                .map_err(|text| format!("{call}: {text}"))?;
        }
        if call.form().name == "query" && result == 0 {
            if let Some(key) = self.key(call.values[0], call.get("line")) {
                self.check(key, world)
                    .map_err(|text| format!("{call}: {text}"))?;
            }
        }
        Ok(())
    }

    /// Compares all lines that the program has used.
    pub fn finish(&mut self, world: &World) -> Result<(), String> {
        let mut keys: Vec<Key> = self.lines.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            if !self.off {
                self.check(key, world)
                    .map_err(|text| format!("at the end: {text}"))?;
            }
        }
        Ok(())
    }

    /// Compares a line with its query. Callbacks may take a while.
    fn check(&self, key: Key, world: &World) -> Result<(), String> {
        let Some(line) = self.lines.get(&key).filter(|line| !line.unknown) else {
            return Ok(());
        };
        let Some(slot) = self
            .context_slots
            .iter()
            .position(|slot| *slot == Some(key.0))
        else {
            return Ok(());
        };
        let expected = line.seen();
        let mut end = None;
        loop {
            // The query after the deadline decides: this thread may not have run since the last one.
            let over = end.is_some_and(|end| now() > end);
            let Some(seen) = query(world.context(slot as u64), key.1 as u32) else {
                return Ok(());
            };
            if seen == expected {
                return Ok(());
            }
            if over {
                return Err(format!(
                    "line {} of context {slot} is {seen:?} instead of {expected:?}",
                    key.1
                ));
            }
            end.get_or_insert_with(|| now() + PATIENCE);
            sys::yield_now();
        }
    }

    fn context(&self, number: u64) -> Option<usize> {
        *self.context_slots.get(number as usize)?
    }

    fn eventfd(&self, number: u64) -> Option<usize> {
        *self.eventfd_slots.get(number as usize)?
    }

    /// Returns the line, if it exists.
    fn key(&self, context: u64, line: u64) -> Option<Key> {
        let line = u64::from(line as u32);
        let context = self.context(context)?;
        (line < self.contexts[context].nr_lines).then_some((context, line))
    }

    fn line(&mut self, key: Key) -> &mut LineModel {
        self.touched.push(key);
        let masked = self.contexts[key.0].masked;
        self.lines
            .entry(key)
            .or_insert_with(|| LineModel::new(masked))
    }

    fn forget(&mut self, key: Key) {
        self.line(key).unknown = true;
    }

    /// Carries out the signals that a transition has caused, and those that follow from them.
    fn signal(&mut self, signals: Signals) {
        let mut signals: std::collections::VecDeque<Id> = signals.into();
        let mut relays = 0;
        while let Some(id) = signals.pop_front() {
            let eventfd = &self.eventfds[id as usize];
            let Some(key) = eventfd.listener else {
                continue;
            };
            relays += 1;
            if relays > MAX_RELAYS {
                self.off = true;
                return;
            }
            let semaphore = eventfd.semaphore;
            let again = self.touched.contains(&key);
            let mut caused = Signals::new();
            let line = self.line(key);
            // The order of a callback and another ring in the same call is not predicted.
            line.unknown |= semaphore || again;
            line.relay(&mut caused);
            if line.unknown {
                // Nor is then the state of what it rings.
                self.off |= caused
                    .iter()
                    .any(|id| self.eventfds[*id as usize].listener.is_some());
                continue;
            }
            self.relayed.push(key);
            signals.extend(caused);
        }
    }

    fn other(&mut self, op: Op, call: &Call, result: i64) {
        let v = &call.values;
        match op {
            Op::Open if result == 0 => {
                self.contexts.push(ContextModel::default());
                self.put_context(v[0], Some(self.contexts.len() - 1));
            }
            Op::DupContext if result == 0 => {
                let context = self.context(v[0] % CONTEXTS);
                self.put_context(v[1], context);
            }
            Op::CloseContext => self.put_context(v[0], None),
            Op::EventFd if result == 0 => {
                self.eventfds.push(EventFdModel {
                    semaphore: v[2] & 1 != 0,
                    ..Default::default()
                });
                self.put_eventfd(v[0], Some(self.eventfds.len() - 1));
            }
            Op::EventFdDup | Op::EventFdPass if result == 0 => {
                let eventfd = self.eventfd(v[0] % EVENTFDS);
                self.put_eventfd(v[1], eventfd);
            }
            Op::EventFdClose => self.put_eventfd(v[0], None),
            Op::EventFdWrite if result > 0 && v[1] != 0 => {
                if let Some(id) = self.eventfd(v[0]) {
                    self.signal(vec![id as Id]);
                }
            }
            // Regions ring lines; io_uring has its own wake-ups; children share everything.
            Op::Map if result == 0 => {
                if let Some(context) = self.context(v[1]) {
                    self.contexts[context].mapped = true;
                }
            }
            Op::FailNth => self.injected = true,
            Op::UringWriteEventFd | Op::UringNotify | Op::Fork => self.off = true,
            _ => {}
        }
    }

    fn put_context(&mut self, slot: u64, context: Option<usize>) {
        if let Some(context) = context {
            self.contexts[context].descriptors += 1;
        }
        let slot = &mut self.context_slots[(slot % CONTEXTS) as usize];
        let Some(old) = std::mem::replace(slot, context) else {
            return;
        };
        self.contexts[old].descriptors -= 1;
        if self.contexts[old].descriptors == 0 {
            // A mapping keeps the context, which goes on ringing.
            self.off |= self.contexts[old].mapped;
            self.lines.retain(|key, _| key.0 != old);
            for eventfd in &mut self.eventfds {
                eventfd.listener = eventfd.listener.filter(|key| key.0 != old);
            }
        }
    }

    fn put_eventfd(&mut self, slot: u64, eventfd: Option<usize>) {
        if let Some(eventfd) = eventfd {
            self.eventfds[eventfd].descriptors += 1;
        }
        let slot = &mut self.eventfd_slots[(slot % EVENTFDS) as usize];
        let Some(old) = std::mem::replace(slot, eventfd) else {
            return;
        };
        self.eventfds[old].descriptors -= 1;
        if self.eventfds[old].descriptors == 0 {
            if let Some(key) = self.eventfds[old].listener.take() {
                self.line(key).remove_irqfd(old as Id);
            }
        }
    }
}

/// Queries a line. Returns none if that fails.
fn query(fd: i32, line: u32) -> Option<Seen> {
    let at = arena::argument(0);
    let mut bytes = [0; size_of::<uapi::Query>()];
    bytes[..4].copy_from_slice(&line.to_ne_bytes());
    sys::store(at, &bytes);
    if sys::ioctl(fd, uapi::QUERY, at.number()) != 0 {
        return None;
    }
    sys::load(at, &mut bytes);
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    let long = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    use std::mem::offset_of;
    Some(Seen {
        state: word(offset_of!(uapi::Query, state)),
        rings: long(offset_of!(uapi::Query, rings)),
        deliveries: long(offset_of!(uapi::Query, deliveries)),
        dropped: long(offset_of!(uapi::Query, dropped)),
        acks: long(offset_of!(uapi::Query, acks)),
        irqfds: word(offset_of!(uapi::Query, nr_irqfds)),
        triggers: word(offset_of!(uapi::Query, nr_triggers)),
        notifiers: word(offset_of!(uapi::Query, nr_notifiers)),
        resamplefds: word(offset_of!(uapi::Query, nr_resamplefds)),
    })
}
