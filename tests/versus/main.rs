//! byproxy beside CPython's `multiprocessing.Manager` and Redis, and beside what the machine itself allows.
//!
//! `cargo bench --bench versus` starts every peer itself, on Unix sockets in a private folder: a server process, and client processes
//! that all speak one little protocol with this harness (`ready`, a line to go, a count and a time). Each row is measured in several
//! rounds, and where calls are counted in four turns of each, in which one side works right after the other: a machine is not equally fast
//! from minute to minute, and a virtual one not from second to second. The median counts, and for a ratio the median of the turns' own.
//! It prints a table with ratios and writes `target/versus/versus.json` and `target/versus/versus.svg`.
//!
//! `-- --quick` takes less than three minutes, `--check` ends with an error if a goal is missed, `--rows a,b` measures only those.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark talks to a terminal, and its children to it"
)]
#![allow(clippy::cast_precision_loss, reason = "counts become rates")]
#![allow(clippy::similar_names, reason = "a side has a size, and a step stops")]

mod bench;
mod chart;
mod client;
mod hosts;
mod limits;
mod options;
mod ours;
mod peers;
mod report;
mod rows;

use options::{Options, Role};
use std::process::ExitCode;

/// Whatever went wrong: the harness only ever shows it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    byproxy::init();
    let done = match options::read(std::env::args().skip(1)) {
        Ok(Role::Harness(options)) => harness(&options),
        Ok(Role::Server { side, address }) => limits::serve(&side, &address).map(|()| true),
        Ok(Role::Client(task)) => client::run(&task).map(|()| true),
        Err(error) => Err(error),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the benchmark; false if goals were to be met and one was not.
fn harness(options: &Options) -> Result<bool> {
    let machine = report::machine();
    println!("{machine}");
    let measured = bench::run(options)?;
    let missed = report::print(&measured);
    report::write(&measured, &machine)?;
    Ok(!options.check || missed.is_empty())
}
