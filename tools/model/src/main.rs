// SPDX-License-Identifier: GPL-2.0-only

//! Explores all states of the models, then those of the mutants. Prints KTAP.
//!
//! Fails if a model violates a rule, or if a mutant is not found.
//! `doorbell-model deep` takes minutes and gigabytes; without `deep` it takes seconds.
//! `doorbell-model litmus` runs the litmus tests only.
//! `doorbell-model saved` prints the table of states that the selftest of DOORBELL_SAVE is built with.

use doorbell_model::{
    counts, domain,
    explore::{explore, run_all, Exploration, Job},
    irqfd, line_model, litmus, mutants, records, region,
    region::Checked,
    removal, saved, values, waiters, weak_memory, ModelState, Rule,
};
use stateright::Model;
use std::{fmt::Debug, hash::Hash, process::ExitCode};

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

/// Returns the exploration of a model, which begins when it is called.
fn job<M>(model: M) -> Job
where
    M: Model + Send + Sync + 'static,
    M::State: ModelState + Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq + Send + Sync,
{
    Box::new(move || explore(model))
}

/// Returns the explorations of models, with their names.
fn jobs<M>(
    scenarios: impl IntoIterator<Item = (&'static str, M)>,
) -> impl Iterator<Item = (String, Job)>
where
    M: Model + Send + Sync + 'static,
    M::State: ModelState + Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq + Send + Sync,
{
    let named = scenarios.into_iter();
    named.map(|(name, model)| (name.to_string(), job(model)))
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
    let mut models: Vec<(String, Job)> = Vec::new();
    models.extend(lines.into_iter().map(|(name, model)| (name, job(model))));
    models.extend(jobs(irqfds));
    models.extend(jobs(rings));
    models.extend(jobs(readers));
    models.extend(jobs(waiters));
    models.extend(jobs(counting));
    models.extend(jobs(removals));
    let (names, models): (Vec<_>, Vec<_>) = models.into_iter().unzip();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let checks = region::RESULTS + saved::RESULTS + weak_memory::RESULTS + values::RESULTS;
    let (tests, mistakes) = litmus::numbers();
    let mut report = Report::new(models.len() + mutants::all().count() + checks + tests + mistakes);
    run_all(models, cpus, |index, exploration| {
        report.model(&names[index], &exploration);
    });
    println!("# {} states in all; now the mutants", report.states);
    let mutants: Vec<_> = mutants::all().collect();
    let searches = mutants.iter().cloned();
    let searches = searches.map(|mutant| Box::new(move || mutant.explore()) as Job);
    run_all(searches.collect(), cpus, |index, exploration| {
        report.mutant(mutants[index].name, mutants[index].rules, &exploration);
    });
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
