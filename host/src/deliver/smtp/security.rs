//! How a connection to a host has to be protected.
//!
//! Owns the order of the rules: the operator's, REQUIRETLS (RFC 8689), DANE (RFC 7672), MTA-STS (RFC 8461), opportunistic
//! TLS. Refuses to shake hands. Fails with [`Unprotected`], which names the rule; it is about one host, the next one may be better.

use std::fmt;

use super::sts::{Mode, Policy};
use crate::{
    config::outbound::Security,
    dns::{Answer, NoAnswer, Resolver, Tlsa},
    tlsrpt::ResultType,
    transport::trust::{Trust, usable},
};

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    /// No TLS.
    None,
    /// TLS where it is offered, and none where the handshake fails.
    Opportunistic,
    /// TLS, or nothing is sent: because of which rule.
    Required(Trust, Rule),
}

/// Who wants TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The operator, by `destination.tls`.
    Operator,
    /// The domain, by its TLSA records.
    Dane,
    /// The domain, by its policy.
    MtaSts,
    /// The sender.
    RequireTls,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "destination.tls",
            Self::Dane => "DANE",
            Self::MtaSts => "MTA-STS",
            Self::RequireTls => "REQUIRETLS",
        })
    }
}

/// Why nothing is sent to this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Unprotected {
    /// `4.7.5` or `5.7.10` without its class.
    pub status: (u16, u16),
    /// Trying this host again can not help.
    pub permanent: bool,
    /// Which rule failed, and for which host.
    pub text: String,
    /// The same for the domain's report, where it is the domain's rule.
    pub result: Option<ResultType>,
}

/// A host of a destination.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The mail's domain, in canonical form.
    pub domain: &'a str,
    /// The host's name.
    pub host: &'a str,
    /// Its name behind all aliases (CNAME).
    pub expanded: &'a str,
    /// Its TCP port.
    pub port: u16,
    /// Signatures prove that it takes the domain's mail.
    pub host_secure: bool,
    /// And where it is.
    pub address_secure: bool,
    /// The operator named it.
    pub named: bool,
    /// The message was sent with REQUIRETLS.
    pub require_tls: bool,
    /// It says `TLS-Required: No` (RFC 8689 section 4.2.2): better sent openly than not at all.
    pub tls_optional: bool,
    /// The MTA-STS policy of the domain.
    pub policy: Option<&'a Policy>,
}

/// Decides, and asks the DNS for TLSA records where that matters.
///
/// # Errors
/// [`Unprotected`].
pub async fn protection(
    resolver: &Resolver,
    wanted: Security,
    subject: &Subject<'_>,
) -> Result<Protection, Unprotected> {
    let dane = matches!(wanted, Security::Published | Security::Dane);
    // Without a secure way to the name there is no DANE (RFC 7672 section 2.2.1), so there is no need to ask.
    let tlsa = if dane && subject.host_secure && !subject.host.starts_with('[') {
        published(resolver, subject).await
    } else {
        None
    };
    decide(wanted, subject, tlsa)
}

/// What is said of a host's certificate, and the name that it is said of (the TLSA base domain).
type Published = (String, Result<Answer<Tlsa>, NoAnswer>);

/// RFC 7672 section 2.2.2: of a host that is an alias the name behind it is asked first and then its own, if signatures prove
/// the whole way; its own alone if they prove the first step and not the rest. None: there is no need to ask.
async fn published(resolver: &Resolver, subject: &Subject<'_>) -> Option<Published> {
    let (own, expanded) = (subject.host, subject.expanded);
    let is_alias = !own.trim_end_matches('.').eq_ignore_ascii_case(expanded.trim_end_matches('.'));
    let first = match (subject.address_secure, is_alias) {
        (true, true) => Some(expanded),
        (true, false) => None,
        (false, true) => match resolver.alias(own).await {
            Ok(answer) if answer.secure => None,
            Ok(_) | Err(NoAnswer::NotFound { .. } | NoAnswer::Invalid(_)) => return None,
            // As below: nobody is to switch DANE off by breaking a look-up.
            Err(error @ (NoAnswer::Bogus | NoAnswer::Temporary(_))) => return Some((own.to_owned(), Err(error))),
        },
        (false, false) => return None,
    };
    let ask = async |base: &str| resolver.tlsa(&format!("_{}._tcp.{base}", subject.port)).await;
    if let Some(base) = first {
        let found = ask(base).await;
        let nothing = match &found {
            Ok(answer) => !answer.secure,
            Err(NoAnswer::NotFound { .. } | NoAnswer::Invalid(_)) => true,
            Err(NoAnswer::Bogus | NoAnswer::Temporary(_)) => false,
        };
        if !nothing {
            return Some((base.to_owned(), found));
        }
    }
    Some((own.to_owned(), ask(own).await))
}

fn decide(wanted: Security, subject: &Subject<'_>, tlsa: Option<Published>) -> Result<Protection, Unprotected> {
    let host = subject.host;
    let verified = |rule| Protection::Required(Trust::Roots(vec![host.to_owned()]), rule);
    // RFC 8689 section 4.2.2; what the operator asks for still counts, and REQUIRETLS counts more (section 4.1).
    let wanted = match wanted {
        Security::Published if subject.tls_optional && !subject.require_tls => Security::Opportunistic,
        other => other,
    };
    let found = match wanted {
        Security::None => Protection::None,
        Security::Opportunistic => Protection::Opportunistic,
        Security::Encrypted => Protection::Required(Trust::Anything, Rule::Operator),
        Security::Verified => verified(Rule::Operator),
        Security::Published | Security::Dane => match dane(subject, tlsa)? {
            Some(trust) => Protection::Required(trust, Rule::Dane),
            None if wanted == Security::Dane => {
                return Err(Unprotected {
                    status: (7, 5),
                    permanent: false,
                    text: format!("DANE is asked for, and no secure TLSA record is published for {host}"),
                    result: Some(ResultType::DaneRequired),
                });
            }
            None => sts(subject)?,
        },
    };
    if !subject.require_tls {
        return Ok(found);
    }
    // RFC 8689 section 4.2.1: the name of the host must be certain, and its certificate must be good.
    let by_policy = subject.policy.is_some_and(|policy| policy.mode == Mode::Enforce && policy.names(host));
    if !(subject.host_secure || subject.named || by_policy) {
        return Err(Unprotected {
            status: (7, 10),
            permanent: true,
            text: format!(
                "REQUIRETLS: neither a signature nor a policy proves that {host} takes mail for {}",
                subject.domain
            ),
            result: None,
        });
    }
    Ok(match found {
        Protection::Required(Trust::Dane(..) | Trust::Roots(_), _) => found,
        _ => verified(Rule::RequireTls),
    })
}

/// What the domain's MTA-STS policy asks for.
fn sts(subject: &Subject<'_>) -> Result<Protection, Unprotected> {
    let host = subject.host;
    match subject.policy {
        Some(policy) if policy.mode == Mode::Enforce && policy.names(host) => {
            Ok(Protection::Required(Trust::Roots(vec![host.to_owned()]), Rule::MtaSts))
        }
        // Section 5: this host is skipped. If no other one will do, the mail waits.
        Some(policy) if policy.mode == Mode::Enforce => Err(Unprotected {
            status: (7, 5),
            permanent: false,
            text: format!("MTA-STS: the policy of {} does not name {host}", subject.domain),
            result: Some(ResultType::ValidationFailure),
        }),
        Some(policy) if policy.mode == Mode::Testing => {
            if !policy.names(host) {
                tracing::info!(domain = subject.domain, host, "MTA-STS (testing): the policy does not name the host");
            }
            Ok(Protection::Opportunistic)
        }
        _ => Ok(Protection::Opportunistic),
    }
}

/// What the domain's TLSA records ask for; None: nothing.
fn dane(subject: &Subject<'_>, tlsa: Option<Published>) -> Result<Option<Trust>, Unprotected> {
    let Some((base, tlsa)) = tlsa else { return Ok(None) };
    match tlsa {
        Err(NoAnswer::NotFound { .. } | NoAnswer::Invalid(_)) => Ok(None),
        Ok(answer) if !answer.secure => Ok(None),
        Ok(answer) => {
            let records: Vec<Tlsa> = answer.records.into_iter().filter(usable).collect();
            // RFC 7672 section 2.2: records that nobody can use still say that there is TLS.
            Ok(Some(if records.is_empty() {
                Trust::Anything
            } else {
                // Section 3.2.2: the name that has the records, and the domain that led to it.
                let mut names = vec![base];
                if !names.iter().any(|base| subject.domain.eq_ignore_ascii_case(base))
                    && !subject.domain.starts_with('[')
                {
                    names.push(subject.domain.to_owned());
                }
                Trust::Dane(records, names)
            }))
        }
        // Section 2.1.1: whoever can break the look-up could otherwise switch TLS off.
        Err(error @ (NoAnswer::Bogus | NoAnswer::Temporary(_))) => Err(Unprotected {
            status: (7, 5),
            permanent: false,
            text: format!("DANE: the TLSA records of {base}: {error}"),
            result: Some(ResultType::DnssecInvalid),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn record(usage: u8) -> Tlsa {
        Tlsa { usage, selector: 1, matching: 1, data: vec![7; 32] }
    }

    fn answer(secure: bool, usages: &[u8]) -> Option<Published> {
        let records = usages.iter().map(|usage| record(*usage)).collect();
        Some(("mx.example".into(), Ok(Answer { name: "_25._tcp.mx.example".into(), records, secure })))
    }

    fn none(error: NoAnswer) -> Option<Published> {
        Some(("mx.example".into(), Err(error)))
    }

    /// RFC 7672 section 2.2.2.
    #[tokio::test]
    async fn an_alias_has_two_names() {
        use hickory_resolver::proto::rr::{RData, rdata::TLSA};
        let tlsa = || RData::TLSA(TLSA::new(3.into(), 1.into(), 1.into(), vec![7; 32]));
        let (zone, anchors) = crate::dns::fake::Zone::default()
            .unsigned("open")
            .address("real.example", "192.0.2.1")
            .with("_25._tcp.real.example", tlsa())
            .address("bare.example", "192.0.2.2")
            .address("forged.example", "192.0.2.3")
            .with("_25._tcp.forged.example", tlsa())
            .forged("_25._tcp.forged.example", true)
            .address("host.open", "192.0.2.4")
            .alias("one.example", "real.example")
            .with("_25._tcp.one.example", tlsa())
            .alias("two.example", "bare.example")
            .with("_25._tcp.two.example", tlsa())
            .alias("three.example", "bare.example")
            .alias("four.example", "forged.example")
            .with("_25._tcp.four.example", tlsa())
            .alias("five.example", "host.open")
            .with("_25._tcp.five.example", tlsa())
            .alias("six.open", "real.example")
            .signed();
        let server = crate::dns::fake::Server::start(zone).await;
        let resolver = server.checking(anchors);
        for (host, expected) in [
            ("real.example", "real.example far.example"),
            ("one.example", "real.example far.example"),
            ("two.example", "two.example far.example"),
            ("three.example", "opportunistic"),
            ("four.example", "DANE: the TLSA records of forged.example: the answer is not signed"),
            ("five.example", "five.example far.example"),
            ("host.open", "opportunistic"),
            ("six.open", "opportunistic"),
        ] {
            let found = resolver.addresses(host).await.unwrap();
            let subject = Subject {
                domain: "far.example",
                host,
                expanded: &found.name,
                port: 25,
                host_secure: true,
                address_secure: found.secure,
                named: false,
                require_tls: false,
                tls_optional: false,
                policy: None,
            };
            let said = match protection(&resolver, Security::Published, &subject).await {
                Ok(Protection::Required(trust @ Trust::Dane(..), Rule::Dane)) => {
                    let Trust::Dane(_, names) = &trust else { panic!("{trust:?}") };
                    assert_eq!(trust.server_name(host), names[0]);
                    names.join(" ")
                }
                Ok(Protection::Opportunistic) => "opportunistic".into(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => error.to_string(),
            };
            assert!(said.starts_with(expected), "{host}: {said}");
        }
        // Where nothing is signed nobody is bothered (section 2.2.2 again).
        let asked = server.asked();
        assert!(asked.iter().all(|one| !one.starts_with("TLSA") || !one.contains("open")), "{asked:?}");
    }

    #[test]
    fn the_rules() {
        use Security::{Dane, Encrypted, None as No, Opportunistic, Published, Verified};
        let nothing = || none(NoAnswer::NotFound { exists: true, secure: true });
        let policy = |mode| Policy { mode, mx: vec!["mx.example".into()], max_age: 1 };
        let other = Policy { mode: Mode::Enforce, mx: vec!["mx2.example".into()], max_age: 1 };
        let check = |wanted, secure, require_tls, tlsa, expected: &str| {
            let subject = Subject {
                tls_optional: false,
                policy: None,
                domain: "far.example",
                host: "mx.example",
                expanded: "mx.example",
                port: 25,
                host_secure: secure,
                address_secure: secure,
                named: false,
                require_tls,
            };
            let found = match decide(wanted, &subject, tlsa) {
                Ok(Protection::None) => "none".to_owned(),
                Ok(Protection::Opportunistic) => "opportunistic".to_owned(),
                Ok(Protection::Required(Trust::Anything, rule)) => format!("anything, {rule}"),
                Ok(Protection::Required(Trust::Roots(names), rule)) => format!("roots {}, {rule}", names.join(" ")),
                Ok(Protection::Required(Trust::Dane(records, names), rule)) => {
                    format!("dane {} {}, {rule}", records.len(), names.join(" "))
                }
                Err(error) => {
                    format!("{}.{}.{} {error}", if error.permanent { 5 } else { 4 }, error.status.0, error.status.1)
                }
            };
            assert!(found.starts_with(expected), "{wanted:?} {secure} {require_tls}: {found} instead of {expected}");
        };
        let strict = |policy: Option<Policy>, require_tls, tls_optional, tlsa, expected: &str| {
            let subject = Subject {
                domain: "far.example",
                host: "mx.example",
                expanded: "mx.example",
                port: 25,
                host_secure: false,
                address_secure: false,
                named: false,
                require_tls,
                tls_optional,
                policy: policy.as_ref(),
            };
            let found = match decide(Published, &subject, tlsa) {
                Ok(found) => format!("{found:?}"),
                Err(error) => error.to_string(),
            };
            assert!(found.contains(expected), "{policy:?} {require_tls} {tls_optional}: {found} instead of {expected}");
        };
        strict(Some(policy(Mode::Enforce)), false, false, None, "Roots([\"mx.example\"])");
        strict(Some(policy(Mode::Enforce)), true, false, None, "Roots([\"mx.example\"]), MtaSts");
        strict(Some(policy(Mode::Enforce)), false, true, None, "Opportunistic");
        strict(Some(policy(Mode::Enforce)), true, true, None, "Roots([\"mx.example\"])");
        strict(Some(policy(Mode::Enforce)), false, false, answer(true, &[3]), "Dane");
        strict(Some(other), false, false, None, "does not name mx.example");
        strict(Some(policy(Mode::Testing)), false, false, None, "Opportunistic");
        strict(Some(policy(Mode::None)), false, false, None, "Opportunistic");
        strict(None, true, false, None, "REQUIRETLS");
        check(Published, false, false, None, "opportunistic");
        check(Published, true, false, nothing(), "opportunistic");
        check(Published, true, false, answer(true, &[3]), "dane 1 mx.example far.example, DANE");
        check(Published, true, false, answer(true, &[0, 3, 2]), "dane 2 mx.example far.example");
        check(Published, true, false, answer(true, &[0, 1]), "anything, DANE");
        check(Published, true, false, answer(false, &[3]), "opportunistic");
        check(Published, true, false, none(NoAnswer::Bogus), "4.7.5 DANE: the TLSA records of mx.example: the answer");
        check(Published, true, false, none(NoAnswer::Temporary("no".into())), "4.7.5 DANE");
        check(Dane, true, false, answer(true, &[3]), "dane 1");
        check(Dane, true, false, nothing(), "4.7.5 DANE is asked for");
        check(Dane, false, false, None, "4.7.5 DANE is asked for");
        check(No, true, false, None, "none");
        check(Opportunistic, true, false, None, "opportunistic");
        check(Encrypted, true, false, None, "anything, destination.tls");
        check(Verified, false, false, None, "roots mx.example, destination.tls");
        check(Published, false, true, None, "5.7.10 REQUIRETLS");
        check(Published, true, true, nothing(), "roots mx.example, REQUIRETLS");
        check(Published, true, true, answer(true, &[3]), "dane 1");
        check(Published, true, true, answer(true, &[1]), "roots mx.example");
        check(No, true, true, None, "roots mx.example");
        check(Encrypted, true, true, None, "roots mx.example");
    }
}
