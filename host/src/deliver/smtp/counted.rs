//! How TLS went with a host, in the words of a report to its domain (RFC 8460 section 4).
//!
//! Owns what each outcome is called, and under which policy. Refuses to count ([`Counts`](crate::tlsrpt::Counts) does) and to act
//! on it. Cannot fail: what says nothing of TLS is not counted.
//!
//! What the operator asks for instead of what the domain publishes is not the domain's business; nor is what the sender asks for
//! by REQUIRETLS or `TLS-Required: No`. Reports themselves are sent with the latter, so that no report is about reports.

use super::{
    connect::Ends,
    conversation::{Broken, Conversation},
    security::{Protection, Rule, Unprotected},
    sts::{Mode, Policy},
};
use crate::{
    engine::client::Fault,
    tlsrpt::{self, Failure, PolicyType, ResultType, Session},
    transport::trust::{Distrust, HandshakeError, Trust},
};

/// Whom it is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The domain of the mail, in A-labels.
    pub(super) domain: &'a str,
    /// One of its hosts.
    pub(super) host: &'a str,
    /// The domain's MTA-STS policy, if it has one that is good.
    pub(super) policy: Option<&'a Policy>,
    /// Why it could not be fetched.
    pub(super) unfetched: Option<ResultType>,
}

/// How it went: what is told of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    /// There is TLS, and what is wrong with it all the same.
    Encrypted(Option<&'a HandshakeError>),
    /// There is none, and none was required.
    Open,
    /// There is no session.
    Broken(&'a Broken),
}

impl<'a> Way<'a> {
    pub(super) fn of(opened: &'a Result<Conversation, Broken>) -> Self {
        match opened {
            Ok(conversation) if conversation.tls().is_some() => Self::Encrypted(conversation.reconsidered()),
            Ok(_) => Self::Open,
            Err(broken) => Self::Broken(broken),
        }
    }
}

/// What a certificate is to be judged by besides, for the report (RFC 8461 section 5): a policy that is being tested.
pub(super) fn also(policy: Option<&Policy>, host: &str) -> Option<Trust> {
    policy.filter(|policy| policy.mode == Mode::Testing).map(|_| Trust::Roots(vec![host.to_owned()]))
}

impl About<'_> {
    /// Nothing was tried, because it would not have been safe.
    pub(super) fn unprotected(&self, error: &Unprotected) -> Option<Session> {
        let result = error.result?;
        let policy = match result {
            ResultType::DnssecInvalid | ResultType::DaneRequired | ResultType::TlsaInvalid => {
                self.plain(PolicyType::Tlsa, self.host)
            }
            _ => self.sts(),
        };
        Some(Session { policy, failure: Some(self.failure(result, &error.text, None)) })
    }

    /// A session was opened, or should have been.
    pub(super) fn opened(&self, protection: &Protection, way: Way<'_>, ends: Option<Ends>) -> Vec<Session> {
        let mut sessions = Vec::new();
        // There is a word on TLS, or it is not counted.
        let failed = match way {
            Way::Encrypted(None) => None,
            // What an MTA-STS policy that is only tested would say, where nothing better protects the session.
            Way::Encrypted(Some(error)) if matches!(protection, Protection::Opportunistic) => {
                Some((result(error), error.to_string()))
            }
            Way::Encrypted(Some(_)) => None,
            Way::Open => Some((ResultType::StarttlsNotSupported, "no STARTTLS".to_owned())),
            Way::Broken(Broken::Handshake(error)) => Some((result(error), error.to_string())),
            Way::Broken(Broken::Failed(failure)) => match failure.fault {
                Fault::NoTls => Some((ResultType::StarttlsNotSupported, "no STARTTLS".to_owned())),
                Fault::TlsRefused => Some((ResultType::StarttlsNotSupported, "STARTTLS was refused".to_owned())),
                Fault::Plaintext => Some((ResultType::ValidationFailure, failure.detail.clone())),
                _ => return sessions,
            },
            Way::Broken(_) => return sessions,
        };
        let testing = self.policy.is_some_and(|policy| policy.mode == Mode::Testing);
        let policy = match protection {
            Protection::None | Protection::Required(_, Rule::Operator | Rule::RequireTls) => return sessions,
            Protection::Required(Trust::Dane(records, names), Rule::Dane) => {
                let base = names.first().map_or(self.host, String::as_str);
                let text = records.iter().map(|record| {
                    let data: String = record.data.iter().map(|octet| format!("{octet:02x}")).collect();
                    format!("{} {} {} {data}", record.usage, record.selector, record.matching)
                });
                // In whatever order the name server has them.
                let mut text: Vec<String> = text.collect();
                text.sort_unstable();
                text.dedup();
                tlsrpt::Policy { text, ..self.plain(PolicyType::Tlsa, base) }
            }
            Protection::Required(_, Rule::Dane) => self.plain(PolicyType::Tlsa, self.host),
            Protection::Required(_, Rule::MtaSts) => self.sts(),
            Protection::Opportunistic if testing => self.sts(),
            Protection::Opportunistic => self.plain(PolicyType::NoPolicyFound, self.domain),
        };
        let unnamed = policy.kind == PolicyType::Sts && !self.policy.is_some_and(|policy| policy.names(self.host));
        let failed = match unnamed {
            true => Some((ResultType::ValidationFailure, "the policy does not name the host".to_owned())),
            false => failed,
        };
        let failure = failed.map(|(result, reason)| self.failure(result, &reason, ends));
        sessions.push(Session { policy, failure });
        if let Some(result) = self.unfetched.filter(|_| self.policy.is_none()) {
            let failure = Some(self.failure(result, "the policy could not be fetched", ends));
            sessions.push(Session { policy: self.plain(PolicyType::Sts, self.domain), failure });
        }
        sessions
    }

    fn failure(&self, result: ResultType, reason: &str, ends: Option<Ends>) -> Failure {
        // The library's words for it tell for how long: each failure would be one of its own.
        let reason = match result {
            ResultType::CertificateExpired => "the certificate is not valid at this time",
            _ => reason,
        };
        Failure {
            result,
            from: ends.map(|ends| ends.from),
            host: Some(self.host.to_owned()),
            to: ends.map(|ends| ends.to),
            reason: Some(reason.to_owned()),
        }
    }

    fn sts(&self) -> tlsrpt::Policy {
        let plain = self.plain(PolicyType::Sts, self.domain);
        match self.policy {
            Some(policy) => tlsrpt::Policy { text: policy.lines(), hosts: policy.mx.clone(), ..plain },
            None => plain,
        }
    }

    fn plain(&self, kind: PolicyType, domain: &str) -> tlsrpt::Policy {
        tlsrpt::Policy { kind, text: Vec::new(), domain: domain.trim_end_matches('.').to_owned(), hosts: Vec::new() }
    }
}

/// Sections 4.3.1 and 4.3.2.1. `tlsa-invalid` is about records that can not be used; a certificate that none of them means has
/// no word of its own.
fn result(error: &HandshakeError) -> ResultType {
    match error {
        HandshakeError::Untrusted(Distrust::Name, _) => ResultType::CertificateHostMismatch,
        HandshakeError::Untrusted(Distrust::Time, _) => ResultType::CertificateExpired,
        HandshakeError::Untrusted(Distrust::Other, _) => ResultType::CertificateNotTrusted,
        HandshakeError::Untrusted(Distrust::Tlsa, _) | HandshakeError::Protocol(_) | HandshakeError::Lost(_) => {
            ResultType::ValidationFailure
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::{
        deliver::smtp::connect::Unreachable,
        dns::Tlsa,
        engine::{client::Failure as EngineFailure, client::Stage},
    };

    #[test]
    fn each_failure_has_its_name() {
        use Distrust::{Name, Other, Time, Tlsa as Records};
        let policy = |mode| Policy { mode, mx: vec!["mx.example".into()], max_age: 7 };
        let untrusted = |kind| HandshakeError::Untrusted(kind, "why".into());
        let shaken = |kind| Broken::Handshake(untrusted(kind));
        let failed =
            |fault| Broken::Failed(EngineFailure { fault, stage: Stage::Idle, reply: None, detail: "why".into() });
        let dane = |names: &[&str]| {
            let record = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0xab, 1] };
            let names = names.iter().map(ToString::to_string).collect();
            Protection::Required(Trust::Dane(vec![record], names), Rule::Dane)
        };
        let roots = |rule| Protection::Required(Trust::Roots(vec!["mx.example".into()]), rule);
        let (enforce, testing, none) = (policy(Mode::Enforce), policy(Mode::Testing), policy(Mode::None));
        let check = |host: &str, policy, protection: &Protection, way: Way<'_>, expected: &[&str]| {
            let about = About { domain: "far.example", host, policy, unfetched: None };
            let ends = Ends { from: [192, 0, 2, 1].into(), to: [192, 0, 2, 2].into() };
            let shown: Vec<_> = about
                .opened(protection, way, Some(ends))
                .into_iter()
                .map(|session| {
                    let word = |json: serde_json::Value| json.as_str().unwrap_or_default().to_owned();
                    let policy = session.policy;
                    let kind = word(serde_json::to_value(policy.kind).unwrap());
                    let how = match session.failure {
                        None => "good".to_owned(),
                        Some(failure) => {
                            assert_eq!((failure.from, failure.to), (Some(ends.from), Some(ends.to)));
                            assert_eq!(failure.host.as_deref(), Some(host));
                            word(serde_json::to_value(failure.result).unwrap())
                        }
                    };
                    format!("{kind} {} [{}] {how}", policy.domain, policy.text.join("|"))
                })
                .collect();
            assert_eq!(shown, expected, "{protection:?} {way:?}");
        };
        let open = Protection::Opportunistic;
        let mx = "mx.example";
        let plain = "no-policy-found far.example []";
        check(mx, None, &open, Way::Encrypted(None), &[&format!("{plain} good")]);
        check(mx, Some(&none), &open, Way::Encrypted(None), &[&format!("{plain} good")]);
        check(mx, None, &open, Way::Open, &[&format!("{plain} starttls-not-supported")]);
        let lost = Broken::Handshake(HandshakeError::Protocol("x".into()));
        check(mx, None, &open, Way::Broken(&lost), &[&format!("{plain} validation-failure")]);

        let sts = "sts far.example [version: STSv1|mode: enforce|mx: mx.example|max_age: 7]";
        let by_sts = roots(Rule::MtaSts);
        check(mx, Some(&enforce), &by_sts, Way::Encrypted(None), &[&format!("{sts} good")]);
        for (broken, expected) in [
            (shaken(Name), "certificate-host-mismatch"),
            (shaken(Time), "certificate-expired"),
            (shaken(Other), "certificate-not-trusted"),
            (lost, "validation-failure"),
            (failed(Fault::NoTls), "starttls-not-supported"),
            (failed(Fault::TlsRefused), "starttls-not-supported"),
            (failed(Fault::Plaintext), "validation-failure"),
        ] {
            check(mx, Some(&enforce), &by_sts, Way::Broken(&broken), &[&format!("{sts} {expected}")]);
        }
        for broken in [failed(Fault::Refused), failed(Fault::Lost), Broken::Unreachable(Unreachable("x".into()))] {
            check(mx, Some(&enforce), &by_sts, Way::Broken(&broken), &[]);
        }

        let sts = "sts far.example [version: STSv1|mode: testing|mx: mx.example|max_age: 7]";
        check(mx, Some(&testing), &open, Way::Encrypted(None), &[&format!("{sts} good")]);
        check(mx, Some(&testing), &open, Way::Open, &[&format!("{sts} starttls-not-supported")]);
        let error = untrusted(Time);
        check(mx, Some(&testing), &open, Way::Encrypted(Some(&error)), &[&format!("{sts} certificate-expired")]);
        check("b.example", Some(&testing), &open, Way::Encrypted(None), &[&format!("{sts} validation-failure")]);

        let tlsa = "tlsa base.example [3 1 1 ab01]";
        let by_dane = dane(&["base.example", "far.example"]);
        check(mx, Some(&enforce), &by_dane, Way::Encrypted(None), &[&format!("{tlsa} good")]);
        // DANE protects the session, whatever a policy that is only tested would say of the certificate.
        check(mx, Some(&testing), &by_dane, Way::Encrypted(Some(&error)), &[&format!("{tlsa} good")]);
        check(mx, None, &by_dane, Way::Broken(&shaken(Records)), &[&format!("{tlsa} validation-failure")]);
        check(mx, None, &by_dane, Way::Broken(&failed(Fault::NoTls)), &[&format!("{tlsa} starttls-not-supported")]);
        let any = Protection::Required(Trust::Anything, Rule::Dane);
        check("mx.example.", None, &any, Way::Encrypted(None), &["tlsa mx.example [] good"]);

        for protection in [Protection::None, roots(Rule::Operator), roots(Rule::RequireTls)] {
            check(mx, Some(&enforce), &protection, Way::Encrypted(None), &[]);
        }
    }

    #[test]
    fn what_was_not_tried_has_a_name_too() {
        let enforce = Policy { mode: Mode::Enforce, mx: vec!["a.example".into()], max_age: 7 };
        let about = About { domain: "far.example", host: "mx.example", policy: Some(&enforce), unfetched: None };
        for (result, kind, domain) in [
            (Some(ResultType::DnssecInvalid), PolicyType::Tlsa, "mx.example"),
            (Some(ResultType::DaneRequired), PolicyType::Tlsa, "mx.example"),
            (Some(ResultType::ValidationFailure), PolicyType::Sts, "far.example"),
            (None, PolicyType::Sts, ""),
        ] {
            let error = Unprotected { status: (7, 5), permanent: false, text: "why".into(), result };
            let told = about.unprotected(&error);
            let expected = result.map(|result| (kind, domain.to_owned(), Some(result)));
            assert_eq!(
                told.map(|told| (told.policy.kind, told.policy.domain, told.failure.map(|f| f.result))),
                expected
            );
        }
    }

    /// A policy that is there and can not be had is told of beside what happened without it.
    #[test]
    fn a_policy_that_was_not_fetched() {
        let about = About {
            domain: "far.example",
            host: "mx.example",
            policy: None,
            unfetched: Some(ResultType::StsWebpkiInvalid),
        };
        let told = about.opened(&Protection::Opportunistic, Way::Encrypted(None), None);
        let shown: Vec<_> =
            told.into_iter().map(|told| (told.policy.kind, told.failure.map(|failure| failure.result))).collect();
        assert_eq!(shown, [(PolicyType::NoPolicyFound, None), (PolicyType::Sts, Some(ResultType::StsWebpkiInvalid))]);
    }
}
