//! The shipped plugins that use the network, as components: `dnsbl` and `sender-checks` against a name server, `webhook`
//! against an HTTP server, all on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use hermetic::config::Dns;
use hermetic::config::plugins::{Grants, OnFailure, Plugin as Configured, PluginLimits};
use hermetic::plugin::hook::{Attempt, Facts, Forward, Hook, Message, Plugin, Ran, Scratch, Verdict, Wishes};
use hermetic::plugin::{Loader, Network};
use hermetic_tests::guest::shipped;

const TIMEOUT: Duration = Duration::from_secs(4);

/// A name server that knows these: type and name, and the record's data. Everything else does not exist.
fn name_server(records: &[(u16, &str, Vec<u8>)]) -> SocketAddr {
    let records: BTreeMap<(u16, String), Vec<u8>> =
        records.iter().map(|(kind, name, data)| ((*kind, (*name).to_owned()), data.clone())).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // The question: labels up to an empty one, then type and class (RFC 1035 section 4.1.2).
            let (mut at, mut labels) = (12, Vec::new());
            while packet[at] != 0 && at < length {
                let end = at + 1 + usize::from(packet[at]);
                labels.push(String::from_utf8_lossy(&packet[at + 1..end]).to_lowercase());
                at = end;
            }
            let kind = u16::from_be_bytes([packet[at + 1], packet[at + 2]]);
            let found = records.get(&(kind, labels.join(".")));
            // An answer without error, or NXDOMAIN; one question, at most one record, whose name is that of the question.
            let code = if found.is_some() { 0x80 } else { 0x83 };
            let mut reply = [&packet[..2], &[0x81, code, 0, 1, 0, found.is_some().into(), 0, 0, 0, 0]].concat();
            reply.extend_from_slice(&packet[12..at + 5]);
            if let Some(data) = found {
                reply.extend_from_slice(&[0xc0, 12, packet[at + 1], packet[at + 2], 0, 1, 0, 0, 0, 60]);
                reply.extend_from_slice(&u16::try_from(data.len()).expect("short").to_be_bytes());
                reply.extend_from_slice(data);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    address
}

fn loader(folder: &Path, servers: Vec<SocketAddr>) -> Loader {
    let dns = Dns { servers, dnssec: false, timeout: 2, ..Dns::default() };
    Loader::new(folder).expect("a loader").reaching(Network::new(&dns).expect("a network"))
}

fn load(loader: &Loader, name: &str, grants: Grants, settings: &str) -> Arc<dyn Plugin> {
    let timeout = u64::try_from(TIMEOUT.as_millis()).expect("small");
    let configured = Configured {
        name: name.into(),
        file: shipped(name),
        sha256: None,
        grants,
        limits: PluginLimits { timeout, ..PluginLimits::default() },
        on_failure: OnFailure::Defer,
        postmaster: false,
        settings: toml::from_str(settings).expect("settings"),
    };
    loader.load(&configured).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn facts(sender: &str) -> Arc<Facts> {
    Arc::new(Facts {
        client_address: Some("198.51.100.7".parse().expect("an address")),
        hello_name: Some("mail.client.example".into()),
        reverse_path: Some(sender.into()),
        attempt: Some(Attempt { idempotency_key: "key-1".into(), number: 1, queued_at: 1 }),
        ..Facts::default()
    })
}

async fn ask(plugin: &Arc<dyn Plugin>, hook: Hook, sender: &str, message: Option<Arc<Message>>) -> Ran {
    let forward = Forward { forward_path: "anna@example.org".into(), mailbox: None };
    let mut phase = Arc::clone(plugin).phase(facts(sender), Scratch::default(), message);
    phase.call(hook, Some(&forward), &[], &mut Wishes::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dns_is_asked() {
    let (a, mx, txt) = (1, 15, 16);
    let server = name_server(&[
        (a, "7.100.51.198.bad.example", vec![127, 0, 0, 2]),
        (txt, "7.100.51.198.bad.example", [&[13], &b"listed, sorry"[..]].concat()),
        (mx, "client.example", vec![0, 10, 2, b'm', b'x', 0]),
        (mx, "null.example", vec![0, 0, 0]),
        (a, "host.example", vec![192, 0, 2, 1]),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let loader = loader(folder.path(), vec![server]);

    let grants = Grants { resolver: true, edit: true, ..Grants::default() };
    let dnsbl = load(&loader, "dnsbl", grants, r#"zones = [{ zone = "bad.example" }, { zone = "other.example" }]"#);
    let ran = ask(&dnsbl, Hook::Connection, "a@client.example", None).await;
    let Verdict::Reject(reason) = &ran.verdict else { panic!("{ran:?}") };
    assert_eq!(reason.text, "198.51.100.7 by bad.example: listed, sorry");

    let checks = load(&loader, "sender-checks", Grants { resolver: true, ..Grants::default() }, "");
    for (sender, expected) in [
        ("a@client.example", None),
        ("a@host.example", None),
        ("a@null.example", Some((7, 27))),
        ("a@nobody.example", Some((1, 8))),
    ] {
        let ran = ask(&checks, Hook::Sender, sender, None).await;
        let got = match &ran.verdict {
            Verdict::Reject(reason) => Some((reason.subject, reason.detail)),
            _ => None,
        };
        assert_eq!(got, expected, "{sender}: {ran:?}");
    }
}

/// Answers one request after the other with these; an empty one is silence. What was heard goes to the channel.
fn endpoint(replies: &'static [&'static str]) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let (hears, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for reply in replies {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let request = request(&mut stream);
            let _ = hears.send(request);
            if reply.is_empty() {
                std::thread::sleep(TIMEOUT * 2);
            }
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    (address, heard)
}

/// Head and body of a request with a length.
fn request(stream: &mut TcpStream) -> Vec<u8> {
    let (mut heard, mut octets) = (Vec::new(), [0; 8192]);
    loop {
        let text = String::from_utf8_lossy(&heard[..heard.len().min(4096)]).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if heard.len() >= head.len() + 4 + length.parse::<usize>().expect("a number") {
                return heard;
            }
        }
        match stream.read(&mut octets) {
            Ok(length) if length > 0 => heard.extend_from_slice(&octets[..length]),
            _ => return heard,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_delivered_by_http() {
    let (address, heard) = endpoint(&[
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 77\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
        "",
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let loader = loader(folder.path(), vec!["127.0.0.1:9".parse().expect("an address")]);
    let settings = format!("url = \"http://{address}/mail\"\nsecret = \"0123456789abcdef\"");
    let grants = |server: String| Grants { http: vec![server], ..Grants::default() };
    let webhook = load(&loader, "webhook", grants(address.to_string()), &settings);
    let content = [b"Subject: hello\r\n\r\n", &vec![b'z'; 2 << 20][..]].concat();
    let message =
        Arc::new(Message { prefix: b"Return-Path: <a@client.example>\r\n".to_vec(), content: content.clone() });

    let deliver = || ask(&webhook, Hook::Delivery, "a@client.example", Some(Arc::clone(&message)));
    let ran = deliver().await;
    assert_eq!(ran.verdict, Verdict::Accept, "{ran:?}");
    let request = heard.recv_timeout(TIMEOUT).expect("a request");
    let head = String::from_utf8_lossy(&request[..2048]).into_owned();
    assert!(head.starts_with("POST /mail HTTP/1.1\r\n"), "{head}");
    for field in ["idempotency-key: key-1", "x-hermetic-recipient: anna@example.org", "x-hermetic-signature: v1="] {
        assert!(head.contains(field), "{field}: {head}");
    }
    let body = [&message.prefix, &*content].concat();
    assert!(request.ends_with(&body), "{} octets", request.len());

    let ran = deliver().await;
    assert_eq!((matches!(ran.verdict, Verdict::Defer(_)), ran.retry_after), (true, Some(77)), "{ran:?}");
    let ran = deliver().await;
    assert!(matches!(ran.verdict, Verdict::Reject(_)), "{ran:?}");
    // One that says nothing is given up in time for the plugin to say so.
    let started = Instant::now();
    let ran = deliver().await;
    assert!(matches!(ran.verdict, Verdict::Defer(_)) && ran.failure.is_none(), "{ran:?}");
    assert!(started.elapsed() < TIMEOUT, "{:?}", started.elapsed());

    // Another server than the one that is granted hears nothing; the operator's failure policy answers.
    let (address, heard) = endpoint(&["HTTP/1.1 204 No Content\r\n\r\n"]);
    let settings = format!("url = \"http://{address}/mail\"\nsecret = \"0123456789abcdef\"");
    let elsewhere = load(&loader, "webhook", grants("127.0.0.1:1".into()), &settings);
    let ran = ask(&elsewhere, Hook::Delivery, "a@client.example", Some(message)).await;
    assert!(matches!(ran.verdict, Verdict::Defer(_)) && ran.failure.is_some(), "{ran:?}");
    assert!(heard.try_recv().is_err(), "it was asked all the same");
}
