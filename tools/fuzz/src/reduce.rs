// SPDX-License-Identifier: GPL-2.0-only

//! Reduction of a failure: programs, calls and values are removed as long as it still happens.

use crate::{
    batch::{Batch, Work},
    job::{End, Job},
    program::Program,
    reports::{self, Log},
    shared::Message,
    sys,
};
use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

/// The number of runs of a program of several threads, whose failures depend on time.
const TIMES: usize = 40;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The oracle predicted another result or state.
    Wrong,
    /// The kernel has written a report to its log.
    Report,
    /// A call neither ended nor was interrupted.
    Hang,
    /// A child died.
    Death,
    /// kmemleak has found memory.
    Leak,
}

/// A failure.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The kind.
    pub kind: Kind,
    /// The text of the report.
    pub text: String,
    /// Programs of which at least one is to blame. The last one is the most likely.
    pub programs: Vec<Program>,
}

impl Failure {
    /// Returns the lines that name the failure: for a report of the kernel, that of each report in the text.
    pub fn titles(&self) -> Vec<&str> {
        let mut titles = match self.kind {
            Kind::Report => reports::titles(&self.text),
            _ => Vec::new(),
        };
        if titles.is_empty() {
            titles.push(self.text.lines().next().unwrap_or_default());
        }
        titles
    }

    /// Returns what a title of this failure has in common with those of the same mistake.
    pub fn key(&self, title: &str) -> String {
        let words = title.split_whitespace();
        // A simpler program has other fields.
        let words = words.filter(|word| self.kind != Kind::Wrong || !word.contains('='));
        let words = words.map(without_numbers);
        let words: Vec<String> = words
            .map(|word| word.trim_end_matches(':').into())
            .collect();
        format!("{:?} {}", self.kind, words.join(" "))
    }

    /// Returns the keys of all titles.
    pub fn keys(&self) -> Vec<String> {
        self.titles()
            .into_iter()
            .map(|title| self.key(title))
            .collect()
    }

    /// Returns the failure that an unexpected end of a child is, if it is one.
    pub fn of_end(end: End, programs: Vec<Program>) -> Option<Self> {
        let (kind, text) = match end {
            End::Done | End::Killed => return None,
            End::Died(status) => (Kind::Death, format!("a child died with status {status:#x}")),
            End::Hung(true) => (
                Kind::Hang,
                "a call did not end before the process was killed".into(),
            ),
            End::Hung(false) => (Kind::Hang, "a process cannot be killed".into()),
        };
        Some(Self {
            kind,
            text,
            programs,
        })
    }
}

/// Removes decimal numbers, those that begin with 0x, and addresses. Letters of names stay.
fn without_numbers(word: &str) -> String {
    let mut rest = String::new();
    let mut from = word;
    while let Some(first) = from.chars().next() {
        let hex = |text: &str| text.chars().take_while(char::is_ascii_hexdigit).count();
        let decimal = from.chars().take_while(char::is_ascii_digit).count();
        let skip = match from.strip_prefix("0x").map_or(0, hex) {
            // The kernel prints an address without 0x as 16 digits.
            0 if hex(from) == 16 => 16,
            0 => decimal,
            digits => 2 + digits,
        };
        if skip == 0 {
            rest.push(first);
        }
        from = &from[skip.max(if skip == 0 { first.len_utf8() } else { 0 })..];
    }
    rest
}

/// Runs the programs, and returns the failure that they cause, if any. Waits for leaks only if `leaks` is true.
pub fn replay(batch: Batch, programs: &[Program], times: usize, leaks: bool) -> Option<Failure> {
    let mut log = Log::open();
    if leaks {
        reports::forget_leaks();
    }
    let mut job = Job::start(batch, Work::Replay(programs, times), None).ok()?;
    let mut found = None;
    let end = loop {
        sys::wait_readable(job.descriptor(), 20);
        // A child can send a message just before it ends.
        let end = job.end();
        for message in job.messages() {
            if let Message::Wrong(program, text) = message {
                found.get_or_insert(Failure {
                    kind: Kind::Wrong,
                    text,
                    programs: vec![program],
                });
            }
        }
        if let Some(end) = end {
            break end;
        }
    };
    // Callbacks and kworkers report a little later.
    std::thread::sleep(Duration::from_millis(50));
    let lines = log.read();
    if !lines.is_empty() {
        return Some(Failure {
            kind: Kind::Report,
            text: lines.join("\n"),
            programs: programs.to_vec(),
        });
    }
    let ended = Failure::of_end(end, programs.to_vec());
    if let Some(failure) = ended.or(found) {
        return Some(failure);
    }
    let text = if leaks {
        reports::leaks()
    } else {
        String::new()
    };
    (!text.is_empty()).then(|| Failure {
        kind: Kind::Leak,
        text,
        programs: programs.to_vec(),
    })
}

/// Reduces failures, for a limited time each.
pub struct Reducer {
    batch: Batch,
    end: Instant,
    /// The key of the failure that must happen again.
    key: String,
    /// Other failures that replays have caused.
    others: RefCell<Vec<Failure>>,
}

impl Reducer {
    /// Creates a reducer of failures with a key that stops after `limit`.
    pub fn new(batch: Batch, key: String, limit: Duration) -> Self {
        Self {
            batch,
            end: Instant::now() + limit,
            key,
            others: RefCell::default(),
        }
    }

    /// Returns the other failures that replays have caused.
    pub fn others(self) -> Vec<Failure> {
        self.others.into_inner()
    }

    /// Returns the failure that the programs cause if it is the expected one.
    fn fails(&self, programs: &[Program], kind: Kind) -> Option<Failure> {
        if Instant::now() > self.end || programs.iter().all(|program| program.calls.is_empty()) {
            return None;
        }
        let parallel = programs.iter().any(|program| !program.is_sequential());
        let times = match kind {
            Kind::Leak => 3,
            _ if parallel => TIMES,
            _ => 1,
        };
        let failure = replay(self.batch, programs, times, kind == Kind::Leak)?;
        let keys = failure.keys();
        if keys.contains(&self.key) {
            return Some(failure);
        }
        let mut others = self.others.borrow_mut();
        if others.iter().all(|other| other.keys() != keys) {
            others.push(failure);
        }
        None
    }

    /// Returns a smaller failure with the key, and true if it happens again and again.
    pub fn reduce(&self, failure: &Failure) -> (Failure, bool) {
        let kind = failure.kind;
        let mut best = failure.clone();
        let last = best
            .programs
            .last()
            .cloned()
            .into_iter()
            .collect::<Vec<_>>();
        if let Some(again) = self.fails(&last, kind) {
            best = again;
        } else if let Some(again) = self.fails(&failure.programs, kind) {
            best = again;
        } else {
            return (best, false);
        }
        best.programs = shrink(
            best.programs,
            |programs| self.fails(programs, kind).map(|failure| failure.text),
            &mut best.text,
        );
        for at in 0..best.programs.len() {
            let (before, after) = (
                best.programs[..at].to_vec(),
                best.programs[at + 1..].to_vec(),
            );
            let around = |program: &Program| {
                [&before[..], std::slice::from_ref(program), &after[..]].concat()
            };
            let program = best.programs[at].clone();
            let calls = shrink(
                program.calls,
                |calls| {
                    let program = Program {
                        calls: calls.to_vec(),
                    };
                    self.fails(&around(&program), kind)
                        .map(|failure| failure.text)
                },
                &mut best.text,
            );
            let program = self.simplify(Program { calls }, kind, around);
            best.programs[at] = program;
        }
        (best, true)
    }

    /// Replaces values by zero, and threads by the first one.
    fn simplify(
        &self,
        mut program: Program,
        kind: Kind,
        around: impl Fn(&Program) -> Vec<Program>,
    ) -> Program {
        let mut single = program.clone();
        single.calls.iter_mut().for_each(|call| call.thread = 0);
        if single != program && self.fails(&around(&single), kind).is_some() {
            program = single;
        }
        for at in 0..program.calls.len() {
            for field in 0..program.calls[at].form().fields.len() {
                let mut simpler = program.clone();
                simpler.calls[at].values[field] = 0;
                if simpler != program && self.fails(&around(&simpler), kind).is_some() {
                    program = simpler;
                }
            }
        }
        program
    }
}

/// Removes parts of a list, halves first, as long as `fails` returns the text of a failure.
fn shrink<T: Clone>(
    mut list: Vec<T>,
    fails: impl Fn(&[T]) -> Option<String>,
    text: &mut String,
) -> Vec<T> {
    let mut size = list.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < list.len() {
            let mut shorter = list.clone();
            shorter.drain(at..(at + size).min(list.len()));
            match fails(&shorter) {
                Some(new) if !shorter.is_empty() => {
                    *text = new;
                    list = shorter;
                }
                _ => at += size,
            }
        }
        size /= 2;
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shrinks_to_what_fails() {
        let mut text = String::new();
        let fails = |list: &[u32]| {
            (list.contains(&3) && list.contains(&11)).then(|| format!("{} numbers", list.len()))
        };
        assert_eq!(shrink((0..20).collect(), fails, &mut text), [3, 11]);
        assert_eq!(text, "2 numbers");
    }

    fn keys(kind: Kind, text: &str) -> Vec<String> {
        let failure = Failure {
            kind,
            text: text.to_owned(),
            programs: Vec::new(),
        };
        failure.keys()
    }

    #[test]
    fn a_key_has_the_letters_of_names_and_no_numbers() {
        let report = |text| keys(Kind::Report, text);
        assert_eq!(
            report("BUG: KASAN: bad-access in feed_bad+0x1f/0x20"),
            ["Report BUG KASAN bad-access in feed_bad+/"]
        );
        assert_ne!(report("BUG: KASAN: in feed"), report("BUG: KASAN: in lose"));
        assert_ne!(report("BUG: KASAN: in ab"), report("BUG: KASAN: in cd"));
        assert_eq!(
            report("BUG: no page for address: ffff888012345678"),
            report("BUG: no page for address: ffff8880fedcba98")
        );
    }

    #[test]
    fn a_log_with_two_reports_has_two_keys() {
        let text = "------------[ cut here ]------------\nWARNING: a.c:1\nCall Trace:\nBUG: b";
        assert_eq!(
            keys(Kind::Report, text),
            ["Report WARNING a.c", "Report BUG b"]
        );
    }

    #[test]
    fn a_simpler_program_has_the_same_key() {
        let wrong = |text| keys(Kind::Wrong, text);
        assert_eq!(
            wrong("0 ring context=1 line=3: -22 instead of 0"),
            wrong("0 ring: -22 instead of 0")
        );
        assert_ne!(
            wrong("0 ring: 1 instead of 0"),
            wrong("0 ack: 1 instead of 0")
        );
    }
}
