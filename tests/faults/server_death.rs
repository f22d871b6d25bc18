//! The server killed, frozen, or cut off: every call ends, says what is known, and is tried once.

use crate::baseline::{Baseline, await_stats, await_waiters};
use crate::measure::{Times, monotonic};
use crate::processes::await_thread_asleep;
use crate::record::{self, Record};
use crate::relay::{Cut, Relay};
use crate::served::Served;
use crate::status::{Doing, Publisher};
use crate::transport::Transport;
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::{DictProxy, Error, ListProxy, LockProxy, Manager, Process, QueueProxy};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A call that fails.
type Call = fn(&ListProxy<u64>, &DictProxy<String, u64>) -> Error;

/// What a blocked call may take to learn that its server is gone.
const GONE_WITHIN: Duration = Duration::from_millis(100);

/// How long a client waits for a frozen server: longer than a busy machine holds up one that is not.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits in five ways at once, and records when each wait ended, if it ended as it should.
fn waits_in_all_ways(status: PathBuf, empty: QueueProxy<u64>, full: QueueProxy<u64>, lock: LockProxy, ended: PathBuf) {
    let mut publisher = Publisher::open(&status);
    publisher.doing(Doing::Waiting);
    // Of a put alone nobody knows: it may have been done just then.
    let waits: [(&str, &(dyn Fn() -> Error + Sync)); 5] = [
        ("get", &|| empty.get().map(drop).unwrap_err().into()),
        ("receive", &|| empty.receive().map(drop).unwrap_err().into()),
        ("put", &|| full.put(1).unwrap_err().into()),
        ("join", &|| full.join().unwrap_err()),
        ("acquire", &|| lock.acquire().map(drop).unwrap_err()),
    ];
    std::thread::scope(|scope| {
        for (call, wait) in waits {
            let ended = &ended;
            scope.spawn(move || {
                let error = wait();
                let at = monotonic();
                let fits = match &error {
                    Error::Gone(_) => call != "put",
                    Error::OutcomeUnknown { operation, .. } => call == "put" && *operation == "queue.put",
                    _ => false,
                };
                assert!(fits, "{call}: {error}");
                Record::open(ended).push(&[at]);
            });
        }
    });
    publisher.doing(Doing::Finished);
}

on_each_transport! {
    fn every_blocked_call_of_every_client_ends_with_its_server(transport) {
        let _watchdog = Watchdog::new();
        let mut times = Times::default();
        for _ in 0..5 {
            let mut server = transport.serve(&[]);
            let manager = Manager::connect(server.address()).unwrap();
            let morgue = Morgue::new();
            let empty = manager.queue(0).unwrap();
            let full = manager.queue(1).unwrap();
            full.put(1).unwrap();
            let lock = manager.lock().unwrap();
            let _guard = lock.acquire().unwrap();
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let ended = morgue.file();
                    (
                        victim!(
                            morgue,
                            waits_in_all_ways,
                            empty.clone(),
                            full.clone(),
                            lock.clone(),
                            ended.clone()
                        ),
                        ended,
                    )
                })
                .collect();
            await_waiters(&manager, 20);

            let killed = monotonic();
            server.kill();
            for (client, ended) in &clients {
                client.join();
                let ended = record::read(ended);
                assert_eq!(ended.len(), 5);
                for at in ended {
                    times.add(Duration::from_nanos(at - killed));
                }
            }
            assert!(
                matches!(manager.ping(), Err(Error::Gone(_))),
                "and so does every later one"
            );
        }
        times.hold("from the kill of the server to the end of a blocked call", GONE_WITHIN);
    }
}

on_each_transport! {
    fn a_killed_server_leaves_its_socket_and_the_next_one_takes_it_over(transport) {
        let _watchdog = Watchdog::new();
        let mut server = transport.serve(&[]);
        let before = Manager::connect(server.address()).unwrap();
        let kept = before.list_named::<u64>("kept").unwrap();
        kept.append(1).unwrap();
        let path = server.path();
        server.kill();
        assert!(path.exists(), "nobody was left who could remove it");

        let next = Served::at(&path);
        let after = Manager::connect(next.address()).unwrap();
        assert_eq!(
            after.list_named::<u64>("kept").unwrap().len().unwrap(),
            0,
            "a new server has new objects"
        );
        assert!(
            matches!(kept.append(2), Err(Error::Gone(_))),
            "an old proxy does not reconnect in silence"
        );
        assert!(matches!(before.ping(), Err(Error::Gone(_))));
        assert_eq!(after.list_named::<u64>("kept").unwrap().len().unwrap(), 0);
    }
}

on_each_transport! {
    fn a_call_that_the_server_did_not_live_to_answer_is_of_unknown_outcome(transport) {
        let _watchdog = Watchdog::new();
        let calls: [(Call, bool); 4] = [
            (|list, _| list.append(1).unwrap_err(), true),
            (|_, dict| dict.fetch_add("n", 1).unwrap_err(), true),
            (|list, _| list.len().unwrap_err(), false),
            (|_, dict| dict.get("n").unwrap_err(), false),
        ];
        for (call, mutates) in calls {
            let mut server = transport.serve(&[]);
            let manager = Manager::connect(server.address()).unwrap();
            let (list, dict) = (manager.list().unwrap(), manager.dict_from([("n", 1)]).unwrap());
            list.append(0).unwrap();
            server.freeze();
            let error = std::thread::scope(|scope| {
                let (here, there) = std::sync::mpsc::channel();
                let (list, dict) = (&list, &dict);
                let calling = scope.spawn(move || {
                    here.send(rustix::thread::gettid()).unwrap();
                    call(list, dict)
                });
                await_thread_asleep(there.recv().unwrap());
                server.kill();
                calling.join().unwrap()
            });
            match error {
                Error::OutcomeUnknown { .. } => assert!(mutates, "nothing could have changed"),
                // What still lies in a ring was not read, and that can be seen.
                Error::Gone(_) => assert!(!mutates || transport == Transport::Ring, "it may have happened"),
                error => panic!("{error}"),
            }
        }
    }
}

// The wire carries bytes and no descriptors, so what goes through it stays on sockets.

/// Appends to a list through a wire that is cut at this moment, and then once more.
fn appends_through_a_wire(server: PathBuf, cut: Cut) {
    let relay = Relay::to(server);
    let manager = Manager::connect(relay.address().as_str()).unwrap();
    let list = manager.list_named::<u64>("sales").unwrap();
    list.len().unwrap();
    let connections = relay.accepted();
    relay.cut(cut);
    let error = list.append(7).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutcomeUnknown {
                operation: "list.append",
                ..
            }
        ),
        "{error}"
    );
    relay.cut(Cut::Never);
    assert!(
        matches!(list.append(8), Err(Error::Gone(_))),
        "nothing of it comes later"
    );
    assert_eq!(relay.accepted(), connections, "nor over a new connection");
}

/// Gets an item through a wire, and then another through the same connection, which is cut before the reply.
fn gets_through_a_wire(server: PathBuf) {
    let relay = Relay::to(server);
    let manager = Manager::connect(relay.address().as_str()).unwrap();
    let queue = manager.queue_named::<u64>("jobs", 0).unwrap();
    assert_eq!(queue.get().unwrap(), 0);
    let connections = relay.accepted();
    relay.cut(Cut::BeforeTheReply);
    let error = Error::from(queue.get().unwrap_err());
    assert!(matches!(error, Error::Gone(_)), "{error}");
    assert_eq!(
        relay.accepted(),
        connections,
        "it was the request that went, and not a hello"
    );
}

#[test]
fn a_lost_request_is_tried_once() {
    let _watchdog = Watchdog::new();
    for (cut, happened) in [(Cut::BeforeTheRequest, 0), (Cut::BeforeTheReply, 1)] {
        let server = Transport::Socket.serve(&[]);
        let manager = Manager::connect(server.address()).unwrap();
        let sales = manager.list_named::<u64>("sales").unwrap();
        let baseline = Baseline::of(&manager);
        Process::spawn(appends_through_a_wire, (server.path(), cut))
            .unwrap()
            .join()
            .unwrap();
        assert_eq!(sales.len().unwrap(), happened, "{cut:?}: exactly one attempt");
        sales.clear().unwrap();
        baseline.await_return();
    }
}

#[test]
fn an_item_whose_reply_is_lost_on_the_wire_is_not_lost() {
    let _watchdog = Watchdog::new();
    let server = Transport::Socket.serve(&[]);
    let manager = Manager::connect(server.address()).unwrap();
    let queue = manager.queue_named::<u64>("jobs", 0).unwrap();
    queue.put_many([0, 1, 2]).unwrap();
    Process::spawn(gets_through_a_wire, (server.path(),))
        .unwrap()
        .join()
        .unwrap();
    // Until the server has noticed that the process is gone, the item is on its way to it.
    await_stats(&manager, "alone again", |counts| counts.sessions == 1);
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (1, 2));
    assert_eq!(queue.audit().unwrap().returned, 1, "it was on its way");
}

/// Takes both jobs once nobody else is there.
fn takes_both_jobs(server: String) {
    let manager = Manager::connect(server).unwrap();
    await_stats(&manager, "alone", |counts| counts.sessions == 1);
    let queue = manager.queue_named::<u64>("jobs", 0).unwrap();
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (1, 2));
}

on_each_transport! {
    fn a_frozen_server_ends_the_session_and_a_late_item_is_not_lost(transport) {
        let _watchdog = Watchdog::new();
        let server = transport.serve(&[]);
        let manager = Manager::builder()
            .call_timeout(PATIENCE)
            .connect(server.address())
            .unwrap();
        let queue = manager.queue_named::<u64>("jobs", 0).unwrap();
        queue.put_many([1, 2]).unwrap();
        server.freeze();
        let start = Instant::now();
        let error = Error::from(queue.try_get().unwrap_err());
        assert!(matches!(error, Error::Gone(_)), "{error}");
        assert!(start.elapsed() >= PATIENCE);
        assert!(
            matches!(manager.ping(), Err(Error::Gone(_))),
            "the session is over, so that no answer comes late"
        );

        // The server answers when it wakes, and nobody is there who could take the item.
        server.thaw();
        Process::spawn(takes_both_jobs, (server.address().to_owned(),))
            .unwrap()
            .join()
            .unwrap();
    }
}

#[test]
fn a_first_wait_after_the_servers_death_learns_that_it_is_gone() {
    let _watchdog = Watchdog::new();
    for restarted in [false, true] {
        let mut server = Served::start();
        let manager = Manager::connect(server.address()).unwrap();
        let queue = manager.queue::<u64>(0).unwrap();
        let path = server.path();
        server.kill();
        let _next = restarted.then(|| Served::at(&path));
        // It needs a lane of its own, which there is none to open.
        let error = Error::from(queue.get().unwrap_err());
        assert!(matches!(error, Error::Gone(_)), "restarted: {restarted}: {error}");
    }
}

#[test]
fn a_frozen_server_ends_a_wait_that_needs_a_new_lane() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let manager = Manager::builder()
        .call_timeout(PATIENCE)
        .connect(server.address())
        .unwrap();
    let queue = manager.queue::<u64>(0).unwrap();
    server.freeze();
    let start = Instant::now();
    let error = Error::from(queue.try_get().unwrap_err());
    assert!(matches!(error, Error::Gone(_)), "after {:?}: {error}", start.elapsed());
    assert!(error.to_string().contains("did not answer in time"), "{error}");
    assert!(start.elapsed() >= PATIENCE);
    assert!(matches!(manager.ping(), Err(Error::Gone(_))), "the session is over");
}
