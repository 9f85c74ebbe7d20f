// SPDX-License-Identifier: GPL-2.0-only

//! The tables, and JSON.

use crate::scenario::{Counts, Scenario};
use serde::Serialize;
use serde_json::{json, Map, Value};
use std::{fmt, time::Duration};

/// The results of one function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// The function.
    pub name: &'static str,
    /// The scenarios that have run, and their counts.
    #[serde(serialize_with = "by_name")]
    pub scenarios: Vec<(Scenario, Counts)>,
    /// The median time of a mask and an unmask, if measured.
    #[serde(rename = "pair_us", serialize_with = "in_us")]
    pub pair: Option<Duration>,
}

fn by_name<S: serde::Serializer>(
    scenarios: &[(Scenario, Counts)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let with_faults = |counts: &Counts| {
        let mut value = json!(counts);
        if let Some(line) = counts.line {
            value["line"]["coalesced"] = json!(line.coalesced());
        }
        value["faults"] = json!(counts.faults());
        value
    };
    let map: Map<String, Value> = scenarios
        .iter()
        .map(|(scenario, counts)| (scenario.key(), with_faults(counts)))
        .collect();
    map.serialize(serializer)
}

fn in_us<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(micros).serialize(serializer)
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

impl Results {
    /// Returns the sum of the counts of those scenarios that `other` has, too.
    pub fn sum_as(&self, other: &Self) -> Counts {
        let is_in = |scenario| other.scenarios.iter().any(|&(has, _)| has == scenario);
        let scenarios = self
            .scenarios
            .iter()
            .filter(|&&(scenario, _)| is_in(scenario));
        let counts = scenarios.map(|&(_, counts)| counts);
        counts.reduce(|a, b| a + b).unwrap_or_default()
    }

    /// Returns what is wrong, or nothing.
    pub fn faults(&self) -> Vec<String> {
        let of = |(scenario, counts): &(Scenario, Counts)| {
            let scenario = *scenario;
            let faults = counts.faults().into_iter();
            faults
                .map(move |fault| format!("{scenario}: {fault}"))
                .collect::<Vec<_>>()
        };
        self.scenarios.iter().flat_map(of).collect()
    }
}

/// The results of all functions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The release of the kernel.
    pub kernel: String,
    /// The number of CPUs.
    pub cpus: usize,
    /// The approximate number of signals of a scenario.
    pub signals: u64,
    /// The function with lines, if it was tested.
    pub doorbell: Option<Results>,
    /// The functions without lines, if they were tested.
    pub irqfds: Vec<Results>,
}

impl Report {
    /// Returns what is wrong with the function with lines, or nothing.
    pub fn faults(&self) -> Vec<String> {
        self.doorbell
            .as_ref()
            .map(Results::faults)
            .unwrap_or_default()
    }
}

fn scenario_row(name: &dyn fmt::Display, counts: &Counts) -> String {
    let line = counts.line.unwrap_or_default();
    format!(
        "{name:13} {:7} {:9} {:9} {:10} {:7} {:5} {:4} {:8}\n",
        counts.signals,
        line.deliveries,
        line.coalesced(),
        counts.interrupts,
        counts.bits_set,
        counts.wrong_bits,
        counts.lost,
        counts.spurious
    )
}

fn comparison_row(results: &Results, other: &Results) -> String {
    let sum = results.sum_as(other);
    let time = results.pair.map(|time| match micros(time) {
        long if long >= 1000.0 => format!("{long:.0}"),
        short => format!("{short:.1}"),
    });
    format!(
        "{:22} {:8} {:10} {:8} {:6} {:5} {:8} {:>6}\n",
        results.name,
        sum.signals,
        sum.interrupts,
        sum.bits,
        sum.wrong_bits,
        sum.lost,
        sum.spurious,
        time.unwrap_or("-".into())
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Linux {}, {} CPUs", self.kernel, self.cpus)?;
        if let Some(doorbell) = &self.doorbell {
            writeln!(
                f,
                "\nEach vector is a line of /dev/doorbell\n\n\
                 scenario      signals delivered coalesced interrupts PBA set wrong lost spurious"
            )?;
            for (scenario, counts) in &doorbell.scenarios {
                f.write_str(&scenario_row(scenario, counts))?;
            }
        }
        let Some(other) = self.irqfds.first() else {
            return Ok(());
        };
        writeln!(
            f,
            "\nThe same without /dev/doorbell: a mask deassigns KVM's irqfd\n\n\
             {:22}  signals interrupts PBA read  wrong  lost spurious     us",
            ""
        )?;
        for results in self.doorbell.iter().chain(&self.irqfds) {
            f.write_str(&comparison_row(results, other))?;
        }
        writeln!(
            f,
            "us: a mask and an unmask of an idle vector by the guest, median"
        )?;
        for results in &self.irqfds {
            for fault in results.faults() {
                writeln!(f, "{}: {fault}", results.name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Line;

    fn report() -> Report {
        let many = 9_999_999;
        let counts = Counts {
            signals: many,
            interrupts: many,
            bits: many,
            bits_set: many,
            line: Some(Line {
                rings: many,
                deliveries: many,
                ..Default::default()
            }),
            ..Default::default()
        };
        let results = |name, counts| Results {
            name,
            scenarios: Scenario::ALL.map(|scenario| (scenario, counts)).to_vec(),
            pair: Some(Duration::from_nanos(12_345)),
        };
        let wrong = Counts {
            line: None,
            wrong_bits: 3,
            ..counts
        };
        Report {
            kernel: "7.3".into(),
            cpus: 2,
            signals: many,
            doorbell: Some(results("doorbell", counts)),
            irqfds: vec![results("irqfds, PBA is polled", wrong)],
        }
    }

    #[test]
    fn tables_fit_a_terminal() {
        let text = report().to_string();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let lines: Vec<&str> = text.lines().collect();
        let ends = |at: usize| lines[at].chars().count();
        let rows = 4 + 1..4 + 1 + Scenario::ALL.len();
        assert!(rows.clone().all(|row| ends(row) == ends(4)), "{text}");
        assert!(text.contains(" 12.3\n"), "{text}");
        let mut slow = report();
        slow.irqfds[0].pair = Some(Duration::from_millis(12));
        let text = slow.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert!(text.contains(" 12000\n"), "{text}");
        assert!(text.contains("irqfds, PBA is polled: storm: 3 wrong pending bits\n"));
    }

    #[test]
    fn comparison_is_of_the_same_scenarios() {
        let report = report();
        let (doorbell, mut irqfds) = (report.doorbell.unwrap(), report.irqfds[0].clone());
        assert_eq!(doorbell.sum_as(&irqfds).signals, 8 * 9_999_999);
        irqfds.scenarios.truncate(3);
        assert_eq!(doorbell.sum_as(&irqfds).signals, 3 * 9_999_999);
        assert_eq!(irqfds.sum_as(&doorbell).wrong_bits, 9);
    }

    #[test]
    fn only_lines_have_to_be_right() {
        let mut report = report();
        assert!(report.faults().is_empty());
        let doorbell = report.doorbell.as_mut().unwrap();
        doorbell.scenarios[5].1.lost = 1;
        assert_eq!(report.faults(), ["storm: 1 messages lost"]);
    }

    #[test]
    fn json_has_all_counts() {
        let value = json!(report());
        let scenarios = value["doorbell"]["scenarios"].as_object().unwrap();
        for scenario in Scenario::ALL {
            assert!(scenarios.contains_key(&scenario.key()), "{scenario}");
        }
        assert_eq!(scenarios["move-masked"]["line"]["coalesced"], 0);
        assert_eq!(
            value["doorbell"]["scenarios"]["storm"]["line"]["rings"],
            9_999_999
        );
        assert_eq!(value["doorbell"]["scenarios"]["storm"]["faults"], json!([]));
        assert_eq!(value["irqfds"][0]["scenarios"]["quiet"]["wrong_bits"], 3);
        assert_eq!(value["irqfds"][0]["pair_us"], 12.345);
    }
}
