//! TLS versions and certificates: what was seen, in sentences.

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

/// Which versions it takes, each in a session of its own.
pub(super) async fn versions(server: &Server<'_>, found: &mut Found) -> Result<(), Untestable> {
    let mut good = Vec::new();
    for (name, versions) in NEW {
        let heard = server.attempt(Experiment::StartTls, false, Shake::Versions(versions)).await?;
        if matches!(heard.tls, Some(Tls::Agreed(..))) {
            good.push(name);
        }
        found.said(heard.said);
    }
    let (mut bad, mut unknown) = (Vec::new(), Vec::new());
    for old in OLD {
        let heard = server.attempt(Experiment::StartTls, false, Shake::Old(old)).await?;
        match heard.tls {
            Some(Tls::Old(true)) => bad.push(old.name()),
            Some(Tls::Old(false)) => {}
            _ => unknown.push(old.name()),
        }
        found.said(heard.said);
    }
    let list =
        |names: &[&str]| if names.is_empty() { "neither TLS 1.2 nor 1.3".to_owned() } else { names.join(" and ") };
    let unknown =
        if unknown.is_empty() { String::new() } else { format!("; {} can not be told", unknown.join(" and ")) };
    let (verdict, text) = match (good.is_empty(), bad.is_empty()) {
        (true, _) => (Verdict::Fail, format!("It takes {}{unknown}.", list(&good))),
        (false, false) => {
            (Verdict::Warn, format!("It takes {}, which nobody should any more{unknown}.", bad.join(" and ")))
        }
        (false, true) => (Verdict::Pass, format!("It takes {}, and no older version{unknown}.", list(&good))),
    };
    found.add(Finding::new("tls-versions", verdict, "RFC 8996, RFC 9325 section 3.1.1", text));
    Ok(())
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
