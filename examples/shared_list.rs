//! A list that the parent makes and a child appends to; and a plain variable, which each process has for itself.
//!
//! `cargo run --example shared_list`

use byproxy::{ListProxy, Manager, Process};
use std::sync::atomic::{AtomicU32, Ordering};

static PLAIN: AtomicU32 = AtomicU32::new(0);

fn child(names: ListProxy<String>) -> byproxy::Result<()> {
    names.append("韩梅梅")?;
    names.extend(["Grace", "Alan"])?;
    PLAIN.store(99, Ordering::Relaxed);
    println!(
        "child  {}: names = {names}, plain = {}",
        std::process::id(),
        PLAIN.load(Ordering::Relaxed)
    );
    Ok(())
}

fn main() -> byproxy::Result<()> {
    byproxy::init();
    let manager = Manager::start()?;
    let names = manager.list_from(["李雷"])?;

    println!(
        "parent {}: names = {names}, plain = {}",
        std::process::id(),
        PLAIN.load(Ordering::Relaxed)
    );
    Process::spawn(child, (names.clone(),))?.join()?;
    println!(
        "parent {}: names = {names}, plain = {}",
        std::process::id(),
        PLAIN.load(Ordering::Relaxed)
    );
    Ok(())
}
