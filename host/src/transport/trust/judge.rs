//! What is right and wrong with the certificates of a server, each thing on its own, for people.
//!
//! A handshake stops at the first fault; whoever tests a server wants to know them all. Owns the questions. Refuses to
//! know what follows from the answers. Fails only for what is no certificate.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rustls::{
    CertificateError,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::ring,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::{Chain, Roots, dane, server_name};
use crate::dns::Tlsa;

/// A server's certificate, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// Who vouches for it, in the certificate's words.
    pub issuer: String,
    /// From when to when it counts, seconds since 1970.
    pub dates: (i64, i64),
    /// It counts now.
    pub in_date: bool,
    /// It is for the server's name; or why not.
    pub name: Result<(), String>,
    /// It leads to a root of this machine, whatever the date; or why not.
    pub roots: Result<(), String>,
    /// It fits one of the TLSA records; or why not. None: there are none.
    pub dane: Option<Result<(), String>>,
    /// It fits one of usage DANE-EE: neither its name nor its dates count (RFC 7672 section 3.1.1).
    pub dane_ee: bool,
}

/// Judges what a server of this name has shown at this time. `records`: usable TLSA records, secure ones.
///
/// # Errors
/// The certificate can not be read.
pub fn judge(
    chain: &[CertificateDer<'static>],
    name: &str,
    domain: &str,
    records: &[Tlsa],
    roots: &Roots,
    now: UnixTime,
) -> Result<Judged, String> {
    let (end_entity, intermediates) = chain.split_first().ok_or("the server shows no certificate")?;
    let (_, parsed) = x509_parser::parse_x509_certificate(end_entity).map_err(|error| error.to_string())?;
    let validity = parsed.validity();
    let dates = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let provider = Arc::new(ring::default_provider());
    let certificate = ParsedCertificate::try_from(end_entity).map_err(|error| error.to_string())?;
    let for_name = match server_name(name) {
        Some(name) => verify_server_name(&certificate, &name).map_err(|error| error.to_string()),
        None => Err(format!("{name} is no name that a certificate can be for")),
    };
    // Trust and dates are two things: it is asked for a moment at which it does or did count.
    let moment = u64::try_from(seconds.clamp(dates.0, dates.1.saturating_sub(1).max(dates.0))).unwrap_or_default();
    let moment = UnixTime::since_unix_epoch(Duration::from_secs(moment));
    let reaches = verify_server_cert_signed_by_trust_anchor(
        &certificate,
        &roots.0,
        intermediates,
        moment,
        provider.signature_verification_algorithms.all,
    )
    .map_err(|error| match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its issuer is not among the roots".into()
        }
        // The details of a signature help nobody here.
        other => other.to_string().split(" {").next().unwrap_or_default().to_owned(),
    });
    let shown = Chain { end_entity, intermediates, ocsp: &[], now };
    let fits = |records: &[Tlsa]| {
        let names = [name.to_owned(), domain.to_owned()];
        dane::verify(records, &names, &shown, &provider).map(|_| ()).map_err(|(_, why)| why)
    };
    let own: Vec<Tlsa> = records.iter().filter(|record| record.usage == dane::DANE_EE).cloned().collect();
    Ok(Judged {
        names: names(&parsed),
        issuer: parsed.issuer().to_string(),
        dates,
        in_date: (dates.0..=dates.1).contains(&seconds),
        name: for_name,
        roots: reaches,
        dane: (!records.is_empty()).then(|| fits(records)),
        dane_ee: !own.is_empty() && fits(&own).is_ok(),
    })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => match <[u8; 4]>::try_from(*octets) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*octets).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}
