//! Segments: sealed memory without a name, mapped as long as a handle needs it.
//!
//! A segment is a memfd. It has no name in the file system, so nothing is left of it when the last process that maps it ends, however it
//! ends. Its size is sealed before anybody else can have it: no peer can make it smaller, so touching the mapping never faults. Its bytes
//! are another matter: a peer may write anything anywhere at any time, so nothing here is ever borrowed as Rust values, only read and
//! written through atomics.
//!
//! A process maps a segment once, however many handles into it arrive.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::owner;
use crate::descriptors::Passes;
use crate::fork::PerProcess;

/// The alignment of a segment's first byte is at least this.
pub(super) const PAGE_SIZE: usize = 4096;

/// The segments this process has mapped, by the file system's name for them.
static MAPPED: PerProcess<Mutex<HashMap<FileId, Weak<Segment>>>> = PerProcess::new(Mutex::default);
static SEGMENTS_MADE: AtomicU64 = AtomicU64::new(0);

/// A device and an inode.
type FileId = (u64, u64);

/// A mapped piece of memory that other processes may map as well.
pub(super) struct Segment {
    /// Tells it from every other segment this process ever mapped.
    key: u64,
    file_id: FileId,
    base: NonNull<u8>,
    size: usize,
    descriptor: OwnedFd,
    /// The objects that keep the descriptor at servers.
    passes: Passes,
    /// The process whose forked children do not have the mapping; zero if they have it.
    kept_by: AtomicU32,
}

// SAFETY: the mapping belongs to the whole process, and this type hands out nothing but its place and size.
unsafe impl Send for Segment {}
// SAFETY: as above; what stands in the mapping is only touched through atomics.
unsafe impl Sync for Segment {}

impl Segment {
    /// Makes a new segment of at least `size` bytes, all zero, and maps it.
    pub(super) fn create(size: usize) -> io::Result<Arc<Self>> {
        let segment = Self::create_sparse(size)?;
        // Memory is promised now, so that it is this call that fails when there is none left, not a later access.
        let length = u64::try_from(segment.size).map_err(io::Error::other)?;
        fallocate(&segment.descriptor, FallocateFlags::empty(), 0, length)?;
        Ok(segment)
    }

    /// The same, but its pages come as they are touched, like those of any other memory of a process.
    pub(super) fn create_sparse(size: usize) -> io::Result<Arc<Self>> {
        let size = size
            .checked_next_multiple_of(PAGE_SIZE)
            .filter(|size| isize::try_from(*size).is_ok())
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let length = u64::try_from(size).map_err(io::Error::other)?;
        let descriptor = create_memfd()?;
        ftruncate(&descriptor, length)?;
        if !seeded!("shm_unsealed") {
            fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        }
        let file_id = identify(&descriptor)?.0;
        let segment = Arc::new(Self::map(descriptor, file_id, size)?);
        MAPPED.get().lock().insert(file_id, Arc::downgrade(&segment));
        Ok(segment)
    }

    /// The segment of a descriptor that another process sent.
    pub(super) fn open(descriptor: BorrowedFd<'_>) -> io::Result<Arc<Self>> {
        let seals = fcntl_get_seals(descriptor)?;
        if !seals.contains(SealFlags::SHRINK) && !seeded!("shm_unsealed") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "shared memory whose size is not sealed",
            ));
        }
        // Only now: what its size was before it was sealed says nothing.
        let (file_id, size) = identify(&descriptor)?;
        let mut mapped = MAPPED.get().lock();
        if let Some(segment) = mapped.get(&file_id).and_then(Weak::upgrade) {
            return Ok(segment);
        }
        let segment = Arc::new(Self::map(descriptor.try_clone_to_owned()?, file_id, size)?);
        mapped.insert(file_id, Arc::downgrade(&segment));
        Ok(segment)
    }

    fn map(descriptor: OwnedFd, file_id: FileId, size: usize) -> io::Result<Self> {
        owner::prepare()?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { mmap(ptr::null_mut(), size, protection, MapFlags::SHARED, &descriptor, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            key: SEGMENTS_MADE.fetch_add(1, Ordering::Relaxed),
            file_id,
            base,
            size,
            descriptor,
            passes: Passes::default(),
            kept_by: AtomicU32::new(0),
        })
    }

    /// From here on children that this process forks do not have the mapping.
    pub(super) fn keep_from_children(&self) -> io::Result<()> {
        // SAFETY: the range is this mapping, and the advice only concerns children, which never touch what they do not have: see `drop`.
        unsafe { madvise(self.base.as_ptr().cast(), self.size, Advice::LinuxDontFork) }?;
        self.kept_by.store(std::process::id(), Ordering::Relaxed);
        Ok(())
    }

    /// Gives the memory from `offset` to the end back to the system, in every process that maps it: it is zero when it is next touched.
    pub(super) fn give_back(&self, offset: usize) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let [start, size] = [offset, self.size - offset].map(|bytes| bytes as u64);
        Ok(fallocate(&self.descriptor, flags, start, size)?)
    }

    /// Tells this segment from every other this process ever mapped.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// The objects that keep its descriptor at servers.
    pub(super) fn passes(&self) -> &Passes {
        &self.passes
    }

    /// How many bytes are mapped.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The address of a place inside; `None` if the range does not lie inside. Valid as long as the segment lives.
    #[inline]
    pub(super) fn address(&self, offset: usize, size: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(size)?;
        if end > self.size {
            return None;
        }
        // SAFETY: the place is inside the mapping, just checked.
        Some(unsafe { self.base.add(offset) })
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let mut mapped = MAPPED.get().lock();
        // Another thread may have mapped the same file again since the last handle went.
        if mapped
            .get(&self.file_id)
            .is_some_and(|segment| segment.strong_count() == 0)
        {
            mapped.remove(&self.file_id);
        }
        drop(mapped);
        let kept_by = *self.kept_by.get_mut();
        if kept_by != 0 && kept_by != std::process::id() {
            // A forked child: something else of its own may stand at these addresses.
            return;
        }
        // SAFETY: this mapping was made by `map` and is only unmapped here; whoever used its addresses held a reference.
        // It fails only for a range that is none.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.size) };
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

fn create_memfd() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("byproxy", flags | MemfdFlags::NOEXEC_SEAL) {
        // A kernel before 6.3.
        Err(Errno::INVAL) => Ok(memfd_create("byproxy", flags)?),
        made => Ok(made?),
    }
}

/// Which file a descriptor means, and how many whole pages of it there are.
fn identify(descriptor: &impl AsFd) -> io::Result<(FileId, usize)> {
    let status = fstat(descriptor)?;
    let size = usize::try_from(status.st_size).map_err(io::Error::other)?;
    Ok(((status.st_dev, status.st_ino), size - size % PAGE_SIZE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_sealed() {
        let segment = Segment::create(1).unwrap();
        assert_eq!(segment.size(), PAGE_SIZE);
        assert_eq!(ftruncate(&segment.descriptor, 0), Err(Errno::PERM));
        assert_eq!(ftruncate(&segment.descriptor, 1 << 20), Err(Errno::PERM));
        assert_eq!(
            fcntl_add_seals(&segment.descriptor, SealFlags::FUTURE_WRITE),
            Err(Errno::PERM)
        );
    }

    #[test]
    fn a_segment_is_mapped_once() {
        let segment = Segment::create(PAGE_SIZE).unwrap();
        let again = Segment::open(segment.as_fd()).unwrap();
        assert!(Arc::ptr_eq(&segment, &again));
        let copy = segment.as_fd().try_clone_to_owned().unwrap();
        drop((segment, again));
        let anew = Segment::open(copy.as_fd()).unwrap();
        assert_eq!(anew.size(), PAGE_SIZE);
    }

    /// Cause: one lock for the process and its forked children. Symptom: a child forked while another thread mapped something waited for
    /// that thread, which it does not have.
    #[test]
    fn a_forked_child_maps_whatever_its_parents_threads_were_doing() {
        let parents = Segment::create(PAGE_SIZE).unwrap();
        let mapping = MAPPED.get().lock();
        assert!(crate::fork::holds_in_fork(|| {
            let again = Segment::open(parents.as_fd()).unwrap();
            let own = Segment::create(PAGE_SIZE).unwrap();
            !Arc::ptr_eq(&parents, &again) && own.key() != again.key() && again.key() != parents.key()
        }));
        drop(mapping);
    }

    #[test]
    fn places_outside_do_not_exist() {
        let segment = Segment::create(PAGE_SIZE).unwrap();
        assert!(segment.address(PAGE_SIZE - 8, 8).is_some());
        assert!(segment.address(PAGE_SIZE - 8, 9).is_none());
        assert!(segment.address(usize::MAX, 2).is_none());
    }

    /// Cause: the size was asked for before the seal. Symptom: a peer that made its memory smaller between the two, and sealed it then, had others
    /// map more than there is, and crash at the first touch of it.
    #[test]
    fn what_is_mapped_is_no_more_than_was_sealed() {
        for round in 0..500 {
            let memory = create_memfd().unwrap();
            ftruncate(&memory, 8 * PAGE_SIZE as u64).unwrap();
            let go = std::sync::Barrier::new(2);
            let opened = std::thread::scope(|scope| {
                scope.spawn(|| {
                    go.wait();
                    (0..round % 100).for_each(|_| std::hint::spin_loop());
                    ftruncate(&memory, PAGE_SIZE as u64).unwrap();
                    fcntl_add_seals(&memory, SealFlags::SHRINK).unwrap();
                });
                go.wait();
                std::iter::repeat_with(|| Segment::open(memory.as_fd())).find_map(Result::ok)
            });
            assert_eq!(opened.map(|segment| segment.size()), Some(PAGE_SIZE));
        }
    }

    #[test]
    fn memory_that_could_shrink_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        assert!(Segment::open(file.as_fd()).is_err());
        let unsealed = create_memfd().unwrap();
        ftruncate(&unsealed, 8192).unwrap();
        assert_eq!(
            Segment::open(unsealed.as_fd()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
