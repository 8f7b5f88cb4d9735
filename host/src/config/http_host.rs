//! A server that a plugin may send requests to, as an operator writes it in `grants.http`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::domain;

/// `hooks.example.org`, `hooks.example.org:8443`, `127.0.0.1:8080`, `[::1]:8080`.
///
/// Without a port it is HTTPS at port 443. With one it is that port, for HTTPS and for HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpHost {
    /// In A-labels and lower case, or an address in its usual form.
    host: String,
    /// If it is an address.
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl HttpHost {
    /// May a request go to this host and port? `host` without brackets, in any case.
    #[must_use]
    pub fn admits(&self, tls: bool, host: &str, port: u16) -> bool {
        let same = match (self.address, host.parse::<IpAddr>()) {
            (Some(listed), Ok(asked)) => listed == asked.to_canonical(),
            (None, Err(_)) => self.host.eq_ignore_ascii_case(host),
            _ => false,
        };
        same && self.port.map_or(tls && port == 443, |listed| listed == port)
    }

    /// Is it this very address, at this port?
    #[must_use]
    pub fn names(&self, address: SocketAddr) -> bool {
        self.address == Some(address.ip().to_canonical()) && self.port.unwrap_or(443) == address.port()
    }
}

impl FromStr for HttpHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no server; write it like \"hooks.example.org\", \"hooks.example.org:8443\" or \"127.0.0.1:8080\""
            )
        };
        let of = |address: IpAddr, port| {
            let address = address.to_canonical();
            Self { host: address.to_string(), address: Some(address), port }
        };
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(of(address, None));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(wrong()) } else { Ok(of(address.ip(), Some(address.port()))) };
        }
        let (host, port) = match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => {
                // Not "+80", which is a number too.
                let digits = port.chars().all(|c| c.is_ascii_digit());
                let number = port.parse().ok().filter(|port| *port != 0 && digits);
                (host, Some(number.ok_or_else(wrong)?))
            }
        };
        let host = domain::strict(host).ok_or_else(wrong)?.into_owned();
        Ok(Self { host, address: None, port })
    }
}

impl fmt::Display for HttpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (Some(address), Some(port)) => SocketAddr::new(address, port).fmt(f),
            (_, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_admitted() {
        for (listed, tls, host, port, expected) in [
            ("hooks.example.org", true, "hooks.example.org", 443, true),
            ("Hooks.Example.org", true, "HOOKS.example.ORG", 443, true),
            ("hooks.example.org", false, "hooks.example.org", 443, false),
            ("hooks.example.org", false, "hooks.example.org", 80, false),
            ("hooks.example.org", true, "hooks.example.org", 8443, false),
            ("hooks.example.org", true, "example.org", 443, false),
            ("hooks.example.org", true, "a.hooks.example.org", 443, false),
            ("hooks.example.org", true, "hooks.example.org.", 443, false),
            ("hooks.example.org:80", false, "hooks.example.org", 80, true),
            ("hooks.example.org:8443", true, "hooks.example.org", 8443, true),
            ("hooks.example.org:8443", true, "hooks.example.org", 443, false),
            ("münchen.example", true, "xn--mnchen-3ya.example", 443, true),
            ("127.0.0.1:8080", false, "127.0.0.1", 8080, true),
            ("127.0.0.1:8080", false, "::ffff:127.0.0.1", 8080, true),
            ("127.0.0.1:8080", false, "127.1", 8080, false),
            ("127.0.0.1:8080", false, "localhost", 8080, false),
            ("[::1]:8080", false, "::1", 8080, true),
            ("[::1]:8080", false, "0:0:0:0:0:0:0:1", 8080, true),
            ("::1", true, "::1", 443, true),
            ("[::1]", true, "::1", 443, true),
        ] {
            let host_listed: HttpHost = listed.parse().unwrap();
            assert_eq!(host_listed.admits(tls, host, port), expected, "{listed}: {host} {port}, TLS {tls}");
        }
        let local: HttpHost = "10.0.0.1:80".parse().unwrap();
        assert!(local.names("10.0.0.1:80".parse().unwrap()) && local.names("[::ffff:10.0.0.1]:80".parse().unwrap()));
        assert!(!local.names("10.0.0.1:443".parse().unwrap()) && !local.names("10.0.0.2:80".parse().unwrap()));
    }

    #[test]
    fn what_is_no_server() {
        for text in [
            "",
            ":80",
            "a b",
            "https://hooks.example.org",
            "hooks.example.org/path",
            "hooks.example.org:",
            "*",
            "hooks.example.org:0",
            "hooks.example.org:65536",
            "hooks.example.org:+80",
            "user@hooks.example.org",
            "[::1",
            "127.0.0.1:0",
            "*.example.org",
            "-.example",
        ] {
            let error = text.parse::<HttpHost>().expect_err(text);
            assert!(error.contains("write it like"), "{text}: {error}");
        }
        for text in ["hooks.example.org", "hooks.example.org:8443", "127.0.0.1:8080", "[::1]:8080"] {
            assert_eq!(text.parse::<HttpHost>().unwrap().to_string(), text);
        }
    }
}
