//! What others offer for the same work.

pub(crate) mod python;
pub(crate) mod redis;
