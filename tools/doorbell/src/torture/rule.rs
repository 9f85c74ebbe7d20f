// SPDX-License-Identifier: GPL-2.0-only

//! The rules that a run checks, and their violations.

use crate::explain;
use std::{cmp::Ordering, fmt, io};

/// A rule that a run checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// After each ring a delivery starts.
    Lost,
    /// Each delivery has a ring.
    Invented,
    /// A mask is a barrier. An unmask delivers a pending message once.
    Mask,
    /// A deassign is a barrier.
    Deassign,
    /// Attaching an irqfd consumes the eventfd's counter and rings for it.
    Attach,
    /// Notifiers are signalled once for each transition.
    Notifier,
    /// The return value of each call matches its effect.
    Results,
    /// While a level line is asserted, rings coalesce. An ack de-asserts it once and signals the
    /// resamplefds. A level that is still raised is delivered again.
    Level,
    /// A pending message of a line that is not masked is delivered within a limit.
    Prompt,
    /// Counters never decrease, and agree with each other.
    Counters,
    /// Calls return.
    Stuck,
    /// Calls that must succeed do not fail.
    Failed,
}

impl Rule {
    /// Returns the rule that is violated if `observed` differs from `expected`.
    pub(super) fn for_difference(observed: u64, expected: u64) -> Option<Self> {
        match observed.cmp(&expected) {
            Ordering::Less => Some(Rule::Lost),
            Ordering::Equal => None,
            Ordering::Greater => Some(Rule::Invented),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Rule::Lost => "nothing lost",
            Rule::Invented => "nothing invented",
            Rule::Mask => "mask is a barrier, and unmask delivers a pending message once",
            Rule::Deassign => "deassign is a barrier",
            Rule::Attach => "attach is atomic",
            Rule::Notifier => "a notifier is signalled once per transition",
            Rule::Results => "the return value of a call matches its effect",
            Rule::Level => {
                "an ack de-asserts once, resamples, and a raised level is delivered again"
            }
            Rule::Prompt => "a message does not wait on a line that is not masked",
            Rule::Counters => "counters never decrease and agree with each other",
            Rule::Stuck => "calls return",
            Rule::Failed => "calls that must succeed do not fail",
        }
    }
}

/// A violation of a rule.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The line, or another object, that violates it.
    pub at: String,
    /// A description with numbers.
    pub text: String,
}

impl Violation {
    /// Returns a violation of `rule` at the object `at`, described by `text`.
    pub fn new(rule: Rule, at: &str, text: String) -> Self {
        Self {
            rule,
            at: at.to_owned(),
            text,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (rule: {})", self.at, self.text, self.rule.text())
    }
}

impl From<doorbell::Error> for Violation {
    fn from(error: doorbell::Error) -> Self {
        Self::new(Rule::Failed, "a call", explain(&error))
    }
}

impl From<io::Error> for Violation {
    fn from(error: io::Error) -> Self {
        Self::new(Rule::Failed, "a system call", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violation_names_rule_and_line() {
        let text = Violation::new(Rule::Mask, "line 0.2 (barrier)", "3 of 4".into()).to_string();
        assert!(text.starts_with("line 0.2 (barrier): 3 of 4"), "{text}");
        assert!(text.contains("mask is a barrier"), "{text}");
    }

    #[test]
    fn difference_is_lost_or_invented() {
        assert_eq!(Rule::for_difference(4, 5), Some(Rule::Lost));
        assert_eq!(Rule::for_difference(5, 5), None);
        assert_eq!(Rule::for_difference(6, 5), Some(Rule::Invented));
    }
}
