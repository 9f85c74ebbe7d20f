// SPDX-License-Identifier: GPL-2.0-only

use super::*;

fn options(rows: &[&str]) -> Options {
    Options {
        time: Duration::from_millis(300),
        rounds: 3,
        lines: 1,
        fill: false,
        rows: rows.iter().map(ToString::to_string).collect(),
        device: "/nonexistent".into(),
        rate: None,
        legs: false,
        stop: Stop::default(),
    }
}

#[test]
fn rows_without_the_device_are_measured() {
    let mut last = (0, 1);
    let report = run(
        &options(&["same-core pipe", "futex"]),
        &mut |_, done, of| last = (done, of),
    )
    .unwrap();
    assert_eq!(last.0, last.1);
    assert_eq!(report.rounds, 3);
    let Source::Threads(facts) = &report.source else {
        panic!("there is no guest");
    };
    assert_eq!((facts.lines, facts.others_assigned), (0, 0));
    assert_eq!(report.left_out, None);
    assert!(facts.clock_ns > 0.0);
    let names: Vec<_> = report
        .rows
        .iter()
        .filter(|row| row.group == Group::SameCore)
        .map(|row| row.name)
        .collect();
    assert_eq!(names, ["eventfd", "futex", "pipe"]);
    for row in &report.rows {
        assert_ne!(row.group, Group::OneThread, "not selected");
        assert!(row.ns > 0.0 && !row.histogram.is_empty(), "{}", row.name);
        assert!(row.batches >= 3);
        assert!(row.quartiles.0 <= row.ns && row.ns <= row.quartiles.1);
        assert!((1..=3).contains(&row.rounds.len()), "{:?}", row.rounds);
        let median = row
            .rounds
            .iter()
            .map(|round| round.ns)
            .fold(f64::NAN, f64::max);
        assert!(median >= row.quartiles.0, "{:?}", row.rounds);
        // On a busy machine no row may be steady.
        if row.ratio.is_finite() {
            assert!(row.ratio > 0.0 && !row.is_unsteady());
            assert_eq!(row.name == "eventfd", row.ratio == 1.0);
        }
    }
}

#[test]
fn rows_that_need_the_device_are_left_out_unless_asked_for() {
    let run = |rows: &[&str]| super::run(&options(rows), &mut |_, _, _| {});
    for rows in [&["doorbell ioctl"][..], &["ring-wait"], &["pipe", "irqfd"]] {
        let error = run(rows).unwrap_err().to_string();
        let asked = format!("--filter {}: open", rows[rows.len() - 1]);
        assert!(
            error.starts_with(&asked) && error.contains("modprobe"),
            "{error}"
        );
    }
    // A group is measured as far as possible.
    let report = run(&["same-core"]).unwrap();
    let names: Vec<_> = report.rows.iter().map(|row| row.name).collect();
    let expected = ["eventfd", "spin (yielding)", "futex", "pipe", "socket"];
    assert_eq!(names[..5], expected);
    let left_out = report.left_out.unwrap();
    let expected =
        "not measured: doorbell ioctl, doorbell irqfd, doorbell ring+wait, doorbell ring-wait, doorbell \
         spinning, doorbell wait, doorbell wait+spin: open /nonexistent: ";
    assert!(left_out.starts_with(expected), "{left_out}");
    assert!(
        left_out.contains("modprobe") && !left_out.contains('\n'),
        "{left_out}"
    );
    let report = run(&["one-thread"]).unwrap();
    assert!(report.rows.iter().all(|row| !row.name.contains("doorbell")));
    // An option that needs a context needs the device, too.
    let mut options = options(&[]);
    options.lines = 16;
    let error = super::run(&options, &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("--lines"), "{error}");
}

#[test]
fn two_cores_are_refused_with_one_cpu() {
    let cpu = sys::cpus().unwrap()[0];
    // Only this thread, which ends with the test.
    sys::pin(&[cpu]).unwrap();
    let run = |rows: &[&str]| super::run(&options(rows), &mut |_, _, _| {});
    for rows in [&["two-cores"][..], &["pipe", "two-cores futex"]] {
        let error = run(rows).unwrap_err().to_string();
        let asked = format!("--filter {}: two threads, two cores", rows[rows.len() - 1]);
        assert!(error.starts_with(&asked), "{error}");
        assert!(
            error.contains(&format!("CPU {cpu} only")) && error.contains("taskset"),
            "{error}"
        );
    }
    let report = run(&["futex"]).unwrap();
    assert!(
        report.notes[0].contains("not measured"),
        "{:?}",
        report.notes
    );
    assert!(report.of(Group::TwoCores).next().is_none());
}

#[test]
fn unknown_row_is_refused_with_a_list() {
    let error = run(&options(&["pipe", "smoke signal"]), &mut |_, _, _| {}).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("smoke signal"), "{text}");
    assert!(text.contains("two-cores futex"), "{text}");
}

#[test]
fn filter_takes_names_and_groups() {
    let choose = |text: &str| choose(&[text.to_owned()], &Group::ALL).unwrap();
    assert_eq!(
        choose("two-cores spin"),
        [
            (Group::TwoCores, Kind::Eventfd),
            (Group::TwoCores, Kind::Spin)
        ]
    );
    assert_eq!(choose("one-thread").len(), 17);
    assert_eq!(choose("irqfd").len(), 6);
    assert_eq!(
        choose("batch"),
        [
            (Group::OneThread, Kind::Eventfd),
            (Group::OneThread, Kind::Batch)
        ]
    );
    assert_eq!(choose("io_uring").len(), 3 * 3);
    let groups = [Group::OneThread, Group::SameCore];
    assert_eq!(super::choose(&[], &groups).unwrap().len(), 17 + 16);
}

#[test]
fn quantiles_interpolate() {
    assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
    assert_eq!(quantile(&mut [4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
    assert_eq!(quantile(&mut [4.0, 1.0, 2.0, 3.0], 0.0), 1.0);
    assert_eq!(quantile(&mut [4.0, 1.0, 2.0, 3.0], 1.0), 4.0);
    assert!(quantile(&mut [], 0.5).is_nan());
}

/// Runs with a rate, and returns the notes and the number of samples of each row.
fn paced(rows: &[&str], rate: f64, rounds: u32) -> anyhow::Result<(String, Vec<u64>)> {
    let options = Options {
        rate: Some(rate),
        rounds,
        ..options(rows)
    };
    let report = super::run(&options, &mut |_, _, _| {})?;
    let samples = report.rows.iter().map(|row| row.histogram.len()).collect();
    Ok((report.notes.join("\n"), samples))
}

#[test]
fn rate_sets_the_number_of_round_trips() {
    // 300 ms are 8 turns of 2 rows, half of each is paced: 18.75 ms.
    let (_, samples) = paced(&["same-core pipe"], 2000.0, 3).unwrap();
    assert_eq!(samples, [3 * 37; 2]);
    let error = paced(&["same-core pipe"], 10.0, 3).unwrap_err().to_string();
    assert!(
        error.contains("10/s is less than one") && error.contains("--rounds"),
        "{error}"
    );
}

#[test]
fn rate_that_a_row_cannot_keep_is_reported() {
    let (notes, samples) = paced(&["same-core pipe"], 1e7, 1).unwrap();
    assert!(
        notes.contains("same core, pipe: could not keep the rate"),
        "{notes}"
    );
    // Those that were due in the turn count, even though they were not sent.
    assert!(samples[1] > 100_000, "{samples:?}");
}

#[test]
fn interrupted_run_keeps_its_samples() {
    let rows = &["same-core pipe"];
    let stop = Stop::default();
    let options = Options {
        time: Duration::from_secs(100_000),
        rounds: 1_000_000,
        stop: stop.clone(),
        ..options(rows)
    };
    let report = super::run(&options, &mut |_, done, _| {
        // Two warm-ups, two rounds, and one row of the third round.
        if done == 7 {
            stop.request(2);
        }
    })
    .unwrap();
    assert!(report.partial);
    assert_eq!(report.rounds, 2);
    assert!(report
        .notes
        .iter()
        .any(|note| note.contains("after 2 of 1000000 rounds")));
    let rounds: usize = report.rows.iter().map(|row| row.rounds.len()).sum();
    assert_eq!(rounds, 5);
    assert!(report.rows.iter().all(|row| !row.histogram.is_empty()));
    // If there are no samples, there is no report.
    let error = super::run(&options, &mut |_, _, _| {}).unwrap_err();
    assert!(
        error.to_string().contains("before the first round"),
        "{error}"
    );
}

#[test]
fn unsteady_row_has_no_ratio() {
    let row = |name, ns| Row::example(Group::OneThread, name, ns);
    let mut rows = [
        row("eventfd", 100.0),
        row("pipe", 200.0),
        row("futex", 300.0),
    ];
    rows[1].quartiles = (100.0, 201.0);
    compare(&mut rows);
    assert!(rows[1].is_unsteady() && rows[1].ratio.is_nan());
    assert_eq!([rows[0].ratio, rows[2].ratio], [1.0, 3.0]);
    // Nothing can be compared with an unsteady base.
    rows[0].quartiles = (100.0, 201.0);
    compare(&mut rows);
    assert!(rows.iter().all(|row| row.ratio.is_nan()));
}

#[test]
fn legs_are_those_of_rows_with_two_threads() {
    let options = Options {
        legs: true,
        ..options(&["eventfd", "same-core pipe", "futex"])
    };
    let report = run(&options, &mut |_, _, _| {}).unwrap();
    for row in &report.rows {
        let Some(Directions { there, back }) = &row.directions else {
            assert_eq!(row.group, Group::OneThread, "{}", row.full_name());
            continue;
        };
        assert_ne!(row.group, Group::OneThread, "{}", row.full_name());
        // Each round trip has both.
        assert_eq!(there.len(), back.len());
        assert!(!there.is_empty() && there.min() > 0, "{}", row.full_name());
    }
    let options = Options {
        rows: vec!["one-thread".into()],
        ..options
    };
    let error = run(&options, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("--filter same-core"), "{error}");
}

#[test]
fn stolen_time_is_reported() {
    let row = |name, ms| Row {
        steal: Duration::from_millis(ms),
        ..Row::example(Group::SameCore, name, 100.0)
    };
    assert_eq!(stolen(&[row("pipe", 0)]), None);
    let note = stolen(&[row("pipe", 10), row("futex", 50), row("eventfd", 0)]).unwrap();
    assert!(
        note.contains("took 60 ms") && note.contains("50 ms"),
        "{note}"
    );
    assert!(note.ends_with("same core, futex"), "{note}");
}

#[test]
fn round_has_medians_and_a_tail() {
    let mut times: Vec<f64> = (0..=100).map(f64::from).collect();
    let round = Round::new(&mut [3.0, 1.0, 2.0], &mut times).unwrap();
    assert_eq!((round.ns, round.p50, round.p99), (2.0, 50.0, 99.0));
    assert_eq!(Round::new(&mut [], &mut times), None);
}

#[test]
fn busy_machine_is_noticed() {
    let row = |group, q3| Row {
        quartiles: (95.0, q3),
        ..Row::example(group, "eventfd", 100.0)
    };
    let steady = row(Group::OneThread, 110.0);
    // Two threads on a busy machine are never steady.
    let other = row(Group::TwoCores, 900.0);
    assert_eq!(unsteady(&[other]), None);
    let note = unsteady(&[steady, row(Group::OneThread, 190.0)]).unwrap();
    assert!(note.contains("factor of 2.0"), "{note}");
}
