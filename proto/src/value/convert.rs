//! Rust types into [`Value`] and back.

use std::collections::{BTreeMap, HashMap};

use super::error::DecodeError;
use super::{EncodeError, Int, Limits, Token, Value, from_slice, to_vec};

impl Value {
    /// Any type as a value.
    ///
    /// ```
    /// use byproxy_proto::value::Value;
    ///
    /// let value = Value::of(&(1, Some("two")))?;
    /// assert_eq!(value, Value::List(vec![Value::from(1), Value::from("two")]));
    /// assert_eq!(value.to::<(u8, String)>().unwrap(), (1, "two".to_owned()));
    /// # Ok::<(), byproxy_proto::value::EncodeError>(())
    /// ```
    pub fn of<T: serde::Serialize + ?Sized>(value: &T) -> Result<Value, EncodeError> {
        let bytes = to_vec(value, &Limits::DEFAULT)?;
        from_slice(&bytes, &Limits::DEFAULT).map_err(|error| EncodeError::Custom(error.to_string()))
    }

    /// This value as any type that owns what it holds.
    ///
    /// ```
    /// use byproxy_proto::value::Value;
    ///
    /// let trains = Value::from([("G1", Value::from(7))]);
    /// assert!(trains.to::<Vec<(String, u8)>>().is_err(), "a dict is no list");
    /// assert_eq!(trains.to::<std::collections::HashMap<String, u8>>()?["G1"], 7);
    /// # Ok::<(), byproxy_proto::value::DecodeError>(())
    /// ```
    pub fn to<T: serde::de::DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let refused = |error: EncodeError| <DecodeError as serde::de::Error>::custom(error);
        let bytes = to_vec(self, &Limits::DEFAULT).map_err(refused)?;
        from_slice(&bytes, &Limits::DEFAULT)
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Self::Float(super::float::widen(value))
    }
}

impl From<char> for Value {
    fn from(value: char) -> Self {
        Self::Str(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl From<Int> for Value {
    fn from(value: Int) -> Self {
        Self::Int(value)
    }
}

impl From<Token> for Value {
    fn from(value: Token) -> Self {
        Self::Proxy(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, |value| Self::some(value.into()))
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<Value>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Value {
    fn from(pairs: [(K, V); N]) -> Self {
        Self::Dict(
            pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl<K: Into<Value>, V: Into<Value>> From<BTreeMap<K, V>> for Value {
    fn from(map: BTreeMap<K, V>) -> Self {
        Self::Dict(map.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl<K: Into<Value>, V: Into<Value>, S> From<HashMap<K, V, S>> for Value {
    fn from(map: HashMap<K, V, S>) -> Self {
        Self::Dict(map.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// A value that is of another type comes back as it was.
macro_rules! extract {
    ($($pattern:pat => $taken:expr, $target:ty;)*) => {
        $(impl TryFrom<Value> for $target {
            type Error = Value;

            fn try_from(value: Value) -> Result<Self, Value> {
                match value {
                    $pattern => Ok($taken),
                    other => Err(other),
                }
            }
        })*
    };
}

extract! {
    Value::Bool(value) => value, bool;
    Value::Float(value) => value, f64;
    Value::Str(value) => value, String;
    Value::Bytes(value) => value, Vec<u8>;
    Value::List(values) => values, Vec<Value>;
    Value::Dict(pairs) => pairs, Vec<(Value, Value)>;
    Value::Proxy(token) => token, Token;
    Value::Int(value) => value, Int;
}

macro_rules! integers {
    ($($integer:ty)*) => {
        $(impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Int(value.into())
            }
        }

        impl TryFrom<Value> for $integer {
            type Error = Value;

            fn try_from(value: Value) -> Result<Self, Value> {
                match &value {
                    Value::Int(int) => (*int).try_into().map_err(|_| value),
                    _ => Err(value),
                }
            }
        })*
    };
}

integers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);
