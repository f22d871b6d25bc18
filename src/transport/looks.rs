//! How long a side of a ring looks for something before it sleeps.
//!
//! First it spins, then it gives its processor away between looks, at last it sleeps. Spinning finds soonest what comes from another
//! processor, and keeps away from this one whoever it may wait for. Which of the two it is shows by itself: while spinning pays a side
//! goes on with it; once it was in vain several times it yields nearly at once, and tries again only now and then.
//!
//! A side that goes on finding things only after a yield may share its processor with the very one it waits for, and have another to go
//! to ([`processor`](super::processor)).
//!
//! How long a yield takes tells nothing: with many clients most of them only look, and come back as fast as if there were nobody. Sides
//! that spun longer after such yields, or less after others, made of what fifty clients got done a half, or a third.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How often it spins before it yields: about as long as a call takes.
const SPINS: u32 = 50;
/// How often it spins so in vain before it believes it.
const VAIN_MAX: u32 = 3;
/// Then it spins only every so many waits.
const TRY_EVERY: u32 = 16;
/// After so many waits in vain it may be time to move: a move takes as long as a few of them.
pub(super) const MOVE_EVERY: u32 = 256;
/// When the processor comes back so late, others need it for longer: then sleeping is better, for who is woken is let in sooner.
const YIELD_LATE: Duration = Duration::from_micros(500);

/// Whether spinning pays, as one side has learned.
#[derive(Debug, Default)]
pub(crate) struct Eagerness {
    /// Waits since one ended while spinning.
    vain: AtomicU32,
}

/// How long it has been looking.
#[derive(Debug, Default)]
pub(crate) struct Looks(u32);

/// What was done between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Next to nothing.
    Spun,
    /// Others had the processor, if they wanted it.
    Yielded,
    /// Nothing, because it is time to sleep.
    Enough,
}

impl Eagerness {
    #[inline]
    fn spins(&self) -> bool {
        let vain = self.vain.load(Ordering::Relaxed);
        vain < VAIN_MAX || vain.is_multiple_of(TRY_EVERY)
    }

    /// Whether it is time to see if the other side runs on this processor: what comes only comes once it is given away.
    #[inline]
    pub(crate) fn is_to_move(&self) -> bool {
        let vain = self.vain.load(Ordering::Relaxed);
        vain != 0 && vain.is_multiple_of(MOVE_EVERY) && !seeded!("ring_client_stays")
    }

    /// A wait has ended, and so: several threads may say so at once, and what is lost then is learned again.
    #[inline]
    fn learn(&self, paid: bool) {
        let vain = self.vain.load(Ordering::Relaxed);
        if !paid || vain != 0 {
            self.vain
                .store(if paid { 0 } else { vain.wrapping_add(1) }, Ordering::Relaxed);
        }
    }
}

impl Looks {
    /// Waits a little, unless there were so many yields already.
    #[inline]
    pub(crate) fn again(&mut self, eagerness: &Eagerness, yields_max: u32) -> Looked {
        if self.0 < SPINS {
            if self.0 > 0 || eagerness.spins() {
                self.0 += 1;
                std::hint::spin_loop();
                return Looked::Spun;
            }
            self.0 = SPINS;
        }
        self.give_way(yields_max)
    }

    /// Something was found.
    #[inline]
    pub(crate) fn found(&self, eagerness: &Eagerness) {
        if self.0 > 0 {
            eagerness.learn(self.0 <= SPINS);
        }
    }

    /// Whether the processor was given away.
    #[cfg(test)]
    pub(crate) fn has_yielded(&self) -> bool {
        self.0 > SPINS
    }

    fn give_way(&mut self, yields_max: u32) -> Looked {
        if self.0 >= SPINS + yields_max {
            return Looked::Enough;
        }
        self.0 += 1;
        let start = Instant::now();
        std::thread::yield_now();
        if start.elapsed() > YIELD_LATE {
            self.0 = SPINS + yields_max;
        }
        Looked::Yielded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wait that ends after so many looks in vain; how often it spun, and how often it yielded.
    fn wait(eagerness: &Eagerness, looks_in_vain: u32) -> (u32, u32) {
        let (mut looks, mut spins, mut yields) = (Looks::default(), 0, 0);
        for _ in 0..looks_in_vain {
            match looks.again(eagerness, 5) {
                Looked::Spun => spins += 1,
                Looked::Yielded => yields += 1,
                Looked::Enough => break,
            }
        }
        looks.found(eagerness);
        (spins, yields)
    }

    #[test]
    fn looking_ends() {
        let (spins, yields) = wait(&Eagerness::default(), u32::MAX);
        assert_eq!(spins, SPINS);
        assert!((1..=5).contains(&yields), "{yields}");
    }

    #[test]
    fn who_spins_in_vain_yields_at_once_until_spinning_pays_again() {
        let eagerness = Eagerness::default();
        for _ in 0..VAIN_MAX {
            assert_eq!(wait(&eagerness, SPINS + 1), (SPINS, 1));
        }
        let spun = (0..TRY_EVERY).filter(|_| wait(&eagerness, SPINS + 1).0 > 0).count();
        assert_eq!(spun, 1, "now and then it tries");
        while wait(&eagerness, 2) != (2, 0) {}
        assert_eq!(wait(&eagerness, SPINS), (SPINS, 0), "it has paid");
    }

    #[test]
    fn it_is_time_to_move_now_and_then_while_nothing_comes_without_a_yield() {
        let eagerness = Eagerness::default();
        let moves = |waits| {
            (0..waits)
                .filter(|_| {
                    wait(&eagerness, SPINS + 1);
                    eagerness.is_to_move()
                })
                .count()
        };
        assert_eq!(moves(MOVE_EVERY - 1), 0);
        assert_eq!(moves(4 * MOVE_EVERY), 4);
        while wait(&eagerness, 2) != (2, 0) {}
        assert!(!eagerness.is_to_move(), "it has paid to spin");
    }
}
