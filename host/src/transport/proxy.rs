//! The PROXY protocol, versions 1 and 2: a proxy in front of us says who the client really is.
//!
//! Owns reading exactly the header, bounded in size; crate `ppp` reads what it means. Refuses to decide who may send
//! one: that is the listener's. Fails with [`ProxyError`], and then the connection is closed without a word, because
//! nobody knows who is at the other end.

use std::{io, net::SocketAddr};

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::canonical;

/// A version 1 header with its CRLF. PROXY protocol section 2.1.
const V1_MOST: usize = 107;
/// Signature, version, family and length. PROXY protocol section 2.2.
const V2_FIXED: usize = 16;
/// A version 2 header's addresses and extensions; the protocol allows 64 KiB, proxies send a few hundred octets.
const V2_MOST: usize = 4096;

/// Who a PROXY header says the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This address.
    Client(SocketAddr),
    /// The proxy itself, or it does not know (LOCAL, UNKNOWN): whoever connected is the client.
    Proxy,
}

/// Why there is no origin. The peer's fault, or the operator's who sent a client here that is no proxy.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ProxyError {
    #[error("the connection ended inside the PROXY header: {0}")]
    Io(#[from] io::Error),
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    #[error("the PROXY header is malformed: {0}")]
    Malformed(String),
    #[error("the PROXY header has {0} octets, more than {V2_MOST}")]
    TooLong(usize),
    #[error("the PROXY header tells of something that is no TCP connection")]
    Family,
}

/// Reads the header and not an octet more. The caller sets a time limit.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Origin, ProxyError> {
    // The shortest header of version 1 has 15 octets, so these belong to the header in both versions.
    let mut header = [0; v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        version2(stream).await
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        version1(stream, &header).await
    } else {
        Err(ProxyError::Missing)
    }
}

async fn version1(stream: &mut (impl AsyncRead + Unpin), begun: &[u8]) -> Result<Origin, ProxyError> {
    let mut header = [0; V1_MOST];
    let mut length = begun.len();
    header[..length].copy_from_slice(begun);
    // Octet by octet, because whatever follows the line belongs to TLS or to the session.
    while header[length - 1] != b'\n' {
        if length == V1_MOST {
            return Err(ProxyError::Malformed(format!("no end of line within {V1_MOST} octets")));
        }
        header[length] = stream.read_u8().await?;
        length += 1;
    }
    let header = v1::Header::try_from(&header[..length]).map_err(|error| ProxyError::Malformed(error.to_string()))?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(a) => Origin::Client(SocketAddr::new(a.source_address.into(), a.source_port)),
        v1::Addresses::Tcp6(a) => Origin::Client(canonical(SocketAddr::new(a.source_address.into(), a.source_port))),
        v1::Addresses::Unknown => Origin::Proxy,
    })
}

async fn version2(stream: &mut (impl AsyncRead + Unpin)) -> Result<Origin, ProxyError> {
    let mut header = v2::PROTOCOL_PREFIX.to_vec();
    let mut fixed = [0; V2_FIXED - v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut fixed).await?;
    header.extend(fixed);
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if length > V2_MOST {
        return Err(ProxyError::TooLong(length));
    }
    header.resize(V2_FIXED + length, 0);
    stream.read_exact(&mut header[V2_FIXED..]).await?;
    let header = v2::Header::try_from(header.as_slice()).map_err(|error| ProxyError::Malformed(error.to_string()))?;
    match (header.command, header.protocol, header.addresses) {
        (v2::Command::Local, ..) | (_, _, v2::Addresses::Unspecified) => Ok(Origin::Proxy),
        (_, v2::Protocol::Stream, v2::Addresses::IPv4(a)) => {
            Ok(Origin::Client(SocketAddr::new(a.source_address.into(), a.source_port)))
        }
        (_, v2::Protocol::Stream, v2::Addresses::IPv6(a)) => {
            Ok(Origin::Client(canonical(SocketAddr::new(a.source_address.into(), a.source_port))))
        }
        _ => Err(ProxyError::Family),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    /// What follows the header must be left for whoever comes next.
    #[tokio::test]
    async fn headers() {
        let v4 = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0, 25];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&[0x12, 0x34]);
        let with_extension = [&v4[..], &[4, 0, 2, 0, 0]].concat();
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 25\r\n".to_vec(), "192.0.2.7:4660"),
            (b"PROXY TCP6 2001:db8::7 ::1 4660 25\r\n".to_vec(), "[2001:db8::7]:4660"),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4660 25\r\n".to_vec(), "192.0.2.7:4660"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "proxy"),
            (b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n".to_vec(), "proxy"),
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 25\n".to_vec(), "malformed"),
            (b"PROXY TCP4 192.0.2.300 127.0.0.1 4660 25\r\n".to_vec(), "malformed"),
            ([b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat(), "no end of line"),
            (b"EHLO client.example\r\n".to_vec(), "does not begin"),
            (b"PROXY TCP4 192.".to_vec(), "ended inside"),
            (v2_header(0x21, 0x11, &v4), "192.0.2.7:4660"),
            (v2_header(0x21, 0x11, &with_extension), "192.0.2.7:4660"),
            (v2_header(0x21, 0x21, &v6), "[2001:db8::7]:4660"),
            (v2_header(0x20, 0x00, &[]), "proxy"),
            (v2_header(0x20, 0x11, &v4), "proxy"),
            (v2_header(0x21, 0x00, &[]), "proxy"),
            (v2_header(0x21, 0x12, &v4), "no TCP connection"),
            (v2_header(0x21, 0x31, &[0; 216]), "no TCP connection"),
            (v2_header(0x21, 0x11, &v4[..8]), "malformed"),
            (v2_header(0x31, 0x11, &v4), "malformed"),
            (v2_header(0x21, 0x11, &[0; 5000]), "more than 4096"),
        ];
        for (header, expected) in cases {
            let input = [&header[..], b"rest"].concat();
            let shown = String::from_utf8_lossy(&header).into_owned();
            let mut stream = &input[..];
            let said = match read(&mut stream).await {
                Ok(Origin::Client(address)) => address.to_string(),
                Ok(Origin::Proxy) => "proxy".into(),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(expected), "{shown:?}: expected {expected:?}, was {said:?}");
            if expected.contains(':') || expected == "proxy" {
                assert_eq!(stream, b"rest", "{shown:?}");
            }
        }
    }
}
