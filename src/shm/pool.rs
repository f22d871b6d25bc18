//! Blocks: where objects live. Many small ones share a segment; a large one has a segment to itself.
//!
//! A block is a multiple of a cache line, so that objects do not slow each other down. This process hands out blocks only from segments
//! that it made. A block is used again when its last handle here goes *and it never travelled*: what another process was given may be
//! used there for as long as that process likes, and it can't be asked. A block that travelled is therefore never used again; its segment
//! goes as a whole, here with the last handle here, and elsewhere with the last handle there. One segment that is empty and from which
//! nothing travelled is kept for the next object.
//!
//! A process forked from this one finds the same blocks at the same addresses and may use them as long as this process keeps its handles.
//! It makes its own objects in segments of its own.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::segment::Segment;
use crate::descriptors::Pass;
use crate::fork::PerProcess;

/// Blocks are multiples of this, and aligned to it.
pub(super) const LINE: usize = 64;
/// What small objects share.
const SEGMENT_SIZE: usize = 64 << 10;
/// Larger objects have a segment of their own.
const SMALL_MAX: usize = 4 << 10;
/// A segment that is no longer filled is filled again when so many of its bytes are free.
const ROOMY: usize = SEGMENT_SIZE / 2;

static POOL: PerProcess<Mutex<Pool>> = PerProcess::new(Mutex::default).leaving(|parents| {
    // The blocks in it are the parent's. If somebody was at it when this process was forked, there may be half of a change in it.
    if let Some(mut parents) = parents.try_lock() {
        *parents = Pool::default();
    }
});

/// Memory of one object, held by its handles.
pub(super) struct Block {
    segment: Arc<Segment>,
    offset: usize,
    size: usize,
    address: NonNull<u8>,
    /// It came from this process's pool, and goes back there.
    pooled: bool,
    /// Another process was told of it.
    travelled: AtomicBool,
    /// The references to the objects at servers that keep the segment: with the last block that came or went by one, it is given back.
    passes: Mutex<Vec<Arc<Pass>>>,
}

// SAFETY: the address points into a mapping of the whole process, which `segment` keeps.
unsafe impl Send for Block {}
// SAFETY: as above; what stands in the block is only touched through atomics.
unsafe impl Sync for Block {}

impl Block {
    /// A new block of at least `size` bytes. What is in it is left over; the caller writes every byte it will read.
    pub(super) fn new(size: usize) -> io::Result<Arc<Self>> {
        // An array without elements has a place as well.
        let size = size
            .max(1)
            .checked_next_multiple_of(LINE)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        if size > SMALL_MAX {
            return Self::at(Segment::create(size)?, 0, size, false);
        }
        let (segment, offset) = POOL.get().lock().allocate(size)?;
        Self::at(segment, offset, size, true)
    }

    /// A block that another process told of; fails if there is none of this place and size.
    pub(super) fn open(segment: Arc<Segment>, offset: usize, size: usize) -> io::Result<Arc<Self>> {
        if !offset.is_multiple_of(LINE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a place between two blocks of shared memory",
            ));
        }
        let size = size.checked_next_multiple_of(LINE).unwrap_or(usize::MAX);
        Self::at(segment, offset, size, false)
    }

    fn at(segment: Arc<Segment>, offset: usize, size: usize, pooled: bool) -> io::Result<Arc<Self>> {
        let Some(address) = segment.address(offset, size) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a place outside its shared memory",
            ));
        };
        Ok(Arc::new(Self {
            segment,
            offset,
            size,
            address,
            pooled,
            travelled: AtomicBool::new(false),
            passes: Mutex::default(),
        }))
    }

    /// The address of a part of the block, valid as long as the block is.
    ///
    /// # Panics
    /// If the part does not lie inside the block: its owner computed its own layout wrongly.
    #[inline]
    pub(super) fn part(&self, offset: usize, size: usize) -> NonNull<u8> {
        let end = offset.checked_add(size);
        assert!(end.is_some_and(|end| end <= self.size), "a part lies inside its block");
        // SAFETY: just checked; the block lies inside the mapping.
        unsafe { self.address.add(offset) }
    }

    /// The segment, which is about to be told to another process together with this block's place in it.
    pub(super) fn travel(&self) -> (&Arc<Segment>, usize) {
        if !seeded!("shm_reused_while_away") {
            self.travelled.store(true, Ordering::Relaxed);
        }
        (&self.segment, self.offset)
    }

    /// Keeps the reference to an object at a server that keeps the segment.
    pub(super) fn keep(&self, pass: Arc<Pass>) {
        let mut passes = self.passes.lock();
        if passes.iter().all(|kept| !Arc::ptr_eq(kept, &pass)) {
            passes.push(pass);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.pooled {
            let travelled = *self.travelled.get_mut();
            // In a forked process the pool is another one, which does not know the block.
            let mut pool = POOL.get().lock();
            pool.free(self.segment.key(), self.offset, self.size, travelled);
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("segment", &self.segment.key())
            .field("offset", &self.offset)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The segments that this process made for small objects.
#[derive(Default)]
struct Pool {
    rooms: HashMap<u64, Room>,
    /// The segment that is being filled.
    filling: Option<u64>,
    /// Others with much room.
    roomy: Vec<u64>,
}

/// What is known of one segment's blocks.
struct Room {
    segment: Arc<Segment>,
    /// Everything from here on was never used.
    next: usize,
    /// Free blocks before that, by size in lines less one.
    free: Vec<Vec<usize>>,
    free_bytes: usize,
    /// Blocks with handles.
    live: usize,
    /// A block travelled, and can never be used again.
    travelled: bool,
    /// It stands among the roomy ones.
    listed: bool,
}

impl Pool {
    fn allocate(&mut self, size: usize) -> io::Result<(Arc<Segment>, usize)> {
        loop {
            if let Some(room) = self.filling.and_then(|key| self.rooms.get_mut(&key))
                && let Some(offset) = room.allocate(size)
            {
                return Ok((Arc::clone(&room.segment), offset));
            }
            let key = match self.roomy.pop() {
                Some(key) => key,
                None => self.add_room()?,
            };
            if let Some(room) = self.rooms.get_mut(&key) {
                room.listed = false;
            }
            self.filling = Some(key);
        }
    }

    fn add_room(&mut self) -> io::Result<u64> {
        let segment = Segment::create(SEGMENT_SIZE)?;
        let key = segment.key();
        self.rooms.insert(key, Room::new(segment));
        Ok(key)
    }

    fn free(&mut self, key: u64, offset: usize, size: usize, travelled: bool) {
        let Some(room) = self.rooms.get_mut(&key) else { return };
        room.free(offset, size, travelled);
        let filling = self.filling == Some(key);
        if room.live == 0 {
            if filling && !room.travelled {
                room.empty();
                return;
            }
            self.rooms.remove(&key);
            self.roomy.retain(|other| *other != key);
            if filling {
                self.filling = None;
            }
        } else if !filling && !room.listed && room.free_bytes >= ROOMY {
            room.listed = true;
            self.roomy.push(key);
        }
    }
}

impl Room {
    fn new(segment: Arc<Segment>) -> Self {
        Self {
            segment,
            next: 0,
            free: vec![Vec::new(); SMALL_MAX / LINE],
            free_bytes: 0,
            live: 0,
            travelled: false,
            listed: false,
        }
    }

    fn allocate(&mut self, size: usize) -> Option<usize> {
        let offset = if let Some(offset) = self.free.get_mut(size / LINE - 1)?.pop() {
            self.free_bytes -= size;
            offset
        } else {
            let end = self.next.checked_add(size).filter(|end| *end <= self.segment.size())?;
            std::mem::replace(&mut self.next, end)
        };
        self.live += 1;
        Some(offset)
    }

    fn free(&mut self, offset: usize, size: usize, travelled: bool) {
        self.live -= 1;
        if travelled {
            self.travelled = true;
        } else if let Some(free) = self.free.get_mut(size / LINE - 1) {
            free.push(offset);
            self.free_bytes += size;
        }
    }

    /// Begins again: nothing is in use, here or elsewhere.
    fn empty(&mut self) {
        self.next = 0;
        self.free_bytes = 0;
        self.free.iter_mut().for_each(Vec::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of these tests holds the pool's lock while it forks, and the other needs it to be free.
    static FORKING: Mutex<()> = Mutex::new(());

    #[test]
    fn a_forked_child_has_a_pool_of_its_own_whatever_its_parents_threads_were_doing() {
        let _forking = FORKING.lock();
        let parents = std::cell::Cell::new(Some(Block::new(LINE).unwrap()));
        let making = POOL.get().lock();
        assert!(crate::fork::holds_in_fork(|| {
            let (own, parents) = (Block::new(LINE).unwrap(), parents.take().unwrap());
            let elsewhere = own.segment.key() != parents.segment.key();
            drop(parents);
            elsewhere && Block::new(LINE).unwrap().segment.key() == own.segment.key()
        }));
        drop(making);
    }

    /// Cause: the child's copy of its parent's pool was left as it was. Symptom: a child that lives long kept all segments that its parent had
    /// for small objects when it was forked.
    #[test]
    fn a_forked_child_keeps_none_of_its_parents_segments() {
        let _forking = FORKING.lock();
        let parents = Block::new(LINE).unwrap();
        let lets_go = || {
            let before = Arc::strong_count(&parents.segment);
            let own = Block::new(LINE).unwrap();
            own.segment.key() != parents.segment.key() && Arc::strong_count(&parents.segment) == before - 1
        };
        // Another test may be at the pool just then.
        assert!((0..20).any(|_| crate::fork::holds_in_fork(lets_go)));
    }

    #[test]
    fn a_freed_place_is_used_again_unless_it_travelled() {
        let mut pool = Pool::default();
        let (segment, kept) = pool.allocate(LINE).unwrap();
        let (_, freed) = pool.allocate(2 * LINE).unwrap();
        pool.free(segment.key(), freed, 2 * LINE, false);
        let (_, away) = pool.allocate(2 * LINE).unwrap();
        assert_eq!(freed, away);
        pool.free(segment.key(), away, 2 * LINE, true);
        for _ in 0..SEGMENT_SIZE / LINE {
            let (other, offset) = pool.allocate(2 * LINE).unwrap();
            assert!(other.key() != segment.key() || (offset != away && offset != kept));
        }
    }

    #[test]
    fn a_segment_goes_with_its_last_block_if_one_travelled() {
        let mut pool = Pool::default();
        let (segment, first) = pool.allocate(LINE).unwrap();
        let (_, second) = pool.allocate(LINE).unwrap();
        pool.free(segment.key(), first, LINE, true);
        assert_eq!(Arc::strong_count(&segment), 2);
        pool.free(segment.key(), second, LINE, false);
        assert_eq!(Arc::strong_count(&segment), 1);
        assert_ne!(pool.allocate(LINE).unwrap().0.key(), segment.key());
    }

    #[test]
    fn many_blocks_are_apart_and_all_segments_but_one_go() {
        let mut pool = Pool::default();
        let mut blocks = Vec::new();
        for number in 0..5_000 {
            let size = LINE * (1 + number % 7);
            let (segment, offset) = pool.allocate(size).unwrap();
            blocks.push((segment.key(), offset, size));
        }
        let mut places = blocks.clone();
        places.sort_unstable();
        for pair in places.windows(2) {
            let [(key, offset, size), (next_key, next, _)] = pair else {
                unreachable!("windows of two")
            };
            assert!(key != next_key || offset + size <= *next);
        }
        assert!(pool.rooms.len() > 10);
        // Most of them go, and others come: the room of the first is used.
        let segments = pool.rooms.len();
        let mut number = 0;
        blocks.retain(|(key, offset, size)| {
            number += 1;
            if number % 4 != 0 {
                pool.free(*key, *offset, *size, false);
            }
            number % 4 == 0
        });
        for number in 0..2_000 {
            let size = LINE * (1 + number % 7);
            let (segment, offset) = pool.allocate(size).unwrap();
            blocks.push((segment.key(), offset, size));
        }
        assert!(pool.rooms.len() <= segments);
        for (key, offset, size) in blocks {
            pool.free(key, offset, size, false);
        }
        assert!(pool.rooms.len() <= 1, "{}", pool.rooms.len());
        assert!(pool.roomy.is_empty());
    }
}
