// SPDX-License-Identifier: GPL-2.0-only

//! Walks through all states, then looks for the mistakes in the broken versions. The output is
//! KTAP. Fails if a rule is broken where it must not be, or not where it must.
//!
//! `doorbell-model deep` takes minutes and gigabytes; without it, it takes seconds.

use doorbell_model::{broken, domain, irqfd, records, region, scenarios, walk, Walk};
use std::process::ExitCode;

/// Prints results and remembers how many there were.
struct Report {
    number: usize,
    failed: usize,
    states: usize,
}

impl Report {
    fn line(&mut self, ok: bool, name: &str, walk: &Walk, more: &str) {
        let Walk {
            states,
            steps,
            depth,
            seconds,
            ..
        } = walk;
        let states = format!("{states} states, {steps} steps, {depth} deep, {seconds:.1} s{more}");
        self.result(ok, name, &states);
        if let (false, Some((rule, steps))) = (ok, &walk.found) {
            println!("# {rule}, after {}", steps.join(", "));
        }
    }

    fn result(&mut self, ok: bool, name: &str, more: &str) {
        self.number += 1;
        self.failed += usize::from(!ok);
        let result = if ok { "ok" } else { "not ok" };
        println!("{result} {} {name} # {more}", self.number);
    }

    /// No rule may be broken.
    fn clean(&mut self, name: &str, walk: &Walk) {
        self.states += walk.states;
        self.line(walk.found.is_none(), name, walk, "");
    }

    /// One of `rules` has to be.
    fn broken(&mut self, name: &str, rules: &[doorbell_model::Rule], walk: &Walk) {
        let name = format!("found: {name}");
        match &walk.found {
            Some((rule, steps)) => {
                let more = format!("; {rule}, after {} steps", steps.len());
                self.line(rules.contains(rule), &name, walk, &more);
            }
            None => self.line(false, &name, walk, "; not found"),
        }
    }
}

fn main() -> ExitCode {
    let deep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("deep") => true,
        Some(_) => {
            eprintln!("usage: doorbell-model [deep]");
            return ExitCode::from(2);
        }
    };
    let (lines, irqfds, mistakes) = (scenarios(deep), irqfd::scenarios(), broken::all());
    let (rings, readers) = (records::scenarios(), domain::scenarios());
    let mut report = Report {
        number: 0,
        failed: 0,
        states: 0,
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    println!("KTAP version 1");
    println!(
        "1..{}",
        lines.len() + irqfds.len() + rings.len() + readers.len() + mistakes.len() + region::RESULTS
    );
    for (name, model) in lines {
        report.clean(&name, &walk(model, cpus));
    }
    for (name, model) in irqfds {
        report.clean(name, &walk(model, cpus));
    }
    for (name, model) in rings {
        report.clean(name, &walk(model, cpus));
    }
    for (name, model) in readers {
        report.clean(name, &walk(model, cpus));
    }
    println!(
        "# {} states, all of them, keep the rules; now for the versions with a mistake",
        report.states
    );
    for mistake in mistakes {
        report.broken(mistake.name, mistake.rules, &mistake.walk());
    }
    for checked in region::all(if deep { 200_000 } else { 10_000 }) {
        report.result(checked.ok, &checked.name, &checked.more);
    }
    ExitCode::from(u8::from(report.failed > 0))
}
