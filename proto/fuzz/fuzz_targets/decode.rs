//! Arbitrary bytes are a value in its only form, or an error, and everything that reads them says the same.
#![no_main]

use std::collections::BTreeMap;

use byproxy_proto::value::{self, Limits, Raw, Value, canonical_key, compare};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let unchecked = Raw::assume_checked(bytes);
    let _ = (unchecked.tokens().count(), canonical_key(unchecked, &mut Vec::new()));
    let _ = value::from_slice::<BTreeMap<Option<String>, Vec<(u8, f32)>>>(bytes, &limits);
    match (value::from_slice::<Value>(bytes, &limits), Raw::check(bytes, &limits)) {
        (Ok(decoded), Ok(raw)) => {
            assert_eq!(value::to_vec(&decoded, &limits).as_deref(), Ok(bytes));
            let mut key = Vec::new();
            if canonical_key(raw, &mut key) == Ok(true) {
                assert!(compare(&key, bytes).is_eq());
            }
        }
        (Err(decoding), Err(checking)) => assert_eq!(decoding.kind(), checking.kind()),
        (decoded, checked) => panic!("{decoded:?} and {checked:?}"),
    }
});
