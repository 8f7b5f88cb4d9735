//! Questions to the DNS.
//!
//! Owns one resolver for all who ask: its bounds, its cache, and what an answer's signatures prove. Refuses to know what
//! the answers are for. Fails with [`NoAnswer`], which tells what is not there from what nobody can say now (RFC 2308),
//! and both from what is forged (RFC 4035 section 5).

mod anchors;
mod answer;
mod cache;
#[cfg(test)]
pub(crate) mod fake;
mod told;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    proto::{
        dnssec::TrustAnchors,
        rr::{Name, RData, RecordType},
    },
    system_conf::read_system_conf,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use self::told::Told;
use self::{answer::Found, cache::Cache, told::Table};
use crate::config::Dns;

/// Questions that may be under way at a time; others wait, within their own time.
const UNDER_WAY: usize = 256;

/// What was asked for, and how much it can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The name that has the records, behind all aliases (CNAME); without its last dot.
    pub name: String,
    /// At least one.
    pub records: Vec<T>,
    /// Signatures prove it, aliases too, from the root on. Else the zone is unsigned, or nobody looked.
    pub secure: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// There is nothing of the kind: NXDOMAIN or no data.
    #[error("{}", if *exists { "the name has no such record" } else { "there is no such name" })]
    NotFound {
        /// The name has other records, or names below it.
        exists: bool,
        /// Signatures prove that there is nothing.
        secure: bool,
    },
    /// Nobody knows now: no name server answers, or those of the domain are broken.
    #[error("the DNS does not answer: {0}")]
    Temporary(String),
    /// There are signatures and they do not fit. It may be forged, or the domain's keys are in disorder.
    #[error("the answer is not signed as it should be (DNSSEC)")]
    Bogus,
    /// It is no name at all.
    #[error("{0:?} is no domain name")]
    Invalid(String),
}

/// A mail exchanger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Lower first.
    pub preference: u16,
    /// Without its last dot; `.` is a null MX (RFC 7505).
    pub name: String,
}

/// How a server's certificate is recognised (RFC 6698 section 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// 3: the certificate itself; 2: one of those that vouch for it.
    pub usage: u8,
    /// 0: the certificate; 1: its public key.
    pub selector: u8,
    /// 0: as it is; 1: its SHA-256; 2: its SHA-512.
    pub matching: u8,
    /// Of the certificate or key.
    pub data: Vec<u8>,
}

/// Why there is no resolver: the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The name servers can not be used.
    #[error("dns.servers: the resolver can not be set up: {0}")]
    Servers(String),
    /// The keys to begin with can not be read.
    #[error("dns.trust-anchors: {0}")]
    Anchors(String),
}

/// Asks. A clone is the same one.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    hickory: TokioResolver,
    /// Signatures are checked.
    checks: bool,
    timeout: Duration,
    under_way: Semaphore,
    cache: Mutex<Cache>,
    /// It was found out why answers look forged.
    explained: AtomicBool,
    /// Answers that were made up; with them nobody is asked.
    told: Option<Table>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("checks", &self.inner.checks).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Needs no runtime yet, and asks nobody.
    ///
    /// # Errors
    /// The name servers can not be used, or the file with the keys.
    pub fn new(dns: &Dns) -> Result<Self, SetupError> {
        let anchors = dns.trust_anchors.as_deref().map(anchors::read).transpose().map_err(SetupError::Anchors)?;
        Self::trusting(dns, anchors, None)
    }

    /// With other keys for the root than those of the real one, or with answers that were made up.
    fn trusting(dns: &Dns, anchors: Option<TrustAnchors>, told: Option<Table>) -> Result<Self, SetupError> {
        let servers = if dns.servers.is_empty() {
            system_servers()
        } else {
            dns.servers.iter().map(|address| server(address.ip(), address.port())).collect()
        };
        let timeout = Duration::from_secs(dns.timeout);
        let mut options = ResolverOpts::default();
        // Three attempts have to fit.
        options.timeout = timeout / 3;
        options.attempts = 2;
        options.validate = dns.dnssec;
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = UNDER_WAY;
        // Its own cache forgets what is not there, which is most of what is asked here.
        options.cache_size = 0;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        if let Some(anchors) = anchors {
            builder = builder.with_trust_anchor(Arc::new(anchors));
        }
        let hickory = builder.build().map_err(|error| SetupError::Servers(error.to_string()))?;
        let cache = Mutex::new(Cache::new(dns.cache));
        let under_way = Semaphore::new(UNDER_WAY);
        Ok(Self {
            inner: Arc::new(Inner {
                hickory,
                checks: dns.dnssec,
                timeout,
                under_way,
                cache,
                explained: AtomicBool::new(false),
                told,
            }),
        })
    }

    /// MX, those to be tried first at the front.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn mx(&self, name: &str) -> Result<Answer<Exchange>, NoAnswer> {
        let mut answer = self.ask(parse(name)?, RecordType::MX).await?.typed(|data| match data {
            RData::MX(mx) => Some(Exchange { preference: mx.preference, name: answer::text(&mx.exchange) }),
            _ => None,
        });
        answer.records.sort_by_key(|exchange| exchange.preference);
        Ok(answer)
    }

    /// A and AAAA. One of the two is enough.
    ///
    /// # Errors
    /// [`NoAnswer`]; that there is nothing only if it is known of both.
    pub async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, NoAnswer> {
        let name = parse(name)?;
        let (v4, v6) = tokio::join!(self.ask(name.clone(), RecordType::A), self.ask(name, RecordType::AAAA));
        let address = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        match (v4.map(|found| found.typed(address)), v6.map(|found| found.typed(address))) {
            (Ok(mut v4), Ok(v6)) => {
                v4.records.extend(v6.records);
                v4.secure &= v6.secure;
                Ok(v4)
            }
            (Ok(answer), Err(_)) | (Err(_), Ok(answer)) => Ok(answer),
            (Err(NoAnswer::NotFound { exists: a, secure: b }), Err(NoAnswer::NotFound { exists: c, secure: d })) => {
                Err(NoAnswer::NotFound { exists: a || c, secure: b && d })
            }
            (Err(NoAnswer::NotFound { .. }), Err(error)) | (Err(error), Err(_)) => Err(error),
        }
    }

    /// CNAME: what the name stands for, one step further.
    ///
    /// # Errors
    /// [`NoAnswer`]; that there is nothing where the name is no alias.
    pub async fn alias(&self, name: &str) -> Result<Answer<String>, NoAnswer> {
        Ok(self.ask(parse(name)?, RecordType::CNAME).await?.typed(|data| match data {
            RData::CNAME(target) => Some(answer::text(&target.0)),
            _ => None,
        }))
    }

    /// TXT, the strings of each record joined.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn txt(&self, name: &str) -> Result<Answer<Vec<u8>>, NoAnswer> {
        Ok(self.ask(parse(name)?, RecordType::TXT).await?.typed(|data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        }))
    }

    /// PTR: the names of an address, without their last dots. Whoever has the address says what they are.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn ptr(&self, address: IpAddr) -> Result<Answer<String>, NoAnswer> {
        Ok(self.ask(Name::from(address.to_canonical()), RecordType::PTR).await?.typed(|data| match data {
            RData::PTR(name) => Some(answer::text(name)),
            _ => None,
        }))
    }

    /// TLSA, to be asked of `_25._tcp.` and a host. Of use only if the answer is secure (RFC 7672 section 2.1).
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn tlsa(&self, name: &str) -> Result<Answer<Tlsa>, NoAnswer> {
        Ok(self.ask(parse(name)?, RecordType::TLSA).await?.typed(|data| match data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        }))
    }

    /// From the cache, or from a name server.
    async fn ask(&self, mut name: Name, kind: RecordType) -> Result<Arc<Found>, NoAnswer> {
        let inner = &*self.inner;
        // Not below the domains of whoever runs this.
        name.set_fqdn(true);
        let key = (name, kind);
        if let Some(told) = &inner.told {
            return told.answer(&key);
        }
        if let Some(kept) = inner.cache.lock().get(&key, Instant::now()) {
            return kept;
        }
        let asked = async {
            let _permit = inner.under_way.acquire().await;
            inner.hickory.lookup(key.0.clone(), kind).await
        };
        let (answer, keep) = match tokio::time::timeout(inner.timeout, asked).await {
            Ok(result) => answer::read(&key.0, kind, result, inner.checks),
            Err(_) => answer::failed(format!("no answer within {} s", inner.timeout.as_secs())),
        };
        inner.cache.lock().put(key, &answer, keep, Instant::now());
        if answer == Err(NoAnswer::Bogus) && !inner.explained.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.clone().explain());
        }
        answer
    }

    /// Name servers that leave signatures out make every answer look forged. The operator should hear of it, once.
    async fn explain(self) {
        let root = self.inner.hickory.lookup(Name::root(), RecordType::SOA);
        let Ok(result) = tokio::time::timeout(self.inner.timeout, root).await else { return };
        if !answer::read(&Name::root(), RecordType::SOA, result, true).0.is_ok_and(|found| found.secure) {
            tracing::error!(
                "the name servers leave signatures out, so that every answer looks forged; use others (dns.servers), or set \
                 dns.dnssec = false"
            );
        }
    }
}

fn server(ip: IpAddr, port: u16) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].into_iter().map(|mut connection| {
        connection.port = port;
        connection
    });
    NameServerConfig::new(ip, true, connections.collect())
}

/// Those of `/etc/resolv.conf`; without one, that of this machine, as in `resolv.conf(5)`.
fn system_servers() -> Vec<NameServerConfig> {
    match read_system_conf() {
        Ok((config, _)) if !config.name_servers().is_empty() => config.name_servers().to_vec(),
        Ok(_) => vec![server(Ipv4Addr::LOCALHOST.into(), 53)],
        Err(error) => {
            tracing::warn!(%error, "/etc/resolv.conf can not be used; the name server is taken to be 127.0.0.1");
            vec![server(Ipv4Addr::LOCALHOST.into(), 53)]
        }
    }
}

/// A name as a question; U-labels become A-labels.
fn parse(text: &str) -> Result<Name, NoAnswer> {
    let invalid = || NoAnswer::Invalid(text.chars().take(255).collect());
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    if text.is_empty() || text.len() > 1024 || text.contains(odd) {
        return Err(invalid());
    }
    let name = if text.is_ascii() { Name::from_ascii(text) } else { Name::from_utf8(text) };
    name.map_err(|_| invalid())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
