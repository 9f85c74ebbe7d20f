// SPDX-License-Identifier: GPL-2.0-only

use super::*;

/// Returns an account without differences: 100 rings by ioctl, 45 by irqfds and 5 by a region. Of
/// these, 30 coalesced and 5 were dropped.
fn balanced() -> (Issued, Observed) {
    let issued = Issued {
        delivered: 80,
        coalesced: 12,
        masked: 8,
        signals: 35,
        writes: 5,
        stored: 14,
        masks: 10,
        released: 7,
        cleared: 5,
        ..Issued::default()
    };
    let observed = Observed {
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
        undelivered: 0,
        rings: 150,
        level: None,
    };
    (issued, observed)
}

/// Returns an account of a level line without differences: 40 rings and 8 raises by ioctl, and 50
/// signals. Of 30 deliveries 29 are acked, 4 of them while masked. At two acks the level was still
/// raised, and two lowerings withdrew a message.
fn balanced_level() -> (Issued, Observed) {
    let issued = Issued {
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
        acked_raised: 29,
        resamples: 29,
        ..Issued::default()
    };
    let observed = Observed {
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
        undelivered: 0,
        rings: 100,
        level: Some(ObservedLevel {
            acked: 29,
            resampled: vec![29, 29],
        }),
    };
    (issued, observed)
}

fn level(observed: &mut Observed) -> &mut ObservedLevel {
    observed.level.as_mut().unwrap()
}

#[test]
fn balanced_level_account_is_clean() {
    let (issued, observed) = balanced_level();
    assert_eq!(
        compare_rules(&issued, &observed),
        (Balance::default(), vec![])
    );
}

#[test]
fn missing_and_spurious_resamples_are_reported() {
    for (signals, lost, invented, rule) in [(28, 1, 0, Rule::Lost), (31, 0, 2, Rule::Invented)] {
        let (issued, mut observed) = balanced_level();
        level(&mut observed).resampled[1] = signals;
        let (balance, violations) = compare_rules(&issued, &observed);
        assert_eq!((balance.lost, balance.invented), (lost, invented));
        assert_eq!(violations, [rule]);
        // Resamplefds that agree are reported once.
        level(&mut observed).resampled[0] = signals;
        let violations = compare("line 3", &issued, &observed).1;
        assert_eq!(violations.len(), 1);
        let text = violations[0].to_string();
        assert!(text.contains("4 of them postponed"), "{text}");
    }
}

#[test]
fn asserted_line_has_one_delivery_more_than_acks() {
    for (deliveries, lost, invented, rule) in [(31, 0, 1, Rule::Invented), (29, 1, 0, Rule::Lost)] {
        let (issued, mut observed) = balanced_level();
        observed.state.deliveries = deliveries;
        observed.arrived = vec![deliveries];
        let (balance, violations) = compare_rules(&issued, &observed);
        assert_eq!((balance.lost, balance.invented), (lost, invented));
        assert_eq!(violations, [rule]);
    }
}

#[test]
fn rings_of_a_raised_level_have_bounds() {
    for (again, rings, difference) in [
        (0, 98, 0),
        (0, 99, 1),
        (29, 97, -1),
        (29, 127, 0),
        (29, 128, 1),
    ] {
        let (mut issued, mut observed) = balanced_level();
        issued.acked_raised = again;
        observed.state.rings = rings;
        observed.rings = rings;
        assert_eq!(
            compare_rules(&issued, &observed).0.rings,
            difference,
            "{again} {rings}"
        );
    }
}

#[test]
fn acks_and_levels_match_the_counters() {
    let with = |change: fn(&mut Issued, &mut Observed)| {
        let (mut issued, mut observed) = balanced_level();
        change(&mut issued, &mut observed);
        compare_rules(&issued, &observed).1
    };
    assert_eq!(
        with(|issued, _| issued.acks += 1),
        [Rule::Results, Rule::Notifier]
    );
    assert_eq!(
        with(|_, observed| level(observed).acked -= 1),
        [Rule::Notifier]
    );
    assert_eq!(with(|_, observed| observed.rings -= 1), [Rule::Counters]);
    assert_eq!(
        with(|issued, _| issued.withdrawn = 1),
        [Rule::Results, Rule::Mask]
    );
    // A ring can reuse a message that was withdrawn.
    assert_eq!(with(|_, observed| observed.state.dropped = 1), []);
    assert_eq!(
        with(|_, observed| observed.state.dropped = 3),
        [Rule::Results]
    );
}

#[test]
fn ack_is_counted_if_it_de_asserted() {
    let mut issued = Issued::default();
    for ack in [AckOutcome::Nothing, AckOutcome::Done, AckOutcome::Postponed] {
        issued.acked(ack, false);
    }
    issued.acked(AckOutcome::Done, true);
    let want = Issued {
        acks: 3,
        postponed: 1,
        acked_raised: 1,
        ..Issued::default()
    };
    assert_eq!(issued, want);
}

#[test]
fn level_line_is_asserted_while_a_source_wants_service() {
    let state = |asserted, raised| LineQuery {
        level: true,
        asserted,
        raised,
        ..Default::default()
    };
    assert_eq!(missing_delivery(&state(true, true), 2), None);
    assert_eq!(missing_delivery(&state(false, false), 0), None);
    assert!(missing_delivery(&state(false, true), 0)
        .unwrap()
        .contains("raised"));
    assert!(missing_delivery(&state(false, false), 2)
        .unwrap()
        .contains("2 sources"));
}

fn compare_rules(issued: &Issued, observed: &Observed) -> (Balance, Vec<Rule>) {
    let (balance, violations) = compare("line 3", issued, observed);
    (balance, violations.iter().map(|one| one.rule).collect())
}

#[test]
fn balanced_account_is_clean() {
    let (issued, observed) = balanced();
    assert_eq!(
        compare_rules(&issued, &observed),
        (Balance::default(), vec![])
    );
}

#[test]
fn lost_ring_is_reported() {
    let (mut issued, observed) = balanced();
    issued.delivered += 1;
    let (balance, violations) = compare_rules(&issued, &observed);
    assert_eq!((balance.rings, balance.lost, balance.invented), (-1, 1, 0));
    assert_eq!(violations, [Rule::Lost]);
    let text = compare("line 3", &issued, &observed).1[0].to_string();
    assert!(text.contains("line 3") && text.contains("101"), "{text}");
}

#[test]
fn write_without_a_ring_is_lost() {
    let (mut issued, observed) = balanced();
    issued.writes += 1;
    assert_eq!(compare_rules(&issued, &observed).1, [Rule::Lost]);
    let text = compare("line 3", &issued, &observed).1[0].to_string();
    assert!(text.contains("6 by writes"), "{text}");
}

#[test]
fn invented_delivery_is_reported() {
    let (issued, mut observed) = balanced();
    observed.state.rings += 1;
    observed.rings += 1;
    observed.state.deliveries += 1;
    observed.arrived = vec![116, 116];
    let (balance, violations) = compare_rules(&issued, &observed);
    assert_eq!((balance.rings, balance.lost, balance.invented), (1, 0, 1));
    assert_eq!(violations, [Rule::Invented]);
}

#[test]
fn lost_and_invented_do_not_cancel_out() {
    let (issued, mut observed) = balanced();
    observed.arrived = vec![114, 117];
    let (balance, violations) = compare_rules(&issued, &observed);
    assert_eq!((balance.signals, balance.lost, balance.invented), (1, 1, 2));
    assert_eq!(violations, [Rule::Lost, Rule::Invented]);
}

#[test]
fn ring_without_a_subsequent_delivery_is_lost_even_if_all_counts_agree() {
    let (issued, mut observed) = balanced();
    observed.undelivered = 1;
    let (balance, violations) = compare_rules(&issued, &observed);
    assert_eq!((balance.lost, violations), (1, vec![Rule::Lost]));
}

#[test]
fn message_that_stays_pending_is_lost() {
    let (issued, mut observed) = balanced();
    observed.state.pending = true;
    observed.state.deliveries -= 1;
    observed.arrived = vec![114, 114];
    let (balance, violations) = compare_rules(&issued, &observed);
    assert_eq!((balance.lost, violations), (1, vec![Rule::Lost]));
}

#[test]
fn each_unit_of_a_semaphore_rings_once() {
    let (issued, mut observed) = balanced();
    observed.left += 1;
    assert_eq!(compare_rules(&issued, &observed).1, [Rule::Invented]);
    observed.left -= 2;
    assert_eq!(compare_rules(&issued, &observed).1, [Rule::Lost]);
    observed.left = 15;
    assert_eq!(
        compare_rules(&issued, &observed).1,
        [Rule::Invented, Rule::Invented]
    );
}

#[test]
fn merging_signals_have_bounds() {
    let (mut issued, mut observed) = balanced();
    issued.merging = 10;
    for (more, difference) in [(0, 0), (10, 0), (11, 1)] {
        let mut observed = observed.clone();
        observed.state.rings += more;
        assert_eq!(
            compare_rules(&issued, &observed).0.rings,
            difference,
            "{more}"
        );
    }
    observed.state.rings -= 1;
    assert_eq!(compare_rules(&issued, &observed).0.rings, -1);
}

#[test]
fn return_values_match_the_counters() {
    let with = |change: fn(&mut Issued, &mut Observed)| {
        let (mut issued, mut observed) = balanced();
        change(&mut issued, &mut observed);
        compare_rules(&issued, &observed).1
    };
    assert_eq!(with(|issued, _| issued.cleared += 1), [Rule::Results]);
    assert_eq!(with(|_, observed| observed.notified -= 1), [Rule::Notifier]);
    assert_eq!(with(|issued, _| issued.released = 2), [Rule::Mask]);
    assert_eq!(with(|issued, _| issued.released = 11), [Rule::Mask]);
    // A ring that was delivered returned that it coalesced.
    let wrong = with(|issued, _| {
        issued.delivered -= 30;
        issued.coalesced += 30;
    });
    assert_eq!(wrong, [Rule::Results]);
}
