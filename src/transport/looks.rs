//! How long a side of a ring looks for something before it sleeps.
//!
//! First it spins, then it gives its processor away between looks, at last it sleeps. While nobody else wants the processor spinning harms
//! no one, and finds what comes soonest; and whether somebody does, every yield tells: it comes back at once when nobody does. So a side
//! learns from its yields how long it may spin the next time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How often it spins before it yields, where others want the processor, and where nobody does.
const SPINS_MIN: u32 = 20;
const SPINS_MAX: u32 = 400;
/// A yield that comes back within this has found nobody.
const YIELD_IN_VAIN: Duration = Duration::from_micros(2);
/// When the processor comes back so late, others need it for longer: then sleeping is better, for who is woken is let in sooner.
const YIELD_LATE: Duration = Duration::from_micros(500);

/// How long one side may spin, as far as it knows.
#[derive(Debug)]
pub(crate) struct Eagerness {
    spins: AtomicU32,
}

/// How long it has been looking.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    spins: u32,
    yields: u32,
}

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

impl Default for Eagerness {
    fn default() -> Self {
        Self {
            spins: AtomicU32::new(SPINS_MIN),
        }
    }
}

impl Eagerness {
    /// A yield took so long. Several threads may tell at once; what is lost then is learned again.
    fn learn(&self, took: Duration) {
        let spins = self.spins.load(Ordering::Relaxed);
        let spins = if took < YIELD_IN_VAIN { spins * 2 } else { spins / 4 };
        self.spins.store(spins.clamp(SPINS_MIN, SPINS_MAX), Ordering::Relaxed);
    }
}

impl Looks {
    /// Waits a little, unless there were so many yields already.
    #[inline]
    pub(crate) fn again(&mut self, eagerness: &Eagerness, yields_max: u32) -> Looked {
        if self.spins < eagerness.spins.load(Ordering::Relaxed) {
            self.spins += 1;
            std::hint::spin_loop();
            return Looked::Spun;
        }
        self.give_way(eagerness, yields_max)
    }

    fn give_way(&mut self, eagerness: &Eagerness, yields_max: u32) -> Looked {
        if self.yields >= yields_max {
            return Looked::Enough;
        }
        self.spins = SPINS_MAX;
        self.yields += 1;
        let start = Instant::now();
        std::thread::yield_now();
        let took = start.elapsed();
        eagerness.learn(took);
        if took > YIELD_LATE {
            self.yields = yields_max;
        }
        Looked::Yielded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_spins_longer_and_who_is_not_yields_soon() {
        let eagerness = Eagerness::default();
        for _ in 0..10 {
            eagerness.learn(Duration::from_nanos(300));
        }
        assert_eq!(eagerness.spins.load(Ordering::Relaxed), SPINS_MAX);
        for _ in 0..3 {
            eagerness.learn(Duration::from_micros(50));
        }
        assert_eq!(eagerness.spins.load(Ordering::Relaxed), SPINS_MIN);
    }

    #[test]
    fn looking_ends() {
        let (eagerness, mut looks) = (Eagerness::default(), Looks::default());
        let all: Vec<_> = (0..10_000).map(|_| looks.again(&eagerness, 5)).collect();
        assert_eq!(
            all.iter().filter(|looked| **looked == Looked::Spun).count(),
            SPINS_MIN as usize
        );
        let yields = all.iter().filter(|looked| **looked == Looked::Yielded).count();
        assert!((1..=5).contains(&yields), "{yields}");
        assert_eq!(all.last(), Some(&Looked::Enough));
    }
}
