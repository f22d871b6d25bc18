//! A client process: says `ready`, waits for a line, works, prints a count and the nanoseconds it took. One that is in a race does so
//! for each line.
//!
//! Every side that is driven from Rust runs here, in the same threads and the same loop; only the step differs. CPython's clients do
//! the same in `python/manager.py`.

use crate::{Result, limits, ours, peers};
use std::io::BufRead as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, LazyLock};
use std::time::{Duration, Instant};

/// How many entries the shared list and dict have.
pub(crate) const ENTRIES: u64 = 1000;

/// How many calls a batch has.
pub(crate) const BATCH_CALLS: u64 = 64;

/// What one client process is to do.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) side: Side,
    pub(crate) address: String,
    pub(crate) work: Work,
    /// Threads of a race, items of a flow, or things to hold.
    pub(crate) size: usize,
    pub(crate) time: Duration,
}

/// How long a thread works before its turn is measured: a side that was idle for as long as the others' turns took finds its processor, and
/// what it had given back, again.
const WARM_UP: Duration = Duration::from_millis(10);

/// One operation, given how often it ran before.
pub(crate) type Step = Box<dyn FnMut(u64) -> Result<()> + Send>;

macro_rules! names {
    ($(#[$meta:meta])* $type:ident { $( $(#[$doc:meta])* $variant:ident = $name:literal, )* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum $type { $( $(#[$doc])* $variant, )* }

        impl $type {
            pub(crate) fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            pub(crate) fn from_name(name: &str) -> Result<Self> {
                match name { $( $name => Ok(Self::$variant), )* _ => Err(format!("unknown: {name}").into()) }
            }
        }
    };
}

names! {
    /// Who is driven.
    Side {
        Byproxy = "byproxy",
        /// byproxy through sockets only.
        Socket = "socket",
        /// byproxy with the objects in the client's own process.
        Embedded = "embedded",
        Python = "python",
        Redis = "redis",
        /// A server that sends back what it gets, by epoll and recvmsg.
        Echo = "echo",
        /// A thread that blocks in read and sends back what it gets.
        PingPong = "pingpong",
        /// Two words in shared memory.
        Ring = "ring",
        /// A program that does nothing, started and waited for.
        Spawn = "spawn",
        /// byproxy's direct objects, which need no server.
        Direct = "direct",
        /// The instructions that a direct object can't do without.
        Bare = "bare",
    }
}

names! {
    /// What is done over and over.
    Work {
        /// A dict's value.
        Get = "get",
        Insert = "insert",
        /// A list's item.
        Index = "index",
        Append = "append",
        /// The values of 64 keys of a dict, at once.
        Batch = "batch",
        QueuePair = "queue-pair",
        LockPair = "lock-pair",
        /// One end of a queue: so many items in.
        Produce = "produce",
        /// The other: so many out.
        Consume = "consume",
        ManagerStart = "manager-start",
        ProcessStart = "process-start",
        /// A list of so many ints, kept.
        HoldList = "hold-list",
        /// So many connections, kept.
        HoldConnections = "hold-connections",
        /// A client that has made so many calls in a row, kept.
        HoldClient = "hold-client",
        /// What an item costs in a list of a million and in one of a thousand.
        GrowList = "grow-list",
        GrowDict = "grow-dict",
        GrowObjects = "grow-objects",
        /// A direct value, read.
        ValueGet = "value-get",
        ValueSet = "value-set",
        /// A direct value, increased by one while nobody holds its lock: here one instruction does both, CPython takes the lock.
        ValueAdd = "value-add",
        /// A direct lock, taken and given back.
        DirectLockPair = "direct-lock-pair",
    }
}

pub(crate) fn run(task: &Task) -> Result<()> {
    match task.work {
        Work::Produce | Work::Consume => flow(task),
        Work::ManagerStart | Work::ProcessStart => starts(task),
        Work::HoldList | Work::HoldConnections | Work::HoldClient => {
            let held = hold(task)?;
            await_go()?;
            drop(held);
            Ok(())
        }
        Work::GrowList | Work::GrowDict | Work::GrowObjects => grow(task),
        Work::ValueGet | Work::ValueSet | Work::ValueAdd | Work::DirectLockPair => match task.side {
            Side::Direct => ours::direct::run(task),
            Side::Bare => limits::bare::run(task),
            other => Err(format!("{} has no direct objects", other.name()).into()),
        },
        _ => race(task),
    }
}

/// The key of an entry, and again from the first on. All threads read the same ones: what is measured is no walk through memory of the
/// harness.
pub(crate) fn key(entry: u64) -> &'static str {
    static KEYS: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..ENTRIES).map(|entry| format!("key-{entry:06}")).collect());
    usize::try_from(entry % ENTRIES)
        .ok()
        .and_then(|entry| KEYS.get(entry))
        .map_or("", String::as_str)
}

/// As often as it is told to, each thread takes its step over and over until the time is up.
fn race(task: &Task) -> Result<()> {
    let mut steps = steps(task, task.size)?;
    // Once before the clock runs: whatever is set up by the first call is not what is measured.
    steps.iter_mut().try_for_each(|step| step(0))?;
    println!("ready");
    for told in std::io::stdin().lines() {
        told?;
        turn(&mut steps, task.time)?;
    }
    Ok(())
}

fn turn(steps: &mut [Step], time: Duration) -> Result<()> {
    let (stop, meet) = (&AtomicBool::new(false), &Barrier::new(steps.len() + 1));
    std::thread::scope(|scope| {
        let threads: Vec<_> = steps
            .iter_mut()
            .map(|step| scope.spawn(move || laps(step, meet, stop)))
            .collect();
        // The first time all are there, the second time they are warm, the third time the clock runs, the fourth time all are done: neither
        // their beginning nor their end is what is measured. The clock runs before anybody is let go, for whoever keeps it may wake late.
        meet.wait();
        meet.wait();
        let start = Instant::now();
        meet.wait();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        meet.wait();
        let elapsed = start.elapsed();
        let mut total = 0;
        for thread in threads {
            total += thread.join().map_err(|_| "a client thread panicked")??;
        }
        report(total, elapsed);
        Ok(())
    })
}

/// One thread's part of a turn: how many steps it took.
fn laps(step: &mut Step, meet: &Barrier, stop: &AtomicBool) -> Result<u64> {
    meet.wait();
    let warm = Instant::now() + WARM_UP;
    let warming = repeat(step, 0, || Instant::now() >= warm);
    meet.wait();
    meet.wait();
    let outcome = warming.and_then(|before| Ok(repeat(step, before, || stop.load(Ordering::Relaxed))? - before));
    meet.wait();
    outcome
}

/// Takes a step over and over, after so many; returns how many there were in the end.
fn repeat(step: &mut Step, mut count: u64, is_over: impl Fn() -> bool) -> Result<u64> {
    while !is_over() {
        step(count)?;
        count += 1;
    }
    Ok(count)
}

fn flow(task: &Task) -> Result<()> {
    let mut step = steps(task, 1)?.pop().ok_or("no step")?;
    await_go()?;
    let start = Instant::now();
    (0..task.size as u64).try_for_each(&mut step)?;
    report(task.size as u64, start.elapsed());
    Ok(())
}

/// Starts and ends things; only the starting counts.
fn starts(task: &Task) -> Result<()> {
    let mut start_one = match task.side {
        Side::Spawn => limits::spawn::start(),
        Side::Byproxy => ours::starts::start(task.work)?,
        other => return Err(format!("{} starts nothing", other.name()).into()),
    };
    start_one()?;
    await_go()?;
    let (end, mut count, mut spent) = (Instant::now() + task.time, 0, Duration::ZERO);
    while Instant::now() < end {
        spent += start_one()?;
        count += 1;
    }
    report(count, spent);
    Ok(())
}

fn grow(task: &Task) -> Result<()> {
    let growth = ours::growth::prepare(task)?;
    await_go()?;
    let (small, large) = growth.run(task.time)?;
    println!("{} {}", small.as_nanos(), large.as_nanos());
    Ok(())
}

/// The steps of so many threads.
fn steps(task: &Task, threads: usize) -> Result<Vec<Step>> {
    let each = |step: &dyn Fn() -> Result<Step>| (0..threads).map(|_| step()).collect();
    match task.side {
        Side::Byproxy | Side::Socket | Side::Embedded => ours::steps(task, threads),
        Side::Redis => each(&|| peers::redis::step(task)),
        Side::Echo | Side::PingPong => each(&|| limits::echo::step(&task.address)),
        Side::Ring => each(&|| limits::ring::step(&task.address)),
        Side::Python | Side::Spawn | Side::Direct | Side::Bare => Err("not driven from here".into()),
    }
}

fn hold(task: &Task) -> Result<Box<dyn std::any::Any>> {
    match task.side {
        Side::Byproxy => ours::memory::hold(task),
        Side::Redis => peers::redis::hold(task),
        other => Err(format!("{} holds nothing", other.name()).into()),
    }
}

pub(crate) fn await_go() -> Result<()> {
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

pub(crate) fn report(count: u64, elapsed: Duration) {
    println!("{count} {}", elapsed.as_nanos());
}
