//! Proxies: typed handles to shared objects, one file per noun.
//!
//! A proxy is a reference to an object and the types its contents are read as; nothing of the object is kept on this side, so every
//! method but `clone` asks the server. `proxy!` declares what all of them share; `calls!` (in `call.rs`) declares a method and the same
//! call as a value from one row of a table.

mod batch;
mod call;
mod dict;
mod element;
mod list;
mod lock;
mod queue;

pub use batch::Batch;
pub(crate) use batch::Courier;
pub use call::Call;
pub use dict::{DictCalls, DictIter, DictProxy};
pub use element::{Element, Integer, IntoElement};
pub use list::{ListCalls, ListIter, ListProxy};
pub use lock::{LockCalls, LockGuard, LockProxy};
pub use queue::{
    Consumer, Delivery, Departed, GetError, GetTimeoutError, PutError, PutManyError, PutTimeoutError, QueueAudit,
    QueueCalls, QueueProxy, TryGetError, TryPutError,
};

use crate::backend::thread_number;
use crate::codec;
use crate::error::Error;
use crate::handle::Handle;
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::{Operation, Wait};
use std::fmt;
use std::time::Duration;

/// How much of an object `Display` shows, in bytes.
const SHOWN_BYTES_MAX: u64 = 64 << 10;

/// Whether the server refused because a stored value is of another type. Reading that value then brings it back.
fn is_wrong_type(error: &Error) -> bool {
    matches!(error, Error::Fault(fault) if fault.code == FaultCode::WrongType)
}

/// Declares a proxy type with everything that does not depend on its noun.
macro_rules! proxy {
    ($(#[$meta:meta])* $name:ident [$($type:ident),*] $kind:ident) => {
        $(#[$meta])*
        pub struct $name<$($type),*> {
            handle: $crate::handle::Handle,
            /// A proxy holds no value of its types: it is `Send` and `Sync` whatever they are.
            types: std::marker::PhantomData<fn($($type),*) -> ($($type,)*)>,
        }

        impl<$($type),*> $name<$($type),*> {
            pub(crate) const KIND: byproxy_proto::value::Kind = byproxy_proto::value::Kind::$kind;

            pub(crate) fn from_handle(handle: $crate::handle::Handle) -> Self {
                Self { handle, types: std::marker::PhantomData }
            }
        }

        impl<$($type),*> Clone for $name<$($type),*> {
            fn clone(&self) -> Self {
                Self::from_handle(self.handle.apart())
            }
        }

        impl<$($type),*> PartialEq for $name<$($type),*> {
            fn eq(&self, other: &Self) -> bool {
                self.handle == other.handle
            }
        }

        impl<$($type),*> Eq for $name<$($type),*> {}

        impl<$($type),*> std::hash::Hash for $name<$($type),*> {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.handle.hash(state);
            }
        }

        impl<$($type),*> std::fmt::Debug for $name<$($type),*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.handle)
            }
        }

        impl<$($type),*> std::fmt::Display for $name<$($type),*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::proxy::show(&self.handle, f)
            }
        }

        impl<$($type),*> serde::Serialize for $name<$($type),*> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::references::serialize(&self.handle, serializer)
            }
        }

        impl<'de, $($type),*> serde::Deserialize<'de> for $name<$($type),*> {
            fn deserialize<De: serde::Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
                $crate::references::deserialize(Self::KIND, deserializer).map(Self::from_handle)
            }
        }
    };
}

pub(crate) use call::list;
pub(crate) use element::{Forms, PairForms};
pub(crate) use proxy;

/// Prints what the server holds; never fails, because a message about something else may be on its way.
fn show(handle: &Handle, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match codec::call(
        handle,
        Operation::Show,
        Wait::TRY,
        &(SHOWN_BYTES_MAX,),
        codec::value::<String>,
    ) {
        Ok(text) => f.write_str(&text),
        Err(_) => f.write_str("<gone>"),
    }
}

/// Pauses between attempts at the same change: longer with each, and different for each thread.
#[derive(Debug, Default)]
struct BackOff(u32);

impl BackOff {
    fn pause(&mut self) {
        self.0 = self.0.saturating_add(1);
        if self.0 < 4 {
            return std::thread::yield_now();
        }
        let micros = 1_u64 << self.0.min(10);
        let spread = (thread_number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) % micros;
        std::thread::sleep(Duration::from_micros(micros / 2 + spread / 2));
    }
}
