// SPDX-License-Identifier: GPL-2.0-only

//! The command line of `kvm-rtt`.

use std::process::{Command, Output};

fn run(argument: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvm-rtt"));
    command.arg(argument).output().unwrap()
}

#[test]
fn help_is_printed() {
    for argument in ["-h", "--help"] {
        let output = run(argument);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("Usage: kvm-rtt [WRITES]\n"), "{text}");
        assert!(output.status.success() && output.stderr.is_empty());
    }
}

#[test]
fn other_text_is_an_error() {
    let output = run("many");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        text,
        "kvm-rtt: WRITES is a number from 1 to 32768, not 'many'\n"
    );
    assert!(!output.status.success() && output.stdout.is_empty());
}
