//! Where a plugin's requests may go.
//!
//! Owns the rule: the grant `http` has to list the server, and the address that it has must be public or be listed itself.
//! Refuses to resolve and to connect: whoever does connects to what was looked at here and to nothing else, so that a name
//! can not mean one thing when it is checked and another when it is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::Uri;

use super::{Code, fault};
use crate::{
    config::HttpHost,
    plugin::{bindings::hermetic::plugin::types::Fault, reason::clean},
};

/// Octets of a URL.
const URL: usize = 8192;

/// A server that the grant lists, and what is wanted of it.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    pub(super) tls: bool,
    /// A name in lower case, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The field Host: with brackets, and with the port if it is not the usual one.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
}

/// Reads a URL and looks for its server among those granted.
pub(super) fn target(granted: &[HttpHost], url: &str) -> Result<Target, Fault> {
    let invalid = |problem: &str| fault(Code::Invalid, format!("{problem}: {}", clean(url, 200)));
    if url.len() > URL {
        return Err(fault(Code::Limit, format!("a URL has at most {URL} octets")));
    }
    let uri: Uri = url.parse().map_err(|_| invalid("not a URL"))?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(invalid("not http: or https:")),
    };
    let authority = uri.authority().ok_or_else(|| invalid("no server"))?;
    if authority.as_str().contains('@') {
        return Err(invalid("a login belongs into the field Authorization"));
    }
    let usual = if tls { 443 } else { 80 };
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        // Digits that are no port are an error, not the usual port.
        None if authority.as_str().len() == authority.host().len() => usual,
        None => return Err(invalid("no port")),
    };
    let host = authority.host().to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host).to_owned();
    if !granted.iter().any(|listed| listed.admits(tls, &bare, port)) {
        let scheme = if tls { "https" } else { "http" };
        return Err(fault(Code::NotGranted, format!("grants.http does not list {host}:{port} for {scheme}")));
    }
    let authority = if port == usual { host } else { format!("{host}:{port}") };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Target { tls, host: bare, port, authority, path })
}

/// Those that may be connected to.
pub(super) fn admitted(granted: &[HttpHost], addresses: &[IpAddr], port: u16) -> Result<Vec<SocketAddr>, Fault> {
    let sockets = addresses.iter().map(|address| SocketAddr::new(address.to_canonical(), port));
    let allowed = |socket: &SocketAddr| is_public(socket.ip()) || granted.iter().any(|listed| listed.names(*socket));
    let admitted: Vec<_> = sockets.filter(allowed).collect();
    match (admitted.is_empty(), addresses.first()) {
        (false, _) => Ok(admitted),
        (true, None) => Err(fault(Code::NotFound, "the server has no address")),
        (true, Some(address)) => {
            let socket = SocketAddr::new(address.to_canonical(), port);
            Err(fault(Code::NotGranted, format!("{socket} is not public, and grants.http does not list it")))
        }
    }
}

/// Anybody on the Internet can have it: what is in the special-purpose registries of RFC 6890 is not, nor is multicast.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback.
        [0 | 10 | 127, ..] => false,
        // Shared by the customers of a provider (RFC 6598).
        [100, 64..=127, ..] => false,
        // Link-local, private.
        [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] => false,
        // Protocol assignments, documentation, the relays of 6to4.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => false,
        // Benchmarks.
        [198, 18 | 19, ..] => false,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 leads to an IPv4 address (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4((u32::from(high) << 16 | u32::from(low)).into()),
        // Protocol assignments with Teredo and benchmarks, documentation, 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // All else that is global; not loopback, unspecified, unique local, link-local, multicast.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn granted(listed: &[&str]) -> Vec<HttpHost> {
        listed.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn which_url_goes_where() {
        let granted = granted(&["hooks.example.org", "hooks.example.org:8080", "127.0.0.1:80", "[::1]:8080"]);
        let check = |url: &str, expected: Result<(&str, &str), u16>| {
            let target = target(&granted, url);
            let got = target.as_ref().map(|target| (&*target.authority, &*target.path)).map_err(|fault| fault.code);
            assert_eq!(got, expected, "{url}: {target:?}");
        };
        check("https://hooks.example.org", Ok(("hooks.example.org", "/")));
        check("https://HOOKS.example.org/a%20b?c=d", Ok(("hooks.example.org", "/a%20b?c=d")));
        check("https://hooks.example.org:443/", Ok(("hooks.example.org", "/")));
        check("https://hooks.example.org?q", Ok(("hooks.example.org", "/?q")));
        check("https://hooks.example.org:8080/", Ok(("hooks.example.org:8080", "/")));
        check("http://hooks.example.org:8080/", Ok(("hooks.example.org:8080", "/")));
        check("http://127.0.0.1/", Ok(("127.0.0.1", "/")));
        check("http://[::1]:8080/", Ok(("[::1]:8080", "/")));
        check("http://hooks.example.org/", Err(1));
        check("https://hooks.example.org:8443/", Err(1));
        check("https://hooks.example.org./", Err(1));
        check("https://evil.example/", Err(1));
        check("https://hooks.example.org.evil.example/", Err(1));
        check("http://127.0.0.1:8080/", Err(1));
        check("http://2130706433/", Err(1));
        check("http://0x7f.1/", Err(1));
        check("http://[::1]/", Err(1));
        for url in [
            "",
            "/",
            "hooks.example.org",
            "ftp://hooks.example.org/",
            "file:///etc/passwd",
            "https://",
            "https:///a",
            "https://user@hooks.example.org/",
            "https://evil.example\\@hooks.example.org/",
            "https://hooks.example.org:/",
            "https://hooks.example.org:99999/",
            "https://hooks.example.org/\r\nX: y",
            "https://hooks.example.org/ a",
            "https://h\u{f6}oks.example.org/",
        ] {
            check(url, Err(2));
        }
        check(&format!("https://hooks.example.org/{}", "a".repeat(URL)), Err(3));
    }

    #[test]
    fn which_addresses_are_public() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.15.0.1", true),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.2.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1111", true),
            ("::", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("::8.8.8.8", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::808:808", true),
            ("64:ff9b:1::808:808", false),
            ("100::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:a00:1::", false),
            ("3fff::1", false),
            ("fc00::1", false),
            ("fd12::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn an_address_that_is_not_public_has_to_be_listed_itself() {
        let check = |listed: &[&str], addresses: &[&str], expected: Result<&[&str], u16>| {
            let parsed: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let admitted = admitted(&granted(listed), &parsed, 8080).map_err(|fault| fault.code);
            let expected = expected.map(|list| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
            assert_eq!(admitted, expected, "{listed:?} {addresses:?}");
        };
        let name = "hooks.example.org:8080";
        check(&[name], &["8.8.8.8", "2606:4700::1"], Ok(&["8.8.8.8:8080", "[2606:4700::1]:8080"]));
        check(&[name], &["127.0.0.1"], Err(1));
        check(&[name], &["::ffff:127.0.0.1"], Err(1));
        check(&[name], &["127.0.0.1", "8.8.8.8"], Ok(&["8.8.8.8:8080"]));
        check(&[name, "127.0.0.1:8080"], &["127.0.0.1", "::1"], Ok(&["127.0.0.1:8080"]));
        check(&[name, "127.0.0.1:80"], &["127.0.0.1"], Err(1));
        check(&[name, "127.0.0.1"], &["127.0.0.1"], Err(1));
        check(&[name], &[], Err(4));
    }
}
