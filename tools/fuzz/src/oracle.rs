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

    /// Compares a line with its query.
    fn check(&self, key: Key, world: &World) -> Result<(), String> {
        self.compare(key, PATIENCE, |slot| {
            query(world.context(slot as u64), key.1 as u32)
        })
    }

    /// Compares a line with what `query` returns for a context. Callbacks may take a while, up to `patience`.
    fn compare(
        &self,
        key: Key,
        patience: Duration,
        query: impl Fn(usize) -> Option<Seen>,
    ) -> Result<(), String> {
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
            let Some(seen) = query(slot) else {
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
            end.get_or_insert_with(|| now() + patience);
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

    /// Returns true if one of the eventfds has a listener.
    fn has_listener(&self, ids: &[Id]) -> bool {
        let mut eventfds = ids.iter().map(|id| &self.eventfds[*id as usize]);
        eventfds.any(|eventfd| eventfd.listener.is_some())
    }

    /// Makes a line unknown because of a signal of its unmaskfd or ackfd.
    fn forget_reply(&mut self, key: Key) {
        let line = self.line(key);
        line.unknown = true;
        let outputs: Signals = line.outputs().collect();
        self.off |= self.has_listener(&outputs);
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
            if self.lines.get(&key).is_some_and(|line| line.is_reply(id)) {
                self.forget_reply(key);
                continue;
            }
            let semaphore = self.eventfds[id as usize].semaphore;
            let again = self.touched.contains(&key);
            let mut caused = Signals::new();
            let line = self.line(key);
            // The order of a callback and another ring in the same call is not predicted.
            line.unknown |= semaphore || again;
            line.relay(&mut caused);
            if line.unknown {
                // Nor is then the state of what it rings.
                self.off |= self.has_listener(&caused);
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
        unmaskfds: word(offset_of!(uapi::Query, nr_unmaskfds)),
        ackfds: word(offset_of!(uapi::Query, nr_ackfds)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;
    use std::sync::Mutex;

    /// The calls of a context, an edge line 0, and a level line 1.
    const BEGIN: &str =
        "0 open\n0 set_lines nr_lines=8\n0 eventfd\n0 eventfd fd=1\n0 set_type line=1 type_=1\n";

    /// The arena is at one address.
    static ARENA: Mutex<()> = Mutex::new(());

    /// Runs [`BEGIN`] and `text`, each call of which has its result before it.
    fn run(text: &str) -> (Oracle, Result<(), String>) {
        let _arena = ARENA.lock().unwrap();
        arena::map().unwrap();
        arena::clear();
        let (mut oracle, world) = (Oracle::default(), World::new().unwrap());
        let begin = BEGIN.lines().map(|call| (0, call));
        let calls = text.lines().map(|line| {
            let (result, call) = line.split_once(": ").unwrap();
            (result.parse().unwrap(), call)
        });
        for (result, call) in begin.chain(calls) {
            let call = Program::parse(call).unwrap().calls[0];
            oracle.before(&call, &world);
            // There is no device. These eventfds are empty.
            oracle.peeked = Some(0);
            let compared = oracle.after(&call, result, &world);
            if compared.is_err() {
                return (oracle, compared);
            }
        }
        (oracle, Ok(()))
    }

    /// The oracle predicts that the calls before the last one, and the last one, have these results, and no other.
    fn predicts(text: &str) {
        assert_eq!(run(text).1, Ok(()), "{text}");
        let (before, last) = text.rsplit_once('\n').unwrap_or(("", text));
        let (result, call) = last.split_once(": ").unwrap();
        let result: i64 = result.parse().unwrap();
        let wrong = format!("{before}\n{}: {call}", result + 1);
        assert_eq!(
            run(wrong.trim_start()).1,
            Err(format!("{call}: {} instead of {result}", result + 1))
        );
    }

    #[test]
    fn each_predicted_result_is_compared() {
        for text in [
            "1: 0 ring",
            "-6: 0 ring line=8",
            "1: 0 mask nr_lines=1\n2: 0 ring\n0: 0 ring",
            "1: 0 ring line=1\n0: 0 ring line=1\n1: 0 ack line=1",
            "0: 0 ack line=1",
            "-95: 0 ack",
            "0: 0 set_type line=2 type_=1 flags=1",
            "1: 0 ring line=1\n-16: 0 set_type line=1",
            "0: 0 irqfd line=1 flags=8\n-16: 0 set_type line=1",
            "1: 0 set_level line=1 level=1\n0: 0 set_level line=1",
            "-95: 0 set_level level=1",
            "0: 0 trigger",
            "0: 0 trigger\n0: 0 trigger fd=1\n2: 0 trigger flags=3",
            "0: 0 trigger\n0: 0 trigger flags=1",
            "0: 0 trigger flags=4",
            "0: 0 notifier events=1\n1: 0 notifier flags=3",
            "0: 0 notifier events=1\n0: 0 notifier flags=1",
            "3: 0 mask nr_lines=3",
            "8: 0 mask nr_lines=8\n2: 0 ring\n1: 0 unmask nr_lines=8",
            "8: 0 mask nr_lines=8\n2: 0 ring\n1: 0 pending nr_lines=8",
            "8: 0 mask nr_lines=8\n2: 0 ring\n1: 0 clear nr_lines=8",
            "8: 0 mask nr_lines=8 flags=2\n0: 0 ring_lines nr_lines=8",
            "-22: 0 mask",
            "-6: 0 mask line=7 nr_lines=2",
        ] {
            predicts(text);
        }
    }

    #[test]
    fn an_unknown_line_is_not_compared() {
        for text in [
            "0: 0 moderate line=2 min_interval=1000\n7: 0 ring line=2",
            "0: 0 irqfd line=1 flags=8\n8: 0 eventfd_write value=1\n7: 0 ring line=1",
            "0: 0 summary nr_lines=1\n7: 0 ring",
            "0: 0 fail_nth nth=1\n-12: 0 trigger",
        ] {
            assert_eq!(run(text).1, Ok(()), "{text}");
        }
    }

    /// The oracle expects `seen` of a line after the calls, and reports each field that differs.
    fn expects(text: &str, line: u64, seen: Seen) {
        let (oracle, result) = run(text);
        assert_eq!(result, Ok(()), "{text}");
        let compare = |seen| oracle.compare((0, line), Duration::ZERO, |_| Some(seen));
        assert_eq!(compare(seen), Ok(()), "{text}");
        let mut others = [seen; 11];
        others[0].state ^= uapi::LINE_MASKED;
        others[1].rings += 1;
        others[2].deliveries += 1;
        others[3].dropped += 1;
        others[4].acks += 1;
        others[5].irqfds += 1;
        others[6].triggers += 1;
        others[7].notifiers += 1;
        others[8].resamplefds += 1;
        others[9].unmaskfds += 1;
        others[10].ackfds += 1;
        for other in others {
            assert!(compare(other).is_err(), "{text}: {other:?}");
        }
    }

    #[test]
    fn each_field_of_a_query_is_compared() {
        let level = uapi::LINE_LEVEL;
        let masked = uapi::LINE_MASKED | (uapi::MASK_VECTOR << uapi::LINE_REASONS_SHIFT);
        let none = Seen::default();
        expects(
            "1: 0 mask nr_lines=1\n2: 0 ring\n1: 0 clear nr_lines=1\n2: 0 ring\n0: 0 ring",
            0,
            Seen {
                state: masked | uapi::LINE_PENDING,
                rings: 3,
                dropped: 1,
                ..none
            },
        );
        expects(
            "0: 0 trigger line=1\n0: 0 notifier line=1 events=7\n1: 0 ring line=1\n1: 0 ack line=1",
            1,
            Seen {
                state: level,
                rings: 1,
                deliveries: 1,
                acks: 1,
                triggers: 1,
                notifiers: 1,
                ..none
            },
        );
        expects(
            "0: 0 irqfd line=1 flags=2 resamplefd=2\n8: 0 eventfd_write value=1",
            1,
            Seen {
                state: level | uapi::LINE_ASSERTED,
                rings: 1,
                deliveries: 1,
                irqfds: 1,
                resamplefds: 1,
                ..none
            },
        );
        expects(
            "0: 0 irqfd line=1 flags=12\n0: 0 irqfd fd=1 line=1 flags=4",
            1,
            Seen {
                state: level,
                irqfds: 2,
                unmaskfds: 2,
                ackfds: 1,
                ..none
            },
        );
        let seen = Seen {
            state: level,
            ..none
        };
        let assigned = "0: 0 irqfd line=1 flags=12\n0: 0 irqfd fd=1 line=1 flags=4";
        let closed = format!("{assigned}\n0: 0 irqfd line=1 flags=1\n0: 0 eventfd_close fd=1");
        expects(&closed, 1, seen);
    }
}
