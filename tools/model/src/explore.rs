// SPDX-License-Identifier: GPL-2.0-only

//! The exhaustive search, by stateright. Models run beside each other, one on each CPU.

use crate::{ModelState, Rule};
use stateright::{Checker, Model};
use std::{
    fmt::Debug,
    hash::Hash,
    sync::{mpsc, Mutex},
    thread,
    time::Instant,
};

/// The result of an exploration.
#[derive(Debug)]
pub struct Exploration {
    /// The number of distinct states.
    pub states: usize,
    /// The number of steps from one state to another.
    pub steps: usize,
    /// The length of the longest of the shortest paths.
    pub depth: usize,
    /// The duration in seconds.
    pub seconds: f64,
    /// The violated rule, and the shortest path to the violation.
    pub violation: Option<(Rule, Vec<String>)>,
}

/// Visits every reachable state of `model`, breadth first, or stops at the first violation. With the one thread that it
/// uses, the violation that it finds is always the same.
pub fn explore<M>(model: M) -> Exploration
where
    M: Model + Send + Sync + 'static,
    M::State: ModelState + Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq + Send + Sync,
{
    let start = Instant::now();
    let checker = model.checker().threads(1).spawn_bfs().join();
    let violation = checker.discoveries().into_values().next().map(|path| {
        let rule = path.last_state().violation().expect("a violation");
        let steps = path.into_actions();
        (rule, steps.iter().map(|step| format!("{step:?}")).collect())
    });
    Exploration {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        seconds: start.elapsed().as_secs_f64(),
        violation,
    }
}

/// An exploration to run.
pub type Job = Box<dyn FnOnce() -> Exploration + Send>;

/// Runs the jobs on `threads` CPUs. Calls `report` with the index of each and its result, in the order of the jobs.
pub fn run_all(jobs: Vec<Job>, threads: usize, mut report: impl FnMut(usize, Exploration)) {
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || loop {
                let next = queue.lock().expect("no job panics with the lock").next();
                let Some((index, job)) = next else {
                    return;
                };
                if sender.send((index, job())).is_err() {
                    return;
                }
            });
        }
        drop(sender);
        let (mut waiting, mut due) = (Vec::new(), 0);
        for result in results {
            waiting.push(result);
            while let Some(at) = waiting.iter().position(|(index, _)| *index == due) {
                let (index, exploration) = waiting.swap_remove(at);
                report(index, exploration);
                due += 1;
            }
        }
    });
}
