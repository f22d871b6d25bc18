//! No descriptors left to accept with: the server waits without spinning, and serves again when there are some.

use crate::support::{Client, Served, alone, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

#[test]
fn a_server_without_descriptors_neither_spins_nor_gives_up() {
    alone(
        "descriptors::a_server_without_descriptors_neither_spins_nor_gives_up",
        || {
            let served = Served::start();
            let mut client = served.client();
            client.ping();
            // Everything that is open stays; one more can be opened, and that is this process's end of the next connection.
            let used = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
            let highest = used
                .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok())
                .max()
                .unwrap();
            let held: Vec<_> = (0..highest)
                .map_while(|_| std::fs::File::open("/dev/null").ok())
                .take(64)
                .collect();
            let free = held.len() as u64;
            let limit = getrlimit(Resource::Nofile);
            let current = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
            setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: Some(current.max(highest + 1)),
                    maximum: limit.maximum,
                },
            )
            .unwrap();
            let mut extra = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                extra.push(file);
            }
            assert!(free > 0 && !extra.is_empty());
            extra.pop();

            let path = served.path.clone();
            let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
            until("accepting has stopped", || served.handle.stats().starved > 0);
            let before = (processor_time(), served.handle.stats().starved);
            std::thread::sleep(Duration::from_secs(1));
            let after = (processor_time(), served.handle.stats().starved);
            let spent = after.0.saturating_sub(before.0);
            println!(
                "a second without descriptors: {spent:?} of processor time, {} attempts",
                after.1 - before.1
            );
            assert!(after.1 - before.1 <= 10, "{} attempts in a second", after.1 - before.1);
            assert!(
                spent < Duration::from_millis(200),
                "{spent:?} of processor time in a second of waiting"
            );
            client.ping();

            drop(extra);
            let start = Instant::now();
            Client::open(&path).ping();
            println!("served again after {:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(1));
            drop((waiting, held));
        },
    );
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}
