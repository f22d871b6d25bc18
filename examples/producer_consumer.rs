//! One producer, three consumers, two ways to end: an end marker for each consumer, or `task_done` and `join` with daemon consumers.
//!
//! `cargo run --example producer_consumer`

use byproxy::{ListProxy, Manager, Process, QueueProxy};

const CONSUMERS: u32 = 3;
const JOBS: u32 = 12;

/// Takes jobs until it meets an end marker.
fn consume(jobs: QueueProxy<Option<u32>>, squares: ListProxy<u32>) -> byproxy::Result<()> {
    while let Some(job) = jobs.get()? {
        squares.append(job * job)?;
    }
    Ok(())
}

/// Takes jobs for ever and says when each is done; ends with its parent.
fn consume_for_ever(jobs: QueueProxy<u32>, squares: ListProxy<u32>) -> byproxy::Result<()> {
    loop {
        let job = jobs.get()?;
        squares.append(job * job)?;
        jobs.task_done()?;
    }
}

fn sorted(squares: &ListProxy<u32>) -> byproxy::Result<Vec<u32>> {
    squares.sort()?;
    squares.to_vec()
}

fn main() -> byproxy::Result<()> {
    byproxy::init();
    let manager = Manager::start()?;

    let jobs = manager.queue::<Option<u32>>(4)?;
    let squares = manager.list()?;
    let consumers: Vec<Process> = (0..CONSUMERS)
        .map(|_| Process::spawn(consume, (jobs.clone(), squares.clone())))
        .collect::<Result<_, _>>()?;
    for job in 0..JOBS {
        jobs.put(Some(job))?;
    }
    for _ in 0..CONSUMERS {
        jobs.put(None)?;
    }
    for consumer in consumers {
        consumer.join()?;
    }
    println!("with end markers:        {:?}", sorted(&squares)?);

    let jobs = manager.queue::<u32>(0)?;
    let squares = manager.list()?;
    let consumers: Vec<Process> = (0..CONSUMERS)
        .map(|_| {
            Process::builder()
                .daemon(true)
                .spawn(consume_for_ever, (jobs.clone(), squares.clone()))
        })
        .collect::<Result<_, _>>()?;
    for job in 0..JOBS {
        jobs.put(job)?;
    }
    jobs.join()?;
    println!("with task_done and join: {:?}", sorted(&squares)?);
    // They would be killed when this process ends; sooner, so that they do not see the server go.
    for consumer in consumers {
        consumer.kill()?;
    }
    Ok(())
}
