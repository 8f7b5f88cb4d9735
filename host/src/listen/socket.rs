//! Listening sockets: TCP and Unix.
//!
//! Owns binding, and accepting connections as [`Socket`]s. Refuses to know who may connect. Fails with [`BindError`],
//! the operator's to mend.

use std::{io, net::SocketAddr, path::Path};

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::{
    config::{Kind, Listener},
    transport::{
        Socket,
        unix::{self, SocketFile, UnixError},
    },
};

/// Connections that wait in the kernel for us.
const BACKLOG: u32 = 1024;
/// Everybody on the machine may connect to a Unix socket, as everybody may connect to a loopback port. The folder that
/// it is in says otherwise.
const SOCKET_MODE: u32 = 0o666;

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BindError {
    #[error("listener {0:?}: not an address; write \"127.0.0.1:2525\", \"[::1]:2525\" or \"unix:/path/to/socket\"")]
    Address(String),
    #[error("listener {0:?}: LMTP must not be served on port 25 (RFC 2033 section 5)")]
    LmtpOnPort25(String),
    #[error("listener {address:?}: {error}")]
    Io { address: String, error: io::Error },
    #[error("listener {0:?}: another process listens there")]
    Taken(String),
    #[error("listener {0:?}: the file exists and is no socket")]
    NoSocket(String),
}

/// A socket that listens.
#[derive(Debug)]
pub enum Bound {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// A Unix socket; its file is removed when it is dropped.
    Unix(UnixListener, SocketFile),
}

impl Bound {
    /// Listens where the configuration says.
    pub fn open(listener: &Listener) -> Result<Self, BindError> {
        let address = &listener.address;
        let failed = |error| BindError::Io { address: address.clone(), error };
        if let Some(path) = address.strip_prefix("unix:") {
            let (socket, file) = unix::listen(Path::new(path), SOCKET_MODE).map_err(|error| match error {
                UnixError::Taken => BindError::Taken(address.clone()),
                UnixError::NoSocket => BindError::NoSocket(address.clone()),
                UnixError::Io(error) => failed(error),
            })?;
            return Ok(Self::Unix(socket, file));
        }
        let at: SocketAddr = address.parse().map_err(|_| BindError::Address(address.clone()))?;
        if listener.kind == Kind::Lmtp && at.port() == 25 {
            return Err(BindError::LmtpOnPort25(address.clone()));
        }
        let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
        // A restarted server must not wait for the last one's connections to be forgotten.
        socket.set_reuseaddr(true).map_err(failed)?;
        if at.is_ipv6() {
            // `[::]` and `0.0.0.0` may both be listened on, as two listeners.
            rustix::net::sockopt::set_ipv6_v6only(&socket, true).map_err(|error| failed(error.into()))?;
        }
        socket.bind(at).map_err(failed)?;
        Ok(Self::Tcp(socket.listen(BACKLOG).map_err(failed)?))
    }

    /// Where it really listens: port 0 has become a number.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string()),
            Self::Unix(_, file) => format!("unix:{}", file.path().display()),
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, _) = listener.accept().await?;
                // Replies are written whole, so waiting to fill a segment only costs time.
                let _ = tcp.set_nodelay(true);
                Ok(Socket::Tcp(tcp))
            }
            Self::Unix(listener, _) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs;

    use super::*;

    fn listener(kind: &str, address: &str) -> Listener {
        toml::from_str(&format!("kind = {kind:?}\naddress = {address:?}")).unwrap()
    }

    #[tokio::test]
    async fn sockets() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| format!("unix:{}/{name}", folder.path().display());
        fs::write(folder.path().join("file"), "").unwrap();
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("stale")).unwrap());
        let living = Bound::open(&listener("lmtp", &path("living"))).unwrap();
        for (kind, address, expected) in [
            ("lmtp", "127.0.0.1:25".into(), "must not be served on port 25"),
            ("mx", "localhost".into(), "not an address"),
            ("mx", "127.0.0.1".into(), "not an address"),
            ("mx", "192.0.2.1:2525".into(), "192.0.2.1:2525"),
            ("mx", "127.0.0.1:0".into(), "bound 127.0.0.1:"),
            ("mx", "[::1]:0".into(), "bound [::1]:"),
            ("lmtp", path("new"), "bound unix:"),
            ("lmtp", path("stale"), "bound unix:"),
            ("lmtp", path("living"), "another process"),
            ("lmtp", path("file"), "is no socket"),
            ("lmtp", path("no/folder"), "No such file"),
        ] {
            let said = match Bound::open(&listener(kind, &address)) {
                Ok(bound) => format!("bound {}", bound.address()),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(expected), "{kind} {address}: expected {expected:?}, was {said:?}");
        }
        assert!(folder.path().join("living").exists(), "a living server's socket stays");
        drop(living);
        assert!(!folder.path().join("living").exists(), "ours goes with us");
    }
}
