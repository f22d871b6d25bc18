//! Going through a list, a chunk at a time.

use super::ListProxy;
use crate::codec;
use crate::error::Result;
use crate::proxy::element::Element;
use byproxy_proto::op::Operation;
use std::collections::VecDeque;
use std::fmt;

/// How many items one chunk asks for at most; the server sends fewer when they are large.
const CHUNK_ITEMS_MAX: u64 = 4096;

impl<T: Element> ListIter<T> {
    pub(super) fn new(list: &ListProxy<T>) -> Self {
        Self {
            list: ListProxy::from_handle(list.handle.clone()),
            next: 0,
            chunk: VecDeque::new(),
            ended: false,
        }
    }
}

impl<T: Element> IntoIterator for &ListProxy<T> {
    type Item = Result<T>;
    type IntoIter = ListIter<T>;

    fn into_iter(self) -> ListIter<T> {
        self.iter()
    }
}

/// The items of a list, fetched a chunk at a time; see [`ListProxy::iter`].
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// let list = manager.list_from::<u32>([1, 2, 3])?;
/// let even = list.iter().filter(|item| matches!(item, Ok(n) if n % 2 == 0));
/// assert_eq!(even.count(), 1);
/// # Ok::<(), byproxy::Error>(())
/// ```
pub struct ListIter<T> {
    list: ListProxy<T>,
    /// The index that the next chunk begins at.
    next: u64,
    chunk: VecDeque<Result<T>>,
    ended: bool,
}

impl<T: Element> Iterator for ListIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.chunk.is_empty() && !self.ended {
            match self
                .list
                .ask(Operation::ListChunk, &(self.next, CHUNK_ITEMS_MAX), codec::items)
            {
                Ok(chunk) => {
                    self.ended = chunk.is_empty();
                    self.next += chunk.len() as u64;
                    self.chunk = chunk.into();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        self.chunk.pop_front()
    }
}

impl<T> fmt::Debug for ListIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListIter")
            .field("list", &self.list)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
