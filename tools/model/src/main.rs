// SPDX-License-Identifier: GPL-2.0-only

//! Explores all states of the models, then those of the mutants. Prints KTAP.
//!
//! Fails if a model violates a rule, or if a mutant is not found.
//! `doorbell-model deep` takes minutes and gigabytes; without `deep` it takes seconds.
//! `doorbell-model litmus` runs the litmus tests only.
//! `doorbell-model saved` prints the table of states that the selftest of DOORBELL_SAVE is built with.

use doorbell_model::{
    counts, domain, explore, irqfd, line_model, litmus, mutants, records, region, region::Checked,
    removal, saved, values, waiters, weak_memory, Exploration, Rule,
};
use std::process::ExitCode;

/// Prints and counts the results.
struct Report {
    number: usize,
    failed: usize,
    states: usize,
}

impl Report {
    /// Prints the plan.
    fn new(results: usize) -> Self {
        println!("KTAP version 1");
        println!("1..{results}");
        Self {
            number: 0,
            failed: 0,
            states: 0,
        }
    }

    fn end(&self) -> ExitCode {
        ExitCode::from(u8::from(self.failed > 0))
    }

    fn checked(&mut self, checked: &Checked) {
        self.result(checked.ok, &checked.name, &checked.more);
    }

    /// Runs the litmus tests and counts them.
    fn litmus(&mut self) {
        let (tests, mistakes) = litmus::numbers();
        let (mut hold, mut found) = (0, 0);
        for checked in litmus::all() {
            let mistake = checked.name.starts_with("found: ");
            *(if mistake { &mut found } else { &mut hold }) += usize::from(checked.ok);
            self.checked(&checked);
        }
        println!("# {tests} litmus tests: {hold} hold, {found} of {mistakes} mistakes found");
    }

    fn exploration(&mut self, ok: bool, name: &str, exploration: &Exploration, more: &str) {
        let Exploration {
            states,
            steps,
            depth,
            seconds,
            ..
        } = exploration;
        let states = format!("{states} states, {steps} steps, {depth} deep, {seconds:.1} s{more}");
        self.result(ok, name, &states);
        if let (false, Some((rule, steps))) = (ok, &exploration.violation) {
            println!("# {rule}, after {}", steps.join(", "));
        }
    }

    fn result(&mut self, ok: bool, name: &str, more: &str) {
        self.number += 1;
        self.failed += usize::from(!ok);
        let result = if ok { "ok" } else { "not ok" };
        println!("{result} {} {name} # {more}", self.number);
    }

    /// Reports a model, which must violate no rule.
    fn model(&mut self, name: &str, exploration: &Exploration) {
        self.states += exploration.states;
        self.exploration(exploration.violation.is_none(), name, exploration, "");
    }

    /// Reports a mutant, which must violate one of `rules`.
    fn mutant(&mut self, name: &str, rules: &[Rule], exploration: &Exploration) {
        let name = format!("found: {name}");
        match &exploration.violation {
            Some((rule, steps)) => {
                let more = format!("; {rule}, after {} steps", steps.len());
                self.exploration(rules.contains(rule), &name, exploration, &more);
            }
            None => self.exploration(false, &name, exploration, "; not found"),
        }
    }
}

fn main() -> ExitCode {
    let deep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("deep") => true,
        Some("litmus") => {
            let (tests, mistakes) = litmus::numbers();
            let mut report = Report::new(tests + mistakes);
            report.litmus();
            return report.end();
        }
        Some("saved") => {
            print!("{}", saved::table());
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            eprintln!("usage: doorbell-model [deep | litmus | saved]");
            return ExitCode::from(2);
        }
    };
    let (lines, irqfds) = (line_model::scenarios(deep), irqfd::scenarios());
    let (rings, readers) = (records::scenarios(), domain::scenarios());
    let (waiters, counting) = (waiters::scenarios(), counts::scenarios());
    let removals = removal::scenarios();
    let models = lines.len() + irqfds.len() + rings.len() + readers.len();
    let models = models + waiters.len() + counting.len() + removals.len();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let checks = region::RESULTS + saved::RESULTS + weak_memory::RESULTS + values::RESULTS;
    let (tests, mistakes) = litmus::numbers();
    let mut report = Report::new(models + mutants::all().count() + checks + tests + mistakes);
    for (name, model) in lines {
        report.model(&name, &explore(model, cpus));
    }
    for (name, model) in irqfds {
        report.model(name, &explore(model, cpus));
    }
    for (name, model) in rings {
        report.model(name, &explore(model, cpus));
    }
    for (name, model) in readers {
        report.model(name, &explore(model, cpus));
    }
    for (name, model) in waiters {
        report.model(name, &explore(model, cpus));
    }
    for (name, model) in counting {
        report.model(name, &explore(model, cpus));
    }
    for (name, model) in removals {
        report.model(name, &explore(model, cpus));
    }
    println!("# {} states in all; now the mutants", report.states);
    for mutant in mutants::all() {
        report.mutant(mutant.name, mutant.rules, &mutant.explore());
    }
    for checked in saved::all() {
        report.result(checked.ok, checked.name, &checked.more);
    }
    let regions = region::all(if deep { 200_000 } else { 10_000 });
    for checked in regions.chain(weak_memory::all()).chain(values::all()) {
        report.checked(&checked);
    }
    report.litmus();
    report.end()
}
