// SPDX-License-Identifier: GPL-2.0-only

//! A line as the module's own state machine predicts it, when one thread does everything.

use super::machine::{
    ack, assert_again, clear_counted, count, lower, mask, raise, release, renew, retype,
    ring_counted, set_waiters, uncount, unmask, Acked, Action, Origin, Place, Provenance, Reasons,
    Taken, COUNTS, PENDING,
};

use doorbell::uapi::{IRQFD_FLAG_ACK, IRQFD_FLAG_UNMASK};

/// The identity of an eventfd.
pub type Id = u64;

/// The signals that a transition has caused, in their order.
pub type Signals = Vec<Id>;

/// The bits of the word that DOORBELL_QUERY returns.
const VISIBLE: u32 = doorbell::uapi::LINE_STATE;

/// The expected state of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineModel {
    word: u32,
    units: u32,
    deliveries: u64,
    coalesced: u64,
    dropped: u64,
    acks: u64,
    triggers: Vec<(Id, bool)>,
    notifiers: Vec<(Id, u32)>,
    resamplefds: Vec<(Id, Id)>,
    irqfds: u32,
    /// The unmaskfds and ackfds, with their flags.
    replies: Vec<(Id, u32)>,
    undelivered: bool,
    /// Something happened that this model does not predict.
    pub unknown: bool,
}

/// The part of a query that is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Seen {
    pub state: u32,
    pub rings: u64,
    pub deliveries: u64,
    pub dropped: u64,
    pub acks: u64,
    pub irqfds: u32,
    pub triggers: u32,
    pub notifiers: u32,
    pub resamplefds: u32,
    pub unmaskfds: u32,
    pub ackfds: u32,
}

impl LineModel {
    /// Returns a fresh line, masked or not.
    pub fn new(masked: bool) -> Self {
        Self {
            word: if masked { Reasons::VECTOR.masked() } else { 0 },
            ..Self::default()
        }
    }

    /// Returns the expected result of a query.
    pub fn seen(&self) -> Seen {
        let pending = u64::from(self.word & PENDING != 0);
        Seen {
            state: self.word & VISIBLE,
            rings: self.deliveries + self.coalesced + self.dropped + pending,
            deliveries: self.deliveries,
            dropped: self.dropped,
            acks: self.acks,
            irqfds: self.irqfds,
            triggers: self.triggers.len() as u32 + u32::from(self.has_waiters()),
            notifiers: self.notifiers.len() as u32,
            resamplefds: self.resamplefds.len() as u32,
            unmaskfds: self.replies_with(IRQFD_FLAG_UNMASK),
            ackfds: self.replies_with(IRQFD_FLAG_ACK),
        }
    }

    /// Returns the number of unmaskfds and ackfds that have the flag.
    fn replies_with(&self, flag: u32) -> u32 {
        let replies = self.replies.iter();
        replies.filter(|(_, flags)| flags & flag != 0).count() as u32
    }

    fn has_waiters(&self) -> bool {
        self.word & doorbell::uapi::LINE_WAITERS != 0
    }

    fn apply<T>(&mut self, (word, result): (u32, T)) -> T {
        self.word = word;
        result
    }

    fn apply_units<T>(&mut self, (word, units, result): (u32, u32, T)) -> T {
        self.units = units;
        self.apply((word, result))
    }

    /// Sends a message, and leaves the line as its owner does.
    fn deliver(&mut self, message: bool, signals: &mut Signals) {
        let mut message = message;
        let mut rounds = 0;
        loop {
            if message {
                self.deliveries += 1;
                rounds += 1;
                self.units = 0;
                self.undelivered |= self.triggers.is_empty() && !self.has_waiters();
                signals.extend(self.triggers.iter().map(|(id, _)| *id));
            }
            let released = release(self.word, rounds, Place::Caller);
            match self.apply(released) {
                Action::Deliver(_) => message = true,
                Action::Drop => {
                    self.dropped += 1;
                    message = false;
                }
                _ => return,
            }
        }
    }

    /// Carries out what a ring asks for. Returns DOORBELL_RING_*.
    fn rung(&mut self, action: Action, signals: &mut Signals) -> i64 {
        match action {
            Action::Deliver(_) => self.deliver(true, signals),
            Action::Coalesce => {
                self.coalesced += 1;
                return 0;
            }
            Action::Keep => return 2,
            _ => self.unknown = true,
        }
        1
    }

    /// Rings the line. Returns DOORBELL_RING_*.
    pub fn ring(&mut self, signals: &mut Signals) -> i64 {
        let action = self.apply_units(ring_counted(self.word, self.units, Origin::Caller));
        self.rung(action, signals)
    }

    /// Rings the line as the signal of an irqfd does. When the callback has run, the state is that after any
    /// other ring.
    pub fn relay(&mut self, signals: &mut Signals) {
        let origin = Origin::Wake(Provenance::NOTHING);
        let action = self.apply_units(ring_counted(self.word, self.units, origin));
        match action {
            Action::Relay => {
                let (word, taken) = super::machine::take(self.word);
                self.word = word;
                self.unknown |= !matches!(taken, Action::Deliver(_));
                self.deliver(true, signals);
            }
            other => {
                self.rung(other, signals);
            }
        }
    }

    fn notify(&self, event: u32, resample: bool, signals: &mut Signals) {
        let notified = self
            .notifiers
            .iter()
            .filter(|(_, events)| events & event != 0);
        signals.extend(notified.map(|(id, _)| *id));
        if resample {
            signals.extend(self.resamplefds.iter().map(|(_, id)| *id));
        }
    }

    /// Masks the line. Returns true if it was not masked.
    pub fn mask(&mut self, reasons: Reasons, signals: &mut Signals) -> bool {
        let masked = self.apply(mask(self.word, reasons));
        if masked.newly {
            self.notify(doorbell::uapi::NOTIFY_MASK, false, signals);
        }
        masked.newly
    }

    /// Unmasks the line. Returns true if it delivered a message.
    pub fn unmask(&mut self, reasons: Reasons, signals: &mut Signals) -> bool {
        match self.apply(unmask(self.word, reasons)) {
            Taken::Done { message, resample } => {
                if message.is_some() {
                    self.deliver(true, signals);
                }
                self.notify(doorbell::uapi::NOTIFY_UNMASK, resample, signals);
                message.is_some()
            }
            Taken::Nothing => false,
            Taken::Busy => {
                self.unknown = true;
                false
            }
        }
    }

    /// Drops the pending message. Returns true if there was one.
    pub fn clear(&mut self, signals: &mut Signals) -> bool {
        let (taken, _units) = self.apply_units(clear_counted(self.word, self.units));
        let Taken::Done { resample, .. } = taken else {
            return false;
        };
        self.dropped += 1;
        self.deliver(false, signals);
        self.notify(0, resample, signals);
        true
    }

    /// Returns true if a message is pending.
    pub fn pending(&self) -> bool {
        self.word & PENDING != 0
    }

    /// Raises or lowers the level. Returns the result; none for an edge line.
    pub fn set_level(&mut self, high: bool, signals: &mut Signals) -> Option<i64> {
        if high {
            let action = self.apply(raise(self.word, Origin::Caller))?;
            return Some(self.rung(action, signals));
        }
        let withdrawn = self.apply(lower(self.word))?;
        if withdrawn {
            self.dropped += 1;
            self.deliver(false, signals);
        }
        Some(withdrawn.into())
    }

    /// Acks the line. Returns DOORBELL_ACK_*; none for an edge line.
    pub fn ack(&mut self, signals: &mut Signals) -> Option<i64> {
        let Acked::Done { resample, again } = self.apply(ack(self.word))? else {
            return Some(0);
        };
        self.acks += 1;
        self.notify(doorbell::uapi::NOTIFY_ACK, resample, signals);
        if again {
            if let Some(action) = self.apply(assert_again(self.word, Origin::Caller)) {
                self.rung(action, signals);
            }
        }
        Some(if resample { 1 } else { 2 })
    }

    /// Changes the type. Returns false if the line is busy.
    pub fn set_type(&mut self, level: bool, automask: bool) -> bool {
        if !level && (!self.resamplefds.is_empty() || self.replies_with(IRQFD_FLAG_ACK) != 0) {
            return false;
        }
        self.apply(retype(self.word, level, automask))
    }

    /// Adds a trigger.
    pub fn add_trigger(&mut self, id: Id, counts: bool, signals: &mut Signals) {
        if counts {
            let counted = self.apply_units(count(self.word, self.units));
            self.unknown |= !counted;
        }
        self.triggers.push((id, counts));
        self.triggered(signals);
    }

    fn triggered(&mut self, signals: &mut Signals) {
        if std::mem::take(&mut self.undelivered) {
            self.apply(renew(self.word));
        }
        // The assignment owns the line.
        self.word |= super::machine::IN_PROGRESS;
        self.deliver(false, signals);
    }

    /// Removes a trigger. Returns false if there is no such one.
    pub fn remove_trigger(&mut self, id: Id) -> bool {
        let before = self.triggers.len();
        self.triggers.retain(|(other, _)| *other != id);
        self.end_count();
        self.triggers.len() < before
    }

    /// Removes all triggers. Returns their number.
    pub fn remove_triggers(&mut self) -> usize {
        let count = self.triggers.len();
        self.triggers.clear();
        self.end_count();
        count
    }

    fn end_count(&mut self) {
        if self.word & COUNTS != 0 && !self.triggers.iter().any(|(_, counts)| *counts) {
            self.apply_units(uncount(self.word, self.units));
        }
    }

    /// Assigns or deassigns the waiters.
    pub fn set_waiters(&mut self, waiters: bool, signals: &mut Signals) {
        self.apply(set_waiters(self.word, waiters));
        if waiters {
            self.triggered(signals);
        }
    }

    /// Adds a notifier.
    pub fn add_notifier(&mut self, id: Id, events: u32) {
        self.notifiers.push((id, events));
    }

    /// Removes a notifier, or all. Returns their number.
    pub fn remove_notifiers(&mut self, id: Option<Id>) -> usize {
        let before = self.notifiers.len();
        self.notifiers
            .retain(|(other, _)| id.is_some_and(|id| id != *other));
        before - self.notifiers.len()
    }

    /// Adds an irqfd, with a resamplefd or without.
    pub fn add_irqfd(&mut self, id: Id, resamplefd: Option<Id>) {
        self.irqfds += 1;
        self.resamplefds
            .extend(resamplefd.map(|resamplefd| (id, resamplefd)));
    }

    /// Adds an unmaskfd or ackfd.
    pub fn add_reply(&mut self, id: Id, flags: u32) {
        self.irqfds += 1;
        self.replies.push((id, flags));
    }

    /// Returns true if the eventfd is an unmaskfd or ackfd.
    pub fn is_reply(&self, id: Id) -> bool {
        self.replies.iter().any(|(reply, _)| *reply == id)
    }

    /// Returns the eventfds that the line signals.
    pub fn outputs(&self) -> impl Iterator<Item = Id> + '_ {
        let triggers = self.triggers.iter().map(|(id, _)| *id);
        let notifiers = self.notifiers.iter().map(|(id, _)| *id);
        let resamplefds = self.resamplefds.iter().map(|(_, id)| *id);
        triggers.chain(notifiers).chain(resamplefds)
    }

    /// Removes an irqfd, an unmaskfd or an ackfd.
    pub fn remove_irqfd(&mut self, id: Id) {
        self.replies.retain(|(reply, _)| *reply != id);
        self.irqfds = self.irqfds.saturating_sub(1);
        self.resamplefds.retain(|(irqfd, _)| *irqfd != id);
    }
}
