//! The running server's admin API, asked from the command line: one request a connection.
//!
//! Owns the connection, whom the token is shown, and how long an answer may take. Refuses to show it to anybody but its
//! owner and root, who can read its file: on a TCP port anybody may listen while the server does not. Fails with
//! [`QueueError`].

use std::{io, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{Context, QueueError, owner};
use crate::{
    admin::{token::Token, wire::Problem},
    config::Endpoint,
};

/// For an answer to begin, beside the time that the server was asked to wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of an answer in JSON.
const MOST: usize = 64 << 20;

/// A server that was there.
pub(super) struct Client {
    endpoint: Endpoint,
    token: Token,
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The connection, and whose processes may be at its other end.
async fn connect(endpoint: &Endpoint) -> io::Result<(Box<dyn Stream>, io::Result<Vec<u32>>)> {
    Ok(match endpoint {
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            let owners = owner::of_tcp(&stream);
            (Box::new(stream), owners)
        }
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await?;
            let owners = owner::of_unix(&stream);
            (Box::new(stream), owners)
        }
    })
}

/// May the token of this user be shown to these?
fn may_see(owner: u32, peers: &[u32]) -> bool {
    const ROOT: u32 = 0;
    !peers.is_empty() && peers.iter().all(|peer| [owner, ROOT].contains(peer))
}

impl Client {
    /// None: no server is there, or it has no API; then the error says so.
    pub(super) async fn reach(context: &Context<'_>) -> Result<Result<Self, QueueError>, QueueError> {
        let config = context.config;
        let endpoint = match config.admin.endpoint(&config.data).map_err(QueueError::Endpoint)? {
            Some(endpoint) => endpoint,
            None => return Ok(Err(QueueError::Off)),
        };
        match connect(&endpoint).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                let start = match context.file {
                    Some(file) => format!("hermetic serve --config {}", file.display()),
                    None => "hermetic serve".into(),
                };
                return Ok(Err(QueueError::NotRunning { endpoint, start }));
            }
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => "; be the user that the server runs as",
                    _ => "",
                };
                return Err(QueueError::Connect { endpoint, error, hint });
            }
        }
        Ok(Ok(Self { token: Token::read(&config.data)?, endpoint }))
    }

    fn wrong(&self, problem: impl ToString) -> QueueError {
        QueueError::Answer { endpoint: self.endpoint.clone(), problem: problem.to_string() }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Response<Incoming>, QueueError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, self.token.authorization())
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.wrong(error))?;
        let connected = connect(&self.endpoint).await;
        let (stream, peers) =
            connected.map_err(|error| QueueError::Connect { endpoint: self.endpoint.clone(), error, hint: "" })?;
        let peers = peers.map_err(|error| QueueError::Unsure { endpoint: self.endpoint.clone(), error })?;
        if !may_see(self.token.owner(), &peers) {
            return Err(QueueError::Stranger { endpoint: self.endpoint.clone(), peers });
        }
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.wrong(error))?;
        // It ends with the answer; what goes wrong is said there.
        tokio::spawn(async move { drop(connection.await) });
        let answer = timeout(patience, sender.send_request(request)).await;
        let answer = answer.map_err(|_| self.wrong(format!("no answer within {} s", patience.as_secs())))?;
        let answer = answer.map_err(|error| self.wrong(error))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let problem: Result<Problem, _> = self.read(answer).await;
        Err(match problem {
            Err(_) => self.wrong(status),
            Ok(problem) if status == StatusCode::NOT_FOUND => QueueError::Gone(problem.error),
            Ok(problem) => QueueError::Refused(problem.error),
        })
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response<Incoming>) -> Result<T, QueueError> {
        let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|error| self.wrong(error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| self.wrong(error))
    }

    /// GET, and JSON comes back.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, QueueError> {
        self.read(self.ask("GET", path, Vec::new(), PATIENCE).await?).await
    }

    /// POST of JSON, and JSON comes back. The server may wait for `wait` seconds.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
        wait: u64,
    ) -> Result<T, QueueError> {
        let body = serde_json::to_vec(value).map_err(|error| self.wrong(error))?;
        self.read(self.ask("POST", path, body, PATIENCE + Duration::from_secs(wait)).await?).await
    }

    /// GET, and octets come back, piece by piece.
    pub(super) async fn octets(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        let mut body = self.ask("GET", path, Vec::new(), PATIENCE).await?.into_body();
        while let Some(frame) = body.frame().await {
            if let Some(piece) = frame.map_err(|error| self.wrong(error))?.data_ref() {
                each(piece)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_for_its_owner_and_root() {
        for (owner, peers, expected) in [
            (1000, &[1000][..], true),
            (1000, &[0], true),
            (1000, &[1000, 0], true),
            (1000, &[1001], false),
            (1000, &[1000, 1001], false),
            (0, &[1000], false),
            (1000, &[], false),
        ] {
            assert_eq!(may_see(owner, peers), expected, "{owner} {peers:?}");
        }
    }
}
