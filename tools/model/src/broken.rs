// SPDX-License-Identifier: GPL-2.0-only

//! Versions with a mistake in them, which has to be found.

use crate::{
    irqfd::{self, Attach, Detach, Irqfd},
    line::{self, Action, Taken, HELD, MASKED, PENDING},
    walk,
    wiring::{self, Functions, Wiring, OPS},
    Rule, Walk,
};

/// What is wrong in it.
#[derive(Clone)]
enum Model {
    Line(Functions),
    Irqfd(Irqfd),
}

/// A version with a mistake in it.
pub struct Broken {
    /// What the mistake is.
    pub name: &'static str,
    /// The rules that it can break first.
    pub rules: &'static [Rule],
    model: Model,
}

impl Broken {
    /// Looks for the mistake.
    pub fn walk(&self) -> Walk {
        match self.model.clone() {
            Model::Line(functions) => {
                let wiring = Wiring {
                    threads: 3,
                    ops_each: 2,
                    ops: OPS.to_vec(),
                    rounds: 0,
                    functions,
                };
                walk(wiring, 1)
            }
            Model::Irqfd(irqfd) => walk(irqfd, 1),
        }
    }
}

fn line(name: &'static str, rules: &'static [Rule], functions: Functions) -> Broken {
    let model = Model::Line(functions);
    Broken { name, rules, model }
}

fn irqfd(name: &'static str, rules: &'static [Rule], irqfd: Irqfd) -> Broken {
    let model = Model::Irqfd(irqfd);
    Broken { name, rules, model }
}

/// All of them.
pub fn all() -> Vec<Broken> {
    use Rule::*;
    const REAL: Functions = wiring::REAL;
    vec![
        line(
            "a callback clears pending before it looks at the mask",
            &[Lost, Count],
            Functions {
                take: |state| match line::take(state & !MASKED) {
                    (_, Action::Deliver { .. }) if state & MASKED != 0 => {
                        (state & !PENDING, Action::Leave)
                    }
                    (_, action) if state & MASKED != 0 => (state, action),
                    other => other,
                },
                ..REAL
            },
        ),
        line(
            "MASK does not wait for the delivery that is under way",
            &[MaskBarrier],
            Functions {
                mask_waits: false,
                ..REAL
            },
        ),
        line(
            "a holder delivers on although the line is masked",
            &[MaskBarrier],
            Functions {
                leave: |state, rounds| {
                    let (after, action) = line::leave(state & !MASKED, rounds);
                    (after | (state & MASKED), action)
                },
                ..REAL
            },
        ),
        line(
            "a masked line is delivered on by a ring",
            &[MaskBarrier],
            Functions {
                ring: |state, from| {
                    let (after, action) = line::ring(state & !MASKED, from);
                    (after | (state & MASKED), action)
                },
                ..REAL
            },
        ),
        line(
            "UNMASK always delivers",
            &[Invented],
            Functions {
                unmask: |state| match line::unmask(state) {
                    (after, Taken::Done { .. }) => (after, Taken::Done { message: Some(0) }),
                    other => other,
                },
                ..REAL
            },
        ),
        line(
            "UNMASK forgets what is pending",
            &[Lost, Count],
            Functions {
                unmask: |state| match line::unmask(state) {
                    (after, Taken::Done { .. }) => (after, Taken::Done { message: None }),
                    other => other,
                },
                ..REAL
            },
        ),
        line(
            "UNMASK delivers and leaves pending set",
            &[Pending, Invented],
            Functions {
                unmask: |state| match line::unmask(state) {
                    (after, done @ Taken::Done { .. }) => (after | (state & PENDING), done),
                    other => other,
                },
                ..REAL
            },
        ),
        line(
            "UNMASK does not care who holds the line",
            &[Holder],
            Functions {
                unmask: |state| line::unmask(state & !HELD),
                ..REAL
            },
        ),
        line(
            "a holder leaves without looking whether it was rung",
            &[Lost],
            Functions {
                leave: |state, _| (state & !HELD, Action::Leave),
                ..REAL
            },
        ),
        line(
            "a ring that finds the line held goes without a trace",
            &[Lost, Count],
            Functions {
                ring: |state, from| {
                    if state & HELD != 0 {
                        (state, Action::Leave)
                    } else {
                        line::ring(state, from)
                    }
                },
                ..REAL
            },
        ),
        line(
            "a ring on a masked line goes without a trace",
            &[Lost],
            Functions {
                ring: |state, from| {
                    if state & MASKED != 0 {
                        (state, Action::Keep)
                    } else {
                        line::ring(state, from)
                    }
                },
                ..REAL
            },
        ),
        line(
            "a callback does not care who holds the line",
            &[Holder],
            Functions {
                take: |state| line::take(state & !HELD),
                ..REAL
            },
        ),
        line(
            "a callback leaves pending set",
            &[Pending],
            Functions {
                take: |state| match line::take(state) {
                    (after, action @ Action::Deliver { .. }) => (after | PENDING, action),
                    other => other,
                },
                ..REAL
            },
        ),
        line(
            "a ring delivers, and stays pending",
            &[Pending],
            Functions {
                ring: |state, from| match line::ring(state, from) {
                    (after, action @ Action::Deliver { .. }) => (after | PENDING, action),
                    other => other,
                },
                ..REAL
            },
        ),
        line(
            "the callback is queued before pending is set",
            &[Lost],
            Functions {
                queue_last: false,
                ..REAL
            },
        ),
        line(
            "CLEAR unmasks",
            &[MaskBarrier, Notify, Pending],
            Functions {
                clear: |state| match line::clear(state) {
                    (after, done @ Taken::Done { .. }) => (after & !MASKED, done),
                    other => other,
                },
                ..REAL
            },
        ),
        line(
            "a delivery is not counted",
            &[Count],
            Functions {
                counts: false,
                ..REAL
            },
        ),
        line(
            "MASK of a masked line notifies, too",
            &[Notify],
            Functions {
                notify_once: false,
                ..REAL
            },
        ),
        line(
            "a query adds up what it reads, without looking twice",
            &[Query],
            Functions {
                query_checks: false,
                ..REAL
            },
        ),
        line(
            "a query looks at the counters twice, and then at the word",
            &[Query],
            Functions {
                query_word_first: false,
                ..REAL
            },
        ),
        irqfd(
            "detach: the counter is read, then the entry removed",
            &[Invented],
            Irqfd {
                consumes: false,
                detach: Detach::ReadThenRemove,
                ..irqfd::REAL
            },
        ),
        irqfd(
            "detach: the entry is removed, then the counter read",
            &[Lost],
            Irqfd {
                consumes: false,
                detach: Detach::RemoveThenRead,
                ..irqfd::REAL
            },
        ),
        irqfd(
            "attach: the counter is taken, then the entry added",
            &[Lost],
            Irqfd {
                attach: Attach::TakeThenAdd,
                ..irqfd::REAL
            },
        ),
        irqfd(
            "the callback leaves the counter alone",
            &[Invented],
            Irqfd {
                consumes: false,
                ..irqfd::REAL
            },
        ),
    ]
}
