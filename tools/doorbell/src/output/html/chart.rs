// SPDX-License-Identifier: GPL-2.0-only

//! Charts of the page. They fit any width: curves are SVG that stretches, and labels are HTML of
//! constant size.

use crate::{
    output::us,
    plot::{self, Style, NINES, TICKS},
    rtt::{Group, Report, Row},
};
use maud::{html, Markup};
use std::fmt::Write;

/// The side of the square in which curves are drawn before they are stretched.
const SIDE: f64 = 1000.0;
/// The maximum number of labels of the y axis.
const MOST_LABELS: usize = 7;

/// Returns the curves of one group; none if the group has none.
pub(super) fn curves(report: &Report, group: Group) -> Option<Markup> {
    let (_, rows) = plot::groups(report)
        .into_iter()
        .find(|&(g, _)| g == group)?;
    let axis = LogAxis::of(&rows);
    let labels = axis.labels();
    let mut grid = String::new();
    for at in labels.iter().map(|&us| SIDE * (1.0 - axis.share(us))) {
        let _ = write!(grid, "M0 {at:.1}H{SIDE}");
    }
    for (at, _) in TICKS {
        let _ = write!(grid, "M{:.1} 0V{SIDE}", SIDE * at / NINES);
    }
    Some(html! {
        figure.chart {
            figcaption {
                b { (group.name()) }
                " round-trip time, lower is better"
            }
            div.frame role="img" aria-label=(description(group, &rows)) {
                svg viewBox=(format!("0 0 {SIDE} {SIDE}")) preserveAspectRatio="none" {
                    path.grid d=(grid) {}
                    @for row in &rows {
                        @let style = plot::style(row.name);
                        polyline class=(classes(style)) points=(points(row, &axis)) {}
                    }
                }
                @for &us in &labels {
                    span.y style=(format!("bottom:{:.2}%", 100.0 * axis.share(us))) {
                        (with_unit(us))
                    }
                }
                @for (nr, (at, text)) in TICKS.into_iter().enumerate() {
                    // p50 is close to the minimum: it is left out if there is little room.
                    span.x.minor[nr == 1] style=(format!("left:{:.2}%", 100.0 * at / NINES)) {
                        (text)
                    }
                }
            }
            p.axis { "percentile: the share of round trips that took no longer" }
            ul.legend {
                @for row in &rows {
                    li {
                        svg viewBox="0 0 26 6" {
                            path class=(classes(plot::style(row.name))) d="M0 3H26" {}
                        }
                        (row.name)
                    }
                }
            }
        }
    })
}

/// Formats a label of the time axis.
fn with_unit(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}

fn classes(style: Style) -> String {
    let mut classes = format!("c{}", style.color);
    for (name, is) in [("dashed", style.dashed), ("bold", style.bold)] {
        if is {
            classes += " ";
            classes += name;
        }
    }
    classes
}

/// Describes the curves for readers who do not see them.
fn description(group: Group, rows: &[&Row]) -> String {
    let medians: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{} {}",
                row.name,
                us(row.histogram.value_at_quantile(0.5) as f64)
            )
        })
        .collect();
    format!("{}, medians in µs: {}", group.name(), medians.join(", "))
}

fn points(row: &Row, axis: &LogAxis) -> String {
    let mut points = String::new();
    let mut last = None;
    for (nines, us) in plot::curve(row) {
        let (x, y) = (SIDE * nines / NINES, SIDE * (1.0 - axis.share(us)));
        let point = format!("{x:.0},{y:.1} ");
        // Most of a curve is flat.
        if last.as_ref() != Some(&point) {
            points += &point;
        }
        last = Some(point);
    }
    points
}

/// A logarithmic axis, in µs.
struct LogAxis {
    low: f64,
    high: f64,
}

impl LogAxis {
    /// Returns an axis from the fastest round trip to the slowest one.
    fn of(rows: &[&Row]) -> Self {
        let low = rows.iter().map(|row| row.histogram.min()).min();
        let high = rows.iter().map(|row| row.histogram.max()).max();
        let us_of = |ns: Option<u64>| ns.unwrap_or(1).max(1) as f64 / 1000.0;
        Self {
            low: us_of(low) * 0.8,
            high: us_of(high) * 1.25,
        }
    }

    /// Returns the place of a value: 0 is the lower end, 1 the upper one.
    fn share(&self, us: f64) -> f64 {
        (us / self.low).log10() / (self.high / self.low).log10()
    }

    /// Returns the values that are labelled: as many round ones as there is room for.
    fn labels(&self) -> Vec<f64> {
        let all = |steps: &[f64], every: usize| -> Vec<f64> {
            (-3..8)
                .step_by(every)
                .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
                // 10^-3 times 5 is not 0.005.
                .map(|us| (us * 1e6).round() / 1e6)
                .filter(|&us| us >= self.low && us <= self.high)
                .collect()
        };
        let sets = [
            all(&[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0], 1),
            all(&[1.0, 2.0, 5.0], 1),
            all(&[1.0, 3.0], 1),
            all(&[1.0], 1),
        ];
        let fits = sets.into_iter().find(|set| set.len() <= MOST_LABELS);
        fits.unwrap_or_else(|| all(&[1.0], 2))
    }
}

/// Returns bars of a guest's writes, beside those of 2009; none if there was no guest.
pub(super) fn bars(report: &Report) -> Option<Markup> {
    let rows = plot::bars::rows(report);
    if rows.is_empty() {
        return None;
    }
    let longest = |&(_, now, then): &plot::bars::Bars| then.map_or(now, |then| now.max(then.us));
    let high = rows.iter().map(longest).fold(0.0, f64::max);
    let has = |extrapolated| {
        rows.iter()
            .any(|(.., then)| then.is_some_and(|then| then.extrapolated == extrapolated))
    };
    let width = |us: f64| format!("width:{:.1}%", 100.0 * us / high);
    Some(html! {
        figure.chart {
            figcaption {
                b { "a guest writes" }
                " round-trip time in µs, lower is better"
            }
            div.bars {
                @for (name, now, then) in &rows {
                    span { (name) }
                    div {
                        div { i.now style=(width(*now)) {} (us(now * 1e3)) }
                        @if let Some(then) = then {
                            @let class = if then.extrapolated { "extrapolated" } else { "measured" };
                            div {
                                i class=(class) style=(width(then.us)) {}
                                (us(then.us * 1e3))
                                @if then.extrapolated { "*" }
                            }
                        }
                    }
                }
            }
            ul.legend {
                li { i.now {} "here" }
                @if has(false) { li { i.measured {} "2009" } }
                @if has(true) { li { i.extrapolated {} "2009, extrapolated*" } }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{kvm, qemu, tests as plain};

    #[test]
    fn curves_have_units_a_direction_and_all_labels() {
        let report = plain::report();
        let text = curves(&report, Group::SameCore).unwrap().into_string();
        assert!(text.contains("round-trip time, lower is better"), "{text}");
        assert!(text.contains(">3 µs</span>"), "{text}");
        assert!(
            text.contains("spin (yielding) 3.0"),
            "the description: {text}"
        );
        for (_, tick) in TICKS {
            assert!(text.contains(&format!(">{tick}<")), "{tick} in {text}");
        }
        assert_eq!(text.matches("<polyline").count(), 1);
        assert!(curves(&report, Group::TwoCores).is_none());
    }

    #[test]
    fn curves_stay_in_their_frame() {
        let report = plain::report();
        let rows: Vec<&Row> = report.rows.iter().collect();
        let axis = LogAxis::of(&rows);
        for row in rows {
            for point in points(row, &axis).split_whitespace() {
                let (x, y) = point.split_once(',').unwrap();
                for at in [x, y] {
                    let at: f64 = at.parse().unwrap();
                    assert!((0.0..=SIDE).contains(&at), "{} {point}", row.name);
                }
            }
        }
    }

    #[test]
    fn labels_of_the_axis_are_round_and_few() {
        let labels = |low, high| LogAxis { low, high }.labels();
        assert_eq!(labels(2.0, 4.4), [2.0, 2.5, 3.0, 4.0]);
        assert_eq!(labels(1.5, 60.0), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(labels(0.4, 900.0), [1.0, 3.0, 10.0, 30.0, 100.0, 300.0]);
        assert_eq!(labels(0.04, 5e3), [0.1, 1.0, 10.0, 100.0, 1000.0]);
        assert!(labels(0.002, 9e6).len() <= MOST_LABELS);
        let axis = LogAxis {
            low: 1.0,
            high: 100.0,
        };
        assert_eq!([1.0, 10.0, 100.0].map(|us| axis.share(us)), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn labels_have_units() {
        let labels = [0.1, 20.0, 1000.0, 500_000.0, 2e6].map(with_unit);
        assert_eq!(labels, ["0.1 µs", "20 µs", "1 ms", "500 ms", "2 s"]);
    }

    #[test]
    fn guests_have_bars_beside_those_of_2009() {
        assert!(bars(&plain::report()).is_none());
        let mut report = kvm::tests::report();
        let text = bars(&report).unwrap().into_string();
        assert!(
            text.contains("9.09") && text.contains("ioeventfd-mmio"),
            "{text}"
        );
        assert!(!text.contains("extrapolated"), "{text}");
        // The longest bar has the whole width.
        assert!(text.contains("width:100.0%"), "{text}");
        report.rows[0].name = "userspace-pio";
        let text = bars(&report).unwrap().into_string();
        assert!(
            text.contains("6.53*") && text.contains("2009, extrapolated*"),
            "{text}"
        );
    }

    #[test]
    fn batches_are_no_distribution() {
        let report = qemu::tests::report();
        assert!(curves(&report, Group::QemuWrite).is_none());
        let text = curves(&report, Group::QemuCircle).unwrap().into_string();
        assert!(text.contains("circle-qemu-mmio"), "{text}");
    }
}
