//! Whom a lock word names, and the proof that it is dead.
//!
//! A process id alone is no identity: it is used again after as few as 32,768 processes. A word names a process by id and start time (in
//! the clock ticks of `/proc/<pid>/stat`; 34 bits of them pass in five years), so another process with the same id is not mistaken for
//! the owner. A death is proved, never assumed from time that passed: no such process, another process under the id, or a pidfd that says
//! it has ended, collected or not. What can't be found out counts as alive.
//!
//! All participants see each other's ids, so they live in one pid namespace. A process that replaces its program (`exec`) stays the same
//! process: what it held then stays held until it ends.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

use super::mutex::{OWNERLESS, UNTOLD, WAITERS};
use crate::fork;
use crate::process::identity::Identity;

const SALT_SHIFT: u32 = 1;
pub(super) const SALT_MASK: u64 = (1 << 6) - 1;
const PID_SHIFT: u32 = 7;
const PID_MASK: u64 = (1 << 22) - 1;
const START_SHIFT: u32 = 29;
const START_MASK: u64 = (1 << 34) - 1;
/// The start time of a process that could not find out its own: such an owner is dead when its process id is.
const START_UNKNOWN: u64 = START_MASK;
const OWNER_MASK: u64 = !(UNTOLD | WAITERS | (SALT_MASK << SALT_SHIFT));

/// The word that names this process, on a page that the kernel empties in a forked child.
static CURRENT: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const UNPREPARED).cast_mut());
/// Stands there before [`prepare`] was called, so that [`current`] has one thing to look at, and not two. Never written.
static UNPREPARED: AtomicU64 = AtomicU64::new(0);

/// Makes [`current`] ready; fails where the system is too old or refuses memory.
pub(super) fn prepare() -> io::Result<()> {
    if ptr::eq(page(), &raw const UNPREPARED) {
        let page = if seeded!("shm_child_is_its_parent") {
            Box::leak(Box::default())
        } else {
            fork::wiped_page()?
        };
        page.store(name(Identity::current()?), Ordering::Relaxed);
        let (nothing, page) = (&raw const UNPREPARED, ptr::from_ref(page));
        // Pairs with the `Acquire` in `page`. Another thread may have been faster: then its page counts, and ours is kept for nothing, once.
        let _ = CURRENT.compare_exchange(
            nothing.cast_mut(),
            page.cast_mut(),
            Ordering::Release,
            Ordering::Relaxed,
        );
    }
    Ok(())
}

/// The word that names this process as an owner.
#[inline]
pub(super) fn current() -> u64 {
    let page = page();
    match page.load(Ordering::Relaxed) {
        0 => name_anew(page),
        word => word,
    }
}

#[inline]
fn page() -> &'static AtomicU64 {
    let page = CURRENT.load(Ordering::Acquire);
    // SAFETY: it points to a static, or to a page that is never unmapped; both are only used as this atomic.
    unsafe { &*page }
}

/// The owner word with a salt that tells this holding from the process's others.
#[inline]
pub(super) fn salted(owner: u64, salt: u64) -> u64 {
    owner | ((salt & SALT_MASK) << SALT_SHIFT)
}

/// Whether a word names this process, and not the one that this was forked from.
#[inline]
pub(super) fn is_current(word: u64) -> bool {
    (word ^ current()) & OWNER_MASK == 0
}

/// Whether the process that a word names is proved to have ended. Costs a few system calls.
pub(super) fn is_dead(word: u64) -> bool {
    if word & !WAITERS == OWNERLESS || is_current(word) {
        return false;
    }
    let number = (word >> PID_SHIFT) & PID_MASK;
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else {
        return true;
    };
    if test_kill_process(pid) == Err(Errno::SRCH) {
        return true;
    }
    // Opened before the start time is read: if that is the owner's, the id meant the owner when it was opened.
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        // The id is nobody's, or a thread's: a process has the id of its first thread.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return true,
        Err(_) => return false,
    };
    let start = (word >> START_SHIFT) & START_MASK;
    let another = Identity::of(pid.as_raw_nonzero().get().unsigned_abs())
        .is_ok_and(|found| start != START_UNKNOWN && start != found.start_time() & START_MASK);
    another || has_ended(&pidfd)
}

fn has_ended(pidfd: &impl std::os::fd::AsFd) -> bool {
    let mut descriptors = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut descriptors, Some(&Timespec::default())), Ok(1))
}

#[inline]
fn name(identity: Identity) -> u64 {
    owner_word(identity.pid(), identity.start_time())
}

fn owner_word(pid: u32, start_time: u64) -> u64 {
    ((start_time & START_MASK) << START_SHIFT) | ((u64::from(pid) & PID_MASK) << PID_SHIFT)
}

/// In a process that was forked from one that uses shared memory.
#[cold]
fn name_anew(page: &AtomicU64) -> u64 {
    if ptr::eq(page, &raw const UNPREPARED) {
        // Nothing is mapped before `prepare` succeeded, so nobody gets here with a word to take.
        return name_unknown();
    }
    let word = Identity::current().map_or_else(|_| name_unknown(), name);
    page.store(word, Ordering::Relaxed);
    word
}

#[cold]
fn name_unknown() -> u64 {
    owner_word(std::process::id(), START_UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_neighbours_in_time_do_not() {
        prepare().unwrap();
        let word = current();
        assert!(is_current(word) && !is_dead(word));
        assert!(is_current(salted(word, 63) | WAITERS | UNTOLD));
        let parent = Identity::of(std::os::unix::process::parent_id()).unwrap();
        assert!(!is_dead(name(parent)), "the process that started this one");
        let earlier = owner_word(parent.pid(), parent.start_time() - 1);
        assert!(is_dead(earlier), "the id is another's now");
        assert!(!is_dead(owner_word(parent.pid(), START_UNKNOWN)));
        assert!(is_dead(owner_word(0, 5)), "no process has the id 0");
    }

    #[test]
    fn a_process_that_ended_is_dead_before_and_after_it_is_collected() {
        prepare().unwrap();
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let word = name(Identity::of(child.id()).unwrap());
        assert!(!is_dead(word));
        child.kill().unwrap();
        while !is_dead(word) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_dead(word));
    }

    #[test]
    fn a_thread_that_took_the_id_is_not_the_owner() {
        prepare().unwrap();
        let thread = std::thread::spawn(rustix::thread::gettid);
        let id = thread.join().unwrap().as_raw_nonzero().get().unsigned_abs();
        assert!(is_dead(owner_word(id, 1)));
        let (asked, answer) = std::sync::mpsc::channel::<()>();
        let (say, said) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            say.send(rustix::thread::gettid()).unwrap();
            let _ = answer.recv();
        });
        let id = said.recv().unwrap().as_raw_nonzero().get().unsigned_abs();
        assert!(is_dead(owner_word(id, 1)));
        drop(asked);
        thread.join().unwrap();
    }

    #[test]
    fn what_nobody_owns_is_never_dead() {
        prepare().unwrap();
        assert!(!is_dead(OWNERLESS) && !is_dead(OWNERLESS | WAITERS));
    }
}
