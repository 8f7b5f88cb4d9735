//! DANE for SMTP (RFC 7672, on RFC 6698 and RFC 7671): the certificate is the one that the DNS names.
//!
//! Owns which records can be used and what fits them. Refuses to ask the DNS: whoever does must have seen the
//! signatures.

use std::sync::Arc;

use rustls::{RootCertStore, client::danger::ServerCertVerified, crypto::CryptoProvider};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256, Sha512};

use super::{Chain, Distrust};
use crate::dns::Tlsa;

/// The server's own certificate.
pub(super) const DANE_EE: u8 = 3;
/// One that vouches for it.
const DANE_TA: u8 = 2;

/// Usages 0 and 1 are not for SMTP (RFC 7672 section 3.1.3); numbers that nobody knows, and digests of the wrong
/// length, can not be used either.
#[must_use]
pub fn usable(record: &Tlsa) -> bool {
    let fits = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == 32,
        2 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, DANE_TA | DANE_EE) && matches!(record.selector, 0 | 1) && fits
}

/// Is it this certificate's?
fn fits(record: &Tlsa, certificate: &[u8]) -> bool {
    let of = |octets: &[u8]| match record.matching {
        0 => record.data == octets,
        1 => record.data == Sha256::digest(octets).as_slice(),
        2 => record.data == Sha512::digest(octets).as_slice(),
        _ => false,
    };
    match record.selector {
        0 => of(certificate),
        1 => x509_parser::parse_x509_certificate(certificate)
            .is_ok_and(|(_, parsed)| of(parsed.tbs_certificate.subject_pki.raw)),
        _ => false,
    }
}

/// Does what the server shows fit one of the records?
pub(super) fn verify(
    records: &[Tlsa],
    names: &[String],
    chain: &Chain<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerCertVerified, (Distrust, String)> {
    let good = || records.iter().filter(|record| usable(record));
    // RFC 7672 section 3.1.1: neither names nor dates count here.
    if good().any(|record| record.usage == DANE_EE && fits(record, chain.end_entity)) {
        return Ok(ServerCertVerified::assertion());
    }
    let mut why = (Distrust::Tlsa, "no TLSA record fits the server's certificate".to_owned());
    for record in good().filter(|record| record.usage == DANE_TA) {
        // RFC 7672 section 3.1.2: the server shows the trust anchor too, unless the record itself is one.
        let own = (record.selector == 0 && record.matching == 0).then(|| CertificateDer::from(record.data.clone()));
        let shown = chain.intermediates.iter().filter(|certificate| fits(record, certificate)).cloned();
        for anchor in shown.chain(own) {
            let mut roots = RootCertStore::empty();
            let reached = match roots.add(anchor) {
                Ok(()) => chain.reaches(Arc::new(roots), provider, names),
                Err(error) => Err((Distrust::Other, error.to_string())),
            };
            match reached {
                Ok(verified) => return Ok(verified),
                Err((kind, error)) => {
                    let names = names.join(" or ");
                    why = (kind, format!("the certificate below the trust anchor is not good for {names}: {error}"));
                }
            }
        }
    }
    Err(why)
}
