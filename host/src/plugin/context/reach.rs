//! Where a plugin's requests may go.
//!
//! Owns the rule: the grant `http` has to list the server, and the address that it has must be public or be listed itself.
//! Refuses to resolve and to connect: whoever does connects to what was looked at here and to nothing else, so that a name
//! can not mean one thing when it is checked and another when it is used.

use std::net::{IpAddr, SocketAddr};

use hyper::Uri;

use super::{Code, fault};
use crate::{
    config::HttpHost,
    plugin::{bindings::hermetic::plugin::types::Fault, reason::clean},
    transport::public::is_public,
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
