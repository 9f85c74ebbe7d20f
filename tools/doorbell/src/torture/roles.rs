// SPDX-License-Identifier: GPL-2.0-only

//! The roles of the threads, and their start.

use super::{
    churn, consume, level, mask,
    pool::{self, spawn_thread, IssuedCounts, WorkerPool},
    ring, sequential, Kind, Options, Violation,
};
use crate::{random::Random, sys};
use std::sync::Arc;

/// The roles of the first threads. [`MIN_THREADS`] of them cover each role.
///
/// [`MIN_THREADS`]: super::MIN_THREADS
const ROLES: [Role; 12] = [
    Role::Ring,
    Role::Poll,
    Role::Mask,
    Role::Exclusive,
    Role::Assign,
    Role::Ack,
    Role::Ring,
    Role::Sleep,
    Role::Observe,
    Role::Ring,
    Role::Mask,
    Role::Ack,
];

/// The work of a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// Ring lines.
    Ring,
    /// Consume signals with poll(2).
    Poll,
    /// Consume signals with a blocking read(2).
    Sleep,
    /// Mask, unmask and clear shared lines.
    Mask,
    /// Mask lines that no other thread masks, and work on sequential lines.
    Exclusive,
    /// Assign and deassign.
    Assign,
    /// Raise, lower and ack level lines.
    Ack,
    /// Read counters and consume records.
    Observe,
}

/// Returns the roles of `threads` threads. Roles beyond the first ones repeat in a cycle.
pub(super) fn roles(threads: usize) -> Vec<Role> {
    let more = [Role::Ring, Role::Assign, Role::Ack, Role::Ring, Role::Mask];
    let rest = more.into_iter().cycle();
    ROLES.into_iter().chain(rest).take(threads).collect()
}

/// A worker that alternates between two kinds of lines that no other thread masks.
struct Exclusive {
    barrier: mask::BarrierCheck,
    sequential: Vec<sequential::Sequential>,
}

impl pool::Worker for Exclusive {
    fn run_slice(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        self.barrier.run_slice(counts)?;
        self.sequential
            .iter_mut()
            .try_for_each(|one| one.run_slice(counts))
    }

    fn before_pause(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        self.barrier.before_pause(counts)?;
        let mut sequential = self.sequential.iter_mut();
        sequential.try_for_each(|one| one.before_pause(counts))
    }
}

/// Starts a thread for each role.
pub(super) fn spawn_workers(
    pool: &Arc<WorkerPool>,
    options: &Options,
    roles: &[Role],
) -> anyhow::Result<()> {
    let cpus = sys::cpus()?;
    let (mut producers, mut assigners) = (0, 0);
    let all_assigners = roles.iter().filter(|&&role| role == Role::Assign).count();
    let mut sleepers = pool.topology.lines.len()..pool.topology.fixed_triggers.len();
    for (at, role) in roles.iter().enumerate() {
        let random = Random::new(options.seed.wrapping_add(at as u64));
        // Every other thread is pinned.
        let cpu = (at % 2 == 0).then(|| cpus[at / 2 % cpus.len()]);
        let name = |role: &str| format!("{role} {at}");
        let shared = pool.clone();
        let consumer = |result, pool: &WorkerPool| {
            if let Err(violation) = result {
                pool.report(violation);
            }
        };
        match role {
            Role::Ring => {
                let worker = ring::Producer::new(shared, producers, random);
                producers += 1;
                pool.spawn(name("ring"), cpu, worker)?;
            }
            Role::Mask => pool.spawn(name("mask"), cpu, mask::Masker::new(shared, random))?,
            Role::Exclusive => {
                let sequential = pool.topology.lines_with(Kind::solo).into_iter();
                let sequential = sequential.map(|line| {
                    let random = Random::new(options.seed ^ ((line as u64 + 1) << 32));
                    sequential::Sequential::new(pool.clone(), random, line, options.longest_wait)
                });
                let worker = Exclusive {
                    sequential: sequential.collect::<Result<_, _>>()?,
                    barrier: mask::BarrierCheck::new(
                        shared,
                        random,
                        pool.topology.lines_with(|kind| kind == Kind::Barrier),
                    ),
                };
                pool.spawn(name("mask alone"), cpu, worker)?;
            }
            Role::Assign => {
                let worker = churn::Assigner::new(
                    shared,
                    options.device.clone(),
                    (assigners, all_assigners),
                    random,
                )?;
                assigners += 1;
                pool.spawn(name("assign"), cpu, worker)?;
            }
            Role::Ack => pool.spawn(name("ack"), cpu, level::Acker::new(shared, random))?,
            Role::Observe => {
                pool.spawn(name("observe"), cpu, consume::Observer::new(shared, random))?;
            }
            Role::Poll => {
                spawn_thread(&name("poll"), cpu, move || {
                    consumer(consume::poll(&shared, random), &shared)
                })?;
            }
            Role::Sleep => {
                for trigger in sleepers.by_ref() {
                    let shared = shared.clone();
                    spawn_thread(&name("sleep"), cpu, move || {
                        consumer(consume::sleep(&shared, trigger), &shared)
                    })?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::MIN_THREADS;

    #[test]
    fn each_role_has_a_thread() {
        let few = roles(MIN_THREADS);
        for role in ROLES {
            assert!(few.contains(&role));
        }
        let many = roles(64);
        assert_eq!(many.len(), 64);
        // Only one thread may have a role that needs exclusive access.
        for role in [Role::Exclusive, Role::Poll, Role::Sleep] {
            assert_eq!(many.iter().filter(|&&one| one == role).count(), 1);
        }
    }
}
