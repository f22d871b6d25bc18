//! What a victim is doing, published where its killer can read it afterwards.
//!
//! A victim says what it is about to do *before* it does it, in one write to a file of its own. The killer reads the file when the
//! victim is dead, so what it reads is the step during which the kill landed. A campaign whose kills land in idle processes shows
//! nothing, and this is how it would be noticed: see [`Histogram`].

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

/// A step of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Doing {
    /// Not there yet.
    Starting,
    /// Between calls: writing its records, or nothing.
    Between,
    /// In a call that may wait for others: `get`, `acquire`, `put` into a bounded queue.
    Waiting,
    /// In a call that is answered at once.
    Calling,
    /// Holding a lock, or an item lent by `receive`.
    Holding,
    /// Finished with all it had to do.
    Finished,
}

/// All steps, in the order of their numbers.
const STEPS: [Doing; 6] = [
    Doing::Starting,
    Doing::Between,
    Doing::Waiting,
    Doing::Calling,
    Doing::Holding,
    Doing::Finished,
];

/// What a victim publishes: its step, and four numbers whose meaning is the victim's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) doing: Doing,
    pub(crate) numbers: [u64; 4],
}

/// The victim's side.
#[derive(Debug)]
pub(crate) struct Publisher {
    file: File,
    status: Status,
    /// How often it was said.
    published: u64,
}

impl Publisher {
    pub(crate) fn open(path: &Path) -> Self {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        Self {
            file,
            status: Status::STARTING,
            published: 0,
        }
    }

    /// Says what comes next.
    pub(crate) fn doing(&mut self, doing: Doing) {
        self.status.doing = doing;
        self.publish();
    }

    /// Says what comes next, and changes one of the numbers in the same step.
    pub(crate) fn doing_with(&mut self, doing: Doing, index: usize, number: u64) {
        self.status.numbers[index] = number;
        self.doing(doing);
    }

    /// Adds one to a number, in the same step as saying what comes next.
    pub(crate) fn done(&mut self, index: usize) {
        self.doing_with(Doing::Between, index, self.status.numbers[index] + 1);
    }

    pub(crate) fn number(&self, index: usize) -> u64 {
        self.status.numbers[index]
    }

    fn publish(&mut self) {
        self.published += 1;
        let Status {
            doing,
            numbers: [a, b, c, d],
        } = self.status;
        let bytes: Vec<u8> = [self.published, doing as u64, a, b, c, d, self.published]
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .collect();
        self.file.write_all_at(&bytes, 0).unwrap();
    }
}

impl Status {
    const STARTING: Self = Self {
        doing: Doing::Starting,
        numbers: [0; 4],
    };

    /// What the victim with this file published last.
    pub(crate) fn read(path: &Path) -> Self {
        let (doing, [a, b, c, d]) = loop {
            let [begun, doing, a, b, c, d, ended] = super::record::read(path)[..] else {
                return Self::STARTING;
            };
            // Whoever reads while the victim writes may find the beginning of one status and the end of another.
            if begun == ended {
                break (doing, [a, b, c, d]);
            }
        };
        let doing = STEPS[usize::try_from(doing).unwrap()];
        Self {
            doing,
            numbers: [a, b, c, d],
        }
    }

    /// What the victim published last, if it is at this step; else after a moment nothing. Whether the victim is *in* the step is
    /// for the caller to find out: it speaks before it acts.
    pub(crate) fn seen(path: &Path, doing: Doing) -> Option<Self> {
        let status = Self::read(path);
        if status.doing == doing {
            return Some(status);
        }
        std::thread::sleep(Duration::from_micros(200));
        None
    }
}

/// In which steps the kills landed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Histogram {
    kills: [u32; STEPS.len()],
}

impl Histogram {
    pub(crate) fn add(&mut self, doing: Doing) {
        self.kills[doing as usize] += 1;
    }

    pub(crate) fn total(&self) -> u32 {
        self.kills.iter().sum()
    }

    /// The percentage of kills that met a victim holding, waiting or in a call.
    pub(crate) fn percent_busy(&self) -> u32 {
        let busy: u32 = [Doing::Waiting, Doing::Calling, Doing::Holding]
            .iter()
            .map(|doing| self.kills[*doing as usize])
            .sum();
        busy * 100 / self.total().max(1)
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kills:", self.total())?;
        for (doing, kills) in STEPS.iter().zip(self.kills) {
            write!(f, " {doing:?} {kills}")?;
        }
        write!(f, "; {}% holding, waiting or in a call", self.percent_busy())
    }
}
