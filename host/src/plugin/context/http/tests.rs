//! Which servers a plugin's requests reach, and which they do not.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    config::{Dns, plugins::Grants},
    dns::{
        Resolver,
        fake::{Server, Zone},
    },
    edit::Edit,
    plugin::{context::fake::guest, hook::Message},
    transport::http::Client,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that says this to everybody, and the connections that it had.
async fn server(reply: &'static str) -> (SocketAddr, Arc<AtomicUsize>, Arc<parking_lot::Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(parking_lot::Mutex::new(Vec::new())));
    let (counted, hears) = (Arc::clone(&count), Arc::clone(&heard));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut octets = vec![0; 64 << 10];
            // Small requests come in one or two pieces; none follows for a moment.
            while let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut octets)).await
            {
                if length == 0 {
                    break;
                }
                hears.lock().extend_from_slice(&octets[..length]);
            }
            if reply.is_empty() {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            let _ = stream.write_all(reply.as_bytes()).await;
        }
    });
    (address, count, heard)
}

fn network(resolver: Resolver) -> Network {
    Network { resolver, client: Client::new() }
}

fn nobody() -> Resolver {
    Resolver::new(&Dns { servers: vec![([127, 0, 0, 1], 9).into()], timeout: 1, ..Dns::default() }).unwrap()
}

fn granted(servers: &[String]) -> Grants {
    Grants { http: servers.to_vec(), ..Grants::default() }
}

async fn post(guest: &mut Guest, url: &str, fields: &[(&str, &str)]) -> Result<Response, Fault> {
    let field = |(name, value): &(&str, &str)| Field { name: (*name).into(), value: (*value).into() };
    guest.send("POST".into(), url.into(), fields.iter().map(field).collect(), b"body".to_vec()).await.unwrap()
}

#[tokio::test]
async fn a_request_and_its_response() {
    let (address, _, heard) = server(OK).await;
    let mut guest = guest(granted(&[address.to_string()]), network(nobody()), None, Duration::from_secs(10));
    let response = post(&mut guest, &format!("http://{address}/a?b"), &[("X-Test", "1")]).await.unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"ok"[..]));
    let heard = String::from_utf8(heard.lock().clone()).unwrap();
    assert!(heard.starts_with("POST /a?b HTTP/1.1\r\n") && heard.ends_with("\r\n\r\nbody"), "{heard}");
    for line in
        [&format!("host: {address}"), "x-test: 1", "content-length: 4", "connection: close", "user-agent: hermetic/"]
    {
        assert!(heard.contains(&format!("\r\n{line}")), "{line}: {heard}");
    }
}

#[tokio::test]
async fn the_message_goes_as_its_recipient_would_get_it() {
    let (address, _, heard) = server(OK).await;
    let message =
        Message { prefix: b"Return-Path: <>\r\n".to_vec(), content: b"A: 1\r\nB: 2\r\n\r\nbody\r\n".to_vec() };
    let mut guest = guest(granted(&[address.to_string()]), network(nobody()), Some(message), Duration::from_secs(10));
    guest.call.wishes.edits = vec![Edit::Remove(0), Edit::Append(2, "X".into(), "y".into())];
    guest.send_message("POST".into(), format!("http://{address}/"), Vec::new()).await.unwrap().unwrap();
    let heard = String::from_utf8(heard.lock().clone()).unwrap();
    assert!(heard.ends_with("\r\n\r\nReturn-Path: <>\r\nB: 2\r\nX: y\r\n\r\nbody\r\n"), "{heard}");
    assert!(heard.contains("\r\ncontent-length: 37\r\n"), "{heard}");
}

#[tokio::test]
async fn what_is_refused_reaches_nobody() {
    let (address, count, _) = server(OK).await;
    let url = format!("http://{address}/");
    let make = |servers: &[String]| guest(granted(servers), network(nobody()), None, Duration::from_secs(5));
    let none = post(&mut make(&[]), &url, &[]).await.unwrap_err();
    assert_eq!(none.code, 1);
    let listed = [address.to_string()];
    let long = "x".repeat(20_000);
    let many = vec![("x", "y"); 65];
    for (fields, code) in [
        (&[("Host", "evil.example")][..], 2),
        (&[("content-length", "0")], 2),
        (&[("Transfer-Encoding", "chunked")], 2),
        (&[("CONNECTION", "keep-alive")], 2),
        (&[("X", "a\r\nY: b")], 2),
        (&[("X", "a\nb")], 2),
        (&[("X", "a\0b")], 2),
        (&[("X: y\r\nZ", "a")], 2),
        (&[("X Y", "a")], 2),
        (&[("", "a")], 2),
        (&[("X", &long)], 3),
        (&many, 3),
    ] {
        let fault = post(&mut make(&listed), &url, fields).await.unwrap_err();
        assert_eq!(fault.code, code, "{:?}: {fault:?}", &fields[..1]);
    }
    for method in ["CONNECT", "TRACE", "post", "", "GET /\r\n"] {
        let fault = make(&listed).send(method.into(), url.clone(), Vec::new(), Vec::new()).await.unwrap().unwrap_err();
        assert_eq!(fault.code, 2, "{method:?}");
    }
    let fault =
        make(&listed).send("PUT".into(), url.clone(), Vec::new(), vec![0; BODY + 1]).await.unwrap().unwrap_err();
    assert_eq!(fault.code, 3);
    let fault = make(&listed).send_message("PUT".into(), url.clone(), Vec::new()).await.unwrap().unwrap_err();
    assert_eq!(fault.code, 5, "there is no message");
    assert_eq!(count.load(Ordering::SeqCst), 0);
    let mut guest = make(&listed);
    for _ in 0..3 {
        post(&mut guest, &url, &[]).await.unwrap();
    }
    assert_eq!(post(&mut guest, &url, &[]).await.unwrap_err().code, 3, "three in a call");
}

#[tokio::test]
async fn a_name_leads_only_where_it_may() {
    let (address, count, _) = server(OK).await;
    let port = address.port();
    let zone = Zone::default()
        .address("inside.example", "127.0.0.1")
        .address("mapped.example", "::ffff:127.0.0.1")
        .address("both.example", "169.254.169.254")
        .address("both.example", "127.0.0.1")
        .fails("broken.example", hickory_resolver::proto::op::ResponseCode::ServFail);
    let dns = Server::start(zone).await;
    let ask = |name: &'static str, servers: &[String]| {
        let servers = [&[format!("{name}:{port}")], servers].concat();
        let mut guest = guest(granted(&servers), network(dns.resolver()), None, Duration::from_secs(5));
        async move { post(&mut guest, &format!("http://{name}:{port}/"), &[]).await.map_err(|fault| fault.code) }
    };
    for name in ["inside.example", "mapped.example", "both.example"] {
        assert_eq!(ask(name, &[]).await.err(), Some(1), "{name}");
        assert_eq!(ask(name, &["127.0.0.1".into(), "127.0.0.1:1".into()]).await.err(), Some(1), "{name}");
    }
    assert_eq!(ask("nobody.example", &[]).await.err(), Some(4));
    assert_eq!(ask("broken.example", &[]).await.err(), Some(5));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    for name in ["inside.example", "mapped.example", "both.example"] {
        assert_eq!(ask(name, &[address.to_string()]).await.unwrap().status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_before_the_call_is() {
    let (address, _, _) = server("").await;
    let mut guest = guest(granted(&[address.to_string()]), network(nobody()), None, Duration::from_millis(400));
    let started = Instant::now();
    assert_eq!(post(&mut guest, &format!("http://{address}/"), &[]).await.unwrap_err().code, 5);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}
