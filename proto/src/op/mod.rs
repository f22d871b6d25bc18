//! Operations: everything a call can ask for, in one table.
//!
//! The table is the only source of operation codes, names, one-line descriptions and properties; `proto/README.md` repeats it and a
//! test holds the two together. What each operation takes stands beside it as typed arguments ([`ListOp`], [`DictOp`], [`QueueOp`],
//! [`LockOp`], [`ManagerOp`]): a call's arguments travel as one List value, and are read into these borrowed shapes exactly once.

mod argument;
mod batch;
mod dict;
mod list;
mod lock;
mod manager;
mod queue;

pub use argument::{Argument, ArgumentError, Arguments, Items, Pairs, Wait};
pub use batch::{
    BATCH_CALLS_MAX, BATCH_DONE_BYTES, BatchCall, BatchCalls, BatchOutcome, BatchOutcomes, begin_batch_done,
    end_batch_done, unbatchable, write_batch_call, write_batch_done, write_batch_fault, write_batch_header,
};
pub use dict::DictOp;
pub use list::ListOp;
pub use lock::LockOp;
pub use manager::{ManagerOp, QueueOrder};
pub use queue::QueueOp;

/// What the server, the client and the documentation need to know about an operation beyond its name.
///
/// ```
/// use byproxy_proto::op::Operation;
///
/// let get = Operation::QueueGet.properties();
/// assert!(get.may_block && get.delivers);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, not a state")]
pub struct Properties {
    /// The call may wait for another call to satisfy it, so it travels on a wait lane.
    pub may_block: bool,
    /// The call may take longer than a constant number of small steps, so it may leave the engine as a job.
    pub may_be_long: bool,
    /// The call changes something: losing the connection before its reply leaves the outcome unknown.
    pub mutates: bool,
    /// The reply carries items that stay the server's until the client has confirmed them.
    pub delivers: bool,
}

#[expect(non_upper_case_globals, reason = "the table's words are the fields' names")]
impl Properties {
    const may_block: u8 = 1;
    const may_be_long: u8 = 2;
    const mutates: u8 = 4;
    const delivers: u8 = 8;

    /// Those whose bits are set.
    #[inline]
    const fn of(bits: u8) -> Self {
        Self {
            may_block: bits & Self::may_block != 0,
            may_be_long: bits & Self::may_be_long != 0,
            mutates: bits & Self::mutates != 0,
            delivers: bits & Self::delivers != 0,
        }
    }
}

/// How many levels a result has around the values in it, at most: `[version, cursor, {key: value}]` has two.
pub const RESULT_LEVELS_MAX: u32 = 2;

macro_rules! operations {
    ($($noun:ident = $high:literal { $( #[doc = $doc:literal] $variant:ident = $low:literal, $name:literal $(, $property:ident)* ; )* })*) => {
        /// One operation of one kind of object. The code is the noun's number times 256 plus the operation's own.
        ///
        /// ```
        /// use byproxy_proto::op::Operation;
        ///
        /// assert_eq!(Operation::ListPop.code(), 0x103);
        /// assert!(Operation::ALL.iter().all(|&operation| Operation::from_code(operation.code()) == Some(operation)));
        /// ```
        // Numbered without gaps, unlike the codes, so that what is known about an operation is one look into a table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($( #[doc = $doc] $variant, )*)*
        }

        impl Operation {
            /// Every operation, in the order of the table.
            pub const ALL: &'static [Operation] = &[$($(Operation::$variant,)*)*];

            /// What stands for it on the wire.
            ///
            /// ```
            /// assert_eq!(byproxy_proto::op::Operation::Ping.code(), 0);
            /// ```
            #[inline]
            #[expect(clippy::indexing_slicing, reason = "there is a code for each")]
            pub const fn code(self) -> u16 {
                // A table, where a match may become seventy places in the code to jump to.
                const CODES: [u16; Operation::ALL.len()] = [$($( $high * 256 + $low, )*)*];
                CODES[self as usize]
            }

            /// The operation with this code, if there is one.
            ///
            /// ```
            /// use byproxy_proto::op::Operation;
            ///
            /// assert_eq!(Operation::from_code(0x103), Some(Operation::ListPop));
            /// assert_eq!(Operation::from_code(0xffff), None);
            /// ```
            #[inline]
            pub const fn from_code(code: u16) -> Option<Self> {
                let [low, high] = code.to_le_bytes();
                match high {
                    $( $high => match low {
                        $( $low => Some(Operation::$variant), )*
                        _ => None,
                    }, )*
                    _ => None,
                }
            }

            /// The noun and method as users read them, such as `list.append`.
            ///
            /// ```
            /// assert_eq!(byproxy_proto::op::Operation::ListPop.name(), "list.pop");
            /// ```
            #[inline]
            pub const fn name(self) -> &'static str {
                match self { $($( Operation::$variant => $name, )*)* }
            }

            /// One sentence on what the operation does.
            ///
            /// ```
            /// use byproxy_proto::op::Operation;
            ///
            /// assert_eq!(Operation::Ping.description(), "Answers with nothing; the server is there.");
            /// ```
            pub fn description(self) -> &'static str {
                match self { $($( Operation::$variant => $doc.trim_ascii(), )*)* }
            }

            /// How many levels stand around the values in the call's arguments: their one list, and where several values come as
            /// one argument, that. A value may be as deep as the limit inside of them.
            ///
            /// ```
            /// use byproxy_proto::op::Operation;
            ///
            /// assert_eq!((Operation::ListAppend.levels(), Operation::ListExtend.levels()), (1, 2));
            /// ```
            #[inline]
            pub const fn levels(self) -> u32 {
                match self {
                    Operation::Create
                    | Operation::ListExtend
                    | Operation::ListSetSlice
                    | Operation::ListReplace
                    | Operation::DictUpdate
                    | Operation::QueuePutMany => 2,
                    _ => 1,
                }
            }

            /// Whether what the operation does may stand though its session ended before the reply was there, so that nobody knows. What is got
            /// and not confirmed goes back, as does what is borrowed, and a lock is given back: of those nothing stands.
            ///
            /// ```
            /// use byproxy_proto::op::Operation;
            ///
            /// assert!(Operation::QueuePut.outlives_session() && Operation::LockRelease.outlives_session());
            /// assert!(!Operation::QueueGet.outlives_session() && !Operation::LockAcquire.outlives_session());
            /// assert!(!Operation::ListGet.outlives_session());
            /// ```
            #[inline]
            pub const fn outlives_session(self) -> bool {
                let Properties { mutates, delivers, .. } = self.properties();
                mutates && !delivers && !matches!(self, Operation::QueueReceive | Operation::LockAcquire)
            }

            /// What is known about the operation before it runs.
            ///
            /// ```
            /// use byproxy_proto::op::Operation;
            ///
            /// let changing = Operation::ALL.iter().filter(|operation| operation.properties().mutates);
            /// assert!(changing.clone().any(|&operation| operation == Operation::ListAppend));
            /// assert!(changing.clone().all(|&operation| operation != Operation::ListGet));
            /// ```
            // One look into a table, of which the caller wants one bit.
            #[inline(always)]
            pub const fn properties(self) -> Properties {
                Properties::of(match self { $($( Operation::$variant => 0 $( | Properties::$property )*, )*)* })
            }
        }
    };
}

operations! {
    manager = 0 {
        /// Answers with nothing; the server is there.
        Ping = 0, "manager.ping";
        /// Creates an object, or with a name returns the one already there; hands over a reference.
        Create = 1, "manager.create", mutates, may_be_long;
        /// Returns a reference to the object of this name, if there is one.
        Open = 2, "manager.open";
        /// Lists the named objects as `[name, kind]`, sorted by name.
        Names = 3, "manager.names", may_be_long;
        /// Takes a name away; the object lives on while references to it do.
        Remove = 4, "manager.remove", mutates;
        /// Takes a reference for this session to each of these objects.
        Adopt = 5, "manager.adopt";
        /// Returns the server's counters: objects, references, sessions, waiters, bytes.
        Stats = 6, "manager.stats";
        /// Frees the objects that no session and no name can reach, and returns how many those were.
        Collect = 7, "manager.collect", mutates, may_be_long;
        /// Returns the printed form of the object's contents, shortened to a limit.
        Show = 8, "manager.show", may_be_long;
        /// Ends the server after answering.
        Shutdown = 9, "manager.shutdown", mutates;
        /// Does calls one after the other, each on its own, and returns what came of each.
        Batch = 10, "manager.batch", mutates, may_be_long;
    }
    list = 1 {
        /// Adds an item at the end.
        ListAppend = 0, "list.append", mutates;
        /// Adds items at the end, all or none.
        ListExtend = 1, "list.extend", mutates, may_be_long;
        /// Inserts an item before an index, which is clamped to the list.
        ListInsert = 2, "list.insert", mutates, may_be_long;
        /// Removes and returns the last item, if there is one.
        ListPop = 3, "list.pop", mutates;
        /// Removes and returns the item at an index.
        ListPopAt = 4, "list.pop_at", mutates, may_be_long;
        /// Removes the first item equal to this one; tells whether there was one.
        ListRemove = 5, "list.remove", mutates, may_be_long;
        /// Returns the index of the first item equal to this one within a range.
        ListIndex = 6, "list.index", may_be_long;
        /// Counts the items equal to this one.
        ListCount = 7, "list.count", may_be_long;
        /// Reverses the list in place.
        ListReverse = 8, "list.reverse", mutates, may_be_long;
        /// Sorts the list in place, stably, by the order of values.
        ListSort = 9, "list.sort", mutates, may_be_long;
        /// Returns the number of items.
        ListLen = 10, "list.len";
        /// Tells whether an item equal to this one is in the list.
        ListContains = 11, "list.contains", may_be_long;
        /// Returns the item at an index.
        ListGet = 12, "list.get";
        /// Replaces the item at an index.
        ListSet = 13, "list.set", mutates;
        /// Deletes the item at an index.
        ListDelete = 14, "list.delete", mutates, may_be_long;
        /// Returns the items of a range, which is clamped to the list.
        ListSlice = 15, "list.slice", may_be_long;
        /// Replaces the items of a range by others.
        ListSetSlice = 16, "list.set_slice", mutates, may_be_long;
        /// Deletes the items of a range.
        ListDeleteSlice = 17, "list.delete_slice", mutates, may_be_long;
        /// Deletes all items.
        ListClear = 18, "list.clear", mutates, may_be_long;
        /// Creates a new list with the same items and hands over a reference to it.
        ListCopy = 19, "list.copy", mutates, may_be_long;
        /// Returns some items from an index on: as many as fit a chunk, none at the end.
        ListChunk = 20, "list.chunk";
        /// Repeats the list in place; zero or less empties it.
        ListRepeat = 21, "list.repeat", mutates, may_be_long;
        /// Replaces the item at an index if its bytes are still these; tells whether they were.
        ListCompareAndSet = 22, "list.compare_and_set", mutates;
        /// Adds to the integer at an index within bounds and returns what it was.
        ListFetchAdd = 23, "list.fetch_add", mutates;
        /// Returns the list's version, which grows with every change, and all its items.
        ListSnapshot = 24, "list.snapshot", may_be_long;
        /// Replaces all items if the version is still this one; tells whether it was.
        ListReplace = 25, "list.replace", mutates, may_be_long;
    }
    dict = 2 {
        /// Sets a key's value and returns the one before, if any; a new key goes to the end.
        DictInsert = 0, "dict.insert", mutates;
        /// Returns a key's value, if it has one.
        DictGet = 1, "dict.get";
        /// Removes a key and returns its value, if it had one.
        DictPop = 2, "dict.pop", mutates;
        /// Removes and returns the newest pair as `[key, value]`, if there is one.
        DictPopitem = 3, "dict.popitem", mutates;
        /// Returns a key's value after setting it to this one if it had none.
        DictSetdefault = 4, "dict.setdefault", mutates;
        /// Inserts pairs, all or none.
        DictUpdate = 5, "dict.update", mutates, may_be_long;
        /// Returns the keys in order.
        DictKeys = 6, "dict.keys", may_be_long;
        /// Returns the values in order.
        DictValues = 7, "dict.values", may_be_long;
        /// Returns the pairs in order, as a Dict.
        DictItems = 8, "dict.items", may_be_long;
        /// Returns the number of keys.
        DictLen = 9, "dict.len";
        /// Tells whether a key is there.
        DictContains = 10, "dict.contains";
        /// Removes a key; tells whether it was there.
        DictDelete = 11, "dict.delete", mutates;
        /// Removes all keys.
        DictClear = 12, "dict.clear", mutates, may_be_long;
        /// Creates a new dict with the same pairs and hands over a reference to it.
        DictCopy = 13, "dict.copy", mutates, may_be_long;
        /// Returns `[version, next cursor, pairs]`: some pairs from a cursor on, backwards if asked; the version grows when keys come or go.
        DictChunk = 14, "dict.chunk";
        /// Sets or removes a key's value if its bytes (or its absence) are still these; tells whether they were.
        DictCompareAndSet = 15, "dict.compare_and_set", mutates;
        /// Adds to a key's integer within bounds, starting from an initial value if one is given, and returns what it was.
        DictFetchAdd = 16, "dict.fetch_add", mutates;
    }
    queue = 3 {
        /// Adds an item, waiting for room.
        QueuePut = 0, "queue.put", mutates, may_block;
        /// Adds items in order, the first 4,096 if there are more, waiting for room, and returns how many went in.
        QueuePutMany = 1, "queue.put_many", mutates, may_block;
        /// Removes and returns the next item, waiting for one.
        QueueGet = 2, "queue.get", mutates, may_block, delivers;
        /// Removes and returns up to so many items, waiting for the first.
        QueueGetMany = 3, "queue.get_many", mutates, may_block, delivers;
        /// Lends the next item as `[delivery, times delivered before, item]` until it is acknowledged, given back, or its holder dies.
        QueueReceive = 4, "queue.receive", mutates, may_block;
        /// Ends a delivery: the item is done. Counts as `task_done`.
        QueueAck = 5, "queue.ack", mutates;
        /// Gives a delivery back: the item returns to its original position.
        QueueNack = 6, "queue.nack", mutates;
        /// Returns the number of items waiting; those being delivered do not count.
        QueueQsize = 7, "queue.qsize";
        /// Returns the size the queue was made with; zero is without bound.
        QueueMaxsize = 8, "queue.maxsize";
        /// Says that one item got before has been dealt with.
        QueueTaskDone = 9, "queue.task_done", mutates;
        /// Waits until every item put has been dealt with.
        QueueJoin = 10, "queue.join", may_block;
        /// Ends the queue: no more puts; gets end when it is empty, or at once if asked.
        QueueShutdown = 11, "queue.shutdown", mutates, may_be_long;
        /// Returns the queue's books: accepted, committed, in flight, returned, and the same for each consumer.
        QueueAudit = 12, "queue.audit";
    }
    lock = 4 {
        /// Takes the lock for a thread, waiting for it; returns `[token, abandoned]`.
        LockAcquire = 0, "lock.acquire", mutates, may_block;
        /// Frees the lock: the holding that has this token, or with none whoever holds it.
        LockRelease = 1, "lock.release", mutates;
        /// Leaves the lock taken but owned by nobody, until someone releases it.
        LockLeak = 2, "lock.leak", mutates;
        /// Tells whether the lock is taken.
        LockLocked = 3, "lock.locked";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        let mut codes = std::collections::BTreeSet::new();
        for &operation in Operation::ALL {
            assert!(codes.insert(operation.code()), "{operation:?} shares its code");
            assert_eq!(Operation::from_code(operation.code()), Some(operation));
            assert!(!operation.description().is_empty());
        }
        assert_eq!(Operation::from_code(0xffff), None);
    }

    #[test]
    fn what_delivers_also_blocks_and_mutates() {
        for operation in Operation::ALL {
            let properties = operation.properties();
            assert!(
                !properties.delivers || (properties.may_block && properties.mutates),
                "{operation:?}"
            );
        }
    }
}
