//! Processes started from a `main` of one's own: what needs the whole process, or a `main` that misbehaves.
//!
//! Cases run one after another, each in a process of its own: this program with `run-case` and the case's name.

mod interrupt;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use byproxy::process::SpawnError;
use byproxy::{Manager, Process, active_children};

const LIMIT: Duration = Duration::from_secs(30);

const CASES: &[(&str, fn())] = &[
    ("init_missing", init_missing),
    ("arguments_of_the_program", arguments_of_the_program),
    ("silent_child", silent_child),
    ("silent_child_among_signals", silent_child_among_signals),
    ("child_that_ends_before_init", child_that_ends_before_init),
    ("active_children_are_listed", active_children_are_listed),
    ("ended_children_are_collected", ended_children_are_collected),
    ("closing_collects", closing_collects),
    ("many_starts_from_many_threads", many_starts_from_many_threads),
    ("ignored_child_signals", ignored_child_signals),
    ("replaced_program", replaced_program),
    ("marker_without_order", marker_without_order),
    ("embedded_manager_alone", embedded_manager_alone),
    (
        "ctrl_c_leaves_the_server_to_its_clients",
        interrupt::ctrl_c_leaves_the_server_to_its_clients,
    ),
    (
        "ctrl_c_ends_a_program_and_its_server",
        interrupt::ctrl_c_ends_a_program_and_its_server,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    misbehave(arguments.last());
    let name = arguments.get(1).filter(|_| arguments[0] == "run-case");
    let case = name.and_then(|name| CASES.iter().find(|(case, _)| name == case));
    if let Some((name, run)) = case {
        if *name != "init_missing" {
            byproxy::init();
        }
        run();
        return ExitCode::SUCCESS;
    }
    byproxy::init();
    run_all(&arguments)
}

/// Programs that do something else before `init()`, chosen by the child's name.
fn misbehave(last: Option<&OsString>) {
    match last.and_then(|last| last.to_str()) {
        Some("byproxy-child=silent") => loop {
            thread::park();
        },
        Some("byproxy-child=hasty") => exit(3),
        _ => {}
    }
}

fn run_all(arguments: &[OsString]) -> ExitCode {
    let filter = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .find(|argument| !argument.starts_with('-'));
    let (mut passed, mut failed) = (0, 0);
    for (name, _) in CASES
        .iter()
        .filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter)))
    {
        let result = run_case(name);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        say(&format!("case {name} ... {verdict}"));
        match result {
            Ok(()) => passed += 1,
            Err(reason) => {
                failed += 1;
                say(&reason);
            }
        }
    }
    say(&format!("{passed} passed, {failed} failed"));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_case(name: &str) -> Result<(), String> {
    let mut command = Command::new("/proc/self/exe");
    // A group of its own, so that nothing a stuck case started is left.
    command
        .args(["run-case", name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(|error| error.to_string())?;
    let group = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .unwrap();
    let (done, finished) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let output = child.wait_with_output();
        let _ = done.send(());
        output
    });
    let late = finished.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
    if late {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let output = waiter.join().unwrap().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let late = if late { "took too long; " } else { "" };
    Err(format!(
        "{late}{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The processes whose parent this one is, zombies included.
fn children_of_this_process() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.map(|list| list.split_whitespace().count()).sum()
}

/// Stays until it is killed.
fn stay() {
    loop {
        thread::park();
    }
}

fn init_missing() {
    for _ in 0..2 {
        let error = Process::spawn(|| (), ()).unwrap_err();
        assert!(matches!(error, SpawnError::InitMissing));
        assert!(
            error
                .to_string()
                .contains("call byproxy::init() as the first line of main"),
            "{error}"
        );
    }
    assert_eq!(children_of_this_process(), 0);
    byproxy::init();
    Process::spawn(|| (), ()).unwrap().join().unwrap();
}

fn arguments_of_the_program() {
    let check = |depth: u8, parents: Vec<String>| {
        let mut own: Vec<String> = env::args().collect();
        assert_eq!(
            own.pop(),
            Some(format!("byproxy-child={}", byproxy::process::current().name()))
        );
        assert_eq!(own, parents);
        if depth > 0 {
            // One marker, however deep.
            let inner = |parents: Vec<String>| {
                let own: Vec<String> = env::args().collect();
                assert_eq!(own[..own.len() - 1], parents);
            };
            Process::spawn(inner, (parents,)).unwrap().join().unwrap();
        }
    };
    Process::spawn(check, (1, env::args().collect::<Vec<_>>()))
        .unwrap()
        .join()
        .unwrap();
}

fn silent_child() {
    let timeout = Duration::from_millis(200);
    let error = Process::builder()
        .name("silent")
        .start_timeout(timeout)
        .spawn(|| (), ())
        .unwrap_err();
    assert!(
        matches!(&error, SpawnError::Silent { name, .. } if name == "silent"),
        "{error}"
    );
    assert_eq!(children_of_this_process(), 0, "it was killed and collected");

    // Arguments larger than the socket holds: the parent waits while sending, not only for the answer.
    let large = "x".repeat(8 << 20);
    let builder = Process::builder().name("silent").start_timeout(timeout);
    let error = builder.spawn(|_: String| (), (large,)).unwrap_err();
    assert!(matches!(&error, SpawnError::Silent { .. }), "{error}");
    assert_eq!(children_of_this_process(), 0);
}

/// Signals that this program handles, such as a profiler's, interrupt the wait for a child again and again.
fn silent_child_among_signals() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGUSR1]).unwrap();
    thread::spawn(move || {
        for _ in signals.forever() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    thread::spawn(|| {
        loop {
            // To the process, so to its first thread: the one that waits.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
    });
    let start = Instant::now();
    while seen.load(Ordering::Relaxed) <= 10 {
        assert!(start.elapsed() < LIMIT, "it was not interrupted");
        let builder = Process::builder()
            .name("silent")
            .start_timeout(Duration::from_millis(200));
        let error = builder.spawn(|| (), ()).unwrap_err();
        assert!(matches!(&error, SpawnError::Silent { .. }), "{error}");
        assert_eq!(children_of_this_process(), 0);
    }
}

fn child_that_ends_before_init() {
    let error = Process::builder().name("hasty").spawn(|| (), ()).unwrap_err();
    assert!(
        matches!(&error, SpawnError::ChildFailed(failed) if failed.exit_code() == Some(3)),
        "{error}"
    );
    assert!(error.to_string().contains("is that the first line of main?"), "{error}");
    assert_eq!(children_of_this_process(), 0);
}

fn active_children_are_listed() {
    assert!(active_children().is_empty());
    let first = Process::builder().name("first").spawn(stay, ()).unwrap();
    let second = Process::builder().name("second").daemon(true).spawn(stay, ()).unwrap();
    assert_eq!(active_children(), [first.clone(), second.clone()]);
    first.kill().unwrap();
    first.join().unwrap_err();
    assert_eq!(active_children(), std::slice::from_ref(&second));
    // A handle from the list is as good as the first.
    drop(second);
    let second = active_children().pop().unwrap();
    assert_eq!(second.name(), "second");
    second.kill().unwrap();
    assert_eq!(second.join().unwrap_err().exit_code(), Some(-9));
    assert!(active_children().is_empty());
}

fn ended_children_are_collected() {
    let children: Vec<Process> = (0..10).map(|_| Process::spawn(stay, ()).unwrap()).collect();
    let pidfds: Vec<Process> = children.clone();
    for child in &children {
        child.kill().unwrap();
    }
    drop(children);
    // All have ended, and are zombies: nobody has asked for their codes.
    for child in &pidfds {
        let mut descriptors = [rustix::event::PollFd::new(child, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut descriptors, None).unwrap();
    }
    assert_eq!(children_of_this_process(), 10);
    let last = Process::spawn(|| (), ()).unwrap();
    assert!(children_of_this_process() <= 1, "the next start collected them");
    last.join().unwrap();
    assert_eq!(children_of_this_process(), 0);
    // Their handles know how they ended all the same.
    assert!(pidfds.iter().all(|child| child.exit_code() == Some(-9)));

    drop(Process::spawn(stay, ()).unwrap());
    let dropped = active_children().pop().unwrap();
    dropped.kill().unwrap();
    drop(dropped);
    while !active_children().is_empty() {
        thread::yield_now();
    }
    assert_eq!(
        children_of_this_process(),
        0,
        "asking for the active children collects the others"
    );
}

/// A child that has ended and was not waited for is a zombie until somebody asks for it: closing its handle does.
fn closing_collects() {
    let child = Process::spawn(|| 3_u8, ()).unwrap();
    let mut descriptors = [rustix::event::PollFd::new(&child, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut descriptors, None).unwrap();
    assert_eq!(children_of_this_process(), 1);
    child.close().unwrap();
    assert_eq!(children_of_this_process(), 0);
}

fn many_starts_from_many_threads() {
    thread::scope(|scope| {
        for thread_number in 0..8_u8 {
            scope.spawn(move || {
                for number in 0..7_u8 {
                    let child = Process::spawn(|a: u8, b: u8| a * 10 + b, (thread_number, number)).unwrap();
                    match i32::from(thread_number * 10 + number) {
                        0 => child.join().unwrap(),
                        code => assert_eq!(child.join().unwrap_err().exit_code(), Some(code)),
                    }
                }
            });
        }
    });
    assert_eq!(children_of_this_process(), 0);
}

/// A program that was started with `SIGCHLD` ignored: the kernel collects its children, and `waitid` knows none.
fn ignored_child_signals() {
    if env::args_os().nth(3).is_none() {
        let script = "trap '' CHLD; exec \"$0\" run-case ignored_child_signals again";
        let status = Command::new("bash")
            .args(["-c", script])
            .arg(env::current_exe().unwrap())
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_ne!(
        u64::from_str_radix(ignored, 16).unwrap() & (1 << 16),
        0,
        "SIGCHLD is ignored"
    );

    Process::spawn(|| (), ()).unwrap().join().unwrap();
    assert_eq!(
        Process::spawn(|| 5_u8, ()).unwrap().join().unwrap_err().exit_code(),
        Some(5)
    );
    let killed = Process::spawn(stay, ()).unwrap();
    assert!(killed.is_alive());
    killed.kill().unwrap();
    assert_eq!(killed.join().unwrap_err().exit_code(), None, "nobody can tell");
}

/// A program whose file is replaced while it runs starts its own code, not the new file's.
fn replaced_program() {
    if env::args_os().nth(3).is_none() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("program");
        fs::copy("/proc/self/exe", &copy).unwrap();
        let mut child = Command::new(&copy)
            .args(["run-case", "replaced_program", "copy"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(child.wait().unwrap().success(), "{errors}");
        return;
    }
    let path = env::current_exe().unwrap();
    Process::spawn(|| (), ()).unwrap().join().unwrap();
    let other = path.with_extension("new");
    fs::copy("/bin/false", &other).unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(
        Process::spawn(|| 9_u8, ()).unwrap().join().unwrap_err().exit_code(),
        Some(9)
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(
        Process::spawn(|| 8_u8, ()).unwrap().join().unwrap_err().exit_code(),
        Some(8)
    );
}

/// The marker alone makes no child: a user may type it, and it is then an argument like any other.
fn marker_without_order() {
    let run = |input: Stdio| {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["run-case", "init_missing", "byproxy-child=Process-1"])
            .stdin(input)
            .stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    };
    assert!(run(Stdio::null()).status.success());

    // A socket that carries something else ends the program, and no code runs.
    let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    near.write_all(&[b'x'; 64]).unwrap();
    let output = run(Stdio::from(std::os::fd::OwnedFd::from(far)));
    assert_eq!(output.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not carry an order"));
}

/// A manager in this process has neither a socket nor a thread, also while a call waits.
fn embedded_manager_alone() {
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let (descriptors, threads) = (count("fd"), count("task"));
    let manager = Manager::embedded().unwrap();
    let queue = manager.queue::<u64>(0).unwrap();
    thread::scope(|scope| {
        let getter = scope.spawn(|| queue.get().unwrap());
        while manager.stats().unwrap().waiters == 0 {
            thread::yield_now();
        }
        assert_eq!(count("fd"), descriptors, "no descriptor is open for it");
        assert_eq!(count("task"), threads + 1, "the one that waits is ours");
        queue.put(7).unwrap();
        assert_eq!(getter.join().unwrap(), 7);
    });
    assert_eq!(count("fd"), descriptors);
}
