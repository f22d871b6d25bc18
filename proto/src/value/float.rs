//! `f32` inside the encoding's only float, the `f64`.
//!
//! Every `f32` is widened and narrowed again without a change of a single bit, NaN payloads included: a plain cast would
//! make a signalling NaN quiet.

/// The bits by which an `f64` mantissa is longer.
const MANTISSA_GAP: u32 = 29;
const MANTISSA_32: u32 = (1 << 23) - 1;
const QUIET_32: u32 = 1 << 22;

/// `value` as an `f64`, exactly.
pub(crate) fn widen(value: f32) -> f64 {
    if !value.is_nan() {
        return value.into();
    }
    let bits = value.to_bits();
    let sign = u64::from(bits >> 31) << 63;
    f64::from_bits(sign | 0x7ff0_0000_0000_0000 | (u64::from(bits & MANTISSA_32) << MANTISSA_GAP))
}

/// `value` as an `f32`: exactly what [`widen`] was given; any other number is rounded.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding is what reading an f64 as f32 means"
)]
pub(crate) fn narrow(value: f64) -> f32 {
    if !value.is_nan() {
        return value as f32;
    }
    let bits = value.to_bits();
    let sign = ((bits >> 63) as u32) << 31;
    let payload = (bits >> MANTISSA_GAP) as u32 & MANTISSA_32;
    let payload = if payload == 0 { QUIET_32 } else { payload };
    f32::from_bits(sign | 0x7f80_0000 | payload)
}

/// The integer as an `f64` with a mantissa of `mantissa_bits`, if it is one exactly.
#[expect(clippy::cast_precision_loss, reason = "the bits have just been counted")]
pub(crate) fn exactly(negative: bool, magnitude: u128, mantissa_bits: u32) -> Option<f64> {
    let significant = 128_u32.saturating_sub(magnitude.leading_zeros() + magnitude.trailing_zeros());
    if magnitude != 0 && significant > mantissa_bits {
        return None;
    }
    let value = magnitude as f64;
    Some(if negative { -value } else { value })
}
