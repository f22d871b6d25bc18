//! A child that was forked has a copy of its parent's session, and may not use it.

use super::*;

#[test]
fn a_forked_child_leaves_its_parents_session_alone() {
    for ring_after in [0, 1] {
        let served = Served::with(server::Limits {
            ring_after,
            ..server::Limits::default()
        });
        leaves_the_session_alone_in_a_fork(&served);
        assert_eq!(
            served.handle.stats().rings_opened,
            ring_after,
            "the lane went the way it should"
        );
    }
}

fn leaves_the_session_alone_in_a_fork(served: &Served) {
    let remote = served.connect();
    let list = new_list(&remote);
    call(&remote, Operation::ListLen, list, NOTHING).unwrap();
    let owner = std::cell::Cell::new(Some(remote));
    let held = crate::fork::holds_in_fork(|| {
        // The child's copy of the only owner: here it goes, as if the parent had let go.
        let Some(remote) = owner.take() else { return false };
        let gone = matches!(call(&remote, Operation::ListAppend, list, (1,)), Err(Error::Gone(_)));
        remote.release(list);
        remote.close();
        gone && !remote.is_open()
    });
    assert!(held, "the child could use its parent's session");
    let remote = owner.take().unwrap();
    assert_eq!(
        call(&remote, Operation::ListLen, list, NOTHING).unwrap().1,
        Value::from(0)
    );
}
