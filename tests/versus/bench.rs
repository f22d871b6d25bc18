//! The run: rounds in which the sides take turns.

use crate::client::{BATCH_CALLS, Side, Task, Work};
use crate::hosts::{self, Client, Host, OneProcessor, Outcome, race};
use crate::options::Options;
use crate::rows::{Column, Measure, Row, Unit};
use crate::{Result, ours, peers};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Items of the list whose memory is measured.
const LIST_ITEMS: usize = 1_000_000;
/// Connections whose memory is measured; in CPython each costs a thread, so fewer must do.
const CONNECTIONS: usize = 9_000;
const CONNECTIONS_PYTHON: usize = 500;
/// Clients of the server that should do nothing, and the calls each has made in a row before.
const IDLE_CLIENTS: usize = 50;
const IDLE_CALLS: usize = 2000;
/// After this long a server has given back what its clients no longer use.
const IDLE_AFTER: Duration = Duration::from_millis(2500);
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Threads that make batches: as many clients as Redis' own benchmark has.
const BATCH_CLIENTS: usize = 50;
/// How often the sides of a row take turns within a round: what the machine gives to one it gives to all.
const TURNS: usize = 4;
/// Items in the first flow of a side, from which the size of the others follows.
const FLOW_ITEMS: usize = 1000;

/// One measurement of each column, taken one right after the other.
pub(crate) type Turn = BTreeMap<Column, f64>;

/// One row with all that was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) row: &'static Row,
    pub(crate) turns: Vec<Turn>,
}

impl Measured {
    /// The median of a column.
    pub(crate) fn get(&self, column: Column) -> Option<f64> {
        median(self.turns.iter().filter_map(|turn| turn.get(&column).copied()))
    }

    /// How much better we are than this column: above one is better, whatever the unit. The median of what each turn says: the machine
    /// may be twice as fast in one turn as in the next, but within one it is the same for both.
    pub(crate) fn ratio(&self, column: Column) -> Option<f64> {
        let ratio = |turn: &Turn| {
            let (ours, theirs) = (turn.get(&Column::Byproxy)?, turn.get(&column)?);
            let ratio = if self.row.unit.more_is_better() {
                ours / theirs
            } else {
                theirs / ours
            };
            ratio.is_finite().then_some(ratio)
        };
        median(self.turns.iter().filter_map(ratio))
    }
}

/// One side of a row, set up.
enum Contender {
    /// Clients that work whenever they are told to, and their server if it serves nobody else.
    Clients { clients: Vec<Client>, _host: Option<Host> },
    /// One that is set up for each measurement.
    Anew,
}

struct Bench<'a> {
    options: &'a Options,
    folder: TempDir,
    /// Servers that serve many rows, by side.
    hosts: BTreeMap<Side, Host>,
    /// Peers that are not installed.
    missing: Vec<Side>,
    /// How many items a flow of this side has.
    flows: BTreeMap<Column, usize>,
    /// Numbers the folders of servers that serve one measurement.
    fresh: usize,
}

pub(crate) fn run(options: &Options) -> Result<Vec<Measured>> {
    let mut bench = Bench {
        options,
        folder: tempfile::Builder::new().prefix("versus-").tempdir()?,
        hosts: BTreeMap::new(),
        missing: Vec::new(),
        flows: BTreeMap::new(),
        fresh: 0,
    };
    for (side, version) in [
        (Side::Python, peers::python::version()),
        (Side::Redis, peers::redis::version()),
    ] {
        println!(
            "{}: {}",
            side.name(),
            version.as_deref().unwrap_or("not installed, its column stays empty")
        );
        if version.is_none() {
            bench.missing.push(side);
        }
    }
    let measured = |&row| Measured { row, turns: Vec::new() };
    let mut all: Vec<_> = options.rows.iter().map(measured).collect();
    for round in 0..options.rounds {
        for one in all.iter_mut().filter(|one| round == 0 || !one.row.is_set_up_once()) {
            let turns = bench.round(one.row, round);
            one.turns
                .extend(turns.map_err(|error| format!("{}: {error}", one.row.id))?);
        }
        println!("round {} of {} is done", round + 1, options.rounds);
    }
    Ok(all)
}

/// The middle one; nothing of nothing.
fn median(samples: impl Iterator<Item = f64>) -> Option<f64> {
    let mut samples: Vec<_> = samples.collect();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

impl Bench<'_> {
    /// Sets all sides of a row up, and has them take turns.
    fn round(&mut self, row: &Row, round: usize) -> Result<Vec<Turn>> {
        // Where a call is two wake-ups, it costs what the kernel's choice of processors makes it, for every side: a row that
        // compares work has both processes on one.
        let one_processor = (row.limit == Some(Side::Echo)).then(OneProcessor::enter).transpose()?;
        let mut contenders = Vec::new();
        for column in row.columns() {
            let side = side(row, column)?;
            if !self.missing.contains(&side) {
                contenders.push((column, side, self.set_up(row, side, one_processor.is_some())?));
            }
        }
        let first = round % contenders.len().max(1);
        contenders.rotate_left(first);
        let rounds = if row.is_set_up_once() { self.options.rounds } else { 1 };
        let turns = if row.takes_turns() { rounds * TURNS } else { 1 };
        let turn = |_| {
            let turn = contenders
                .iter_mut()
                .map(|(column, side, contender)| {
                    let measured = self.measure(row, *column, *side, contender);
                    Ok((*column, measured.map_err(|error| format!("{column:?}: {error}"))?))
                })
                .collect();
            contenders.rotate_left(1);
            turn
        };
        (0..turns).map(turn).collect()
    }

    fn set_up(&mut self, row: &Row, side: Side, apart: bool) -> Result<Contender> {
        let (work, processes, threads) = match row.measure {
            Measure::Rate {
                work,
                processes,
                threads,
                ..
            } => (work, processes, threads),
            Measure::Batch if side != Side::Redis => (Work::Batch, 1, BATCH_CLIENTS),
            _ => return Ok(Contender::Anew),
        };
        let host = match side {
            Side::Echo | Side::PingPong | Side::Ring => Some(Host::limit(side, &self.fresh_folder()?)?),
            _ if apart => Some(self.fresh_host(side)?),
            _ => None,
        };
        let address = match &host {
            Some(host) => host.address.clone(),
            None => self.host(side)?,
        };
        let task = Task {
            side,
            address,
            work,
            size: threads,
            time: self.turn_time(),
        };
        let clients = hosts::start(&vec![task; processes])?;
        Ok(Contender::Clients { clients, _host: host })
    }

    /// One measurement of one column.
    fn measure(&mut self, row: &Row, column: Column, side: Side, contender: &mut Contender) -> Result<f64> {
        if let Contender::Clients { clients, .. } = contender {
            let rate: f64 = hosts::turn(clients)?.into_iter().map(Outcome::rate).sum();
            return Ok(match row.measure {
                Measure::Batch => rate * BATCH_CALLS as f64,
                _ if row.unit == Unit::Nanoseconds => 1e9 / rate,
                _ => rate,
            });
        }
        match row.measure {
            Measure::Rate { .. } => Err("its clients are not set up".into()),
            Measure::Batch => peers::redis::batch(&self.host(side)?, self.turn_time()),
            Measure::Direct { work, processes } => self.direct(side, work, processes),
            Measure::Flow => self.flow(side, column),
            Measure::Start(work) => Ok(1e3 / self.direct(side, work, 1)?),
            Measure::Memory { work, per_item } => self.memory(side, work, per_item),
            Measure::Growth { work, .. } => self.growth(side, work),
            Measure::Idle => self.idle(),
            Measure::IdleRing => self.idle_ring(),
        }
    }

    fn turn_time(&self) -> Duration {
        self.options.time.div_f64(TURNS as f64)
    }

    /// Steps per second without a server.
    fn direct(&self, side: Side, work: Work, size: usize) -> Result<f64> {
        let task = Task {
            side,
            address: String::new(),
            work,
            size,
            time: self.options.time,
        };
        Ok(race(&[task])?.into_iter().map(Outcome::rate).sum())
    }

    /// Items per second that come out of a queue, one process putting and one getting.
    fn flow(&mut self, side: Side, column: Column) -> Result<f64> {
        let address = self.host(side)?;
        let run = |size: usize| {
            let task = |work| Task {
                side,
                address: address.clone(),
                work,
                size,
                time: Duration::ZERO,
            };
            race(&[task(Work::Consume), task(Work::Produce)])?
                .into_iter()
                .next()
                .ok_or_else(|| "no outcome".into())
        };
        let size = match self.flows.get(&column) {
            Some(&size) => size,
            None => run(FLOW_ITEMS).map(|first: Outcome| first.count_within(self.options.time).max(FLOW_ITEMS))?,
        };
        self.flows.insert(column, size);
        run(size).map(Outcome::rate)
    }

    /// What a server of its own grows by.
    fn memory(&mut self, side: Side, work: Work, per_item: bool) -> Result<f64> {
        let host = self.fresh_host(side)?;
        let size = match (work, side) {
            (Work::HoldList, _) => LIST_ITEMS,
            (_, Side::Python) => CONNECTIONS_PYTHON,
            _ => CONNECTIONS,
        };
        let before = host.resident_bytes()?;
        let task = Task {
            side,
            address: host.address.clone(),
            work,
            size,
            time: Duration::ZERO,
        };
        let client = Client::start(&task)?;
        let grown = host.resident_bytes()? - before;
        drop(client);
        Ok(if per_item { grown / size as f64 } else { grown })
    }

    fn growth(&mut self, side: Side, work: Work) -> Result<f64> {
        // As in a row that compares work: what a wake-up costs depends on the processors, and two servers need not fare alike.
        let _one_processor = (side == Side::Socket).then(OneProcessor::enter).transpose()?;
        // Its objects are many: a server of its own gives them back with its end.
        let host = match side {
            Side::Embedded | Side::Bare => None,
            _ => Some(self.fresh_host(side)?),
        };
        let address = host.as_ref().map(|host| host.address.clone()).unwrap_or_default();
        let outcomes = race(&[Task {
            side,
            address,
            work,
            size: 1,
            time: self.options.time,
        }])?;
        let outcome = outcomes.first().ok_or("no outcome")?;
        Ok(outcome.nanoseconds as f64 / outcome.count as f64)
    }

    /// A server whose clients were busy a moment ago and do nothing now.
    fn idle_host(&mut self) -> Result<(Host, Vec<Client>)> {
        let host = self.fresh_host(Side::Byproxy)?;
        let task = Task {
            side: Side::Byproxy,
            address: host.address.clone(),
            work: Work::HoldClient,
            size: IDLE_CALLS,
            time: Duration::ZERO,
        };
        let clients = (0..IDLE_CLIENTS).map(|_| Client::start(&task)).collect::<Result<_>>()?;
        std::thread::sleep(IDLE_AFTER);
        Ok((host, clients))
    }

    fn idle(&mut self) -> Result<f64> {
        let (host, clients) = self.idle_host()?;
        let before = host.context_switches()?;
        std::thread::sleep(IDLE_TIME);
        let after = host.context_switches()?;
        drop(clients);
        Ok(after - before)
    }

    /// What a ring of such a client still takes.
    fn idle_ring(&mut self) -> Result<f64> {
        let (host, clients) = self.idle_host()?;
        let shared = host.shared_bytes()?;
        drop(clients);
        Ok(shared / IDLE_CLIENTS as f64)
    }

    /// The address of a side's server, which is started at its first use.
    fn host(&mut self, side: Side) -> Result<String> {
        // Whether its clients use rings is no business of a server.
        let side = if side == Side::Socket { Side::Byproxy } else { side };
        if side == Side::Embedded {
            return Ok(String::new());
        }
        if !self.hosts.contains_key(&side) {
            let host = start(side, self.folder.path())?;
            self.hosts.insert(side, host);
        }
        Ok(self.hosts.get(&side).ok_or("just started")?.address.clone())
    }

    fn fresh_host(&mut self, side: Side) -> Result<Host> {
        let folder = self.fresh_folder()?;
        start(side, &folder)
    }

    fn fresh_folder(&mut self) -> Result<std::path::PathBuf> {
        self.fresh += 1;
        let folder = self.folder.path().join(self.fresh.to_string());
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }
}

/// Who is measured in a column.
fn side(row: &Row, column: Column) -> Result<Side> {
    Ok(match (column, row.measure) {
        (Column::Byproxy, Measure::Rate { side, .. } | Measure::Growth { side, .. }) => side,
        (Column::Byproxy, Measure::Direct { .. }) => Side::Direct,
        (Column::Byproxy, _) => Side::Byproxy,
        (Column::Python, _) => Side::Python,
        (Column::Redis, _) => Side::Redis,
        (Column::PingPong, _) => Side::PingPong,
        (Column::Limit, _) => row.limit.ok_or("no limit")?,
    })
}

fn start(side: Side, folder: &Path) -> Result<Host> {
    match side {
        Side::Python => peers::python::start(folder),
        Side::Redis => peers::redis::start(folder),
        Side::Byproxy | Side::Socket => ours::start(folder),
        other => Err(format!("{} has no server", other.name()).into()),
    }
}
