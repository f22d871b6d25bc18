//! The command line: of the harness, and of the processes it starts, which are this same program in another role.

use crate::Result;
use crate::client::{Side, Task, Work};
use crate::rows::{ROWS, Row};
use std::time::Duration;

/// What this process is.
#[derive(Debug)]
pub(crate) enum Role {
    Harness(Options),
    /// A server of one of the limits.
    Server {
        side: String,
        address: String,
    },
    /// A client of any side that is driven from Rust.
    Client(Task),
}

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rows: Vec<&'static Row>,
    /// How often the sides take turns.
    pub(crate) rounds: usize,
    /// How long one measurement of a rate takes.
    pub(crate) time: Duration,
    /// Whether a missed goal is an error.
    pub(crate) check: bool,
}

const USAGE: &str = "usage: cargo bench --bench versus -- [--quick] [--check] [--rows ID,ID…] [--rounds N]";

pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Role> {
    let mut options = Options {
        rows: ROWS.iter().collect(),
        rounds: 5,
        time: Duration::from_secs(1),
        check: false,
    };
    while let Some(argument) = arguments.next() {
        let mut next = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            // Cargo tells every benchmark that it is one.
            "--bench" => {}
            "--quick" => options.time = Duration::from_millis(200),
            "--check" => options.check = true,
            "--rounds" => options.rounds = next()?.parse().ok().filter(|&rounds| rounds > 0).ok_or(USAGE)?,
            "--rows" => options.rows = select(&next()?)?,
            "@server" => {
                return Ok(Role::Server {
                    side: next()?,
                    address: next()?,
                });
            }
            "@client" => {
                return Ok(Role::Client(Task {
                    side: Side::from_name(&next()?)?,
                    address: next()?,
                    work: Work::from_name(&next()?)?,
                    size: next()?.parse()?,
                    time: Duration::try_from_secs_f64(next()?.parse()?)?,
                }));
            }
            other => return Err(format!("{other}: {USAGE}").into()),
        }
    }
    Ok(Role::Harness(options))
}

fn select(ids: &str) -> Result<Vec<&'static Row>> {
    let row = |id: &str| ROWS.iter().find(|row| row.id == id).ok_or_else(|| unknown(id));
    Ok(ids
        .split(',')
        .map(str::trim)
        .map(row)
        .collect::<std::result::Result<_, _>>()?)
}

fn unknown(id: &str) -> String {
    let known: Vec<_> = ROWS.iter().map(|row| row.id).collect();
    format!("no row is called {id}; there are {}", known.join(" "))
}
