//! An array in shared memory: several processes fill parts of it, and one sums it up; under its lock, many elements change as one.
//!
//! `cargo run --example shared_array`

use byproxy::shm::Array;
use byproxy::{Process, Result};

const WORKERS: i64 = 4;
const LENGTH: i64 = 1000;

/// Fills every fourth place with its square.
fn fill(squares: Array<u64>, first: i64) -> Result<()> {
    for index in (first..LENGTH).step_by(4) {
        squares.set(index, index.unsigned_abs().pow(2))?;
    }
    Ok(())
}

/// Moves money from one account to the other and back. Nobody sees it on the way who takes the lock, too.
fn transfer(accounts: Array<i64>) -> Result<()> {
    for round in 0..1000 {
        let guard = accounts.lock();
        let amount = round % 7;
        guard.set(0, guard.get(0)? - amount)?;
        guard.set(-1, guard.get(-1)? + amount)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    byproxy::init();
    let squares = Array::filled(0_u64, 1000)?;
    let workers: Vec<Process> = (0..WORKERS)
        .map(|first| Process::spawn(fill, (&squares, first)))
        .collect::<Result<_, _>>()?;
    for worker in &workers {
        worker.join()?;
    }
    let sum: u64 = squares.to_vec().iter().sum();
    println!("the squares below {LENGTH} add up to {sum}");

    let accounts = Array::new(&[10_000_i64, 10_000])?;
    let clerks = [
        Process::spawn(transfer, (&accounts,))?,
        Process::spawn(transfer, (&accounts,))?,
    ];
    while clerks.iter().any(Process::is_alive) {
        let total: i64 = accounts.lock().to_vec().iter().sum();
        assert_eq!(total, 20_000, "no money is on the way under the lock");
    }
    for clerk in &clerks {
        clerk.join()?;
    }
    println!("the accounts hold {:?}, and always 20000 together", accounts.to_vec());
    Ok(())
}
