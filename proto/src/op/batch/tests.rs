//! Short ways beside the ways of any length.

use super::*;
use proptest::prelude::*;

#[test]
fn an_outcome_in_its_place_is_the_same_as_one_that_was_moved_there() {
    for len in [0, 1, 127, 128, 129, 16_383, 16_384, 70_000] {
        let result: Vec<u8> = (0..=255).cycle().take(len).collect();
        let (mut in_place, mut moved) = (vec![1, 2, 3], vec![1, 2, 3]);
        for _ in 0..2 {
            let start = begin_batch_done(&mut in_place);
            in_place.extend_from_slice(&result);
            end_batch_done(&mut in_place, start);
            write_batch_done(&result, &mut moved);
        }
        assert_eq!(in_place, moved, "{len} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_short_call_reads_like_any(
        operation: u16,
        object in prop_oneof![0..0x80_u64, 0..0x8000_u64, any::<u64>()],
        arguments in proptest::collection::vec(any::<u8>(), 0..140),
        odd in proptest::option::of((0..12_usize, any::<u8>())),
    ) {
        let mut bytes = Vec::new();
        write_batch_call(&BatchCall { operation, object, arguments: &arguments }, &mut bytes);
        bytes.push(7);
        if let Some((at, odd)) = odd
            && let Some(byte) = bytes.get_mut(at)
        {
            *byte = odd;
        }
        let long = long_call(&bytes);
        if odd.is_none() {
            let mut slowly = Vec::new();
            write_long_call(&BatchCall { operation, object, arguments: &arguments }, &mut slowly);
            slowly.push(7);
            prop_assert_eq!(&slowly, &bytes);
        }
        if let Some(short) = short_call(&bytes) {
            prop_assert_eq!(long, Some(short));
        }
    }
}
