//! Many calls in one round trip.
//!
//! A batch is written into the thread's buffer as one call on the server, and what came of each is read from the borrowed reply in turn,
//! by the call's own reader. What the server did not get to, because the outcomes before it filled the reply, is sent again; so is
//! everything behind the first 1,024 calls, in frames of their own. A batch of one is sent as the call that it is.

use super::call::{Call, Envelope};
use crate::backend::{Backend, Buffers, Lent, Request};
use crate::codec::{Reading, malformed, unanswered};
use crate::error::{Error, Result};
use crate::references::Adopting;
use byproxy_proto::op::{
    BATCH_CALLS_MAX, BatchCall, BatchOutcome, BatchOutcomes, Operation, Wait, write_batch_call, write_batch_header,
};
use std::ops::Range;
use std::sync::Arc;

/// How many bytes of arguments one frame carries, unless a single call has more.
const FRAME_BYTES: usize = 192 << 10;

/// Calls that can be made in one round trip, with [`Manager::batch`](crate::Manager::batch): a tuple of up to sixteen calls of any kind,
/// or a `Vec` or an array of one kind.
///
/// # Examples
///
/// ```
/// use byproxy::{Batch, ListProxy, Manager};
///
/// fn ends(list: &ListProxy<u32>) -> impl Batch<Outcomes = (byproxy::Result<u32>, byproxy::Result<u32>)> {
///     (list.calls().get(0), list.calls().get(-1))
/// }
///
/// let manager = Manager::embedded()?;
/// let list = manager.list_from::<u32>([3, 1, 2])?;
/// let (first, last) = manager.batch(ends(&list));
/// assert_eq!((first?, last?), (3, 2));
/// # Ok::<(), byproxy::Error>(())
/// ```
pub trait Batch {
    /// What comes of the calls: a result for each, in order, in the same arrangement.
    type Outcomes;

    #[doc(hidden)]
    fn make(self, courier: &Courier<'_>) -> Self::Outcomes;
}

/// Who makes the calls of a batch.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "only hidden methods name it")]
pub struct Courier<'a> {
    backend: &'a Arc<dyn Backend>,
}

/// Calls in a row, and a place for what comes of each. They are settled in order, each once.
trait Row<'a> {
    fn len(&self) -> usize;

    /// The call at a place, if there is one.
    fn call(&mut self, at: usize) -> Option<&mut Envelope<'a>>;

    /// Reads the result of a call, or takes note of why there is none.
    fn settle(&mut self, at: usize, outcome: Reading<&[u8]>);

    /// Settles a call that can't be sent, if it can't.
    #[inline]
    fn refuse(&mut self, at: usize) -> bool {
        let is_sent = self.call(at).is_some_and(|call| call.arguments.is_ok());
        if !is_sent {
            self.settle_refused(at);
        }
        !is_sent
    }

    #[cold]
    fn settle_refused(&mut self, at: usize) {
        if let Some(call) = self.call(at) {
            let refusal = std::mem::replace(&mut call.arguments, Err(Box::new(unanswered())));
            let error = refusal.err().unwrap_or_else(|| unanswered().into());
            self.settle(at, Err(error));
        }
    }
}

/// The calls of one frame.
struct Sent {
    /// Where they end.
    end: usize,
    /// How many of them can be sent at all.
    count: usize,
    /// If there is but one, what it does to which object: it is no batch then.
    alone: Option<(Operation, u64)>,
}

impl<'a> Courier<'a> {
    #[inline]
    pub(crate) fn new(backend: &'a Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    fn make<'c>(&self, calls: &mut impl Row<'c>) {
        let (mut next, mut most) = (0, BATCH_CALLS_MAX);
        while next < calls.len() {
            let mut lent = Lent::take();
            let sent = self.write(calls, next, most, lent.buffers().arguments.writer());
            let Err(error) = self.send(calls, &mut next, &sent, lent) else {
                continue;
            };
            if matches!(error, Error::TooLarge(_)) && sent.count > 1 {
                // Nothing of it was done.
                most = sent.count / 2;
                continue;
            }
            for at in next..sent.end {
                if !calls.refuse(at) {
                    let operation = calls.call(at).map_or(Operation::Batch, |call| call.operation);
                    calls.settle(at, Err(error.of_one(operation).into()));
                }
            }
            next = sent.end;
        }
    }

    /// Writes calls from one on as the arguments of one: those that can be sent, as many as go into a frame.
    fn write<'c>(&self, calls: &mut impl Row<'c>, from: usize, most: usize, out: &mut Vec<u8>) -> Sent {
        let promised = calls.len().saturating_sub(from).min(most);
        let start = out.len();
        write_batch_header(promised, out);
        let (begin, mut bytes) = (out.len(), 0_usize);
        let mut sent = Sent {
            end: from,
            count: 0,
            alone: None,
        };
        while let Some(call) = calls.call(sent.end) {
            call.address_through(self.backend);
            if let Ok(arguments) = &call.arguments {
                let arguments = arguments.bytes();
                bytes = bytes.saturating_add(arguments.len());
                if sent.count == most || (sent.count > 0 && bytes > FRAME_BYTES) {
                    break;
                }
                let call = BatchCall {
                    operation: call.operation.code(),
                    object: call.handle.object(),
                    arguments,
                };
                write_batch_call(&call, out);
                sent.count += 1;
            }
            sent.end += 1;
        }
        if sent.count == 1 {
            sent.alone = write_alone(calls, from..sent.end, start, out);
        } else if sent.count != promised {
            let mut header = Vec::new();
            write_batch_header(sent.count, &mut header);
            out.splice(start..begin, header);
        }
        sent
    }

    /// Sends what was written of the calls from `next` on. Afterwards `next` is the first that is not settled.
    fn send<'c>(&self, calls: &mut impl Row<'c>, next: &mut usize, sent: &Sent, mut lent: Lent) -> Result<()> {
        let end = sent.end;
        if sent.count == 0 {
            settle_alone(calls, next, end, None);
            return Ok(());
        }
        let Buffers { arguments, frames } = lent.written();
        let (operation, object) = sent.alone.unwrap_or((Operation::Batch, 0));
        let request = Request {
            operation,
            object,
            arguments,
            wait: Wait::TRY,
        };
        let mut read = Ok(());
        let called = self.backend.call(request, frames, &mut |answer| {
            let _adopting = Adopting::enter(self.backend, answer.handed);
            if sent.alone.is_some() {
                settle_alone(calls, next, end, Some(answer.result));
            } else {
                read = settle_all(calls, next, end, answer.result);
            }
            true
        });
        called.and(read)
    }
}

/// Writes the one of these calls that can be sent by itself, in place of what is there from `start` on.
fn write_alone<'c>(
    calls: &mut impl Row<'c>,
    mut places: Range<usize>,
    start: usize,
    out: &mut Vec<u8>,
) -> Option<(Operation, u64)> {
    out.truncate(start);
    places.find_map(|at| {
        let call = calls.call(at)?;
        out.extend_from_slice(call.arguments.as_ref().ok()?.bytes());
        Some((call.operation, call.handle.object()))
    })
}

/// Settles calls of which at most one was sent, by itself.
fn settle_alone<'c>(calls: &mut impl Row<'c>, next: &mut usize, end: usize, result: Option<&[u8]>) {
    for at in *next..end {
        *next = at + 1;
        if !calls.refuse(at) {
            calls.settle(at, result.ok_or_else(|| unanswered().into()));
        }
    }
}

/// Settles the calls of a batch, as far as it was done.
fn settle_all<'c>(calls: &mut impl Row<'c>, next: &mut usize, end: usize, result: &[u8]) -> Result<()> {
    let mut outcomes = BatchOutcomes::open(result).map_err(malformed)?;
    let mut answered = 0;
    for at in *next..end {
        if calls.refuse(at) {
            *next = at + 1;
            continue;
        }
        let outcome = match outcomes.next() {
            Some(Ok(BatchOutcome::Done(result))) => Ok(result),
            Some(Ok(BatchOutcome::Fault(fault))) => Err(Error::from_fault(fault).into()),
            Some(Err(error)) => return Err(malformed(error)),
            // It was not done: there was no room for what would have come of it.
            None if answered > 0 => return Ok(()),
            None => return Err(malformed("the server did none of the calls of a batch")),
        };
        *next = at + 1;
        answered += 1;
        calls.settle(at, outcome);
    }
    Ok(())
}

/// Calls of one kind.
struct Alike<'a, R> {
    calls: Vec<Call<'a, R>>,
    outcomes: Vec<Result<R>>,
}

impl<'a, R> Alike<'a, R> {
    fn make(calls: Vec<Call<'a, R>>, courier: &Courier<'_>) -> Vec<Result<R>> {
        let outcomes = Vec::with_capacity(calls.len());
        let mut row = Self { calls, outcomes };
        courier.make(&mut row);
        row.outcomes
    }
}

impl<'a, R> Row<'a> for Alike<'a, R> {
    #[inline]
    fn len(&self) -> usize {
        self.calls.len()
    }

    #[inline]
    fn call(&mut self, at: usize) -> Option<&mut Envelope<'a>> {
        self.calls.get_mut(at).map(|call| &mut call.envelope)
    }

    #[inline]
    fn settle(&mut self, at: usize, outcome: Reading<&[u8]>) {
        debug_assert_eq!(at, self.outcomes.len(), "calls are settled in order");
        if let Some(call) = self.calls.get(at) {
            // Each in its place: an error has room for much, of which a value should not be moved along.
            match outcome.and_then(call.read) {
                Ok(result) => self.outcomes.push(Ok(result)),
                Err(error) => self.outcomes.push(Err(*error)),
            }
        }
    }
}

impl<R> Batch for Vec<Call<'_, R>> {
    type Outcomes = Vec<Result<R>>;

    fn make(self, courier: &Courier<'_>) -> Self::Outcomes {
        Alike::make(self, courier)
    }
}

impl<R, const N: usize> Batch for [Call<'_, R>; N] {
    type Outcomes = [Result<R>; N];

    fn make(self, courier: &Courier<'_>) -> Self::Outcomes {
        let mut outcomes = Alike::make(self.into(), courier).into_iter();
        std::array::from_fn(|_| outcomes.next().unwrap_or_else(|| Err(unanswered())))
    }
}

/// Calls of many kinds, and what came of each.
struct Mixed<C, O> {
    calls: C,
    outcomes: O,
}

macro_rules! tuples {
    ($( ($count:literal: $($result:ident $place:tt),+) )*) => {$(
        impl<'a, $($result),+> Row<'a> for Mixed<($(Call<'a, $result>,)+), ($(Option<Result<$result>>,)+)> {
            #[inline]
            fn len(&self) -> usize {
                $count
            }

            #[inline]
            fn call(&mut self, at: usize) -> Option<&mut Envelope<'a>> {
                match at {
                    $( $place => Some(&mut self.calls.$place.envelope), )+
                    _ => None,
                }
            }

            #[inline]
            fn settle(&mut self, at: usize, outcome: Reading<&[u8]>) {
                match at {
                    $( $place => self.outcomes.$place = Some(outcome.and_then(self.calls.$place.read).map_err(|error| *error)), )+
                    _ => {}
                }
            }
        }

        impl<$($result),+> Batch for ($(Call<'_, $result>,)+) {
            type Outcomes = ($(Result<$result>,)+);

            fn make(self, courier: &Courier<'_>) -> Self::Outcomes {
                let mut row = Mixed { calls: self, outcomes: ($(None::<Result<$result>>,)+) };
                courier.make(&mut row);
                ($( row.outcomes.$place.unwrap_or_else(|| Err(unanswered())), )+)
            }
        }
    )*};
}

tuples! {
    (1: A 0)
    (2: A 0, B 1)
    (3: A 0, B 1, C 2)
    (4: A 0, B 1, C 2, D 3)
    (5: A 0, B 1, C 2, D 3, E 4)
    (6: A 0, B 1, C 2, D 3, E 4, F 5)
    (7: A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
    (13: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12)
    (14: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13)
    (15: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14)
    (16: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Answer, Frames, Reader, Shared};
    use crate::codec;
    use crate::handle::Handle;
    use byproxy_proto::address::Address;
    use byproxy_proto::fault::{Fault, FaultCode};
    use byproxy_proto::op::{BatchCalls, write_batch_done};
    use byproxy_proto::value::{Kind, write_list_header, write_uint};
    use parking_lot::Mutex;
    use std::os::fd::{BorrowedFd, OwnedFd};

    /// What the server makes of a frame: of its operation, and of its calls if it is a batch.
    type Script = dyn Fn(Operation, usize) -> Result<Vec<u8>> + Send + Sync;

    /// A server that does as it is told, and keeps how many calls each frame had; zero is a call alone.
    struct Scripted {
        script: Box<Script>,
        frames: Mutex<Vec<usize>>,
    }

    impl std::fmt::Debug for Scripted {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Scripted")
        }
    }

    impl Backend for Scripted {
        fn instance(&self) -> u128 {
            1
        }

        fn address(&self) -> Option<Address> {
            None
        }

        fn call(&self, request: Request<'_>, _: &mut Frames, visit: &mut Reader<'_>) -> Result<()> {
            let calls = BatchCalls::check(request.arguments.value()).filter(|_| request.operation == Operation::Batch);
            let count = calls.map_or(0, |calls| calls.len());
            self.frames.lock().push(count);
            let result = (self.script)(request.operation, count)?;
            visit(Answer {
                handed: &[],
                result: &result,
            });
            Ok(())
        }

        fn share(&self, _: Option<&str>, _: &[u8], _: BorrowedFd<'_>) -> Result<Shared> {
            self.carries_descriptors().map(|()| unreachable!("it carries none"))
        }

        fn fetch(&self, _: u64) -> Result<(OwnedFd, Vec<u8>)> {
            self.carries_descriptors().map(|()| unreachable!("it carries none"))
        }

        fn carries_descriptors(&self) -> Result<()> {
            Err(Error::Refused("no descriptors in a script".to_owned()))
        }

        fn release(&self, _: u64) {}

        fn is_open(&self) -> bool {
            true
        }

        fn close(&self) {}
    }

    /// The outcomes of a batch of which so many calls were done, each with the number of calls in its frame.
    fn done(count: usize, of: usize) -> Vec<u8> {
        let (mut result, mut number) = (Vec::new(), Vec::new());
        write_list_header(&mut result, count);
        write_uint(&mut number, of as u64);
        for _ in 0..count {
            write_batch_done(&number, &mut result);
        }
        result
    }

    /// Makes so many calls, every third of which changes something, and returns what came of them and how many were in each frame.
    fn make(
        count: usize,
        script: impl Fn(Operation, usize) -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> (Vec<Result<u64>>, Vec<usize>) {
        let server = Arc::new(Scripted {
            script: Box::new(script),
            frames: Mutex::default(),
        });
        let backend: Arc<dyn Backend> = server.clone();
        let handle = Handle::own(backend.clone(), 5, Kind::LIST);
        let call = |n: usize| {
            let operation = if n.is_multiple_of(3) {
                Operation::ListPopAt
            } else {
                Operation::ListGet
            };
            Call::new(&handle, operation, &(n as u64,), codec::value::<u64>)
        };
        let outcomes = (0..count).map(call).collect::<Vec<_>>().make(&Courier::new(&backend));
        let frames = server.frames.lock().clone();
        (outcomes, frames)
    }

    #[test]
    fn what_the_server_did_not_get_to_is_sent_again() {
        let (outcomes, frames) = make(7, |_, count| {
            Ok(if count == 0 { vec![3, 0, 1] } else { done(2, count) })
        });
        let numbers: Vec<u64> = outcomes.into_iter().collect::<Result<_>>().unwrap();
        assert_eq!(
            (numbers, frames),
            (vec![7, 7, 5, 5, 3, 3, 1], vec![7, 5, 3, 0]),
            "the last is a call alone"
        );
    }

    #[test]
    fn a_frame_that_is_too_large_is_sent_in_parts() {
        let too_large = || Error::TooLarge("too large".to_owned());
        let (outcomes, frames) = make(5, move |_, count| {
            if count > 2 {
                Err(too_large())
            } else {
                Ok(done(count, count))
            }
        });
        assert_eq!(frames, [5, 2, 2, 0]);
        assert!(outcomes[..4].iter().all(|outcome| matches!(outcome, Ok(2))));
        assert!(matches!(outcomes[4], Err(Error::WrongType(_))), "a list is no number");
        let (outcomes, _) = make(3, move |_, _| Err(Error::TooLarge("too large".to_owned())));
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Err(Error::TooLarge(_))))
        );
    }

    /// Calls that can't be sent are settled in their places, however many the header of the frame had promised.
    #[test]
    fn what_can_not_be_sent_leaves_the_others_in_their_places() {
        // Of so many calls these can be sent; the header of 43 and more takes another byte.
        for (count, sent) in [
            (3, 1..2),
            (50, 7..9),
            (50, 20..21),
            (50, 3..50),
            (60, 0..0),
            (2_000, 1_000..1_100),
        ] {
            let server = Arc::new(Scripted {
                script: Box::new(|_, count| Ok(if count == 0 { vec![3, 0, 1] } else { done(count, count) })),
                frames: Mutex::default(),
            });
            let backend: Arc<dyn Backend> = server.clone();
            let handle = Handle::own(backend.clone(), 5, Kind::LIST);
            let refused = || Error::Refused("not this one".to_owned());
            let get = |n| Call::new(&handle, Operation::ListGet, &(n as u64,), codec::value::<u64>);
            let refuse = || Call::refused(&handle, Operation::ListGet, refused(), codec::value::<u64>);
            let calls = (0..count).map(|n| if sent.contains(&n) { get(n) } else { refuse() });
            let outcomes = calls.collect::<Vec<_>>().make(&Courier::new(&backend));
            for (n, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Ok(number) => assert!(sent.contains(&n) && *number == sent.len() as u64, "{n} of {count}"),
                    Err(error) => assert!(
                        !sent.contains(&n) && matches!(error, Error::Refused(_)),
                        "{n} of {count}: {error}"
                    ),
                }
            }
            let frames = server.frames.lock().clone();
            let expected = if sent.len() == 1 { vec![0] } else { vec![sent.len()] };
            assert_eq!(frames, if sent.is_empty() { vec![] } else { expected }, "{count}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_only_changing_calls_unknown() {
        let (outcomes, _) = make(6, |operation, _| {
            Err(Error::OutcomeUnknown {
                operation: operation.name(),
                reason: "cut".to_owned(),
            })
        });
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Err(Error::OutcomeUnknown { operation, .. }) => assert!(n % 3 == 0 && operation == "list.pop_at"),
                Err(Error::Gone(reason)) => assert!(n % 3 != 0 && reason == "cut"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn nonsense_from_the_server_is_an_error_of_each_call_and_ends() {
        let nonsense: [&[u8]; 5] = [b"", &[7, 0], &[0], &[7, 4, 6, 1, 0], &[7, 1, 99]];
        for bytes in nonsense {
            let (outcomes, frames) = make(4, move |_, _| Ok(bytes.to_vec()));
            assert_eq!((outcomes.len(), frames.len()), (4, 1), "{bytes:?}");
            let malformed = |outcome: &Result<u64>| matches!(outcome, Err(Error::Fault(fault)) if fault.code == FaultCode::Malformed);
            assert!(outcomes[1..].iter().all(malformed), "{bytes:?}: {outcomes:?}");
        }
        let refused = || Err(Error::Fault(Fault::new(FaultCode::Unsupported, "not here").into()));
        let (outcomes, _) = make(4, move |_, _| refused());
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Err(Error::Fault(fault)) if fault.message == "not here"))
        );
    }
}
