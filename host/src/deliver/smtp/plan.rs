//! What the configuration says of a destination.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::{
    connect::Whereabouts,
    route::{Host, Own, Unroutable, addresses, hosts},
    security::{Protection, Subject, Unprotected, protection},
    sts::Policy,
};
use crate::{
    config::{
        Config, Destination, Endpoint,
        outbound::{NamedHost, Protocol, Security, named_host, rate},
    },
    dns::Resolver,
};

/// How mail for one domain leaves.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In canonical form, or a literal in its brackets.
    pub domain: String,
    /// Our name.
    pub hello: String,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// TLS from the first octet on.
    pub implicit_tls: bool,
    /// EHLO keywords that count as not offered.
    pub ignore: Vec<String>,
    /// Who logs in, and the file with the password.
    pub login: Option<(String, PathBuf)>,
    /// Connections at a time, at most.
    pub connections: usize,
    /// Connections at a time until more is known of it.
    pub initial: usize,
    /// Milliseconds from one message to the next on average, and how many may go at once.
    pub rate: Option<(f64, f64)>,
    /// Messages in one connection.
    pub messages: usize,
    /// To the mailboxes of a local domain: nothing is signed, and no rule for the way between servers counts.
    pub local: bool,
    /// Addresses to connect from.
    pub source: Vec<IpAddr>,
    /// For a connection to be established.
    pub connect_timeout: Duration,
    tls: Security,
    named: Vec<NamedHost>,
    port: u16,
    own: Own,
}

/// What a connection is made under: one of another is not used for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    domain: String,
    hello: String,
    protocol: Protocol,
    implicit_tls: bool,
    ignore: Vec<String>,
    login: Option<(String, PathBuf)>,
    local: bool,
    source: Vec<IpAddr>,
    tls: Security,
    named: Vec<NamedHost>,
    port: u16,
}

/// A host, as it is tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    host: Host,
    socket: Option<Endpoint>,
}

impl Target {
    /// Its name, for people and certificates.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.host.name
    }
}

/// What the message and its domain ask for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// REQUIRETLS.
    pub require_tls: bool,
    /// `TLS-Required: No`.
    pub tls_optional: bool,
    /// The domain's MTA-STS policy.
    pub policy: Option<&'a Policy>,
}

/// Why a host is not tried.
#[derive(Debug, thiserror::Error)]
pub enum Unsuitable {
    /// It can not be found.
    #[error(transparent)]
    Unroutable(#[from] Unroutable),
    /// It can not be protected as it must be.
    #[error(transparent)]
    Unprotected(#[from] Unprotected),
}

impl Plan {
    /// For this domain.
    #[must_use]
    pub fn new(config: &Config, domain: &str) -> Self {
        let found = config.destinations.iter().find(|one| one.is_for(domain));
        let default = Destination {
            domains: Vec::new(),
            hosts: Vec::new(),
            tls: Security::default(),
            implicit_tls: false,
            protocol: Protocol::default(),
            login: None,
            password_file: None,
            ignore: Vec::new(),
            connections: None,
            initial_connections: None,
            rate: None,
            messages_per_connection: None,
        };
        let store = config.lmtp(domain);
        let one = found.filter(|_| store.is_none()).unwrap_or(&default);
        let outbound = &config.outbound;
        let listens = config.listeners.iter().filter_map(|listener| match listener.endpoint() {
            Ok(Endpoint::Tcp(address)) => Some(address),
            _ => None,
        });
        Self {
            domain: domain.to_owned(),
            hello: config.name.clone(),
            protocol: if store.is_some() { Protocol::Lmtp } else { one.protocol },
            implicit_tls: one.implicit_tls,
            ignore: one.ignore.clone(),
            login: one.login.clone().zip(one.password_file.clone()),
            connections: one.connections.unwrap_or(outbound.connections).max(1),
            initial: one.initial_connections.unwrap_or(outbound.initial_connections).max(1),
            rate: one.rate.as_deref().and_then(|text| rate(text).ok()),
            messages: one.messages_per_connection.unwrap_or(usize::MAX).max(1),
            source: outbound.source.clone(),
            connect_timeout: Duration::from_secs(outbound.connect_timeout),
            local: store.is_some(),
            tls: if store.is_some() { Security::Opportunistic } else { one.tls },
            // What can not be read was refused when the configuration was.
            named: one.hosts.iter().filter_map(|text| named_host(text).ok()).chain(store).collect(),
            port: outbound.port,
            own: Own { name: config.name.clone(), listens: listens.collect() },
        }
    }

    /// What its connections are made under.
    #[must_use]
    pub fn link(&self) -> Link {
        // All of a plan by name, so that whoever adds to it comes by here.
        let Self {
            domain,
            hello,
            protocol,
            implicit_tls,
            ignore,
            login,
            local,
            source,
            tls,
            named,
            port,
            connections: _,
            initial: _,
            rate: _,
            messages: _,
            connect_timeout: _,
            own: _,
        } = self.clone();
        Link { domain, hello, protocol, implicit_tls, ignore, login, local, source, tls, named, port }
    }

    /// Does it matter what the domain publishes over HTTPS?
    #[must_use]
    pub fn asks_for_policy(&self) -> bool {
        self.tls == Security::Published && self.named.is_empty() && !self.domain.starts_with('[')
    }

    /// Does what the domain publishes decide how its hosts are protected?
    #[must_use]
    pub fn is_as_published(&self) -> bool {
        let published = matches!(self.tls, Security::Published | Security::Dane);
        published && self.named.is_empty() && !self.local && !self.domain.starts_with('[')
    }

    /// In the order in which they are to be tried.
    ///
    /// # Errors
    /// [`Unroutable`].
    pub async fn targets(&self, resolver: &Resolver) -> Result<Vec<Target>, Unroutable> {
        if self.named.is_empty() {
            let found = hosts(resolver, &self.domain, &self.own, self.port).await?;
            return Ok(found.into_iter().map(|host| Target { host, socket: None }).collect());
        }
        let target = |named: &NamedHost| match named {
            NamedHost::Name(name, port) => {
                Target { host: Host { name: name.clone(), address: None, port: *port, secure: true }, socket: None }
            }
            NamedHost::At(endpoint) => {
                let (name, port) = match endpoint {
                    Endpoint::Tcp(address) => (format!("[{}]", address.ip()), address.port()),
                    Endpoint::Unix(path) => (path.display().to_string(), 0),
                };
                Target { host: Host { name, address: None, port, secure: true }, socket: Some(endpoint.clone()) }
            }
        };
        Ok(self.named.iter().map(target).collect())
    }

    /// Where it is and how it is protected.
    ///
    /// # Errors
    /// [`Unsuitable`]: the next one may be better.
    pub async fn reach(
        &self,
        resolver: &Resolver,
        target: &Target,
        wish: Wish<'_>,
    ) -> Result<(Whereabouts, Protection), Unsuitable> {
        let (whereabouts, expanded, address_secure) = match &target.socket {
            // On this machine, by the operator's word: nobody listens.
            Some(Endpoint::Unix(path)) => return Ok((Whereabouts::Unix(path.clone()), Protection::None)),
            Some(Endpoint::Tcp(address)) => (Whereabouts::Tcp(vec![*address]), target.host.name.clone(), true),
            None => {
                // Where the operator sends mail is the operator's business, be it ourselves.
                let nobody = Own::default();
                let own = if self.named.is_empty() { &self.own } else { &nobody };
                let found = addresses(resolver, &target.host, own).await?;
                (Whereabouts::Tcp(found.addresses), found.name, found.secure)
            }
        };
        let subject = Subject {
            domain: &self.domain,
            host: &target.host.name,
            expanded: &expanded,
            port: target.host.port,
            host_secure: target.host.secure,
            address_secure,
            named: !self.named.is_empty(),
            require_tls: wish.require_tls,
            tls_optional: wish.tls_optional,
            policy: wish.policy,
        };
        Ok((whereabouts, protection(resolver, self.tls, &subject).await?))
    }
}
