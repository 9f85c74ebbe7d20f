// SPDX-License-Identifier: GPL-2.0-only

//! The command line of `doorbell`, as far as it needs no module.

use rustix::process::{Pid, Signal};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A command that has ended.
struct Run {
    /// The command line, for messages.
    line: String,
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `doorbell` with `arguments`, separated by spaces, on a machine without the device.
fn doorbell(arguments: &str) -> Run {
    run(Command::new(env!("CARGO_BIN_EXE_doorbell")), arguments)
}

/// Runs `command`, which runs `doorbell`, with `arguments`.
fn run(mut command: Command, arguments: &str) -> Run {
    let output = command
        .args(arguments.split_whitespace())
        .env("DOORBELL_DEVICE", "/nonexistent")
        .env_remove("COLUMNS")
        .output()
        .unwrap_or_else(|error| panic!("doorbell {arguments}: {error}"));
    Run {
        line: format!("doorbell {arguments}"),
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    #[track_caller]
    fn exits(self, status: i32) -> Self {
        let Self { line, stderr, .. } = &self;
        assert_eq!(self.status, Some(status), "{line}: {stderr}");
        self
    }

    /// Checks that the command succeeded, and returns its output.
    #[track_caller]
    fn succeeds(self) -> String {
        self.exits(0).stdout
    }

    /// Checks that the command failed with exit status 1 and printed each of `texts`.
    #[track_caller]
    fn fails(self, texts: &[&str]) {
        self.exits(1).says(texts);
    }

    /// Checks that the arguments were refused with each of `texts`.
    #[track_caller]
    fn refuses(self, texts: &[&str]) {
        self.exits(2).says(texts);
    }

    #[track_caller]
    fn says(&self, texts: &[&str]) {
        let Self { line, stderr, .. } = self;
        for text in texts {
            assert!(stderr.contains(text), "{line}: no {text:?} in: {stderr}");
        }
    }
}

/// Returns the exit status of `doorbell` with `arguments` if the reader of its output is gone.
fn status_without_reader(arguments: &str) -> Option<i32> {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_doorbell"))
        .args(arguments.split_whitespace())
        .env("DOORBELL_DEVICE", "/nonexistent")
        .stdout(writer)
        .stderr(Stdio::null())
        .status();
    status.unwrap().code()
}

#[test]
fn exit_status_does_not_depend_on_a_reader_of_errors() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_doorbell"))
        .args(["info", "--device", "/nonexistent"])
        .stderr(writer)
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}

/// Returns all commands that the help lists, such as "bus list"; the first is "".
fn commands() -> Vec<String> {
    let mut commands = vec![String::new()];
    let mut at = 0;
    while let Some(command) = commands.get(at).cloned() {
        let help = doorbell(&format!("{command} --help")).succeeds();
        let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in list.take_while(|line| !line.is_empty()) {
            let name = line.split_whitespace().next().unwrap();
            // Descriptions continue further to the right.
            if line.starts_with("  ") && !line.starts_with("   ") && name != "help" {
                commands.push(format!("{command} {name}").trim().to_owned());
            }
        }
        at += 1;
    }
    commands
}

fn widest(text: &str) -> usize {
    let widths = text.lines().map(|line| line.chars().count());
    widths.max().unwrap_or(0)
}

/// Creates an empty directory for the test `name`.
fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("doorbell-cli-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

#[test]
fn there_are_all_commands() {
    let commands = commands();
    for command in [
        "doctor",
        "info",
        "ps",
        "top",
        "query",
        "trace",
        "ring",
        "unmask",
        "moderate",
        "bus records",
        "bus values",
        "watch",
        "torture",
        "rtt threads",
        "rtt kvm",
        "rtt qemu",
        "diff",
        "report",
        "ivshmem serve",
        "ivshmem peers",
        "ivshmem make-guest",
        "ivshmem-server",
        "bench assign",
        "bench bus",
        "bench scale",
    ] {
        let known = commands.iter().any(|known| known == command);
        assert!(known, "{command} is not in {commands:?}");
    }
}

/// Returns the command lines of `doorbell` in a page, whose literals are between `quote`s.
fn command_lines(page: &str, quote: &str) -> Vec<String> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let literals = page.split(quote).skip(1).step_by(2).map(words);
    let lines = page.lines().filter(|line| line.starts_with("  "));
    let lines = lines.map(|line| {
        let line = line.trim_start();
        let line = ["$ ", "# "]
            .iter()
            .find_map(|prompt| line.strip_prefix(prompt))
            .unwrap_or(line);
        // A description, a comment, or another command follows.
        let end = ["  ", " #", " |", " >", " &", ";"]
            .iter()
            .filter_map(|end| line.find(end))
            .min();
        line[..end.unwrap_or(line.len())].to_owned()
    });
    let of_doorbell = |line: String| line.strip_prefix("doorbell ").map(str::to_owned);
    literals.chain(lines).filter_map(of_doorbell).collect()
}

/// Returns the mistake in a command line of a page, if there is one.
fn mistake(line: &str, commands: &[String]) -> Option<String> {
    let known = |command: &str| commands.iter().any(|known| known == command);
    let words: Vec<&str> = line.split(' ').collect();
    let option = |word: &&str| word.starts_with("--");
    let mut command = words[0].to_owned();
    if !known(&command) {
        // The name of a row of 'doorbell rtt', perhaps.
        let has_options = words.iter().any(option);
        return has_options.then(|| format!("there is no command {command:?}"));
    }
    let is_group = commands
        .iter()
        .any(|known| known.starts_with(&format!("{command} ")));
    let name = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    if let Some(second) = words.get(1).filter(|word| is_group && !option(word)) {
        name(&second).then_some(())?;
        command = format!("{command} {second}");
        if !known(&command) {
            return Some(format!("there is no command {command:?}"));
        }
    }
    let help = doorbell(&format!("{command} --help")).succeeds();
    let mut options = words.iter().filter(|word| option(word));
    let is_wrong = |word: &&&str| {
        let (name, _) = word.split_once('=').unwrap_or((word, ""));
        !help
            .split([' ', ',', '\n', '[', ']'])
            .any(|known| known == name)
    };
    let wrong = options.find(is_wrong)?;
    Some(format!("{command:?} has no option {wrong}"))
}

#[test]
fn pages_name_commands_and_options_that_exist() {
    let commands = commands();
    for (line, wrong) in [
        ("ivshmem guest --help", "no command \"ivshmem guest\""),
        ("rign --socket x", "no command \"rign\""),
        ("ring 3 --sockets x", "no option --sockets"),
    ] {
        let found = mistake(line, &commands);
        assert!(found.is_some_and(|found| found.contains(wrong)), "{line}");
    }

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    let documentation = fs::read_dir(root.join("Documentation")).unwrap();
    pages.extend(documentation.map(|entry| entry.unwrap().path()));
    let (mut count, mut mistakes) = (0, Vec::new());
    for page in pages {
        let quote = match page.extension().and_then(|ending| ending.to_str()) {
            Some("rst") => "``",
            Some("md") => "`",
            _ => continue,
        };
        for line in command_lines(&fs::read_to_string(&page).unwrap(), quote) {
            count += 1;
            let mistake = mistake(&line, &commands);
            mistakes.extend(mistake.map(|text| format!("{}: {line}: {text}", page.display())));
        }
    }
    assert!(count > 100, "{count} command lines");
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

#[test]
fn help_fits_100_columns() {
    for command in commands() {
        for option in ["--help", "-h"] {
            let help = doorbell(&format!("{command} {option}")).succeeds();
            assert!(
                widest(&help) <= 100,
                "doorbell {command} {option}:\n{}",
                help.lines()
                    .filter(|line| widest(line) > 100)
                    .collect::<String>()
            );
        }
    }
}

#[test]
fn help_has_examples_that_fit_80_columns() {
    for command in commands() {
        let help = doorbell(&format!("{command} --help")).succeeds();
        let (_, notes) = help
            .split_once("-h, --help")
            .unwrap_or_else(|| panic!("doorbell {command} --help: {help}"));
        let (_, notes) = notes.split_once("\n\n").unwrap_or_default();
        let example = notes
            .lines()
            .skip_while(|line| !line.starts_with("Example"))
            .any(|line| line.starts_with("  ") && line.contains("doorbell"));
        assert!(example, "doorbell {command} --help has no example: {help}");
        let notes = notes
            .lines()
            .skip_while(|line| *line != "Global options:" && line.starts_with(' '));
        for line in notes.filter(|line| !line.contains("--device")) {
            // A man page has 73 columns.
            let limit = if line.starts_with("  ") { 75 } else { 80 };
            assert!(
                widest(line) <= limit,
                "doorbell {command} --help, {} columns: {line}",
                widest(line)
            );
        }
    }
}

#[test]
fn every_option_has_a_help_text() {
    for command in commands() {
        let help = doorbell(&format!("{command} -h")).succeeds();
        let lines: Vec<&str> = help.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let option = line.trim_start();
            if option.starts_with("--") && line.starts_with("      --") {
                let described = option.contains("  ")
                    || lines
                        .get(at + 1)
                        .is_some_and(|next| next.starts_with("          "));
                assert!(described, "doorbell {command} -h: {line}");
            }
        }
    }
}

#[test]
fn options_for_a_time_take_a_duration() {
    for command in commands() {
        let help = doorbell(&format!("{command} -h")).succeeds();
        for line in help.lines().map(str::trim_start) {
            for option in [
                "--time ",
                "--seconds ",
                "--for ",
                "--patience ",
                "--longest",
                "--most ",
            ] {
                assert!(!line.starts_with(option), "doorbell {command} -h: {line}");
            }
            for option in ["--duration", "--timeout", "--max-wait"] {
                let takes = line.strip_prefix(option);
                assert!(
                    takes.is_none_or(|rest| rest.starts_with(" <DURATION>")),
                    "doorbell {command} -h: {line}"
                );
            }
        }
    }
}

#[test]
fn commands_with_a_result_print_json() {
    for command in commands() {
        let help = doorbell(&format!("{command} -h")).succeeds();
        let group = help.lines().any(|line| line == "Commands:") && command != "rtt";
        let server = ["ivshmem serve", "ivshmem-server"].contains(&command.as_str());
        let json = help
            .lines()
            .any(|line| line.trim_start().starts_with("--json "));
        assert_eq!(json, !group && !server, "doorbell {command} -h: {help}");
    }
}

#[test]
fn modes_that_were_options_name_the_command() {
    doorbell("rtt --kvm").refuses(&["'--kvm'", "use 'doorbell rtt kvm'"]);
    doorbell("rtt --kvm --count 5").refuses(&["use 'doorbell rtt kvm'"]);
    doorbell("rtt --qemu --json").refuses(&["'--qemu'", "use 'doorbell rtt qemu'"]);
    let help = doorbell("rtt --help").succeeds();
    assert!(
        !help.contains("--kvm") && !help.contains("--qemu"),
        "{help}"
    );
}

#[test]
fn modes_do_not_take_the_options_of_others() {
    doorbell("rtt kvm --lines 5").refuses(&["'--lines'"]);
    doorbell("rtt threads --count 5").refuses(&["'--count'"]);
    doorbell("rtt qemu --duration 5s").refuses(&["'--duration'"]);
    doorbell("rtt --rounds 5 kvm").refuses(&["kvm"]);
}

#[test]
fn mistakes_are_explained() {
    doorbell("").refuses(&["Usage: doorbell"]);
    doorbell("rign 1").refuses(&["'rign'", "ring"]);
    doorbell("watch --duration 5x").refuses(&["--duration", "500ms, 10s or 5m"]);
    doorbell("torture --max-wait 0").refuses(&["--max-wait", "500ms, 10s or 5m"]);
    doorbell("mask 7-3 --fd 5").refuses(&["7-3", "behind the last"]);
    doorbell("clear 1,x --fd 5").refuses(&["\"x\"", "3, 0-7, or 1,4,9-12"]);
    doorbell("watch --records 3").refuses(&["power of two"]);
    doorbell("watch --values 0").refuses(&["--values", "65536"]);
    doorbell("bus assign 1 --line 1 --record --last 0").refuses(&["--record", "--last"]);
    doorbell("bus write zero 1").refuses(&["4096 or 0x1000"]);
    doorbell("bus write 0x1000 1 --length 3").refuses(&["1, 2, 4 or 8"]);
    doorbell("ivshmem serve -l 1.5M").refuses(&["65536, 64K, 4M or 1G"]);
    doorbell("rtt --filter nothing").fails(&["nothing"]);
    doorbell("rtt --limit p98<5us").refuses(&["'p98<5us'", "[ROW.]FIGURE<VALUE", "p99<20us"]);
    doorbell("rtt --limit p99<5").refuses(&["no time with a unit"]);
    doorbell("rtt --limit smoke.p99<5us").fails(&["smoke", "two-cores futex"]);
    doorbell("rtt --rate 5").refuses(&["1000/s or 10k/s"]);
    doorbell("diff a b --threshold x").refuses(&["2% or 0.5%"]);
}

#[test]
fn missing_device_has_advice() {
    for command in [
        "info",
        "watch",
        "torture",
        "bench assign",
        "bench bus",
        "bench scale",
        "rtt qemu",
        "ivshmem serve -S /tmp/doorbell-cli-none",
    ] {
        doorbell(command).fails(&["open /nonexistent", "modprobe"]);
    }
}

#[test]
fn missing_context_has_advice() {
    for command in [
        "ring 1",
        "mask 1",
        "unmask 1",
        "clear 1",
        "ack 1",
        "raise 1",
        "lower 1",
        "bus list",
        "bus assign 1 --line 1",
        "bus deassign 1",
        "bus write 1 1",
        "bus records",
        "bus values",
    ] {
        doorbell(command).fails(&["no context", "--socket", "--fd"]);
    }
}

#[test]
fn descriptor_and_socket_that_are_not_there_are_explained() {
    doorbell("ring 1 --fd 1000").fails(&["descriptor 1000", "close-on-exec"]);
    doorbell("ring 1 --socket /nonexistent").fails(&["/nonexistent", "doorbell watch --socket"]);
    doorbell("ivshmem peers --socket /nonexistent").fails(&["/nonexistent"]);
}

#[test]
fn rtt_measures_rows_that_need_no_module() {
    let run = doorbell("rtt --duration 1s --rounds 2 --csv").exits(0);
    run.says(&["not measured: doorbell", "modprobe"]);
    assert!(!run.stdout.contains("doorbell"), "{}", run.stdout);
    assert!(run.stdout.contains("futex"), "{}", run.stdout);
    let json = doorbell("rtt threads --duration 100ms --rounds 1 --json --filter one-thread");
    let value: serde_json::Value = serde_json::from_str(&json.succeeds()).unwrap();
    assert_eq!(value["rows"][0]["name"], "eventfd");
}

#[test]
fn rtt_refuses_rows_that_need_the_module() {
    doorbell("rtt --filter irqfd").fails(&["--filter irqfd: open", "modprobe"]);
    doorbell("rtt --duration 1s --lines 5").fails(&["--lines and --fill need the module"]);
    doorbell("rtt --duration 1s --fill").fails(&["--lines and --fill need the module"]);
}

#[test]
fn closed_output_does_not_change_the_verdict() {
    let dir = scratch("closed");
    let row = "rtt --duration 100ms --rounds 20 --filter one-thread";
    let json = doorbell(&format!("{row} --json")).succeeds();
    let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (a, b) = (dir.join("a"), dir.join("b"));
    fs::write(&a, &json).unwrap();
    slow_down(&mut value["rows"]);
    fs::write(&b, value.to_string()).unwrap();
    let diff = |a: &Path, b: &Path| format!("diff {} {}", a.display(), b.display());
    doorbell(&diff(&a, &b)).exits(1);
    assert_eq!(status_without_reader(&diff(&a, &b)), Some(1));
    assert_eq!(status_without_reader(&diff(&a, &a)), Some(0));

    doorbell("doctor").fails(&["missing: "]);
    assert_eq!(status_without_reader("doctor"), Some(1));
    assert_eq!(status_without_reader("doctor --json"), Some(1));
    let limit = |limit| status_without_reader(&format!("{row} --limit {limit}"));
    assert_eq!(limit("p50<1ns"), Some(3));
    assert_eq!(limit("p50<1000s"), Some(0));
    fs::remove_dir_all(&dir).unwrap();
}

/// Multiplies all times of the rows of a result by 10.
fn slow_down(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(values) => values.iter_mut().for_each(slow_down),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(slow_down),
        serde_json::Value::Number(number) => {
            let ten_times = number.as_f64().map(|number| 10.0 * number);
            *value = ten_times.into();
        }
        _ => {}
    }
}

#[test]
fn rtt_has_rows_of_peers() {
    let help = doorbell("rtt threads --help").succeeds();
    let run = doorbell("rtt --duration 1s --rounds 1 --json --filter socket --filter signal");
    let json = run.succeeds();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = value["rows"].as_array().unwrap();
    for name in ["socket", "signal"] {
        assert!(help.contains(name), "{name} in {help}");
        assert!(
            rows.iter().any(|row| row["name"] == name),
            "{name} in {json}"
        );
    }
}

#[test]
fn rtt_refuses_impossible_settings() {
    doorbell("rtt --fifo 0").refuses(&["--fifo", "1..=99"]);
    doorbell("rtt threads --fifo 100").refuses(&["--fifo", "1..=99"]);
    doorbell("rtt kvm --fifo high").refuses(&["--fifo"]);
    doorbell("rtt --latency -1").refuses(&["-1"]);
    doorbell("rtt --latency 2147483648").refuses(&["--latency", "0..=2147483647"]);
    doorbell("rtt qemu --fifo 5").refuses(&["'--fifo'"]);
}

#[test]
fn rtt_reports_the_settings_of_the_machine() {
    let json = doorbell("rtt --duration 100ms --rounds 1 --json --filter pipe").succeeds();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let settings = &value["machine"]["settings"];
    assert_eq!(settings["memory_locked"], false, "{json}");
    assert!(settings.get("scheduler").is_some(), "{json}");
}

#[test]
fn rtt_checks_the_place_of_the_picture_first() {
    let start = Instant::now();
    doorbell("rtt --duration 1000s --plot rtt.png").fails(&["--plot", "rtt.svg"]);
    doorbell("rtt kvm --duration 1000s --plot /nonexistent/a.svg").fails(&["--plot", "create"]);
    doorbell("rtt qemu --plot /tmp").fails(&["--plot", "name it"]);
    assert!(start.elapsed() < Duration::from_secs(1000), "not measured");
    let dir = scratch("plot");
    let file = dir.join("rtt.svg");
    let command = format!("rtt --duration 100ms --rounds 1 --plot {}", file.display());
    doorbell(&command).succeeds();
    assert!(fs::read_to_string(&file).unwrap().contains("<svg"));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn rtt_with_one_cpu_says_that_two_cores_are_not_measured() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cpu = allowed.unwrap().trim().split([',', '-']).next().unwrap();
    let on_one = |arguments: &str| {
        let mut command = Command::new("taskset");
        command.args(["-c", cpu, env!("CARGO_BIN_EXE_doorbell")]);
        run(command, arguments)
    };
    on_one("rtt --filter two-cores").fails(&["--filter two-cores", "taskset -c 0,1"]);
    let text = on_one("rtt --duration 100ms --rounds 1 --filter futex").succeeds();
    assert!(text.contains("two cores: not measured"), "{text}");
}

/// Measures one group, quickly, with the further arguments `more`.
fn measure(more: &str) -> Run {
    doorbell(&format!(
        "rtt --duration 400ms --rounds 10 --filter same-core {more}"
    ))
}

#[test]
fn rtt_with_a_limit_is_a_test() {
    // An hour: no row breaks it. A nanosecond: each does.
    measure("--limit max<3600s --limit eventfd.p50<3600s").exits(0);
    let run = measure("--limit max<3600s --limit futex.p50<1ns --json").exits(3);
    run.says(&["limit futex.p50<1ns does not hold: same-core futex: p50 is"]);
    assert!(!run.stderr.contains("pipe"), "{}", run.stderr);
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(value["limits"][0]["holds"], true);
    assert_eq!(value["limits"][1]["holds"], false);
    assert_eq!(value["limits"][1]["broken_by"][0]["name"], "futex");
    // Rows that were left out keep no limit.
    measure("--limit irqfd.p99<3600s").fails(&["--limit irqfd.p99<3600s", "no row"]);
}

#[test]
fn results_are_compared() {
    let dir = scratch("diff");
    let path = |name: &str| dir.join(name).display().to_string();
    let save = |name: &str, value: &serde_json::Value| {
        fs::write(dir.join(name), value.to_string()).unwrap();
    };
    let text = measure("--json").succeeds();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(text.lines().count() < 1000, "histograms take one line each");
    save("a", &value);
    let diff = |more: &str| doorbell(&format!("diff {} {}{more}", path("a"), path("b")));
    save("b", &value);
    let text = diff("").succeeds();
    assert!(text.contains("same") && !text.contains("worse "), "{text}");
    assert!(widest(&text) <= 80, "{text}");
    // A thousand times as slow is worse on any machine.
    for row in value["rows"].as_array_mut().unwrap() {
        if row["name"] == "pipe" {
            for round in row["rounds_ns"]["rtt"].as_array_mut().unwrap() {
                *round = (1000.0 * round.as_f64().unwrap()).into();
            }
        }
    }
    save("b", &value);
    let run = diff(" --json").exits(1);
    run.says(&["worse: same-core pipe: rtt"]);
    assert!(!run.stderr.contains("futex"), "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["verdict"], "worse");
    diff(" --threshold 1000%").exits(1);
    let back = doorbell(&format!("diff {} {} --json", path("b"), path("a"))).succeeds();
    assert!(back.contains("\n  \"verdict\": \"better\""), "{back}");
    // Results of other machines are compared by force only.
    value["machine"]["cpu"] = "Abacus".into();
    save("b", &value);
    diff("").refuses(&["CPU: ", "/ Abacus", "--force"]);
    let run = diff(" --force").exits(1);
    assert!(run.stdout.contains("/ Abacus"), "{}", run.stdout);
    doorbell(&format!("diff {} /nonexistent", path("a"))).refuses(&["read /nonexistent"]);
    save("b", &"a text".into());
    diff("").refuses(&[path("b").as_str(), "doorbell rtt --json"]);
    fs::remove_dir_all(dir).unwrap();
}

/// Returns the CPU time of a process and its threads, in ticks of the kernel's clock.
fn cpu_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let number = |text: &str| text.parse::<u64>().unwrap();
    fields.split_whitespace().skip(11).take(2).map(number).sum()
}

#[test]
fn interrupted_measurement_prints_what_it_has() {
    // What this process ignores, its children would ignore, too.
    let default = "--default-signal=INT,TERM";
    for (disposition, signals, status) in [
        (default, &[Signal::INT][..], 130),
        (default, &[Signal::TERM], 143),
        // As by nohup(1).
        ("--ignore-signal=HUP", &[Signal::HUP, Signal::TERM], 143),
    ] {
        // Each row has turns of 2 ms. After a second of CPU time there are many.
        let arguments = "rtt --duration 1000s --rounds 100000 --filter same-core --json";
        let child = Command::new("env")
            .args([disposition, env!("CARGO_BIN_EXE_doorbell")])
            .args(arguments.split(' '))
            .env("DOORBELL_DEVICE", "/nonexistent")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while cpu_time(child.id()) < 100 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        for &signal in signals {
            rustix::process::kill_process(pid, signal).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(
            stderr.contains("interrupted: the result is partial"),
            "{stderr}"
        );
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["partial"], true);
        let rounds = value["rounds"].as_u64().unwrap();
        assert!((1..100_000).contains(&rounds), "{rounds}");
        for row in value["rows"].as_array().unwrap() {
            let measured = row["rounds_ns"]["rtt"].as_array().unwrap().len() as u64;
            assert!((rounds..=rounds + 1).contains(&measured), "{rounds}: {row}");
            assert!(row["samples"].as_u64() > Some(0), "{row}");
        }
    }
}

#[test]
fn ivshmem_server_is_ivshmem_serve() {
    let options = |command: &str| {
        let help = doorbell(&format!("{command} --help")).succeeds();
        let (_, options) = help.split_once("Options:").unwrap();
        options.to_owned()
    };
    assert_eq!(options("ivshmem-server"), options("ivshmem serve"));
    let options = options("ivshmem-server");
    // Those of QEMU's ivshmem-server.
    for option in [
        "-S, --socket",
        "-l, --shm-size",
        "-M, --shm-name",
        "-m, --shm-dir",
        "-n, --vectors",
        "-p, --pid-file",
        "-v, --verbose",
    ] {
        assert!(options.contains(option), "{option} in {options}");
    }
    doorbell("ivshmem-server -F -v -S /tmp/doorbell-cli-none").fails(&["open /nonexistent"]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn guest_of_ivshmem_is_written_with_its_command() {
    let dir = scratch("guest");
    let file = dir.join("a.bin");
    let command = format!("ivshmem make-guest {} --rings 1", file.display());
    let text = doorbell(&command).succeeds();
    assert!(text.starts_with("qemu-system-x86_64 "), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().len(), 65536);
    let json = doorbell(&format!("{command} --json")).succeeds();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["command"][0], "qemu-system-x86_64", "{json}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn every_command_has_a_man_page() {
    let dir = scratch("man");
    doorbell(&format!("generate man {}", dir.display())).succeeds();
    let expected: BTreeSet<String> = commands()
        .iter()
        .map(|command| {
            format!(
                "{}.1",
                format!("doorbell {command}").trim().replace(' ', "-")
            )
        })
        .collect();
    assert_eq!(names(&dir), expected);
    for name in expected {
        let page = fs::read_to_string(dir.join(&name)).unwrap();
        for part in [
            ".TH doorbell",
            ".SH NAME",
            ".SH SYNOPSIS",
            ".SH DESCRIPTION",
            ".SH EXAMPLE",
        ] {
            assert!(page.contains(part), "{name} has no {part}");
        }
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn there_are_completions_for_three_shells() {
    let dir = scratch("completions");
    doorbell(&format!("generate completions {}", dir.display())).succeeds();
    let files = ["_doorbell", "doorbell.bash", "doorbell.fish"];
    assert_eq!(names(&dir), files.map(String::from).into());
    for file in files {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        assert!(text.contains("make-guest"), "{file}");
    }
    fs::remove_dir_all(dir).unwrap();
}
