//! Requests to servers that the grant lists.

use std::{collections::HashSet, future::Future, net::IpAddr, sync::Arc};

use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use rustls_pki_types::ServerName;
use sha2::{Digest as _, Sha256};

use super::{
    Code, Guest, fault,
    reach::{Target, admitted, target},
};
use crate::{
    plugin::{
        bindings::hermetic::plugin::{
            http::{Field, Host, Response},
            types::Fault,
        },
        hook::Message,
        network::Network,
        reason::clean,
    },
    transport::http::{HttpError, Pieces},
};

/// Methods that only ask for, or hand over, a document. CONNECT and TRACE do something else.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
/// Fields that say how a message is framed or where a connection leads (RFC 9110 section 7.6.1). They are the host's.
const OURS: [&str; 12] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
];
/// Fields of a request.
const FIELDS: usize = 64;
/// Octets of all of them.
const OCTETS: usize = 16 << 10;
/// Octets of a body that a plugin hands over.
const BODY: usize = 1 << 20;

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        let code = match error {
            HttpError::TooLarge => Code::Limit,
            _ => Code::Unavailable,
        };
        fault(code, clean(&error.to_string(), 400))
    }
}

/// The fields of a request, checked: none of them can end its line, or the head.
fn fields(given: &[Field], target: &Target) -> Result<HeaderMap, Fault> {
    let octets: usize = given.iter().map(|field| field.name.len() + field.value.len()).sum();
    if given.len() > FIELDS || octets > OCTETS {
        return Err(fault(Code::Limit, format!("at most {FIELDS} fields of {OCTETS} octets together")));
    }
    let invalid = |field: &Field| fault(Code::Invalid, format!("not a field: {}", clean(&field.name, 80)));
    let ours: HashSet<_> = OURS.into_iter().collect();
    let mut fields = HeaderMap::new();
    for field in given {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| invalid(field))?;
        if ours.contains(name.as_str()) {
            return Err(fault(Code::Invalid, format!("the field {name} is the host's")));
        }
        fields.append(name, HeaderValue::from_str(&field.value).map_err(|_| invalid(field))?);
    }
    let host = HeaderValue::from_str(&target.authority).map_err(|_| fault(Code::Invalid, "not a server"))?;
    fields.insert(HOST, host);
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    fields.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("hermetic/", env!("CARGO_PKG_VERSION"))));
    Ok(fields)
}

/// The octets of a message from here on, without a copy of them.
struct Rest(Arc<Message>, usize);

impl AsRef<[u8]> for Rest {
    fn as_ref(&self) -> &[u8] {
        self.0.content.get(self.1..).unwrap_or_default()
    }
}

impl Guest {
    /// Everything that can be said before anybody is asked. What comes back goes on without the plugin.
    fn request(
        &mut self,
        method: &str,
        url: &str,
        given: &[Field],
        body: Pieces,
    ) -> Result<impl Future<Output = Result<Response, Fault>> + Send + use<>, Fault> {
        let settings = Arc::clone(&self.transaction.settings);
        if settings.servers.is_empty() {
            return Err(fault(Code::NotGranted, "grants.http is not set"));
        }
        let most = settings.limits.http_requests;
        if self.call.requests >= most {
            return Err(fault(Code::Limit, format!("limits.http-requests are {most} in a call")));
        }
        let method = METHODS.into_iter().find(|one| one.as_str() == method);
        let method =
            method.ok_or_else(|| fault(Code::Invalid, "methods are GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))?;
        let target = target(&settings.servers, url)?;
        let fields = fields(given, &target)?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = fields;
        *request.uri_mut() = target.path.parse().map_err(|_| fault(Code::Invalid, "not a path"))?;
        self.call.requests += 1;
        Ok(async move { send(&settings.network, &settings.servers, target, request).await })
    }
}

/// Resolves, looks at every address, and connects to one of those that passed.
async fn send(
    network: &Network,
    granted: &[crate::config::HttpHost],
    target: Target,
    request: Request<Pieces>,
) -> Result<Response, Fault> {
    let addresses: Vec<IpAddr> = match target.host.parse() {
        Ok(address) => vec![address],
        Err(_) => network.resolver.addresses(&target.host).await?.records,
    };
    let sockets = admitted(granted, &addresses, target.port)?;
    let name = match target.tls {
        true => Some(ServerName::try_from(target.host).map_err(|_| fault(Code::Invalid, "not a name for TLS"))?),
        false => None,
    };
    let response = network.client.send(&sockets, name, request).await?;
    let fields = response.fields.into_iter().map(|(name, value)| Field { name, value }).collect();
    Ok(Response { status: response.status, fields, body: response.body })
}

/// What is written down of a request: of fields their names, for values may be keys to a server; of the body its hash.
fn sent(method: &str, url: &str, fields: &[Field], body: &[&[u8]]) -> serde_json::Value {
    let mut hash = Sha256::new();
    body.iter().for_each(|part| hash.update(part));
    let hash: String = hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect();
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    serde_json::json!([method, url, names, format!("sha256:{hash}")])
}

impl Host for Guest {
    async fn send(
        &mut self,
        method: String,
        url: String,
        fields: Vec<Field>,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<Response, Fault>> {
        let asked = self.asked(|| sent(&method, &url, &fields, &[&body]));
        if let Some(answer) = self.recorded("http.send", asked.as_ref())? {
            return Ok(answer);
        }
        let answer = self
            .waiting_seam("http.send", |guest| {
                if body.len() > BODY {
                    return Err(fault(Code::Limit, format!("a body has at most {BODY} octets")));
                }
                guest.request(&method, &url, &fields, Pieces::new([Bytes::from(body)]))
            })
            .await?;
        if let Some((ledger, asked)) = asked {
            ledger.add("http.send", asked, &answer);
        }
        Ok(answer)
    }

    async fn send_message(
        &mut self,
        method: String,
        url: String,
        fields: Vec<Field>,
    ) -> wasmtime::Result<Result<Response, Fault>> {
        let asked = match &self.transaction.ledger {
            None => None,
            Some(ledger) => {
                let ledger = Arc::clone(ledger);
                let asked = match self.rendered() {
                    Some((head, message, from)) => sent(&method, &url, &fields, &[head, Rest(message, from).as_ref()]),
                    None => sent(&method, &url, &fields, &[]),
                };
                Some((ledger, asked))
            }
        };
        if let Some(answer) = self.recorded("http.send-message", asked.as_ref())? {
            return Ok(answer);
        }
        let answer = self
            .waiting_seam("http.send-message", |guest| {
                let none = || fault(Code::Unavailable, "there is no message yet");
                let (head, message, from) = guest.rendered().ok_or_else(none)?;
                let body = Pieces::new([Bytes::copy_from_slice(head), Bytes::from_owner(Rest(message, from))]);
                guest.request(&method, &url, &fields, body)
            })
            .await?;
        if let Some((ledger, asked)) = asked {
            ledger.add("http.send-message", asked, &answer);
        }
        Ok(answer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
