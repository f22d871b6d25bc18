//! Objects made and dropped by the hundred thousand, by processes some of which are killed on the way: the counts come back exactly.
//!
//! `BYPROXY_FAULTS_OBJECTS=1000000` is the long form.

use crate::baseline::Baseline;
use crate::dice::Dice;
use crate::status::{Doing, Histogram, Publisher};
use crate::victim::{Morgue, Victim, victim};
use crate::watchdog::Watchdog;
use byproxy::{DictProxy, ListProxy, Manager};
use std::path::PathBuf;
use std::time::Duration;

const OBJECTS: u64 = 40_000;
const PROCESSES: usize = 3;

/// Makes objects, nests some in the shared list, takes some out of it again, drops them, until so many are made. Publishes how many.
fn churner(status: PathBuf, address: String, nest: ListProxy<DictProxy<u64, u64>>, seed: u64) -> byproxy::Result<()> {
    let (mut publisher, mut dice) = (Publisher::open(&status), Dice::from_seed(seed));
    let manager = Manager::connect(&address)?;
    let mut kept = Vec::new();
    loop {
        publisher.doing_with(Doing::Calling, 0, publisher.number(0) + 1);
        match dice.below(6) {
            0 => kept.push(manager.dict_from([(1, 2)])?),
            1 => nest.append(manager.dict()?)?,
            2 => kept.extend(nest.pop()?),
            3 => drop::<ListProxy<String>>(manager.list_from(["a string that does not fit into a small cell"])?),
            4 => drop(manager.lock()?),
            _ => drop(manager.queue::<u64>(0)?),
        }
        if kept.len() > 50 {
            kept.clear();
        }
    }
}

on_each_transport! {
    fn counts_return_exactly_after_many_objects_and_deaths(transport) {
        let watchdog = Watchdog::new();
        let objects = std::env::var("BYPROXY_FAULTS_OBJECTS")
            .ok()
            .map_or(OBJECTS, |objects| objects.parse().unwrap());
        let seed = Dice::seed("BYPROXY_FAULTS_SEED");
        let mut dice = Dice::from_seed(seed);
        println!("churn: seed {seed}");
        let manager = transport.start();
        let address = manager.address().unwrap().to_string();
        let morgue = Morgue::new();
        let baseline = Baseline::of(&manager);
        let (mut made, mut histogram) = (0, Histogram::default());
        while made < objects {
            let nest = manager.list().unwrap();
            let start = || victim!(morgue, churner, address.clone(), nest.clone(), dice.next());
            let victims: Vec<Victim> = std::iter::repeat_with(start).take(PROCESSES).collect();
            for victim in &victims {
                victim.await_doing(Doing::Calling);
            }
            std::thread::sleep(Duration::from_millis(200) + dice.time_below(Duration::from_millis(100)));
            for victim in &victims {
                let status = victim.kill();
                histogram.add(status.doing);
                made += status.numbers[0];
            }
            drop(nest);
            baseline.await_return();
            watchdog.progress();
        }
        println!("churn: about {made} calls that make or drop objects; {histogram}");
        assert!(histogram.percent_busy() >= 30);
    }
}
