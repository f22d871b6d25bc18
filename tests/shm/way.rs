//! The way of a victim, instruction by instruction, and which of them have their turn to be its last.
//!
//! Of a short way all have. Of a long one these have: all around each instruction by which others learn of anything, that is a locked one, an
//! exchange or a system call, and some of those between. `BYPROXY_KILL_POINTS=all` has them all.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::thread;
use std::time::Duration;

use crate::support::{PROMISE, Survivor, Survivors};
use crate::victim::{Came, Victim, stay_on_one_processor};

/// What running into a breakpoint costs, in steps.
const BREAKPOINT_STEPS: usize = 3;
/// How many steps are taken at most instead of running into a breakpoint more often.
const NEARBY: usize = 400;
/// Up to so many instructions all have their turn.
const SHORT: usize = 2_500;
/// On either side of those that matter all have their turn.
const AROUND: usize = 8;
/// How many of the others have theirs.
const SAMPLED: usize = 150;
/// How many are asked for the way, at most.
const GUIDES: usize = 5;
/// So many victims may go another way, beside every tenth.
const ASTRAY: usize = 20;
/// So often survivors may not be late after the same instruction. Where the machine was too busy to tell, it is tried once more, for a while.
const TRIES: u32 = 4;
const BUSY_TRIES: u32 = 30;
const REST: Duration = Duration::from_millis(200);

/// The instructions of what victims do.
///
/// The first victims are stepped through and show the way, until two show the same. The others run to a place on that way, where a breakpoint
/// waits for them, and are stepped from there.
pub(crate) struct Way {
    places: Vec<u64>,
    /// Which visit of its place each step is.
    visits: Vec<usize>,
    /// How many victims were sent along it, and how many of them left it.
    sent: Cell<usize>,
    astray: Cell<usize>,
}

impl Way {
    pub(crate) fn of<T>(prepare: impl Fn() -> (Victim, T)) -> Self {
        Self::until(prepare, |_| false)
    }

    /// The same up to its first sleep on a futex.
    pub(crate) fn to_sleep<T>(prepare: impl Fn() -> (Victim, T)) -> Self {
        Self::until(prepare, |victim| victim.is_at_call(libc::SYS_futex))
    }

    fn until<T>(prepare: impl Fn() -> (Victim, T), is_end: impl Fn(&Victim) -> bool) -> Self {
        stay_on_one_processor();
        let mut shown: Vec<Vec<u64>> = Vec::new();
        let places = loop {
            let (victim, other) = prepare();
            let places = victim.way(&is_end);
            drop((victim, other));
            if shown.contains(&places) {
                break places;
            }
            shown.push(places);
            if shown.len() == GUIDES {
                println!("no two of {GUIDES} guides went the same way");
                // Each was led astray. A clock that is set while it is read has a reader take another round: the shortest has the fewest.
                break shown.into_iter().min_by_key(Vec::len).expect("there are guides");
            }
        };
        let mut so_far = HashMap::<u64, usize>::new();
        let visits = places.iter().map(|place| {
            let visit = so_far.entry(*place).or_default();
            *visit += 1;
            *visit
        });
        Self {
            visits: visits.collect(),
            places,
            sent: Cell::new(0),
            astray: Cell::new(0),
        }
    }

    /// How many instructions it has.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Which of them have their turn.
    pub(crate) fn chosen(&self) -> BTreeSet<usize> {
        let all = 0..self.len();
        if self.len() <= SHORT || all_are_wanted() {
            return all.collect();
        }
        let last: HashMap<u64, usize> = self.places.iter().copied().zip(self.visits.iter().copied()).collect();
        let matters = all.clone().filter(|count| {
            let (place, visit) = (self.places[*count], self.visits[*count]);
            // Of a loop the first rounds and the last.
            (visit <= 2 || visit == last[&place]) && is_seen_by_others(place)
        });
        let around = matters.flat_map(|count| count.saturating_sub(AROUND)..=(count + AROUND).min(self.len() - 1));
        around.chain(all.step_by((self.len() / SAMPLED).max(1))).collect()
    }

    /// A victim stopped after so many of them; nothing if a clock or another process had it take another way, as few may.
    pub(crate) fn victim_after<T>(&self, count: usize, prepare: impl Fn() -> (Victim, T)) -> Option<(Victim, T)> {
        let nearby = count.saturating_sub(NEARBY)..=count;
        let from = nearby
            .min_by_key(|from| count - from + self.visits[*from] * BREAKPOINT_STEPS)
            .unwrap_or(0);
        let (victim, other) = prepare();
        self.sent.set(self.sent.get() + 1);
        let came = from == 0 || victim.run_to(self.places[from], self.visits[from]);
        if came && victim.step(count - from) == Came::Between {
            return Some((victim, other));
        }
        self.astray.set(self.astray.get() + 1);
        let (astray, sent) = (self.astray.get(), self.sent.get());
        assert!(
            astray <= ASTRAY + sent / 10,
            "{astray} of {sent} did not come where they should"
        );
        None
    }

    /// Has a victim stop at each of the chosen instructions, does to it what `strike` does, which tells how a survivor came away, and again if
    /// that one was late.
    pub(crate) fn strike_everywhere<T>(
        &self,
        what: &str,
        prepare: impl Fn() -> (Victim, T),
        mut strike: impl FnMut(Victim, T) -> Survivor,
    ) -> Survivors {
        let mut survivors = Survivors::default();
        for count in self.chosen() {
            let (mut late, mut busy) = (0, 0);
            while let Some((victim, other)) = self.victim_after(count, &prepare) {
                let survivor = strike(victim, other);
                if survivor.is_late() && busy < BUSY_TRIES && is_busy() {
                    busy += 1;
                    thread::sleep(REST);
                    continue;
                }
                survivors.record(survivor);
                if !survivor.is_late() {
                    break;
                }
                late += 1;
                assert!(
                    late < TRIES,
                    "{what}: survivors of instruction {count} of {} were late each time: {survivor:?}",
                    self.len()
                );
            }
        }
        survivors
    }
}

/// One victim after the other, each stopped some instructions later than the one before, with whatever else `prepare` made for it.
pub(crate) fn kill_points<T>(prepare: impl Fn() -> (Victim, T)) -> impl Iterator<Item = (Victim, T)> {
    let way = Way::of(&prepare);
    way.chosen()
        .into_iter()
        .filter_map(move |count| way.victim_after(count, &prepare))
}

/// Kills victims everywhere on their way; `kill` does it and tells how a survivor came away.
pub(crate) fn kill_everywhere<T>(
    what: &str,
    prepare: impl Fn() -> (Victim, T),
    kill: impl FnMut(Victim, T) -> Survivor,
) -> Survivors {
    Way::of(&prepare).strike_everywhere(what, &prepare, kill)
}

/// Whether processes have to wait for the processor so long that nobody can be blamed for being late.
fn is_busy() -> bool {
    (0..5).any(|_| {
        let mut idle = Victim::new(|| (), |()| ());
        let killed = idle.kill();
        drop(idle);
        killed.elapsed() > PROMISE / 50
    })
}

pub(crate) fn all_are_wanted() -> bool {
    std::env::var("BYPROXY_KILL_POINTS").is_ok_and(|which| which == "all")
}

/// Whether an instruction is a locked one, an exchange, or a system call. Victims are copies of this process, with the same code in the same
/// places.
fn is_seen_by_others(place: u64) -> bool {
    let place = usize::try_from(place).expect("an address");
    let code = [0, 1].map(|offset| {
        let place = std::ptr::with_exposed_provenance::<u8>(place + offset);
        // SAFETY: an instruction that a copy of this process came by, and not the last of its mapping.
        unsafe { place.read() }
    });
    matches!(
        code,
        [0xf0 | 0x86 | 0x87, _] | [0x40..=0x4f, 0x86 | 0x87] | [0x0f, 0x05]
    )
}
