//! Shared memory: what the driver gives is counted, handed out, and dropped with its object.

use super::*;
use crate::engine::Resource;
use crate::engine::registry::OBJECT_BYTES;
use std::sync::Arc;

const NO_NOTE: &[u8] = &[0];

impl Driver {
    /// Shares something; returns the object and whether it was made.
    fn share(&mut self, session: SessionId, name: Option<&str>, what: &Arc<()>) -> Result<(Token, bool), Fault> {
        let resource = Resource::new(Arc::clone(what), 1);
        self.engine
            .handle_share(Time(self.now), session, name, NO_NOTE, resource, &mut self.out)
    }

    fn fetch(&mut self, session: SessionId, object: u64) -> Result<Arc<()>, FaultCode> {
        let fetched = self.engine.handle_fetch(Time(self.now), session, object, &mut self.out);
        let (resource, note) = fetched.map_err(|fault| fault.code)?;
        assert_eq!(&*note, NO_NOTE);
        Ok(Arc::clone(resource.get::<Arc<()>>().unwrap()))
    }
}

#[test]
fn memory_lives_as_long_as_something_leads_to_it() {
    let mut driver = Driver::new();
    let (maker, reader) = (driver.session(), driver.session());
    let memory = Arc::new(());
    let (token, made) = driver.share(maker, None, &memory).unwrap();
    assert!(made);
    let list = driver.list(reader, &(token,));
    driver.check();
    driver
        .engine
        .handle_session_end(Time(driver.now), maker, &mut driver.out);
    driver.check();
    assert!(Arc::ptr_eq(&driver.fetch(reader, token.object).unwrap(), &memory));
    driver.check();
    driver.release(reader, token.object, 1);
    assert_eq!(Arc::strong_count(&memory), 2, "the list holds it");
    driver.release(reader, list, 1);
    driver.check();
    assert_eq!(Arc::strong_count(&memory), 1, "dropped with its last reference");
    assert_eq!(driver.fetch(reader, token.object), Err(FaultCode::NoSuchObject));
}

#[test]
fn a_name_keeps_the_first_and_drops_the_others() {
    let mut driver = Driver::new();
    let session = driver.session();
    let (first, second) = (Arc::new(()), Arc::new(()));
    let (token, made) = driver.share(session, Some("memory"), &first).unwrap();
    let (same, made_again) = driver.share(session, Some("memory"), &second).unwrap();
    assert_eq!((token, made, made_again), (same, true, false));
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (2, 1));
    driver.check();
    driver.release(session, token.object, 2);
    assert_eq!(Arc::strong_count(&first), 2, "the name holds it");
    driver.call(session, Operation::Remove, 0, &("memory",)).unwrap();
    driver.check();
    assert_eq!(Arc::strong_count(&first), 1);
}

#[test]
fn what_is_refused_is_dropped() {
    let mut driver = Driver::with(Settings {
        objects_max: 1,
        ..Settings::default()
    });
    let session = driver.session();
    let list = driver.list(session, &());
    let memory = Arc::new(());
    assert_eq!(
        driver.share(session, None, &memory).unwrap_err().code,
        FaultCode::TooMany
    );
    assert_eq!(Arc::strong_count(&memory), 1);
    assert_eq!(driver.fetch(session, list), Err(FaultCode::WrongType));
    driver
        .engine
        .handle_session_end(Time(driver.now), session, &mut driver.out);
    assert!(driver.share(session, None, &memory).is_err(), "its session has ended");
    assert_eq!(Arc::strong_count(&memory), 1);
    driver.check();
}

#[test]
fn what_is_kept_is_charged_until_it_is_dropped() {
    const ROOM: u64 = 100 << 20;
    let mut driver = Driver::with(Settings {
        memory_bytes_max: ROOM,
        ..Settings::default()
    });
    let session = driver.session();
    let memory = Arc::new(());
    let share = |driver: &mut Driver, name: Option<&str>, bytes: u64| {
        let resource = Resource::new(Arc::clone(&memory), bytes);
        let now = Time(driver.now);
        driver
            .engine
            .handle_share(now, session, name, NO_NOTE, resource, &mut driver.out)
    };
    let kept = 60 << 20;
    let (token, _) = share(&mut driver, Some("memory"), kept).unwrap();
    let full = driver.engine.stats().bytes;
    assert_eq!(full, OBJECT_BYTES + kept + NO_NOTE.len() as u64);
    driver.check();
    for bytes in [kept, ROOM - full, u64::MAX] {
        let refused = share(&mut driver, None, bytes).unwrap_err();
        assert_eq!(refused.code, FaultCode::TooLarge);
    }
    assert_eq!(driver.engine.stats().bytes, full, "a refusal is charged for nothing");
    let (same, made) = share(&mut driver, Some("memory"), kept).unwrap();
    assert_eq!((same, made), (token, false), "what is there already takes no more room");
    assert_eq!(Arc::strong_count(&memory), 2);
    driver.call(session, Operation::Remove, 0, &("memory",)).unwrap();
    driver.release(session, token.object, 2);
    assert_eq!(
        driver.engine.stats().bytes,
        kept + 1,
        "a large one is let go of as a job"
    );
    driver.check();
    assert_eq!((driver.engine.stats().bytes, Arc::strong_count(&memory)), (0, 1));
    driver.check();
    // And at the end of a session, and among garbage.
    share(&mut driver, None, 5).unwrap();
    let (token, _) = share(&mut driver, None, 7).unwrap();
    let list = driver.list(session, &(token,));
    driver
        .call(session, Operation::ListAppend, list, &(list_token(list),))
        .unwrap();
    driver.check();
    driver
        .engine
        .handle_session_end(Time(driver.now), session, &mut driver.out);
    let session = driver.session();
    assert!(driver.engine.stats().bytes > 7, "a circle holds it");
    driver.call(session, Operation::Collect, 0, &NOTHING).unwrap();
    driver.check();
    assert_eq!((driver.engine.stats().bytes, Arc::strong_count(&memory)), (0, 1));
}
