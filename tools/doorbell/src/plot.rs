// SPDX-License-Identifier: GPL-2.0-only

//! Plots of the distributions.

pub(crate) mod bars;

use crate::{
    machine::Machine,
    rtt::{Group, Report, Row},
};
use anyhow::{ensure, Context as _};
use plotters::{
    coord::{
        ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter},
        Shift,
    },
    element::DashedPathElement,
    prelude::*,
};
use std::{
    fs::{self, File},
    ops::Range,
    path::Path,
};

const WIDTH: u32 = 1000;
const PANEL: u32 = 400;
const TITLE: u32 = 64;
const LEGEND: u32 = 200;
/// Sizes of text.
const CAPTION: u32 = 19;
const TEXT: u32 = 16;
/// The end of the x axis. 0 is the minimum, 1 is p90, 2 is p99, and so on.
pub(crate) const NINES: f64 = 5.0;
/// The labels of the x axis.
pub(crate) const TICKS: [(f64, &str); 7] = [
    (0.0, "min"),
    (std::f64::consts::LOG10_2, "p50"),
    (1.0, "p90"),
    (2.0, "p99"),
    (3.0, "p99.9"),
    (4.0, "p99.99"),
    (5.0, "p99.999"),
];

/// The x axis: the number of nines of a percentile.
struct Nines;

impl Ranged for Nines {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * value / NINES).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        TICKS.map(|(at, _)| at).to_vec()
    }

    fn range(&self) -> Range<f64> {
        0.0..NINES
    }
}

impl ValueFormatter<f64> for Nines {
    fn format(value: &f64) -> String {
        let tick = TICKS.iter().find(|(at, _)| at == value);
        tick.map_or(String::new(), |(_, text)| (*text).to_owned())
    }
}

/// The look of a row's curve: the same in every group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Index of the color. The colors are distinguishable by the color-blind.
    pub(crate) color: usize,
    pub(crate) dashed: bool,
    pub(crate) bold: bool,
}

const COLORS: [RGBColor; 9] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(120, 120, 120),
    RGBColor(120, 80, 40),
];

/// Returns the style of a row. Peers are dashed.
pub(crate) fn style(name: &str) -> Style {
    let (color, dashed) = match name {
        "eventfd" => (0, false),
        "doorbell ioctl" => (1, false),
        "doorbell irqfd" => (2, false),
        "doorbell region" => (3, false),
        "doorbell region+line" => (4, false),
        "doorbell batch of 64" => (5, false),
        "doorbell burst of 64" => (6, false),
        "doorbell ring-wait" => (7, false),
        "doorbell wait" => (8, false),
        "doorbell ring+wait" => (8, true),
        "doorbell spinning" => (3, false),
        "doorbell wait+spin" => (4, false),
        "doorbell skipped" => (7, true),
        "futex" => (4, true),
        "pipe" => (6, true),
        "socket" => (3, true),
        "signal" => (5, true),
        "message queue" => (1, true),
        "io_uring eventfd" => (2, true),
        "io_uring msg_ring" => (0, true),
        "userspace-mmio" | "circle-userspace" | "circle-qemu-mmio" | "intx-userspace" => (1, false),
        "userspace-pio" => (5, false),
        "ioeventfd-mmio" | "circle-doorbell" | "circle-ioeventfd-mmio" | "intx-doorbell" => {
            (2, false)
        }
        "ioeventfd-mmio-any" => (4, false),
        "ioeventfd-pio" | "level-doorbell" => (3, false),
        "hypercall" | "circle-direct" => (0, false),
        // spin, either way
        _ => (7, true),
    };
    Style {
        color,
        dashed,
        bold: name.contains("doorbell"),
    }
}

/// Checks that a picture can be written to `path`: a measurement takes long, and would be lost.
///
/// # Errors
///
/// If the name does not end in .svg, or the file cannot be created or written.
pub fn check(path: &Path) -> anyhow::Result<()> {
    let svg = |extension: &std::ffi::OsStr| extension.eq_ignore_ascii_case("svg");
    ensure!(
        path.extension().is_some_and(svg),
        "{}: pictures are SVG; name it {}",
        path.display(),
        path.with_extension("svg").display()
    );
    // An old picture keeps its content until the new one is drawn.
    let existed = path.exists();
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    options
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    if !existed {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Draws a curve per row.
///
/// The rarer a round trip, the more room it gets, as the tail matters most. If there was a guest,
/// bars of its writes stand above the curves.
pub fn draw(report: &Report, machine: &Machine, path: &Path) -> anyhow::Result<()> {
    let groups = groups(report);
    let bars = bars::rows(report);
    let nr_panels = groups.len() as u32 + u32::from(!bars.is_empty());
    let size = (WIDTH, TITLE + PANEL * nr_panels);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (title, panels) = root.split_vertically(TITLE);
    let style = |size: u32| ("sans-serif", size).into_text_style(&title);
    title.draw_text("Round-trip time of a notification", &style(22), (20, 8))?;
    let machine = machine.to_string().replace('\n', ", ");
    title.draw_text(&machine, &style(13), (20, 38))?;
    let (first, rest) = panels.split_vertically(PANEL * u32::from(!bars.is_empty()));
    if !bars.is_empty() {
        bars::draw(&first, &bars)?;
    }
    for (area, (group, rows)) in rest.split_evenly((groups.len(), 1)).iter().zip(groups) {
        panel(area, group, &rows)?;
    }
    root.present()?;
    Ok(())
}

/// Returns the groups and rows that have distributions. Writes of QEMU's guests have none, as they
/// are timed in batches.
pub(crate) fn groups(report: &Report) -> Vec<(Group, Vec<&Row>)> {
    let all = [&Group::ALL[..], &Group::KVM, &[Group::QemuCircle]].concat();
    let rows = |group| -> Vec<&Row> {
        let rows = report.of(group);
        rows.filter(|row| !row.histogram.is_empty()).collect()
    };
    all.into_iter()
        .map(|group| (group, rows(group)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect()
}

fn panel<DB>(area: &DrawingArea<DB, Shift>, group: Group, rows: &[&Row]) -> anyhow::Result<()>
where
    DB: DrawingBackend,
    DB::ErrorType: 'static,
{
    let us_of = |ns: u64| ns.max(1) as f64 / 1000.0;
    let low = rows.iter().map(|row| row.histogram.min()).min();
    let high = rows.iter().map(|row| row.histogram.max()).max();
    let range = us_of(low.unwrap_or(1)) * 0.8..us_of(high.unwrap_or(1)) * 1.5;
    let (area, legend) = area.split_horizontally(WIDTH - LEGEND);
    let mut chart = ChartBuilder::on(&area)
        .caption(group.name(), ("sans-serif", CAPTION))
        .margin(12)
        .margin_right(30)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(Nines, range.log_scale())?;
    chart
        .configure_mesh()
        .x_labels(TICKS.len())
        .label_style(("sans-serif", TEXT))
        .x_desc("round trips that took no longer")
        .y_desc("microseconds, lower is better")
        .y_label_formatter(&|y| {
            if *y < 1.0 {
                format!("{y}")
            } else {
                format!("{y:.0}")
            }
        })
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (at, row) in rows.iter().enumerate() {
        let look = style(row.name);
        let line = COLORS[look.color].stroke_width(if look.bold { 3 } else { 2 });
        let y = 52 + 24 * at as i32;
        let sample = [(0, y), (22, y)];
        if look.dashed {
            chart.draw_series(DashedLineSeries::new(curve(row), 6, 4, line))?;
            legend.draw(&DashedPathElement::new(sample, 6, 4, line))?;
        } else {
            chart.draw_series(LineSeries::new(curve(row), line))?;
            legend.draw(&PathElement::new(sample, line))?;
        }
        let text = ("sans-serif", TEXT).into_text_style(&legend);
        legend.draw_text(row.name, &text, (28, y - 9))?;
    }
    Ok(())
}

/// Returns the distribution of a row, up to its slowest round trip.
pub(crate) fn curve(row: &Row) -> Vec<(f64, f64)> {
    // Beyond this a histogram only repeats its maximum.
    let end = (row.histogram.len() as f64).log10().min(NINES);
    (0..=500)
        .map(|step| {
            let nines = end * f64::from(step) / 500.0;
            let ns = row.histogram.value_at_quantile(1.0 - 10f64.powf(-nines));
            (nines, ns.max(1) as f64 / 1000.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::{machine, report};

    #[test]
    fn picture_names_machine_and_rows() {
        let path = std::env::temp_dir().join(format!("doorbell-plot-{}.svg", std::process::id()));
        draw(&report(), &machine(), &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!svg.contains("2009"), "no guest");
        assert!(svg.contains("spin (yielding)") && svg.contains("Abacus"));
        assert!(svg.matches("<polyline").count() >= 2);
        for (_, tick) in TICKS {
            assert!(svg.contains(tick), "{tick}");
        }
    }

    #[test]
    fn place_of_a_picture_is_checked() {
        let dir = std::env::temp_dir().join(format!("doorbell-check-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("b.svg")).unwrap();
        let check = |name: &str| check(&dir.join(name)).map_err(|error| format!("{error:#}"));
        assert_eq!(check("a.svg"), Ok(()));
        assert!(!dir.join("a.svg").exists(), "only checked");
        std::fs::write(dir.join("a.svg"), "old").unwrap();
        assert_eq!(check("a.svg"), Ok(()));
        for (name, why) in [
            ("a.png", "name it"),
            ("a", "name it"),
            ("b.svg", "create"),
            ("none/a.svg", "No such file"),
        ] {
            let error = check(name).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
        assert_eq!(fs::read(dir.join("a.svg")).unwrap(), b"old");
        assert!(!dir.join("a.png").exists());
        std::fs::remove_dir_all(dir).unwrap();
        // Not even root can create a file there.
        assert!(super::check(Path::new("/proc/a.svg")).is_err());
    }

    #[test]
    fn curve_rises_to_the_slowest_round_trip() {
        let report = report();
        let row = &report.rows[0];
        let curve = curve(row);
        assert!(curve
            .windows(2)
            .all(|w| w[0].0 <= w[1].0 && w[0].1 <= w[1].1));
        let (end, slowest) = *curve.last().unwrap();
        assert!((end - 3.0).abs() < 1e-9, "of 1000 round trips");
        let max = row.histogram.max() as f64 / 1000.0;
        assert!((slowest / max - 1.0).abs() < 0.01, "{slowest} {max}");
    }

    #[test]
    fn whole_picture_has_bars_and_curves() {
        let path = std::env::temp_dir().join(format!("doorbell-bars-{}.svg", std::process::id()));
        draw(&crate::output::kvm::tests::report(), &machine(), &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(svg.contains("9.09") && svg.contains("p99.999"));
        // The bars, and two sets of curves with their legends.
        assert_eq!(svg.matches("#0072B2").count(), 2 + 1 + 2 * 2, "{svg}");
    }

    #[test]
    fn rows_of_a_group_look_different() {
        for group in Group::ALL {
            let names: Vec<&str> = group.row_names().collect();
            for (at, name) in names.iter().enumerate() {
                for other in &names[..at] {
                    let (a, b) = (style(name), style(other));
                    let same = (a.color, a.dashed) == (b.color, b.dashed);
                    assert!(!same, "{name} looks like {other}");
                }
            }
        }
    }
}
