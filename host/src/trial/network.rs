//! A network that was made up: what a scenario says of the DNS and of servers, and nothing else.

use std::{net::Ipv4Addr, sync::Arc};

use hyper::header::HOST;
use parking_lot::Mutex;

use super::{
    expect::fits,
    scenario::{Scenario, ScenarioError, Server},
};
use crate::{
    dns::{Resolver, Told},
    plugin::Network,
    transport::http::{Client, HttpError, Response},
};

/// The requests so far, each as `METHOD URL`.
pub type Requests = Arc<Mutex<Vec<String>>>;

/// An address for servers of which the DNS says nothing. It is public, for others are refused, and nobody connects to it.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

impl Scenario {
    /// The network of this scenario, and where the requests of its plugin are written down.
    ///
    /// # Errors
    /// A name that is none.
    pub fn network(&self) -> Result<(Network, Requests), ScenarioError> {
        let mut names = self.dns.clone();
        for server in &self.http {
            let url = server.url.parse::<hyper::Uri>().ok();
            if let Some(host) = url.as_ref().and_then(hyper::Uri::host).filter(|host| !host.contains('*')) {
                let somewhere = || Told { addresses: vec![SOMEWHERE.into()], ..Told::default() };
                names.entry(host.to_owned()).or_insert_with(somewhere);
            }
        }
        let resolver = Resolver::told(&names).map_err(|error| ScenarioError::Network(error.to_string()))?;
        let requests = Requests::default();
        let (servers, seen) = (self.http.clone(), Arc::clone(&requests));
        let client = Client::told(Arc::new(move |tls, request| {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let url = format!("{}://{host}{}", if tls { "https" } else { "http" }, request.uri());
            let method = request.method().as_str();
            seen.lock().push(format!("{method} {url}"));
            respond(&servers, method, &url)
        }));
        Ok((Network { resolver, client }, requests))
    }
}

fn respond(servers: &[Server], method: &str, url: &str) -> Result<Response, HttpError> {
    let fitting =
        |server: &&Server| fits(&server.url, url) && server.method.as_deref().is_none_or(|wanted| wanted == method);
    match servers.iter().find(fitting) {
        Some(server) if !server.unavailable => Ok(Response {
            status: server.status.unwrap_or(200),
            fields: server.fields.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect(),
            body: server.body.clone().into_bytes(),
        }),
        Some(_) => Err(HttpError::Broken("it does not answer".into())),
        None => Err(HttpError::Broken(format!("the scenario says nothing of {method} {url}"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use hyper::Request;

    use super::*;
    use crate::transport::http::Pieces;

    #[tokio::test]
    async fn servers_that_were_made_up() {
        let scenario: Scenario = toml::from_str(
            "[[http]]\nurl = 'https://a.example/in'\nmethod = 'POST'\nstatus = 503\nbody = 'later'\n
             [[http]]\nurl = 'https://a.example/*'\nfields = { X = 'y' }\n
             [[http]]\nurl = 'http://b.example/'\nunavailable = true\n",
        )
        .unwrap();
        let (network, requests) = scenario.network().unwrap();
        assert_eq!(network.resolver.addresses("a.example").await.unwrap().records, [SOMEWHERE]);
        assert!(network.resolver.addresses("c.example").await.is_err());
        let send = async |method: &str, host: &str, path: &str, tls: bool| {
            let request =
                Request::builder().method(method).uri(path).header(HOST, host).body(Pieces::default()).unwrap();
            let name = tls.then(|| rustls_pki_types::ServerName::try_from(host.to_owned()).unwrap());
            network.client.send(&[], name, request).await
        };
        let later = send("POST", "a.example", "/in", true).await.unwrap();
        assert_eq!((later.status, &later.body[..]), (503, &b"later"[..]));
        let other = send("GET", "a.example", "/in", true).await.unwrap();
        assert_eq!((other.status, other.fields), (200, vec![("x".to_owned(), "y".to_owned())]));
        assert!(send("GET", "b.example", "/", false).await.is_err());
        let unknown = send("GET", "a.example", "/", false).await.unwrap_err().to_string();
        assert!(unknown.contains("nothing of GET http://a.example/"), "{unknown}");
        assert_eq!(requests.lock()[..2], ["POST https://a.example/in", "GET https://a.example/in"]);
    }
}
