//! Values and their codec, from outside: every shape serde knows, every malformed byte, the order, the golden vectors.
#![expect(
    clippy::option_option,
    clippy::zero_sized_map_values,
    reason = "the odd shapes are what is tested"
)]

mod any;
mod bytes;
mod convert;
mod errors;
mod keys;
mod limits;
mod order;
mod shapes;
mod special;
mod vectors;
