// SPDX-License-Identifier: GPL-2.0-only

//! The times between the events of a line.

use super::{Event, Kind, Outcome};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// A part of a message's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leg {
    /// From a ring to its delivery, while the line is not masked.
    RingDeliver,
    /// From the queueing of the irq_work to the delivery.
    RelayDeliver,
    /// From the deferral to the delivery by the worker.
    DeferDeliver,
    /// From a ring to its delivery, if the line was masked in between.
    HeldDeliver,
    /// From the first delivery that was not consumed yet until a waiter has consumed it.
    DeliverTake,
    /// From a mask to the unmask.
    MaskUnmask,
}

impl Leg {
    /// All legs, in the order of output.
    pub const ALL: [Self; 6] = [
        Self::RingDeliver,
        Self::RelayDeliver,
        Self::DeferDeliver,
        Self::HeldDeliver,
        Self::DeliverTake,
        Self::MaskUnmask,
    ];

    /// Returns the name in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::RingDeliver => "ring-deliver",
            Self::RelayDeliver => "relay-deliver",
            Self::DeferDeliver => "defer-deliver",
            Self::HeldDeliver => "held-deliver",
            Self::DeliverTake => "deliver-take",
            Self::MaskUnmask => "mask-unmask",
        }
    }
}

/// The times of the last events of a line that have not ended yet.
#[derive(Debug, Default)]
struct Open {
    ring: Option<u64>,
    relay: Option<u64>,
    defer: Option<u64>,
    held: Option<u64>,
    mask: Option<u64>,
    delivery: Option<u64>,
}

impl Open {
    /// Begins with the ring of a line that has no other message.
    fn start(&mut self, ns: u64) {
        *self = Self {
            ring: Some(ns),
            mask: self.mask,
            delivery: self.delivery,
            ..Self::default()
        };
    }
}

/// The events of a line.
#[derive(Debug, Default)]
pub struct LineTimes {
    open: Open,
    /// Number of rings.
    pub rings: u64,
    /// Number of rings that joined another ring's message.
    pub coalesced: u64,
    /// Number of deliveries.
    pub deliveries: u64,
    /// Times in nanoseconds.
    pub legs: BTreeMap<Leg, Histogram<u64>>,
}

impl LineTimes {
    fn record(&mut self, leg: Leg, from: Option<u64>, to: u64) {
        let Some(from) = from else { return };
        let histogram = self
            .legs
            .entry(leg)
            .or_insert_with(|| Histogram::new(3).expect("three digits are legal"));
        // It grows as needed.
        histogram.saturating_record(to.saturating_sub(from));
    }

    fn add(&mut self, ns: u64, kind: Kind) {
        match kind {
            Kind::Ring(outcome) => {
                self.rings += 1;
                match outcome {
                    Outcome::Coalesced => self.coalesced += 1,
                    Outcome::Masked => self.open.held = Some(ns),
                    Outcome::Queued => self.open.ring = Some(ns),
                    // Without a delivery, an earlier message was dropped: a CLEAR is no event.
                    Outcome::Message => self.open.start(ns),
                }
            }
            Kind::RelayQueued => self.open.relay = self.open.ring.map(|_| ns),
            Kind::Deferred => self.open.defer = Some(ns),
            Kind::Deliver | Kind::DeliverAutomasked => {
                self.deliveries += 1;
                let Open {
                    ring,
                    relay,
                    defer,
                    held,
                    ..
                } = &mut self.open;
                let ended = [
                    (Leg::RingDeliver, ring.take()),
                    (Leg::RelayDeliver, relay.take()),
                    (Leg::DeferDeliver, defer.take()),
                    (Leg::HeldDeliver, held.take()),
                ];
                for (leg, from) in ended {
                    self.record(leg, from, ns);
                }
                if kind == Kind::DeliverAutomasked {
                    self.open.mask = Some(ns);
                }
                self.open.delivery.get_or_insert(ns);
            }
            Kind::Take => {
                let from = self.open.delivery.take();
                self.record(Leg::DeliverTake, from, ns);
            }
            Kind::Mask => {
                // The line holds a message that was not delivered before the mask.
                if let Some(ring) = self.open.ring.take() {
                    self.open = Open {
                        held: Some(ring),
                        delivery: self.open.delivery,
                        ..Open::default()
                    };
                }
                self.open.mask = Some(ns);
            }
            Kind::Unmask { pending } => {
                if !pending {
                    self.open.held = None;
                }
                let from = self.open.mask.take();
                self.record(Leg::MaskUnmask, from, ns);
            }
        }
    }
}

/// The events of all lines, by context and line.
#[derive(Debug, Default)]
pub struct Times {
    /// The lines that had events.
    pub lines: BTreeMap<(u32, u32), LineTimes>,
    /// Events that are not in order yet.
    waiting: Vec<Event>,
    /// The newest event of the drain before the last one.
    newest: u64,
}

impl Times {
    /// Adds the events of one drain. An event of another CPU that is older than one of them comes in
    /// the next drain at the latest, so the newest ones wait for that.
    pub fn add(&mut self, events: &mut Vec<Event>) {
        let before = self.newest;
        self.newest = events.iter().map(|event| event.ns).fold(before, u64::max);
        self.waiting.append(events);
        self.take(before);
    }

    /// Adds the events that wait, after the last drain.
    pub fn finish(&mut self) {
        self.take(u64::MAX);
    }

    fn take(&mut self, until: u64) {
        // Stable: events of one time stay in the order of their CPU.
        self.waiting.sort_by_key(|event| event.ns);
        let count = self.waiting.partition_point(|event| event.ns <= until);
        for event in self.waiting.drain(..count) {
            self.lines
                .entry((event.context, event.line))
                .or_default()
                .add(event.ns, event.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(events: &[(u64, Kind)]) -> LineTimes {
        let mut line = LineTimes::default();
        for &(ns, kind) in events {
            line.add(ns, kind);
        }
        line
    }

    fn legs(line: &LineTimes) -> Vec<(Leg, u64, u64)> {
        let leg =
            |(&leg, histogram): (&Leg, &Histogram<u64>)| (leg, histogram.len(), histogram.max());
        line.legs.iter().map(leg).collect()
    }

    const MESSAGE: Kind = Kind::Ring(Outcome::Message);

    #[test]
    fn relay_has_two_legs() {
        let line = times(&[
            (100, MESSAGE),
            (110, Kind::RelayQueued),
            (150, Kind::Ring(Outcome::Coalesced)),
            (200, Kind::Deliver),
            // The end of no ring that was seen.
            (300, Kind::Deliver),
        ]);
        assert_eq!(
            legs(&line),
            [(Leg::RingDeliver, 1, 100), (Leg::RelayDeliver, 1, 90)]
        );
        assert_eq!((line.rings, line.coalesced, line.deliveries), (2, 1, 2));
    }

    #[test]
    fn held_message_is_no_slow_delivery() {
        let line = times(&[
            (100, Kind::Mask),
            (110, Kind::Ring(Outcome::Masked)),
            (200, Kind::Unmask { pending: true }),
            (210, Kind::Deliver),
        ]);
        assert_eq!(
            legs(&line),
            [(Leg::HeldDeliver, 1, 100), (Leg::MaskUnmask, 1, 100)]
        );
        // The line masks itself until its handler has ended.
        let line = times(&[
            (100, MESSAGE),
            (110, Kind::DeliverAutomasked),
            (120, Kind::Ring(Outcome::Masked)),
            (150, Kind::Unmask { pending: true }),
            (151, Kind::DeliverAutomasked),
        ]);
        assert_eq!(
            legs(&line),
            [
                (Leg::RingDeliver, 1, 10),
                (Leg::HeldDeliver, 1, 31),
                (Leg::MaskUnmask, 1, 40)
            ]
        );
        // A message that was to be delivered when the line was masked.
        let line = times(&[
            (100, MESSAGE),
            (101, Kind::RelayQueued),
            (110, Kind::Mask),
            (200, Kind::Unmask { pending: true }),
            (201, Kind::Deliver),
        ]);
        assert_eq!(
            legs(&line),
            [(Leg::HeldDeliver, 1, 101), (Leg::MaskUnmask, 1, 90)]
        );
    }

    #[test]
    fn dropped_message_has_no_leg() {
        let line = times(&[(100, MESSAGE), (900, MESSAGE), (1000, Kind::Deliver)]);
        assert_eq!(legs(&line), [(Leg::RingDeliver, 1, 100)]);
    }

    #[test]
    fn held_message_that_was_dropped_has_no_leg() {
        // A CLEAR between the ring and the unmask is no event.
        let line = times(&[
            (100, Kind::Mask),
            (110, Kind::Ring(Outcome::Masked)),
            (200, Kind::Unmask { pending: false }),
            (1000, Kind::Ring(Outcome::Queued)),
            (1005, Kind::Deliver),
        ]);
        assert_eq!(
            legs(&line),
            [(Leg::RingDeliver, 1, 5), (Leg::MaskUnmask, 1, 100)]
        );
        // The event of a ring that the owner has delivered comes after the delivery.
        let line = times(&[
            (100, MESSAGE),
            (110, Kind::Deliver),
            (120, Kind::Deliver),
            (121, Kind::Ring(Outcome::Queued)),
            (200, Kind::Mask),
            (210, Kind::Unmask { pending: false }),
            (1000, MESSAGE),
            (1007, Kind::Deliver),
        ]);
        assert_eq!(
            legs(&line),
            [(Leg::RingDeliver, 2, 10), (Leg::MaskUnmask, 1, 10)]
        );
        // The event of the unmask comes after that of a ring on another CPU.
        let line = times(&[
            (100, Kind::Mask),
            (110, Kind::Ring(Outcome::Masked)),
            (1000, MESSAGE),
            (1007, Kind::Deliver),
            (1008, Kind::Unmask { pending: false }),
        ]);
        assert_eq!(
            legs(&line),
            [(Leg::RingDeliver, 1, 7), (Leg::MaskUnmask, 1, 908)]
        );
    }

    #[test]
    fn parts_of_a_dropped_message_have_no_leg() {
        let line = times(&[
            (100, MESSAGE),
            (101, Kind::RelayQueued),
            (102, Kind::Deferred),
            (900, MESSAGE),
            (1000, Kind::Deliver),
        ]);
        assert_eq!(legs(&line), [(Leg::RingDeliver, 1, 100)]);
        // The owner defers the rest of its delivery, and then delivers the message of the ring.
        let line = times(&[
            (100, Kind::Deferred),
            (110, Kind::Ring(Outcome::Queued)),
            (150, Kind::Deliver),
        ]);
        assert_eq!(
            legs(&line),
            [(Leg::RingDeliver, 1, 40), (Leg::DeferDeliver, 1, 50)]
        );
    }

    #[test]
    fn first_delivery_counts_until_it_is_taken() {
        let line = times(&[
            (100, Kind::Deliver),
            (150, Kind::Deliver),
            (190, Kind::Take),
            (200, Kind::Deliver),
            // A message that is held meanwhile.
            (210, MESSAGE),
            (220, Kind::Mask),
            (230, Kind::Take),
            (240, Kind::Take),
        ]);
        assert_eq!(legs(&line), [(Leg::DeliverTake, 2, 90)]);
        assert_eq!(line.legs[&Leg::DeliverTake].min(), 30);
    }

    #[test]
    fn deferral_has_its_leg() {
        let line = times(&[(1, MESSAGE), (2, Kind::Deferred), (12, Kind::Deliver)]);
        assert_eq!(
            legs(&line),
            [(Leg::RingDeliver, 1, 11), (Leg::DeferDeliver, 1, 10)]
        );
    }

    #[test]
    fn events_of_several_cpus_are_sorted() {
        let event = |ns, kind| Event {
            ns,
            context: 1,
            line: 2,
            kind,
        };
        let mut times = Times::default();
        // The delivery of the second CPU is read first, and the ring one drain later.
        times.add(&mut vec![event(10, MESSAGE)]);
        times.add(&mut vec![
            event(15, Kind::Deliver),
            event(40, Kind::Deliver),
        ]);
        times.add(&mut vec![event(30, MESSAGE)]);
        times.finish();
        let line = &times.lines[&(1, 2)];
        assert_eq!(legs(line), [(Leg::RingDeliver, 2, 10)]);
        assert_eq!(line.legs[&Leg::RingDeliver].min(), 5);
    }
}
