//! The rows of the comparison: what each measures, beside whom, and which goals it has.

use crate::client::{Side, Work};

/// One line of the table. Its id stays the same for ever, so that results can be compared over time.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) unit: Unit,
    pub(crate) measure: Measure,
    /// Whether CPython can do it, and Redis.
    pub(crate) peers: Peers,
    /// What the machine allows for it.
    pub(crate) limit: Option<Side>,
    pub(crate) goals: &'static [Goal],
}

/// What a row's numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Nanoseconds,
    Milliseconds,
    Bytes,
    /// How many times one thing is another.
    Ratio,
    Count,
}

/// How a row is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Measure {
    /// So many processes with so many threads each, all at once.
    Rate {
        side: Side,
        work: Work,
        processes: usize,
        threads: usize,
    },
    /// So many processes on one direct object, all at once.
    Direct { work: Work, processes: usize },
    /// One process puts, another gets.
    Flow,
    /// The time until something runs.
    Start(Work),
    /// Batches of 64 calls, of as many clients as Redis' own benchmark has.
    Batch,
    /// What a server grows by for each of so many things.
    Memory { work: Work, per_item: bool },
    /// What a step costs with a million things, in terms of what it costs with a thousand.
    Growth { side: Side, work: Work },
    /// How often a server whose clients were busy and are idle now runs in five seconds.
    Idle,
    /// What a ring of such a client still takes in memory.
    IdleRing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    Both,
    Python,
    Redis,
    None,
}

/// The columns of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    Byproxy,
    Python,
    Redis,
    Limit,
    /// The raw socket ping-pong, beside the limit of `call.get.socket`.
    PingPong,
}

/// What a row must reach: a rate at least, anything else at most.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// So many times another column.
    Of(Column, f64),
    /// So many times what another row measured of us in the same run.
    OfRow(&'static str, f64),
    Value(f64),
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "ops/s",
            Self::Nanoseconds => "ns",
            Self::Milliseconds => "ms",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
            Self::Count => "count",
        }
    }

    pub(crate) fn more_is_better(self) -> bool {
        self == Self::PerSecond
    }
}

impl Row {
    pub(crate) fn columns(&self) -> Vec<Column> {
        let mut columns = vec![Column::Byproxy];
        columns.extend(matches!(self.peers, Peers::Both | Peers::Python).then_some(Column::Python));
        columns.extend(matches!(self.peers, Peers::Both | Peers::Redis).then_some(Column::Redis));
        columns.extend(self.limit.map(|_| Column::Limit));
        columns.extend((self.limit == Some(Side::Echo)).then_some(Column::PingPong));
        columns
    }

    /// Whether its sides take turns within a round: they need not be set up anew for each.
    pub(crate) fn takes_turns(&self) -> bool {
        matches!(self.measure, Measure::Rate { .. } | Measure::Batch)
    }

    /// Whether one round is enough: sizes do not vary, a growth takes turns within itself, and where many processes are set up they take all
    /// turns at once.
    pub(crate) fn is_set_up_once(&self) -> bool {
        matches!(
            self.measure,
            Measure::Memory { .. }
                | Measure::Growth { .. }
                | Measure::Idle
                | Measure::IdleRing
                | Measure::Rate { processes: 2.., .. }
        )
    }
}

const fn row(
    id: &'static str,
    unit: Unit,
    measure: Measure,
    peers: Peers,
    limit: Option<Side>,
    goals: &'static [Goal],
) -> Row {
    Row {
        id,
        unit,
        measure,
        peers,
        limit,
        goals,
    }
}

const fn calls(
    id: &'static str,
    side: Side,
    work: Work,
    processes: usize,
    threads: usize,
    limit: Option<Side>,
    goals: &'static [Goal],
) -> Row {
    row(
        id,
        Unit::PerSecond,
        Measure::Rate {
            side,
            work,
            processes,
            threads,
        },
        Peers::Both,
        limit,
        goals,
    )
}

const fn growth(id: &'static str, side: Side, work: Work, goals: &'static [Goal]) -> Row {
    row(
        id,
        Unit::Ratio,
        Measure::Growth { side, work },
        Peers::None,
        Some(Side::Bare),
        goals,
    )
}

const fn direct(id: &'static str, work: Work, processes: usize, goals: &'static [Goal]) -> Row {
    row(
        id,
        Unit::PerSecond,
        Measure::Direct { work, processes },
        Peers::Python,
        Some(Side::Bare),
        goals,
    )
}

const RING: Option<Side> = Some(Side::Ring);

/// What one call must reach where neither side sleeps.
const ONE_CALL: &[Goal] = &[
    Goal::Of(Column::Python, 40.0),
    Goal::Of(Column::Redis, 20.0),
    Goal::Of(Column::Limit, 0.25),
];

/// What a step may cost with a million things, in terms of what it costs with a thousand.
const FLAT: &[Goal] = &[Goal::Value(1.5)];

pub(crate) const ROWS: &[Row] = &[
    calls("call.get", Side::Byproxy, Work::Get, 1, 1, RING, ONE_CALL),
    calls("call.insert", Side::Byproxy, Work::Insert, 1, 1, RING, ONE_CALL),
    calls("call.index", Side::Byproxy, Work::Index, 1, 1, RING, ONE_CALL),
    calls("call.append", Side::Byproxy, Work::Append, 1, 1, RING, ONE_CALL),
    calls(
        "call.get.8",
        Side::Byproxy,
        Work::Get,
        1,
        8,
        None,
        &[Goal::Of(Column::Redis, 8.0)],
    ),
    calls(
        "call.get.50",
        Side::Byproxy,
        Work::Get,
        1,
        50,
        None,
        &[Goal::Of(Column::Redis, 6.0)],
    ),
    calls(
        "call.get.200",
        Side::Byproxy,
        Work::Get,
        1,
        200,
        None,
        &[
            Goal::OfRow("call.get.50", 0.25),
            Goal::OfRow("call.get.200.socket", 1.0),
        ],
    ),
    calls("call.get.50p", Side::Byproxy, Work::Get, 50, 1, None, &[]),
    calls(
        "call.get.socket",
        Side::Socket,
        Work::Get,
        1,
        1,
        Some(Side::Echo),
        &[Goal::Of(Column::Limit, 0.85), Goal::Of(Column::PingPong, 0.70)],
    ),
    calls(
        "call.get.8.socket",
        Side::Socket,
        Work::Get,
        1,
        8,
        None,
        &[Goal::Of(Column::Redis, 1.2)],
    ),
    calls("call.get.200.socket", Side::Socket, Work::Get, 1, 200, None, &[]),
    row(
        "call.get.embedded",
        Unit::Nanoseconds,
        Measure::Rate {
            side: Side::Embedded,
            work: Work::Get,
            processes: 1,
            threads: 1,
        },
        Peers::None,
        None,
        &[Goal::Value(250.0)],
    ),
    row(
        "batch.64",
        Unit::PerSecond,
        Measure::Batch,
        Peers::Redis,
        None,
        &[Goal::Of(Column::Redis, 4.0)],
    ),
    row(
        "queue.pair",
        Unit::PerSecond,
        Measure::Rate {
            side: Side::Byproxy,
            work: Work::QueuePair,
            processes: 1,
            threads: 1,
        },
        Peers::Python,
        None,
        &[],
    ),
    row(
        "queue.1p1c",
        Unit::PerSecond,
        Measure::Flow,
        Peers::Python,
        None,
        &[Goal::Of(Column::Python, 45.0)],
    ),
    row(
        "lock.pair",
        Unit::PerSecond,
        Measure::Rate {
            side: Side::Byproxy,
            work: Work::LockPair,
            processes: 1,
            threads: 1,
        },
        Peers::Python,
        None,
        &[Goal::Of(Column::Python, 40.0)],
    ),
    direct("shm.value.get", Work::ValueGet, 1, &[Goal::Of(Column::Python, 50.0)]),
    direct("shm.value.set", Work::ValueSet, 1, &[Goal::Of(Column::Python, 50.0)]),
    direct("shm.value.add", Work::ValueAdd, 1, &[Goal::Of(Column::Python, 25.0)]),
    direct("shm.value.add.2", Work::ValueAdd, 2, &[Goal::Of(Column::Python, 15.0)]),
    direct(
        "shm.lock.pair",
        Work::DirectLockPair,
        1,
        &[Goal::Of(Column::Python, 20.0)],
    ),
    row(
        "manager.start",
        Unit::Milliseconds,
        Measure::Start(Work::ManagerStart),
        Peers::Python,
        Some(Side::Spawn),
        &[Goal::Value(4.0)],
    ),
    row(
        "process.start",
        Unit::Milliseconds,
        Measure::Start(Work::ProcessStart),
        Peers::Python,
        Some(Side::Spawn),
        &[Goal::Value(2.5)],
    ),
    row(
        "mem.list.1m",
        Unit::Bytes,
        Measure::Memory {
            work: Work::HoldList,
            per_item: false,
        },
        Peers::Both,
        None,
        &[Goal::Value(20e6)],
    ),
    row(
        "mem.connection",
        Unit::Bytes,
        Measure::Memory {
            work: Work::HoldConnections,
            per_item: true,
        },
        Peers::Both,
        None,
        &[Goal::Value(16_384.0)],
    ),
    growth("scale.list", Side::Byproxy, Work::GrowList, FLAT),
    growth("scale.list.socket", Side::Socket, Work::GrowList, FLAT),
    growth("scale.dict", Side::Byproxy, Work::GrowDict, FLAT),
    growth("scale.dict.socket", Side::Socket, Work::GrowDict, FLAT),
    growth("scale.objects", Side::Byproxy, Work::GrowObjects, FLAT),
    growth("scale.objects.socket", Side::Socket, Work::GrowObjects, FLAT),
    growth("scale.list.embedded", Side::Embedded, Work::GrowList, FLAT),
    growth("scale.dict.embedded", Side::Embedded, Work::GrowDict, FLAT),
    growth("scale.objects.embedded", Side::Embedded, Work::GrowObjects, FLAT),
    row(
        "mem.ring",
        Unit::Bytes,
        Measure::IdleRing,
        Peers::None,
        None,
        &[Goal::Value(8192.0)],
    ),
    row(
        "idle.switches",
        Unit::Count,
        Measure::Idle,
        Peers::None,
        None,
        &[Goal::Value(0.0)],
    ),
];
