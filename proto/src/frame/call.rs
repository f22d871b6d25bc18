//! A call's frame around arguments that lie where they were encoded: what stands before them is written backwards, into room that was
//! left for it.

use super::backwards::Backwards;
use super::{CALL, PREFIX_BYTES};
use crate::op::Operation;

/// How many bytes may stand before a call's arguments: a length, a kind, a number, an operation and an object.
pub const CALL_ROOM_BYTES: usize = PREFIX_BYTES + 1 + 10 + 3 + 10;

/// Writes what stands before a call's arguments, which are so many bytes and follow the room. Returns where in it the frame begins;
/// nothing if its length does not fit the prefix.
///
/// ```
/// use byproxy_proto::frame::{CALL_ROOM_BYTES, write_call};
/// use byproxy_proto::op::Operation;
///
/// let mut bytes = [0; CALL_ROOM_BYTES + 2];
/// let (room, arguments) = bytes.split_first_chunk_mut().unwrap();
/// arguments.copy_from_slice(&[7, 0]);
/// let start = write_call(room, 1, Operation::ListLen, 9, arguments.len()).unwrap();
/// assert_eq!(bytes[start..], [7, 0, 0, 0, 1, 1, 0x8a, 0x02, 9, 7, 0]);
/// ```
#[expect(clippy::inline_always, reason = "so that what it returns stays in a register")]
#[inline(always)]
pub fn write_call(
    room: &mut [u8; CALL_ROOM_BYTES],
    number: u64,
    operation: Operation,
    object: u64,
    arguments: usize,
) -> Option<usize> {
    let mut head = Backwards::into(room);
    head.number(object);
    head.number(operation.code().into());
    head.number(number);
    head.put([CALL]);
    head.prefix(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_stands_before_arguments_is_what_postcard_writes(
            operation in proptest::sample::select(Operation::ALL),
            numbers: (u64, u64),
            bits in (0..64_u32, 0..64_u32),
            arguments in 0..1_usize << 20,
        ) {
            let (number, object) = (numbers.0 >> bits.0, numbers.1 >> bits.1);
            let mut room = [0xff; CALL_ROOM_BYTES];
            let start = write_call(&mut room, number, operation, object, arguments).unwrap();
            let (prefix, body) = room[start..].split_first_chunk().unwrap();
            prop_assert_eq!(u32::from_le_bytes(*prefix) as usize, body.len() + arguments);
            prop_assert_eq!(body, postcard::to_allocvec(&(CALL, number, operation.code(), object)).unwrap());
        }
    }

    #[test]
    fn the_longest_head_fits_and_the_longest_frame_does_not() {
        let write = |arguments| {
            write_call(
                &mut [0; CALL_ROOM_BYTES],
                u64::MAX,
                Operation::QueuePut,
                u64::MAX,
                arguments,
            )
        };
        assert_eq!(write(0), Some(1), "no operation has a code of three bytes");
        assert_eq!(write(u32::MAX as usize), None);
    }
}
