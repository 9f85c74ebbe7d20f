// SPDX-License-Identifier: GPL-2.0-only

//! The consumers of a line.

use super::{Memory, Protocol};
use crate::line::{self, Acked, Taken};
use loom::{
    sync::atomic::Ordering::{AcqRel, Acquire, Relaxed},
    thread,
};
use std::sync::Arc;

/// The steps of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consumer {
    /// Unmasks the line, and reads the trigger.
    Unmasks,
    /// Reads the trigger, while the line's callback delivers on another CPU.
    Woken,
    /// Polls the counter of deliveries, while the line's callback delivers on another CPU.
    Polls,
    /// Clears the pending message, looks for data, and unmasks the line.
    Clears,
    /// Acks a level line, and looks for data as its resamplefd asks for.
    Acks,
    /// Lowers the level, unmasks the line, and reads the trigger.
    Lowers,
}

/// The result of a consumer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The data that it has loaded; zero if it has not looked.
    pub(super) data: u32,
    /// The deliveries that it has loaded.
    deliveries: Option<u32>,
}

impl Seen {
    /// Returns true if there is a notification that the consumer has not consumed yet.
    pub(super) fn is_notified(&self, memory: &Memory) -> bool {
        match self.deliveries {
            Some(seen) => memory.deliveries.load(Relaxed) != seen,
            None => memory.trigger.load(Relaxed) != 0,
        }
    }
}

impl Consumer {
    /// Executes the consumer in the calling thread.
    pub(super) fn run(self, memory: &Arc<Memory>, protocol: &Protocol) -> Seen {
        match self {
            Consumer::Unmasks => {
                memory.unmask(protocol);
                memory.read_trigger()
            }
            Consumer::Woken => memory.while_delivering(protocol, Memory::read_trigger),
            Consumer::Polls => memory.while_delivering(protocol, Memory::poll),
            Consumer::Clears => memory.clear_and_look(protocol),
            Consumer::Acks => {
                let (_, acked) = memory.update(protocol, line::LEVEL | line::ASSERTED, line::ack);
                assert!(matches!(acked, Some(Acked::Done { resample: true, .. })));
                memory.look()
            }
            Consumer::Lowers => {
                let (before, _) = memory.update(protocol, line::LEVEL, line::lower);
                if before & line::PENDING != 0 && before & line::ASSERTED == 0 {
                    memory.release(protocol);
                }
                memory.unmask(protocol);
                memory.read_trigger()
            }
        }
    }
}

impl Memory {
    fn look(&self) -> Seen {
        Seen {
            data: self.data.load(Relaxed),
            deliveries: None,
        }
    }

    /// Consumes the trigger's counter, and looks for data if it is not zero.
    fn read_trigger(&self) -> Seen {
        match self.trigger.swap(0, AcqRel) {
            0 => Seen::default(),
            _ => self.look(),
        }
    }

    /// Looks for data if a delivery was counted.
    fn poll(&self) -> Seen {
        let deliveries = self.deliveries.load(Acquire);
        let seen = match deliveries {
            0 => Seen::default(),
            _ => self.look(),
        };
        Seen {
            deliveries: Some(deliveries),
            ..seen
        }
    }

    /// Calls `consume` while the line's callback delivers in another thread.
    fn while_delivering(self: &Arc<Self>, protocol: &Protocol, consume: fn(&Self) -> Seen) -> Seen {
        let callback = {
            let (memory, protocol) = (self.clone(), *protocol);
            thread::spawn(move || memory.callback(&protocol))
        };
        let seen = consume(self);
        callback.join().expect("the callback ends");
        seen
    }

    /// Ends a turn of polling under a mask.
    fn clear_and_look(&self, protocol: &Protocol) -> Seen {
        let early = protocol.look_early.then(|| self.look());
        if let (_, Taken::Done { .. }) =
            self.update(protocol, line::MASKED | line::PENDING, line::clear)
        {
            self.release(protocol);
        }
        let seen = early.unwrap_or_else(|| self.look());
        self.unmask(protocol);
        seen
    }
}
