// SPDX-License-Identifier: GPL-2.0-only

//! Versions with a mistake in them, which has to be found.

use crate::{
    domain::{self, Readers},
    irqfd::{self, Attach, Detach, Irqfd},
    line::{self, Acked, Action, Behind, Taken, ASSERTED, HELD, MASKED, PENDING, RAISED, RESAMPLE},
    ops::{Op, LEVEL_OPS, NOWAIT_OPS, OPS},
    records::{self, Mistake, Ring},
    walk,
    wiring::{self, Functions, Wiring},
    Rule, Walk,
};

/// What is wrong in it.
#[derive(Clone)]
enum Model {
    Line(Wiring),
    Irqfd(Irqfd),
    Ring(Ring),
    Readers(Readers),
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
            Model::Line(wiring) => walk(wiring, 1),
            Model::Irqfd(irqfd) => walk(irqfd, 1),
            Model::Ring(ring) => walk(ring, 1),
            Model::Readers(readers) => walk(readers, 1),
        }
    }
}

fn wiring(ops: &[Op], level: bool, functions: Functions) -> Model {
    Model::Line(Wiring {
        threads: 3,
        ops_each: 2,
        ops: ops.to_vec(),
        level,
        rounds: 0,
        functions,
    })
}

fn line(name: &'static str, rules: &'static [Rule], functions: Functions) -> Broken {
    let model = wiring(&OPS, false, functions);
    Broken { name, rules, model }
}

fn level(name: &'static str, rules: &'static [Rule], functions: Functions) -> Broken {
    let model = wiring(&LEVEL_OPS, true, functions);
    Broken { name, rules, model }
}

fn nowait(name: &'static str, rules: &'static [Rule], functions: Functions) -> Broken {
    let model = wiring(&NOWAIT_OPS, true, functions);
    Broken { name, rules, model }
}

fn ring(name: &'static str, rules: &'static [Rule], mistake: Mistake) -> Broken {
    let model = Model::Ring(Ring {
        mistake: Some(mistake),
        ..records::REAL
    });
    Broken { name, rules, model }
}

fn readers(name: &'static str, mistake: domain::Mistake) -> Broken {
    let model = Model::Readers(Readers {
        mistake: Some(mistake),
        ..domain::REAL
    });
    let rules = &[Rule::Freed];
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
                    (_, Action::Deliver(_)) if state & MASKED != 0 => {
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
                leave: |state, rounds, place| {
                    let (after, action) = line::leave(state & !MASKED, rounds, place);
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
                    (after, Taken::Done { resample, .. }) => {
                        let message = Some(Behind::NOTHING);
                        (after, Taken::Done { message, resample })
                    }
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
                    (after, Taken::Done { resample, .. }) => {
                        let message = None;
                        (after, Taken::Done { message, resample })
                    }
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
            &[Lost, Prompt],
            Functions {
                leave: |state, _, _| (state & !HELD, Action::Leave),
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
                    (after, action @ Action::Deliver(_)) => (after | PENDING, action),
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
                    (after, action @ Action::Deliver(_)) => (after | PENDING, action),
                    other => other,
                },
                ..REAL
            },
        ),
        line(
            "the callback is queued before pending is set",
            &[Lost, Prompt],
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
        level(
            "a delivery does not keep a level line from sending another",
            &[Asserted, State],
            Functions {
                take: |state| match line::take(state) {
                    (after, action @ Action::Deliver(_)) => (after & !ASSERTED, action),
                    other => other,
                },
                ..REAL
            },
        ),
        level(
            "an asserted line is rung all the same",
            &[Asserted, Pending],
            Functions {
                ring: |state, from| line::ring(state & !ASSERTED, from),
                ..REAL
            },
        ),
        level(
            "ACK takes back what has not been delivered",
            &[Asserted, Lost, Pending],
            Functions {
                ack: |state| {
                    let (after, acked) = line::ack(state & !PENDING);
                    (after | (state & PENDING), acked)
                },
                ..REAL
            },
        ),
        level(
            "ACK forgets that the level is raised",
            &[Lost, Pending, Stuck],
            Functions {
                ack: |state| match line::ack(state) {
                    (after, Some(Acked::Done { resample, .. })) => {
                        let again = false;
                        (after, Some(Acked::Done { resample, again }))
                    }
                    other => other,
                },
                ..REAL
            },
        ),
        level(
            "after an ACK the level makes a message although there is one",
            &[Asserted, Pending, Count, Invented, State],
            Functions {
                assert_again: |state, from| line::assert_again(state & !(ASSERTED | PENDING), from),
                ..REAL
            },
        ),
        level(
            "ACK makes the next message before it tells of the ack",
            &[Prompt],
            Functions {
                ack_tells_first: false,
                ..REAL
            },
        ),
        line(
            "a delivery that is left half done is nobody's",
            &[Prompt],
            Functions {
                parks_queued: false,
                ..REAL
            },
        ),
        line(
            "who gives the line up can be preempted before the callback is queued",
            &[Prompt],
            Functions {
                leaves_pinned: false,
                ..REAL
            },
        ),
        level(
            "ACK of a masked line tells the sources at once",
            &[Resample],
            Functions {
                ack: |state| match line::ack(state & !MASKED) {
                    (_, Some(Acked::Nothing)) => (state, Some(Acked::Nothing)),
                    (after, done) => (after | (state & MASKED), done),
                },
                ..REAL
            },
        ),
        level(
            "UNMASK does not tell the sources what was postponed",
            &[Resample],
            Functions {
                unmask: |state| match line::unmask(state) {
                    (after, Taken::Done { message, .. }) => {
                        let resample = false;
                        (after, Taken::Done { message, resample })
                    }
                    other => other,
                },
                ..REAL
            },
        ),
        level(
            "UNMASK leaves what was postponed for the next",
            &[Resample, State],
            Functions {
                unmask: |state| {
                    let (after, taken) = line::unmask(state);
                    (after | (state & RESAMPLE), taken)
                },
                ..REAL
            },
        ),
        level(
            "CLEAR of a level line tells nobody",
            &[Resample, State],
            Functions {
                clear: |state| match line::clear(state) {
                    (after, Taken::Done { message, .. }) => {
                        let resample = false;
                        (after & !RESAMPLE, Taken::Done { message, resample })
                    }
                    other => other,
                },
                ..REAL
            },
        ),
        level(
            "CLEAR drops the message of a raised level",
            &[Lost, Pending],
            Functions {
                clear: |state| {
                    let (after, taken) = line::clear(state & !RAISED);
                    (after | (state & RAISED), taken)
                },
                ..REAL
            },
        ),
        level(
            "a level that is lowered takes back what a ring has asserted, too",
            &[Lost, Pending, State],
            Functions {
                lower: |state| line::lower(state & !ASSERTED),
                ..REAL
            },
        ),
        level(
            "a level that is lowered leaves its message behind",
            &[Invented, Pending],
            Functions {
                lower: |state| (state & !RAISED, Some(false)),
                ..REAL
            },
        ),
        level(
            "a message that is taken back from under the holder is not counted",
            &[Count],
            Functions {
                lower: |state| {
                    let (after, withdrawn) = line::lower(state);
                    match line::lower(state & !HELD) {
                        (free, Some(true)) if state & HELD != 0 => (free, withdrawn),
                        _ => (after, withdrawn),
                    }
                },
                ..REAL
            },
        ),
        nowait(
            "an unmask that does not wait takes the message from under the holder",
            &[Lost, Pending],
            Functions {
                unmask_nowait: |state| match line::unmask_nowait(state) {
                    (after, done @ Some(_)) => (after & !PENDING, done),
                    other => other,
                },
                ..REAL
            },
        ),
        nowait(
            "an unmask that does not wait delivers from under the holder",
            &[Asserted, Holder, Invented, Pending],
            Functions {
                unmask_nowait: |state| line::unmask_nowait(state & !HELD),
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
        ring(
            "records: full by a tail that was read long ago",
            &[Refused],
            Mistake::OldTail,
        ),
        ring(
            "records: one place too many",
            &[Invented, Lost],
            Mistake::OneTooMany,
        ),
        ring(
            "records: the number is stored before the rest",
            &[Invented],
            Mistake::PublishFirst,
        ),
        ring(
            "records: the tail is read, then stored",
            &[Invented, Lost],
            Mistake::NoExchange,
        ),
        ring(
            "records: the place is given back, then read",
            &[Invented],
            Mistake::GiveBackFirst,
        ),
        ring(
            "records: whatever is in the place is a record",
            &[Invented],
            Mistake::AnyNumber,
        ),
        readers(
            "readers: the pointer is read, then the reader counted",
            domain::Mistake::CountLate,
        ),
        readers(
            "readers: only one phase is waited for",
            domain::Mistake::OnePhase,
        ),
        readers(
            "readers: only one CPU is waited for",
            domain::Mistake::OneCpu,
        ),
        readers("readers: counted down on another CPU", domain::Mistake::Sum),
        readers(
            "readers: waited for, then replaced",
            domain::Mistake::WaitEarly,
        ),
    ]
}
