//! A queue with room for two: `put` waits, `try_put` gives the item back, `put_timeout` waits a while.
//!
//! `cargo run --example bounded_queue`

use byproxy::{Manager, Process, PutTimeoutError, QueueProxy, TryGetError, TryPutError};
use std::time::{Duration, Instant};

fn slow_consumer(queue: QueueProxy<String>) -> byproxy::Result<()> {
    std::thread::sleep(Duration::from_millis(300));
    println!("consumer: took {:?}", queue.get()?);
    Ok(())
}

fn main() -> byproxy::Result<()> {
    byproxy::init();
    let manager = Manager::start()?;
    let queue = manager.queue::<String>(2)?;

    queue.put("first")?;
    queue.put("second")?;
    println!(
        "size {} of {}, full: {}",
        queue.qsize()?,
        queue.maxsize()?,
        queue.is_full()?
    );

    match queue.try_put("third") {
        Err(TryPutError::Full(item)) => println!("try_put:     full, here is {item:?} back"),
        other => println!("try_put:     {other:?}"),
    }
    let start = Instant::now();
    match queue.put_timeout("third", Duration::from_millis(100)) {
        Err(PutTimeoutError::Timeout(item)) => println!("put_timeout: {item:?} back after {:.1?}", start.elapsed()),
        other => println!("put_timeout: {other:?}"),
    }

    let consumer = Process::spawn(slow_consumer, (queue.clone(),))?;
    let start = Instant::now();
    queue.put("third")?;
    println!(
        "put:         waited {:.1?} until the consumer took one",
        start.elapsed()
    );
    consumer.join()?;

    println!("left: {:?}, {:?}", queue.get()?, queue.get()?);
    match queue.try_get() {
        Err(TryGetError::Empty) => println!("try_get:     empty"),
        other => println!("try_get:     {other:?}"),
    }
    Ok(())
}
