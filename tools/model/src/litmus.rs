// SPDX-License-Identifier: GPL-2.0-only

//! Litmus tests of the memory orders in rust/ and in the client libraries.
//!
//! Each test is the smallest program that needs certain orders: two threads with a few accesses each, as in the
//! kernel's tools/memory-model/litmus-tests. loom executes it in every way that the C11 memory model permits, and the
//! forbidden outcome must not occur. Each order that the test needs has a mistake: the same program with that
//! order weakened or missing, in which the forbidden outcome must occur.
//!
//! Debian 13 has no herd7, so these are Rust functions for loom and no .litmus files. The operations of the kernel are
//! mapped to C11 as in [`weak_memory`](crate::weak_memory), each with at most the order that the kernel's memory
//! model (LKMM) gives it, and in addition:
//!
//! | kernel | here |
//! |---|---|
//! | `xchg()`, `fetch_add()`, `smp_mb()` | SeqCst fences around a relaxed operation |
//! | `smp_rmb()` | acquire fence |
//! | `READ_ONCE()` of a pointer, and its address dependency | acquire load |
//! | a lock or a mutex | exchange with acquire, store with release |
//!
//! loom executes the accesses of a thread in their order, and only the values of loads are weak. So it executes no load
//! after a later store; a mistake that permits this swaps the two.
//!
//! A dependency is modelled by more than LKMM gives: only accesses through the pointer may rely on it. Accesses of two
//! sizes to the same memory, such as those to the state word and the units beside it, are beyond loom;
//! [`counts`](crate::counts) explores these with sequential consistency.

mod callbacks;
mod handoff;
mod readers;
mod records;
mod sleep;

use crate::{region::Checked, weak_memory::full_fence};
use loom::{
    model::Builder,
    sync::atomic::{AtomicU32, Ordering, Ordering::Relaxed},
    thread,
};
use std::sync::{
    atomic::{AtomicUsize, Ordering as Host},
    Arc,
};

/// The index of the mistake in [`Litmus::mistakes`], or none.
#[derive(Clone, Copy)]
struct Mistake(Option<usize>);

impl Mistake {
    /// Returns true for the mistake `index`.
    fn is(self, index: usize) -> bool {
        self.0 == Some(index)
    }

    /// Returns `order`, or no order for the mistake `index`.
    fn weakens(self, index: usize, order: Ordering) -> Ordering {
        if self.is(index) {
            Relaxed
        } else {
            order
        }
    }

    /// Executes a full barrier, but not for the mistake `index`.
    fn barrier(self, index: usize) {
        if !self.is(index) {
            full_fence();
        }
    }

    /// Executes `f`, fully ordered, but without order for the mistake `index`.
    fn full<R>(self, index: usize, f: impl FnOnce() -> R) -> R {
        self.barrier(index);
        let result = f();
        self.barrier(index);
        result
    }
}

/// The index of an order that no mistake weakens.
const NEVER: usize = usize::MAX;

/// A litmus test.
struct Litmus {
    name: &'static str,
    /// The functions that have these orders.
    code: &'static str,
    /// Executes the program once. Returns true if the outcome is the forbidden one.
    run: fn(Mistake) -> bool,
    /// The orders that are weakened, one at a time.
    mistakes: &'static [&'static str],
}

/// Defines the memory that the threads of a test share: words that are zero at the start.
macro_rules! memory {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        struct $name {
            $($field: loom::sync::atomic::AtomicU32,)+
        }

        impl $name {
            fn new() -> std::sync::Arc<Self> {
                std::sync::Arc::new(Self {
                    $($field: loom::sync::atomic::AtomicU32::new(0),)+
                })
            }
        }
    };
}
use memory;

/// Executes `first` in another thread, and `second` in this one. Returns both results.
fn both<M: Send + Sync + 'static, A: 'static, B>(
    memory: &Arc<M>,
    first: impl FnOnce(&M) -> A + 'static,
    second: impl FnOnce(&M) -> B,
) -> (A, B) {
    let other = {
        let memory = memory.clone();
        thread::spawn(move || first(&memory))
    };
    let second = second(memory);
    (other.join().expect("the thread ends"), second)
}

/// Exchanges `old` for `new`. Returns true if the word was `old`.
fn cmpxchg(word: &AtomicU32, old: u32, new: u32) -> bool {
    word.compare_exchange(old, new, Relaxed, Relaxed).is_ok()
}

/// Explores all executions. Returns their number, and that of those with the forbidden outcome.
fn explore(run: fn(Mistake) -> bool, mistake: Mistake) -> (usize, usize) {
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let inside = counts.clone();
    Builder::new().check(move || {
        inside[0].fetch_add(1, Host::Relaxed);
        inside[1].fetch_add(usize::from(run(mistake)), Host::Relaxed);
    });
    let [all, forbidden] = [&counts[0], &counts[1]].map(|count| count.load(Host::Relaxed));
    (all, forbidden)
}

/// Returns all litmus tests.
fn tests() -> impl Iterator<Item = &'static Litmus> {
    [
        handoff::TESTS,
        readers::TESTS,
        callbacks::TESTS,
        records::TESTS,
        sleep::TESTS,
    ]
    .into_iter()
    .flatten()
}

/// Returns the number of tests, and that of their mistakes.
pub fn numbers() -> (usize, usize) {
    let mistakes = tests().map(|litmus| litmus.mistakes.len()).sum();
    (tests().count(), mistakes)
}

/// Explores each test, then each of its mistakes.
pub fn all() -> impl Iterator<Item = Checked> {
    tests().flat_map(|litmus| {
        let real = std::iter::once_with(move || {
            let (all, forbidden) = explore(litmus.run, Mistake(None));
            Checked {
                name: format!("litmus: {}", litmus.name),
                ok: forbidden == 0,
                more: format!("{all} executions; {}", litmus.code),
            }
        });
        let mistakes = litmus.mistakes.iter().enumerate().map(move |(at, name)| {
            let (all, forbidden) = explore(litmus.run, Mistake(Some(at)));
            Checked {
                name: format!("found: {name}"),
                ok: forbidden > 0,
                more: format!("{all} executions, {forbidden} of them forbidden"),
            }
        });
        real.chain(mistakes)
    })
}
