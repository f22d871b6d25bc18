//! The lane that calls look for first, handed over by one exchange of one word.
//!
//! | word | who moves it on, and where to |
//! |---|---|
//! | `EMPTY` | who has opened a lane, with the pool locked: `TAKEN` |
//! | `FREE` | whoever takes it: `TAKEN` |
//! | `TAKEN` | whoever returns it: `FREE`; who is about to sleep until some lane is free, with the pool locked: `WANTED` |
//! | `WANTED` | whoever returns it, with the pool locked: `FREE`, and then sees to it that a sleeper wakes |
//! | `CLOSED` | nobody; from any other, with the pool locked, when the session ends |
//!
//! A thread that sleeps is not forgotten, because the word it marks is the very one that is exchanged when the lane is returned: if the return
//! comes first, the mark fails and its thread takes the lane; if the mark does, the return fails and its thread looks who sleeps. So while
//! somebody sleeps, and no thread that was woken is on its way, the lane is `WANTED` and no other is free, but for one that is reserved for who
//! wakes next. A thread that was woken keeps that up: before it goes on with a lane it marks this one again, or wakes the next.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use super::lane::Lane;

const EMPTY: u32 = 0;
const FREE: u32 = 1;
const TAKEN: u32 = 2;
const WANTED: u32 = 3;
const CLOSED: u32 = 4;

/// A place for one lane, which stays here once it has come.
#[derive(Debug, Default)]
pub(super) struct Seat {
    word: AtomicU32,
    lane: OnceLock<Lane>,
}

impl Seat {
    /// The lane, if it is free.
    #[inline]
    pub(super) fn take(&self) -> Option<&Lane> {
        if take(&self.word) { self.lane.get() } else { None }
    }

    /// Returns it, unless whoever does has to look who sleeps: then [`Self::put_back_wanted`].
    #[inline]
    pub(super) fn put_back(&self) -> bool {
        put_back(&self.word)
    }

    /// The same with the pool locked; false if the session has ended.
    pub(super) fn put_back_wanted(&self) -> bool {
        put_back_wanted(&self.word)
    }

    /// Before sleeping, with the pool locked: whoever returns the lane will look who sleeps. False if it is free now.
    pub(super) fn want(&self) -> bool {
        want(&self.word)
    }

    /// With the pool locked: takes the first lane that is opened, already taken. Others are given back.
    pub(super) fn fill(&self, lane: Lane) -> Result<&Lane, Lane> {
        if self.word.load(Relaxed) != EMPTY {
            return Err(lane);
        }
        self.word.store(TAKEN, Release);
        Ok(self.lane.get_or_init(|| lane))
    }

    /// With the pool locked: the lane is handed out no more. Whether it was free.
    pub(super) fn close(&self) -> bool {
        self.word.swap(CLOSED, Acquire) == FREE
    }

    /// The lane, for one who has it.
    pub(super) fn taken(&self) -> Option<&Lane> {
        self.lane.get()
    }
}

#[inline]
fn take<W: SeatWord>(word: &W) -> bool {
    // Pairs with the Releases below: what its last user knew of the lane is known to the next.
    word.exchange(FREE, TAKEN, Acquire).is_ok()
}

#[inline]
fn put_back<W: SeatWord>(word: &W) -> bool {
    word.exchange(TAKEN, FREE, Release).is_ok()
}

fn put_back_wanted<W: SeatWord>(word: &W) -> bool {
    word.exchange(WANTED, FREE, Release).is_ok()
}

fn want<W: SeatWord>(word: &W) -> bool {
    word.exchange(TAKEN, WANTED, Relaxed) != Err(FREE)
}

/// The word: memory in production, loom's model of it in tests.
trait SeatWord {
    /// Moves it on, with this order if it was there.
    fn exchange(&self, from: u32, to: u32, order: std::sync::atomic::Ordering) -> Result<u32, u32>;
}

impl SeatWord for AtomicU32 {
    #[inline]
    fn exchange(&self, from: u32, to: u32, _order: std::sync::atomic::Ordering) -> Result<u32, u32> {
        // More than handing over needs: whoever drops a reference while every lane is taken, and whoever then returns one, must not both miss
        // the other (`releases.rs`). Where an exchange is a full fence it costs nothing.
        self.compare_exchange(from, to, SeqCst, SeqCst)
    }
}

#[cfg(test)]
mod models {
    use super::*;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    impl SeatWord for AtomicU32 {
        fn exchange(&self, from: u32, to: u32, order: std::sync::atomic::Ordering) -> Result<u32, u32> {
            self.compare_exchange(from, to, order, Relaxed)
        }
    }

    /// A pool of one lane, as [`Pool`](super::super::pool::Pool) goes about it. Its sleeps have no end but a call.
    struct Model {
        word: AtomicU32,
        /// What whoever has the lane does with it.
        lane: AtomicU32,
        sleepers: Mutex<Sleepers>,
        returned: Condvar,
    }

    #[derive(Default)]
    struct Sleepers {
        waiting: usize,
        woken: bool,
        closed: bool,
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                word: AtomicU32::new(FREE),
                lane: AtomicU32::new(0),
                sleepers: Mutex::new(Sleepers::default()),
                returned: Condvar::new(),
            })
        }

        fn take(&self) -> bool {
            if take(&self.word) {
                return true;
            }
            let mut sleepers = self.sleepers.lock().unwrap();
            loop {
                if take(&self.word) {
                    self.mind(&mut sleepers);
                    return true;
                }
                if sleepers.closed {
                    return false;
                }
                if want(&self.word) {
                    sleepers.waiting += 1;
                    sleepers = self.returned.wait(sleepers).unwrap();
                    sleepers.waiting -= 1;
                    sleepers.woken = false;
                }
            }
        }

        fn mind(&self, sleepers: &mut Sleepers) {
            if sleepers.waiting > 0 && !sleepers.woken && !want(&self.word) {
                sleepers.woken = true;
                self.returned.notify_one();
            }
        }

        fn put_back(&self) {
            if !put_back(&self.word) {
                let mut sleepers = self.sleepers.lock().unwrap();
                if put_back_wanted(&self.word) {
                    self.mind(&mut sleepers);
                }
            }
        }

        fn close(&self) {
            let mut sleepers = self.sleepers.lock().unwrap();
            sleepers.closed = true;
            self.word.swap(CLOSED, Acquire);
            drop(sleepers);
            self.returned.notify_all();
        }

        /// One call.
        fn call(&self) -> bool {
            let taken = self.take();
            if taken {
                // Two at a time would lose one, and one that does not see the last would too.
                let made = self.lane.load(Relaxed);
                self.lane.store(made + 1, Relaxed);
                self.put_back();
            }
            taken
        }
    }

    fn check(bound: usize, model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(bound);
        builder.check(model);
    }

    #[test]
    fn everybody_has_the_lane_in_turn_and_nobody_is_forgotten() {
        check(3, || {
            let model = Model::new();
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || assert!(model.call()))
                })
                .collect();
            assert!(model.call());
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(model.lane.load(Relaxed), 3);
            assert_eq!(model.word.load(Relaxed), FREE);
        });
    }

    #[test]
    fn who_sleeps_when_the_session_ends_wakes() {
        check(3, || {
            let model = Model::new();
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || model.call())
                })
                .collect();
            model.close();
            let made = others.into_iter().map(|other| other.join().unwrap());
            assert_eq!(made.filter(|made| *made).count(), model.lane.load(Relaxed) as usize);
            assert_eq!(model.word.load(Relaxed), CLOSED);
        });
    }
}
