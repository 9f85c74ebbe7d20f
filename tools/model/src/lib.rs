// SPDX-License-Identifier: GPL-2.0-only

//! Exhaustive exploration of the module's concurrent algorithms.
//!
//! - [`line`] is the module's own rust/line/state.rs, compiled unmodified. [`line_model`] explores every
//!   interleaving of its atomic steps by a number of threads, and checks the [`Rule`]s in each state.
//! - [`irqfd`], [`records`], [`domain`] and [`waiters`] mirror code that needs the kernel: the attachment of
//!   an irqfd to its eventfd, the record ring, readers with a grace period, and threads that wait for a line.
//! - [`removal`] is a resamplefd that is removed while an ackfd acks its line, with the transitions of [`line`].
//! - [`counts`] is a line that counts its rings, with these transitions, too.
//! - [`mutants`] are versions with one deliberate mistake. The exploration must find each of them.
//! - [`region`] compares region matching with a naive reference, and has mutants of its own.
//! - [`saved`] lists the states of a line that can be saved and restored.
//! - [`weak_memory`] explores `ring_if_needed()` of the client libraries under weak memory order, with loom.
//! - [`values`] mirrors the last value of a region and its reader, also under weak memory order.
//! - [`litmus`] has a test for each pair of memory orders in the other files of rust/.
//!
//! Atomic steps are sequentially consistent here, except in [`weak_memory`], [`values`] and [`litmus`]. The module's
//! compare-exchanges are fully ordered.

// The model does not use all of it.
#[path = "../../../rust/line/state.rs"]
#[allow(missing_docs, dead_code)]
mod line;

pub mod counts;
pub mod domain;
pub mod explore;
mod invariants;
pub mod irqfd;
pub mod line_model;
pub mod litmus;
pub mod mutants;
pub mod ops;
pub mod records;
pub mod region;
pub mod removal;
pub mod saved;
mod state;
mod transitions;
pub mod values;
pub mod waiters;
pub mod weak_memory;

use stateright::{Model, Property};
use std::fmt;

/// A property that the module guarantees. R1 to R11 are the rules of Documentation/guarantees.rst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// R1: after a ring, a delivery starts once the line is unmasked.
    Lost,
    /// R2: each delivery, and each ring by an irqfd, has a cause.
    Invented,
    /// R3: no delivery is in flight after MASK has returned.
    MaskBarrier,
    /// R3: the pending bit is exact.
    Pending,
    /// R10: the only thread that knows of a deliverable message cannot be preempted.
    Prompt,
    /// A line has one owner while it is in progress, and none otherwise.
    Owner,
    /// The counters account for each ring once.
    Count,
    /// Each transition is notified once.
    Notify,
    /// The result of a query is a snapshot of one moment.
    Query,
    /// R7: deliveries and acks alternate.
    Asserted,
    /// R7: an ack signals the resamplefds once, at the time that the mask permits.
    Resample,
    /// R4: no object is freed while a reader uses it.
    Freed,
    /// A write is refused only if the ring is full.
    Refused,
    /// The bits of the state word match the state of the line.
    State,
    /// A moderated line starts no delivery before the interval of the last one has ended.
    Rate,
    /// No thread waits for ever.
    Stuck,
    /// No eventfd is signalled in an eventfd's wake callback.
    Context,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Lost => "R1: a message is lost",
            Rule::Invented => "R2: a message is spurious",
            Rule::MaskBarrier => "R3: a delivery under a mask",
            Rule::Pending => "R3: the pending bit is wrong",
            Rule::Prompt => "R10: a message waits for a thread that can be preempted",
            Rule::Owner => "the number of owners is wrong",
            Rule::Count => "a ring is not counted once",
            Rule::Notify => "a transition is not notified once",
            Rule::Query => "a query is not a snapshot",
            Rule::Asserted => "R7: deliveries and acks do not alternate",
            Rule::Resample => "R7: the resamplefds are not signalled once, or at the wrong time",
            Rule::Freed => "R4: freed while a reader uses it",
            Rule::Refused => "a write is refused although the ring has room",
            Rule::State => "the state word is wrong",
            Rule::Rate => "a delivery within the interval of a moderated line",
            Rule::Stuck => "a thread waits for ever",
            Rule::Context => "an eventfd is signalled in a wake callback",
        })
    }
}

/// A state of a model that records the first violation on the path to it.
pub trait ModelState {
    /// Returns the violated rule, if any.
    fn violation(&self) -> Option<Rule>;
}

/// The property that no path to a state violates a rule.
fn all_rules_hold<M: Model<State: ModelState>>() -> Vec<Property<M>> {
    vec![Property::always("all rules hold", |_, state: &M::State| {
        state.violation().is_none()
    })]
}
