//! Forks: whether this is still the same process, and what a forked one has of its own.
//!
//! A forked child has the same sockets as its parent, and must not touch the parent's streams. It also has the same locks, but not the
//! threads that held them. One page that the kernel wipes in children holds a number of this process: a load tells a child apart,
//! without a system call.
#![expect(
    unsafe_code,
    reason = "pages that the kernel wipes, and what is leaked for the rest of a process"
)]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// A page of memory that reads as zeroes, and again in every process forked from this one. It is never unmapped.
///
/// # Errors
/// Where the kernel is older than 4.14, or refuses memory.
pub(crate) fn wiped_page() -> io::Result<&'static AtomicU64> {
    let size = rustix::param::page_size();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), size, protection, MapFlags::PRIVATE) }?;
    // SAFETY: the range is the page just mapped, which nothing points into; the advice only concerns children.
    if let Err(refused) = unsafe { madvise(page, size, Advice::LinuxWipeOnFork) } {
        // SAFETY: as above.
        let _ = unsafe { munmap(page, size) };
        return Err(refused.into());
    }
    // SAFETY:
    // - The page is mapped, zeroed, aligned for any type, and never unmapped.
    // - It is only ever used as this atomic; the kernel's wiping happens in a child that runs one thread.
    Ok(unsafe { &*page.cast::<AtomicU64>() })
}

/// A number that is zero at first, and zero again in every forked child. Nothing on a kernel that can't wipe pages.
fn mark() -> Option<&'static AtomicU64> {
    // Not a lock, which another thread could hold at the moment of a fork.
    static MARK: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let mut mark = MARK.load(Ordering::Acquire);
    if mark.is_null() {
        // For good: what was born by its number is not to be compared with what has a mark.
        if REFUSED.load(Ordering::Relaxed) {
            return None;
        }
        let Ok(page) = wiped_page() else {
            REFUSED.store(true, Ordering::Relaxed);
            return None;
        };
        let page = ptr::from_ref(page).cast_mut();
        // Pairs with the `Acquire` above. Another thread may have been faster: then its page counts, and ours is kept for nothing, once.
        mark = match MARK.compare_exchange(mark, page, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => page,
            Err(known) => known,
        };
    }
    // SAFETY: it is not null, and so came from a reference to a page that is never unmapped, and is only used as this atomic.
    Some(unsafe { &*mark })
}

/// The process in which something was made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Birth {
    /// Where the wiped page is, and what it held.
    Marked(&'static AtomicU64, u64),
    /// Without such a page: the process's number, which costs a system call to compare.
    Numbered(u32),
}

impl Birth {
    /// This process.
    pub(crate) fn of_this_process() -> Self {
        let Some(mark) = mark() else {
            return Self::Numbered(std::process::id());
        };
        let mut bytes = [0; 8];
        let random = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let fresh = if random.is_ok() {
            u64::from_ne_bytes(bytes) | 1
        } else {
            u64::from(std::process::id())
        };
        // Zero is what a new page and a wiped one hold: the first to come here after a start or a fork names the process.
        match mark.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Self::Marked(mark, fresh),
            Err(known) => Self::Marked(mark, known),
        }
    }

    /// Whether the calling process is the one.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        match self {
            Self::Marked(mark, number) => mark.load(Ordering::Acquire) == number,
            Self::Numbered(pid) => std::process::id() == pid,
        }
    }
}

/// A static that each process has for itself: a forked child finds a new one, whatever threads of its parent were doing with the parent's.
///
/// Without this a lock that another thread held at the moment of the fork is held in the child for ever, by nobody. The child's copy of
/// its parent's is never dropped: there may be half of a change in it.
pub(crate) struct PerProcess<T: 'static> {
    /// What is there was leaked; null before the first use.
    own: AtomicPtr<Own<T>>,
    new: fn() -> T,
    leave: fn(&T),
}

struct Own<T> {
    birth: Birth,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new(new: fn() -> T) -> Self {
        Self {
            own: AtomicPtr::new(ptr::null_mut()),
            new,
            leave: |_| (),
        }
    }

    /// The same, and a child does this to its copy of its parent's before it uses its own. It must not wait for a lock in there.
    pub(crate) const fn leaving(self, leave: fn(&T)) -> Self {
        Self { leave, ..self }
    }

    /// The one of this process.
    pub(crate) fn get(&self) -> &'static T {
        let mut known = self.own.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or from `Box::into_raw` below and never freed once it was published; shared from then on.
            if let Some(own) = unsafe { known.as_ref() }
                && (own.birth.is_here() || seeded!("fork_inherits_locks"))
            {
                return &own.value;
            }
            known = self.replace(known);
        }
    }

    /// Puts a new one in the place of a parent's, or of none, and returns what is there now: another thread of this process may be faster.
    #[cold]
    fn replace(&self, known: *mut Own<T>) -> *mut Own<T> {
        let own = Box::into_raw(Box::new(Own {
            birth: Birth::of_this_process(),
            value: (self.new)(),
        }));
        // `Release` publishes what is in it to the `Acquire` of `get`, and of this line where another thread was faster.
        match self
            .own
            .compare_exchange(known, own, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => {
                // SAFETY: as in `get`.
                if let Some(parents) = unsafe { known.as_ref() } {
                    (self.leave)(&parents.value);
                }
                own
            }
            Err(faster) => {
                // SAFETY: it was made above and nobody else was told of it.
                drop(unsafe { Box::from_raw(own) });
                faster
            }
        }
    }
}

/// Whether something holds in a forked child of this process. It must not wait for other threads, which the child does not have: it is
/// ended after a while, and it does not hold.
#[cfg(test)]
pub(crate) fn holds_in_fork(holds: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs only the given function, which waits for no other thread, and then ends without unwinding into the parent's
    // frames.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: it sets a timer of the child, whose signal ends it.
        unsafe { libc::alarm(10) };
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(holds)).unwrap_or(false);
        // SAFETY: it ends the child at once, without running anything of the parent's.
        unsafe { libc::_exit(i32::from(!held)) };
    }
    let mut status = 0;
    // SAFETY: the status is a live integer, and the child is ours and not collected yet.
    let collected = unsafe { libc::waitpid(child, &raw mut status, 0) };
    collected == child && status == 0
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};
    use std::thread;

    use super::*;

    #[test]
    fn a_forked_child_finds_the_mark_wiped() {
        let Some(mark) = mark() else { return };
        let birth = Birth::of_this_process();
        assert!(birth.is_here());
        assert!(
            holds_in_fork(|| mark.load(Ordering::Relaxed) == 0 && !birth.is_here()),
            "the child still found its parent's mark"
        );
        assert!(birth.is_here());
    }

    #[test]
    fn a_forked_child_has_statics_of_its_own() {
        static BOOK: PerProcess<Mutex<Vec<u32>>> = PerProcess::new(Mutex::default);
        BOOK.get().lock().unwrap().push(1);
        let held = BOOK.get().lock().unwrap();
        assert!(
            holds_in_fork(|| {
                let mut own = BOOK.get().lock().unwrap();
                own.push(2);
                *own == [2] && ptr::eq(BOOK.get(), BOOK.get())
            }),
            "the child waited for its parent's lock, or found its parent's book"
        );
        assert_eq!(*held, [1]);
    }

    #[test]
    fn all_threads_of_a_process_have_the_same_one() {
        for _ in 0..100 {
            let book = Box::leak(Box::new(PerProcess::<Mutex<u32>>::new(Mutex::default)));
            let (go, book) = (Barrier::new(4), &*book);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        go.wait();
                        *book.get().lock().unwrap() += 1;
                    });
                }
            });
            assert_eq!(*book.get().lock().unwrap(), 4);
        }
    }
}
