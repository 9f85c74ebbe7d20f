// SPDX-License-Identifier: GPL-2.0-only

//! The coverage of each source file, from the blocks that a run has reached and the module's DWARF.

use crate::blocks::{blocks, Block};
use anyhow::{bail, Context};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// The part of a path before the module's sources, in the lab.
const SOURCE: &str = "/doorbell/";

/// The number of blocks, and of those that were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    blocks: usize,
    reached: usize,
}

impl Count {
    fn add(&mut self, reached: bool) {
        self.blocks += 1;
        self.reached += usize::from(reached);
    }
}

/// A function: its file and its name.
type Function = (String, String);

/// A line of the list of functions that the fuzzer does not reach.
#[derive(Debug, PartialEq, Eq)]
struct Explained {
    function: Function,
    reason: String,
}

/// Parses the list: `FILE FUNCTION REASON` in each line.
fn explained(text: &str) -> anyhow::Result<Vec<Explained>> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.splitn(3, char::is_whitespace);
            let (file, name, reason) = (words.next(), words.next(), words.next());
            let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
            let (Some(file), Some(name), Some(reason)) = (file, name, reason) else {
                bail!("'{line}' is not FILE FUNCTION REASON");
            };
            Ok(Explained {
                function: (file.into(), name.into()),
                reason: reason.into(),
            })
        })
        .collect()
}

/// Returns the name of a function without its path, its type's parameters and its hash.
fn short(name: &str) -> String {
    let mut depth = 0;
    let mut plain = String::new();
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let parts = plain
        .split("::")
        .filter(|part| !part.is_empty() && !part.starts_with('{'));
    let is_hash = |part: &str| part.len() == 17 && part.starts_with('h');
    let last = parts.filter(|part| !is_hash(part)).last();
    last.unwrap_or(name).to_owned()
}

/// Parses the output of addr2line for `count` addresses: for each the innermost function of the module's own
/// sources.
fn functions(output: &str, count: usize) -> Vec<Option<Function>> {
    let mut found = Vec::with_capacity(count);
    let mut lines = output.lines();
    let mut line = lines.next();
    while let Some(name) = line {
        if name.starts_with("0x") {
            found.push(None);
            line = lines.next();
            continue;
        }
        let place = lines.next().unwrap_or_default();
        if let (Some(last @ None), Some(at)) = (found.last_mut(), place.find(SOURCE)) {
            let path = &place[at + SOURCE.len()..];
            let file = path.split(':').next().unwrap_or_default();
            if file.starts_with("rust/") {
                *last = Some((file.to_owned(), short(name)));
            }
        }
        line = lines.next();
    }
    found
}

/// Returns the function of each block.
fn resolve(module: &Path, all: &[Block]) -> anyhow::Result<Vec<Option<Function>>> {
    let mut found = Vec::new();
    let mut rest = all;
    while let Some((section, _)) = rest.first() {
        let len = rest.iter().take_while(|block| block.0 == *section).count();
        let mut child = Command::new("addr2line")
            .args(["-a", "-i", "-f", "-C", "-j", section, "-e"])
            .arg(module)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("addr2line")?;
        // An offset is that behind the call.
        let lines = rest[..len].iter().map(|(_, at)| format!("{:#x}", at - 1));
        let addresses = lines.collect::<Vec<_>>().join("\n") + "\n";
        let mut input = child.stdin.take().context("addr2line")?;
        let writer = std::thread::spawn(move || input.write_all(addresses.as_bytes()));
        let output = child.wait_with_output()?;
        let _ = writer.join();
        let functions = functions(&String::from_utf8_lossy(&output.stdout), len);
        if functions.len() != len {
            bail!(
                "addr2line has resolved {} of {len} addresses in {section}",
                functions.len()
            );
        }
        found.extend(functions);
        rest = &rest[len..];
    }
    Ok(found)
}

/// Returns the line for a function that was not reached, with the list's reason.
fn not_reached(function: &Function, blocks: usize, list: &[Explained]) -> String {
    let reason = list
        .iter()
        .find(|explained| explained.function == *function)
        .map_or("no reason known", |explained| &explained.reason);
    let (file, name) = function;
    format!("  {file} {name} ({blocks} blocks) {reason}")
}

/// Prints the coverage. Returns false if a function was reached that the list says is not.
pub fn coverage(module: &Path, reached: &Path, list: &Path) -> anyhow::Result<bool> {
    let all = blocks(module)?;
    if all.is_empty() {
        println!("no coverage: the module was built without KCOV");
        return Ok(true);
    }
    let text =
        fs::read_to_string(reached).with_context(|| format!("read {}", reached.display()))?;
    let reached: HashSet<&str> = text.lines().collect();
    let list = fs::read_to_string(list).with_context(|| format!("read {}", list.display()))?;
    let list = explained(&list)?;
    let mut files: BTreeMap<String, Count> = BTreeMap::new();
    let mut functions: BTreeMap<Function, Count> = BTreeMap::new();
    let mut total = Count::default();
    for (block, function) in all.iter().zip(resolve(module, &all)?) {
        if function
            .as_ref()
            .is_some_and(|function| function.0.starts_with("rust/kunit"))
        {
            continue;
        }
        let is_reached = reached.contains(format!("{} {:#x}", block.0, block.1).as_str());
        total.add(is_reached);
        let Some(function) = function else {
            files
                .entry("(elsewhere)".into())
                .or_default()
                .add(is_reached);
            continue;
        };
        files.entry(function.0.clone()).or_default().add(is_reached);
        functions.entry(function).or_default().add(is_reached);
    }
    println!("{:<36} {:>8} {:>8}", "file", "reached", "blocks");
    for (file, count) in &files {
        println!("{file:<36} {:>8} {:>8}", count.reached, count.blocks);
    }
    println!("{:<36} {:>8} {:>8}", "all", total.reached, total.blocks);
    println!("\nfunctions that were not reached:");
    for (function, count) in &functions {
        if count.reached == 0 {
            println!("{}", not_reached(function, count.blocks, &list));
        }
    }
    let contradicted: Vec<_> = list
        .iter()
        .filter(|explained| {
            functions
                .get(&explained.function)
                .is_some_and(|count| count.reached != 0)
        })
        .collect();
    for explained in &contradicted {
        let (file, name) = &explained.function;
        println!(
            "reached, although the list says: {file} {name} {}",
            explained.reason
        );
    }
    Ok(contradicted.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_of_the_module_counts() {
        let output = "0x0000000000000010\n\
            <core::option::Option<u32>>::map\n/usr/lib/core/option.rs:10\n\
            <doorbell::line::Line>::ring::h0123456789abcdef\n/doorbell/rust/line/ring.rs:5 (discriminator 2)\n\
            doorbell::device::ioctl\n/doorbell/rust/device.rs:7\n\
            0x0000000000000020\nmemcpy\n/kernel/source/lib/string.c:1\n";
        let ring = Some(("rust/line/ring.rs".to_owned(), "ring".to_owned()));
        assert_eq!(functions(output, 2), [ring, None]);
    }

    #[test]
    fn a_function_that_was_not_reached_has_a_reason_or_says_that_it_has_none() {
        let list = explained("# comment\nrust/a.rs one It is dead.\n").unwrap();
        let line = |name: &str| not_reached(&("rust/a.rs".into(), name.into()), 3, &list);
        assert_eq!(line("one"), "  rust/a.rs one (3 blocks) It is dead.");
        assert_eq!(line("two"), "  rust/a.rs two (3 blocks) no reason known");
        assert!(explained("rust/a.rs one").is_err());
        assert!(explained("rust/a.rs one ").is_err());
    }

    #[test]
    fn each_explained_function_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(root.join("tools/fuzz/unreached.txt")).unwrap();
        for Explained {
            function: (file, name),
            ..
        } in explained(&text).unwrap()
        {
            let source = fs::read_to_string(root.join(&file)).expect(&file);
            let is_there = [
                format!("fn {name}("),
                format!("fn {name}<"),
                format!(" {name}("),
            ];
            assert!(
                is_there.iter().any(|text| source.contains(text)),
                "{file} has no {name}"
            );
        }
    }

    #[test]
    fn names_are_short() {
        assert_eq!(short("<doorbell::line::Line as Run<IrqWork>>::run"), "run");
        assert_eq!(short("doorbell::bus::region::find::{closure#0}"), "find");
        assert_eq!(short("doorbell_helper"), "doorbell_helper");
    }
}
