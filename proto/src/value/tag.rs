//! The first byte of every encoded value.

pub(crate) const NONE: u8 = 0;
pub(crate) const SOME: u8 = 1;
pub(crate) const BOOL: u8 = 2;
pub(crate) const INT: u8 = 3;
pub(crate) const FLOAT: u8 = 4;
pub(crate) const STR: u8 = 5;
pub(crate) const BYTES: u8 = 6;
pub(crate) const LIST: u8 = 7;
pub(crate) const DICT: u8 = 8;
pub(crate) const PROXY: u8 = 9;

/// What messages call a value that begins with `tag`.
pub(crate) const fn name(tag: u8) -> &'static str {
    match tag {
        NONE => "None",
        SOME => "Some",
        BOOL => "bool",
        INT => "int",
        FLOAT => "float",
        STR => "str",
        BYTES => "bytes",
        LIST => "list",
        DICT => "dict",
        PROXY => "proxy",
        _ => "a reserved tag",
    }
}
