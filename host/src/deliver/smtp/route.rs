//! From a domain to the hosts that take its mail (RFC 5321 section 5).
//!
//! Owns the order in which hosts are tried, the null MX (RFC 7505), and the rule that keeps mail from going round in
//! circles. Refuses to connect. Fails with [`Unroutable`], which tells what may change from what will not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::seq::SliceRandom as _;

use crate::dns::{Answer, Exchange, NoAnswer, Resolver};

/// Hosts of one domain that are looked at; RFC 5321 section 5.1 lets a sender bound them.
const HOSTS: usize = 16;
/// Addresses of one host that are tried.
const ADDRESSES: usize = 8;

/// A host that takes mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Its name, or `[192.0.2.1]`.
    pub name: String,
    /// Where it is, if no look-up is needed.
    pub address: Option<IpAddr>,
    /// The TCP port.
    pub port: u16,
    /// Signatures prove that it takes this domain's mail, so that DANE may count (RFC 7672 section 2.2.1). True where the
    /// operator or the address itself said so.
    pub secure: bool,
}

/// Why there is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unroutable {
    /// It may change.
    #[error("{text}")]
    Later {
        /// `4.4.3` without its class.
        status: (u16, u16),
        /// For the operator.
        text: String,
    },
    /// It will not.
    #[error("{text}")]
    Never {
        /// `5.1.2` without its class.
        status: (u16, u16),
        /// For the sender.
        text: String,
    },
}

impl Unroutable {
    fn later(text: String) -> Self {
        Self::Later { status: (4, 3), text }
    }

    fn never(subject: u16, detail: u16, text: String) -> Self {
        Self::Never { status: (subject, detail), text }
    }
}

/// Who we are: where mail must not go back to.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The server's name.
    pub name: String,
    /// Where it listens.
    pub listens: Vec<SocketAddr>,
}

impl Own {
    fn is(&self, name: &str) -> bool {
        self.name.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'))
    }

    /// Would we be talking to ourselves?
    fn is_at(&self, address: IpAddr, port: u16) -> bool {
        let any = |own: &SocketAddr| own.ip().is_unspecified() && address.is_loopback();
        self.listens.iter().any(|own| own.port() == port && (own.ip().to_canonical() == address || any(own)))
    }
}

/// The hosts of a domain in the order in which they are to be tried. `port`: that of SMTP, 25.
///
/// # Errors
/// [`Unroutable`].
pub async fn hosts(resolver: &Resolver, domain: &str, own: &Own, port: u16) -> Result<Vec<Host>, Unroutable> {
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address = literal_address(literal)
            .ok_or_else(|| Unroutable::never(1, 2, format!("{domain} is no address that can be reached")))?;
        if own.is_at(address, port) {
            return Err(Unroutable::never(4, 6, format!("{domain} is this server, which does not take mail for it")));
        }
        return Ok(vec![Host { name: domain.to_owned(), address: Some(address), port, secure: true }]);
    }
    exchangers(domain, resolver.mx(domain).await, own, port)
}

/// What the answer to the question for MX means.
fn exchangers(
    domain: &str,
    answer: Result<Answer<Exchange>, NoAnswer>,
    own: &Own,
    port: u16,
) -> Result<Vec<Host>, Unroutable> {
    let mut answer = match answer {
        Ok(answer) => answer,
        // The domain itself, by its addresses (section 5.1). Whether there are any, the next look-up says.
        Err(NoAnswer::NotFound { exists: true, secure }) => {
            let host = Host { name: domain.to_owned(), address: None, port, secure };
            return if own.is(domain) { Err(ours(domain)) } else { Ok(vec![host]) };
        }
        Err(NoAnswer::NotFound { exists: false, .. }) => {
            return Err(Unroutable::never(1, 2, format!("there is no domain {domain}")));
        }
        Err(error @ NoAnswer::Invalid(_)) => return Err(Unroutable::never(1, 2, error.to_string())),
        Err(error) => return Err(Unroutable::later(format!("the mail exchangers of {domain}: {error}"))),
    };
    if answer.records.iter().all(|exchange| exchange.name == ".") {
        return Err(Unroutable::never(1, 10, format!("{domain} takes no mail (null MX)")));
    }
    answer.records.retain(|exchange| exchange.name != ".");
    // Ours and what is not better than ours are left out: whoever is there would send it to us.
    if let Some(best) = answer.records.iter().filter(|one| own.is(&one.name)).map(|one| one.preference).min() {
        answer.records.retain(|exchange| exchange.preference < best);
        if answer.records.is_empty() {
            return Err(ours(domain));
        }
    }
    answer.records.shuffle(&mut rand::rng());
    answer.records.sort_by_key(|exchange| exchange.preference);
    let mut hosts: Vec<Host> = Vec::with_capacity(answer.records.len().min(HOSTS));
    for exchange in answer.records {
        if hosts.len() < HOSTS && !hosts.iter().any(|host| host.name.eq_ignore_ascii_case(&exchange.name)) {
            hosts.push(Host { name: exchange.name, address: None, port, secure: answer.secure });
        }
    }
    Ok(hosts)
}

fn ours(domain: &str) -> Unroutable {
    let text = format!("the best mail exchanger of {domain} is this server, which does not take mail for it");
    Unroutable::never(4, 6, text)
}

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// In the order in which they are to be tried.
    pub addresses: Vec<SocketAddr>,
    /// The host's name behind all aliases (CNAME).
    pub name: String,
    /// Signatures prove all of it.
    pub secure: bool,
}

/// Where a host is. IPv6 and IPv4 take turns (RFC 8305 section 4).
///
/// # Errors
/// [`Unroutable`]: of this host alone, others may be better.
pub async fn addresses(resolver: &Resolver, host: &Host, own: &Own) -> Result<Located, Unroutable> {
    if let Some(address) = host.address {
        let addresses = vec![SocketAddr::new(address, host.port)];
        return Ok(Located { addresses, name: host.name.clone(), secure: true });
    }
    located(host, resolver.addresses(&host.name).await, own)
}

fn located(host: &Host, answer: Result<Answer<IpAddr>, NoAnswer>, own: &Own) -> Result<Located, Unroutable> {
    let name = &host.name;
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer::NotFound { .. } | NoAnswer::Invalid(_)) => {
            return Err(Unroutable::never(4, 4, format!("{name} has no address")));
        }
        Err(error) => return Err(Unroutable::later(format!("the addresses of {name}: {error}"))),
    };
    if answer.records.iter().any(|address| own.is_at(address.to_canonical(), host.port)) {
        return Err(Unroutable::never(4, 6, format!("{name} is this server, which does not take mail for the domain")));
    }
    let (mut v6, mut v4) = (Vec::new(), Vec::new());
    for address in answer.records {
        if address.is_ipv6() { v6.push(address) } else { v4.push(address) }
    }
    v6.shuffle(&mut rand::rng());
    v4.shuffle(&mut rand::rng());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut addresses = Vec::new();
    while addresses.len() < ADDRESSES {
        let two = [v6.next(), v4.next()];
        if two == [None, None] {
            break;
        }
        addresses.extend(two.into_iter().flatten().map(|ip| SocketAddr::new(ip, host.port)));
    }
    addresses.truncate(ADDRESSES);
    Ok(Located { addresses, name: answer.name, secure: answer.secure })
}

/// RFC 5321 section 4.1.3.
fn literal_address(literal: &str) -> Option<IpAddr> {
    let address = match literal.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => literal.get(5..)?.parse::<Ipv6Addr>().ok()?.into(),
        _ => IpAddr::V4(literal.parse::<Ipv4Addr>().ok()?),
    };
    let address = address.to_canonical();
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn own() -> Own {
        Own { name: "me.example".into(), listens: vec!["0.0.0.0:25".parse().unwrap(), "192.0.2.9:25".parse().unwrap()] }
    }

    fn mx(records: &[(u16, &str)]) -> Result<Answer<Exchange>, NoAnswer> {
        let exchange = |(preference, name): &(u16, &str)| Exchange { preference: *preference, name: (*name).into() };
        Ok(Answer { name: "far.example".into(), records: records.iter().map(exchange).collect(), secure: false })
    }

    #[test]
    fn who_takes_the_mail() {
        let nothing = |exists| Err(NoAnswer::NotFound { exists, secure: false });
        for (answer, expected) in [
            (mx(&[(20, "b.example"), (10, "a.example")]), "a.example b.example"),
            (mx(&[(10, "a.example"), (20, "A.example"), (20, "b.example")]), "a.example b.example"),
            (nothing(true), "far.example"),
            (nothing(false), "5.1.2 there is no domain far.example"),
            (mx(&[(0, ".")]), "5.1.10 far.example takes no mail (null MX)"),
            (mx(&[(0, "."), (10, "a.example")]), "a.example"),
            (mx(&[(10, "a.example"), (20, "ME.example"), (20, "b.example"), (30, "c.example")]), "a.example"),
            (mx(&[(10, "me.example"), (20, "b.example")]), "5.4.6 the best mail exchanger"),
            (Err(NoAnswer::Bogus), "4.4.3 the mail exchangers of far.example: the answer is not signed"),
            (Err(NoAnswer::Temporary("no".into())), "4.4.3 the mail exchangers of far.example: the DNS does not"),
            (Err(NoAnswer::Invalid("x y".into())), "5.1.2"),
        ] {
            let found = match exchangers("far.example", answer.clone(), &own(), 25) {
                Ok(hosts) => hosts.into_iter().map(|host| host.name).collect::<Vec<_>>().join(" "),
                Err(error @ Unroutable::Later { status: (subject, detail), .. }) => {
                    format!("4.{subject}.{detail} {error}")
                }
                Err(error @ Unroutable::Never { status: (subject, detail), .. }) => {
                    format!("5.{subject}.{detail} {error}")
                }
            };
            assert!(found.starts_with(expected), "{answer:?}: {found}");
        }
    }

    #[test]
    fn equals_are_shuffled_and_bounded() {
        let names: Vec<String> = (0..100).map(|i| format!("{i}.example")).collect();
        let records: Vec<_> = names.iter().map(|name| (10, name.as_str())).collect();
        let one = exchangers("far.example", mx(&records), &own(), 25).unwrap();
        let two = exchangers("far.example", mx(&records), &own(), 25).unwrap();
        assert_eq!((one.len(), two.len()), (HOSTS, HOSTS));
        assert_ne!(one, two);
    }

    #[test]
    fn where_hosts_are() {
        let at = |texts: &[&str]| {
            let records = texts.iter().map(|text| text.parse().unwrap()).collect();
            Ok(Answer { name: "a.example".into(), records, secure: true })
        };
        let host = Host { name: "a.example".into(), address: None, port: 25, secure: true };
        let find = |answer| located(&host, answer, &own());
        let there = find(at(&["192.0.2.1", "192.0.2.2", "2001:db8::1"])).unwrap();
        let found = there.addresses;
        assert!(there.secure && found.len() == 3 && found[0].is_ipv6() && found[1].is_ipv4(), "{found:?}");
        for (answer, expected) in [
            (at(&["192.0.2.1", "192.0.2.9"]), "this server"),
            (at(&["127.0.0.1"]), "this server"),
            (Err(NoAnswer::NotFound { exists: true, secure: true }), "has no address"),
            (Err(NoAnswer::Bogus), "not signed"),
        ] {
            let error = find(answer).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn literals() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("IPv6:2001:db8::1", Some("2001:db8::1")),
            ("ipv6:::ffff:192.0.2.1", Some("192.0.2.1")),
            ("2001:db8::1", None),
            ("0.0.0.0", None),
            ("192.0.2", None),
            ("tag:x", None),
        ] {
            assert_eq!(literal_address(text).map(|ip| ip.to_string()).as_deref(), expected, "{text}");
        }
    }
}
