//! One noun has one file stem in every layer: whoever knows `queue.rs` in one place knows where it stands in all.

use crate::source::exists;
use byproxy_proto::op::Operation;
use std::collections::BTreeSet;

/// The folders where every noun of the operations table has its file (or a folder of that name).
const LAYERS: &[&str] = &["proto/src/op", "src/engine/object", "src/proxy", "tests/semantics"];

#[test]
fn every_noun_has_its_file_in_every_layer() {
    let nouns: BTreeSet<_> = Operation::ALL
        .iter()
        .filter_map(|operation| operation.name().split('.').next())
        .collect();
    assert!(nouns.contains("queue"), "the names of operations changed their form");
    let mut missing = Vec::new();
    // The manager is the server itself: no object, no proxy.
    for noun in nouns.into_iter().filter(|&noun| noun != "manager") {
        for layer in LAYERS {
            if !exists(&format!("{layer}/{noun}.rs")) && !exists(&format!("{layer}/{noun}/mod.rs")) {
                missing.push(format!("{layer}/{noun}.rs"));
            }
        }
    }
    assert!(missing.is_empty(), "missing: {missing:?}");
}
