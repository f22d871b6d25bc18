//! The chart: one bar per side and row of calls per second, on a logarithmic scale.

use crate::Result;
use crate::bench::Measured;
use crate::report::figure;
use crate::rows::{Column, Unit};
use plotters::prelude::*;
use std::path::Path;

const COLUMNS: [(Column, &str, RGBColor); 4] = [
    (Column::Byproxy, "byproxy", RGBColor(0xc2, 0x41, 0x0c)),
    (Column::Python, "CPython", RGBColor(0x3b, 0x76, 0xad)),
    (Column::Redis, "Redis", RGBColor(0x8a, 0x8f, 0x98)),
    (Column::Limit, "limit", RGBColor(0xd5, 0xd9, 0xde)),
];
const BAR: i32 = 13;
const GAP: i32 = 14;
const LEFT: i32 = 150;
const WIDTH: i32 = 900;
const TOP: i32 = 64;
const RIGHT: i32 = 80;

/// Draws the rows that count operations per second.
pub(crate) fn draw(measured: &[Measured], machine: &str, path: &Path) -> Result<()> {
    let rates: Vec<_> = measured
        .iter()
        .filter(|one| one.row.unit == Unit::PerSecond && !one.turns.is_empty())
        .collect();
    let bars: i32 = rates.iter().map(|one| bars(one) * BAR + GAP).sum();
    let area = SVGBackend::new(path, (size(WIDTH), size(TOP + bars + GAP))).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size: f64| TextStyle::from(("sans-serif", size).into_font());
    area.draw(&Text::new(
        "operations per second, on a logarithmic scale",
        (GAP, 12),
        text(16.0),
    ))?;
    area.draw(&Text::new(machine.to_owned(), (GAP, 36), text(12.0)))?;
    for (at, (_, name, color)) in (0..).zip(COLUMNS) {
        let x = WIDTH - 360 + at * 90;
        area.draw(&Rectangle::new([(x, 14), (x + 12, 26)], color.filled()))?;
        area.draw(&Text::new(name, (x + 18, 13), text(13.0)))?;
    }
    let highest = rates
        .iter()
        .flat_map(|one| COLUMNS.iter().filter_map(|(column, ..)| one.get(*column)))
        .fold(1e4, f64::max);
    let mut y = TOP;
    for one in rates {
        let middle = y + bars_middle(one);
        area.draw(&Text::new(one.row.id, (GAP, middle), text(13.0)))?;
        for (column, _, color) in COLUMNS {
            let Some(value) = one.get(column) else { continue };
            let end = LEFT + length(value, highest);
            area.draw(&Rectangle::new([(LEFT, y), (end, y + BAR - 2)], color.filled()))?;
            area.draw(&Text::new(figure(value, one.row.unit), (end + 5, y), text(11.0)))?;
            y += BAR;
        }
        y += GAP;
    }
    area.present()?;
    Ok(())
}

fn bars(one: &Measured) -> i32 {
    (0..)
        .zip(COLUMNS)
        .filter(|(_, (column, ..))| one.get(*column).is_some())
        .count()
        .try_into()
        .unwrap_or(0)
}

fn bars_middle(one: &Measured) -> i32 {
    (bars(one) * BAR - BAR) / 2 - 1
}

/// A thousand per second is the left edge.
fn length(value: f64, highest: f64) -> i32 {
    let share = (value / 1e3).max(1.0).log10() / (highest / 1e3).log10();
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred pixels")]
    let pixels = (share * f64::from(WIDTH - LEFT - RIGHT)) as i32;
    pixels.max(1)
}

fn size(pixels: i32) -> u32 {
    pixels.unsigned_abs()
}
