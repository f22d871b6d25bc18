//! The handshake: who is let in, and what the others are told.

use crate::support::{Client, Raw, Served, framed};
use byproxy_proto::handshake::{Hello, MAGIC, Purpose, VERSION};

#[test]
fn another_version_is_told_both() {
    let served = Served::start();
    let mut raw = served.stranger();
    raw.send(&framed(|out| {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[9, 77, 78]);
    }));
    let text = raw.expect_refusal();
    assert!(text.starts_with("Version:"), "{text}");
    assert!(
        text.contains(&format!("version {VERSION}")) && text.contains("version 9"),
        "{text}"
    );
}

#[test]
fn another_magic_is_refused() {
    let served = Served::start();
    let mut raw = served.stranger();
    raw.send(&framed(|out| out.extend_from_slice(b"REDIS\0\0\0\x01\x00\x00\x00")));
    assert!(raw.expect_refusal().starts_with("Malformed:"));
}

#[test]
fn a_call_before_the_hello_is_refused() {
    let served = Served::start();
    let mut raw = served.stranger();
    raw.send(&crate::support::call(
        1,
        byproxy_proto::op::Operation::Ping,
        0,
        crate::support::NOTHING,
    ));
    assert!(raw.expect_refusal().starts_with("Malformed:"));
}

#[test]
fn a_hello_may_come_byte_by_byte() {
    let served = Served::start();
    let mut raw = served.stranger();
    for byte in framed(|out| Hello::new(Purpose::Control, "slow").write(out)) {
        raw.send(&[byte]);
    }
    assert!(matches!(raw.receive(), crate::support::Sent::Frame(body) if body[0] == 0));
}

#[test]
fn a_lane_needs_the_secret_of_a_session_that_is_there() {
    let served = Served::start();
    let client = served.client();
    let Client { welcomed, .. } = &client;
    let wrong = [
        Purpose::Lane {
            session: welcomed.session,
            secret: welcomed.secret ^ 1,
        },
        Purpose::Lane {
            session: welcomed.session + 1000,
            secret: welcomed.secret,
        },
    ];
    let mut texts = Vec::new();
    for purpose in wrong {
        let mut raw = Raw::connect(&served.path);
        raw.send(&framed(|out| Hello::new(purpose, "").write(out)));
        texts.push(raw.expect_refusal());
    }
    assert!(texts[0].starts_with("Refused:"), "{texts:?}");
    assert_eq!(texts[0], texts[1], "a stranger must not learn which sessions exist");
    assert_eq!(
        served.handle.stats().sessions,
        1,
        "the session of the others is unharmed"
    );
}
