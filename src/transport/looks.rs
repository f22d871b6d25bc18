//! How long a side of a ring looks for something before it sleeps.
//!
//! First it spins, then it gives its processor away between looks, at last it sleeps. Spinning finds soonest what comes from another
//! processor, and keeps away from this one whoever it may wait for. Which of the two it is shows by itself: while spinning pays a side
//! goes on with it; once it was in vain several times it yields nearly at once, and tries again only now and then.
//!
//! A side that goes on finding things only after a yield may share its processor with the very one it waits for, and have another to go
//! to ([`processor`](super::processor)).
//!
//! How long one yield takes tells little: with many clients most of them only look, and come back as fast as if there were nobody, or one of them
//! has all it asks for while it spins, and the others wait for as long as a turn of the scheduler lasts. Sides that spun longer after short
//! yields, or less after others, made of what fifty clients got done a half, or a third; sides that slept after one long yield an eighth.
//! But where *each* wait takes a turn, one after the other, whoever has the processor does not wait for anything. Who sleeps there is let in as soon
//! as it is woken: so waits sleep at once, and yield ever more rarely, until that ends as it does where there is nobody.

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
/// When it comes back as late as this at so many waits on end, they will need it at the next one too.
const TURN: Duration = Duration::from_millis(1);
const TURNS_MAX: u32 = 4;
/// Then so many waits begin without a yield, at first and at most.
const SLEEPS_FIRST: u32 = 16;
const SLEEPS_MAX: u32 = 4096;
/// That many looks are past any number of yields.
const LATE: u32 = u32::MAX / 2;

/// Whether spinning pays, and yielding, as one side has learned.
#[derive(Debug, Default)]
pub(crate) struct Eagerness {
    /// Waits since one ended while spinning.
    vain: AtomicU32,
    /// Waits on end that took a turn of others.
    turns: AtomicU32,
    /// Waits to come that begin without a yield.
    sleeps: AtomicU32,
    /// How many there were of them after the last yield that took a turn.
    sleeps_last: AtomicU32,
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

    /// Whether a wait had better begin with sleep.
    fn sleeps(&self) -> bool {
        let left = self.sleeps.load(Ordering::Relaxed);
        if left == 0 || seeded!("ring_always_yields") {
            return false;
        }
        self.sleeps.store(left - 1, Ordering::Relaxed);
        true
    }

    /// How long a yield took. True if it was late.
    fn learn_yield(&self, took: Duration) -> bool {
        if took >= TURN && self.turns.fetch_add(1, Ordering::Relaxed) + 1 >= TURNS_MAX {
            let sleeps = (self.sleeps_last.load(Ordering::Relaxed) * 2).clamp(SLEEPS_FIRST, SLEEPS_MAX);
            self.sleeps_last.store(sleeps, Ordering::Relaxed);
            self.sleeps.store(sleeps, Ordering::Relaxed);
        }
        took > YIELD_LATE
    }

    /// Whoever serves this ring looks at many, and so a turn was taken by one that waits as well: sleep would only make others wake it.
    pub(crate) fn is_one_of_many(&self) {
        for learned in [&self.turns, &self.sleeps, &self.sleeps_last] {
            if learned.load(Ordering::Relaxed) != 0 {
                learned.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A wait has ended after yields of which none was late. One alone proves little, for who yields may be the next again.
    fn learn_in_time(&self) {
        self.turns.store(0, Ordering::Relaxed);
        let sleeps = self.sleeps_last.load(Ordering::Relaxed);
        if sleeps != 0 {
            self.sleeps_last.store(sleeps / 4, Ordering::Relaxed);
        }
    }

    /// A wait has ended, and so: several threads may say so at once, and what is lost then is learned again.
    #[inline]
    fn learn(&self, paid: bool) {
        let vain = self.vain.load(Ordering::Relaxed);
        if !paid || vain != 0 {
            self.vain
                .store(if paid { 0 } else { vain.wrapping_add(1) }, Ordering::Relaxed);
        }
        if paid && self.turns.load(Ordering::Relaxed) != 0 {
            self.turns.store(0, Ordering::Relaxed);
        }
    }
}

impl Looks {
    /// To give way from the first on: where others had better have the processor.
    pub(crate) fn without_spins() -> Self {
        Self(SPINS)
    }

    /// Waits a little, unless there were so many yields already.
    #[inline]
    pub(crate) fn again(&mut self, eagerness: &Eagerness, yields_max: u32) -> Looked {
        self.again_with(eagerness, yields_max, yield_once)
    }

    #[inline]
    fn again_with(&mut self, eagerness: &Eagerness, yields_max: u32, yield_once: impl FnOnce() -> Duration) -> Looked {
        if self.0 < SPINS {
            if self.0 > 0 || eagerness.spins() {
                self.0 += 1;
                std::hint::spin_loop();
                return Looked::Spun;
            }
            self.0 = SPINS;
        }
        self.give_way(eagerness, yields_max, yield_once)
    }

    /// Something was found. At the last look before a yield that says nothing: it may have been the first.
    #[inline]
    pub(crate) fn found(&self, eagerness: &Eagerness) {
        if self.0 != 0 && self.0 != SPINS {
            eagerness.learn(self.0 < SPINS);
            self.ended(eagerness);
        }
    }

    /// The looks are over, whether something was found or not.
    #[inline]
    pub(crate) fn ended(&self, eagerness: &Eagerness) {
        if self.0 > SPINS && self.0 < LATE {
            eagerness.learn_in_time();
        }
    }

    /// Whether the processor was given away.
    #[cfg(test)]
    pub(crate) fn has_yielded(&self) -> bool {
        self.0 > SPINS
    }

    fn give_way(&mut self, eagerness: &Eagerness, yields_max: u32, yield_once: impl FnOnce() -> Duration) -> Looked {
        if self.0 == SPINS && eagerness.sleeps() {
            self.0 = LATE;
        }
        if self.0 >= SPINS + yields_max {
            return Looked::Enough;
        }
        self.0 += 1;
        if eagerness.learn_yield(yield_once()) {
            self.0 = LATE;
        }
        Looked::Yielded
    }
}

/// Returns how long others had the processor.
fn yield_once() -> Duration {
    let start = Instant::now();
    std::thread::yield_now();
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_TIME: Duration = Duration::from_micros(1);

    /// A wait that ends after so many looks in vain, where yields take so long; how often it spun, and how often it yielded.
    fn wait_where(eagerness: &Eagerness, looks_in_vain: u32, takes: Duration) -> (u32, u32) {
        let (mut looks, mut spins, mut yields) = (Looks::default(), 0, 0);
        for _ in 0..looks_in_vain {
            match looks.again_with(eagerness, 5, || takes) {
                Looked::Spun => spins += 1,
                Looked::Yielded => yields += 1,
                Looked::Enough => break,
            }
        }
        looks.found(eagerness);
        (spins, yields)
    }

    fn wait(eagerness: &Eagerness, looks_in_vain: u32) -> (u32, u32) {
        wait_where(eagerness, looks_in_vain, IN_TIME)
    }

    #[test]
    fn looking_ends() {
        assert_eq!(wait(&Eagerness::default(), u32::MAX), (SPINS, 5));
        let mut looks = Looks::default();
        while looks.again(&Eagerness::default(), 5) != Looked::Enough {}
    }

    #[test]
    fn who_is_not_to_spin_yields_from_the_first_on() {
        let eagerness = Eagerness::default();
        let mut looks = Looks::without_spins();
        assert_eq!(looks.again_with(&eagerness, 5, || IN_TIME), Looked::Yielded);
        assert!(looks.has_yielded());
        assert_eq!(Looks::default().again_with(&eagerness, 5, || IN_TIME), Looked::Spun);
        for _ in 0..VAIN_MAX {
            wait(&eagerness, SPINS + 1);
        }
        Looks::without_spins().found(&eagerness);
        assert_eq!(
            wait(&eagerness, SPINS + 1).0,
            0,
            "who found something at once has not learned that it pays to spin"
        );
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
    fn a_late_yield_is_the_last_of_its_wait() {
        let eagerness = Eagerness::default();
        let late = YIELD_LATE + IN_TIME;
        assert_eq!(wait_where(&eagerness, u32::MAX, late), (SPINS, 1));
        assert_eq!(wait_where(&eagerness, u32::MAX, late), (SPINS, 1), "of that one alone");
    }

    /// How many waits there are from one that yields to the next, where yields take so long.
    fn waits(eagerness: &Eagerness, takes: Duration) -> u32 {
        let mut waits = 1;
        while wait_where(eagerness, u32::MAX, takes).1 == 0 {
            waits += 1;
        }
        waits
    }

    #[test]
    fn once_each_wait_took_a_turn_waits_sleep_at_once_and_yield_ever_more_rarely() {
        let eagerness = Eagerness::default();
        let each = |takes, times| -> Vec<u32> { (0..times).map(|_| waits(&eagerness, takes)).collect() };
        assert_eq!(each(TURN, TURNS_MAX), [1; TURNS_MAX as usize]);
        let slept: Vec<u32> = each(TURN, 10).iter().map(|waits| waits - 1).collect();
        assert_eq!(slept, [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096]);
        assert_eq!(each(IN_TIME, 3), [4097, 1, 1], "nobody is there any more");
        assert_eq!(each(TURN, TURNS_MAX), [1; TURNS_MAX as usize]);
        assert_eq!(each(TURN, 1), [4096 / 4 / 4 / 4 * 2 + 1], "three waits prove little");
        each(IN_TIME, 10);
        each(TURN, TURNS_MAX);
        assert_eq!(each(TURN, 1), [SLEEPS_FIRST + 1], "ten do");
    }

    #[test]
    fn turns_that_are_not_on_end_are_no_reason_to_sleep() {
        let in_time = |eagerness: &Eagerness| assert_ne!(wait(eagerness, SPINS + 1).1, 0);
        let in_vain = |eagerness: &Eagerness| {
            let mut looks = Looks::default();
            while looks.again_with(eagerness, 5, || IN_TIME) != Looked::Enough {}
            looks.ended(eagerness);
        };
        let paid = |eagerness: &Eagerness| {
            // A side that has just been in vain does not spin; what it has learned of that is of no account here.
            eagerness.vain.store(0, Ordering::Relaxed);
            assert_eq!(wait(eagerness, 2), (2, 0));
        };
        for between in [in_time as fn(&Eagerness), in_vain, paid, Eagerness::is_one_of_many] {
            let eagerness = Eagerness::default();
            for _ in 0..10 {
                for _ in 1..TURNS_MAX {
                    assert_eq!(waits(&eagerness, TURN), 1);
                }
                between(&eagerness);
            }
        }
    }

    #[test]
    fn whoever_is_one_of_many_sleeps_at_once_no_longer() {
        let eagerness = Eagerness::default();
        for _ in 0..TURNS_MAX + 5 {
            waits(&eagerness, TURN);
        }
        assert_eq!(wait(&eagerness, u32::MAX).1, 0, "it sleeps");
        eagerness.is_one_of_many();
        for _ in 1..TURNS_MAX {
            assert_eq!(waits(&eagerness, TURN), 1);
        }
        eagerness.is_one_of_many();
        assert_eq!(waits(&eagerness, TURN), 1, "as if it had never slept");
    }

    #[test]
    fn a_wait_that_begins_with_sleep_has_not_paid() {
        let eagerness = Eagerness::default();
        for _ in 0..TURNS_MAX {
            wait_where(&eagerness, u32::MAX, TURN);
        }
        let vain = eagerness.vain.load(Ordering::Relaxed);
        assert_eq!(wait(&eagerness, u32::MAX), (0, 0));
        assert_eq!(eagerness.vain.load(Ordering::Relaxed), vain + 1);
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
