//! Certificates, a name server and a web server for one domain: what a probe looks at beside the mail server.

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};

/// Who vouches for the certificates of a test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Nothing,
    Expired,
    SelfSigned,
    OtherName,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test Authority");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server's certificate and key.
    pub(crate) fn server(&self, name: &str, flaw: Flaw) -> Arc<ServerConfig> {
        let (certificate, key) = self.pair(name, flaw);
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
        Arc::new(config.expect("they belong together"))
    }

    /// The same in PEM: chain and key.
    pub(crate) fn pem(&self, name: &str) -> (String, String) {
        let (certificate, key) = self.pair(name, Flaw::Nothing);
        (certificate.pem(), key.serialize_pem())
    }

    fn pair(&self, name: &str, flaw: Flaw) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let name = if flaw == Flaw::OtherName { "mail.other.test" } else { name };
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        if flaw == Flaw::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let certificate = match flaw {
            Flaw::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        (certificate.expect("a certificate"), key)
    }
}

/// A name server on loopback that knows a few names and denies all others. Returns its port.
pub(crate) fn name_server(known: Vec<(&'static str, Record)>) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("bound").port();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if let Some(answer) = answer(&query[..length], &known) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    port
}

/// What stands at a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record {
    A([u8; 4]),
    Txt(&'static str),
}

/// RFC 1035 section 4.
fn answer(query: &[u8], known: &[(&'static str, Record)]) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = query.get(at..at + 2)?;
    let question = query.get(12..at + 4)?;
    let name = labels.join(".");
    let here: Vec<_> = known.iter().filter(|(owner, _)| *owner == name).collect();
    let (code, found) = match here.iter().find(|(_, record)| kind == [0, record.kind()]) {
        Some((_, record)) => (0, Some(record)),
        None if here.is_empty() => (3, None),
        None => (0, None),
    };
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0]);
    answer.extend(question);
    if let Some(record) = found {
        let data = record.data();
        answer.extend([0xc0, 12, 0, record.kind(), 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        answer.extend(data);
    }
    Some(answer)
}

impl Record {
    fn kind(self) -> u8 {
        match self {
            Self::A(_) => 1,
            Self::Txt(_) => 16,
        }
    }

    fn data(self) -> Vec<u8> {
        match self {
            Self::A(address) => address.to_vec(),
            Self::Txt(text) => [&[text.len() as u8][..], text.as_bytes()].concat(),
        }
    }
}

/// Serves an MTA-STS policy. Returns its port.
pub(crate) fn policy_server(tls: Arc<ServerConfig>, policy: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(connection) = ServerConnection::new(Arc::clone(&tls)) else { return };
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = Vec::new();
            let mut octets = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut octets) {
                    Ok(length) if length > 0 => request.extend_from_slice(&octets[..length]),
                    _ => break,
                }
            }
            let length = policy.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{policy}"
            );
            let _ = stream.flush();
        }
    });
    port
}
