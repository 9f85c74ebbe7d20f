// SPDX-License-Identifier: GPL-2.0-only

//! The accounts of a line, and the verdict. No threads and no device here.
//!
//! On one side stands what userspace did, added up from return values; on the other what the module
//! says it did, and what arrived at eventfds. All of it is compared when nothing is going on, so
//! the two sides have to be equal, to the last message.

use super::{Rule, Violation};
use doorbell::{AckOutcome, LineQuery, RingOutcome};
use std::ops::AddAssign;

/// What was done to a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rings by ioctl that returned DOORBELL_RING_DELIVERED ...
    pub delivered: u64,
    /// ... DOORBELL_RING_COALESCED ...
    pub coalesced: u64,
    /// ... and DOORBELL_RING_MASKED.
    pub masked: u64,
    /// Signals of eventfds that ring the line once each.
    pub signals: u64,
    /// Writes that a region took that rings the line once each.
    pub writes: u64,
    /// What was written to EFD_SEMAPHORE eventfds that are sometimes irqfds of the line: each one of
    /// it either rings it once, or is still there.
    pub stored: u64,
    /// Signals of ordinary eventfds that are sometimes irqfds of the line: each rings it once or
    /// joins others that do.
    pub merging: u64,
    /// MASKs of the line when it was not masked.
    pub masks: u64,
    /// UNMASKs that delivered.
    pub released: u64,
    /// CLEARs that dropped a message.
    pub cleared: u64,
    /// Raises of the level, each of which is a ring by ioctl, too.
    pub raises: u64,
    /// Times that lowering the level took a message back.
    pub withdrawn: u64,
    /// ACKs that found something to ack ...
    pub acks: u64,
    /// ... those of them whose resample was postponed to the unmask ...
    pub postponed: u64,
    /// ... and those after which the level may have been raised, which makes a ring.
    pub again: u64,
    /// Signals of each resamplefd that acks, and CLEARs of what was asserted, have to make.
    pub resamples: u64,
}

impl Done {
    /// A ring by ioctl returned this.
    pub fn rung(&mut self, ring: RingOutcome) {
        match ring {
            RingOutcome::Delivered => self.delivered += 1,
            RingOutcome::Coalesced => self.coalesced += 1,
            RingOutcome::Masked => self.masked += 1,
        }
    }

    /// An ACK returned this. The level of the line `may_be_raised`.
    pub fn acked(&mut self, ack: AckOutcome, may_be_raised: bool) {
        if ack == AckOutcome::Nothing {
            return;
        }
        self.acks += 1;
        self.postponed += u64::from(ack == AckOutcome::Postponed);
        self.again += u64::from(may_be_raised);
    }
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.coalesced += other.coalesced;
        self.masked += other.masked;
        self.signals += other.signals;
        self.writes += other.writes;
        self.stored += other.stored;
        self.merging += other.merging;
        self.masks += other.masks;
        self.released += other.released;
        self.cleared += other.cleared;
        self.raises += other.raises;
        self.withdrawn += other.withdrawn;
        self.acks += other.acks;
        self.postponed += other.postponed;
        self.again += other.again;
        self.resamples += other.resamples;
    }
}

/// What was found when all was quiet, and no line masked.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the module says.
    pub state: LineQuery,
    /// The rings that the status page shows.
    pub rings: u64,
    /// The signals of a level line.
    pub level: Option<FoundLevel>,
    /// What arrived at each trigger that the line had all the time.
    pub arrived: Vec<u64>,
    /// What arrived at the notifier for masks and unmasks that it had all the time.
    pub notified: u64,
    /// What is left in the EFD_SEMAPHORE eventfds.
    pub left: u64,
    /// Rings that no delivery came after, as far as is known.
    pub unseen: u64,
}

/// The signals that arrived at the eventfds of a level line.
#[derive(Clone, Debug, Default)]
pub struct FoundLevel {
    /// At the notifier for acks that it had all the time.
    pub acked: u64,
    /// At each resamplefd that it had all the time.
    pub resampled: Vec<u64>,
}

/// How the two sides differ: below zero is lost, above is invented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Balance {
    /// Rings that the module counted, less those that were made.
    #[serde(rename = "rings_difference")]
    pub rings: i64,
    /// Signals that arrived at triggers, less those that the module's deliveries make.
    #[serde(rename = "signals_difference")]
    pub signals: i64,
    /// How many are lost, at least.
    pub lost: u64,
    /// How many are invented, at least.
    pub invented: u64,
}

/// How far `value` is outside of `low..=high`.
fn outside(value: u64, low: u64, high: u64) -> i64 {
    if value < low {
        -((low - value) as i64)
    } else {
        value.saturating_sub(high) as i64
    }
}

/// Compares the two sides; `name` is what to call the line.
pub fn judge(name: &str, done: &Done, found: &Found) -> (Balance, Vec<Violation>) {
    let state = &found.state;
    let mut broken = Vec::new();
    let mut violation = |rule, text: String| broken.push(Violation::new(rule, name, text));

    let by_ioctl = done.delivered + done.coalesced + done.masked;
    // More left than was written: a violation, see below.
    let taken = done.stored.saturating_sub(found.left);
    // How these ended nobody is told.
    let untold = done.signals + taken + done.writes;
    let rings = outside(
        state.rings,
        by_ioctl + untold,
        by_ioctl + untold + done.merging + done.again,
    );
    if rings != 0 {
        let (rule, what) = match rings < 0 {
            true => (Rule::Lost, "lost"),
            false => (Rule::Invented, "invented"),
        };
        let merging = match done.merging + done.again {
            0 => String::new(),
            n => format!(" and at most {n} more"),
        };
        violation(
            rule,
            format!(
                "{} {what}: {by_ioctl} rings by ioctl, {} by signals of irqfds, {} by writes to \
                 regions, {taken} by what semaphores gave{merging}, but the module counts {}",
                rings.unsigned_abs(),
                done.signals,
                done.writes,
                state.rings,
            ),
        );
    }
    if found.left > done.stored {
        violation(
            Rule::Invented,
            format!("{} written to semaphores, {} left", done.stored, found.left),
        );
    }

    let mut signals = 0;
    let (mut missing, mut extra) = (0u64, 0u64);
    for &arrived in &found.arrived {
        let off = arrived as i64 - state.deliveries as i64;
        signals += off;
        missing = missing.max(off.min(0).unsigned_abs());
        extra = extra.max(off.max(0).unsigned_abs());
        if off != 0 {
            violation(
                match off < 0 {
                    true => Rule::Lost,
                    false => Rule::Invented,
                },
                format!(
                    "{} deliveries, but {arrived} signals at a trigger that was there all the time",
                    state.deliveries
                ),
            );
        }
    }
    if found.unseen != 0 {
        violation(
            Rule::Lost,
            format!(
                "after {} rings, at least, no delivery started (of {} rings, {} deliveries)",
                found.unseen, state.rings, state.deliveries
            ),
        );
    }
    if state.pending {
        violation(
            Rule::Lost,
            "a message is pending, the line is not masked, and nobody delivers it".into(),
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
        // What a ring by irqfd led to nobody is told.
        Some(coalesced) => {
            let high = done.coalesced + untold + done.merging + done.again;
            if outside(coalesced, done.coalesced, high) != 0 {
                violation(
                    Rule::Results,
                    format!(
                        "{} rings by ioctl said that they coalesced, at most {} others did, but \
                         the module counts {coalesced}",
                        done.coalesced,
                        untold + done.merging + done.again,
                    ),
                );
            }
        }
    }
    if found.rings != state.rings {
        violation(
            Rule::Counters,
            format!(
                "QUERY said {} rings, but in the status page deliveries, coalesced, dropped and \
                 pending are {}",
                state.rings, found.rings
            ),
        );
    }
    // A ring takes the place of a message that was taken back a moment ago.
    if outside(state.dropped, done.cleared, done.cleared + done.withdrawn) != 0 {
        violation(
            Rule::Results,
            format!(
                "CLEAR said that it dropped {} messages, and lowering a level that it took back \
                 {}, but the module counts {}",
                done.cleared, done.withdrawn, state.dropped
            ),
        );
    }
    // What a masked line held was released, cleared or taken back, once.
    if done.masked > done.released + done.cleared + done.withdrawn {
        violation(
            Rule::Mask,
            format!(
                "{} rings were held by the mask, but UNMASK delivered {}, CLEAR dropped {} and \
                 lowering took {} back",
                done.masked, done.released, done.cleared, done.withdrawn
            ),
        );
    }
    if done.released > done.masks {
        violation(
            Rule::Mask,
            format!(
                "{} masks, but {} UNMASKs delivered",
                done.masks, done.released
            ),
        );
    }
    if found.notified != 2 * done.masks {
        violation(
            Rule::Notifier,
            format!(
                "{} masks and as many unmasks, but the notifier was signalled {} times",
                done.masks, found.notified
            ),
        );
    }

    let mut balance = Balance {
        rings,
        signals,
        lost: (rings.min(0).unsigned_abs() + missing)
            .max(found.unseen)
            .max(state.pending.into()),
        invented: rings.max(0).unsigned_abs() + extra,
    };
    if let Some(level) = &found.level {
        judge_level(name, done, state, level, &mut balance, &mut broken);
    }
    (balance, broken)
}

/// Compares the two sides of what is special about a level line.
fn judge_level(
    name: &str,
    done: &Done,
    state: &LineQuery,
    level: &FoundLevel,
    balance: &mut Balance,
    broken: &mut Vec<Violation>,
) {
    let mut violation = |rule, text: String| broken.push(Violation::new(rule, name, text));
    if done.acks != state.acks {
        violation(
            Rule::Results,
            format!(
                "ACK said {} times that there was something to ack, but the module counts {}",
                done.acks, state.acks
            ),
        );
    }
    if level.acked != done.acks {
        violation(
            Rule::Notifier,
            format!(
                "{} acks, but the notifier was signalled {} times",
                done.acks, level.acked
            ),
        );
    }
    let mut counts = level.resampled.clone();
    counts.sort_unstable();
    counts.dedup();
    for resampled in counts {
        let off = outside(resampled, done.resamples, done.resamples);
        if off == 0 {
            continue;
        }
        balance.lost = balance.lost.max(off.min(0).unsigned_abs());
        balance.invented = balance.invented.max(off.max(0).unsigned_abs());
        violation(
            match off < 0 {
                true => Rule::Lost,
                false => Rule::Invented,
            },
            format!(
                "{} acks ({} of them postponed to the unmask) had {} resamples to make, but a \
                 resamplefd that was there all the time was signalled {resampled} times",
                done.acks, done.postponed, done.resamples
            ),
        );
    }
    // From a delivery to the ack there is no other, and each ack is of one.
    let acked = state.acks + u64::from(state.asserted);
    let off = outside(state.deliveries, acked, acked);
    if off != 0 && !state.pending {
        balance.lost = balance.lost.max(off.min(0).unsigned_abs());
        balance.invented = balance.invented.max(off.max(0).unsigned_abs());
        violation(
            match off < 0 {
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

/// Returns the reason why a level line has lost a message, if it has. The line is not masked, and
/// nothing is in flight. Of its sources, `wanting` want service and have seen all resamples.
pub fn owed(state: &LineQuery, wanting: u64) -> Option<String> {
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
            "{wanting} sources want service, but the line is not asserted: they were not told to \
             look again, or what they signalled then was lost"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 rings by ioctl, 45 by irqfds, 5 by a region, of which 30 coalesced and 5 were dropped.
    fn books() -> (Done, Found) {
        let done = Done {
            delivered: 80,
            coalesced: 12,
            masked: 8,
            signals: 35,
            writes: 5,
            stored: 14,
            masks: 10,
            released: 7,
            cleared: 5,
            ..Done::default()
        };
        let found = Found {
            state: LineQuery {
                line: 3,
                rings: 150,
                deliveries: 115,
                dropped: 5,
                irqfds: 1,
                triggers: 2,
                notifiers: 1,
                ..Default::default()
            },
            arrived: vec![115, 115],
            notified: 20,
            left: 4,
            unseen: 0,
            rings: 150,
            level: None,
        };
        (done, found)
    }

    /// 40 rings and 8 raises by ioctl, 50 signals; 30 deliveries, 29 acked, 4 of them masked; twice
    /// the level was still raised then, and twice lowering it took a message back.
    fn level_books() -> (Done, Found) {
        let done = Done {
            delivered: 20,
            coalesced: 25,
            masked: 3,
            signals: 50,
            masks: 5,
            released: 1,
            raises: 8,
            withdrawn: 2,
            acks: 29,
            postponed: 4,
            again: 29,
            resamples: 29,
            ..Done::default()
        };
        let found = Found {
            state: LineQuery {
                level: true,
                asserted: true,
                rings: 100,
                deliveries: 30,
                dropped: 2,
                acks: 29,
                ..Default::default()
            },
            arrived: vec![30],
            notified: 10,
            left: 0,
            unseen: 0,
            rings: 100,
            level: Some(FoundLevel {
                acked: 29,
                resampled: vec![29, 29],
            }),
        };
        (done, found)
    }

    fn level(found: &mut Found) -> &mut FoundLevel {
        found.level.as_mut().unwrap()
    }

    #[test]
    fn level_books_that_balance_are_clean() {
        let (done, found) = level_books();
        assert_eq!(rules(&done, &found), (Balance::default(), vec![]));
    }

    #[test]
    fn resample_that_is_missing_or_too_much_is_reported() {
        for (signals, lost, invented, rule) in [(28, 1, 0, Rule::Lost), (31, 0, 2, Rule::Invented)]
        {
            let (done, mut found) = level_books();
            level(&mut found).resampled[1] = signals;
            let (balance, broken) = rules(&done, &found);
            assert_eq!((balance.lost, balance.invented), (lost, invented));
            assert_eq!(broken, [rule]);
            // Once, if several resamplefds agree.
            level(&mut found).resampled[0] = signals;
            let violations = judge("line 3", &done, &found).1;
            assert_eq!(violations.len(), 1);
            let text = violations[0].to_string();
            assert!(text.contains("4 of them postponed"), "{text}");
        }
    }

    #[test]
    fn delivery_of_an_asserted_line_is_invented() {
        let (done, mut found) = level_books();
        found.state.deliveries = 31;
        found.arrived = vec![31];
        let (balance, broken) = rules(&done, &found);
        assert_eq!((balance.lost, balance.invented), (0, 1));
        assert_eq!(broken, [Rule::Invented]);
    }

    #[test]
    fn asserted_line_that_has_not_delivered_has_lost_a_message() {
        let (done, mut found) = level_books();
        found.state.deliveries = 29;
        found.arrived = vec![29];
        let (balance, broken) = rules(&done, &found);
        assert_eq!((balance.lost, balance.invented), (1, 0));
        assert_eq!(broken, [Rule::Lost]);
    }

    #[test]
    fn rings_of_a_raised_level_have_bounds() {
        for (again, rings, off) in [
            (0, 98, 0),
            (0, 99, 1),
            (29, 97, -1),
            (29, 127, 0),
            (29, 128, 1),
        ] {
            let (mut done, mut found) = level_books();
            done.again = again;
            found.state.rings = rings;
            found.rings = rings;
            assert_eq!(rules(&done, &found).0.rings, off, "{again} {rings}");
        }
    }

    #[test]
    fn acks_and_levels_are_held_to_the_counters() {
        let with = |change: fn(&mut Done, &mut Found)| {
            let (mut done, mut found) = level_books();
            change(&mut done, &mut found);
            rules(&done, &found).1
        };
        assert_eq!(
            with(|done, _| done.acks += 1),
            [Rule::Results, Rule::Notifier]
        );
        assert_eq!(with(|_, found| level(found).acked -= 1), [Rule::Notifier]);
        assert_eq!(with(|_, found| found.rings -= 1), [Rule::Counters]);
        assert_eq!(
            with(|done, _| done.withdrawn = 1),
            [Rule::Results, Rule::Mask]
        );
        // A ring can take the place of what was taken back.
        assert_eq!(with(|_, found| found.state.dropped = 1), []);
        assert_eq!(with(|_, found| found.state.dropped = 3), [Rule::Results]);
    }

    #[test]
    fn ack_is_counted_if_there_was_something_to_ack() {
        let mut done = Done::default();
        for ack in [AckOutcome::Nothing, AckOutcome::Done, AckOutcome::Postponed] {
            done.acked(ack, false);
        }
        done.acked(AckOutcome::Done, true);
        let want = Done {
            acks: 3,
            postponed: 1,
            again: 1,
            ..Done::default()
        };
        assert_eq!(done, want);
    }

    #[test]
    fn level_line_owes_a_delivery_while_something_wants_service() {
        let state = |asserted, raised| LineQuery {
            level: true,
            asserted,
            raised,
            ..Default::default()
        };
        assert_eq!(owed(&state(true, true), 2), None);
        assert_eq!(owed(&state(false, false), 0), None);
        assert!(owed(&state(false, true), 0).unwrap().contains("raised"));
        assert!(owed(&state(false, false), 2).unwrap().contains("2 sources"));
    }

    fn rules(done: &Done, found: &Found) -> (Balance, Vec<Rule>) {
        let (balance, broken) = judge("line 3", done, found);
        (balance, broken.iter().map(|one| one.rule).collect())
    }

    #[test]
    fn books_that_balance_are_clean() {
        let (done, found) = books();
        assert_eq!(rules(&done, &found), (Balance::default(), vec![]));
    }

    #[test]
    fn lost_ring_is_reported() {
        let (mut done, found) = books();
        done.delivered += 1;
        let (balance, broken) = rules(&done, &found);
        assert_eq!((balance.rings, balance.lost, balance.invented), (-1, 1, 0));
        assert_eq!(broken, [Rule::Lost]);
        let text = judge("line 3", &done, &found).1[0].to_string();
        assert!(text.contains("line 3") && text.contains("101"), "{text}");
    }

    #[test]
    fn write_that_rang_nothing_is_lost() {
        let (mut done, found) = books();
        done.writes += 1;
        assert_eq!(rules(&done, &found).1, [Rule::Lost]);
        let text = judge("line 3", &done, &found).1[0].to_string();
        assert!(text.contains("6 by writes"), "{text}");
    }

    #[test]
    fn invented_delivery_is_reported() {
        let (done, mut found) = books();
        found.state.rings += 1;
        found.rings += 1;
        found.state.deliveries += 1;
        found.arrived = vec![116, 116];
        let (balance, broken) = rules(&done, &found);
        assert_eq!((balance.rings, balance.lost, balance.invented), (1, 0, 1));
        assert_eq!(broken, [Rule::Invented]);
    }

    #[test]
    fn lost_and_invented_do_not_make_up_for_each_other() {
        let (done, mut found) = books();
        found.arrived = vec![114, 117];
        let (balance, broken) = rules(&done, &found);
        assert_eq!((balance.signals, balance.lost, balance.invented), (1, 1, 2));
        assert_eq!(broken, [Rule::Lost, Rule::Invented]);
    }

    #[test]
    fn ring_that_no_delivery_followed_is_lost_even_if_all_counts_agree() {
        let (done, mut found) = books();
        found.unseen = 1;
        let (balance, broken) = rules(&done, &found);
        assert_eq!((balance.lost, broken), (1, vec![Rule::Lost]));
    }

    #[test]
    fn message_that_stays_pending_is_lost() {
        let (done, mut found) = books();
        found.state.pending = true;
        found.state.deliveries -= 1;
        found.arrived = vec![114, 114];
        let (balance, broken) = rules(&done, &found);
        assert_eq!((balance.lost, broken), (1, vec![Rule::Lost]));
    }

    #[test]
    fn semaphore_gives_each_of_its_ones_once() {
        let (done, mut found) = books();
        found.left += 1;
        assert_eq!(rules(&done, &found).1, [Rule::Invented]);
        found.left -= 2;
        assert_eq!(rules(&done, &found).1, [Rule::Lost]);
        found.left = 15;
        assert_eq!(rules(&done, &found).1, [Rule::Invented, Rule::Invented]);
    }

    #[test]
    fn merging_signals_have_bounds() {
        let (mut done, mut found) = books();
        done.merging = 10;
        for (more, off) in [(0, 0), (10, 0), (11, 1)] {
            let mut found = found.clone();
            found.state.rings += more;
            assert_eq!(rules(&done, &found).0.rings, off, "{more}");
        }
        found.state.rings -= 1;
        assert_eq!(rules(&done, &found).0.rings, -1);
    }

    #[test]
    fn return_values_are_held_to_the_counters() {
        let with = |change: fn(&mut Done, &mut Found)| {
            let (mut done, mut found) = books();
            change(&mut done, &mut found);
            rules(&done, &found).1
        };
        assert_eq!(with(|done, _| done.cleared += 1), [Rule::Results]);
        assert_eq!(with(|_, found| found.notified -= 1), [Rule::Notifier]);
        assert_eq!(with(|done, _| done.released = 2), [Rule::Mask]);
        assert_eq!(with(|done, _| done.released = 11), [Rule::Mask]);
        // A delivery that said it coalesced.
        let wrong = with(|done, _| {
            done.delivered -= 30;
            done.coalesced += 30;
        });
        assert_eq!(wrong, [Rule::Results]);
    }
}
