// SPDX-License-Identifier: GPL-2.0-only

//! Bars of a guest's writes, beside those of 2009: the chart of the first doorbell.

use super::{CAPTION, LEGEND, TEXT, WIDTH};
use crate::rtt::{
    baseline_2009::{baseline, Baseline},
    Group, Report,
};
use plotters::{coord::Shift, prelude::*};

const NOW: RGBColor = RGBColor(0, 114, 178);
const MEASURED: RGBColor = RGBColor(120, 120, 120);
const EXTRAPOLATED: RGBColor = RGBColor(200, 200, 200);
/// The width of a bar, as a share of the width of its row.
const BAR: f64 = 0.36;

/// A row: its name, its time today in µs, and its figures of 2009.
pub(crate) type Bars = (&'static str, f64, Option<Baseline>);

/// Returns the rows that have bars. Without a guest there are none.
pub(crate) fn rows(report: &Report) -> Vec<Bars> {
    let rows = report
        .rows
        .iter()
        .filter(|row| matches!(row.group, Group::KvmWrite | Group::QemuWrite));
    rows.map(|row| (row.name, row.ns / 1e3, baseline(row.group, row.name)))
        .collect()
}

pub(super) fn draw<DB>(area: &DrawingArea<DB, Shift>, rows: &[Bars]) -> anyhow::Result<()>
where
    DB: DrawingBackend,
    DB::ErrorType: 'static,
{
    let took = |&(_, now, then): &Bars| then.map_or(now, |then| now.max(then.us));
    let high = rows.iter().map(took).fold(0.0, f64::max);
    let (area, legend) = area.split_horizontally(WIDTH - LEGEND);
    let mut chart = ChartBuilder::on(&area)
        .caption("a guest writes: round-trip time", ("sans-serif", CAPTION))
        .margin(12)
        .margin_right(30)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..rows.len() as f64, 0.0..high * 1.12)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .label_style(("sans-serif", TEXT))
        .y_desc("microseconds, lower is better")
        .light_line_style(TRANSPARENT)
        .draw()?;
    let mut bar = |from: f64, us: f64, color: RGBColor, mark: &str| -> anyhow::Result<()> {
        let corners = [(from, 0.0), (from + BAR, us)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
        let (x, y) = chart.backend_coord(&(from + BAR / 2.0, us));
        let text = format!("{}{mark}", crate::output::us(us * 1e3));
        centered(&area, &text, (x, y - 18))?;
        Ok(())
    };
    for (at, &(_, now, then)) in rows.iter().enumerate() {
        let middle = at as f64 + 0.5;
        bar(middle - BAR, now, NOW, "")?;
        match then {
            Some(then) if then.extrapolated => bar(middle, then.us, EXTRAPOLATED, "*")?,
            Some(then) => bar(middle, then.us, MEASURED, "")?,
            None => {}
        }
    }
    for (at, (name, ..)) in rows.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(at as f64 + 0.5, 0.0));
        centered(&area, name, (x, y + 8))?;
    }
    let text = ("sans-serif", TEXT).into_text_style(&legend);
    let has = |extrapolated| {
        let of_2009 = |&(.., then): &Bars| then.is_some_and(|t| t.extrapolated == extrapolated);
        rows.iter().any(of_2009)
    };
    let colors = [
        (NOW, "here", true),
        (MEASURED, "2009", has(false)),
        (EXTRAPOLATED, "2009, extrapolated*", has(true)),
    ];
    let colors = colors.into_iter().filter(|&(.., used)| used);
    for (y, (color, what, _)) in (44..).step_by(24).zip(colors) {
        legend.draw(&Rectangle::new([(0, y), (16, y + 16)], color.filled()))?;
        legend.draw_text(what, &text, (22, y))?;
    }
    Ok(())
}

/// Draws text whose upper edge has its center at `at` of the whole picture.
fn centered<DB>(area: &DrawingArea<DB, Shift>, text: &str, at: (i32, i32)) -> anyhow::Result<()>
where
    DB: DrawingBackend,
    DB::ErrorType: 'static,
{
    use plotters::style::text_anchor::{HPos, Pos, VPos};

    // A smaller size: the names of rows are long, and stand side by side.
    let style = ("sans-serif", TEXT - 3).into_text_style(area);
    let style = style.pos(Pos::new(HPos::Center, VPos::Top));
    let (x, y) = area.get_base_pixel();
    area.draw_text(text, &style, (at.0 - x, at.1 - y))?;
    Ok(())
}
