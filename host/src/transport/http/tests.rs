//! Loopback servers that answer well, badly, endlessly and not at all.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use hyper::{Method, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Reads a request up to the end of its head and of as much body as it announces, then writes this.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, reply: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut octets = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut octets).await.unwrap_or(0);
        heard.extend_from_slice(&octets[..length]);
        let text = String::from_utf8_lossy(&heard);
        let announced =
            text.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let whole =
            text.split_once("\r\n\r\n").is_some_and(|(head, _)| heard.len() >= head.len() + 4 + announced.unwrap_or(0));
        if whole || length == 0 {
            break;
        }
    }
    let _ = stream.write_all(reply).await;
    let _ = stream.shutdown().await;
    heard
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server for one request, and what it heard.
async fn server(reply: Vec<u8>) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let (listener, address) = listen().await;
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &reply).await
    });
    (address, task)
}

fn request(body: Pieces) -> Request<Pieces> {
    Request::builder().method(Method::POST).uri("/hook").header(header::HOST, "hooks.example.org").body(body).unwrap()
}

async fn send(address: SocketAddr) -> Result<Response, HttpError> {
    let (client, addresses) = (Client::new(), [address]);
    let sent = client.send(&addresses, None, request(Pieces::default()));
    tokio::time::timeout(Duration::from_secs(60), sent).await.expect("in time")
}

#[tokio::test]
async fn what_is_sent_and_what_comes_back() {
    let (address, task) =
        server(b"HTTP/1.1 201 Created\r\nX-A: 1\r\nx-a: \xff\r\nContent-Length: 4\r\n\r\nbody".to_vec()).await;
    let large = Bytes::from(vec![b'm'; 3 << 20]);
    let body = Pieces::new([Bytes::from_static(b"head\r\n"), Bytes::new(), large.clone()]);
    assert_eq!(body.size_hint().exact(), Some(6 + (3 << 20)));
    let response = Client::new().send(&[address], None, request(body)).await.unwrap();
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!((response.status, &*response.body), (201, &b"body"[..]));
    assert_eq!(response.fields, [field("x-a", "1"), field("x-a", "\u{fffd}"), field("content-length", "4")]);
    let heard = task.await.unwrap();
    let (head, body) = heard.split_at(heard.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4);
    let head = String::from_utf8_lossy(head);
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: hooks.example.org\r\n") && head.contains("content-length: 3145734\r\n"), "{head}");
    assert!(body[..6] == *b"head\r\n" && body[6..] == large, "{} octets", body.len());
}

#[tokio::test]
async fn redirects_are_only_told() {
    let (address, _task) =
        server(b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let response = send(address).await.unwrap();
    assert_eq!((response.status, response.body.len()), (302, 0));
}

#[tokio::test]
async fn hostile_responses_end() {
    let repeated =
        |start: &str, line: &str, octets: usize| [start.into(), line.repeat(octets / line.len())].concat().into_bytes();
    let head = "HTTP/1.1 200 OK\r\n";
    let endless = format!("{head}\r\n");
    for (what, reply, expected) in [
        ("an endless field", repeated(&format!("{head}X: "), "x", 4 << 20), "TooLarge"),
        ("endless fields", repeated(head, "X-Y: z\r\n", 4 << 20), "TooLarge"),
        ("an endless status", repeated("HTTP/1.1 200 ", "O", 4 << 20), "TooLarge"),
        ("an endless body", repeated(&endless, "body", 4 << 20), "TooLarge"),
        (
            "a large body in chunks",
            repeated(&format!("{head}Transfer-Encoding: chunked\r\n\r\n"), "4\r\nbody\r\n", 16 << 20),
            "TooLarge",
        ),
        ("an announced large body", format!("{head}Content-Length: 999999999\r\n\r\n").into_bytes(), "Broken"),
        ("a body cut short", format!("{head}Content-Length: 10\r\n\r\nbody").into_bytes(), "Broken"),
        ("no HTTP", b"220 mx.example.org ESMTP\r\n".to_vec(), "Broken"),
        ("nothing", Vec::new(), "Broken"),
        ("two lengths", format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab").into_bytes(), "Broken"),
        ("a broken chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n").into_bytes(), "Broken"),
    ] {
        let (address, _task) = server(reply).await;
        let error = send(address).await.expect_err(what);
        assert!(format!("{error:?}").starts_with(expected), "{what}: {error:?}");
    }
    let most = [endless.as_bytes(), &vec![b'b'; BODY]].concat();
    let (address, _task) = server(most).await;
    assert_eq!(send(address).await.unwrap().body.len(), BODY);
}

#[tokio::test]
async fn who_does_not_wait_leaves_nothing_behind() {
    let (listener, address) = listen().await;
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        // Ends when the other side goes away.
        stream.read_to_end(&mut heard).await.map(|_| heard.len())
    });
    let (client, addresses) = (Client::new(), [address]);
    let sent = client.send(&addresses, None, request(Pieces::default()));
    assert!(tokio::time::timeout(Duration::from_millis(200), sent).await.is_err());
    let heard = tokio::time::timeout(Duration::from_secs(30), task).await.expect("the connection is closed").unwrap();
    assert!(heard.is_ok_and(|octets| octets > 0));
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let (gone, closed) = listen().await;
    drop(gone);
    let (address, _task) = server(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()).await;
    let client = Client::new();
    assert_eq!(client.send(&[closed, address], None, request(Pieces::default())).await.unwrap().status, 204);
    let error = client.send(&[closed], None, request(Pieces::default())).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)), "{error:?}");
    assert!(matches!(client.send(&[], None, request(Pieces::default())).await, Err(HttpError::Connect(_))));
}

/// A server with a certificate for this name, and a client that trusts it, or somebody else.
async fn sealed(name: &str, trusted: bool) -> (SocketAddr, Client) {
    let make = || rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (shown, other) = (make(), make());
    let key = rustls_pki_types::PrivateKeyDer::try_from(shown.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(if trusted { shown.cert.der().clone() } else { other.cert.der().clone() }).unwrap();
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
            serve(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsealed").await;
        }
    });
    (address, Client::trusting(roots))
}

#[tokio::test]
async fn the_certificate_has_to_be_one_for_the_name() {
    let started = Instant::now();
    let name = |text: &str| ServerName::try_from(text.to_owned()).unwrap();
    let (address, client) = sealed("hooks.example.org", true).await;
    let response = client.send(&[address], Some(name("hooks.example.org")), request(Pieces::default())).await.unwrap();
    assert_eq!(response.body, b"sealed");
    for (shown, trusted, wanted) in
        [("hooks.example.org", true, "evil.example"), ("hooks.example.org", false, "hooks.example.org")]
    {
        let (address, client) = sealed(shown, trusted).await;
        let error = client.send(&[address], Some(name(wanted)), request(Pieces::default())).await.unwrap_err();
        assert!(matches!(error, HttpError::Tls(_)), "{shown}, trusted {trusted}, for {wanted}: {error:?}");
    }
    // No TLS at all.
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let error = client.send(&[address], Some(name("hooks.example.org")), request(Pieces::default())).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls(_)), "{error:?}");
    // An address as a name.
    let ip: IpAddr = Ipv4Addr::LOCALHOST.into();
    let (address, client) = sealed("127.0.0.1", true).await;
    let response = client.send(&[address], Some(ServerName::IpAddress(ip.into())), request(Pieces::default())).await;
    assert_eq!(response.unwrap().status, 200);
    assert!(started.elapsed() < Duration::from_secs(20));
}
