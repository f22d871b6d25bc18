//! How long a side of a ring looks for something before it sleeps.
//!
//! First it spins, then it gives its processor away between looks, at last it sleeps. Spinning finds what comes soonest, but takes the
//! processor from whoever it may wait for; so it is short, about as long as a call takes. (How long a yield takes does not tell whether
//! others want the processor: with many clients most of them only look, and come back as fast as if there were nobody. Sides that
//! spun longer after such yields halved what eight and fifty clients got done.)

use std::time::{Duration, Instant};

/// How often it spins before it yields.
const SPINS: u32 = 50;
/// When the processor comes back so late, others need it for longer: then sleeping is better, for who is woken is let in sooner.
const YIELD_LATE: Duration = Duration::from_micros(500);

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

impl Looks {
    /// Waits a little, unless there were so many yields already.
    #[inline]
    pub(crate) fn again(&mut self, yields_max: u32) -> Looked {
        if self.0 < SPINS {
            self.0 += 1;
            std::hint::spin_loop();
            return Looked::Spun;
        }
        self.give_way(yields_max)
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

    #[test]
    fn looking_ends() {
        let mut looks = Looks::default();
        let all: Vec<_> = (0..1_000).map(|_| looks.again(5)).collect();
        assert_eq!(
            all.iter().filter(|looked| **looked == Looked::Spun).count(),
            SPINS as usize
        );
        let yields = all.iter().filter(|looked| **looked == Looked::Yielded).count();
        assert!((1..=5).contains(&yields), "{yields}");
        assert_eq!(all.last(), Some(&Looked::Enough));
    }
}
