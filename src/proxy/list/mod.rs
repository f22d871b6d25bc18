//! `ListProxy`: a shared list.

mod iter;
mod modify;
mod range;
mod whole;

pub use iter::ListIter;

use crate::codec;
use crate::error::Result;
use crate::proxy::call::calls;
use crate::proxy::element::{Element, Forms, IntoElement};
use crate::proxy::proxy;
use byproxy_proto::op::{Operation, Wait};
use range::{start, stop};
use serde::Serialize;
use std::ops::RangeBounds;

proxy! {
    /// A shared list: the same items in every process that holds a proxy of it.
    ///
    /// Indices count from the end when they are negative, and ranges are clamped, as in Python. A clone is another handle to the same
    /// list; the list is freed when no process, no other object and no name refers to it any more. Every method is atomic on the
    /// server, whatever other processes do meanwhile. None of them waits for another process; if the server dies each returns
    /// [`Error::Gone`](crate::Error::Gone), and [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown) if the change may have happened.
    ///
    /// Python: `manager.list()`
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// let manager = Manager::embedded()?;
    /// let sold = manager.list::<String>()?;
    /// sold.append("Ada")?;
    /// sold.extend(["Grace", "李雷"])?;
    /// assert_eq!(sold.get(-1)?, "李雷");
    /// assert_eq!(sold.to_string(), "['Ada', 'Grace', '李雷']");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    ListProxy [T] LIST
}

calls! {
    /// The calls of a list as values; see [`ListProxy::calls`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list_from::<u32>([5, 3])?;
    /// let calls = list.calls();
    /// let changes = [
    ///     calls.append(1), calls.extend([4, 9]), calls.insert(0, 7), calls.set(0, 6), // 6, 5, 3, 1, 4, 9
    ///     calls.sort(), calls.reverse(), calls.sort_descending(), calls.delete(0), // 6, 5, 4, 3, 1
    ///     calls.set_slice(0..2, [8]), calls.delete_slice(2..), calls.repeat(2), // 8, 4, 8, 4
    /// ];
    /// manager.batch(Vec::from(changes)).into_iter().collect::<byproxy::Result<()>>()?;
    ///
    /// let looks = (calls.len(), calls.get(-1), calls.count(8), calls.contains(9), calls.index(4), calls.index_in(4, 2..), calls.slice(1..3));
    /// let (len, last, eights, nine, first, second, middle) = manager.batch(looks);
    /// assert_eq!((len?, last?, eights?, nine?, first?, second?, middle?), (4, 4, 2, false, Some(1), Some(3), vec![4, 8]));
    /// assert!(!calls.is_empty().send()?);
    ///
    /// let takes = (calls.copy(), calls.pop(), calls.pop_at(0), calls.remove(8), calls.clear());
    /// let (copy, last, first, removed, cleared) = manager.batch(takes);
    /// assert_eq!((last?, first?, removed?, cleared?), (Some(4), 8, true, ()));
    /// assert_eq!((copy?.len()?, list.len()?), (4, 0));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    ListCalls of ListProxy [T] {
        /// Adds an item at the end.
        ///
        /// One round trip. Python: `l.append(x)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list::<u32>()?;
        /// list.append(3)?;
        /// assert_eq!(list.to_vec()?, [3]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "push")]
        #[doc(alias = "push_back")]
        fn append(item: impl IntoElement<T>) -> () = ListAppend(item.form()) => codec::nothing;

        /// Adds items at the end, all in one step.
        ///
        /// One round trip. Python: `l.extend(xs)`, `l += xs`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1])?;
        /// list.extend([2, 3])?;
        /// assert_eq!(list.to_vec()?, [1, 2, 3]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "append_all")]
        #[doc(alias = "+=")]
        #[doc(alias = "__iadd__")]
        fn extend(items: impl IntoIterator<Item = impl IntoElement<T>>) -> ()
            = ListExtend(Forms::new(&items.into_iter().collect::<Vec<_>>())) => codec::nothing;

        /// Inserts an item before an index. An index outside the list means its nearer end.
        ///
        /// One round trip. Python: `l.insert(i, x)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 3])?;
        /// list.insert(1, 2)?;
        /// list.insert(100, 4)?;
        /// assert_eq!(list.to_vec()?, [1, 2, 3, 4]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "push_front")]
        fn insert(index: i64, item: impl IntoElement<T>) -> () = ListInsert(index, item.form()) => codec::nothing;

        /// Removes and returns the last item; `None` if the list is empty.
        ///
        /// One round trip. Python: `l.pop()`
        ///
        /// # Errors
        /// [`Error::WrongType`](crate::Error::WrongType) gives the item back, which has been removed all the same.
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2])?;
        /// assert_eq!((list.pop()?, list.pop()?, list.pop()?), (Some(2), Some(1), None));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "pop_back")]
        fn pop() -> Option<T> = ListPop() => codec::option;

        /// Removes and returns the item at an index.
        ///
        /// One round trip. Python: `l.pop(i)`
        ///
        /// # Errors
        /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange); [`Error::WrongType`](crate::Error::WrongType) gives the item
        /// back, which has been removed all the same.
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2, 3])?;
        /// assert_eq!(list.pop_at(0)?, 1);
        /// assert_eq!(list.to_vec()?, [2, 3]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "remove_at")]
        fn pop_at(index: i64) -> T = ListPopAt(index) => codec::value;

        /// Removes the first item equal to this one, and tells whether there was one.
        ///
        /// One round trip. Python: `l.remove(x)`, which raises if there is none
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<String>(["a", "b", "a"])?;
        /// assert!(list.remove("a")?);
        /// assert_eq!(list.to_vec()?, ["b", "a"]);
        /// assert!(!list.remove("z")?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "discard")]
        fn remove(item: impl IntoElement<T>) -> bool = ListRemove(item.form()) => codec::value;

        /// Returns the index of the first item equal to this one; `None` if there is none.
        ///
        /// One round trip. Python: `l.index(x)`, which raises if there is none
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<String>(["a", "b"])?;
        /// assert_eq!(list.index("b")?, Some(1));
        /// assert_eq!(list.index("z")?, None);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "position")]
        #[doc(alias = "find")]
        fn index(item: impl IntoElement<T>) -> Option<u64> = ListIndex(item.form(), 0, None::<i64>) => codec::option;

        /// Returns the index of the first item equal to this one within a range; `None` if there is none.
        ///
        /// One round trip. Python: `l.index(x, start, stop)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<String>(["a", "b", "a"])?;
        /// assert_eq!(list.index_in("a", 1..)?, Some(2));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        fn index_in(item: impl IntoElement<T>, range: impl RangeBounds<i64>) -> Option<u64>
            = ListIndex(item.form(), start(&range), stop(&range)) => codec::option;

        /// Counts the items equal to this one.
        ///
        /// One round trip. Python: `l.count(x)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([7, 8, 7])?;
        /// assert_eq!(list.count(7)?, 2);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "occurrences")]
        fn count(item: impl IntoElement<T>) -> u64 = ListCount(item.form()) => codec::value;

        /// Reverses the list in place.
        ///
        /// One round trip. Python: `l.reverse()`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2, 3])?;
        /// list.reverse()?;
        /// assert_eq!(list.to_vec()?, [3, 2, 1]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "reversed")]
        fn reverse() -> () = ListReverse() => codec::nothing;

        /// Sorts the list in place on the server, stably, smallest first.
        ///
        /// The order is that of *values*: numbers by size, strings by their code points, lists item by item, dicts and structs pair by
        /// pair. For an order of your own see [`modify_all`](Self::modify_all). One round trip. Python: `l.sort()`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([3, 1, 2])?;
        /// list.sort()?;
        /// assert_eq!(list.to_vec()?, [1, 2, 3]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "sorted")]
        fn sort() -> () = ListSort(false) => codec::nothing;

        /// Sorts the list in place on the server, stably, largest first.
        ///
        /// One round trip. Python: `l.sort(reverse=True)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([3, 1, 2])?;
        /// list.sort_descending()?;
        /// assert_eq!(list.to_vec()?, [3, 2, 1]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "sort_reverse")]
        fn sort_descending() -> () = ListSort(true) => codec::nothing;

        /// Returns the number of items.
        ///
        /// One round trip. Python: `len(l)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// assert_eq!(manager.list_from::<u32>([3, 1])?.len()?, 2);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "size")]
        #[doc(alias = "__len__")]
        fn len() -> u64 = ListLen() => codec::value;

        /// Tells whether there are no items.
        ///
        /// One round trip. Python: `not l`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// assert!(manager.list::<u32>()?.is_empty()?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        fn is_empty() -> bool = ListLen() => codec::is_zero;

        /// Tells whether an item equal to this one is in the list.
        ///
        /// One round trip. Python: `x in l`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// assert!(manager.list_from::<String>(["a"])?.contains("a")?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "in")]
        #[doc(alias = "__contains__")]
        fn contains(item: impl IntoElement<T>) -> bool = ListContains(item.form()) => codec::value;

        /// Returns the item at an index.
        ///
        /// One round trip. Python: `l[i]`
        ///
        /// # Errors
        /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2, 3])?;
        /// assert_eq!((list.get(0)?, list.get(-1)?), (1, 3));
        /// assert!(list.get(3).is_err());
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "at")]
        #[doc(alias = "nth")]
        #[doc(alias = "__getitem__")]
        fn get(index: i64) -> T = ListGet(index) => codec::value;

        /// Replaces the item at an index.
        ///
        /// One round trip. Python: `l[i] = x`
        ///
        /// # Errors
        /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2])?;
        /// list.set(-1, 9)?;
        /// assert_eq!(list.to_vec()?, [1, 9]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "__setitem__")]
        fn set(index: i64, item: impl IntoElement<T>) -> () = ListSet(index, item.form()) => codec::nothing;

        /// Deletes the item at an index.
        ///
        /// One round trip. Python: `del l[i]`
        ///
        /// # Errors
        /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2])?;
        /// list.delete(0)?;
        /// assert_eq!(list.to_vec()?, [2]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "__delitem__")]
        #[doc(alias = "remove_at")]
        fn delete(index: i64) -> () = ListDelete(index) => codec::nothing;

        /// Returns the items of a range; what lies outside the list counts as empty.
        ///
        /// One round trip. Python: `l[a:b]`
        ///
        /// # Errors
        /// [`Error::TooLarge`](crate::Error::TooLarge) if the items together exceed a reply: take smaller ranges, or
        /// [`to_vec`](Self::to_vec).
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2, 3, 4])?;
        /// assert_eq!(list.slice(1..3)?, [2, 3]);
        /// assert_eq!(list.slice(-2..)?, [3, 4]);
        /// assert_eq!(list.slice(3..100)?, [4]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "range")]
        #[doc(alias = "__getitem__")]
        fn slice(range: impl RangeBounds<i64>) -> Vec<T> = ListSlice(start(&range), stop(&range)) => codec::value;

        /// Replaces the items of a range by others, as many as you like.
        ///
        /// One round trip. Python: `l[a:b] = xs`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2, 3])?;
        /// list.set_slice(0..2, [7, 8, 9])?;
        /// assert_eq!(list.to_vec()?, [7, 8, 9, 3]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "splice")]
        fn set_slice(range: impl RangeBounds<i64>, items: impl IntoIterator<Item = impl IntoElement<T>>) -> ()
            = ListSetSlice(start(&range), stop(&range), Forms::new(&items.into_iter().collect::<Vec<_>>())) => codec::nothing;

        /// Deletes the items of a range.
        ///
        /// One round trip. Python: `del l[a:b]`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2, 3])?;
        /// list.delete_slice(1..)?;
        /// assert_eq!(list.to_vec()?, [1]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "drain")]
        fn delete_slice(range: impl RangeBounds<i64>) -> () = ListDeleteSlice(start(&range), stop(&range)) => codec::nothing;

        /// Deletes all items.
        ///
        /// One round trip. Python: `l.clear()`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1])?;
        /// list.clear()?;
        /// assert!(list.is_empty()?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "truncate")]
        fn clear() -> () = ListClear() => codec::nothing;

        /// Creates another shared list with the same items.
        ///
        /// The copy is made on the server in one step; proxies among the items refer to the same objects. One round trip.
        /// Python: `l.copy()`, which makes a plain list; that is [`to_vec`](Self::to_vec)
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1])?;
        /// let copy = list.copy()?;
        /// copy.append(2)?;
        /// assert_eq!((list.len()?, copy.len()?), (1, 2));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "clone")]
        #[doc(alias = "deepcopy")]
        fn copy() -> ListProxy<T> = ListCopy() => codec::value;

        /// Repeats the items so many times, in place; zero or less empties the list.
        ///
        /// One round trip. Python: `l *= n`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let list = manager.list_from::<u32>([1, 2])?;
        /// list.repeat(2)?;
        /// assert_eq!(list.to_vec()?, [1, 2, 1, 2]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "*=")]
        #[doc(alias = "__imul__")]
        fn repeat(times: i64) -> () = ListRepeat(times) => codec::nothing;
    }
}

impl<T: Element> ListProxy<T> {
    /// The same list, with its items read as another type.
    ///
    /// Local: an item that is of another type after all is an error when it is read. Python: none; types are found at run time
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Value;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let numbers = manager.list_from::<u32>([7])?;
    /// assert_eq!(numbers.cast::<Value>().get(0)?, Value::from(7));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn cast<U: Element>(&self) -> ListProxy<U> {
        ListProxy::from_handle(self.handle.apart())
    }

    /// Creates another shared list: these items, and then others.
    ///
    /// Two round trips; the items of this list are copied on the server in one step. If the second fails there is no new list.
    /// Python: `l + xs`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list_from::<u32>([1])?;
    /// assert_eq!(list.concat([2, 3])?.to_vec()?, [1, 2, 3]);
    /// assert_eq!(list.to_vec()?, [1]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "+")]
    #[doc(alias = "__add__")]
    pub fn concat(&self, items: impl IntoIterator<Item = impl IntoElement<T>>) -> Result<Self> {
        let copy = self.copy()?;
        copy.extend(items)?;
        Ok(copy)
    }

    /// Creates another shared list: these items, so many times over; none for zero or less.
    ///
    /// Two round trips; the items are copied on the server in one step. If the second fails there is no new list. Python: `l * n`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list_from::<u32>([1, 2])?;
    /// assert_eq!(list.repeated(2)?.to_vec()?, [1, 2, 1, 2]);
    /// assert_eq!(list.to_vec()?, [1, 2]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "*")]
    #[doc(alias = "__mul__")]
    pub fn repeated(&self, times: i64) -> Result<Self> {
        let copy = self.copy()?;
        copy.repeat(times)?;
        Ok(copy)
    }

    fn ask<A: Serialize, R>(
        &self,
        operation: Operation,
        sent: &A,
        read: impl Fn(&[u8]) -> codec::Reading<R>,
    ) -> Result<R> {
        codec::call(&self.handle, operation, Wait::TRY, sent, read)
    }
}
