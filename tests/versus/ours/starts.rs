//! How long it takes until a manager answers, and until a process has run.

use crate::Result;
use crate::client::Work;
use byproxy::{Manager, Process};
use std::time::{Duration, Instant};

/// Starts one, and says how long that took; its end does not count unless waiting for it is the point.
pub(crate) fn start(work: Work) -> Result<Box<dyn FnMut() -> Result<Duration>>> {
    match work {
        Work::ManagerStart => Ok(Box::new(|| {
            let start = Instant::now();
            let manager = Manager::start()?;
            let elapsed = start.elapsed();
            drop(manager);
            Ok(elapsed)
        })),
        Work::ProcessStart => Ok(Box::new(|| {
            let start = Instant::now();
            Process::spawn(nothing, ())?.join()?;
            Ok(start.elapsed())
        })),
        other => Err(format!("{} starts nothing", other.name()).into()),
    }
}

fn nothing() {}
