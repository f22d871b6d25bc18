//! Two programs that know nothing of each other but an address and a name.
//!
//! In three terminals:
//! `byproxy serve --listen unix:/tmp/demo/app.sock`,
//! `cargo run --example connect -- unix:/tmp/demo/app.sock Ada 3`, and the same with another name.
//! Without arguments it starts the server and plays both programs itself.

use byproxy::{Manager, Process};

/// One of the programs: adds to the named dict what it has to say.
fn program(address: String, name: String, points: u32) -> byproxy::Result<()> {
    let manager = Manager::connect(&address)?;
    let scores = manager.dict_named::<String, u32>("scores")?;
    scores.fetch_add_from(&name, 0, points)?;
    println!("{name}: scores = {scores}");
    Ok(())
}

fn main() -> byproxy::Result<()> {
    byproxy::init();
    let mut arguments = std::env::args().skip(1);
    if let (Some(address), Some(name), points) = (arguments.next(), arguments.next(), arguments.next()) {
        return program(
            address,
            name,
            points.and_then(|points| points.parse().ok()).unwrap_or(1),
        );
    }
    let manager = Manager::start()?;
    let address = manager.address().expect("a started server has an address").to_string();
    for (name, points) in [("Ada", 3), ("小明", 5), ("Ada", 4)] {
        Process::spawn(program, (address.clone(), name.to_owned(), points))?.join()?;
    }
    Ok(())
}
