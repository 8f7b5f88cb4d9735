//! Where operators reach the running server: `[admin]`.
//!
//! Owns the form of `admin.listen`, and that nobody but this machine can be let in by it. Refuses to listen. Fails with what is
//! wrong and how to mend it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::network::Endpoint;

/// The admin API.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Admin {
    /// A loopback address, `unix:PATH`, or `off`; absent: a Unix socket below the data folder.
    pub listen: Option<String>,
}

impl Admin {
    /// Where it is served; None: nowhere. Fails with what is wrong with what was written.
    pub fn endpoint(&self, data: &Path) -> Result<Option<Endpoint>, String> {
        let endpoint = match self.listen.as_deref() {
            None => Endpoint::Unix(data.join("admin").join("socket")),
            Some("off") => return Ok(None),
            Some(text) => text.parse().map_err(|problem| {
                format!("{problem}; write it like \"127.0.0.1:8025\", \"unix:/run/hermetic/admin\" or \"off\"")
            })?,
        };
        match endpoint {
            Endpoint::Tcp(address) if !address.ip().to_canonical().is_loopback() => Err(format!(
                "{address} can be reached by others, and whoever can use the admin API can read and drop mail; use \
                 127.0.0.1:{0} or [::1]:{0}",
                address.port()
            )),
            endpoint => Ok(Some(endpoint)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (listen, expected) in [
            (None, "unix:/data/admin/socket"),
            (Some("off"), "nowhere"),
            (Some("127.0.0.1:8025"), "127.0.0.1:8025"),
            (Some("[::1]:8025"), "[::1]:8025"),
            (Some("unix:/run/a"), "unix:/run/a"),
            (Some("0.0.0.0:8025"), "0.0.0.0:8025 can be reached by others"),
            (Some("192.0.2.1:8025"), "192.0.2.1:8025 can be reached by others"),
            (Some("localhost:8025"), "\"localhost:8025\" is no address with a port; write it like"),
            (Some("unix:"), "the path of the socket is missing; write it like"),
        ] {
            let admin = Admin { listen: listen.map(Into::into) };
            let said = match admin.endpoint(Path::new("/data")) {
                Ok(None) => "nowhere".to_owned(),
                Ok(Some(endpoint)) => endpoint.to_string(),
                Err(problem) => problem,
            };
            assert!(said.starts_with(expected), "{listen:?}: {said}");
        }
    }
}
