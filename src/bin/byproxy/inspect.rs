//! `byproxy ping`, `ls` and `show`: a look into a running server.

use byproxy::{Address, Manager, Result};
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
    println!("{} answers in {:.1?}", target.address, start.elapsed());
    Ok(())
}

pub(crate) fn ls(target: &Target) -> Result<()> {
    let names = Manager::connect(&target.address)?.names()?;
    let width = names.iter().map(|(_, kind)| kind.len()).max().unwrap_or(0);
    for (name, kind) in names {
        println!("{kind:width$}  {name}");
    }
    Ok(())
}

pub(crate) fn show(named: &Named) -> Result<()> {
    let manager = Manager::connect(&named.target.address)?;
    println!("{}", manager.show(&named.name)?);
    Ok(())
}
