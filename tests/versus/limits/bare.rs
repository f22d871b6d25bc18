//! The limit of a direct object: a load, a store, a lock that is one word and can't sleep, survive or tell.

use crate::Result;
use crate::client::{Task, Work, await_go, report};
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const LAP: u64 = 1000;

static VALUE: AtomicU64 = AtomicU64::new(0);
static LOCK: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs a task in so many threads as it has processes elsewhere: the words go from core to core all the same.
pub(crate) fn run(task: &Task) -> Result<()> {
    await_go()?;
    let start = Instant::now();
    let count = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..task.size).map(|_| scope.spawn(|| laps(task.work))).collect();
        std::thread::sleep(task.time);
        STOP.store(true, Ordering::Relaxed);
        let mut total = 0;
        for thread in threads {
            total += thread.join().map_err(|_| "a thread panicked")??;
        }
        Result::Ok(total)
    })?;
    report(count, start.elapsed());
    Ok(())
}

fn laps(work: Work) -> Result<u64> {
    let mut count = 0;
    while !STOP.load(Ordering::Relaxed) {
        match work {
            Work::ValueGet => repeat(|_| _ = black_box(VALUE.load(Ordering::Acquire))),
            Work::ValueSet => repeat(|i| VALUE.store(black_box(i), Ordering::Release)),
            Work::ValueAdd => repeat(|_| locked(|| VALUE.store(VALUE.load(Ordering::Relaxed) + 1, Ordering::Relaxed))),
            Work::DirectLockPair => repeat(|_| locked(|| ())),
            other => return Err(format!("{} has no bare form", other.name()).into()),
        }
        count += LAP;
    }
    Ok(count)
}

fn repeat(step: impl Fn(u64)) {
    (0..LAP).for_each(step);
}

/// Taken and given back by a compare-and-exchange each.
fn locked(inside: impl FnOnce()) {
    while LOCK
        .compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        spin_loop();
    }
    inside();
    let _ = LOCK.compare_exchange(1, 0, Ordering::Release, Ordering::Relaxed);
}
