//! What may be written where an address is wanted.

use crate::error::Result;
use byproxy_proto::address::Address;

/// What may be written where an address is wanted: an [`Address`], or text such as `unix:/run/app.sock`.
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    /// [`Error::Address`](crate::Error::Address) if the text is none.
    fn to_address(&self) -> Result<Address>;
}

impl ToAddress for Address {
    fn to_address(&self) -> Result<Address> {
        Ok(self.clone())
    }
}

impl ToAddress for str {
    fn to_address(&self) -> Result<Address> {
        Ok(self.parse::<Address>()?)
    }
}

impl ToAddress for String {
    fn to_address(&self) -> Result<Address> {
        self.as_str().to_address()
    }
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> Result<Address> {
        (**self).to_address()
    }
}
