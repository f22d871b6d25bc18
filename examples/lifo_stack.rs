//! Queues that do not give in the order they took: a stack, and one that gives the smallest first.
//!
//! `cargo run --example lifo_stack`

use byproxy::{Manager, Process, QueueProxy};

fn fill(stack: QueueProxy<String>, urgent_first: QueueProxy<(u32, String)>) -> byproxy::Result<()> {
    for dish in ["plate", "bowl", "cup"] {
        stack.put(dish)?;
    }
    for (priority, task) in [(3, "sweep"), (1, "put out the fire"), (2, "answer the telephone")] {
        urgent_first.put((priority, task.to_owned()))?;
    }
    Ok(())
}

fn main() -> byproxy::Result<()> {
    byproxy::init();
    let manager = Manager::start()?;
    let stack = manager.lifo_queue(0)?;
    let urgent_first = manager.priority_queue(0)?;
    Process::spawn(fill, (stack.clone(), urgent_first.clone()))?.join()?;

    println!("from the stack:   {} {} {}", stack.get()?, stack.get()?, stack.get()?);
    while let Ok((priority, task)) = urgent_first.try_get() {
        println!("with priority {priority}:  {task}");
    }
    Ok(())
}
