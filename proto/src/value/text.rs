//! [`Value`] as text, the way Python would show it.
//!
//! It is for reading: `{'number': 'G101', 'seats': [1, 2]}`, `b'\x00'`, `True`, `nan`. It is not an encoding.

use std::fmt::{self, Write};

use super::{Limits, Raw, Value};

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Some(inner) => write!(f, "Some({inner})"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => float(f, *value),
            Self::Str(value) => quoted(f, value),
            Self::Bytes(value) => {
                f.write_str("b'")?;
                value.iter().try_for_each(|byte| byte_escaped(f, *byte))?;
                f.write_char('\'')
            }
            Self::List(values) => {
                f.write_char('[')?;
                separated(f, values, |f, value| write!(f, "{value}"))?;
                f.write_char(']')
            }
            Self::Dict(pairs) => {
                f.write_char('{')?;
                separated(f, pairs, |f, (key, value)| write!(f, "{key}: {value}"))?;
                f.write_char('}')
            }
            Self::Proxy(token) => write!(f, "{token}"),
        }
    }
}

/// The value at the front of `bytes` in a few words, for a message: however long it is, this is short.
///
/// ```
/// use byproxy_proto::value::{self, Limits};
///
/// let bytes = value::to_vec("G101", &Limits::default())?;
/// assert_eq!(value::summary(&bytes), "'G101'");
/// let bytes = value::to_vec(&"x".repeat(1 << 20), &Limits::default())?;
/// assert!(value::summary(&bytes).len() < 200);
/// # Ok::<(), byproxy_proto::value::EncodeError>(())
/// ```
///
/// It is checked before it is decoded, because it is asked for when something was wrong already: were decoding to fail, it
/// would ask for the same again at every level of its own error.
pub fn summary(bytes: &[u8]) -> String {
    const BYTES_MAX: usize = 1024;
    const CHARS_MAX: usize = 48;
    const LIMITS: Limits = Limits {
        bytes: BYTES_MAX,
        depth: 8,
        memory: 64 << 10,
    };
    let front = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    let Ok((raw, _)) = Raw::take(front, &LIMITS) else {
        return "…".to_owned();
    };
    let mut text = raw.to_string();
    if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    show: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        show(f, item)?;
    }
    Ok(())
}

fn float(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    if value.is_nan() {
        return f.write_str("nan");
    }
    // Rust shows every float so that it reads back, as Python does, and differs in the exponent only: 1e16 is 1e+16.
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !exponent.starts_with('-') => write!(f, "{mantissa}e+{exponent}"),
        _ => f.write_str(&text),
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    f.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            c if c == quote => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "{}", c.escape_unicode())?,
            c => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}

fn byte_escaped(f: &mut fmt::Formatter<'_>, byte: u8) -> fmt::Result {
    match byte {
        b'\n' => f.write_str("\\n"),
        b'\r' => f.write_str("\\r"),
        b'\t' => f.write_str("\\t"),
        b'\\' | b'\'' => write!(f, "\\{}", char::from(byte)),
        b' '..=b'~' => f.write_char(char::from(byte)),
        _ => write!(f, "\\x{byte:02x}"),
    }
}
