//! One HTTP request to an address that somebody else has chosen.
//!
//! Owns the connection, TLS with the name checked against the system's roots, HTTP/1.1 on it, and every bound on what
//! comes back. Refuses to resolve names, to follow redirects and to know what is sent. Fails with [`HttpError`]. Who wants
//! it to end in time drops the future: nothing goes on behind it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Request,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// For one address; then comes the next.
const CONNECT: Duration = Duration::from_secs(5);
/// Octets of the head of a response.
const HEAD: usize = 64 << 10;
/// Fields of it.
const FIELDS: usize = 100;
/// Octets of the body of a response.
pub const BODY: usize = 1 << 20;
/// What is written at a time, so that a large body is never copied as a whole.
const PIECE: usize = 64 << 10;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No address of it takes a connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// Its certificate is not one for its name, or it speaks no TLS that is good enough.
    #[error("no TLS: {0}")]
    Tls(io::Error),
    /// The machine knows nobody who could vouch for a certificate.
    #[error("this machine has no root certificates: {0}")]
    Roots(String),
    /// More than is taken: [`BODY`], or a head too long.
    #[error("the response is too large")]
    TooLarge,
    /// The connection broke, or what came back is no HTTP.
    #[error("no response: {0}")]
    Broken(String),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// `200`.
    pub status: u16,
    /// In their order. Octets that are no UTF-8 became U+FFFD.
    pub fields: Vec<(String, String)>,
    /// At most [`BODY`] octets.
    pub body: Vec<u8>,
}

/// A body in pieces, none of them copied.
#[derive(Debug, Default)]
pub struct Pieces {
    left: VecDeque<Bytes>,
    octets: u64,
}

impl Pieces {
    /// One behind the other.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let mut pieces = Self::default();
        for mut part in parts {
            pieces.octets += part.len() as u64;
            while !part.is_empty() {
                pieces.left.push_back(part.split_to(part.len().min(PIECE)));
            }
        }
        pieces
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.left.pop_front();
        self.octets -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.octets)
    }
}

/// Sends requests, each on a connection of its own. A clone is the same one.
#[derive(Clone, Default)]
pub struct Client {
    /// The system's roots, read for the first request that needs them.
    tls: Arc<OnceLock<Result<TlsConnector, String>>>,
    /// Who answers instead of the network.
    told: Option<Answers>,
}

/// Responses that were made up, for a request with TLS or without.
pub type Answers = Arc<dyn Fn(bool, &Request<Pieces>) -> Result<Response, HttpError> + Send + Sync>;

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// With the roots of the system, which are read when they are needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With these roots instead.
    #[must_use]
    pub fn trusting(roots: RootCertStore) -> Self {
        let tls = OnceLock::new();
        let _ = tls.set(connector(roots));
        Self { tls: Arc::new(tls), told: None }
    }

    /// With answers that were made up, to try things out without a network.
    #[must_use]
    pub fn told(answers: Answers) -> Self {
        Self { told: Some(answers), ..Self::default() }
    }

    /// Sends to the first of these addresses that takes a connection; with `name`, in TLS with a server of this name.
    /// `request` is as it goes over the connection: its target a path, its Host given. The length of the body is added.
    ///
    /// # Errors
    /// [`HttpError`]. The request may have arrived all the same.
    pub async fn send(
        &self,
        addresses: &[SocketAddr],
        name: Option<ServerName<'static>>,
        request: Request<Pieces>,
    ) -> Result<Response, HttpError> {
        if let Some(told) = &self.told {
            return told(name.is_some(), &request);
        }
        let Some(name) = name else {
            return exchange(connect(addresses).await?, request).await;
        };
        let connector = self.tls.get_or_init(|| connector(system_roots()?));
        let connector = connector.as_ref().map_err(|problem| HttpError::Roots(problem.clone()))?;
        let stream = connector.connect(name, connect(addresses).await?).await.map_err(HttpError::Tls)?;
        exchange(stream, request).await
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
    Err(if errors.is_empty() { "install ca-certificates".into() } else { errors.join("; ") })
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, String> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, HttpError> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Best effort: it only makes small requests faster.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(HttpError::Connect(last))
}

async fn exchange<S>(stream: S, request: Request<Pieces>) -> Result<Response, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_headers(FIELDS).max_buf_size(HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        read(response).await
    };
    let (mut answered, mut connection) = (pin!(answered), Box::pin(connection));
    let ended = tokio::select! {
        response = &mut answered => return response,
        ended = &mut connection => ended,
    };
    // The connection moved the octets. Now that it has ended it has to go, which ends the wait for more; what it has brought is
    // still to be read.
    drop(connection);
    match (answered.await, ended) {
        (Err(HttpError::Broken(_)), Err(error)) => Err(broken(&error)),
        (response, _) => response,
    }
}

async fn read(response: hyper::Response<Incoming>) -> Result<Response, HttpError> {
    let (head, body) = response.into_parts();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let fields = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect();
    let body = Limited::new(body, BODY).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return HttpError::TooLarge;
        }
        error.downcast_ref::<hyper::Error>().map_or_else(|| HttpError::Broken(error.to_string()), broken)
    })?;
    Ok(Response { status: head.status.as_u16(), fields, body: body.to_bytes().to_vec() })
}

/// hyper's word, with its cause.
fn broken(error: &hyper::Error) -> HttpError {
    if error.is_parse_too_large() {
        return HttpError::TooLarge;
    }
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    HttpError::Broken(format!("{error}{cause}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
