//! Frames round trip, and what is none is refused.

use super::*;

#[test]
fn a_call_round_trips_through_its_frame() {
    let call = Call {
        number: 7,
        operation: Operation::ListAppend,
        object: 9,
        arguments: &[7, 1, 0],
    };
    let mut bytes = Vec::new();
    write::<FrameError>(&mut bytes, FRAME_BYTES_MAX, |out| {
        Request::Call(call).write(out);
        Ok(())
    })
    .unwrap();
    assert_eq!(split(bytes.get(..bytes.len() - 1).unwrap(), 100), Ok(None));
    let body = split(&bytes, 100).unwrap().unwrap();
    let Request::Call(read) = Request::read(body).unwrap() else {
        panic!("not a call")
    };
    assert_eq!(
        (read.number, read.operation, read.object),
        (7, Operation::ListAppend, 9)
    );
    assert_eq!(read.arguments, [7, 1, 0]);
}

#[test]
fn a_frame_over_the_limit_leaves_the_buffer_as_it_was() {
    let mut bytes = vec![1, 2, 3];
    let error = write::<FrameError>(&mut bytes, 10, |out| {
        out.extend_from_slice(&[0; 11]);
        Ok(())
    });
    assert_eq!(error, Err(FrameError::TooLarge { bytes: 11, limit: 10 }));
    assert_eq!(bytes, [1, 2, 3]);
}

#[test]
fn releases_are_bounded_and_exact() {
    let mut body = Vec::new();
    Request::Release(vec![(1, 2), (300, 1)]).write(&mut body);
    let Request::Release(read) = Request::read(&body).unwrap() else {
        panic!("not a release")
    };
    assert_eq!(read, [(1, 2), (300, 1)]);
    body.push(0);
    assert!(Request::read(&body).is_err(), "trailing bytes are refused");
    assert!(
        Request::read(&[RELEASE, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err(),
        "a count bomb is refused"
    );
}

#[test]
fn replies_round_trip() {
    let limits = Limits::default();
    let mut body = Vec::new();
    write_done_header(5, &[1, 200], &mut body);
    body.push(0);
    let Reply::Done { number, handed, result } = Reply::read(&body, &limits).unwrap() else {
        panic!("not done")
    };
    assert_eq!(
        (number, handed.as_slice(), result),
        (5, [1, 200].as_slice(), [0].as_slice())
    );

    let fault = Fault::new(FaultCode::Full, "the queue is full").with_detail(3);
    let mut body = Vec::new();
    write_fault(6, &fault, &mut body);
    let Reply::Fault { number, fault: read } = Reply::read(&body, &limits).unwrap() else {
        panic!("not a fault")
    };
    assert_eq!((number, read), (6, fault));
}

#[test]
fn what_is_shared_round_trips() {
    for name in [None, Some("hits")] {
        let share = Share {
            number: 7,
            name,
            note: &[3, 0, 1],
        };
        let mut body = Vec::new();
        Request::Share(share).write(&mut body);
        let Request::Share(read) = Request::read(&body).unwrap() else {
            panic!("not a share")
        };
        assert_eq!(read, share);
    }
    let mut body = Vec::new();
    Request::Fetch { number: 1, object: 300 }.write(&mut body);
    assert!(matches!(
        Request::read(&body),
        Ok(Request::Fetch { number: 1, object: 300 })
    ));
    body.push(0);
    assert!(Request::read(&body).is_err(), "trailing bytes are refused");
}
