//! The one order of values: for `sort`, for priority queues, and what [`Value`] means by equal.
//!
//! It is total: of any two values exactly one of less, equal, greater holds, and the relation is transitive.
//!
//! 1. By type: `None` < `Some(None)` < `Some(Some(None))` … < booleans < numbers < strings < bytes < lists < dicts < proxies.
//! 2. Booleans: `False` < `True`.
//! 3. Numbers by their exact mathematical value, integers and floats together; where an integer and a float are the same
//!    number, the integer is less. `-0.0` equals `0.0`; every NaN equals every NaN and is greater than all other numbers.
//! 4. Strings and bytes byte by byte (for strings that is by code point); lists element by element, a prefix is less.
//! 5. Dicts as the list of their pairs, key and value in turn, in the form they have in keys: sorted by encoded key.
//! 6. Proxies by server, then object, then kind.

use std::cmp::Ordering;

use super::key::{Twice, normalise};
use super::reader::Reader;
use super::{Limits, Token, Value, tag};

/// Compares two encoded values in the order of values.
///
/// Its cost is linear in what must be looked at; dicts are sorted first. Bytes that are no values in canonical form are
/// compared in some way that means nothing.
///
/// ```
/// use byproxy_proto::value::{compare, to_vec, Limits};
/// use std::cmp::Ordering;
///
/// let encoded = |value: f64| to_vec(&value, &Limits::default()).unwrap();
/// assert_eq!(compare(&encoded(-0.0), &encoded(0.0)), Ordering::Equal);
/// assert_eq!(compare(&encoded(f64::NAN), &encoded(f64::INFINITY)), Ordering::Greater);
/// ```
#[inline]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let dicts = Dicts::AsSent;
    next(&mut Reader::new(a), &mut Reader::new(b), dicts, Limits::DEPTH_MAX).unwrap_or_else(|| a.cmp(b))
}

/// Compares two trees in the order of values.
pub(crate) fn compare_values(a: &Value, b: &Value) -> Ordering {
    let unlimited = Limits {
        bytes: usize::MAX,
        memory: usize::MAX,
        depth: Limits::DEPTH_MAX,
    };
    match (super::to_vec(a, &unlimited), super::to_vec(b, &unlimited)) {
        (Ok(a), Ok(b)) => compare(&a, &b),
        // A tree too deep to be written is no value, and equals none.
        (a, _) => {
            if a.is_ok() {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    }
}

/// Whether the dicts met are in key form already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dicts {
    AsSent,
    Sorted,
}

/// Compares the next value of each; `None` when one is no value.
fn next(a: &mut Reader<'_>, b: &mut Reader<'_>, dicts: Dicts, depth_left: u32) -> Option<Ordering> {
    let depth_left = depth_left.checked_sub(1)?;
    let (tag_a, tag_b) = (a.peek().ok()?, b.peek().ok()?);
    if rank(tag_a) != rank(tag_b) {
        return Some(rank(tag_a).cmp(&rank(tag_b)));
    }
    if tag_a == tag::DICT && dicts == Dicts::AsSent {
        return sorted_dicts(a, b, depth_left);
    }
    a.byte().ok()?;
    b.byte().ok()?;
    match tag_a {
        tag::NONE => Some(Ordering::Equal),
        tag::SOME => next(a, b, dicts, depth_left),
        tag::BOOL => Some(a.boolean().ok()?.cmp(&b.boolean().ok()?)),
        tag::INT | tag::FLOAT => Some(number(a, tag_a)?.compare(number(b, tag_b)?)),
        tag::STR | tag::BYTES => Some(a.bytes_counted().ok()?.cmp(b.bytes_counted().ok()?)),
        tag::LIST => {
            let (count_a, count_b) = (a.count(1).ok()?, b.count(1).ok()?);
            parts(a, b, count_a, count_b, dicts, depth_left)
        }
        tag::DICT => {
            let (pairs_a, pairs_b) = (a.count(2).ok()?, b.count(2).ok()?);
            parts(a, b, 2 * pairs_a, 2 * pairs_b, dicts, depth_left)
        }
        tag::PROXY => Some(Token::read_body(a).ok()?.cmp(&Token::read_body(b).ok()?)),
        _ => None,
    }
}

/// Compares part by part; when one side is the other's beginning, the shorter is less.
fn parts(
    a: &mut Reader<'_>,
    b: &mut Reader<'_>,
    count_a: usize,
    count_b: usize,
    dicts: Dicts,
    depth_left: u32,
) -> Option<Ordering> {
    for _ in 0..count_a.min(count_b) {
        let ordering = next(a, b, dicts, depth_left)?;
        if ordering.is_ne() {
            return Some(ordering);
        }
    }
    Some(count_a.cmp(&count_b))
}

/// Sorts both dicts, to the bottom and once, and compares the results: sorting again at every level would cost a power of the depth.
fn sorted_dicts(a: &mut Reader<'_>, b: &mut Reader<'_>, depth_left: u32) -> Option<Ordering> {
    let (mut sorted_a, mut sorted_b) = (Vec::new(), Vec::new());
    normalise(a, &mut sorted_a, Twice::Kept, depth_left + 1).ok()?;
    normalise(b, &mut sorted_b, Twice::Kept, depth_left + 1).ok()?;
    next(
        &mut Reader::new(&sorted_a),
        &mut Reader::new(&sorted_b),
        Dicts::Sorted,
        depth_left + 1,
    )
}

/// Where a type stands among the types: its tag, but that a float is a number as an int is.
fn rank(tag: u8) -> u8 {
    if tag == tag::FLOAT { tag::INT } else { tag }
}

#[derive(Clone, Copy)]
enum Number {
    Int(bool, u128),
    Float(f64),
}

fn number(reader: &mut Reader<'_>, tag: u8) -> Option<Number> {
    if tag == tag::INT {
        reader
            .int()
            .ok()
            .map(|(negative, magnitude)| Number::Int(negative, magnitude))
    } else {
        reader.float().ok().map(Number::Float)
    }
}

impl Number {
    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(false, a), Self::Int(false, b)) => a.cmp(&b),
            (Self::Int(true, a), Self::Int(true, b)) => b.cmp(&a),
            (Self::Int(a, _), Self::Int(b, _)) => b.cmp(&a),
            (Self::Float(a), Self::Float(b)) => floats(a, b),
            (Self::Int(negative, magnitude), Self::Float(b)) => int_with_float(negative, magnitude, b),
            (Self::Float(a), Self::Int(negative, magnitude)) => int_with_float(negative, magnitude, a).reverse(),
        }
    }
}

fn floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Never equal: an int that is the same number is less.
fn int_with_float(negative: bool, magnitude: u128, float: f64) -> Ordering {
    /// 2^128: every integer is less, in magnitude.
    const BEYOND: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;
    if float.is_nan() || float >= BEYOND {
        return Ordering::Less;
    }
    if float <= -BEYOND {
        return Ordering::Greater;
    }
    if negative != (float < 0.0) {
        return if negative { Ordering::Less } else { Ordering::Greater };
    }
    let whole = float.abs().trunc();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative, below 2^128"
    )]
    let by_magnitude = magnitude
        .cmp(&(whole as u128))
        .then(0.0_f64.total_cmp(&(float.abs() - whole)));
    let by_value = if negative { by_magnitude.reverse() } else { by_magnitude };
    by_value.then(Ordering::Less)
}
