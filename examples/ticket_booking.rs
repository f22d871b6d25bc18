//! Clerks in several processes sell the same tickets.
//!
//! Three times: from a JSON file without a lock, which sells seats twice; from the file under a managed lock, which is right and
//! slow; and from a managed dict with `modify`, which is right and needs neither file nor lock.
//!
//! `cargo run --release --example ticket_booking -- --tickets 200 --clerks 4`

use byproxy::{DictProxy, ListProxy, LockProxy, Manager, Process};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TRAINS: [&str; 4] = [
    "G101 北京南–上海虹桥",
    "D302 成都东–重庆北",
    "IC 2013 Hamburg–Köln",
    "TGV 6104 Marseille–Paris",
];
const CUSTOMERS: [&str; 10] = [
    "王小明",
    "Ada Lovelace",
    "李雷",
    "Grace Hopper",
    "韩梅梅",
    "Edsger Dijkstra",
    "张伟",
    "Barbara Liskov",
    "陈静",
    "Tony Hoare",
];

/// Sells the tickets of several trains from several processes, three ways.
#[derive(Parser)]
struct Options {
    /// Tickets in total, over all trains.
    #[arg(long, default_value_t = 100)]
    tickets: u64,
    /// Clerk processes.
    #[arg(long, default_value = "4")]
    clerks: NonZeroUsize,
}

/// One ticket, as the ledger keeps it.
#[derive(Clone, Serialize, Deserialize)]
struct Sale {
    train: String,
    customer: String,
    clerk: usize,
}

type Seats = BTreeMap<String, u64>;

/// The `n`-th customer of a clerk.
fn customer(clerk: usize, n: usize) -> &'static str {
    CUSTOMERS[(clerk * 3 + n) % CUSTOMERS.len()]
}

/// What a person takes between looking at the seats left and writing them down: 1 to 5 ms.
fn deliberate(clerk: usize, n: usize) {
    std::thread::sleep(Duration::from_millis(1 + (clerk + n) as u64 % 5));
}

fn read_seats(file: &Path) -> Seats {
    serde_json::from_slice(&std::fs::read(file).expect("the seats file is there")).expect("the seats file is JSON")
}

/// Replaces the file in one step, so that a reader sees the old seats or the new ones: what goes wrong below is not a torn file.
fn write_seats(file: &Path, seats: &Seats) {
    let draft = file.with_extension(format!("{}.draft", std::process::id()));
    std::fs::write(&draft, serde_json::to_vec(seats).expect("seats are plain")).expect("the folder is writable");
    std::fs::rename(draft, file).expect("the folder is writable");
}

/// Sells one ticket from the file: looks, deliberates, writes. False when none is left.
fn sell_from_file(file: &Path, ledger: &ListProxy<Sale>, clerk: usize, n: usize) -> byproxy::Result<bool> {
    let mut seats = read_seats(file);
    let Some((train, left)) = seats.iter_mut().find(|(_, left)| **left > 0) else {
        return Ok(false);
    };
    *left -= 1;
    let sale = Sale {
        train: train.clone(),
        customer: customer(clerk, n).into(),
        clerk,
    };
    deliberate(clerk, n);
    write_seats(file, &seats);
    ledger.append(sale)?;
    Ok(true)
}

fn clerk_without_lock(file: PathBuf, ledger: ListProxy<Sale>, clerk: usize) -> byproxy::Result<()> {
    let mut n = 0;
    while sell_from_file(&file, &ledger, clerk, n)? {
        n += 1;
    }
    Ok(())
}

fn clerk_with_lock(file: PathBuf, ledger: ListProxy<Sale>, lock: LockProxy, clerk: usize) -> byproxy::Result<()> {
    for n in 0.. {
        let _guard = lock.acquire()?;
        if !sell_from_file(&file, &ledger, clerk, n)? {
            break;
        }
    }
    Ok(())
}

fn clerk_managed(seats: DictProxy<String, u64>, ledger: ListProxy<Sale>, clerk: usize) -> byproxy::Result<()> {
    let mut n = 0;
    for train in TRAINS {
        // `modify` runs on the newest value and again if somebody was faster: the count and the decision are one step.
        while seats.modify(train, |left| left.checked_sub(1).map(|fewer| *left = fewer).is_some())? {
            ledger.append(Sale {
                train: train.into(),
                customer: customer(clerk, n).into(),
                clerk,
            })?;
            n += 1;
        }
    }
    Ok(())
}

/// Waits for the clerks with a bar of what they sold, and returns the number of tickets in the ledger.
fn watch(clerks: Vec<Process>, ledger: &ListProxy<Sale>, tickets: u64) -> byproxy::Result<u64> {
    let bar = ProgressBar::new(tickets);
    bar.set_style(ProgressStyle::with_template("  {bar:40} {pos}/{len} sold").expect("the template is right"));
    while clerks.iter().any(Process::is_alive) {
        bar.set_position(ledger.len()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    bar.finish_and_clear();
    for clerk in clerks {
        clerk.join()?;
    }
    ledger.len()
}

/// The tickets dealt out over the trains.
fn deal(tickets: u64) -> Seats {
    let mut seats: Seats = TRAINS.map(|train| (train.to_owned(), 0)).into();
    for (train, _) in TRAINS.iter().cycle().zip(0..tickets) {
        *seats.get_mut(*train).expect("every train is there") += 1;
    }
    seats
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    byproxy::init();
    let Options { tickets, clerks } = Options::parse();
    let manager = Manager::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("seats.json");
    println!(
        "{tickets} tickets for {} trains, {clerks} clerk processes\n",
        TRAINS.len()
    );

    println!("1. a JSON file, no lock (each clerk takes 1-5 ms between reading and writing)");
    write_seats(&file, &deal(tickets));
    let ledger = manager.list::<Sale>()?;
    let start = Instant::now();
    let spawned = (0..clerks.get()).map(|i| Process::spawn(clerk_without_lock, (file.clone(), ledger.clone(), i)));
    let booked = watch(spawned.collect::<Result<_, _>>()?, &ledger, tickets)?;
    println!(
        "   booked={booked} of {tickets} oversold={} in {:.0?}\n",
        booked.saturating_sub(tickets),
        start.elapsed()
    );

    println!("2. the same file under a managed lock");
    write_seats(&file, &deal(tickets));
    let ledger = manager.list::<Sale>()?;
    let lock = manager.lock()?;
    let start = Instant::now();
    let spawned =
        (0..clerks.get()).map(|i| Process::spawn(clerk_with_lock, (file.clone(), ledger.clone(), lock.clone(), i)));
    let booked = watch(spawned.collect::<Result<_, _>>()?, &ledger, tickets)?;
    println!(
        "   booked={booked} of {tickets} oversold={} in {:.0?}\n",
        booked.saturating_sub(tickets),
        start.elapsed()
    );

    println!("3. a managed dict with `modify` and a managed list; no file, no lock");
    let seats = manager.dict_from(deal(tickets))?;
    let ledger = manager.list::<Sale>()?;
    let start = Instant::now();
    let spawned = (0..clerks.get()).map(|i| Process::spawn(clerk_managed, (seats.clone(), ledger.clone(), i)));
    let booked = watch(spawned.collect::<Result<_, _>>()?, &ledger, tickets)?;
    let elapsed = start.elapsed();
    let sales = ledger.to_vec()?;
    for sale in sales.iter().step_by((sales.len() / 5) | 1) {
        println!("   {} to {} by clerk {}", sale.train, sale.customer, sale.clerk);
    }
    println!("   … in {elapsed:.0?}");
    println!(
        "booked={booked} of {tickets} oversold={}",
        booked.saturating_sub(tickets)
    );
    Ok(())
}
