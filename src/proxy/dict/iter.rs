//! Going through a dict, a chunk at a time.

use super::DictProxy;
use crate::codec;
use crate::error::{Error, Result};
use crate::proxy::element::Element;
use byproxy_proto::op::Operation;
use std::collections::VecDeque;
use std::fmt;

/// How many pairs one chunk asks for at most; the server sends fewer when they are large.
const CHUNK_PAIRS_MAX: u64 = 4096;

impl<K: Element, V: Element> IntoIterator for &DictProxy<K, V> {
    type Item = Result<(K, V)>;
    type IntoIter = DictIter<K, V>;

    fn into_iter(self) -> DictIter<K, V> {
        self.iter()
    }
}

/// The pairs of a dict, fetched a chunk at a time; see [`DictProxy::iter`].
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// let dict = manager.dict_from::<String, u32>([("a", 1), ("b", 2)])?;
/// let pairs: Result<Vec<(String, u32)>, _> = dict.iter().collect();
/// assert_eq!(pairs?.len(), 2);
/// # Ok::<(), byproxy::Error>(())
/// ```
pub struct DictIter<K, V> {
    dict: DictProxy<K, V>,
    backwards: bool,
    /// The version that the first chunk was of.
    version: Option<u64>,
    /// Where the next chunk begins.
    cursor: Option<u64>,
    chunk: VecDeque<Result<(K, V)>>,
    ended: bool,
}

impl<K: Element, V: Element> DictIter<K, V> {
    pub(super) fn new(dict: &DictProxy<K, V>, backwards: bool) -> Self {
        Self {
            dict: DictProxy::from_handle(dict.handle.clone()),
            backwards,
            version: None,
            cursor: None,
            chunk: VecDeque::new(),
            ended: false,
        }
    }

    fn fetch(&mut self) -> Result<()> {
        let sent = &(self.cursor, CHUNK_PAIRS_MAX, self.backwards);
        let (version, cursor, pairs) = self.dict.ask(Operation::DictChunk, sent, |bytes| {
            let [version, cursor, pairs] = codec::parts(bytes)?;
            Ok((codec::value(version)?, codec::option(cursor)?, codec::pairs(pairs)?))
        })?;
        if *self.version.get_or_insert(version) != version && !seeded!("iteration_ignores_changes") {
            return Err(Error::Changed("dict"));
        }
        self.ended = cursor.is_none();
        self.cursor = cursor;
        self.chunk = pairs.into();
        if seeded!("iteration_drops_a_pair") {
            self.chunk.pop_front();
        }
        Ok(())
    }
}

impl<K: Element, V: Element> Iterator for DictIter<K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Result<(K, V)>> {
        while self.chunk.is_empty() && !self.ended {
            if let Err(error) = self.fetch() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.chunk.pop_front()
    }
}

impl<K, V> fmt::Debug for DictIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DictIter")
            .field("dict", &self.dict)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}
