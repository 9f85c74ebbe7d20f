// SPDX-License-Identifier: GPL-2.0-only

//! Memory that the supervisor shares with its children, and the messages that they send.

use crate::{program::Program, sys};
use std::sync::atomic::{
    AtomicU64, AtomicU8,
    Ordering::{Relaxed, SeqCst},
};

/// The number of results of calls that count as features, after the blocks.
const RESULTS: usize = 1 << 16;

/// The number of the last programs of a job that are kept.
const KEPT: usize = 4;

/// The room for the text of one of them.
const ROOM: usize = 8192;

/// The memory that all children share.
#[derive(Debug)]
pub struct Shared {
    /// The features that were seen: blocks first, then results.
    seen: &'static [AtomicU8],
    /// The number of calls; then, for each job, the number of programs that it has begun.
    counters: &'static [AtomicU64],
    blocks: usize,
    texts: &'static [AtomicU8],
}

impl Shared {
    /// Maps the memory for `jobs` children of a module with `blocks` blocks.
    pub fn new(blocks: usize, jobs: usize) -> std::io::Result<Self> {
        Ok(Self {
            seen: sys::shared(blocks + RESULTS)?,
            counters: sys::map_words(-1, 1 + jobs)?,
            blocks,
            texts: sys::shared(jobs * KEPT * ROOM)?,
        })
    }

    /// Returns the feature of a result of a call.
    pub fn result_feature(&self, form: usize, result: i64) -> u32 {
        let class = if result < 0 {
            (-result) as usize
        } else {
            200 + result.min(3) as usize
        };
        (self.blocks + (form * 256 + class % 256) % RESULTS) as u32
    }

    /// Returns true if the feature is new.
    pub fn is_new(&self, feature: u32) -> bool {
        self.seen[feature as usize].load(Relaxed) == 0
    }

    /// Notes features.
    pub fn see(&self, features: &[u32]) {
        for feature in features {
            self.seen[*feature as usize].store(1, Relaxed);
        }
    }

    /// Returns the numbers of the blocks that were reached.
    pub fn reached(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.blocks).filter(|at| self.seen[*at].load(Relaxed) != 0)
    }

    /// Returns the number of calls so far.
    pub fn calls(&self) -> u64 {
        self.counters[0].load(Relaxed)
    }

    /// Counts the calls of a program.
    pub fn count(&self, calls: usize) {
        self.counters[0].fetch_add(calls as u64, Relaxed);
    }

    /// Returns the number of programs that a job has begun.
    pub fn begun(&self, job: usize) -> u64 {
        self.counters[1 + job].load(SeqCst)
    }

    /// Keeps the text of the program that a job begins.
    pub fn begin(&self, job: usize, program: &Program) {
        let number = self.counters[1 + job].load(Relaxed) as usize + 1;
        let room = &self.texts[(job * KEPT + number % KEPT) * ROOM..][..ROOM];
        let text = program.to_string();
        let bytes = text.bytes().take(ROOM - 1).chain([0]);
        for (to, byte) in room.iter().zip(bytes) {
            to.store(byte, Relaxed);
        }
        self.counters[1 + job].store(number as u64, SeqCst);
    }

    /// Returns the last programs that a job has begun, the last one at the end.
    pub fn last(&self, job: usize) -> Vec<Program> {
        let begun = self.begun(job) as usize;
        (begun.saturating_sub(KEPT - 1)..=begun)
            .filter_map(|number| {
                let room = &self.texts[(job * KEPT + number % KEPT) * ROOM..][..ROOM];
                let bytes = room.iter().map(|byte| byte.load(Relaxed));
                let text: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
                let program = Program::parse(&String::from_utf8_lossy(&text)).ok()?;
                (!program.calls.is_empty()).then_some(program)
            })
            .collect()
    }
}

/// A message of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A program with new features.
    Found(Program, Vec<u32>),
    /// A program, and what the oracle found wrong.
    Wrong(Program, String),
}

impl Message {
    /// Returns the bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, program, rest) = match self {
            Self::Found(program, features) => {
                let features: Vec<String> = features.iter().map(u32::to_string).collect();
                ('f', program, features.join(" "))
            }
            Self::Wrong(program, text) => ('w', program, text.replace('\n', " ")),
        };
        format!("{kind}{rest}\n{program}\0").into_bytes()
    }

    /// Takes the complete messages from the beginning of `bytes`.
    pub fn take(bytes: &mut Vec<u8>) -> Vec<Self> {
        let mut messages = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
            bytes.drain(..=end);
            let Some((head, program)) = text.split_once('\n') else {
                continue;
            };
            let Ok(program) = Program::parse(program) else {
                continue;
            };
            if let Some(features) = head.strip_prefix('f') {
                let features = features.split(' ').filter_map(|word| word.parse().ok());
                messages.push(Self::Found(program, features.collect()));
            } else if let Some(text) = head.strip_prefix('w') {
                messages.push(Self::Wrong(program, text.to_owned()));
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_parts() {
        let program = crate::generate::generate(&mut fastrand::Rng::with_seed(7));
        let sent = [
            Message::Found(program.clone(), vec![1, 70000]),
            Message::Wrong(program, "1 instead of 2".into()),
        ];
        let mut bytes = Vec::new();
        let mut received = Vec::new();
        for byte in sent.iter().flat_map(Message::encode) {
            bytes.push(byte);
            received.extend(Message::take(&mut bytes));
        }
        assert_eq!(received, sent);
    }
}
