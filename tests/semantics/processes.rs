//! Proxies in other processes, and the life of a server process.

use crate::support::{Outcome, check, process, ring, unix};
use byproxy::process::SpawnError;
use byproxy::{Address, DictProxy, Error, ListProxy, LockProxy, Manager, Process, QueueProxy, Server};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PROCESSES: u32 = 4;
const ROUNDS: u32 = 25;

/// Declares tests that run with a server in this process, over sockets and in rings, and with one in a process of its own.
macro_rules! across_processes {
    ($( fn $name:ident($manager:ident) $body:block )*) => {$(
        #[test]
        fn $name() {
            fn run($manager: &Manager) -> Outcome {
                $body
                Ok(())
            }
            check(unix, run);
            check(ring, run);
            check(process, run);
        }
    )*};
}

#[derive(Clone, Serialize, Deserialize)]
struct Office {
    name: String,
    seats: DictProxy<String, u32>,
    sold: Option<ListProxy<(String, u32)>>,
}

fn append(names: ListProxy<String>, name: String) -> byproxy::Result<()> {
    names.append(name)
}

fn count(counters: DictProxy<String, u32>, lock: LockProxy, file: String) -> Result<(), Box<dyn std::error::Error>> {
    for _ in 0..ROUNDS {
        counters.modify("modify", |n| *n += 1)?;
        counters.fetch_add("fetch_add", 1)?;
        let _guard = lock.acquire()?;
        let seen: u32 = std::fs::read_to_string(&file)?.parse()?;
        std::fs::write(&file, (seen + 1).to_string())?;
    }
    Ok(())
}

fn sell(office: Office, clerk: u32) -> byproxy::Result<()> {
    let sold = office.sold.as_ref().expect("it was passed");
    while office
        .seats
        .modify("G101", |left| left.checked_sub(1).map(|fewer| *left = fewer).is_some())?
    {
        sold.append((office.name.clone(), clerk))?;
    }
    Ok(())
}

fn square(jobs: QueueProxy<Option<u32>>, squares: QueueProxy<u32>) -> byproxy::Result<()> {
    while let Some(job) = jobs.get()? {
        squares.put(job * job)?;
        jobs.task_done()?;
    }
    jobs.task_done()
}

fn sum(nested: ListProxy<DictProxy<String, QueueProxy<u32>>>, result: DictProxy<String, u32>) -> byproxy::Result<()> {
    let mut sum = 0;
    for dict in &nested {
        for pair in &dict? {
            let (_, queue) = pair?;
            sum += queue.get_many(100)?.iter().sum::<u32>();
        }
    }
    result.insert("sum", sum)?;
    Ok(())
}

/// Puts an object that only this process knows into a list, and ends.
fn leave_behind(lists: ListProxy<ListProxy<u8>>) -> byproxy::Result<()> {
    let address = lists.get(0)?.to_string();
    assert_eq!(address, "[1]");
    let own = lists.get(0)?.copy()?;
    own.append(2)?;
    lists.append(own)
}

fn move_between(from: ListProxy<u32>, to: ListProxy<u32>) -> byproxy::Result<()> {
    while let Some(item) = from.pop()? {
        to.append(item)?;
    }
    Ok(())
}

across_processes! {
    fn a_child_appends_and_the_parent_sees_it(manager) {
        let names = manager.list_from::<String>(["Ada"])?;
        Process::spawn(append, (&names, "李雷"))?.join()?;
        assert_eq!(names.to_vec()?, ["Ada", "李雷"]);
    }

    fn nothing_is_lost_between_processes(manager) {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("count");
        std::fs::write(&file, "0")?;
        let file = file.to_str().expect("a plain path").to_owned();
        let counters = manager.dict_from::<String, u32>([("modify", 0), ("fetch_add", 0)])?;
        let lock = manager.lock()?;
        let start = |_| Process::spawn(count, (&counters, &lock, &file));
        let processes = (0..PROCESSES).map(start).collect::<Result<Vec<_>, _>>()?;
        for process in processes {
            process.join()?;
        }
        assert_eq!(counters.values()?, [PROCESSES * ROUNDS; 2]);
        assert_eq!(std::fs::read_to_string(&file)?, (PROCESSES * ROUNDS).to_string());
    }

    fn proxies_travel_in_fields_of_arguments(manager) {
        let office = Office {
            name: "North".to_owned(),
            seats: manager.dict_from([("G101", 50)])?,
            sold: Some(manager.list()?),
        };
        let clerks = (0..3).map(|clerk| Process::spawn(sell, (&office, clerk))).collect::<Result<Vec<_>, _>>()?;
        for clerk in clerks {
            clerk.join()?;
        }
        assert_eq!(office.sold.as_ref().expect("it is there").len()?, 50);
        assert_eq!(office.seats.get("G101")?, Some(0));
    }

    fn consumers_end_by_their_markers(manager) {
        let (jobs, squares) = (manager.queue::<Option<u32>>(3)?, manager.queue::<u32>(0)?);
        let consumers = (0..3).map(|_| Process::spawn(square, (&jobs, &squares))).collect::<Result<Vec<_>, _>>()?;
        jobs.put_many((0..30).map(Some))?;
        jobs.put_many([None, None, None])?;
        jobs.join()?;
        for consumer in consumers {
            consumer.join()?;
        }
        let mut all = squares.get_many(100)?;
        all.sort_unstable();
        assert_eq!(all, (0..30).map(|n| n * n).collect::<Vec<_>>());
    }

    fn a_child_iterates_over_nested_objects(manager) {
        let nested = manager.list::<DictProxy<String, QueueProxy<u32>>>()?;
        for n in 0..3 {
            let queue = manager.queue(0)?;
            queue.put_many([n, n * 10])?;
            nested.append(manager.dict_from([("queue", queue)])?)?;
        }
        let result = manager.dict()?;
        Process::spawn(sum, (&nested, &result))?.join()?;
        assert_eq!(result.get("sum")?, Some(33));
    }

    fn an_argument_whose_only_holder_is_the_spawn_arrives(manager) {
        let names = manager.list_named::<String>("names")?;
        for _ in 0..3 {
            // No other handle to this list exists than the one that is being passed.
            Process::spawn(append, (manager.list::<String>()?, "Ada"))?.join()?;
            Process::spawn(append, (manager.list_named::<String>("names")?, "Ada"))?;
        }
        let start = Instant::now();
        while names.len()? < 3 {
            assert!(start.elapsed() < Duration::from_secs(20), "the children append without being waited for");
        }
        manager.remove("names")?;
    }

    fn what_a_child_leaves_in_a_container_stays(manager) {
        let lists = manager.list_from::<ListProxy<u8>>([manager.list_from::<u8>([1])?])?;
        Process::spawn(leave_behind, (&lists,))?.join()?;
        assert_eq!(lists.get(1)?.to_vec()?, [1, 2]);
    }

    fn a_killed_child_leaves_nothing(manager) {
        let before = manager.stats()?.objects;
        let jobs = manager.queue::<Option<u32>>(0)?;
        let child = Process::spawn(square, (&jobs, manager.queue::<u32>(0)?))?;
        crate::support::until_waiting(manager, 1);
        child.kill()?;
        assert!(child.join().is_err());
        let start = Instant::now();
        while manager.stats()?.objects != before + 1 || manager.stats()?.waiters != 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", manager.stats()?);
        }
        jobs.put(Some(7))?;
        assert_eq!(jobs.get()?, Some(7), "the item went to nobody else");
    }

    fn proxies_of_two_servers_travel_together(manager) {
        let other = Manager::start()?;
        let (from, to) = (manager.list_from::<u32>([1, 2, 3])?, other.list::<u32>()?);
        Process::spawn(move_between, (&from, &to))?.join()?;
        assert_eq!((from.len()?, to.to_vec()?), (0, vec![3, 2, 1]));
    }
}

#[test]
fn an_embedded_proxy_can_not_be_an_argument() {
    let manager = Manager::embedded().unwrap();
    let outcome = Process::spawn(append, (manager.list::<String>().unwrap(), "Ada"));
    let Err(SpawnError::Encode(message)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(message.contains("Manager::start()"), "{message}");
}

/// Connects to a path that is relative, goes elsewhere, and uses the proxy where that needs a new connection: in a call that waits, and
/// in a child.
fn move_away(folder: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    std::env::set_current_dir(folder)?;
    let manager = Manager::connect("unix:app.sock")?;
    let jobs = manager.queue::<Option<u32>>(0)?;
    let squares = manager.queue::<u32>(0)?;
    std::env::set_current_dir("/")?;
    let child = Process::spawn(square, (&jobs, &squares))?;
    jobs.put_many([Some(7), None])?;
    assert_eq!(squares.get()?, 49);
    Ok(child.join()?)
}

#[test]
fn a_relative_path_means_the_same_place_after_a_change_of_directory() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::unix(folder.path().join("app.sock")).unwrap();
    let server = Server::builder().listen(address).build().unwrap();
    let handle = server.handle();
    let serving = std::thread::spawn(move || server.serve());
    let outcome = Process::spawn(move_away, (folder.path().to_owned(),)).unwrap().join();
    handle.stop();
    serving.join().unwrap().unwrap();
    outcome.unwrap();
}

#[test]
fn an_argument_whose_server_is_gone_is_refused() {
    let fixture = unix();
    let names = fixture.manager.list::<String>().unwrap();
    drop(fixture);
    let outcome = Process::spawn(append, (&names, "Ada"));
    assert!(matches!(outcome, Err(SpawnError::Refused { .. })), "{outcome:?}");
    assert!(matches!(
        names.append("Ada"),
        Err(Error::Gone(_) | Error::OutcomeUnknown { .. })
    ));
}

fn socket_of(manager: &Manager) -> std::path::PathBuf {
    match manager.address() {
        Some(Address::Unix(path)) => path,
        other => panic!("a started server listens on a socket, not {other:?}"),
    }
}

fn until_gone(path: &Path) {
    let start = Instant::now();
    while path.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{} is still there",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_started_server_ends_with_its_last_manager_and_leaves_no_file() {
    let manager = Manager::start().unwrap();
    let socket = socket_of(&manager);
    let list = manager.list::<u8>().unwrap();
    let clone = manager.clone();
    drop(manager);
    list.append(1).unwrap();
    assert!(socket.exists());
    drop(clone);
    assert!(
        !socket.parent().unwrap().exists(),
        "its directory is gone when the drop returns"
    );
    assert!(matches!(
        list.append(2),
        Err(Error::Gone(_) | Error::OutcomeUnknown { .. })
    ));
    assert!(matches!(
        Manager::connect(format!("unix:{}", socket.display())),
        Err(Error::Connect { .. })
    ));
}

#[test]
fn a_private_directory_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let manager = Manager::start().unwrap();
    let socket = socket_of(&manager);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    manager.shutdown().unwrap();
    manager.shutdown().unwrap();
    assert!(!socket.parent().unwrap().exists());
    assert!(matches!(manager.ping(), Err(Error::Gone(_))));
}

#[test]
fn joining_a_started_server_waits_for_its_end_and_asks_for_none() {
    let manager = Manager::start().unwrap();
    let connected = Manager::connect(manager.address().unwrap().to_string()).unwrap();
    connected.join();
    Manager::embedded().unwrap().join();
    std::thread::scope(|scope| {
        let joining = scope.spawn(|| manager.join());
        std::thread::sleep(Duration::from_millis(100));
        assert!(!joining.is_finished());
        manager.ping().unwrap();
        connected.shutdown().unwrap();
        joining.join().unwrap();
    });
    manager.join();
    assert!(matches!(manager.ping(), Err(Error::Gone(_))));
}

/// Starts a server, tells where, and is killed.
fn start_and_wait(addresses: QueueProxy<String>) -> byproxy::Result<()> {
    let manager = Manager::start()?;
    let address = manager.address().map(|address| address.to_string());
    addresses.put(address.unwrap_or_default())?;
    loop {
        std::thread::park();
    }
}

#[test]
fn a_started_server_ends_with_its_killed_starter_and_leaves_no_file() {
    let manager = Manager::start().unwrap();
    let addresses = manager.queue::<String>(0).unwrap();
    let starter = Process::spawn(start_and_wait, (&addresses,)).unwrap();
    let address = addresses.get().unwrap();
    let other = Manager::connect(&address).unwrap();
    let list = other.list::<u8>().unwrap();
    list.append(1).unwrap();
    starter.kill().unwrap();
    until_gone(Path::new(address.strip_prefix("unix:").unwrap()).parent().unwrap());
    assert!(matches!(
        list.append(1),
        Err(Error::Gone(_) | Error::OutcomeUnknown { .. })
    ));
}

#[test]
fn a_process_has_one_session_with_a_server() {
    let fixture = unix();
    let address = fixture.manager.address().unwrap();
    let again = Manager::connect(&address).unwrap();
    assert_eq!(again.stats().unwrap().sessions, 1);
    let list = fixture.manager.list::<u8>().unwrap();
    let lists = again.list_from::<ListProxy<u8>>([&list]).unwrap();
    assert_eq!(lists.get(0).unwrap(), list);
    drop((lists, again));
    list.append(1).unwrap();
}

#[test]
fn where_no_server_is_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("nobody.sock");
    let error = Manager::connect(format!("unix:{}", nobody.display())).unwrap_err();
    assert!(
        matches!(error, Error::Connect { .. }) && error.to_string().contains("byproxy serve"),
        "{error}"
    );

    let file = folder.path().join("file");
    std::fs::write(&file, "not a socket").unwrap();
    assert!(matches!(
        Manager::connect(format!("unix:{}", file.display())),
        Err(Error::Connect { .. })
    ));

    for text in ["", "/run/app.sock", "http://x", "unix:", "tcp:host", "tcp:host:0"] {
        let error = Manager::connect(text).unwrap_err();
        assert!(matches!(error, Error::Address(_)), "{text}: {error}");
    }
    let long = format!("unix:/{}", "x".repeat(200));
    let error = Manager::connect(&long).unwrap_err();
    assert!(
        matches!(error, Error::Address(_)) && error.to_string().contains("107"),
        "{error}"
    );
    assert!(
        Manager::connect("tcp:localhost:7000")
            .unwrap_err()
            .to_string()
            .contains("unix")
    );
}
