// SPDX-License-Identifier: GPL-2.0-only

//! An HTML page with all results. It refers to nothing outside of itself.

mod chart;

use super::{notes, summarize, us, value, Sheet};
use crate::{
    doctor::{Check, Verdict},
    machine::Machine,
    rtt::{baseline_2009::ratios, Group, Report, Source},
};
use maud::{html, Markup, PreEscaped, DOCTYPE};
use serde_json::json;

/// A measurement, or the reason why it is missing.
#[derive(Debug)]
pub struct Part {
    /// The title.
    pub title: &'static str,
    /// The command that makes this measurement alone.
    pub command: &'static str,
    /// The report, or the reason why there is none.
    pub result: Result<Report, String>,
}

/// The content of the page.
#[derive(Debug)]
pub struct Page<'a> {
    /// The machine of the measurements.
    pub machine: &'a Machine,
    /// The time of the measurements, for people.
    pub when: &'a str,
    /// The measurements.
    pub parts: &'a [Part],
    /// The set-up of the machine.
    pub checks: &'a [Check],
}

const STYLE: &str = include_str!("report.css");

/// Returns the page as HTML.
pub fn page(page: &Page<'_>) -> String {
    let Machine {
        cpu,
        cpus,
        kernel,
        accelerator,
        clock_source,
        settings,
    } = page.machine;
    let version = env!("CARGO_PKG_VERSION");
    let mut facts = vec![
        ("CPU", format!("{cpu}, {cpus} in use")),
        ("runs on", accelerator.clone()),
        ("kernel", format!("Linux {kernel}")),
        ("clock", clock_source.clone()),
        ("measured", format!("{}, doorbell {version}", page.when)),
    ];
    if !settings.is_usual() {
        facts.insert(4, ("settings", settings.to_string()));
    }
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Cost of a notification: " (cpu) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Cost of a notification" }
                    dl { @for (what, is) in &facts { dt { (what) } dd { (is) } } }
                }
                main {
                    (tiles(page.parts))
                    @for part in page.parts { (section(part, page.machine)) }
                    (set_up(page.checks))
                }
                footer { "Made by doorbell report. All figures as JSON are in the element #figures." }
                script #figures type="application/json" { (PreEscaped(figures(page))) }
            }
        }
    };
    markup.into_string()
}

/// Returns the most important ratios as tiles.
fn tiles(parts: &[Part]) -> Markup {
    let reports = || parts.iter().filter_map(|part| part.result.as_ref().ok());
    let mut tiles: Vec<(String, f64, String)> = Vec::new();
    for row in reports().flat_map(|report| report.of(Group::OneThread)) {
        if matches!(row.name, "doorbell ioctl" | "doorbell irqfd") && row.ratio.is_finite() {
            let detail = format!("{} µs", us(row.ns));
            tiles.push((format!("{} / eventfd", row.name), row.ratio, detail));
        }
    }
    for ratio in reports().flat_map(|report| ratios(&report.rows)) {
        let detail = match ratio.baseline {
            Some(baseline) => format!("{baseline:.2} in 2009"),
            None if ratio.what.starts_with("circle-userspace") => "thread / kernel".into(),
            None => continue,
        };
        tiles.push((ratio.what, ratio.now, detail));
    }
    html! {
        @if !tiles.is_empty() {
            ul.tiles {
                @for (what, ratio, detail) in &tiles {
                    li { b { (format!("{ratio:.2}")) "×" } span { (what) } small { (detail) } }
                }
            }
        }
    }
}

fn section(part: &Part, machine: &Machine) -> Markup {
    let report = match &part.result {
        Ok(report) => report,
        Err(why) => {
            return html! {
                section {
                    h2 { (part.title) " " code { (part.command) } }
                    p.missing { "Not measured: " (why) }
                }
            }
        }
    };
    let summary = summarize(report, machine);
    html! {
        section {
            h2 { (part.title) " " code { (part.command) } }
            @for line in &summary.about { p { (line) } }
            @if let Some(bars) = chart::bars(report) { (bars) }
            @for sheet in &summary.sheets {
                (table(sheet))
                @if let Some(group) = sheet.group {
                    @if let Some(curves) = chart::curves(report, group) { (curves) }
                }
            }
            @if notes(report).next().is_some() {
                ul.notes { @for note in notes(report) { li { (note) } } }
            }
            p.key { (micro(summary.key.trim())) }
        }
    }
}

fn table(sheet: &Sheet) -> Markup {
    html! {
        div.scroll {
            table.figures {
                thead { tr { @for cell in &sheet.header { th { (micro(cell)) } } } }
                tbody {
                    @for row in &sheet.rows {
                        tr.ours[row[0].contains("doorbell")] {
                            @for cell in row { td { (cell.trim()) } }
                        }
                    }
                }
            }
        }
    }
}

/// Replaces the unit "us", as a word, by "µs".
fn micro(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    let replace = |word: &str| match word.strip_prefix("us") {
        Some(rest) if !rest.starts_with(char::is_alphanumeric) => format!("µs{rest}"),
        _ => word.to_owned(),
    };
    words.map(replace).collect()
}

/// Returns the set-up of the machine: a comparison of figures needs it.
fn set_up(checks: &[Check]) -> Markup {
    html! {
        section {
            h2 { "This machine " code { "doorbell doctor" } }
            div.scroll {
                table.text {
                    tbody {
                        @for check in checks {
                            @let (class, mark) = match check.verdict {
                                Verdict::Good => ("good", "✓"),
                                Verdict::Advice => ("advice", "–"),
                                Verdict::Missing => ("missing", "✗"),
                            };
                            tr {
                                td class=(class) { (mark) }
                                td { (check.what) }
                                td { (check.found) }
                                td { (check.advice.as_deref().unwrap_or_default()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns all figures as JSON. No text in it can end its element.
fn figures(page: &Page<'_>) -> String {
    let parts: Vec<_> = page
        .parts
        .iter()
        .map(|part| match &part.result {
            Ok(report) => {
                let mut value = value(report, page.machine);
                value["command"] = part.command.into();
                value["source"] = match report.source {
                    Source::Threads(_) => "threads",
                    Source::Kvm(_) => "kvm",
                    Source::Qemu(_) => "qemu",
                }
                .into();
                value
            }
            Err(why) => json!({ "command": part.command, "not_measured": why }),
        })
        .collect();
    let value = json!({
        "machine": page.machine,
        "when": page.when,
        "checks": page.checks,
        "parts": parts,
    });
    value.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{kvm, qemu, tests as plain};

    fn made(cpu: &str) -> String {
        let machine = Machine {
            cpu: cpu.into(),
            ..plain::machine()
        };
        let part = |title, result| Part {
            title,
            command: "doorbell rtt",
            result,
        };
        let parts = [
            part("Threads", Ok(plain::report())),
            part("A guest", Ok(kvm::tests::report())),
            part("QEMU", Ok(qemu::tests::report())),
            part("Hardware", Err("there is <none>".into())),
        ];
        let checks = [Check {
            what: "CPU frequency",
            used_for: "steady figures",
            verdict: Verdict::Advice,
            found: "governor powersave".into(),
            advice: Some("cpupower".into()),
        }];
        page(&Page {
            machine: &machine,
            when: "today",
            parts: &parts,
            checks: &checks,
        })
    }

    #[test]
    fn page_has_machine_rows_pictures_and_reasons() {
        let html = made("Abacus");
        for part in [
            "Abacus, 1 in use",
            "bare metal",
            "Linux 7.3",
            "<td>spin (yielding)</td>",
            "<td>110000</td>",
            "<td>circle-qemu-mmio</td>",
            "1.82 in 2009",
            "there is &lt;none&gt;",
            "governor powersave",
            "context of 4 lines",
            "two cores: not measured",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        // Threads have two sets of curves; the VMM has bars and two sets; QEMU has bars and one
        // set.
        assert_eq!(html.matches("class=\"frame\"").count(), 2 + 2 + 1);
        assert_eq!(html.matches("class=\"bars\"").count(), 2);
        let charts = html.matches("<figcaption").count();
        assert_eq!(html.matches("lower is better</figcaption>").count(), charts);
    }

    #[test]
    fn unit_is_replaced_as_a_word_only() {
        assert_eq!(micro("RTT us"), "RTT µs");
        assert_eq!(micro("us"), "µs");
        assert_eq!(
            micro("max, in us: (0.03 us)\nuse, bus"),
            "max, in µs: (0.03 µs)\nuse, bus"
        );
    }

    #[test]
    fn page_has_dark_and_print_styles() {
        let html = made("Abacus");
        // A dark page is not printed dark.
        assert!(html.contains("@media screen and (prefers-color-scheme: dark)"));
        assert!(html.contains("@media print"));
        assert!(html.contains("width=device-width"));
    }

    #[test]
    fn refers_to_nothing_outside() {
        let html = made("Abacus").replace("http://www.w3.org/2000/svg", "");
        for outside in ["http", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn figures_with_any_text_can_be_parsed() {
        let html = made("</script><b>Abacus</b>");
        assert!(!html.contains("<b>Abacus"));
        let from = html.find("type=\"application/json\">").unwrap() + 24;
        let text = &html[from..];
        let text = &text[..text.find("</script>").unwrap()];
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(value["machine"]["cpu"], "</script><b>Abacus</b>");
        assert_eq!(value["parts"][0]["rows"][1]["ratio"], 2.5);
        assert_eq!(value["parts"][2]["qemu"]["version"], "QEMU 0.10");
        assert_eq!(value["parts"][3]["not_measured"], "there is <none>");
    }
}
