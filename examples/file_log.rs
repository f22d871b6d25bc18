//! Ten processes write to one file, a line at a time, under one lock.
//!
//! `cargo run --example file_log`

use byproxy::{LockProxy, Manager, Process};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

fn log(file: PathBuf, lock: LockProxy, writer: u32) -> Result<(), Box<dyn std::error::Error>> {
    for entry in 0..5 {
        let _guard = lock.acquire()?;
        let mut file = OpenOptions::new().append(true).create(true).open(&file)?;
        // Two writes on purpose: without the lock, another's words would come between them.
        write!(file, "writer {writer} ")?;
        writeln!(file, "entry {entry}")?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    byproxy::init();
    let manager = Manager::start()?;
    let lock = manager.lock()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("log.txt");

    let writers: Vec<Process> = (0..10)
        .map(|i| Process::spawn(log, (file.clone(), lock.clone(), i)))
        .collect::<Result<_, _>>()?;
    for writer in writers {
        writer.join()?;
    }

    let text = std::fs::read_to_string(file)?;
    let whole = text.lines().filter(|line| line.split(' ').count() == 4).count();
    println!("{}", text.lines().take(5).collect::<Vec<_>>().join("\n"));
    println!("…\n{whole} of {} lines are whole", text.lines().count());
    Ok(())
}
