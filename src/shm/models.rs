//! The shared words under every interleaving that loom can think of: who holds, who sleeps, who dies, who adds, who is late, who reads.
//!
//! The algorithms are the production ones; only the words and the way of waiting are loom's. A sleeper here has no slice that would rescue
//! it: a wake-up that is forgotten or lost is a deadlock, which loom reports.
//!
//! Two threads on one word go through all interleavings ([`loom::model`]). Where three meet, or two on the words of a lock or of a pair, these
//! are too many, and [`check_bounded`] goes through those with two preemptions at most: a thread that stops because it has to wait is none.

use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicU64, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::mutex::{self, FREE, Hold, OWNERLESS, Patience, Round, WAITERS, Woken};
use super::pair::{self, Changed, Pair};
use super::slots;
use super::tokens::Words;
use super::word::Word;

const FIRST: u64 = 1 << 7;
const SECOND: u64 = 2 << 7;
const THIRD: u64 = 3 << 7;
const DEAD: u64 = 4 << 7;

fn is_dead(word: u64) -> bool {
    word & !WAITERS == DEAD
}

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        AtomicU64::swap(self, value, order)
    }

    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        AtomicU64::fetch_add(self, value, order)
    }

    fn compare_exchange(&self, current: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64> {
        AtomicU64::compare_exchange(self, current, new, success, failure)
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

/// A word with the kernel's part of a futex: comparing and going to sleep are one step for whoever wakes.
struct Futex {
    word: AtomicU64,
    /// Changed only here and by the holder: torn if two hold at once.
    guarded: AtomicU64,
    kernel: Mutex<()>,
    called: Condvar,
}

impl Futex {
    fn new(word: u64) -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU64::new(word),
            guarded: AtomicU64::new(0),
            kernel: Mutex::new(()),
            called: Condvar::new(),
        })
    }

    fn wake(&self) {
        let _kernel = self.kernel.lock().unwrap();
        self.called.notify_one();
    }

    fn take(&self, holder: u64) -> Hold {
        let taken = mutex::take_free(&self.word, holder);
        taken.unwrap_or_else(|| mutex::take(&self.word, holder, &mut Sleeper(self)).unwrap())
    }

    fn give_back(&self, hold: Hold) {
        assert!(mutex::give_back(&self.word, hold, |_| self.wake()));
    }

    /// What only a holder may do, with orderings that show whether holders are ordered.
    fn count(&self) {
        let seen = self.guarded.load(Ordering::Relaxed);
        self.guarded.store(seen + 1, Ordering::Relaxed);
    }
}

/// Sleeps at once and without end.
struct Sleeper<'a>(&'a Futex);

impl Patience<AtomicU64> for Sleeper<'_> {
    fn round(&mut self) -> Round {
        Round::Sleep
    }

    fn park(&mut self, word: &AtomicU64, expected: u64) -> Woken {
        let kernel = self.0.kernel.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            if is_dead(expected) {
                // Nobody wakes us: the slice passes.
                return Woken::Lapsed;
            }
            drop(self.0.called.wait(kernel).unwrap());
        }
        Woken::Called
    }

    fn is_dead(&self, word: u64) -> bool {
        is_dead(word)
    }
}

/// Sleeps once, and then has no more time.
struct Impatient<'a>(Sleeper<'a>, bool);

impl Patience<AtomicU64> for Impatient<'_> {
    fn round(&mut self) -> Round {
        if self.1 { Round::Over } else { Round::Sleep }
    }

    fn park(&mut self, word: &AtomicU64, expected: u64) -> Woken {
        self.1 = true;
        self.0.park(word, expected)
    }

    fn is_dead(&self, word: u64) -> bool {
        self.0.is_dead(word)
    }
}

/// Where all interleavings are too many: those in which threads are interrupted so often at most.
fn check_bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn one_holds_at_a_time_and_nobody_sleeps_for_ever() {
    loom::model(|| {
        let futex = Futex::new(FREE);
        let threads: Vec<_> = [FIRST, SECOND]
            .map(|holder| {
                let futex = Arc::clone(&futex);
                thread::spawn(move || {
                    let hold = futex.take(holder);
                    futex.count();
                    futex.give_back(hold);
                })
            })
            .into();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(futex.guarded.load(Ordering::Relaxed), 2);
        assert_eq!(futex.word.load(Ordering::Relaxed), FREE);
    });
}

#[test]
fn two_sleepers_are_both_woken() {
    check_bounded(|| {
        let futex = Futex::new(FREE);
        let hold = futex.take(FIRST);
        let threads: Vec<_> = [SECOND, THIRD]
            .map(|holder| {
                let futex = Arc::clone(&futex);
                thread::spawn(move || {
                    let hold = futex.take(holder);
                    futex.count();
                    futex.give_back(hold);
                })
            })
            .into();
        futex.count();
        futex.give_back(hold);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(futex.guarded.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn who_is_woken_and_gives_up_leaves_nobody_asleep() {
    // Once a thread that was woken, found the lock taken again, and had no more time, left without a word: whoever had taken the lock did
    // not know that others slept, and woke nobody. Now who gives up after a sleep says that others may sleep still.
    check_bounded(|| {
        let futex = Futex::new(FREE);
        let hold = futex.take(FIRST);
        let impatient = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || {
                let taken = mutex::take(&futex.word, SECOND, &mut Impatient(Sleeper(&futex), false));
                if let Some(hold) = taken {
                    futex.give_back(hold);
                }
            })
        };
        let patient = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || {
                let hold = futex.take(THIRD);
                futex.give_back(hold);
            })
        };
        futex.give_back(hold);
        if let Some(hold) = mutex::take_free(&futex.word, FIRST) {
            futex.give_back(hold);
        }
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

#[test]
fn a_dead_holders_word_goes_to_one_who_is_told() {
    check_bounded(|| {
        let futex = Futex::new(DEAD);
        let threads: Vec<_> = [FIRST, SECOND]
            .map(|holder| {
                let futex = Arc::clone(&futex);
                thread::spawn(move || {
                    let hold = futex.take(holder);
                    futex.count();
                    let told = hold.abandoned();
                    futex.give_back(hold);
                    u32::from(told)
                })
            })
            .into();
        let told: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(told, 1);
        assert_eq!(futex.guarded.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn anyone_can_free_what_a_holder_left() {
    loom::model(|| {
        let futex = Futex::new(FREE);
        let hold = futex.take(FIRST);
        let waiter = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || {
                let hold = futex.take(SECOND);
                futex.give_back(hold);
            })
        };
        assert!(mutex::leave(&futex.word, hold));
        assert_eq!(futex.word.load(Ordering::Relaxed) & !WAITERS, OWNERLESS);
        assert!(mutex::free(&futex.word, |_| futex.wake()));
        waiter.join().unwrap();
        assert!(!mutex::free(&futex.word, |_| ()), "it is free");
    });
}

#[test]
fn an_old_holding_frees_nothing() {
    loom::model(|| {
        let futex = Futex::new(FREE);
        let old = futex.take(FIRST);
        assert!(mutex::free(&futex.word, |_| ()));
        let other = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || {
                let hold = futex.take(SECOND);
                futex.count();
                futex.give_back(hold);
            })
        };
        assert!(!mutex::give_back(&futex.word, old, |_| futex.wake()));
        let hold = futex.take(FIRST);
        futex.count();
        futex.give_back(hold);
        other.join().unwrap();
        assert_eq!(futex.guarded.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_lock_released_by_another_goes_to_its_sleeper() {
    check_bounded(|| {
        let lock = Arc::new(Words::of([(); 4].map(|()| AtomicU64::new(0))));
        let futex = Futex::new(FREE);
        let hold = mutex::take_free(&lock.lock, lock.holder(FIRST)).unwrap();
        let sleeper = {
            let (lock, futex) = (Arc::clone(&lock), Arc::clone(&futex));
            thread::spawn(move || {
                let hold = mutex::take(&lock.lock, lock.holder(SECOND), &mut Sleeper(&futex)).unwrap();
                let (hold, token) = lock.count(hold, SECOND).unwrap();
                assert!(mutex::give_back(&lock.lock, hold, |_| futex.wake()));
                token
            })
        };
        let (hold, token) = lock.count(hold, FIRST).unwrap();
        assert!(lock.release(THIRD, is_dead, |_| futex.wake()));
        assert!(
            !mutex::give_back(&lock.lock, hold, |_| futex.wake()),
            "it was taken away"
        );
        assert!(sleeper.join().unwrap() > token);
    });
}

/// A lock whose holder died.
fn lock_of_the_dead() -> Arc<Words<AtomicU64>> {
    Arc::new(Words::of([DEAD, 0, 0, 0].map(AtomicU64::new)))
}

#[test]
fn a_dead_holders_lock_released_by_another_is_told_to_its_sleeper() {
    check_bounded(|| {
        let lock = lock_of_the_dead();
        let futex = Futex::new(FREE);
        let sleeper = {
            let (lock, futex) = (Arc::clone(&lock), Arc::clone(&futex));
            thread::spawn(move || {
                loop {
                    let hold = mutex::take(&lock.lock, lock.holder(FIRST), &mut Sleeper(&futex)).unwrap();
                    if let Some((hold, _)) = lock.count(hold, FIRST) {
                        mutex::give_back(&lock.lock, hold, |_| futex.wake());
                        return hold.abandoned();
                    }
                }
            })
        };
        let _ = lock.release(THIRD, is_dead, |_| futex.wake());
        assert!(sleeper.join().unwrap(), "nobody else was told");
    });
}

/// The token of a guard that one try brings, given back at once, and whether it was told of a death.
fn guard_of(lock: &Words<AtomicU64>, owner: u64) -> Option<(u64, bool)> {
    let futex = Futex::new(FREE);
    let hold = mutex::try_take(&lock.lock, lock.holder(owner), &Sleeper(&futex))?;
    let (hold, token) = lock.count(hold, owner)?;
    mutex::give_back(&lock.lock, hold, |_| ());
    Some((token, hold.abandoned()))
}

/// Of the guards there were, the first is told, and no other.
fn assert_the_first_is_told(guards: impl IntoIterator<Item = Option<(u64, bool)>>) {
    let mut guards: Vec<_> = guards.into_iter().flatten().collect();
    guards.sort_unstable();
    assert!(
        guards
            .iter()
            .map(|(_, told)| *told)
            .eq((0..guards.len()).map(|at| at == 0)),
        "{guards:?}"
    );
}

#[test]
fn who_loses_a_dead_holders_lock_at_once_leaves_the_death_to_be_told() {
    check_bounded(|| {
        let lock = lock_of_the_dead();
        // Tries once, and tells of a death only if that is of any use.
        let first = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || guard_of(&lock, FIRST))
        };
        let _ = lock.release(THIRD, is_dead, |_| ());
        assert_the_first_is_told([first.join().unwrap(), guard_of(&lock, SECOND)]);
    });
}

#[test]
fn a_dead_holders_lock_released_while_it_is_taken_over_is_told_to_the_next() {
    // Once a release that came between taking the lock from a dead holder and writing that down let the next one in untold. Now the
    // instruction that takes the lock says that there is a death to tell.
    // The next may be of the same process.
    for other in [SECOND, FIRST] {
        check_bounded(move || {
            let lock = lock_of_the_dead();
            let first = {
                let lock = Arc::clone(&lock);
                thread::spawn(move || guard_of(&lock, FIRST))
            };
            let _ = lock.release(THIRD, is_dead, |_| ());
            let next = guard_of(&lock, other);
            assert_the_first_is_told([first.join().unwrap(), next, guard_of(&lock, other)]);
        });
    }
}

#[test]
fn a_dead_holders_lock_released_by_two_at_once_is_told_to_the_next() {
    check_bounded(|| {
        let lock = lock_of_the_dead();
        let other = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || lock.release(FIRST, is_dead, |_| ()))
        };
        let _ = lock.release(THIRD, is_dead, |_| ());
        let next = guard_of(&lock, SECOND);
        other.join().unwrap();
        assert_the_first_is_told([next, guard_of(&lock, SECOND)]);
    });
}

/// A holder loses the lock at any moment, to the next one of the same process.
fn one_holder_is_late(released_before: bool) {
    check_bounded(move || {
        let lock = Arc::new(Words::of([(); 4].map(|()| AtomicU64::new(0))));
        let take = |lock: &Words<AtomicU64>| {
            let hold = mutex::take_free(&lock.lock, lock.holder(FIRST))?;
            lock.count(hold, FIRST)
        };
        if released_before {
            take(&lock).unwrap();
            assert!(lock.release(FIRST, is_dead, |_| ()));
        }
        let late = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || take(&lock))
        };
        let released = lock.release(FIRST, is_dead, |_| ());
        // The first may have found out, and not have begun anew: then there is nobody but us.
        let next = if released { take(&lock) } else { None };
        let late = late.join().unwrap();
        if let (Some((next, token)), Some((late, late_token))) = (next, late) {
            assert!(late_token < token, "{late_token} came before {token}");
            assert!(!mutex::give_back(&lock.lock, late, |_| ()), "it was taken away");
            assert!(mutex::give_back(&lock.lock, next, |_| ()), "nobody took it away");
        }
    });
}

#[test]
fn who_lost_the_lock_first_has_a_lower_token_and_frees_nothing() {
    one_holder_is_late(false);
}

#[test]
fn who_lost_the_lock_later_has_a_lower_token_and_frees_nothing() {
    one_holder_is_late(true);
}

/// A lock word and a value in one word of the model: both can be changed alone, and both at once.
#[derive(Clone)]
struct Both(Arc<AtomicU64>);

/// One of the two.
struct Half {
    both: Both,
    shift: u32,
}

const HALF: u64 = 0xffff_ffff;

impl Both {
    fn halves(&self) -> [Half; 2] {
        [0, 32].map(|shift| Half {
            both: self.clone(),
            shift,
        })
    }

    /// What a holder does is two steps: it overwrites what comes between.
    fn add_held(&self, holder: u64) {
        let [lock, value] = self.halves();
        let hold = loop {
            match mutex::take_free(&lock, holder) {
                Some(hold) => break hold,
                None => thread::yield_now(),
            }
        };
        let seen = value.load(Ordering::Relaxed);
        value.store(seen + 1, Ordering::Relaxed);
        assert!(mutex::give_back(&lock, hold, |_| ()));
    }
}

impl Half {
    fn part(&self, both: u64) -> u64 {
        both >> self.shift & HALF
    }

    /// What both are after one was replaced, if the function wants that.
    fn replace(&self, order: Ordering, new: impl Fn(u64) -> Option<u64>) -> Result<u64, u64> {
        let mut both = self.both.0.load(Ordering::Relaxed);
        loop {
            let part = self.part(both);
            let Some(new) = new(part) else { return Err(part) };
            let changed = both & !(HALF << self.shift) | new << self.shift;
            match self.both.0.compare_exchange(both, changed, order, Ordering::Relaxed) {
                Ok(_) => return Ok(part),
                Err(now) => both = now,
            }
        }
    }
}

impl Word for Half {
    fn load(&self, order: Ordering) -> u64 {
        self.part(self.both.0.load(order))
    }

    fn store(&self, value: u64, order: Ordering) {
        self.swap(value, order);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.replace(order, |_| Some(value)).unwrap()
    }

    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.replace(order, |part| Some(part + value)).unwrap()
    }

    fn compare_exchange(&self, current: u64, new: u64, success: Ordering, _: Ordering) -> Result<u64, u64> {
        self.replace(success, |part| (part == current).then_some(new))
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

impl Pair for Both {
    fn compare_exchange(&self, current: (u64, u64), new: (u64, u64)) -> Result<(), (u64, u64)> {
        let word = |(lock, value)| value << 32 | lock;
        let outcome = self
            .0
            .compare_exchange(word(current), word(new), Ordering::AcqRel, Ordering::Acquire);
        outcome.map(drop).map_err(|found| (found & HALF, found >> 32))
    }
}

#[test]
fn an_addition_and_a_holder_exclude_each_other() {
    check_bounded(|| {
        let both = Both(Arc::new(AtomicU64::new(0)));
        let holder = {
            let both = both.clone();
            thread::spawn(move || both.add_held(FIRST))
        };
        let adder = {
            let both = both.clone();
            thread::spawn(move || {
                if pair::change(&both, 0, |value| Some(value + 1)) == Changed::Not {
                    both.add_held(SECOND);
                }
            })
        };
        let seen = both.halves()[1].load(Ordering::Relaxed);
        if pair::change(&both, seen, |value| Some(value + 1)) == Changed::Not {
            both.add_held(THIRD);
        }
        holder.join().unwrap();
        adder.join().unwrap();
        assert_eq!(
            both.0.load(Ordering::Relaxed),
            3 << 32,
            "all added, and the lock is free"
        );
    });
}

#[test]
fn a_reader_sees_a_whole_value_or_knows_it_does_not() {
    struct Large {
        index: AtomicU64,
        slots: [[AtomicU64; 2]; 2],
    }

    loom::model(|| {
        let large = Arc::new(Large {
            index: AtomicU64::new(0),
            slots: [[10, 10], [0, 0]].map(|slot| slot.map(AtomicU64::new)),
        });
        let writer = {
            let large = Arc::clone(&large);
            thread::spawn(move || {
                let [even, odd] = &large.slots;
                slots::write(&large.index, [even, odd], |_| 11);
                slots::write(&large.index, [even, odd], |_| 12);
            })
        };
        let [even, odd] = &large.slots;
        let mut copy = [0; 2];
        if slots::read(&large.index, [even, odd], |at, word| copy[at] = word) {
            assert!(copy[0] == copy[1] && (10..=12).contains(&copy[0]), "{copy:?}");
        }
        writer.join().unwrap();
        assert!(slots::read(&large.index, [even, odd], |at, word| copy[at] = word));
        assert_eq!(copy, [12, 12]);
    });
}
