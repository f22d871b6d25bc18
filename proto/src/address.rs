//! Addresses: where a server listens, as people write them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path of a unix socket that the kernel takes, in bytes (`sun_path` less its terminating zero).
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// Where a server listens: `unix:/run/app.sock` or `tcp:host:port`.
///
/// ```
/// use byproxy_proto::address::Address;
///
/// let address: Address = "unix:/run/app.sock".parse()?;
/// assert_eq!(address, Address::Unix("/run/app.sock".into()));
/// assert_eq!(address.to_string(), "unix:/run/app.sock");
/// # Ok::<(), byproxy_proto::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A host and port. It parses, and no transport for it exists yet.
    Tcp {
        /// A host name or address; an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// The text is not an address.
///
/// ```
/// use byproxy_proto::address::{Address, AddressError};
///
/// let error = "/run/app.sock".parse::<Address>().unwrap_err();
/// assert_eq!(error, AddressError::Scheme("/run/app.sock".to_owned()));
/// assert!(error.to_string().contains("write `unix:PATH`"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no scheme in front.
    #[error("`{0}` is not an address: write `unix:PATH`, such as unix:/run/app.sock")]
    Scheme(String),
    /// The path is empty.
    #[error("`unix:` needs a path after it, such as unix:/run/app.sock")]
    NoPath,
    /// The path is longer than the kernel takes.
    #[error(
        "the socket path has {bytes} bytes and the system takes at most {UNIX_PATH_BYTES_MAX}: choose a shorter one"
    )]
    PathTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The path has a zero byte in it.
    #[error("the socket path contains a zero byte")]
    ZeroByte,
    /// The host or the port is missing or wrong.
    #[error("`tcp:` needs a host and a port from 1 to 65535 after it, such as tcp:127.0.0.1:7000 or tcp:[::1]:7000")]
    HostPort,
}

impl Address {
    /// The address of a socket in the file system.
    ///
    /// # Errors
    /// [`AddressError`] if the path is empty, too long for the system, or has a zero byte in it.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy_proto::address::{Address, AddressError};
    ///
    /// assert_eq!(Address::unix("/run/app.sock")?.to_string(), "unix:/run/app.sock");
    /// assert_eq!(Address::unix(""), Err(AddressError::NoPath));
    /// # Ok::<(), AddressError>(())
    /// ```
    pub fn unix(path: impl AsRef<Path>) -> Result<Self, AddressError> {
        use std::os::unix::ffi::OsStrExt as _;
        let path = path.as_ref();
        let bytes = path.as_os_str().as_bytes();
        match bytes.len() {
            0 => Err(AddressError::NoPath),
            length if length > UNIX_PATH_BYTES_MAX => Err(AddressError::PathTooLong { bytes: length }),
            _ if bytes.contains(&0) => Err(AddressError::ZeroByte),
            _ => Ok(Self::Unix(path.to_owned())),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path);
        }
        let Some(rest) = text.strip_prefix("tcp:") else {
            return Err(AddressError::Scheme(text.to_owned()));
        };
        let (host, port) = rest.rsplit_once(':').ok_or(AddressError::HostPort)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or(AddressError::HostPort)?;
        if host.is_empty() {
            return Err(AddressError::HostPort);
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in [
            "unix:/run/app.sock",
            "unix:relative.sock",
            "tcp:localhost:7000",
            "tcp:[::1]:7000",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        assert!(matches!(
            "/run/app.sock".parse::<Address>(),
            Err(AddressError::Scheme(_))
        ));
        assert_eq!("unix:".parse::<Address>(), Err(AddressError::NoPath));
        let long = format!("unix:{}", "x".repeat(108));
        assert_eq!(long.parse::<Address>(), Err(AddressError::PathTooLong { bytes: 108 }));
        for text in ["tcp:", "tcp:host", "tcp:host:0", "tcp::1", "tcp:host:70000"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::HostPort), "{text}");
        }
    }
}
