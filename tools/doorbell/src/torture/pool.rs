// SPDX-License-Identifier: GPL-2.0-only

//! A pool of worker threads that pause at a barrier for each check of the accounts.

use super::{accounting::Issued, topology::Topology, Violation};
use std::{
    sync::{
        atomic::{
            AtomicU32,
            Ordering::{Acquire, Release},
        },
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
    },
    time::Duration,
};

/// The operations that a thread issued since the last pause.
#[derive(Clone, Debug, Default)]
pub(super) struct IssuedCounts {
    /// By line.
    pub(super) lines: Vec<Issued>,
    /// The number of assignments.
    pub(super) assigns: u64,
}

impl IssuedCounts {
    pub(super) fn new(lines: usize) -> Self {
        Self {
            lines: vec![Issued::default(); lines],
            assigns: 0,
        }
    }

    /// Adds the counts to `sum` and resets them.
    fn move_to(&mut self, sum: &mut IssuedCounts) {
        for (to, from) in sum.lines.iter_mut().zip(&mut self.lines) {
            *to += std::mem::take(from);
        }
        sum.assigns += std::mem::take(&mut self.assigns);
    }
}

/// The work of a thread.
pub(super) trait Worker: Send {
    /// Works for some tens of microseconds.
    ///
    /// # Errors
    ///
    /// If a rule is violated. The worker is not called again.
    fn run_slice(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation>;

    /// Prepares a pause: unmasks each line that only this worker unmasks.
    ///
    /// # Errors
    ///
    /// If a rule is violated. The worker is not called again.
    fn before_pause(&mut self, _counts: &mut IssuedCounts) -> Result<(), Violation> {
        Ok(())
    }
}

const RUN: u32 = 0;
const PAUSE: u32 = 1;
const STOP: u32 = 2;

/// The pool, and the objects that its workers share.
pub(super) struct WorkerPool {
    pub(super) topology: Topology,
    phase: AtomicU32,
    barrier: Mutex<Barrier>,
    arrived: Condvar,
    resumed: Condvar,
}

/// The state of the barrier.
struct Barrier {
    members: Vec<Member>,
    /// The counts of all workers up to the last pause.
    sum: IssuedCounts,
    violations: Vec<Violation>,
}

/// A worker thread at the barrier.
struct Member {
    name: String,
    /// True while the worker waits at the barrier.
    paused: bool,
}

impl WorkerPool {
    pub(super) fn new(topology: Topology) -> Arc<Self> {
        let barrier = Barrier {
            members: Vec::new(),
            sum: IssuedCounts::new(topology.lines.len()),
            violations: Vec::new(),
        };
        Arc::new(Self {
            topology,
            phase: AtomicU32::new(RUN),
            barrier: Mutex::new(barrier),
            arrived: Condvar::new(),
            resumed: Condvar::new(),
        })
    }

    fn barrier(&self) -> MutexGuard<'_, Barrier> {
        self.barrier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if threads have to end.
    pub(super) fn stopped(&self) -> bool {
        self.phase.load(Acquire) == STOP
    }

    /// Records a violation. The next check ends the run.
    pub(super) fn report(&self, violation: Violation) {
        self.barrier().violations.push(violation);
    }

    /// Starts a thread that calls `worker` until the pool stops. Pins the thread to `cpu`, if
    /// given.
    pub(super) fn spawn(
        self: &Arc<Self>,
        name: String,
        cpu: Option<usize>,
        mut worker: impl Worker + 'static,
    ) -> std::io::Result<()> {
        let mut barrier = self.barrier();
        let index = barrier.members.len();
        let pool = self.clone();
        spawn_thread(&name, cpu, move || {
            let mut counts = IssuedCounts::new(pool.topology.lines.len());
            let mut failed = false;
            loop {
                let phase = pool.phase.load(Acquire);
                let result = match phase {
                    STOP => return,
                    _ if failed => Ok(()),
                    PAUSE => worker.before_pause(&mut counts),
                    _ => worker.run_slice(&mut counts),
                };
                if let Err(violation) = result {
                    failed = true;
                    pool.report(violation);
                }
                if phase == PAUSE {
                    pool.pause(index, &mut counts);
                } else if failed {
                    // The next pause ends the run.
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        })?;
        barrier.members.push(Member {
            name,
            paused: false,
        });
        Ok(())
    }

    /// Adds the counts of the worker `index` to the sum, and waits at the barrier.
    fn pause(&self, index: usize, counts: &mut IssuedCounts) {
        let mut barrier = self.barrier();
        counts.move_to(&mut barrier.sum);
        barrier.members[index].paused = true;
        self.arrived.notify_all();
        while self.phase.load(Acquire) == PAUSE {
            barrier = self
                .resumed
                .wait(barrier)
                .unwrap_or_else(PoisonError::into_inner);
        }
        barrier.members[index].paused = false;
    }

    /// Waits until all workers pause. If a worker does not pause within `limit`, reports that and
    /// returns false.
    pub(super) fn pause_all(&self, limit: Duration) -> bool {
        self.phase.store(PAUSE, Release);
        let start = self.topology.clock.now();
        let mut barrier = self.barrier();
        loop {
            if barrier.members.iter().all(|member| member.paused) {
                return true;
            }
            if self.topology.clock.now() - start > limit {
                break;
            }
            barrier = self
                .arrived
                .wait_timeout(barrier, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let stuck: Vec<String> = barrier
            .members
            .iter()
            .filter(|member| !member.paused)
            .map(|member| member.name.clone())
            .collect();
        barrier.violations.push(Violation::new(
            super::Rule::Stuck,
            &stuck.join(", "),
            format!("in a system call for {} s", limit.as_secs()),
        ));
        false
    }

    /// Ends the pause.
    pub(super) fn resume(&self) {
        let barrier = self.barrier();
        self.phase.store(RUN, Release);
        drop(barrier);
        self.resumed.notify_all();
    }

    /// Tells all threads to end.
    pub(super) fn stop(&self) {
        let barrier = self.barrier();
        self.phase.store(STOP, Release);
        drop(barrier);
        self.resumed.notify_all();
        self.topology.wake_sleepers();
    }

    /// Returns true if a violation was reported.
    pub(super) fn failed(&self) -> bool {
        !self.barrier().violations.is_empty()
    }

    /// Removes and returns all violations.
    pub(super) fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.barrier().violations)
    }

    /// Adds `more` to the counts of all workers up to the last pause, and returns the sum.
    pub(super) fn total(&self, more: &mut IssuedCounts) -> IssuedCounts {
        let mut barrier = self.barrier();
        more.move_to(&mut barrier.sum);
        barrier.sum.clone()
    }
}

/// Starts a thread. Pins it to `cpu`, if given.
pub(super) fn spawn_thread(
    name: &str,
    cpu: Option<usize>,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let body = move || {
        if let Some(cpu) = cpu {
            // The rules do not depend on the CPU.
            let _ = crate::sys::pin(&[cpu]);
        }
        body();
    };
    std::thread::Builder::new().name(name.into()).spawn(body)?;
    Ok(())
}
