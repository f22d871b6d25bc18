//! What the run found: the table with its ratios, the goals, and the file for other programs.

use crate::Result;
use crate::bench::Measured;
use crate::chart;
use crate::rows::{Column, Goal, Unit};
use std::path::{Path, PathBuf};

/// One row as other programs read it.
#[derive(serde::Serialize)]
struct Entry {
    row: &'static str,
    unit: &'static str,
    byproxy: Option<f64>,
    python: Option<f64>,
    redis: Option<f64>,
    limit: Option<f64>,
}

/// The machine in one line; without it no number means anything.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpu.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(": ").nth(1))
            .map(str::trim)
    };
    let mhz: f64 = field("cpu MHz").and_then(|mhz| mhz.parse().ok()).unwrap_or(0.0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = kernel.split('-').next().unwrap_or_default().trim();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{} cores of {} at {:.1} GHz, Linux {release}",
        cores,
        field("model name").unwrap_or("an unknown processor"),
        mhz / 1e3
    )
}

/// Prints the table and returns what was to be reached and was not.
pub(crate) fn print(measured: &[Measured]) -> Vec<String> {
    println!("\n| row | unit | byproxy | Python | Redis | limit | ÷ Python | ÷ Redis | ÷ limit |");
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|");
    for one in measured {
        let cell = |column| {
            one.get(column)
                .map_or_else(|| "–".to_owned(), |value| figure(value, one.row.unit))
        };
        let ratio = |column| {
            one.ratio(column)
                .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let [ours, python, redis, limit] = [Column::Byproxy, Column::Python, Column::Redis, Column::Limit].map(cell);
        let [to_python, to_redis, to_limit] = [Column::Python, Column::Redis, Column::Limit].map(ratio);
        println!(
            "| `{}` | {} | {ours} | {python} | {redis} | {limit} | {to_python} | {to_redis} | {to_limit} |",
            one.row.id,
            one.row.unit.name()
        );
    }
    for one in measured {
        if let (Some(value), Some(ratio)) = (one.get(Column::PingPong), one.ratio(Column::PingPong)) {
            println!(
                "\n{}: a raw blocking ping-pong makes {}, byproxy is {ratio:.2} of that",
                one.row.id,
                figure(value, one.row.unit)
            );
        }
    }
    let missed: Vec<_> = measured.iter().flat_map(|one| missed_goals(one, measured)).collect();
    for goal in &missed {
        println!("missed: {goal}");
    }
    missed
}

/// Writes `target/versus/versus.json` and the chart.
pub(crate) fn write(measured: &[Measured], machine: &str) -> Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let entry = |one: &Measured| Entry {
        row: one.row.id,
        unit: one.row.unit.name(),
        byproxy: one.get(Column::Byproxy),
        python: one.get(Column::Python),
        redis: one.get(Column::Redis),
        limit: one.get(Column::Limit),
    };
    let rows: Vec<_> = measured.iter().map(entry).collect();
    std::fs::write(folder.join("versus.json"), serde_json::to_string_pretty(&rows)?)?;
    chart::draw(measured, machine, &folder.join("versus.svg"))?;
    println!("\nwritten: {}/versus.json and versus.svg", folder.display());
    Ok(())
}

/// The goals of a row that were not reached, and those of which nobody knows: a peer that is missing is no goal reached.
fn missed_goals(one: &Measured, all: &[Measured]) -> Vec<String> {
    one.row.goals.iter().filter_map(|goal| missed(one, goal, all)).collect()
}

fn missed(one: &Measured, goal: &Goal, all: &[Measured]) -> Option<String> {
    let id = one.row.id;
    let unjudged = |what: &str| format!("{id} was not judged: there is no number for {what}");
    let Some(ours) = one.get(Column::Byproxy) else {
        return Some(unjudged("byproxy"));
    };
    let (got, wanted) = match *goal {
        Goal::Of(column, times) => match one.ratio(column) {
            None => return Some(unjudged(&format!("{column:?}"))),
            Some(ratio) if ratio >= times => return None,
            Some(ratio) => (format!("{ratio:.2} × {column:?}"), times.to_string()),
        },
        Goal::OfRow(row, times) => {
            // Rows that nobody asked for can't be compared with.
            let other = all.iter().find(|other| other.row.id == row)?;
            match other.get(Column::Byproxy) {
                None => return Some(unjudged(row)),
                Some(theirs) if ours >= theirs * times => return None,
                Some(theirs) => (format!("{:.2} × {row}", ours / theirs), times.to_string()),
            }
        }
        Goal::Value(most) if ours <= most => return None,
        Goal::Value(most) => (figure(ours, one.row.unit), figure(most, one.row.unit)),
    };
    Some(format!("{id} is {got}, not {wanted}"))
}

/// A number as people read it.
pub(crate) fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond | Unit::Bytes => match value {
            1e6.. => format!("{:.2} M", value / 1e6),
            1e4.. => format!("{:.1} k", value / 1e3),
            _ => format!("{value:.0}"),
        },
        Unit::Nanoseconds | Unit::Count => format!("{value:.0}"),
        Unit::Milliseconds | Unit::Ratio => format!("{value:.2}"),
    }
}

/// `target/versus`, wherever cargo puts its targets: this program lies in `target/release/deps`.
fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program
        .ancestors()
        .nth(3)
        .map_or_else(|| Path::new("target").to_owned(), Path::to_owned);
    target.join("versus")
}
