//! Printing an object, up to a limit.

use super::object::Contents;
use std::fmt::{self, Write};

/// What stands for the rest of a text that is too long.
const MORE: &str = "…";

/// The contents as Python would print them, at most so many bytes long.
pub(super) fn text(contents: &Contents, bytes_max: usize) -> String {
    let mut text = Shortened {
        text: String::new(),
        bytes_max: bytes_max.max(MORE.len()),
    };
    if contents.show(&mut text).is_err() {
        let mut end = text.bytes_max - MORE.len();
        while !text.text.is_char_boundary(end.min(text.text.len())) {
            end -= 1;
        }
        text.text.truncate(end);
        text.text.push_str(MORE);
    }
    text.text
}

struct Shortened {
    text: String,
    bytes_max: usize,
}

impl Write for Shortened {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let left = self.bytes_max - self.text.len();
        if part.len() <= left {
            self.text.push_str(part);
            return Ok(());
        }
        let mut end = left;
        while !part.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(&part[..end]);
        Err(fmt::Error)
    }
}
