//! On which processor a thread runs, and how it gets away from one.
//!
//! Two sides of a ring that share a processor take turns on it: each call costs two switches of the system's, ten times what it costs where
//! each has its own. Where more threads are busy than there are processors the scheduler sees nothing wrong in that, whoever they are, and
//! leaves it so. They know better: the worker is the one all others wait for. So it says where it runs, and a client that keeps finding that
//! its replies only come when it gives its processor away leaves that one to the worker, and shares another with other clients.

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The processor that this thread runs on, at this moment.
pub(crate) fn current() -> usize {
    sched_getcpu()
}

/// Moves this thread to another processor if it runs on this one and may run on others. Returns whether it was moved.
///
/// Where it may run is the same afterwards: it is kept away only for as long as it takes to move it. But from then on that has been chosen: a
/// container that is given more processors later does not give them to this thread.
#[cold]
pub(crate) fn leave(processor: usize) -> bool {
    if processor >= CpuSet::MAX_CPU || current() != processor {
        return false;
    }
    let Ok(allowed) = sched_getaffinity(None) else {
        return false;
    };
    let mut others = allowed;
    others.unset(processor);
    if others.count() == 0 || sched_setaffinity(None, &others).is_err() {
        return false;
    }
    // Somebody else may just have said where it may run; then that is what counts.
    if sched_getaffinity(None).is_ok_and(|now| now == others) {
        let _ = sched_setaffinity(None, &allowed);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own, so that no other test is moved.
    fn alone<T: Send>(test: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap())
    }

    #[test]
    fn a_thread_leaves_a_processor_and_may_come_back() {
        alone(|| {
            let allowed = sched_getaffinity(None).unwrap();
            if allowed.count() < 2 {
                return assert!(!leave(current()), "there is no other");
            }
            // The system may move it at any moment as well, to there and back; not each time.
            let left = (0..100).any(|_| {
                let processor = current();
                leave(processor) && current() != processor
            });
            assert!(left);
            assert_eq!(sched_getaffinity(None).unwrap(), allowed);
        });
    }

    #[test]
    fn a_thread_that_may_be_nowhere_else_stays() {
        alone(|| {
            let mut here = CpuSet::new();
            here.set(current());
            sched_setaffinity(None, &here).unwrap();
            assert!(!leave(current()));
            assert_eq!(sched_getaffinity(None).unwrap(), here);
        });
    }

    #[test]
    fn nobody_leaves_a_processor_it_is_not_on() {
        for processor in [current() + 1000, CpuSet::MAX_CPU, usize::MAX] {
            assert!(!leave(processor));
        }
    }
}
