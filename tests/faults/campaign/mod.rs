//! The campaign: processes in random roles on the same objects, killed at random instants, round after round, and judged.
//!
//! It is led against a server as it is by default, and against one with several workers, where what one client does and the sweep of
//! another happen at once. Each round has objects of its own on one server that lives for the whole campaign. When a round's victims are all dead, the server's
//! commit record is held against the victims' records ([`judge`]), and then every count of the server must be what it was before the
//! round, exactly.
//!
//! The short form runs with the other tests. The long form, and a repetition of one that failed:
//!
//! ```sh
//! BYPROXY_FAULTS_KILLS=2000 cargo test --release --test faults campaign -- --nocapture
//! BYPROXY_FAULTS_SEED=… cargo test --test faults campaign -- --nocapture
//! ```

mod judge;
mod roles;

use crate::baseline::{Baseline, await_stats};
use crate::dice::Dice;
use crate::status::{Doing, Histogram, Status};
use crate::victim::{Morgue, Victim, victim};
use crate::watchdog::Watchdog;
use byproxy::Manager;
use roles::{ROLES, Role, Stage};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Kills in the short form.
const KILLS: u32 = 540;
/// Kills in one round. The server remembers the last 256 consumers of a queue, and all of a round's must be among them.
const KILLS_PER_ROUND: u32 = 60;
/// Victims alive at the same time.
const CAST: usize = 8;
/// Of the kills, at least so many percent must meet a victim holding, waiting or in a call.
const PERCENT_BUSY_MIN: u32 = 30;

/// A victim with what is known of it.
#[derive(Debug)]
struct Member {
    role: Role,
    number: u64,
    pid: u64,
    victim: Victim,
    record: PathBuf,
}

/// What is left of a victim.
#[derive(Debug)]
struct Dead {
    role: Role,
    number: u64,
    pid: u64,
    status: Status,
    record: Vec<u64>,
}

on_each_transport! {
    fn deaths_under_one_worker(transport) {
        campaign(&transport.start());
    }
}

on_each_transport! {
    fn deaths_under_several_workers(transport) {
        let server = transport.serve(&["--workers", "3"]);
        campaign(&Manager::connect(server.address()).unwrap());
    }
}

fn campaign(manager: &Manager) {
    let watchdog = Watchdog::new();
    let kills = std::env::var("BYPROXY_FAULTS_KILLS")
        .ok()
        .map_or(KILLS, |kills| kills.parse().unwrap());
    let seed = Dice::seed("BYPROXY_FAULTS_SEED");
    println!("campaign: seed {seed}");
    let mut dice = Dice::from_seed(seed);
    let mut histogram = Histogram::default();
    let mut totals = judge::Totals::default();
    let start = Instant::now();
    while histogram.total() < kills {
        let baseline = Baseline::of(manager);
        round(manager, &mut dice, &mut histogram, &mut totals);
        baseline.await_return();
        watchdog.progress();
    }
    println!("campaign: {histogram}, in {:.1?}", start.elapsed());
    println!("campaign: {totals}");
    assert!(
        histogram.percent_busy() >= PERCENT_BUSY_MIN,
        "the kills landed in idle processes: {histogram}"
    );
    assert!(
        totals.returned > 0 && totals.abandoned > 0,
        "no kill landed where it hurts: {totals}"
    );
}

/// One cast on one stage, until so many of it are dead; then the rest dies at once, and the judge comes.
fn round(manager: &Manager, dice: &mut Dice, histogram: &mut Histogram, totals: &mut judge::Totals) {
    let morgue = Morgue::new();
    let stage = Stage::set(manager, morgue.file()).unwrap();
    let sessions = manager.stats().unwrap().sessions;
    let mut numbers = 1..;
    let mut start = |dice: &mut Dice| {
        let role = ROLES[usize::try_from(dice.below(ROLES.len() as u64)).unwrap()];
        let (number, record) = (numbers.next().unwrap(), morgue.file());
        let victim = victim!(morgue, roles::act, role, number, stage.clone(), record.clone());
        let pid = victim.pid().as_raw_nonzero().get().try_into().unwrap();
        Member {
            role,
            number,
            pid,
            victim,
            record,
        }
    };

    let end = AtomicBool::new(false);
    let mut dead = Vec::new();
    let fed = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| roles::feed(&stage, &end));
        let ending = SetOnDrop(&end);
        let mut cast: Vec<Member> = std::iter::repeat_with(|| start(dice)).take(CAST).collect();
        while dead.len() + CAST < KILLS_PER_ROUND as usize {
            // The random instant. Only now and then a victim that has not begun yet.
            std::thread::sleep(dice.time_below(Duration::from_millis(4)));
            let chosen = usize::try_from(dice.below(CAST as u64)).unwrap();
            if cast[chosen].victim.status().doing != Doing::Starting || dice.below(20) == 0 {
                let killed = std::mem::replace(&mut cast[chosen], start(dice));
                killed.victim.strike();
                dead.push(killed.bury());
            }
        }
        while cast
            .iter()
            .any(|member| member.victim.status().doing == Doing::Starting)
        {
            std::thread::sleep(Duration::from_micros(500));
        }
        for member in &cast {
            member.victim.strike();
        }
        dead.extend(cast.into_iter().map(Member::bury));
        drop(ending);
        feeder.join().unwrap()
    });
    for dead in &dead {
        histogram.add(dead.status.doing);
    }
    await_stats(manager, &format!("at {sessions} sessions"), |counts| {
        counts.sessions == sessions
    });
    judge::judge(&stage, &dead, fed, totals);
}

/// Ends the producer that lives, also when the test fails and the scope would wait for it for ever.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Member {
    /// Waits for its end and reads what it left.
    fn bury(self) -> Dead {
        let status = self.victim.kill();
        Dead {
            role: self.role,
            number: self.number,
            pid: self.pid,
            status,
            record: crate::record::read(&self.record),
        }
    }
}
