//! Threads that run the engine's jobs: whatever takes longer than a constant number of steps.
//!
//! They start when a job finds none idle, up to a bound, and then stay, asleep while there is nothing to do.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use super::driver::{Driver, Scratch};
use crate::engine::Job;

/// The threads and what waits for them.
#[derive(Debug)]
pub(super) struct Helpers {
    driver: Weak<Driver>,
    threads_max: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    stopped: bool,
}

impl Helpers {
    pub(super) fn new(driver: Weak<Driver>, threads_max: usize) -> Self {
        Self {
            driver,
            threads_max: threads_max.max(1),
            state: Mutex::default(),
            work: Condvar::new(),
        }
    }

    /// Has a job run soon. Gives it back if there is no thread and none can be started.
    pub(super) fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        let mut state = self.state.lock();
        if state.idle <= state.jobs.len() && state.threads < self.threads_max && !state.stopped {
            let driver = Weak::clone(&self.driver);
            let started = std::thread::Builder::new()
                .name("byproxy-helper".to_owned())
                .spawn(move || {
                    if let Some(driver) = driver.upgrade() {
                        work(&driver);
                    }
                });
            state.threads += usize::from(started.is_ok());
        }
        if state.threads == 0 {
            return Err(Box::new(job));
        }
        state.jobs.push_back(job);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Lets the threads end; jobs that have not begun are dropped.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        drop(jobs);
        self.work.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            self.work.wait(&mut state);
            state.idle -= 1;
        }
    }
}

fn work(driver: &Arc<Driver>) {
    let mut scratch = Scratch::default();
    while let Some(job) = driver.helpers.next() {
        let turn = |scratch: &mut Scratch| {
            let done = job.run();
            driver
                .engine
                .handle_job_done(driver.timer.now(), done, &mut scratch.out);
            driver.deliver(&mut scratch.out, &mut scratch.frame);
        };
        driver.visit(&mut scratch, turn, || ());
    }
}
