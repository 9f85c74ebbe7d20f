// SPDX-License-Identifier: GPL-2.0-only

//! Threads that work, pause together, and end.

use super::{ledger::Done, world::World, Violation};
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

/// What somebody did since the last pause.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// To each line.
    pub(super) lines: Vec<Done>,
    /// How often something was assigned.
    pub(super) assigns: u64,
}

impl Tally {
    pub(super) fn new(lines: usize) -> Self {
        Self {
            lines: vec![Done::default(); lines],
            assigns: 0,
        }
    }

    fn move_to(&mut self, sum: &mut Tally) {
        for (to, from) in sum.lines.iter_mut().zip(&mut self.lines) {
            *to += std::mem::take(from);
        }
        sum.assigns += std::mem::take(&mut self.assigns);
    }
}

/// A thread's work.
pub(super) trait Worker: Send {
    /// A little of it: some tens of microseconds.
    fn turn(&mut self, tally: &mut Tally) -> Result<(), Violation>;

    /// Before a pause: leaves no line masked that nobody else unmasks.
    fn settle(&mut self, _tally: &mut Tally) -> Result<(), Violation> {
        Ok(())
    }
}

const RUN: u32 = 0;
const PAUSE: u32 = 1;
const END: u32 = 2;

/// Where threads meet.
pub(super) struct Crew {
    pub(super) world: World,
    phase: AtomicU32,
    lobby: Mutex<Lobby>,
    arrived: Condvar,
    resume: Condvar,
}

struct Lobby {
    /// The workers, by name, and whether they pause.
    workers: Vec<(String, bool)>,
    sum: Tally,
    violations: Vec<Violation>,
}

impl Crew {
    pub(super) fn new(world: World) -> Arc<Self> {
        let lobby = Lobby {
            workers: Vec::new(),
            sum: Tally::new(world.lines.len()),
            violations: Vec::new(),
        };
        Arc::new(Self {
            world,
            phase: AtomicU32::new(RUN),
            lobby: Mutex::new(lobby),
            arrived: Condvar::new(),
            resume: Condvar::new(),
        })
    }

    fn lobby(&self) -> MutexGuard<'_, Lobby> {
        self.lobby.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to end.
    pub(super) fn ended(&self) -> bool {
        self.phase.load(Acquire) == END
    }

    /// Writes down what must not be.
    pub(super) fn report(&self, violation: Violation) {
        self.lobby().violations.push(violation);
    }

    /// Starts a thread that works until the end; on `cpu`, if there is one said.
    pub(super) fn hire(
        self: &Arc<Self>,
        name: String,
        cpu: Option<usize>,
        mut worker: impl Worker + 'static,
    ) -> std::io::Result<()> {
        let mut lobby = self.lobby();
        let index = lobby.workers.len();
        let crew = self.clone();
        spawn(&name, cpu, move || {
            let mut tally = Tally::new(crew.world.lines.len());
            let mut result = Ok(());
            loop {
                match crew.phase.load(Acquire) {
                    RUN if result.is_ok() => result = worker.turn(&mut tally),
                    // Whoever found something only waits for the pause that ends it all.
                    RUN => std::thread::sleep(Duration::from_millis(10)),
                    PAUSE => {
                        if result.is_ok() {
                            result = worker.settle(&mut tally);
                        }
                        crew.pause(index, &mut tally);
                    }
                    _ => return,
                }
                if let Err(violation) = &result {
                    if !violation.reported {
                        crew.report(violation.clone());
                        result = Err(Violation {
                            reported: true,
                            ..violation.clone()
                        });
                    }
                }
            }
        })?;
        lobby.workers.push((name, false));
        Ok(())
    }

    fn pause(&self, index: usize, tally: &mut Tally) {
        let mut lobby = self.lobby();
        tally.move_to(&mut lobby.sum);
        lobby.workers[index].1 = true;
        self.arrived.notify_all();
        while self.phase.load(Acquire) == PAUSE {
            lobby = self
                .resume
                .wait(lobby)
                .unwrap_or_else(PoisonError::into_inner);
        }
        lobby.workers[index].1 = false;
    }

    /// Has everybody pause; false if somebody does not come within `limit`, which is reported.
    pub(super) fn gather(&self, limit: Duration) -> bool {
        self.phase.store(PAUSE, Release);
        let start = self.world.clock.now();
        let mut lobby = self.lobby();
        loop {
            if lobby.workers.iter().all(|worker| worker.1) {
                return true;
            }
            if self.world.clock.now() - start > limit {
                break;
            }
            lobby = self
                .arrived
                .wait_timeout(lobby, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let stuck: Vec<String> = lobby
            .workers
            .iter()
            .filter(|worker| !worker.1)
            .map(|worker| worker.0.clone())
            .collect();
        lobby.violations.push(Violation::new(
            super::Rule::Stuck,
            &stuck.join(", "),
            format!("in a system call for {} s", limit.as_secs()),
        ));
        false
    }

    /// Has everybody go on.
    pub(super) fn go_on(&self) {
        let lobby = self.lobby();
        self.phase.store(RUN, Release);
        drop(lobby);
        self.resume.notify_all();
    }

    /// Has everybody end.
    pub(super) fn end(&self) {
        let lobby = self.lobby();
        self.phase.store(END, Release);
        drop(lobby);
        self.resume.notify_all();
        self.world.wake_sleepers();
    }

    /// Whether something was reported.
    pub(super) fn failed(&self) -> bool {
        !self.lobby().violations.is_empty()
    }

    /// What was reported; nothing is left.
    pub(super) fn violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.lobby().violations)
    }

    /// What everybody did until the pause.
    pub(super) fn sum(&self, more: &mut Tally) -> Tally {
        let mut lobby = self.lobby();
        more.move_to(&mut lobby.sum);
        lobby.sum.clone()
    }
}

/// Starts a thread of that name; on `cpu`, if there is one said.
pub(super) fn spawn(
    name: &str,
    cpu: Option<usize>,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let body = move || {
        if let Some(cpu) = cpu {
            // Where it runs does not matter to what must hold.
            let _ = crate::sys::pin(&[cpu]);
        }
        body();
    };
    std::thread::Builder::new().name(name.into()).spawn(body)?;
    Ok(())
}
