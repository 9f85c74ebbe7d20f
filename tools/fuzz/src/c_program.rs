// SPDX-License-Identifier: GPL-2.0-only

//! Programs in C, which need nothing but `<linux/doorbell.h>`.

use crate::{
    arena::THREADS,
    calls::{Action, Domain, Op},
    program::{Call, Program},
};
use std::fmt::Write;

const PRELUDE: &str = include_str!("c_program/prelude.h");

/// Returns a program in C that makes the same calls and prints their results.
pub fn c_program(program: &Program) -> String {
    let begin = match program.is_sequential() {
        true => program.calls.len(),
        false => program
            .calls
            .iter()
            .position(|call| call.thread != 0)
            .unwrap_or(0),
    };
    let (first, rest) = program.calls.split_at(begin);
    let mut text = String::from(PRELUDE);
    let parallel = !rest.is_empty();
    for thread in (0..THREADS).filter(|_| parallel) {
        let calls: Vec<Call> = rest
            .iter()
            .filter(|call| call.thread == thread)
            .copied()
            .collect();
        let _ = write!(
            text,
            "static void *thread_{thread}(void *unused)\n{{\n\tthread = {thread};\n"
        );
        text += &body(&calls, 1);
        text += "\treturn unused;\n}\n\n";
    }
    text += "int main(void)\n{\n";
    if parallel {
        let _ = writeln!(text, "\tpthread_t threads[{THREADS}];\n");
    }
    text += "\tset_up();\n";
    text += &body(first, 1);
    for thread in (0..THREADS).filter(|_| parallel) {
        let _ = writeln!(
            text,
            "\tpthread_create(&threads[{thread}], NULL, thread_{thread}, NULL);"
        );
    }
    for thread in (0..THREADS).filter(|_| parallel) {
        let _ = writeln!(text, "\tpthread_join(threads[{thread}], NULL);");
    }
    text += "\treturn 0;\n}\n";
    text
}

fn indent(depth: usize) -> String {
    "\t".repeat(depth)
}

fn body(calls: &[Call], depth: usize) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < calls.len() {
        let call = &calls[at];
        at += 1;
        if call.form().action == Action::Other(Op::Fork) {
            let count = (call.values[0] % 8).min((calls.len() - at) as u64) as usize;
            text += &fork(&calls[at..at + count], call.values[1] & 1 != 0, depth);
            at += count;
        } else {
            text += &statement(call, depth);
        }
    }
    text
}

fn fork(calls: &[Call], kill: bool, depth: usize) -> String {
    let tabs = indent(depth);
    let child = body(calls, depth + 2);
    let kill = if kill {
        format!("{tabs}\tsched_yield();\n{tabs}\tkill(child, SIGKILL);\n")
    } else {
        String::new()
    };
    format!(
        "{tabs}{{\n{tabs}\tpid_t child = fork();\n\n{tabs}\tif (!child) {{\n{child}{tabs}\t\t_exit(0);\n{tabs}\t}}\n\
         {kill}{tabs}\tif (waitpid(child, NULL, 0) < 0) {{\n{tabs}\t\tkill(child, SIGKILL);\n\
         {tabs}\t\twhile (waitpid(child, NULL, 0) < 0 && errno == EINTR)\n{tabs}\t\t\t;\n{tabs}\t}}\n{tabs}}}\n"
    )
}

fn number(value: u64) -> String {
    match value {
        0..10 => value.to_string(),
        10..=0xffff_ffff => format!("{value:#x}"),
        _ => format!("{value:#x}ULL"),
    }
}

/// Returns the value of a field of a structure in C.
fn value(domain: Domain, value: u64) -> String {
    match domain {
        Domain::EventFd => format!("eventfd_of({value})"),
        Domain::OptionalEventFd if value != 0 => format!("eventfd_of({})", value - 1),
        Domain::Pointer if value != 0 => format!("pointer({})", value % crate::arena::POINTERS),
        Domain::Time if value != 0 && value != u64::MAX => format!("later({value})"),
        _ => number(value),
    }
}

fn structure(call: &Call, name: &str) -> String {
    let mut fields = Vec::new();
    for (field, field_value) in call.form().fields.iter().zip(call.values) {
        let Some((_, size)) = field.part else {
            continue;
        };
        // A constant that does not fit is cut off, as in the fuzzer.
        let kept = match size {
            4 => field_value & 0xffff_ffff,
            _ => field_value,
        };
        let kept = if field.domain == Domain::Reserved {
            kept & 0xffff_ffff
        } else {
            kept
        };
        let is_fd = matches!(field.domain, Domain::EventFd);
        if kept == 0 && !is_fd {
            continue;
        }
        let text = match field.domain {
            Domain::EventFd | Domain::OptionalEventFd | Domain::Pointer | Domain::Time => {
                value(field.domain, field_value)
            }
            _ => number(kept),
        };
        let array =
            field.domain == Domain::Reserved && field.name == "reserved" && !is_scalar(name);
        let index = if array { "[0]" } else { "" };
        fields.push(format!(
            ".{}{index} = {text}",
            field.name.trim_end_matches('_')
        ));
    }
    format!("(struct doorbell_{name}) {{ {} }}", fields.join(", "))
}

/// Returns true if the reserved field of the structure is no array.
fn is_scalar(name: &str) -> bool {
    matches!(name, "query" | "saved_line")
}

fn statement(call: &Call, depth: usize) -> String {
    let tabs = indent(depth);
    let name = call.form().name;
    let values = &call.values;
    let made = match call.form().action {
        Action::Ioctl(command, _, c_name, _) => {
            let fields = structure(call, c_name);
            let place = values[call.form().fields.len() - 1] % crate::arena::PLACES;
            format!(
                "call(context({}), DOORBELL_{command}, &{fields},\n{tabs}\t\tsizeof(struct doorbell_{c_name}), {place})",
                values[0]
            )
        }
        Action::Number(command, _) => {
            format!(
                "number(context({}), DOORBELL_{command}, {})",
                values[0],
                number(values[1])
            )
        }
        Action::Store(c_name, _) => {
            let fields = structure(call, c_name);
            let (buffer, index) = (number(values[0]), number(values[1]));
            format!(
                "store({buffer}, {index}, &{fields},\n{tabs}\t\tsizeof(struct doorbell_{c_name}))"
            )
        }
        Action::Other(_) => {
            let fields = call.form().fields.iter().zip(values);
            let arguments: Vec<String> = fields.map(|(_, value)| number(*value)).collect();
            format!("do_{name}({})", arguments.join(", "))
        }
    };
    format!("{tabs}show(\"{name}\", {made});\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calls::FORMS,
        generate::{call_of, spread},
    };
    use std::{path::Path, process::Command};

    /// Compiles a program, and returns its path.
    fn compile(program: &Program, name: &str) -> std::path::PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let dir = std::env::temp_dir().join(format!("doorbell-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (source, binary) = (dir.join(format!("{name}.c")), dir.join(name));
        std::fs::write(&source, c_program(program)).unwrap();
        let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let status = Command::new(cc)
            .arg("-I")
            .arg(root.join("include/uapi"))
            .args(["-pthread", "-Wall", "-Werror", "-Wno-unused-function", "-o"])
            .args([&binary, &source])
            .status()
            .expect("no C compiler: install gcc, or set CC");
        assert!(status.success(), "{}", source.display());
        binary
    }

    #[test]
    fn a_program_with_every_call_compiles() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut calls: Vec<Call> = (0..4 * FORMS.len())
            .map(|at| call_of(&mut random, at % FORMS.len()))
            .collect();
        spread(&mut random, &mut calls[20..], THREADS);
        compile(&Program { calls }, "every_call");
    }

    #[test]
    fn a_program_prints_its_results() {
        let text = "0 eventfd fd=1\n0 eventfd_write fd=1 value=5\n0 eventfd_read fd=1\n0 eventfd_close fd=2\n";
        let binary = compile(&Program::parse(text).unwrap(), "results");
        let output = Command::new(binary).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let expected = "0 eventfd: 0\n0 eventfd_write: 8\n0 eventfd_read: 8\n0 eventfd_close: -1 Bad file descriptor\n";
        assert_eq!(printed, expected);
    }
}
