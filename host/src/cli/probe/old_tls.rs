//! Whether a server takes TLS 1.0 and 1.1, which RFC 8996 forbids and no library here speaks any more.
//!
//! Owns one message each way: a ClientHello that offers no newer version (RFC 2246 and RFC 4346, section 7.4.1.2), and the
//! first octets of the answer. Refuses to encrypt, and to read any more. Fails as the connection does.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A version that should be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldTls {
    /// RFC 2246.
    One,
    /// RFC 4346.
    OneOne,
}

impl OldTls {
    const fn version(self) -> [u8; 2] {
        match self {
            Self::One => [3, 1],
            Self::OneOne => [3, 2],
        }
    }

    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::One => "TLS 1.0",
            Self::OneOne => "TLS 1.1",
        }
    }
}

/// RSA, DHE and ECDHE with AES and 3DES, all of them with SHA-1: what servers had when these versions were new.
const SUITES: [u16; 10] = [0xc009, 0xc00a, 0xc013, 0xc014, 0x0033, 0x0039, 0x002f, 0x0035, 0xc012, 0x000a];
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;

/// True: the server goes on in this version.
pub(super) async fn ask(
    wire: &mut (impl AsyncRead + AsyncWrite + Unpin),
    version: OldTls,
    name: &str,
) -> io::Result<bool> {
    wire.write_all(&client_hello(version, name, rand::random())).await?;
    wire.flush().await?;
    // A record's head, a handshake message's head, and the version that the server has chosen.
    let mut answer = [0; 11];
    let mut length = 0;
    while length < answer.len() {
        match wire.read(&mut answer[length..]).await {
            Ok(0) => break,
            Ok(more) => length += more,
            // Some close at once rather than say so.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
        if answer[0] == ALERT {
            return Ok(false);
        }
    }
    match answer {
        _ if length == 0 => Ok(false),
        [HANDSHAKE, _, _, _, _, SERVER_HELLO, _, _, _, major, minor] if length == answer.len() => {
            Ok([major, minor] == version.version())
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "what came is no TLS")),
    }
}

/// One record with one message.
fn client_hello(version: OldTls, name: &str, random: [u8; 32]) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |number: u16, data: &[u8]| {
        extensions.extend(number.to_be_bytes());
        extensions.extend(with_length(data));
    };
    // server_name (RFC 6066 section 3), for names only.
    if name.parse::<std::net::IpAddr>().is_err() && !name.is_empty() && !name.starts_with('[') {
        let entry = [&[0][..], &with_length(name.trim_end_matches('.').as_bytes())].concat();
        extension(0, &with_length(&entry));
    }
    // supported_groups and ec_point_formats (RFC 8422 section 5.1): the NIST curves, uncompressed.
    extension(10, &with_length(&[0, 23, 0, 24, 0, 25]));
    extension(11, &[1, 0]);
    // renegotiation_info, empty (RFC 5746 section 3.4).
    extension(0xff01, &[0]);
    let mut body = Vec::new();
    body.extend(version.version());
    body.extend(random);
    // No session to resume.
    body.push(0);
    body.extend(with_length(&SUITES.iter().flat_map(|suite| suite.to_be_bytes()).collect::<Vec<u8>>()));
    // No compression.
    body.extend([1, 0]);
    body.extend(with_length(&extensions));
    let mut message = vec![1, 0];
    message.extend(with_length(&body));
    let mut record = vec![HANDSHAKE, 3, 1];
    record.extend(with_length(&message));
    record
}

/// Two octets of length, then these. A name is bounded by the DNS, all else is fixed.
fn with_length(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], octets].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_answer_means() {
        let check = async |answer: &[u8], expected: Option<bool>| {
            let (mut ours, mut theirs) = tokio::io::duplex(1024);
            theirs.write_all(answer).await.unwrap();
            theirs.shutdown().await.unwrap();
            let found = ask(&mut ours, OldTls::OneOne, "mx.example").await.ok();
            assert_eq!(found, expected, "{answer:?}");
        };
        check(&[22, 3, 2, 0, 50, 2, 0, 0, 46, 3, 2], Some(true)).await;
        check(&[22, 3, 1, 0, 50, 2, 0, 0, 46, 3, 1], Some(false)).await;
        check(&[21, 3, 1, 0, 2, 2, 70], Some(false)).await;
        check(&[], Some(false)).await;
        check(b"554 no", None).await;
        check(b"554 5.5.1 Error", None).await;
    }

    /// rustls reads the message: it is well-formed, and lacks only what came with TLS 1.2.
    #[test]
    fn a_tls_library_understands_the_question() {
        let pair = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        for version in [OldTls::One, OldTls::OneOne] {
            let mut server = rustls::ServerConnection::new(config.clone().into()).unwrap();
            server.read_tls(&mut client_hello(version, "mx.example", [7; 32]).as_slice()).unwrap();
            let error = server.process_new_packets().unwrap_err();
            let expected =
                rustls::Error::PeerIncompatible(rustls::PeerIncompatible::SignatureAlgorithmsExtensionRequired);
            assert_eq!(error, expected, "{version:?}");
        }
    }
}
