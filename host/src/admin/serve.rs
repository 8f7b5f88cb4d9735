//! The socket and its connections: one request each, few at a time.
//!
//! Owns who may connect, and who is said to have. Refuses to listen on the network, and to know what is asked. Fails
//! with [`AdminError`] at the start; later whatever goes wrong is one connection's.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::service::service_fn;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
};

use super::{
    desk::Desk,
    routes::{self, Shared},
    token::{Token, TokenError},
};
use crate::{
    config::Endpoint,
    files,
    observe::http::{each_connection, one_request},
    transport::unix::{self, SocketFile, UnixError},
};

/// Connections at a time; further ones wait in the kernel.
const CONNECTIONS: usize = 16;
/// For a whole connection: a large message to a slow reader.
const CONNECTION: Duration = Duration::from_secs(600);
/// Octets of the request's head.
const BUFFER: usize = 16 * 1024;
/// The owner alone may connect.
const SOCKET_MODE: u32 = 0o600;

/// Why it is not served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The token can not be had.
    #[error("admin: {0}")]
    Token(#[from] TokenError),
    /// The socket can not be opened.
    #[error("admin.listen: cannot listen on {endpoint}: {error}")]
    Bind {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        error: UnixError,
    },
    /// The folder of the token and, by default, the socket.
    #[error("the folder {path} can not be made: {error}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The open socket.
pub struct Admin {
    listener: Listener,
    endpoint: Endpoint,
    shared: Shared,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, #[allow(dead_code, reason = "removes the socket's name when it goes")] SocketFile),
}

impl Admin {
    /// Makes the token, if there is none below `data`, and opens the socket.
    pub async fn open(endpoint: &Endpoint, data: &Path, desk: Desk) -> Result<Self, AdminError> {
        let folder = data.join("admin");
        files::make_private_folder(&folder)
            .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)))
            .map_err(|error| AdminError::Folder { path: folder, error })?;
        let token = Token::read_or_make(data)?;
        let failed = |error| AdminError::Bind { endpoint: endpoint.clone(), error };
        let (listener, endpoint) = match endpoint {
            Endpoint::Tcp(address) if !address.ip().to_canonical().is_loopback() => {
                let error = io::Error::new(io::ErrorKind::PermissionDenied, "not a loopback address");
                return Err(failed(error.into()));
            }
            Endpoint::Tcp(address) => {
                let tcp = TcpListener::bind(address).await.map_err(|error| failed(error.into()))?;
                let address = tcp.local_addr().unwrap_or(*address);
                (Listener::Tcp(tcp), Endpoint::Tcp(address))
            }
            Endpoint::Unix(path) => {
                let (socket, file) = unix::listen(path, SOCKET_MODE).map_err(failed)?;
                (Listener::Unix(socket, file), endpoint.clone())
            }
        };
        Ok(Self { listener, endpoint, shared: Arc::new((desk, token)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves until the future is dropped.
    pub async fn serve(self) {
        match &self.listener {
            Listener::Tcp(tcp) => {
                let serve = |(stream, from)| connection(stream, self.shared.clone(), network(from));
                each_connection(CONNECTIONS, || tcp.accept(), serve).await;
            }
            Listener::Unix(unix, _) => {
                let serve = |(stream, _): (UnixStream, _)| {
                    let peer = stream.peer_cred().map_or_else(|_| "local".into(), |peer| format!("uid {}", peer.uid()));
                    connection(stream, self.shared.clone(), peer)
                };
                each_connection(CONNECTIONS, || unix.accept(), serve).await;
            }
        }
    }
}

/// The port says nothing about who it was.
fn network(from: SocketAddr) -> String {
    format!("from {}", from.ip().to_canonical())
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Shared, peer: String) {
    let answer = service_fn(move |request| {
        let (shared, peer) = (shared.clone(), peer.clone());
        async move { Ok::<_, Infallible>(routes::answer(request, &shared.0, &shared.1, &peer).await) }
    });
    one_request(stream, answer, BUFFER, CONNECTION).await;
}
