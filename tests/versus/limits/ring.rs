//! The limit of a call through shared memory: two words in a page that two processes map, one for each direction.
//!
//! Both sides spin a little and then yield, as a ring does; nothing is copied and nothing is looked up.
#![expect(unsafe_code, reason = "mapping memory that another process shares has no safe form")]

use crate::Result;
use crate::client::Step;
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PAGE_BYTES: usize = 4096;
/// The words lie this far apart, so that the two directions share no cache line, nor a pair of them.
const APART: usize = 256;
const SPINS: u32 = 1000;
/// After so many looks, a millisecond, it is another side's turn.
const LOOKS: u32 = 3000;
const NAP: Duration = Duration::from_millis(1);

/// A page that both processes map. It stays mapped until the process ends.
#[derive(Clone, Copy)]
struct Page(NonNull<AtomicU64>);

// SAFETY: the page is only ever reached through atomics, and is never unmapped.
unsafe impl Send for Page {}

pub(crate) fn serve() -> Result<()> {
    let file = File::from(rustix::fs::memfd_create("versus-ring", MemfdFlags::CLOEXEC)?);
    file.set_len(PAGE_BYTES as u64)?;
    let page = Page::map(&file)?;
    // The client is a process of the same user, which may open what this one has open.
    println!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let mut seen = 0;
    loop {
        seen = page.wait(0, |word| word != seen);
        page.word(1).store(seen, Ordering::Release);
    }
}

pub(crate) fn step(address: &str) -> Result<Step> {
    let page = Page::map(&OpenOptions::new().read(true).write(true).open(address)?)?;
    let mut number = page.word(0).load(Ordering::Relaxed);
    Ok(Box::new(move |_| {
        number += 1;
        page.word(0).store(number, Ordering::Release);
        page.wait(1, |word| word == number);
        Ok(())
    }))
}

impl Page {
    fn map(file: &File) -> Result<Self> {
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                PAGE_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        Ok(Self(NonNull::new(address.cast()).ok_or("mapped at zero")?))
    }

    /// One of the two words.
    fn word(self, direction: usize) -> &'static AtomicU64 {
        assert!(direction < 2);
        // SAFETY: both words lie within the page, aligned to 256 bytes.
        let word = unsafe { self.0.byte_add(direction * APART) };
        // SAFETY: the page is mapped, zeroed by the kernel, for as long as the process lives, and only accessed atomically.
        unsafe { word.as_ref() }
    }

    /// Waits until the word fits.
    fn wait(self, direction: usize, fits: impl Fn(u64) -> bool) -> u64 {
        let mut spins = 0;
        loop {
            let word = self.word(direction).load(Ordering::Acquire);
            if fits(word) {
                return word;
            }
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else if spins < LOOKS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(NAP);
            }
        }
    }
}
