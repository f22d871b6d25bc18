//! `byproxy ping`, `ls` and `show`: a look into a running server.

use byproxy::{Address, Error, Manager, Result};
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// The server's address, such as `unix:/run/app/app.sock`.
    address: Address,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    #[command(flatten)]
    target: Target,
    /// The object's name; `byproxy ls` lists them.
    name: String,
}

pub(crate) fn ping(target: &Target) -> Result<()> {
    let manager = Manager::connect(&target.address)?;
    let start = Instant::now();
    manager.ping()?;
    print(&format!("{} answers in {:.1?}\n", target.address, start.elapsed()))
}

pub(crate) fn ls(target: &Target) -> Result<()> {
    let names = Manager::connect(&target.address)?.names()?;
    let width = names.iter().map(|(_, kind)| kind.len()).max().unwrap_or(0);
    let mut lines = String::new();
    for (name, kind) in names {
        let _ = writeln!(lines, "{kind:width$}  {}", on_one_line(&name));
    }
    print(&lines)
}

pub(crate) fn show(named: &Named) -> Result<()> {
    let Named { target, name } = named;
    let manager = Manager::connect(&target.address)?;
    let contents = manager.show(name).map_err(|error| match error {
        Error::NoSuchObject(_) => Error::NoSuchObject(format!(
            "none has the name `{name}`; `byproxy ls {}` lists those that there are",
            target.address
        )),
        other => other,
    })?;
    print(&format!("{contents}\n"))
}

/// A name may have any characters, and those that move the cursor or end the line are not for a terminal.
fn on_one_line(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Prints to standard output. A reader that left, as `head` does, has seen enough.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => Err(Error::Io {
            context: "can't print",
            source,
        }),
        _ => Ok(()),
    }
}
