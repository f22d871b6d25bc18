//! Batches: independent calls that travel as one, and what came of each.
//!
//! The calls of a `manager.batch` are one flat list: of each call its operation, its object, and its arguments, encoded, as bytes. The
//! result is a list with an item for each call that was tried, in order: bytes that hold the call's result, or `[code, message, detail]`
//! of its fault. Being bytes, what is malformed in one call is nobody else's business, and a reader finds each by its length alone. Both
//! lists are read as they lie, without allocating, from bytes that nobody has checked.

use super::Operation;
use super::argument::{Argument, Wait};
use crate::fault::{Fault, FaultCode};
use crate::value::reader::Reader;
use crate::value::{
    DecodeError, Limits, Malformed, Raw, Value, in_a_byte, in_two_bytes, tag, varint, write_bytes, write_int,
    write_list_header, write_str, write_uint,
};

/// How many calls one batch may have.
pub const BATCH_CALLS_MAX: usize = 1024;

/// How many items of the list make one call.
const CALL_PARTS: usize = 3;

/// One call of a batch, borrowed. Its arguments have not been checked.
///
/// ```
/// use byproxy_proto::op::{BatchCall, Operation, write_batch_call};
///
/// let pop = BatchCall { operation: Operation::ListPop.code(), object: 9, arguments: &[7, 0] };
/// let mut item = Vec::new();
/// write_batch_call(&pop, &mut item);
/// assert_eq!(item, [3, 0, 0x83, 2, 3, 0, 9, 6, 2, 7, 0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchCall<'a> {
    /// The operation's code, which may be one that this version does not know.
    pub operation: u16,
    /// The object to do it to; zero for the server itself.
    pub object: u64,
    /// One List value.
    pub arguments: &'a [u8],
}

impl BatchCall<'_> {
    /// Whether it asks the server itself, and not an object: its operation's noun is zero.
    ///
    /// ```
    /// use byproxy_proto::op::{BatchCall, Operation};
    ///
    /// let call = |operation: Operation| BatchCall { operation: operation.code(), object: 9, arguments: &[7, 0] };
    /// assert!(call(Operation::Show).asks_server() && !call(Operation::ListLen).asks_server());
    /// ```
    #[inline]
    pub fn asks_server(&self) -> bool {
        self.operation < 0x100
    }
}

/// The calls of a batch, in order.
///
/// ```
/// use byproxy_proto::op::{BatchCall, ManagerOp, Operation, write_batch_call, write_batch_header};
/// use byproxy_proto::value::Raw;
///
/// let len = BatchCall { operation: Operation::ListLen.code(), object: 9, arguments: &[7, 0] };
/// let mut arguments = Vec::new();
/// write_batch_header(1, &mut arguments);
/// write_batch_call(&len, &mut arguments);
/// let read = ManagerOp::read(Operation::Batch, Raw::assume_checked(&arguments));
/// let Some(Ok(ManagerOp::Batch { calls })) = read else { panic!("a batch of one call") };
/// let (first, rest) = calls.split_first().unwrap();
/// assert!(first == len && rest.is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchCalls<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> BatchCalls<'a> {
    /// The calls in a batch's arguments, checked in one pass over what stands around them; nothing if the bytes are not in canonical form
    /// or no batch, of which a [`walk`](crate::value::walk) and [`ManagerOp::read`](super::ManagerOp::read) tell more.
    ///
    /// ```
    /// use byproxy_proto::op::BatchCalls;
    ///
    /// let arguments = [7, 1, 7, 3, 3, 0, 0, 3, 0, 0, 6, 2, 7, 0];
    /// assert_eq!(BatchCalls::check(&arguments).map(|calls| calls.len()), Some(1));
    /// assert!(BatchCalls::check(b"garbage").is_none());
    /// ```
    #[inline]
    pub fn check(arguments: &'a [u8]) -> Option<Self> {
        let (mut reader, count) = list(arguments).ok()?;
        let calls = Self::take(&mut reader)?;
        (count == 1 && reader.rest.is_empty()).then_some(calls)
    }

    /// Reads the next value, if it is a list of calls: all of them, before the first is done, so that what is no batch changes nothing.
    #[inline]
    fn take(reader: &mut Reader<'a>) -> Option<Self> {
        let (inner, parts) = list(reader.rest).ok()?;
        if parts % CALL_PARTS != 0 || parts > CALL_PARTS * BATCH_CALLS_MAX {
            return None;
        }
        *reader = inner;
        let calls = Self::resume(reader.rest, parts / CALL_PARTS);
        for _ in 0..calls.left {
            call(reader)?;
        }
        Some(calls)
    }

    /// The calls that are left, as they lie: what [`BatchCalls::resume`] goes on with.
    ///
    /// ```
    /// use byproxy_proto::op::{Argument, BatchCalls};
    /// use byproxy_proto::value::Raw;
    ///
    /// let calls = BatchCalls::read(Raw::assume_checked(&[7, 3, 3, 0, 0, 3, 0, 0, 6, 2, 7, 0])).unwrap();
    /// let again = BatchCalls::resume(calls.bytes(), calls.len());
    /// assert_eq!(again.split_first().unwrap().0, calls.split_first().unwrap().0);
    /// ```
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.reader.rest
    }

    /// So many calls, from bytes that were the rest of a batch.
    ///
    /// ```
    /// use byproxy_proto::op::BatchCalls;
    ///
    /// let calls = BatchCalls::resume(&[3, 0, 0, 3, 0, 0, 6, 2, 7, 0], 1);
    /// assert_eq!(calls.split_first().map(|(call, _)| call.arguments), Some([7, 0].as_slice()));
    /// ```
    #[inline]
    pub fn resume(bytes: &'a [u8], left: usize) -> Self {
        Self {
            reader: Reader::new(bytes),
            left,
        }
    }

    /// How many calls are left.
    ///
    /// ```
    /// use byproxy_proto::op::BatchCalls;
    ///
    /// assert_eq!(BatchCalls::resume(&[3, 0, 0, 3, 0, 0, 6, 2, 7, 0], 1).len(), 1);
    /// ```
    #[inline]
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether no calls are left.
    ///
    /// ```
    /// use byproxy_proto::op::BatchCalls;
    ///
    /// assert!(BatchCalls::resume(&[], 0).is_empty());
    /// ```
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next call, and those after it.
    ///
    /// ```
    /// use byproxy_proto::op::BatchCalls;
    ///
    /// let one = BatchCalls::resume(&[3, 0, 0, 3, 0, 0, 6, 2, 7, 0], 1);
    /// let (call, rest) = one.split_first().unwrap();
    /// assert_eq!((call.arguments, rest.len()), ([7, 0].as_slice(), 0));
    /// ```
    #[inline]
    pub fn split_first(mut self) -> Option<(BatchCall<'a>, Self)> {
        self.left = self.left.checked_sub(1)?;
        let call = call(&mut self.reader)?;
        Some((call, self))
    }
}

impl<'a> Argument<'a> for BatchCalls<'a> {
    const EXPECTED: &'static str = "a list of operation, object, arguments for each of at most 1024 calls";

    #[inline]
    fn read(raw: Raw<'a>) -> Option<Self> {
        Self::take(&mut Reader::new(raw.bytes()))
    }
}

/// Appends the arguments of a batch up to its calls, of which exactly `count` must follow.
///
/// ```
/// let mut arguments = Vec::new();
/// byproxy_proto::op::write_batch_header(2, &mut arguments);
/// assert_eq!(arguments, [7, 1, 7, 6]);
/// ```
#[inline]
pub fn write_batch_header(count: usize, out: &mut Vec<u8>) {
    write_list_header(out, 1);
    write_list_header(out, count.saturating_mul(CALL_PARTS));
}

/// Appends one call of a batch.
///
/// ```
/// use byproxy_proto::op::{BatchCall, write_batch_call};
///
/// let mut item = Vec::new();
/// write_batch_call(&BatchCall { operation: 0, object: 0, arguments: &[7, 0] }, &mut item);
/// assert_eq!(item, [3, 0, 0, 3, 0, 0, 6, 2, 7, 0]);
/// ```
#[inline]
pub fn write_batch_call(call: &BatchCall<'_>, out: &mut Vec<u8>) {
    let operation = in_two_bytes(call.operation.into());
    let object = in_two_bytes(call.object);
    match (operation, object, in_a_byte(call.arguments.len() as u64)) {
        // As nearly all are: what stands before the arguments is put together in a register.
        (Some([low, high @ 1..=0x7f]), Some([object, 0]), Some(len)) => {
            out.extend_from_slice(&[tag::INT, 0, low, high, tag::INT, 0, object, tag::BYTES, len]);
            out.extend_from_slice(call.arguments);
        }
        (Some([low, high @ 1..=0x7f]), Some([object, more]), Some(len)) => {
            out.extend_from_slice(&[tag::INT, 0, low, high, tag::INT, 0, object, more, tag::BYTES, len]);
            out.extend_from_slice(call.arguments);
        }
        _ => write_long_call(call, out),
    }
}

#[inline(never)]
fn write_long_call(call: &BatchCall<'_>, out: &mut Vec<u8>) {
    write_uint(out, u64::from(call.operation));
    write_uint(out, call.object);
    write_bytes(out, call.arguments);
}

/// Why a call can't be one of a batch, if it can't: it would wait, or bring items that its client has to acknowledge, or it is not one
/// call among others.
///
/// ```
/// use byproxy_proto::op::{Operation, Wait, unbatchable};
/// use byproxy_proto::value::{self, Limits, Raw};
///
/// let put = |wait| value::to_vec(&("an item", wait), &Limits::default()).unwrap();
/// let waits = |arguments: &[u8]| unbatchable(Operation::QueuePut, Raw::assume_checked(arguments)).is_some();
/// assert!(waits(&put(Wait::FOREVER)));
/// assert!(!waits(&put(Wait::TRY)));
/// ```
#[inline]
pub fn unbatchable(operation: Operation, arguments: Raw<'_>) -> Option<&'static str> {
    let properties = operation.properties();
    if properties.delivers || operation == Operation::QueueReceive {
        return Some(
            "brings items that are to be acknowledged, so it can't be one of a batch: queue.get_many brings many",
        );
    }
    // In all of them the time to wait comes last.
    if properties.may_block && arguments.list_items()?.last().and_then(Wait::read) != Some(Wait::TRY) {
        return Some("would wait, so it can't be one of a batch: only a try can");
    }
    match operation {
        Operation::Batch => Some("can't be one of a batch: add its calls"),
        Operation::Shutdown => Some("can't be one of a batch: nothing comes after it"),
        _ => None,
    }
}

/// What came of one call of a batch, borrowed.
///
/// ```
/// use byproxy_proto::op::{BatchOutcome, BatchOutcomes};
///
/// let mut outcomes = BatchOutcomes::open(&[7, 1, 6, 2, 2, 1])?;
/// assert_eq!(outcomes.next(), Some(Ok(BatchOutcome::Done(&[2, 1]))), "true");
/// # Ok::<(), byproxy_proto::value::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum BatchOutcome<'a> {
    /// It was done: its result, unchecked.
    Done(&'a [u8]),
    /// It was refused.
    Fault(Fault),
}

/// What came of the calls of a batch, in order. It may end before the calls do: those that are missing were not tried, because what
/// came of the others fills the reply.
///
/// ```
/// use byproxy_proto::fault::{Fault, FaultCode};
/// use byproxy_proto::op::{BatchOutcome, BatchOutcomes, write_batch_done, write_batch_fault};
/// use byproxy_proto::value::write_list_header;
///
/// let full = Fault::new(FaultCode::Full, "the queue is full");
/// let mut result = Vec::new();
/// write_list_header(&mut result, 2);
/// write_batch_done(&[0], &mut result);
/// write_batch_fault(&full, &mut result);
/// let outcomes: Vec<_> = BatchOutcomes::open(&result)?.collect::<Result<_, _>>()?;
/// assert_eq!(outcomes, [BatchOutcome::Done(&[0]), BatchOutcome::Fault(full)]);
/// # Ok::<(), byproxy_proto::value::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchOutcomes<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> BatchOutcomes<'a> {
    /// Begins to read the result of a batch.
    ///
    /// # Errors
    /// If the bytes do not begin as a list.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy_proto::op::BatchOutcomes;
    ///
    /// assert_eq!(BatchOutcomes::open(&[7, 0])?.count(), 0);
    /// assert!(BatchOutcomes::open(b"garbage").is_err());
    /// # Ok::<(), byproxy_proto::value::DecodeError>(())
    /// ```
    #[inline]
    pub fn open(result: &'a [u8]) -> Result<Self, DecodeError> {
        let (reader, left) = list(result)?;
        Ok(Self { reader, left })
    }

    fn read(&mut self) -> Result<BatchOutcome<'a>, DecodeError> {
        match self.reader.byte()? {
            tag::BYTES => Ok(BatchOutcome::Done(self.reader.bytes_counted()?)),
            tag::LIST if self.reader.count(1)? == CALL_PARTS => self.read_fault().map(BatchOutcome::Fault),
            other => Err(Malformed::Tag(other).into()),
        }
    }

    fn read_fault(&mut self) -> Result<Fault, DecodeError> {
        let code = natural(&mut self.reader).and_then(|code| u16::try_from(code).ok());
        let code = FaultCode::from_number(code.ok_or(Malformed::IntRange)?);
        let tag = self.reader.byte()?;
        if tag != tag::STR {
            return Err(Malformed::Tag(tag).into());
        }
        let message = self.reader.string()?;
        let (detail, rest) = Raw::take(self.reader.rest, &Limits::DEFAULT)?;
        self.reader.rest = rest;
        let detail = detail.to_value().unwrap_or(Value::None);
        Ok(Fault::new(code, message).with_detail(detail))
    }
}

impl<'a> Iterator for BatchOutcomes<'a> {
    type Item = Result<BatchOutcome<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // Most are done, and their results short.
        if let [tag::BYTES, len @ 0..=0x7f, ref rest @ ..] = *self.reader.rest
            && let Some((result, rest)) = rest.split_at_checked(len.into())
        {
            self.reader.rest = rest;
            return Some(Ok(BatchOutcome::Done(result)));
        }
        let outcome = self.read();
        if outcome.is_err() {
            // Where the next one begins is not known.
            self.left = 0;
        }
        Some(outcome)
    }
}

/// Appends the outcome of a call that was done.
///
/// ```
/// let mut item = Vec::new();
/// byproxy_proto::op::write_batch_done(&[2, 1], &mut item);
/// assert_eq!(item, [6, 2, 2, 1]);
/// ```
#[inline]
pub fn write_batch_done(result: &[u8], out: &mut Vec<u8>) {
    write_bytes(out, result);
}

/// What [`begin_batch_done`] appends, in bytes.
pub const BATCH_DONE_BYTES: usize = 2;

/// Begins the outcome of a call that is done: its result is to be appended next, and [`end_batch_done`] called with where that begins, which
/// is what this returns.
///
/// ```
/// use byproxy_proto::op::{begin_batch_done, end_batch_done, write_batch_done};
///
/// let (mut item, mut same) = (Vec::new(), Vec::new());
/// let start = begin_batch_done(&mut item);
/// item.extend_from_slice(&[2, 1]);
/// end_batch_done(&mut item, start);
/// write_batch_done(&[2, 1], &mut same);
/// assert_eq!(item, same);
/// ```
#[inline]
pub fn begin_batch_done(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[tag::BYTES, 0]);
    out.len()
}

/// Ends an outcome whose result begins at `start`: see [`begin_batch_done`].
///
/// ```
/// use byproxy_proto::op::{BatchOutcome, BatchOutcomes, begin_batch_done, end_batch_done};
/// use byproxy_proto::value::{write_list_header, write_str};
///
/// let mut result = Vec::new();
/// write_list_header(&mut result, 1);
/// let start = begin_batch_done(&mut result);
/// write_str(&mut result, &"long".repeat(1000));
/// end_batch_done(&mut result, start);
/// let outcome = BatchOutcomes::open(&result)?.next();
/// assert!(matches!(outcome, Some(Ok(BatchOutcome::Done(text))) if text.len() == 4003));
/// # Ok::<(), byproxy_proto::value::DecodeError>(())
/// ```
#[inline]
pub fn end_batch_done(out: &mut Vec<u8>, start: usize) {
    let len = out.len().saturating_sub(start);
    match u8::try_from(len) {
        Ok(len @ 0..0x80) => {
            if let Some(byte) = start.checked_sub(1).and_then(|at| out.get_mut(at)) {
                *byte = len;
            }
        }
        _ => end_long(out, start, len),
    }
}

/// The same where the length takes more than the byte that was left for it.
#[inline(never)]
fn end_long(out: &mut Vec<u8>, start: usize, len: usize) {
    let Some(at) = start.checked_sub(1).filter(|_| start <= out.len()) else {
        return;
    };
    if let Some([low, high]) = in_two_bytes(len as u64) {
        out.insert(start, high);
        if let Some(byte) = out.get_mut(at) {
            *byte = low;
        }
    } else {
        let mut header = Vec::new();
        varint(&mut header, len as u64);
        out.splice(at..start, header);
    }
}

/// Appends the outcome of a call that was refused.
///
/// ```
/// use byproxy_proto::fault::{Fault, FaultCode};
///
/// let mut item = Vec::new();
/// byproxy_proto::op::write_batch_fault(&Fault::new(FaultCode::Full, "no"), &mut item);
/// assert_eq!(item, [7, 3, 3, 0, 14, 5, 2, b'n', b'o', 0]);
/// ```
pub fn write_batch_fault(fault: &Fault, out: &mut Vec<u8>) {
    write_list_header(out, CALL_PARTS);
    write_int(out, i128::from(fault.code.number()));
    write_str(out, &fault.message);
    if crate::value::to_writer(&fault.detail, out, &Limits::DEFAULT).is_err() {
        crate::value::write_none(out);
    }
}

/// A list's items and how many they are.
#[inline]
fn list(bytes: &[u8]) -> Result<(Reader<'_>, usize), DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        tag::LIST => {
            let count = reader.count(1)?;
            Ok((reader, count))
        }
        other => Err(Malformed::Tag(other).into()),
    }
}

/// The three values of the next call.
#[inline]
fn call<'a>(reader: &mut Reader<'a>) -> Option<BatchCall<'a>> {
    let (call, rest) = match short_call(reader.rest) {
        Some(read) => read,
        None => long_call(reader.rest)?,
    };
    reader.rest = rest;
    Some(call)
}

/// The call at the front of `bytes`, and what follows it, if its code takes two bytes, as that of all that is done to objects, and its
/// arguments are short.
#[inline]
fn short_call(bytes: &[u8]) -> Option<(BatchCall<'_>, &[u8])> {
    let [
        tag::INT,
        0,
        low @ 0x80..=0xff,
        high @ 1..=0x7f,
        tag::INT,
        0,
        ref object @ ..,
    ] = *bytes
    else {
        return None;
    };
    let mut reader = Reader::new(object);
    let object = reader.number()?;
    let [tag::BYTES, len @ 0..=0x7f, ref arguments @ ..] = *reader.rest else {
        return None;
    };
    let (arguments, rest) = arguments.split_at_checked(len.into())?;
    let call = BatchCall {
        operation: u16::from(low & 0x7f) | u16::from(high) << 7,
        object,
        arguments,
    };
    Some((call, rest))
}

fn long_call(bytes: &[u8]) -> Option<(BatchCall<'_>, &[u8])> {
    let mut reader = Reader::new(bytes);
    let operation = u16::try_from(natural(&mut reader)?).ok()?;
    let object = natural(&mut reader)?;
    if reader.byte().ok()? != tag::BYTES {
        return None;
    }
    let arguments = reader.bytes_counted().ok()?;
    let call = BatchCall {
        operation,
        object,
        arguments,
    };
    Some((call, reader.rest))
}

/// The next value, if it is an int of 64 bits and not negative.
fn natural(reader: &mut Reader<'_>) -> Option<u64> {
    if reader.byte().ok()? != tag::INT {
        return None;
    }
    reader.natural()
}

#[cfg(test)]
mod tests;
