//! What the DNS and the web say of a domain's servers: DANE (RFC 7672), MTA-STS (RFC 8461), TLSRPT (RFC 8460).
//!
//! Owns the verdicts on what is published, and on a server that does not keep it. Refuses to look for the server, or at
//! its certificate. What can not be looked up is a finding that says so; it fails no other way.

use super::report::{Finding, Found, Verdict};
use crate::{
    deliver::smtp::sts::{Mode, NoPolicy, Policies, Policy},
    dns::{Answer, NoAnswer, Resolver, Tlsa},
    transport::{
        http::Client,
        trust::{Judged, usable},
    },
};

const DANE: &str = "RFC 7672 section 2";
const STS: &str = "RFC 8461 section 3";

/// The TLSA records that senders go by; none if there are none that count. `secure`: signatures prove the way to the host's
/// name and addresses.
pub(super) async fn tlsa(resolver: &Resolver, host: &str, port: u16, secure: bool, found: &mut Found) -> Vec<Tlsa> {
    let name = format!("_{port}._tcp.{host}");
    let answer = resolver.tlsa(&name).await;
    match counting(&name, host, answer, secure) {
        Ok(records) => records,
        Err((verdict, text)) => {
            found.add(Finding::new("dane", verdict, DANE, text));
            Vec::new()
        }
    }
}

/// Those that count, at least one, or what is to say.
fn counting(
    name: &str,
    host: &str,
    answer: Result<Answer<Tlsa>, NoAnswer>,
    secure: bool,
) -> Result<Vec<Tlsa>, (Verdict, String)> {
    let answer = answer.map_err(|error| match error {
        NoAnswer::NotFound { .. } | NoAnswer::Invalid(_) => {
            (Verdict::Info, format!("No TLSA records are published at {name}."))
        }
        NoAnswer::Bogus => (Verdict::Fail, format!("{name}: {error}: senders with DANE send nothing.")),
        NoAnswer::Temporary(_) => (Verdict::Untested, format!("{name}: {error}.")),
    })?;
    if !answer.secure {
        let text = format!("The TLSA records at {name} are not signed, so they count for nothing.");
        return Err((Verdict::Warn, text));
    }
    if !secure {
        let text =
            format!("The TLSA records at {name} are signed, the way to {host} is not, so they count for nothing.");
        return Err((Verdict::Warn, text));
    }
    let all = answer.records.len();
    let records: Vec<Tlsa> = answer.records.into_iter().filter(usable).collect();
    if records.is_empty() {
        return Err((Verdict::Warn, format!("None of the {all} TLSA records at {name} can be used for SMTP.")));
    }
    Ok(records)
}

/// Does the certificate fit the records?
pub(super) fn dane(judged: &Judged, records: usize, found: &mut Found) {
    let (verdict, text) = match &judged.dane {
        None => return,
        Some(Ok(())) => (Verdict::Pass, format!("The certificate fits one of {records} TLSA records.")),
        Some(Err(why)) => (Verdict::Fail, format!("Senders with DANE send nothing: {why}.")),
    };
    found.add(Finding::new("dane", verdict, "RFC 7672 section 3.1", text));
}

/// What a server shows of TLS.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'a> {
    /// A certificate.
    Certificate(&'a Judged),
    /// A certificate that nobody can read.
    Nonsense,
    /// It has no TLS.
    Nothing,
    /// It did not come to that.
    Unknown,
}

/// What TLSA records come to that no certificate was held against.
pub(super) fn without_certificate(shown: Shown<'_>, found: &mut Found) {
    let (verdict, text) = match shown {
        Shown::Certificate(_) => return,
        Shown::Nothing => {
            (Verdict::Fail, "TLSA records are published, and there is no TLS: senders with DANE send nothing.")
        }
        Shown::Nonsense | Shown::Unknown => {
            (Verdict::Untested, "TLSA records are published; whether the certificate fits them can not be told.")
        }
    };
    found.add(Finding::new("dane", verdict, "RFC 7672 section 2.2", text));
}

/// The policy of a domain whose exchangers these are; the one that is tested shows this.
pub(super) async fn policy(
    policies: &Policies,
    resolver: &Resolver,
    client: &Client,
    domain: &str,
    exchangers: &[String],
    shown: Shown<'_>,
    found: &mut Found,
) {
    match policies.published(resolver, client, domain).await {
        Ok(None) => found.add(Finding::new("mta-sts", Verdict::Info, STS, format!("{domain} has no MTA-STS policy."))),
        Err(error @ NoPolicy::Unknown(_)) => {
            found.add(Finding::new("mta-sts", Verdict::Untested, STS, format!("{error}.")));
        }
        Err(NoPolicy::Wrong(why)) => {
            let text = format!("{domain} says that it has an MTA-STS policy, which can not be had: {why}.");
            found.add(Finding::new("mta-sts", Verdict::Fail, STS, text));
        }
        Ok(Some(policy)) => found.add(judge(domain, &policy, exchangers, shown)),
    }
    let rule = "RFC 8460 section 3";
    let text = match resolver.txt(&format!("_smtp._tls.{domain}")).await {
        Ok(answer) if answer.records.iter().any(|record| record.starts_with(b"v=TLSRPTv1")) => {
            "Senders are asked to report what goes wrong with TLS (TLSRPT)."
        }
        Ok(_) | Err(NoAnswer::NotFound { .. }) => "Senders are not asked to report what goes wrong with TLS (TLSRPT).",
        Err(_) => "Whether senders are asked to report what goes wrong with TLS (TLSRPT), the DNS does not say.",
    };
    found.add(Finding::new("tlsrpt", Verdict::Info, rule, text));
}

fn judge(domain: &str, policy: &Policy, exchangers: &[String], shown: Shown<'_>) -> Finding {
    let mode = match policy.mode {
        Mode::Enforce => "enforce",
        Mode::Testing => "testing",
        Mode::None => "none",
    };
    if policy.mode == Mode::None {
        return Finding::new(
            "mta-sts",
            Verdict::Info,
            STS,
            format!("The MTA-STS policy of {domain} asks for nothing."),
        );
    }
    let bad = if policy.mode == Mode::Enforce { Verdict::Fail } else { Verdict::Warn };
    let missing: Vec<&str> = exchangers.iter().map(String::as_str).filter(|host| !policy.names(host)).collect();
    if !missing.is_empty() {
        let text = format!("The MTA-STS policy of {domain} ({mode}) does not name {}.", missing.join(", "));
        return Finding::new("mta-sts", bad, "RFC 8461 section 4.1", text);
    }
    let rule = "RFC 8461 section 4.2";
    match shown {
        Shown::Unknown => {
            let text =
                format!("The MTA-STS policy of {domain} ({mode}) wants TLS; whether there is any can not be told.");
            Finding::new("mta-sts", Verdict::Untested, rule, text)
        }
        Shown::Nothing => Finding::new(
            "mta-sts",
            bad,
            rule,
            format!("The MTA-STS policy of {domain} ({mode}) wants TLS, and there is none."),
        ),
        Shown::Certificate(judged) if judged.in_date && judged.name.is_ok() && judged.roots.is_ok() => {
            let text = format!("The MTA-STS policy of {domain} ({mode}, for {} s) is kept.", policy.max_age);
            Finding::new("mta-sts", Verdict::Pass, rule, text)
        }
        Shown::Certificate(_) | Shown::Nonsense => {
            let text = format!(
                "The MTA-STS policy of {domain} ({mode}) wants a certificate that can be believed, which this one is not."
            );
            Finding::new("mta-sts", bad, rule, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_records_count() {
        let answer = |secure, usages: &[u8]| {
            let record = |usage: &u8| Tlsa { usage: *usage, selector: 1, matching: 1, data: vec![7; 32] };
            Ok(Answer { name: String::new(), records: usages.iter().map(record).collect(), secure })
        };
        for (answer, secure, expected) in [
            (answer(true, &[3, 1]), true, Ok(1)),
            (answer(true, &[3, 2]), true, Ok(2)),
            (answer(true, &[0, 1]), true, Err(Verdict::Warn)),
            (answer(true, &[3]), false, Err(Verdict::Warn)),
            (answer(false, &[3]), true, Err(Verdict::Warn)),
            (Err(NoAnswer::Bogus), true, Err(Verdict::Fail)),
            (Err(NoAnswer::Temporary("no".into())), true, Err(Verdict::Untested)),
            (Err(NoAnswer::NotFound { exists: true, secure: true }), true, Err(Verdict::Info)),
        ] {
            let found = counting("_25._tcp.mx.example", "mx.example", answer.clone(), secure);
            assert_eq!(found.map(|records| records.len()).map_err(|(verdict, _)| verdict), expected, "{answer:?}");
        }
    }

    #[test]
    fn what_a_policy_asks_for() {
        let good = Judged {
            names: vec!["mx.example".into()],
            issuer: "CN=somebody".into(),
            dates: (0, 10),
            in_date: true,
            name: Ok(()),
            roots: Ok(()),
            dane: None,
            dane_ee: false,
        };
        let bad = Judged { roots: Err("UnknownIssuer".into()), ..good.clone() };
        let policy = |mode, mx: &str| Policy { mode, mx: vec![mx.into()], max_age: 86_400 };
        for (policy, shown, expected) in [
            (policy(Mode::Enforce, "mx.example"), Shown::Certificate(&good), Verdict::Pass),
            (policy(Mode::Enforce, "*.example"), Shown::Certificate(&good), Verdict::Pass),
            (policy(Mode::Enforce, "other.example"), Shown::Certificate(&good), Verdict::Fail),
            (policy(Mode::Testing, "other.example"), Shown::Certificate(&good), Verdict::Warn),
            (policy(Mode::Enforce, "mx.example"), Shown::Certificate(&bad), Verdict::Fail),
            (policy(Mode::Testing, "mx.example"), Shown::Certificate(&bad), Verdict::Warn),
            (policy(Mode::Enforce, "mx.example"), Shown::Nothing, Verdict::Fail),
            (policy(Mode::Enforce, "mx.example"), Shown::Nonsense, Verdict::Fail),
            (policy(Mode::Enforce, "mx.example"), Shown::Unknown, Verdict::Untested),
            (policy(Mode::Enforce, "other.example"), Shown::Unknown, Verdict::Fail),
            (policy(Mode::None, "other.example"), Shown::Nothing, Verdict::Info),
        ] {
            let finding = judge("example", &policy, &["mx.example".into()], shown);
            assert_eq!(finding.verdict, expected, "{policy:?}: {finding:?}");
        }
    }
}
