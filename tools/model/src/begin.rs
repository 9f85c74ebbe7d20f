// SPDX-License-Identifier: GPL-2.0-only

//! How operations begin: the first compare-exchange of each.

use crate::{
    line::{self, Acked, Action, Behind, From, Taken, Unmasked, HELD, MASKED},
    ops::Op,
    state::{At, Callback, Seen, State, Then, Told},
    wiring::Wiring,
    Rule,
};

impl State {
    /// There should be a message.
    pub(crate) fn wanted(&self, model: &Wiring) -> bool {
        if model.level {
            (self.fresh || (self.raised && !self.acking)) && !self.active
        } else {
            self.fresh
        }
    }

    /// The compare-exchange that takes a message: here its delivery starts.
    pub(crate) fn start(&mut self, model: &Wiring) {
        if self.active {
            self.fail(Rule::Asserted);
        }
        if !self.wanted(model) {
            self.fail(Rule::Invented);
        }
        if self.quiet {
            self.fail(Rule::MaskBarrier);
        }
        if model.level {
            self.active = true;
        } else {
            self.fresh = false;
        }
    }

    /// Somebody has unmasked the line, and has to tell.
    fn unmasked(&mut self, resample: bool) -> Told {
        self.quiet = false;
        for thread in &mut self.threads {
            match &mut thread.at {
                At::MaskWaits { still, .. } => *still = false,
                At::Count { then, .. }
                | At::Signal { then, .. }
                | At::Drop { then, .. }
                | At::Leave { then, .. } => {
                    if let Then::Masked { still, .. } = then {
                        *still = false;
                    }
                }
                _ => {}
            }
        }
        self.unnotified += 1;
        // What was postponed is due now, and nothing else is.
        if resample != self.owed {
            self.fail(Rule::Resample);
        }
        self.owed = false;
        self.untold += i8::from(resample);
        Told {
            event: true,
            resample,
        }
    }

    /// The line is no longer asserted; `resample` says whether the sources are told now.
    fn deasserted(&mut self, resample: bool) {
        (self.fresh, self.active) = (false, false);
        if resample == (self.word & MASKED != 0) {
            self.fail(Rule::Resample);
        }
        if resample {
            self.untold += 1;
        } else {
            self.owed = true;
        }
    }

    pub(crate) fn ring(&mut self, model: &Wiring, from: From) -> At {
        let (word, action) = (model.functions.ring)(self.word, from);
        self.word = word;
        self.fresh = true;
        self.rung(model, action, Then::Return)
    }

    fn raise(&mut self, model: &Wiring, from: From) -> At {
        let (word, action) = (model.functions.raise)(self.word, from);
        self.word = word;
        let Some(action) = action else {
            return At::Idle;
        };
        self.raised = true;
        self.rung(model, action, Then::Return)
    }

    pub(crate) fn rung(&mut self, model: &Wiring, action: Action, then: Then) -> At {
        self.rings += 1;
        match action {
            Action::Deliver(_) => {
                self.start(model);
                At::Count {
                    rounds: model.rounds,
                    then,
                }
            }
            Action::Relay => At::Queue {
                callback: Callback::Relay,
                pinned: true,
                then,
            },
            Action::Defer => At::Queue {
                callback: Callback::Defer,
                pinned: true,
                then,
            },
            Action::Coalesce => At::Coalesced(then),
            Action::Leave | Action::Keep | Action::Drop => At::after(then),
        }
    }

    /// The first step of `op`; none if it would have to wait.
    pub(crate) fn begin(&mut self, model: &Wiring, op: Op) -> Option<At> {
        let functions = &model.functions;
        Some(match op {
            Op::Ring => self.ring(model, From::Caller),
            Op::Wake | Op::FarWake if !functions.queue_last => {
                self.queue(Callback::Relay);
                At::Late(op)
            }
            Op::Wake => self.ring(model, From::Wake(Behind::NOTHING)),
            Op::FarWake => self.ring(model, From::Wake(Behind::new(line::RELAY_LIMIT, false))),
            Op::Mask => {
                let (word, newly) = (functions.mask)(self.word);
                let free = self.word & HELD == 0;
                self.word = if functions.mask_waits || free {
                    word
                } else {
                    self.word | MASKED
                };
                self.unnotified += i8::from(newly);
                let still = true;
                match (free, functions.mask_waits) {
                    (true, _) => At::Leave {
                        rounds: model.rounds,
                        then: Then::Masked { still, newly },
                    },
                    (false, true) => At::MaskWaits { newly, still },
                    (false, false) => {
                        self.quiet = true;
                        At::after(self.notify(model, newly))
                    }
                }
            }
            Op::MaskNosync => {
                let (word, newly) = (functions.mask)(self.word);
                let free = self.word & HELD == 0;
                self.word = word;
                self.unnotified += i8::from(newly);
                let (rounds, then) = (model.rounds, self.notify(model, newly));
                if free {
                    At::Leave { rounds, then }
                } else {
                    At::after(then)
                }
            }
            Op::Unmask => {
                let (word, taken) = (functions.unmask)(self.word);
                match taken {
                    Taken::Busy => return None,
                    Taken::Nothing => At::Idle,
                    Taken::Done { message, resample } => {
                        self.word = word;
                        let told = self.unmasked(resample);
                        self.opened(model, message, told)
                    }
                }
            }
            Op::UnmaskNowait => {
                let (word, done) = (functions.unmask_nowait)(self.word);
                let free = self.word & HELD == 0;
                match done {
                    None => At::Idle,
                    Some(Unmasked { message, resample }) => {
                        self.word = word;
                        let told = self.unmasked(resample);
                        if free {
                            self.opened(model, message, told)
                        } else {
                            At::Notify { told, again: false }
                        }
                    }
                }
            }
            Op::Clear => {
                let (word, taken) = (functions.clear)(self.word);
                match taken {
                    Taken::Busy => return None,
                    Taken::Nothing => At::Idle,
                    Taken::Done { resample, .. } => {
                        if !self.wanted(model) {
                            self.fail(Rule::Pending);
                        }
                        self.word = word;
                        self.fresh = false;
                        if model.level {
                            self.deasserted(resample);
                        }
                        let told = Told {
                            event: false,
                            resample,
                        };
                        At::Drop {
                            rounds: model.rounds,
                            then: Then::Notify(told),
                        }
                    }
                }
            }
            Op::Raise => self.raise(model, From::Caller),
            Op::WakeRaise => self.raise(model, From::Wake(Behind::NOTHING)),
            Op::Lower => {
                let (word, withdrawn) = (functions.lower)(self.word);
                let takes_hold = word & !self.word & HELD != 0;
                self.word = word;
                (self.raised, self.acking) = (false, false);
                if takes_hold && withdrawn == Some(true) {
                    At::Drop {
                        rounds: model.rounds,
                        then: Then::Return,
                    }
                } else {
                    At::Idle
                }
            }
            Op::Ack => {
                let (word, acked) = (functions.ack)(self.word);
                match acked {
                    None | Some(Acked::Nothing) => At::Idle,
                    Some(Acked::Done { resample, again }) => {
                        if !self.active {
                            self.fail(Rule::Asserted);
                        }
                        self.word = word;
                        self.deasserted(resample);
                        self.unnotified += 1;
                        let told = Told {
                            event: true,
                            resample,
                        };
                        self.acking = again;
                        if again && !functions.ack_tells_first {
                            let (word, _) =
                                (functions.assert_again)(self.word, From::Wake(Behind::NOTHING));
                            self.word = word;
                            self.acking = false;
                            self.rings += 1;
                        }
                        At::Notify { told, again }
                    }
                }
            }
            Op::Rewire => {
                if self.word & HELD != 0 {
                    return None;
                }
                self.word = (functions.hold)(self.word).0;
                At::Rewiring
            }
            Op::Query => At::Query(Seen {
                // What has been reported stays.
                least: (self.rings - self.uncounted()).max(self.reported),
                before: self.word,
                ..Default::default()
            }),
        })
    }
}
