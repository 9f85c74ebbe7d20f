// SPDX-License-Identifier: GPL-2.0-only

//! A model of one line: the result of each call, and the state and counters after it.
//!
//! The model is exact if only one thread works on the line, and waits for each message before the
//! next call.

use doorbell::{AckOutcome, LineQuery, MaskReasons, RingOutcome};

/// The state that a line must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) level: bool,
    pub(super) reasons: MaskReasons,
    pub(super) automask: bool,
    pub(super) pending: bool,
    pub(super) asserted: bool,
    pub(super) raised: bool,
    /// True after an ack while masked.
    pub(super) resample: bool,
    pub(super) rings: u64,
    pub(super) deliveries: u64,
    pub(super) dropped: u64,
    pub(super) acks: u64,
    /// The number of masks and unmasks, without the masks by a delivery.
    pub(super) transitions: u64,
    /// The number of masks by a delivery.
    pub(super) automasks: u64,
    /// The number of signals of each resamplefd.
    pub(super) resamples: u64,
}

impl Expected {
    /// Returns the model of an unused line.
    pub(super) fn new(level: bool) -> Self {
        Self {
            level,
            ..Self::default()
        }
    }

    /// Returns the model of a line in `state`. Nothing may be in flight.
    pub(super) fn from_state(state: &LineQuery) -> Self {
        Self {
            level: state.level,
            reasons: state.reasons,
            automask: state.automask,
            pending: state.pending,
            asserted: state.asserted,
            raised: state.raised,
            resample: state.resample,
            rings: state.rings,
            deliveries: state.deliveries,
            dropped: state.dropped,
            acks: state.acks,
            ..Self::default()
        }
    }

    /// Compares the model with `state`. Returns the first field that differs, and both values.
    pub(super) fn difference(&self, state: &LineQuery) -> Option<(&'static str, u64, u64)> {
        let got = Self {
            transitions: self.transitions,
            automasks: self.automasks,
            resamples: self.resamples,
            ..Self::from_state(state)
        };
        [
            ("level", got.level.into(), self.level.into()),
            ("masked", state.masked.into(), self.masked().into()),
            (
                "mask reasons",
                got.reasons.bits().into(),
                self.reasons.bits().into(),
            ),
            ("automask", got.automask.into(), self.automask.into()),
            ("pending", got.pending.into(), self.pending.into()),
            ("asserted", got.asserted.into(), self.asserted.into()),
            ("raised", got.raised.into(), self.raised.into()),
            ("resample", got.resample.into(), self.resample.into()),
            ("rings", got.rings, self.rings),
            ("deliveries", got.deliveries, self.deliveries),
            ("dropped", got.dropped, self.dropped),
            ("acks", got.acks, self.acks),
        ]
        .into_iter()
        .find(|(_, got, want)| got != want)
    }

    fn send(&mut self) {
        self.deliveries += 1;
        self.asserted |= self.level;
        if self.automask {
            self.automasks += 1;
            self.reasons = self.reasons | MaskReasons::AUTO;
        }
    }

    pub(super) fn masked(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Returns true if a message was delivered and waits for its ack.
    fn waits_for_ack(&self) -> bool {
        self.asserted && !self.pending
    }

    fn request(&mut self) -> RingOutcome {
        match (self.masked(), self.pending) {
            (false, _) => {
                self.send();
                RingOutcome::Delivered
            }
            (true, false) => {
                self.pending = true;
                RingOutcome::Masked
            }
            (true, true) => RingOutcome::Coalesced,
        }
    }

    pub(super) fn ring(&mut self) -> RingOutcome {
        self.rings += 1;
        if self.waits_for_ack() {
            return RingOutcome::Coalesced;
        }
        self.asserted |= self.level;
        self.request()
    }

    pub(super) fn raise(&mut self) -> RingOutcome {
        self.rings += 1;
        let joins = self.raised || self.waits_for_ack();
        self.raised = true;
        match joins {
            true => RingOutcome::Coalesced,
            false => self.request(),
        }
    }

    pub(super) fn lower(&mut self) -> bool {
        let withdraws = self.raised && self.pending && !self.asserted;
        self.raised = false;
        self.pending &= !withdraws;
        self.dropped += u64::from(withdraws);
        withdraws
    }

    pub(super) fn ack(&mut self) -> AckOutcome {
        if !self.waits_for_ack() {
            return AckOutcome::Nothing;
        }
        self.acks += 1;
        let ack = match self.deassert() {
            true => AckOutcome::Done,
            false => AckOutcome::Postponed,
        };
        if self.raised {
            // A raised level is a ring of its own, not only a delivery.
            self.rings += 1;
            self.request();
        }
        ack
    }

    /// De-asserts the line. Returns true if the resamplefds are signalled now.
    fn deassert(&mut self) -> bool {
        self.asserted = false;
        if self.masked() {
            self.resample = true;
            return false;
        }
        self.resamples += 1;
        true
    }

    pub(super) fn mask(&mut self) -> bool {
        self.mask_for(MaskReasons::VECTOR)
    }

    pub(super) fn mask_for(&mut self, reasons: MaskReasons) -> bool {
        let masked = self.masked();
        if !masked {
            self.transitions += 1;
        }
        self.reasons = self.reasons | reasons;
        !masked
    }

    pub(super) fn unmask(&mut self) -> bool {
        self.unmask_for(MaskReasons::VECTOR)
    }

    pub(super) fn unmask_for(&mut self, reasons: MaskReasons) -> bool {
        let masked = self.masked();
        self.reasons = self.reasons.without(reasons);
        if !masked || self.masked() {
            return false;
        }
        self.transitions += 1;
        self.resamples += u64::from(std::mem::take(&mut self.resample));
        let delivers = std::mem::take(&mut self.pending);
        if delivers {
            self.send();
        }
        delivers
    }

    pub(super) fn clear(&mut self) -> bool {
        if !self.pending || self.raised {
            return false;
        }
        self.pending = false;
        self.dropped += 1;
        if self.asserted {
            self.deassert();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_line_holds_one_message() {
        let mut line = Expected::default();
        assert_eq!(line.ring(), RingOutcome::Delivered);
        assert!(!line.unmask(), "not masked");
        assert!(line.mask() && !line.mask());
        assert!(!line.unmask(), "nothing rung");
        line.mask();
        assert_eq!(
            (line.ring(), line.ring()),
            (RingOutcome::Masked, RingOutcome::Coalesced)
        );
        assert!(line.clear() && !line.clear());
        assert_eq!(line.ring(), RingOutcome::Masked);
        assert!(line.unmask());
        assert_eq!((line.deliveries, line.transitions), (2, 4));
    }

    #[test]
    fn asserted_line_coalesces_until_the_ack() {
        let mut line = Expected::new(true);
        assert_eq!(line.ack(), AckOutcome::Nothing);
        let rings = [(); 3].map(|()| line.ring());
        assert_eq!(
            rings,
            [
                RingOutcome::Delivered,
                RingOutcome::Coalesced,
                RingOutcome::Coalesced
            ]
        );
        assert_eq!(
            (line.ack(), line.ack()),
            (AckOutcome::Done, AckOutcome::Nothing)
        );
        assert_eq!(line.ring(), RingOutcome::Delivered);
        assert_eq!((line.deliveries, line.resamples), (2, 1));
    }

    #[test]
    fn raised_level_is_delivered_after_each_ack() {
        let mut line = Expected::new(true);
        assert_eq!(
            (line.raise(), line.raise()),
            (RingOutcome::Delivered, RingOutcome::Coalesced)
        );
        assert_eq!(
            (line.ack(), line.ack()),
            (AckOutcome::Done, AckOutcome::Done)
        );
        assert_eq!((line.deliveries, line.rings), (3, 4));
        assert!(!line.lower(), "delivered already");
        assert_eq!(
            (line.ack(), line.ack()),
            (AckOutcome::Done, AckOutcome::Nothing)
        );
        assert_eq!((line.deliveries, line.resamples), (3, 3));
    }

    #[test]
    fn ack_of_a_masked_line_resamples_with_the_unmask() {
        let mut line = Expected::new(true);
        line.ring();
        line.mask();
        assert_eq!((line.ack(), line.resamples), (AckOutcome::Postponed, 0));
        assert_eq!(
            (line.ring(), line.ack()),
            (RingOutcome::Masked, AckOutcome::Nothing)
        );
        assert!(line.unmask());
        assert_eq!((line.resamples, line.deliveries), (1, 2));
    }

    #[test]
    fn lowering_withdraws_a_message_without_another_ring() {
        let mut line = Expected::new(true);
        line.mask();
        assert_eq!(line.raise(), RingOutcome::Masked);
        assert!(line.lower() && !line.pending);
        line.raise();
        line.ring();
        assert!(!line.lower() && line.pending);
        assert!(line.clear());
        assert_eq!(
            (line.dropped, line.asserted, line.resample),
            (2, false, true)
        );
    }

    #[test]
    fn last_reason_to_end_delivers() {
        let mut line = Expected::default();
        assert!(line.mask_for(MaskReasons::PAUSE) && !line.mask());
        assert_eq!(line.ring(), RingOutcome::Masked);
        assert!(!line.unmask_for(MaskReasons::PAUSE) && !line.unmask_for(MaskReasons::PAUSE));
        assert!(line.unmask());
        assert_eq!((line.deliveries, line.transitions), (1, 2));
    }

    #[test]
    fn automask_line_delivers_once_for_each_unmask() {
        let mut line = Expected {
            automask: true,
            ..Expected::default()
        };
        assert_eq!(line.ring(), RingOutcome::Delivered);
        assert_eq!(line.ring(), RingOutcome::Masked);
        assert!(line.unmask_for(MaskReasons::AUTO), "the second message");
        assert!(!line.unmask_for(MaskReasons::AUTO), "no third one");
        assert_eq!((line.automasks, line.transitions), (2, 2));
    }

    #[test]
    fn difference_is_named() {
        let mut line = Expected::new(true);
        line.ring();
        let mut state = LineQuery {
            level: true,
            asserted: true,
            rings: 1,
            deliveries: 1,
            ..Default::default()
        };
        assert_eq!(line.difference(&state), None);
        state.asserted = false;
        assert_eq!(line.difference(&state), Some(("asserted", 0, 1)));
    }
}
