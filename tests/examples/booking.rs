//! `ticket_booking`: oversold without a lock, right under one, right and fast with `modify`.

use crate::watchdog::Watchdog;
use crate::{best_of_five, folder, run};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

/// Those to whom the example sells.
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

/// What the three phases say they booked and oversold.
fn phases(out: &str) -> Vec<(u32, u32)> {
    out.lines()
        .filter_map(|line| {
            let (booked, rest) = line.trim_start().strip_prefix("booked=")?.split_once(" of ")?;
            let oversold = rest.split_once("oversold=")?.1.split(' ').next()?;
            Some((booked.parse().unwrap(), oversold.parse().unwrap()))
        })
        .collect()
}

fn book(tickets: u32, clerks: u32) -> Vec<(u32, u32)> {
    let out = run(
        "ticket_booking",
        &["--tickets", &tickets.to_string(), "--clerks", &clerks.to_string()],
    );
    assert_eq!(
        out.lines().last(),
        Some(format!("booked={tickets} of {tickets} oversold=0").as_str()),
        "{out}"
    );
    let phases = phases(&out);
    assert_eq!(phases.len(), 3, "{out}");
    assert_eq!(&phases[1..], [(tickets, 0), (tickets, 0)], "{out}");
    phases
}

#[test]
fn nothing_is_oversold_under_a_lock_or_with_modify() {
    let _watchdog = Watchdog::new();
    for (tickets, clerks) in [(1, 1), (0, 2), (7, 3), (30, 1), (40, 8)] {
        book(tickets, clerks);
    }
}

#[test]
fn without_a_lock_it_oversells() {
    let _watchdog = Watchdog::new();
    // A clerk may have sold everything before the next one begins.
    let (booked, oversold) = best_of_five(|| book(60, 4)[0], |(_, oversold)| *oversold > 0);
    assert!(
        oversold > 0,
        "four clerks who take milliseconds to decide sell the same seats"
    );
    assert_eq!(booked, 60 + oversold);
}

#[test]
fn one_clerk_alone_oversells_nothing() {
    let _watchdog = Watchdog::new();
    assert_eq!(book(12, 1)[0], (12, 0), "it is the others that make it go wrong");
}

#[test]
fn it_works_as_the_readme_says() {
    let _watchdog = Watchdog::new();
    let out = run("ticket_booking", &[]);
    assert!(out.ends_with("booked=100 of 100 oversold=0\n"), "{out}");
    // Which customers are among the sales that it shows is the clerks' luck.
    let shown = |line: &str| {
        CUSTOMERS
            .iter()
            .any(|customer| line.contains(&format!(" to {customer} by clerk ")))
    };
    let sales: Vec<&str> = out.lines().filter(|line| line.contains(" by clerk ")).collect();
    assert_eq!(sales.len(), 5, "{out}");
    assert!(sales.into_iter().all(shown), "{out}");
}

#[test]
fn a_terminal_shows_meanwhile_how_many_are_sold() {
    let _watchdog = Watchdog::new();
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut example = Command::new(folder().join("ticket_booking"))
        .args(["--tickets", "200"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(terminal)
        .spawn()
        .unwrap();
    // A terminal that everybody has closed ends in an error.
    let (mut screen, mut shown, mut part) = (File::from(screen), Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = screen.read(&mut part) {
        shown.extend_from_slice(&part[..read]);
    }
    assert!(example.wait().unwrap().success());
    let shown = String::from_utf8(shown).unwrap();
    let counts: Vec<u32> = shown
        .split("/200 sold")
        .filter_map(|before| before.rsplit(' ').next()?.parse().ok())
        .collect();
    let between = counts.iter().filter(|count| (1..200).contains(*count)).count();
    assert!(between >= 3, "{counts:?} in {shown:?}");
}
