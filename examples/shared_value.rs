//! A value in shared memory: one process writes it, another looks at it whenever it likes, and neither waits for the other.
//!
//! `cargo run --example shared_value`

use std::thread::sleep;
use std::time::Duration;

use byproxy::shm::{RawValue, Value};
use byproxy::{Process, Result};

byproxy::shm_struct! {
    /// Where the train is. It is read whole or not at all.
    #[derive(Debug, PartialEq)]
    struct Position {
        kilometre: f64,
        speed: f64,
    }
}

/// Drives to the terminus in steps of half a kilometre.
fn drive(position: Value<Position>, arrived: RawValue<bool>) {
    for step in 1..=20 {
        let kilometre = f64::from(step) * 0.5;
        position.set(Position {
            kilometre,
            speed: 120.0 - kilometre,
        });
        sleep(Duration::from_millis(5));
    }
    arrived.set(true);
}

fn main() -> Result<()> {
    byproxy::init();
    let position = Value::new(Position {
        kilometre: 0.0,
        speed: 120.0,
    })?;
    let arrived = RawValue::new(false)?;
    let train = Process::spawn(drive, (&position, &arrived))?;

    let mut looks = 0;
    let mut last = 0.0;
    while !arrived.get() {
        let Position { kilometre, speed } = position.get();
        assert!(kilometre >= last, "trains do not go backwards");
        assert!((kilometre + speed - 120.0).abs() < 1e-9, "both are of the same moment");
        if kilometre > last {
            println!("at kilometre {kilometre:>4.1} with {speed:.1} km/h");
        }
        last = kilometre;
        looks += 1;
        sleep(Duration::from_millis(2));
    }
    train.join()?;
    println!(
        "arrived at kilometre {:.1} after {looks} looks",
        position.get().kilometre
    );
    Ok(())
}
