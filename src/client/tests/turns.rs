//! Threads that share few lanes: each has its turn.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Cause: whoever returned a lane took it again long before the thread that it had woken could run. Symptom: of 400 threads that called all
/// the time some had no turn for as long as the others went on.
#[test]
fn a_thread_that_sleeps_has_its_turn_though_others_are_awake() {
    let served = Served::start();
    let options = Options {
        call_lanes_max: 2,
        ..Options::default()
    };
    let remote = Remote::connect(served.handle.address(), options).unwrap();
    let [first, other] = [(); 2].map(|()| remote.calls.take(&remote, Wait::TRY).unwrap());
    let had_it = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let lane = remote.calls.take(&remote, Wait::TRY).unwrap();
            had_it.store(true, Ordering::SeqCst);
            drop(lane);
        });
        while remote.calls.waiting() == 0 {
            std::thread::yield_now();
        }
        drop(other);
        // Before it runs, most probably; and if not, it had its turn.
        let in_between = remote.calls.take_now(&remote);
        assert!(
            in_between.is_none() || had_it.load(Ordering::SeqCst),
            "the lane went to who was awake"
        );
        drop(in_between);
        sleeper.join().unwrap();
    });
    drop(first);
    assert!(remote.calls.take_now(&remote).is_some());
}

/// The same without asking how fast a thread wakes.
#[test]
fn a_lane_that_is_returned_is_not_for_who_is_awake() {
    let served = Served::start();
    let remote = Remote::connect(served.handle.address(), Options::default()).unwrap();
    let [_first, other] = [(); 2].map(|()| remote.calls.take(&remote, Wait::TRY).unwrap());
    remote.calls.count_sleeper();
    drop(other);
    assert!(remote.calls.reserves());
    assert!(
        remote.calls.take_now(&remote).is_none(),
        "the lane went to who was awake"
    );
}

/// A lane that is reserved when the session ends goes as well.
#[test]
fn a_reserved_lane_goes_with_its_session() {
    let served = Served::start();
    let remote = Remote::connect(served.handle.address(), Options::default()).unwrap();
    let [_first, other] = [(); 2].map(|()| remote.calls.take(&remote, Wait::TRY).unwrap());
    remote.calls.count_sleeper();
    drop(other);
    assert!(remote.calls.reserves());
    remote.calls.close();
    assert!(!remote.calls.reserves());
}
