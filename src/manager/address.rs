//! What may be written where an address is wanted.

use crate::error::Result;
use byproxy_proto::address::Address;

/// What may be written where an address is wanted: an [`Address`], or text such as `unix:/run/app.sock`.
///
/// # Examples
///
/// ```
/// use byproxy::{Address, ToAddress};
///
/// let address = Address::unix("/run/app.sock").unwrap();
/// assert_eq!("unix:/run/app.sock".to_address()?, address);
/// assert_eq!(address.to_address()?, address);
/// # Ok::<(), byproxy::Error>(())
/// ```
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    /// [`Error::Address`](crate::Error::Address) if the text is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::ToAddress;
    ///
    /// assert!("/run/app.sock".to_address().is_err(), "the scheme is missing");
    /// ```
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
