//! `GET /metrics`, `GET /health` and the playground's files for the machine itself.
//!
//! Owns a small HTTP server on a loopback address: one request a connection, few connections, little time. Refuses to
//! listen anywhere else and to know what the numbers mean. Fails by [`HttpError`] at the start; later every problem is
//! one connection's.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    error::Error,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};

use super::{Metrics, playground};

/// Connections at a time; further ones wait in the kernel.
const CONNECTIONS: usize = 16;
/// Until a connection is accepted after one that could not be.
const AGAIN: Duration = Duration::from_millis(100);
/// For the request's head.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection.
const CONNECTION: Duration = Duration::from_secs(10);
/// Octets of the request's head; hyper's least.
const BUFFER: usize = 8192;

/// Why it cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Numbers about other people's mail are not for the network.
    #[error(
        "observe.http: {0} is not a loopback address; use 127.0.0.1 or [::1] and a proxy if it must be seen elsewhere"
    )]
    NotLoopback(SocketAddr),
    /// The socket cannot be opened.
    #[error("observe.http: cannot listen on {address}: {error}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

/// Is the server well? Each part reports for itself; one that is failing makes the whole unwell.
#[derive(Debug)]
pub struct Health {
    since: Instant,
    failing: Mutex<BTreeMap<&'static str, String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { since: Instant::now(), failing: Mutex::default() }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    status: &'a str,
    version: &'a str,
    uptime_seconds: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    failing: &'a BTreeMap<&'static str, String>,
}

impl Health {
    /// This part (store, engine, drain, …) cannot do its work.
    pub fn failing(&self, part: &'static str, reason: impl Into<String>) {
        self.failing.lock().insert(part, reason.into());
    }

    /// This part is well (again).
    pub fn well(&self, part: &'static str) {
        self.failing.lock().remove(part);
    }

    /// 200 or 503, and the report as JSON.
    fn report(&self) -> (StatusCode, String) {
        let failing = self.failing.lock();
        let (code, status) = match failing.is_empty() {
            true => (StatusCode::OK, "ok"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
        };
        let uptime_seconds = self.since.elapsed().as_secs();
        let report = Report { status, version: env!("CARGO_PKG_VERSION"), uptime_seconds, failing: &failing };
        // Strings and numbers only: there is nothing in it that could not be written.
        (code, serde_json::to_string(&report).unwrap_or_default())
    }
}

/// The open socket.
#[derive(Debug)]
pub struct Http(TcpListener);

impl Http {
    /// Opens the socket.
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        if !address.ip().is_loopback() {
            return Err(HttpError::NotLoopback(address));
        }
        TcpListener::bind(address).await.map(Self).map_err(|error| HttpError::Bind { address, error })
    }

    /// Where it listens, if the port was left to the system.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, metrics: Arc<Metrics>, health: Arc<Health>) {
        let serve = |(stream, _)| {
            let (metrics, health) = (Arc::clone(&metrics), Arc::clone(&health));
            let answer = service_fn(move |request| {
                let response = answer(&request, &metrics, &health);
                async { Ok::<_, Infallible>(response) }
            });
            one_request(stream, answer, BUFFER, CONNECTION)
        };
        each_connection(CONNECTIONS, || self.0.accept(), serve).await;
    }
}

/// Serves what is accepted, so many connections at a time (further ones wait in the kernel), until the future is
/// dropped.
pub(crate) async fn each_connection<C, A, S>(at_a_time: usize, accept: impl Fn() -> A, serve: impl Fn(C) -> S)
where
    A: Future<Output = io::Result<C>>,
    S: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(at_a_time));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match accept().await {
            Ok(connection) => {
                let served = serve(connection);
                tokio::spawn(async move {
                    let _place = place;
                    served.await;
                });
            }
            // Out of descriptors, most likely: that passes.
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Serves one request on a connection, within `limit`. `buffer`: octets of the request's head. Whatever goes wrong here is the
/// client's, and there is nobody to tell.
pub(crate) async fn one_request<S, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: S,
    buffer: usize,
    limit: Duration,
) where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(buffer)
        .serve_connection(TokioIo::new(stream), answer);
    let _ = tokio::time::timeout(limit, connection).await;
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, health: &Health) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    let (code, kind, body) = match path {
        "/metrics" | "/health" | "/playground" if !read => not_allowed(),
        "/metrics" => {
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.text().into())
        }
        "/health" => {
            let (code, report) = health.report();
            (code, "application/json", report.into())
        }
        "/playground" => (StatusCode::PERMANENT_REDIRECT, TEXT, Bytes::from_static(b"the page is /playground/\n")),
        _ => match path.strip_prefix("/playground/").and_then(playground::file) {
            Some(_) if !read => not_allowed(),
            Some(file) => return file.response(),
            None => {
                (StatusCode::NOT_FOUND, TEXT, Bytes::from_static(b"here are only /metrics, /health and /playground/\n"))
            }
        },
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if code == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    } else if code == StatusCode::PERMANENT_REDIRECT {
        headers.insert(header::LOCATION, header::HeaderValue::from_static("/playground/"));
    }
    response
}

fn not_allowed() -> (StatusCode, &'static str, Bytes) {
    (StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", Bytes::from_static(b"only GET and HEAD\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .expect("the server closes the connection")
            .unwrap();
        answer
    }

    #[tokio::test]
    async fn numbers_and_health_are_served_once_a_connection() {
        let http = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = http.address().unwrap();
        let (metrics, health) = (Metrics::new(), Arc::new(Health::default()));
        metrics.message_accepted(4096);
        let server = tokio::spawn(http.serve(Arc::clone(&metrics), Arc::clone(&health)));

        let check = async |request: &str, parts: &[&str]| {
            // Twice in one go: the second is not answered, and the connection is closed.
            let request = format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(2);
            let answer = exchange(address, &request).await;
            assert!(parts.iter().all(|part| answer.contains(part)), "{request:?}: no {parts:?} in\n{answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        };
        check("GET /metrics", &["HTTP/1.1 200", "openmetrics-text", "hermetic_messages_total", "# EOF"]).await;
        check("GET /health", &["HTTP/1.1 200", "application/json", r#""status":"ok""#]).await;
        health.failing("store", "no \"space\"");
        check("GET /health", &["HTTP/1.1 503", r#""failing":{"store":"no \"space\""}"#]).await;
        health.well("store");
        check("GET /health?x", &["HTTP/1.1 200"]).await;
        check("GET /", &["HTTP/1.1 404"]).await;
        check("GET /playground", &["HTTP/1.1 308", "location: /playground/"]).await;
        check("GET /playground/../metrics", &["HTTP/1.1 404"]).await;
        check("GET /metrics/", &["HTTP/1.1 404"]).await;
        check("POST /metrics", &["HTTP/1.1 405", "allow: GET, HEAD"]).await;
        assert!(exchange(address, "EHLO example.org\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(BUFFER));
        assert!(exchange(address, &long).await.starts_with("HTTP/1.1 4"));
        server.abort();
    }

    #[tokio::test]
    async fn the_network_is_refused() {
        let refused = Http::bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
        assert!(matches!(refused, HttpError::NotLoopback(_)), "{refused}");
        let first = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = first.address().unwrap();
        let refused = Http::bind(taken).await.unwrap_err().to_string();
        assert!(refused.starts_with("observe.http: cannot listen on 127.0.0.1:"), "{refused}");
    }
}
