// SPDX-License-Identifier: GPL-2.0-only

//! The account of a line, and its check. This file uses no threads and no device.
//!
//! One side of the account sums up the operations that user space issued, by their return values.
//! The other side is the module's counters and the signals that arrived at eventfds. They are
//! compared when nothing is in flight, so both sides must be equal, to the last message.

use super::{Rule, Violation};
use doorbell::{AckOutcome, LineQuery, RingOutcome};
use std::ops::AddAssign;

/// The operations that user space issued on a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Issued {
    /// Rings by ioctl that returned DOORBELL_RING_DELIVERED ...
    pub delivered: u64,
    /// ... DOORBELL_RING_COALESCED ...
    pub coalesced: u64,
    /// ... and DOORBELL_RING_MASKED.
    pub masked: u64,
    /// Rings by DOORBELL_RING_LINES that have no delivery of their own.
    pub joined: u64,
    /// Signals of irqfds. Each rings the line once.
    pub signals: u64,
    /// Writes that the line's region accepted. Each rings the line once.
    pub writes: u64,
    /// The sum of values written to EFD_SEMAPHORE eventfds that are irqfds of the line at times.
    /// Each unit rings the line once, unless it is left in the eventfd.
    pub stored: u64,
    /// Signals of ordinary eventfds that are irqfds of the line at times. Each rings the line once,
    /// or merges with others into one ring.
    pub merging: u64,
    /// MASKs that masked the line.
    pub masks: u64,
    /// Deliveries of which the model knows that they masked the line. Each delivery of a line that masks
    /// itself all the time is one, too.
    pub automasks: u64,
    /// UNMASKs that delivered a message.
    pub released: u64,
    /// UNMASKs of a moderated line that may have left a message to the line's timer.
    pub timed: u64,
    /// CLEARs that dropped a message.
    pub cleared: u64,
    /// Raises of the level. Each is also counted as a ring by ioctl.
    pub raises: u64,
    /// Lowerings of the level that withdrew a message.
    pub withdrawn: u64,
    /// ACKs that de-asserted the line ...
    pub acks: u64,
    /// ... those of them whose resample was postponed to the unmask ...
    pub postponed: u64,
    /// ... and those at which the level may have been raised. A raised level makes a ring.
    pub acked_raised: u64,
    /// The expected signals of each resamplefd: one for each ack, and for each CLEAR of an asserted
    /// message.
    pub resamples: u64,
}

impl Issued {
    /// Counts a ring by ioctl that returned `ring`.
    pub fn rung(&mut self, ring: RingOutcome) {
        match ring {
            RingOutcome::Delivered => self.delivered += 1,
            RingOutcome::Coalesced => self.coalesced += 1,
            RingOutcome::Masked => self.masked += 1,
        }
    }

    /// Counts an ACK that returned `ack`, while the level of the line `may_be_raised`.
    pub fn acked(&mut self, ack: AckOutcome, may_be_raised: bool) {
        if ack == AckOutcome::Nothing {
            return;
        }
        self.acks += 1;
        self.postponed += u64::from(ack == AckOutcome::Postponed);
        self.acked_raised += u64::from(may_be_raised);
    }
}

impl AddAssign for Issued {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.coalesced += other.coalesced;
        self.masked += other.masked;
        self.joined += other.joined;
        self.signals += other.signals;
        self.writes += other.writes;
        self.stored += other.stored;
        self.merging += other.merging;
        self.masks += other.masks;
        self.automasks += other.automasks;
        self.released += other.released;
        self.timed += other.timed;
        self.cleared += other.cleared;
        self.raises += other.raises;
        self.withdrawn += other.withdrawn;
        self.acks += other.acks;
        self.postponed += other.postponed;
        self.acked_raised += other.acked_raised;
        self.resamples += other.resamples;
    }
}

/// The state of a line when nothing is in flight and no line is masked.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The result of QUERY.
    pub state: LineQuery,
    /// The rings in the status page.
    pub rings: u64,
    /// The signals of a level line.
    pub level: Option<ObservedLevel>,
    /// The signals of each permanent trigger.
    pub arrived: Vec<u64>,
    /// The signals of the permanent notifier for masks and unmasks.
    pub notified: u64,
    /// The sum of the counters of the EFD_SEMAPHORE eventfds.
    pub left: u64,
    /// The minimum number of rings without a subsequent delivery.
    pub undelivered: u64,
}

/// The signals that arrived at the eventfds of a level line.
#[derive(Clone, Debug, Default)]
pub struct ObservedLevel {
    /// At the permanent notifier for acks.
    pub acked: u64,
    /// At each permanent resamplefd.
    pub resampled: Vec<u64>,
}

/// The difference between the two sides. Negative numbers are lost, positive ones invented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Balance {
    /// The rings that the module counted minus those that were issued.
    #[serde(rename = "rings_difference")]
    pub rings: i64,
    /// The signals at triggers minus the module's deliveries, summed over all triggers.
    #[serde(rename = "signals_difference")]
    pub signals: i64,
    /// The minimum number of lost messages.
    pub lost: u64,
    /// The minimum number of invented messages.
    pub invented: u64,
}

/// Returns the distance of `value` from `low..=high`: negative if it is below, 0 if it is within.
fn outside(value: u64, low: u64, high: u64) -> i64 {
    if value < low {
        -((low - value) as i64)
    } else {
        value.saturating_sub(high) as i64
    }
}

/// Compares the two sides of the account of the line `name`.
pub fn compare(name: &str, issued: &Issued, observed: &Observed) -> (Balance, Vec<Violation>) {
    let state = &observed.state;
    let mut violations = Vec::new();
    let mut violation = |rule, text: String| violations.push(Violation::new(rule, name, text));

    let by_ioctl = issued.delivered + issued.coalesced + issued.masked;
    // If more is left than was written, that is a violation: see below.
    let taken = issued.stored.saturating_sub(observed.left);
    // These operations do not return the outcome of their rings.
    let unreported = issued.signals + taken + issued.writes + issued.joined;
    let rings = outside(
        state.rings,
        by_ioctl + unreported,
        by_ioctl + unreported + issued.merging + issued.acked_raised,
    );
    if rings != 0 {
        let (rule, what) = match rings < 0 {
            true => (Rule::Lost, "lost"),
            false => (Rule::Invented, "invented"),
        };
        let merging = match issued.merging + issued.acked_raised {
            0 => String::new(),
            n => format!(" and at most {n} more"),
        };
        violation(
            rule,
            format!(
                "{} {what}: {} rings by ioctl, {} by signals of irqfds, {} by writes to \
                 regions, {taken} by semaphores{merging}, but the module counts {}",
                rings.unsigned_abs(),
                by_ioctl + issued.joined,
                issued.signals,
                issued.writes,
                state.rings,
            ),
        );
    }
    if observed.left > issued.stored {
        violation(
            Rule::Invented,
            format!(
                "{} written to semaphores, {} left",
                issued.stored, observed.left
            ),
        );
    }

    let mut signals = 0;
    let (mut missing, mut extra) = (0u64, 0u64);
    for &arrived in &observed.arrived {
        let difference = arrived as i64 - state.deliveries as i64;
        signals += difference;
        missing = missing.max(difference.min(0).unsigned_abs());
        extra = extra.max(difference.max(0).unsigned_abs());
        if difference != 0 {
            violation(
                match difference < 0 {
                    true => Rule::Lost,
                    false => Rule::Invented,
                },
                format!(
                    "{} deliveries, but {arrived} signals at a permanent trigger",
                    state.deliveries
                ),
            );
        }
    }
    if observed.undelivered != 0 {
        violation(
            Rule::Lost,
            format!(
                "at least {} rings were not followed by a delivery (of {} rings, {} deliveries)",
                observed.undelivered, state.rings, state.deliveries
            ),
        );
    }
    if state.pending {
        violation(
            Rule::Lost,
            "a message is pending, the line is not masked, and no CPU delivers it".into(),
        );
    }

    let accounted = state.deliveries + state.dropped + u64::from(state.pending);
    match state.rings.checked_sub(accounted) {
        None => violation(
            Rule::Invented,
            format!(
                "{} rings, but {} deliveries and {} dropped",
                state.rings, state.deliveries, state.dropped
            ),
        ),
        // A signal of an irqfd does not return the outcome of its ring.
        Some(coalesced) => {
            let high = issued.coalesced + unreported + issued.merging + issued.acked_raised;
            if outside(coalesced, issued.coalesced, high) != 0 {
                violation(
                    Rule::Results,
                    format!(
                        "{} rings by ioctl returned that they coalesced, at most {} others did, \
                         but the module counts {coalesced}",
                        issued.coalesced,
                        unreported + issued.merging + issued.acked_raised,
                    ),
                );
            }
        }
    }
    if observed.rings != state.rings {
        violation(
            Rule::Counters,
            format!(
                "QUERY returned {} rings, but in the status page deliveries, coalesced, dropped \
                 and pending are {}",
                state.rings, observed.rings
            ),
        );
    }
    // A ring can reuse a message that was just withdrawn, which then is not dropped.
    if outside(
        state.dropped,
        issued.cleared,
        issued.cleared + issued.withdrawn,
    ) != 0
    {
        violation(
            Rule::Results,
            format!(
                "CLEAR returned {} times that it dropped a message, and lowering a level {} times \
                 that it withdrew one, but the module counts {}",
                issued.cleared, issued.withdrawn, state.dropped
            ),
        );
    }
    // Each message that a mask held was released, left to the timer, cleared or withdrawn once.
    if issued.masked > issued.released + issued.timed + issued.cleared + issued.withdrawn {
        violation(
            Rule::Mask,
            format!(
                "{} rings were held by the mask, but UNMASK delivered {} and left {} to the timer, \
                 CLEAR dropped {} and lowering withdrew {}",
                issued.masked, issued.released, issued.timed, issued.cleared, issued.withdrawn
            ),
        );
    }
    let automasks = match state.automask {
        true => state.deliveries,
        false => issued.automasks,
    };
    if issued.released > issued.masks + automasks {
        violation(
            Rule::Mask,
            format!(
                "{} masks and {automasks} deliveries that masked the line, but {} UNMASKs delivered",
                issued.masks, issued.released
            ),
        );
    }
    // A delivery that masks the line is no mask to a notifier, but its end is an unmask.
    if observed.notified != 2 * issued.masks + automasks {
        violation(
            Rule::Notifier,
            format!(
                "{} masks, {automasks} deliveries that masked the line, and as many unmasks as both, \
                 but the notifier was signalled {} times",
                issued.masks, observed.notified
            ),
        );
    }

    let mut balance = Balance {
        rings,
        signals,
        lost: (rings.min(0).unsigned_abs() + missing)
            .max(observed.undelivered)
            .max(state.pending.into()),
        invented: rings.max(0).unsigned_abs() + extra,
    };
    if let Some(level) = &observed.level {
        compare_level(name, issued, state, level, &mut balance, &mut violations);
    }
    (balance, violations)
}

/// Compares the two sides of the counters that only a level line has.
fn compare_level(
    name: &str,
    issued: &Issued,
    state: &LineQuery,
    level: &ObservedLevel,
    balance: &mut Balance,
    violations: &mut Vec<Violation>,
) {
    let mut violation = |rule, text: String| violations.push(Violation::new(rule, name, text));
    if issued.acks != state.acks {
        violation(
            Rule::Results,
            format!(
                "ACK returned {} times that it de-asserted the line, but the module counts {}",
                issued.acks, state.acks
            ),
        );
    }
    if level.acked != issued.acks {
        violation(
            Rule::Notifier,
            format!(
                "{} acks, but the notifier was signalled {} times",
                issued.acks, level.acked
            ),
        );
    }
    let mut counts = level.resampled.clone();
    counts.sort_unstable();
    counts.dedup();
    for resampled in counts {
        let difference = outside(resampled, issued.resamples, issued.resamples);
        if difference == 0 {
            continue;
        }
        balance.lost = balance.lost.max(difference.min(0).unsigned_abs());
        balance.invented = balance.invented.max(difference.max(0).unsigned_abs());
        violation(
            match difference < 0 {
                true => Rule::Lost,
                false => Rule::Invented,
            },
            format!(
                "{} acks ({} of them postponed to the unmask) had to make {} resamples, but a \
                 permanent resamplefd was signalled {resampled} times",
                issued.acks, issued.postponed, issued.resamples
            ),
        );
    }
    // A delivery is followed by its ack before the next delivery, and each ack has a delivery.
    let acked = state.acks + u64::from(state.asserted);
    let difference = outside(state.deliveries, acked, acked);
    if difference != 0 && !state.pending {
        balance.lost = balance.lost.max(difference.min(0).unsigned_abs());
        balance.invented = balance.invented.max(difference.max(0).unsigned_abs());
        violation(
            match difference < 0 {
                true => Rule::Lost,
                false => Rule::Invented,
            },
            format!(
                "{} deliveries, but {} acks{}",
                state.deliveries,
                state.acks,
                if state.asserted {
                    " and one that is not acked"
                } else {
                    ""
                }
            ),
        );
    }
}

/// Returns a description of the message that a level line has lost, if it has lost one.
///
/// The line must not be masked, and nothing may be in flight. `wanting` is the number of its
/// sources that want service. They have seen all resamples.
pub fn missing_delivery(state: &LineQuery, wanting: u64) -> Option<String> {
    if state.asserted {
        return None;
    }
    if state.raised {
        return Some(
            "its level is raised, but it was not delivered again after the last ack".into(),
        );
    }
    (wanting != 0).then(|| {
        format!(
            "{wanting} sources want service, but the line is not asserted: their resamplefds \
             were not signalled, or their signals were lost"
        )
    })
}

#[cfg(test)]
mod tests;
