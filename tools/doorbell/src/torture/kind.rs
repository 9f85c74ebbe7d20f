// SPDX-License-Identifier: GPL-2.0-only

//! The kinds of lines.

/// A kind of line: the operations that threads do on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Rung by ioctl, by an irqfd and from inside the kernel. All maskers mask it.
    Open,
    /// Like open. Pending messages are cleared at times.
    Cleared,
    /// Like open, but only one thread masks it. That thread checks that the mask is a barrier.
    Barrier,
    /// Like open. Its trigger is the irqfd of a line of another context.
    Source,
    /// Like open. EFD_SEMAPHORE eventfds are assigned and deassigned as irqfds.
    Semaphore,
    /// Like open. Ordinary eventfds are assigned and deassigned as irqfds.
    Merging,
    /// Only one thread works on it, and compares each result with a model.
    Solo,
    /// Rung by ioctl only.
    Ioctl,
    /// Rung only by the deliveries of another line.
    Relay,
    /// A level line: rung in all ways and by sources with a resamplefd. All maskers mask it, and
    /// all ackers ack it.
    Level,
    /// Like level. The ackers also raise and lower it.
    Raised,
    /// A level line on which only one thread works, like solo.
    #[serde(rename = "solo-level")]
    SoloLevel,
    /// Like open, but it masks itself in each delivery. Only handlers unmask it.
    Automask,
    /// Rung in all ways, never masked, and its triggers stay assigned. So a message that its own
    /// callback does not deliver stays pending.
    Prompt,
}

impl Kind {
    /// The kinds of the first context's lines, in a cycle.
    const CYCLE: [Kind; super::MIN_LINES as usize] = [
        Kind::Open,
        Kind::Level,
        Kind::Raised,
        Kind::Prompt,
        Kind::Cleared,
        Kind::Barrier,
        Kind::Source,
        Kind::Semaphore,
        Kind::Merging,
        Kind::Solo,
        Kind::Ioctl,
        Kind::SoloLevel,
        Kind::Automask,
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Cleared => "cleared",
            Kind::Barrier => "barrier",
            Kind::Source => "source",
            Kind::Semaphore => "semaphore",
            Kind::Merging => "merging",
            Kind::Solo => "solo",
            Kind::Ioctl => "ioctl",
            Kind::Relay => "relay",
            Kind::Level => "level",
            Kind::Raised => "raised",
            Kind::SoloLevel => "solo-level",
            Kind::Prompt => "prompt",
            Kind::Automask => "automask",
        }
    }

    /// Returns true if producers ring it.
    pub(super) fn rung(self) -> bool {
        !matches!(self, Kind::Solo | Kind::SoloLevel | Kind::Relay)
    }

    /// Returns true if all maskers mask it.
    pub(super) fn masked_by_all(self) -> bool {
        !matches!(
            self,
            Kind::Solo | Kind::SoloLevel | Kind::Barrier | Kind::Prompt | Kind::Automask
        )
    }

    /// Returns true if only one thread works on it.
    pub(super) fn solo(self) -> bool {
        matches!(self, Kind::Solo | Kind::SoloLevel)
    }

    /// Returns true if it is a level line that all [`Acker`]s ack.
    ///
    /// [`Acker`]: super::level::Acker
    pub(super) fn acked_by_all(self) -> bool {
        matches!(self, Kind::Level | Kind::Raised)
    }

    /// Returns true if it is a level line.
    pub fn level(self) -> bool {
        self.acked_by_all() || self == Kind::SoloLevel
    }

    /// Returns true if each ring must be followed by a delivery. If a level line is asserted, the
    /// delivery precedes the ring.
    pub(super) fn delivers(self) -> bool {
        self != Kind::Cleared && self != Kind::Solo && !self.level()
    }
}

/// Returns the kinds of the first context's lines.
pub(super) fn kinds(lines: u32) -> Vec<Kind> {
    let cycle = Kind::CYCLE.into_iter().cycle();
    cycle.take(lines as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::MIN_LINES;

    #[test]
    fn each_kind_has_a_line() {
        let kinds = kinds(MIN_LINES);
        let level = kinds.iter().filter(|kind| kind.level()).count();
        assert_eq!((kinds.len(), level), (MIN_LINES as usize, 3));
        for (at, kind) in kinds.iter().enumerate() {
            assert!(!kinds[..at].contains(kind), "{kind:?}");
        }
    }
}
