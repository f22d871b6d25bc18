//! A small call allocates nothing, on neither side, once everything it uses is warm: embedded, over a socket, and in a ring.
//!
//! The allocator of this program counts, for all of its threads: the client's and the server's. Only what grows may allocate, now and then.

#[path = "../support/watchdog.rs"]
mod watchdog;

use byproxy::{Manager, Server};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Calls before counting begins.
const WARM_UP: u64 = 500;
/// Calls that are counted: few enough to be done within a second on a machine that has much else to do.
const CALLS: u64 = 100;
/// How often they are.
const ROUNDS: u64 = 30;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is left to the system's allocator, and counting touches no memory that is allocated.
#[expect(unsafe_code, reason = "an allocator has no other form")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` or `realloc`, which is to say from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the pointer came from the system's allocator, and the caller's promise about the sizes is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations the counted calls made. The best of some rounds counts: once in a second a server puts a chore about a ring on its
/// timer's list, whatever is called meanwhile.
fn allocations(mut call: impl FnMut(u64) -> byproxy::Result<()>) -> byproxy::Result<u64> {
    (0..WARM_UP).try_for_each(&mut call)?;
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..CALLS).try_for_each(&mut call)?;
        least = least.min(ALLOCATIONS.load(Ordering::Relaxed) - before);
    }
    Ok(least)
}

/// Makes each kind of small call through this manager, and counts.
fn count_all(manager: &Manager, watchdog: &watchdog::Watchdog) -> byproxy::Result<()> {
    let keys: Vec<String> = (0..16).map(|number| format!("key {number}")).collect();
    let key = |call: u64| keys[usize::try_from(call % 16).unwrap_or(0)].as_str();
    let dict = manager.dict::<String, u64>()?;
    let list = manager.list_from::<u64>(0..16)?;
    let queue = manager.queue::<u64>(0)?;
    let bounded = manager.queue::<u64>(1)?;
    let lock = manager.lock()?;
    let grown = manager.list::<u64>()?;

    let none = |what, count| {
        assert_eq!(count, 0, "{what} allocated {count} times in {CALLS} calls");
        watchdog.progress();
    };
    none(
        "dict.insert",
        allocations(|call| dict.insert(key(call), call).map(drop))?,
    );
    none(
        "dict.get",
        allocations(|call| dict.get(key(call)).map(|value| _ = black_box(value)))?,
    );
    none("dict.contains", allocations(|call| dict.contains(key(call)).map(drop))?);
    none(
        "list.get",
        allocations(|call| list.get((call % 16).cast_signed()).map(drop))?,
    );
    none(
        "list.set",
        allocations(|call| list.set((call % 16).cast_signed(), call))?,
    );
    none("list.len", allocations(|_| list.len().map(drop))?);
    let put_and_get = allocations(|call| {
        queue.put(call)?;
        queue.get().map(drop).map_err(Into::into)
    })?;
    none("queue.put and get", put_and_get);
    let put_and_get = allocations(|call| {
        bounded.put_timeout(call, Duration::from_mins(1))?;
        bounded
            .get_timeout(Duration::from_mins(1))
            .map(drop)
            .map_err(Into::into)
    })?;
    none("queue.put_timeout and get_timeout", put_and_get);
    none("lock.acquire and release", allocations(|_| lock.acquire().map(drop))?);

    let growing = allocations(|call| grown.append(call))?;
    assert!(
        growing * 100 < CALLS,
        "list.append allocated {growing} times in {CALLS} calls"
    );
    Ok(())
}

// One test, because the counter is one: another test's allocations would count.
#[test]
fn small_calls_allocate_nothing() -> byproxy::Result<()> {
    let watchdog = watchdog::Watchdog::new();
    count_all(&Manager::embedded()?, &watchdog)?;

    for (ring_after, lanes_in_rings) in [(0, 0), (1, 2)] {
        let server = Server::builder().workers(1).ring_after(ring_after).build()?;
        let (address, handle) = (server.address().clone(), server.handle());
        let serving = std::thread::spawn(move || server.serve());
        let counted = Manager::connect(address).and_then(|manager| {
            count_all(&manager, &watchdog)?;
            // A lane that has had a ring has it again by then, however long it was idle.
            let lock = manager.lock()?;
            (0..4).try_for_each(|_| lock.acquire().map(drop))?;
            let stats = handle.stats();
            assert_eq!(stats.rings, lanes_in_rings, "one for each kind of lane: {stats:?}");
            Ok(())
        });
        handle.stop();
        let ended = serving.join();
        counted?;
        assert!(matches!(ended, Ok(Ok(()))));
    }
    Ok(())
}
