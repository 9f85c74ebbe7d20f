// SPDX-License-Identifier: GPL-2.0-only

//! Limits on the figures of rows, for automatic tests.

use super::{Report, Row};
use crate::output::us;
use anyhow::ensure;
use serde::Serialize;
use std::{fmt, str::FromStr};

/// A figure of a row that can have a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// Median of the batches.
    Rtt,
    /// Mean of the round trips that were timed one by one.
    Mean,
    /// A percentile of these.
    Percentile(f64),
    /// The longest of these.
    Max,
    /// Ratio to the base of the group.
    Ratio,
}

/// All figures by their names. No name ends in a dot and another one.
const FIGURES: [(&str, Figure); 9] = [
    ("rtt", Figure::Rtt),
    ("mean", Figure::Mean),
    ("p50", Figure::Percentile(50.0)),
    ("p90", Figure::Percentile(90.0)),
    ("p99", Figure::Percentile(99.0)),
    ("p99.9", Figure::Percentile(99.9)),
    ("p99.99", Figure::Percentile(99.99)),
    ("max", Figure::Max),
    ("ratio", Figure::Ratio),
];

impl Figure {
    /// Returns the figure of a row, in ns unless it is a ratio; none if the row has no such figure.
    fn of(self, row: &Row) -> Option<f64> {
        let value = match self {
            Self::Rtt => row.ns,
            Self::Mean => row.histogram.mean(),
            Self::Percentile(p) => row.histogram.value_at_percentile(p) as f64,
            Self::Max => row.histogram.max() as f64,
            Self::Ratio => row.ratio,
        };
        value.is_finite().then_some(value)
    }

    fn format(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.3}"),
            _ => format!("{} us", us(value)),
        }
    }
}

/// A limit, such as p99<20us, doorbell.p99.9<=1ms or irqfd.ratio<1.5.
#[derive(Clone, Debug)]
pub struct Limit {
    text: String,
    /// Only rows whose "group name" contains this text.
    filter: Option<String>,
    /// The name of the figure.
    name: &'static str,
    figure: Figure,
    inclusive: bool,
    /// In ns unless it is a ratio.
    bound: f64,
}

/// The grammar of [`Limit`], for messages.
pub const GRAMMAR: &str = "\
write [ROW.]FIGURE<VALUE, for example p99<20us, doorbell.p99.9<=1ms or irqfd.ratio<1.5
  FIGURE is rtt, mean, p50, p90, p99, p99.9, p99.99 or max, and VALUE a time in ns, us, ms or s;
  or FIGURE is ratio, and VALUE a number. ROW is a part of a group or a name, as with --filter";

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{why}; {GRAMMAR}");
        let (left, right) = text
            .split_once('<')
            .ok_or_else(|| wrong("there is no < in it".into()))?;
        let (inclusive, value) = match right.strip_prefix('=') {
            Some(value) => (true, value.trim()),
            None => (false, right.trim()),
        };
        let left = left.trim();
        let named = |&&(name, _): &&(&str, Figure)| {
            let before = left.strip_suffix(name);
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let &(name, figure) = FIGURES
            .iter()
            .find(named)
            .ok_or_else(|| wrong(format!("{left:?} does not end in a FIGURE")))?;
        let filter = left[..left.len() - name.len()].trim_end_matches('.');
        let number = match figure {
            Figure::Ratio => Some((value, 1.0)),
            _ => time(value),
        };
        let bound = number
            .and_then(|(number, unit)| Some(number.trim().parse::<f64>().ok()? * unit))
            .filter(|bound| bound.is_finite() && *bound > 0.0)
            .ok_or_else(|| {
                wrong(match figure {
                    Figure::Ratio => format!("{value:?} is no positive number"),
                    _ => format!("{value:?} is no time with a unit"),
                })
            })?;
        Ok(Self {
            text: text.to_owned(),
            filter: (!filter.is_empty()).then(|| filter.to_owned()),
            name,
            figure,
            inclusive,
            bound,
        })
    }
}

/// Splits a time into its number and its unit in ns.
fn time(text: &str) -> Option<(&str, f64)> {
    // "s" is the end of the others.
    let units = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
    ];
    units
        .into_iter()
        .find_map(|(name, ns)| Some((text.strip_suffix(name)?, ns)))
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The result of a limit.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The limit.
    pub limit: String,
    /// False if a row breaks it.
    pub holds: bool,
    /// The rows that break it, with their figures.
    pub broken_by: Vec<Breach>,
}

/// A row that breaks a limit.
#[derive(Debug, Serialize)]
pub struct Breach {
    /// The group of the row.
    pub group: &'static str,
    /// The name of the row.
    pub name: &'static str,
    /// The figure; none if the row is unsteady, or its base, and so has no ratio.
    pub value: Option<f64>,
    /// The figure for people.
    #[serde(skip)]
    text: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.group, self.name, self.text)
    }
}

impl Limit {
    fn selects(&self, full_name: &str) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| full_name.contains(filter.as_str()))
    }

    /// Checks that the limit applies to one of the rows with these names at least.
    ///
    /// # Errors
    ///
    /// A limit on no row would always hold.
    pub fn check(&self, names: &[String]) -> anyhow::Result<()> {
        ensure!(
            names.iter().any(|name| self.selects(name)),
            "--limit {self}: no row that is measured has {:?} in its name. There are:\n  {}",
            self.filter.as_deref().unwrap_or_default(),
            names.join("\n  ")
        );
        Ok(())
    }

    /// Applies the limit to the rows of a report.
    ///
    /// # Errors
    ///
    /// If it applies to none, since those may have been left out.
    pub fn apply(&self, report: &Report) -> anyhow::Result<Outcome> {
        let names: Vec<String> = report.rows.iter().map(Row::full_name).collect();
        self.check(&names)?;
        let rows = report.rows.iter();
        let broken_by = rows
            .filter(|row| self.selects(&row.full_name()))
            .filter_map(|row| self.breach(row))
            .collect::<Vec<_>>();
        Ok(Outcome {
            limit: self.text.clone(),
            holds: broken_by.is_empty(),
            broken_by,
        })
    }

    /// Returns the breach if the row breaks the limit.
    fn breach(&self, row: &Row) -> Option<Breach> {
        let value = self.figure.of(row);
        let text = match value {
            Some(value) if value < self.bound || self.inclusive && value == self.bound => {
                return None
            }
            Some(value) => format!("{} is {}", self.name, self.figure.format(value)),
            None => format!("there is no {}, as it or its base is unsteady", self.name),
        };
        Some(Breach {
            group: row.group.id(),
            name: row.name,
            value,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{output::tests::report, rtt::Group};

    fn limit(text: &str) -> Limit {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn limits_are_understood() {
        for (text, filter, figure, inclusive, bound) in [
            ("p99<20us", None, Figure::Percentile(99.0), false, 20e3),
            ("p99.9<1ms", None, Figure::Percentile(99.9), false, 1e6),
            (
                "doorbell.p99<20us",
                Some("doorbell"),
                Figure::Percentile(99.0),
                false,
                20e3,
            ),
            (
                "a.b.p99.99<=1.5s",
                Some("a.b"),
                Figure::Percentile(99.99),
                true,
                1.5e9,
            ),
            (
                "doorbell ioctl.max < 3 ms",
                Some("doorbell ioctl"),
                Figure::Max,
                false,
                3e6,
            ),
            ("irqfd.ratio<=1.5", Some("irqfd"), Figure::Ratio, true, 1.5),
            ("mean<500ns", None, Figure::Mean, false, 500.0),
            ("rtt<7µs", None, Figure::Rtt, false, 7e3),
        ] {
            let limit = limit(text);
            assert_eq!(limit.filter.as_deref(), filter, "{text}");
            assert_eq!(
                (limit.figure, limit.inclusive),
                (figure, inclusive),
                "{text}"
            );
            assert!((limit.bound / bound - 1.0).abs() < 1e-9, "{text}");
        }
    }

    #[test]
    fn mistakes_explain_the_grammar() {
        for (text, why) in [
            ("", "no <"),
            ("p99", "no <"),
            ("p99>20us", "no <"),
            ("p98<20us", "FIGURE"),
            ("xp99<20us", "FIGURE"),
            ("<20us", "FIGURE"),
            ("p99<20", "no time with a unit"),
            ("p99<us", "no time with a unit"),
            ("p99<-1us", "no time with a unit"),
            ("p99<NaNus", "no time with a unit"),
            ("ratio<2us", "no positive number"),
            ("ratio<inf", "no positive number"),
        ] {
            let error = text.parse::<Limit>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.contains("[ROW.]FIGURE<VALUE"), "{text}: {error}");
        }
    }

    #[test]
    fn row_that_breaks_a_limit_is_named() {
        let report = report();
        // The figures of the rows are 1000 ns and 2500 ns, and up to 999 ns more.
        for (text, broken) in [
            ("rtt<1001ns", &["same-core spin (yielding)"][..]),
            ("rtt<=2500ns", &[]),
            ("rtt<2500ns", &["same-core spin (yielding)"]),
            ("one-thread.max<2us", &[]),
            ("max<3us", &["same-core spin (yielding)"]),
            (
                "p50<1.4us",
                &["one-thread eventfd", "same-core spin (yielding)"],
            ),
            ("mean<1.6us", &["same-core spin (yielding)"]),
            ("ratio<2", &["same-core spin (yielding)"]),
            ("eventfd.ratio<=1", &[]),
        ] {
            let outcome = limit(text).apply(&report).unwrap();
            let names: Vec<_> = outcome.broken_by.iter().map(ToString::to_string).collect();
            assert_eq!(outcome.holds, broken.is_empty(), "{text}");
            assert_eq!(names.len(), broken.len(), "{text}: {names:?}");
            for (name, expected) in names.iter().zip(broken) {
                assert!(name.starts_with(expected), "{text}: {name}");
            }
        }
        let outcome = limit("rtt<1001ns").apply(&report).unwrap();
        assert_eq!(outcome.broken_by[0].value, Some(2500.0));
        assert!(outcome.broken_by[0].to_string().ends_with("rtt is 2.50 us"));
    }

    #[test]
    fn ratio_that_cannot_be_told_breaks_its_limit() {
        let mut report = report();
        report.rows[0].ratio = f64::NAN;
        let outcome = limit("eventfd.ratio<2").apply(&report).unwrap();
        assert!(!outcome.holds);
        assert!(outcome.broken_by[0].to_string().contains("unsteady"));
    }

    #[test]
    fn limit_on_no_row_is_an_error() {
        let mut report = report();
        let error = limit("smoke.p99<1s")
            .apply(&report)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"smoke\"") && error.contains("one-thread eventfd"),
            "{error}"
        );
        report.rows = vec![Row::example(Group::OneThread, "eventfd", 1.0)];
        assert!(limit("same-core.p99<1s").apply(&report).is_err());
    }
}
