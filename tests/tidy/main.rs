//! Conventions that a machine can hold.
//!
//! These tests read the project's own files and compile nothing of it but the tables they compare with. Each message names the file,
//! the rule and the way out. A rule that is wrong is changed here, in the open, not worked around.

mod costs;
mod examples;
mod facts;
mod layers;
mod nouns;
mod promises;
mod source;
mod specification;
mod text;
