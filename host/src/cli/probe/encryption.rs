//! TLS versions and certificates: what was seen, in sentences.
//!
//! Owns which versions are tried, and the verdicts on them and on certificates. Refuses to shake hands itself, and to
//! call refused what did not come to a handshake. Fails with [`Untestable`] where the server can not be reached.

use jiff::Timestamp;
use rustls::{SupportedProtocolVersion, version};

use super::{
    drive::{Server, Shake, Tls, Untestable},
    old_tls::OldTls,
    report::{Finding, Found, Verdict},
};
use crate::{engine::probe::Experiment, transport::trust::Judged};

static NEW: [(&str, &[&SupportedProtocolVersion]); 2] =
    [("TLS 1.3", &[&version::TLS13]), ("TLS 1.2", &[&version::TLS12])];
const OLD: [OldTls; 2] = [OldTls::OneOne, OldTls::One];
/// A certificate that ends within so many days is worth a warning.
const SOON: i64 = 14;

/// Whether TLS came about.
pub(super) fn handshake(tls: &Tls) -> Finding {
    let (verdict, text) = match tls {
        Tls::Agreed(agreed, _) => (Verdict::Info, format!("TLS is {agreed}.")),
        Tls::Failed(why) => (Verdict::Fail, format!("TLS does not come about: {why}.")),
        Tls::Late | Tls::Old(_) => (Verdict::Untested, "TLS does not come about in time.".into()),
    };
    Finding::new("tls", verdict, "RFC 3207, RFC 8314", text)
}

/// Which versions it takes, each in a session of its own.
pub(super) async fn versions(server: &Server<'_>, found: &mut Found) -> Result<(), Untestable> {
    let mut seen = Versions::default();
    for (name, versions) in NEW {
        let heard = server.attempt(Experiment::StartTls, false, Shake::Versions(versions)).await?;
        match heard.tls {
            Some(Tls::Agreed(..)) => seen.good.push(name),
            Some(Tls::Failed(_)) => {}
            // It did not come to a handshake, or that did not come to an end.
            _ => seen.unknown_good.push(name),
        }
        found.said(heard.said);
    }
    for old in OLD {
        let heard = server.attempt(Experiment::StartTls, false, Shake::Old(old)).await?;
        match heard.tls {
            Some(Tls::Old(true)) => seen.bad.push(old.name()),
            Some(Tls::Old(false)) => {}
            _ => seen.unknown_bad.push(old.name()),
        }
        found.said(heard.said);
    }
    let (verdict, text) = seen.judge();
    found.add(Finding::new("tls-versions", verdict, "RFC 8996, RFC 9325 section 3.1.1", text));
    Ok(())
}

/// Names of versions: those that it should take and does, those that it should not and does, and those nobody knows of.
#[derive(Debug, Default)]
struct Versions {
    good: Vec<&'static str>,
    bad: Vec<&'static str>,
    unknown_good: Vec<&'static str>,
    unknown_bad: Vec<&'static str>,
}

impl Versions {
    fn judge(&self) -> (Verdict, String) {
        let unknown = [&self.unknown_good[..], &self.unknown_bad[..]].concat().join(" and ");
        let rest = if unknown.is_empty() { String::new() } else { format!("; {unknown} can not be told") };
        if self.good.is_empty() && self.unknown_good.is_empty() {
            return (Verdict::Fail, format!("It takes neither TLS 1.2 nor 1.3{rest}."));
        }
        if !self.bad.is_empty() {
            return (
                Verdict::Warn,
                format!("It takes {}, which nobody should any more{rest}.", self.bad.join(" and ")),
            );
        }
        match (&*self.good.join(" and "), &*unknown) {
            (good, "") => (Verdict::Pass, format!("It takes {good}, and no older version.")),
            ("", unknown) => (Verdict::Untested, format!("Whether it takes {unknown} can not be told.")),
            (good, _) => (Verdict::Untested, format!("It takes {good}{rest}.")),
        }
    }
}

/// Is it one that a sender can believe? A match by DANE-EE makes up for everything (RFC 7672 section 3.1.1).
pub(super) fn certificate(judged: &Judged, name: &str, now: i64, found: &mut Found) {
    let date = |seconds| Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |time| time.to_string());
    let mut add = |check, fault: Option<String>, good: String, rule| {
        let (verdict, text) = match fault {
            None => (Verdict::Pass, good),
            Some(fault) if judged.dane_ee => (Verdict::Info, format!("{fault} Under DANE-EE that does not count.")),
            Some(fault) => (Verdict::Fail, fault),
        };
        found.add(Finding::new(check, verdict, rule, text));
    };
    let (from, to) = judged.dates;
    let fault = match now {
        now if now < from => Some(format!("The certificate does not count before {}.", date(from))),
        now if now > to => Some(format!("The certificate has expired: it counted until {}.", date(to))),
        _ => None,
    };
    let in_date = fault.is_none();
    add("certificate-dates", fault, format!("The certificate counts until {}.", date(to)), "RFC 5280 section 4.1.2.5");
    let names = if judged.names.is_empty() { "no name".into() } else { judged.names.join(", ") };
    let fault = judged.name.as_ref().err().map(|_| format!("The certificate is for {names}, not for {name}."));
    add("certificate-name", fault, format!("The certificate is for {names}."), "RFC 9525 section 6.3");
    let fault = judged.roots.as_ref().err().map(|why| {
        let issuer = &judged.issuer;
        format!("The certificate leads to nobody whom this machine trusts: {why}; its issuer is {issuer}.")
    });
    let good = format!("Somebody whom this machine trusts vouches for it: {}.", judged.issuer);
    add("certificate-trust", fault, good, "RFC 5280 section 6");
    let days = (to - now) / 86_400;
    if in_date && days < SOON {
        let text = format!("The certificate expires in {days} days.");
        found.add(Finding::new("certificate-expiry", Verdict::Warn, "RFC 5280 section 4.1.2.5", text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_versions_mean() {
        let (new, old) = (["TLS 1.3", "TLS 1.2"], ["TLS 1.1", "TLS 1.0"]);
        for (good, bad, unknown_good, unknown_bad, verdict, text) in [
            (&new[..], &[][..], &[][..], &[][..], Verdict::Pass, "It takes TLS 1.3 and TLS 1.2, and no older version."),
            (&new[1..], &[], &[], &[], Verdict::Pass, "It takes TLS 1.2, and no older version."),
            (&new, &old[1..], &[], &[], Verdict::Warn, "It takes TLS 1.0, which nobody should any more."),
            (&[], &[], &[], &[], Verdict::Fail, "It takes neither TLS 1.2 nor 1.3."),
            (&[], &old, &[], &[], Verdict::Fail, "It takes neither TLS 1.2 nor 1.3."),
            (&[], &[], &[], &old[..1], Verdict::Fail, "It takes neither TLS 1.2 nor 1.3; TLS 1.1 can not be told."),
            (&new[..1], &[], &new[1..], &[], Verdict::Untested, "It takes TLS 1.3; TLS 1.2 can not be told."),
            (&new[..1], &[], &[], &old[1..], Verdict::Untested, "It takes TLS 1.3; TLS 1.0 can not be told."),
            (
                &[],
                &[],
                &new,
                &old,
                Verdict::Untested,
                "Whether it takes TLS 1.3 and TLS 1.2 and TLS 1.1 and TLS 1.0 can not be told.",
            ),
        ] {
            let seen = Versions {
                good: good.to_vec(),
                bad: bad.to_vec(),
                unknown_good: unknown_good.to_vec(),
                unknown_bad: unknown_bad.to_vec(),
            };
            assert_eq!(seen.judge(), (verdict, text.to_owned()), "{seen:?}");
        }
    }
}
