//! The run: rounds in which the sides take turns.

use crate::client::{BATCH_CALLS, Side, Task, Work};
use crate::hosts::{Client, Host, OneProcessor, Outcome, race};
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
/// Items in the first flow of a side, from which the size of the others follows.
const FLOW_ITEMS: usize = 1000;

/// One row with all that was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) row: &'static Row,
    /// The median of each column.
    pub(crate) columns: BTreeMap<Column, f64>,
}

impl Measured {
    pub(crate) fn get(&self, column: Column) -> Option<f64> {
        self.columns.get(&column).copied()
    }
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
    let mut samples: BTreeMap<(usize, Column), Vec<f64>> = BTreeMap::new();
    for round in 0..options.rounds {
        for (index, row) in options
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| round == 0 || !row.is_steady())
        {
            let mut columns = row.columns();
            let turn = round % columns.len();
            columns.rotate_left(turn);
            for column in columns {
                let measured = bench
                    .measure(row, column)
                    .map_err(|error| format!("{} ({column:?}): {error}", row.id))?;
                samples.entry((index, column)).or_default().extend(measured);
            }
        }
        println!("round {} of {} is done", round + 1, options.rounds);
    }
    let measured = |(index, row): (usize, &&'static Row)| {
        let column = |column| Some((column, median(samples.get_mut(&(index, column))?)?));
        Measured {
            row,
            columns: row.columns().into_iter().filter_map(column).collect(),
        }
    };
    Ok(options.rows.iter().enumerate().map(measured).collect())
}

/// The middle one; nothing of nothing.
fn median(samples: &mut [f64]) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

impl Bench<'_> {
    /// One measurement; nothing where a column does not apply.
    fn measure(&mut self, row: &Row, column: Column) -> Result<Option<f64>> {
        let side = match (column, row.measure) {
            (Column::Byproxy, Measure::Rate { side, .. } | Measure::Growth { side, .. }) => side,
            (Column::Byproxy, Measure::Direct { .. }) => Side::Direct,
            (Column::Byproxy, _) => Side::Byproxy,
            (Column::Python, _) => Side::Python,
            (Column::Redis, _) => Side::Redis,
            (Column::PingPong, _) => Side::PingPong,
            (Column::Limit, _) => row.limit.ok_or("no limit")?,
        };
        if self.missing.contains(&side) {
            return Ok(None);
        }
        let value = match row.measure {
            Measure::Rate {
                work,
                processes,
                threads,
                ..
            } => {
                // Where a call is two wake-ups, it costs what the kernel's choice of processors makes it, for every side: a row that
                // compares work has both processes on one.
                let one_processor = (row.limit == Some(Side::Echo)).then(OneProcessor::enter).transpose()?;
                let rate = match one_processor {
                    Some(_) if !matches!(side, Side::Echo | Side::PingPong) => {
                        let host = self.fresh_host(side)?;
                        self.rate_at(host.address.clone(), side, work, processes, threads)?
                    }
                    _ => self.rate(side, work, processes, threads)?,
                };
                if row.unit == Unit::Nanoseconds {
                    1e9 / rate
                } else {
                    rate
                }
            }
            Measure::Direct { work, processes } => self.rate_at(String::new(), side, work, 1, processes)?,
            Measure::Flow => self.flow(side, column)?,
            Measure::Start(work) => 1e3 / self.rate_at(String::new(), side, work, 1, 1)?,
            Measure::Batch => match side {
                Side::Redis => peers::redis::batch(&self.host(side)?, self.options.time)?,
                _ => self.rate(side, Work::Batch, 1, BATCH_CLIENTS)? * BATCH_CALLS as f64,
            },
            Measure::Memory { work, per_item } => self.memory(side, work, per_item)?,
            Measure::Growth { work, .. } => self.growth(side, work)?,
            Measure::Idle => self.idle()?,
            Measure::IdleRing => self.idle_ring()?,
        };
        Ok(Some(value))
    }

    /// Steps per second, of all clients together.
    fn rate(&mut self, side: Side, work: Work, processes: usize, threads: usize) -> Result<f64> {
        if matches!(side, Side::Echo | Side::PingPong | Side::Ring) {
            // A limit's server lives only as long as it is measured: one of them never sleeps.
            let host = Host::limit(side, &self.fresh_folder()?)?;
            return self.rate_at(host.address.clone(), side, work, processes, threads);
        }
        let address = self.host(side)?;
        self.rate_at(address, side, work, processes, threads)
    }

    fn rate_at(&self, address: String, side: Side, work: Work, processes: usize, threads: usize) -> Result<f64> {
        let task = Task {
            side,
            address,
            work,
            size: threads,
            time: self.options.time,
        };
        let outcomes = race(&vec![task; processes])?;
        Ok(outcomes.into_iter().map(Outcome::rate).sum())
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
        let host = if side == Side::Embedded {
            None
        } else {
            Some(self.fresh_host(side)?)
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

fn start(side: Side, folder: &Path) -> Result<Host> {
    match side {
        Side::Python => peers::python::start(folder),
        Side::Redis => peers::redis::start(folder),
        Side::Byproxy | Side::Socket => ours::start(folder),
        other => Err(format!("{} has no server", other.name()).into()),
    }
}
