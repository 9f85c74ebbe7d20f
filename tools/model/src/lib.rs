// SPDX-License-Identifier: GPL-2.0-only

//! Every interleaving of what a line does.
//!
//! [`line`] is the module's own rust/line.rs, compiled here as it is. [`wiring`] walks through every
//! order in which the atomic steps of some threads can happen, and looks in each state whether the
//! rules hold. [`irqfd`] does the same with the way an irqfd is attached to its eventfd.
//! [`records`] does it with the ring of kept values, [`domain`] with readers that are waited for.
//! [`broken`] has versions with a mistake in them: a model that does not find those is worth nothing.
//! [`region`] compares what the bus matches with a naive reference, and has its own mistakes.
//!
//! What is said of atomic steps here is sequentially consistent, as are the module's: each is a
//! fully ordered compare-exchange.

// Of `retype` and `renew` there is no interleaving to look at.
#[path = "../../../rust/line/state.rs"]
#[allow(missing_docs, dead_code)]
mod line;

mod begin;
pub mod broken;
pub mod domain;
pub mod irqfd;
mod judge;
pub mod ops;
pub mod records;
pub mod region;
mod state;
pub mod wiring;

use stateright::{Checker, Model, Property};
use std::{fmt, hash::Hash, time::Instant};

/// What the users were promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// R1: after a ring, once the line is unmasked, a delivery starts.
    Lost,
    /// R2: a delivery, or a ring by an irqfd, that nothing has caused.
    Invented,
    /// R3: a delivery under way although MASK has returned.
    MaskBarrier,
    /// R3: pending is not what it should be.
    Pending,
    /// R10: a message may be delivered, but the only one who knows of it can be preempted.
    Prompt,
    /// Two holders of one line, or none although it is held.
    Holder,
    /// Ring by ring, the counters do not add up.
    Count,
    /// A transition was not notified once.
    Notify,
    /// A query's answer is not of one moment.
    Query,
    /// R7: two deliveries without an ack between them, or an ack of none.
    Asserted,
    /// R7: after an ack, the sources are not told to look again once, or not when they should.
    Resample,
    /// Something is freed while a reader uses it.
    Freed,
    /// A write is refused although there is room to keep it.
    Refused,
    /// The word does not say what is so.
    State,
    /// Somebody waits for ever.
    Stuck,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Lost => "R1: lost",
            Rule::Invented => "R2: invented",
            Rule::MaskBarrier => "R3: delivery under a mask",
            Rule::Pending => "R3: pending is wrong",
            Rule::Prompt => "R10: a message waits for a thread that may be preempted",
            Rule::Holder => "two holders",
            Rule::Count => "a ring is not counted once",
            Rule::Notify => "a transition is not notified once",
            Rule::Query => "query is not of one moment",
            Rule::Asserted => "R7: delivery and ack do not alternate",
            Rule::Resample => "R7: the sources are not told to look again when they should",
            Rule::Freed => "R4: freed while a reader uses it",
            Rule::Refused => "a write is refused although there is room",
            Rule::State => "the word is wrong",
            Rule::Stuck => "somebody waits for ever",
        })
    }
}

/// A state that knows whether a rule was broken on the way to it.
pub trait Judged {
    /// The rule, if one was.
    fn broken(&self) -> Option<Rule>;
}

/// That no rule was broken on the way to any state.
fn the_rules_hold<M: Model<State: Judged>>() -> Vec<Property<M>> {
    vec![Property::always("the rules hold", |_, state: &M::State| {
        state.broken().is_none()
    })]
}

/// What a walk through all states found.
#[derive(Debug)]
pub struct Walk {
    /// States that are different.
    pub states: usize,
    /// Steps from one to another.
    pub steps: usize,
    /// Steps in the longest of the shortest ways.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// The rule that was broken, and the shortest way there.
    pub found: Option<(Rule, Vec<String>)>,
}

/// Visits every state of `model` that can be reached, or all up to the first that breaks a rule, on
/// `threads` CPUs; on one, what is found is always the same.
pub fn walk<M>(model: M, threads: usize) -> Walk
where
    M: Model + Send + Sync + 'static,
    M::State: Judged + Hash + fmt::Debug + Clone + PartialEq + Send + Sync,
    M::Action: fmt::Debug + Clone + PartialEq + Send + Sync,
{
    let start = Instant::now();
    let checker = model.checker().threads(threads).spawn_bfs().join();
    let found = checker.discoveries().into_values().next().map(|path| {
        let rule = path.last_state().broken().expect("a rule was broken");
        let steps = path.into_actions();
        (rule, steps.iter().map(|step| format!("{step:?}")).collect())
    });
    Walk {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        seconds: start.elapsed().as_secs_f64(),
        found,
    }
}

/// The wirings that are walked through: all operations by some threads, and near the limit of what a
/// holder delivers at once. With `deep`, as many as a machine can hold.
pub fn scenarios(deep: bool) -> Vec<(String, wiring::Wiring)> {
    use ops::{Op, LEVEL_OPS, NOWAIT_OPS, OPS};
    use wiring::{Wiring, REAL};

    let without_query: Vec<Op> = OPS.into_iter().filter(|&op| op != Op::Query).collect();
    let level_and_query = [&LEVEL_OPS[..], &[Op::Query]].concat();
    let mut all = Vec::new();
    let mut add = |threads, ops_each, (name, ops): (&str, &[Op]), near_limit: bool| {
        // An edge line has nothing to ack.
        for level in [ops.contains(&Op::Raise), ops.contains(&Op::Ack)] {
            let name = format!(
                "{threads} threads, {ops_each} operations each, {name}{}{}",
                if level { ", level line" } else { "" },
                if near_limit { ", near the limit" } else { "" },
            );
            if all.iter().any(|(other, _)| *other == name) {
                continue;
            }
            let rounds = if near_limit { line::MAX_ROUNDS - 1 } else { 0 };
            let ops = ops.to_vec();
            all.push((
                name,
                Wiring {
                    threads,
                    ops_each,
                    ops,
                    level,
                    rounds,
                    functions: REAL,
                },
            ));
        }
    };
    let any = ("all system calls", &OPS[..]);
    let no_query = ("no query", &without_query[..]);
    let level = ("no query", &LEVEL_OPS[..]);
    let level_query = ("all system calls", &level_and_query[..]);
    let nowait = ("by other modules", &NOWAIT_OPS[..]);
    for near_limit in [false, true] {
        add(2, 2, any, near_limit);
        add(3, 1, any, near_limit);
        add(3, 2, no_query, near_limit);
        add(3, 2, level, near_limit);
        add(2, 2, level_query, near_limit);
        add(3, 2, nowait, near_limit);
        if deep {
            add(3, 3, no_query, near_limit);
            add(2, 3, any, near_limit);
            add(4, 1, any, near_limit);
            add(4, 3, no_query, near_limit);
            add(3, 3, level, near_limit);
            add(2, 3, level_query, near_limit);
            add(3, 3, nowait, near_limit);
        }
    }
    all
}
