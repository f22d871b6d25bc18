//! Death at every system call: a client that gets an item, records it and gets the next is killed at its first, second, third … call
//! of each kind, until it comes through.
//!
//! `strace` delivers the signal on entry to the N-th call of one kind, before the call is made.

use crate::baseline::{Baseline, await_stats};
use crate::record::{self, Record};
use crate::status::{Doing, Histogram, Publisher, Status};
use crate::transport::Transport;
use crate::victim::Morgue;
use crate::watchdog::Watchdog;
use byproxy::Manager;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// How the script is told what to do; absent in an ordinary run of the tests.
const ORDER: &str = "BYPROXY_FAULTS_SCRIPT";
/// The calls in which a client talks to its server, and in which the script writes its files (`pwrite64` follows the commit step).
const CALLS: [&str; 11] = [
    "connect", "sendto", "recvfrom", "sendmsg", "recvmsg", "write", "writev", "read", "poll", "pwrite64", "futex",
];
/// No script makes as many calls of one kind; beyond it something is wrong.
const CALLS_MAX: u32 = 400;

/// The entry of the script, which this program runs in a process of its own; an ordinary run of the tests passes through it.
#[test]
fn script() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let [address, status, items] = order.split('|').collect::<Vec<_>>()[..] else {
        panic!("{order}")
    };
    let mut publisher = Publisher::open(status.as_ref());
    let mut items = Record::open(items.as_ref());
    let manager = Manager::connect(address).unwrap();
    let queue = manager.queue_named::<u64>("jobs", 0).unwrap();
    for _ in 0..2 {
        publisher.doing(Doing::Waiting);
        let item = queue.get().unwrap();
        publisher.doing(Doing::Between);
        items.push(&[item]);
    }
    publisher.doing(Doing::Finished);
}

on_each_transport! {
    fn a_death_at_any_call_loses_and_doubles_nothing(transport) {
        if !has_strace() {
            println!("SKIPPED: a_death_at_any_call_loses_and_doubles_nothing: strace is missing or may not trace");
            return;
        }
        let watchdog = Watchdog::new();
        let server = transport.serve(&[]);
        let manager = Manager::connect(server.address()).unwrap();
        let morgue = Morgue::new();
        let queue = manager.queue_named::<u64>("jobs", 0).unwrap();
        let baseline = Baseline::of(&manager);
        let sessions = manager.stats().unwrap().sessions;
        let (mut histogram, mut committed_unrecorded, mut returned) = (Histogram::default(), 0, 0);
        for call in CALLS {
            for number in 1.. {
                assert!(number < CALLS_MAX, "the script never comes through: {call}");
                queue.put_many([1, 2, 3, 4]).unwrap();
                let before = queue.audit().unwrap();
                let (status, items) = (morgue.file(), morgue.file());
                let ended = run(server.address(), &status, &items, call, number);
                let what = format!("killed at {call} number {number}");

                // Nothing is left of it but what it took, and what it took it took from the front.
                let recorded = record::read(&items);
                await_stats(&manager, "alone again", |counts| counts.sessions == sessions);
                let rest: Vec<u64> = std::iter::from_fn(|| queue.try_get().ok()).collect();
                let after = loop {
                    // The last confirmation travels by itself and may arrive after the next call.
                    let audit = queue.audit().unwrap();
                    if audit.in_flight == 0 {
                        break audit;
                    }
                };
                let committed = after.committed - before.committed - rest.len() as u64;
                assert_eq!(committed + rest.len() as u64, 4, "{what}: lost or doubled: {rest:?}");
                assert_eq!(
                    rest,
                    (committed + 1..=4).collect::<Vec<_>>(),
                    "{what}: the rest is in order"
                );
                assert_eq!(
                    recorded,
                    (1..=recorded.len() as u64).collect::<Vec<_>>(),
                    "{what}: as it was put"
                );
                let unrecorded = committed
                    .checked_sub(recorded.len() as u64)
                    .expect("what it recorded, it had");
                assert!(unrecorded <= 1, "{what}: recorded {recorded:?}, committed {committed}");
                committed_unrecorded += unrecorded;
                returned += after.returned - before.returned;
                baseline.await_return();
                watchdog.progress();
                if ended.success() {
                    assert_eq!(Status::read(&status).doing, Doing::Finished);
                    break;
                }
                histogram.add(Status::read(&status).doing);
            }
        }
        println!(
            "kill points: {histogram}; {returned} items came back, {committed_unrecorded} were committed and not yet recorded"
        );
        // Through a ring a client comes from the item to its commit without a system call.
        assert!(
            (returned > 0 || transport == Transport::Ring) && committed_unrecorded > 0,
            "no kill landed on either side of the commit step"
        );
    }
}

/// Runs the script, killed on entry to its `number`-th such call.
fn run(address: &str, status: &Path, items: &Path, call: &str, number: u32) -> ExitStatus {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "kill_points::script", "--test-threads=1"])
        .env(ORDER, format!("{address}|{}|{}", status.display(), items.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

/// Whether `strace` is there, and allowed to do what is asked of it.
fn has_strace() -> bool {
    let probe = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=read",
            "-e",
            "inject=read:signal=SIGKILL:when=65535",
        ])
        .arg("true")
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}
