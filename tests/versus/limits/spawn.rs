//! The limit of starting a process: a program that does nothing, started and waited for.

use crate::Result;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) fn start() -> Box<dyn FnMut() -> Result<Duration>> {
    Box::new(|| {
        let start = Instant::now();
        let status = Command::new("true").status()?;
        if status.success() {
            Ok(start.elapsed())
        } else {
            Err(format!("`true`: {status}").into())
        }
    })
}
