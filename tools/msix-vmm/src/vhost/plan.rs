// SPDX-License-Identifier: GPL-2.0-only

//! The moments of the kills and migrations.

use super::ledger::Stage;
use anyhow::{ensure, Result};

/// The longest time from the chosen request to a kill or a migration, in microseconds.
const MOST_DELAY: u32 = 400;
/// The minimum number of requests between two events.
const LEAST_REQUESTS: u64 = 32;

/// The moment of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So many microseconds after the guest has seen the answer of the request.
    After(u32),
    /// When the backend is at a stage of the request.
    At(Stage),
    /// When the guest has masked its vector, after it has seen the answer of the request.
    Masked,
    /// When the message of the request's answer is pending, with the vector masked or not.
    Pending { masked: bool },
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The backend is killed.
    Kill(Moment),
    /// The VMM saves its state and exits, and another one goes on.
    Migrate {
        /// The microseconds from the order to save to the kill of the backend, if it is killed meanwhile.
        kill: Option<u32>,
        when: Moment,
    },
}

/// An event with its place in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The request.
    pub(crate) request: u64,
    /// The number of requests that the guest may post before the event.
    pub(crate) limit: u64,
    pub(crate) action: Action,
}

/// Returns the events of a run. The same seed gives the same events.
///
/// Each event has a part of the requests of its own. The guest may not post the requests of the next part
/// before the event has happened, so that none of them is missed on a busy machine.
pub(crate) fn events(requests: u64, kills: u64, migrations: u64, seed: u64) -> Result<Vec<Event>> {
    let mut random = fastrand::Rng::with_seed(seed);
    // A migration in four has a kill at the same time.
    let both = (kills / 2).min(migrations / 4);
    let parts = (kills - both).saturating_add(migrations).saturating_add(1);
    let part = requests / parts;
    // Also keeps the list of the events short.
    ensure!(
        part >= LEAST_REQUESTS,
        "{requests} requests are too few for {kills} kills and {migrations} migrations\n  use \
         --requests {}",
        LEAST_REQUESTS.saturating_mul(parts)
    );
    let mut actions = Vec::new();
    for number in 0..kills - both {
        // Every other kill is at a stage that a random time would rarely hit.
        let stage = Stage::ALL[(number / 2) as usize % Stage::ALL.len()];
        actions.push(Action::Kill(match number % 2 {
            0 => Moment::At(stage),
            _ => Moment::After(random.u32(..MOST_DELAY)),
        }));
    }
    for number in 0..migrations {
        actions.push(Action::Migrate {
            kill: (number < both).then(|| random.u32(..MOST_DELAY)),
            when: match number % 4 {
                0 => Moment::Pending { masked: true },
                1 => Moment::Pending { masked: false },
                2 => Moment::After(random.u32(..MOST_DELAY)),
                // A message is pending then, or soon.
                _ => Moment::Masked,
            },
        });
    }
    random.shuffle(&mut actions);
    let event = |(number, action): (u64, Action)| Event {
        request: number * part + random.u64(1..=part / 2),
        limit: (number + 1) * part,
        action,
    };
    Ok((0..).zip(actions).map(event).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_as_many_as_asked_for_and_in_order() {
        let events = events(10_000, 20, 40, 7).unwrap();
        let count = |of: fn(&Action) -> bool| events.iter().filter(|e| of(&e.action)).count();
        let both = count(|action| matches!(action, Action::Migrate { kill: Some(_), .. }));
        assert_eq!(both, 10);
        assert_eq!(count(|a| matches!(a, Action::Kill(_))), 10);
        assert_eq!(count(|a| matches!(a, Action::Migrate { .. })), 40);
        for pair in events.windows(2) {
            assert!(pair[0].request < pair[0].limit);
            assert!(pair[0].limit < pair[1].request);
        }
        assert!(events.last().unwrap().limit < 10_000);
    }

    #[test]
    fn seed_determines_the_events() {
        let of = |seed| events(10_000, 20, 40, seed).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn migrations_carry_messages_of_both_kinds() {
        let events = events(1000, 0, 2, 1).unwrap();
        for masked in [true, false] {
            let action = Action::Migrate {
                kill: None,
                when: Moment::Pending { masked },
            };
            assert!(events.iter().any(|event| event.action == action));
        }
    }

    #[test]
    fn numbers_too_large_for_a_run_are_refused() {
        for (kills, migrations) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            let error = events(100, kills, migrations, 1).unwrap_err();
            assert!(error.to_string().contains("too few"));
        }
    }

    #[test]
    fn kills_are_at_all_stages() {
        let events = events(10_000, 6, 0, 1).unwrap();
        for stage in Stage::ALL {
            let kill = Action::Kill(Moment::At(stage));
            assert!(events.iter().any(|event| event.action == kill));
        }
    }

    #[test]
    fn too_few_requests_are_refused_with_a_number_that_is_not() {
        let error = events(100, 3, 4, 1).unwrap_err().to_string();
        let enough = error.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(events(enough, 3, 4, 1).is_ok());
        assert!(events(enough - 1, 3, 4, 1).is_err());
        assert!(events(LEAST_REQUESTS, 0, 0, 1).unwrap().is_empty());
    }
}
