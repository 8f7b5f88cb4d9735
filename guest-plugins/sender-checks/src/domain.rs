//! Whether a domain takes mail (RFC 5321 section 5.1): by its MX, or by its address if it has none.

use hermetic_plugin::{Fault, Judgement, resolver};

/// What the DNS says of a domain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mail {
    /// There is somewhere to send it.
    Taken,
    /// It has a null MX (RFC 7505).
    Refused,
    /// There is no such domain, or it has neither MX nor address.
    NoSuchDomain,
    /// Nobody can say now.
    Unknown,
}

/// Asks for the MX, and for the addresses if there is none.
pub(crate) fn look(domain: &str) -> Judgement<Mail> {
    let exchangers = match resolver::mx(domain) {
        Ok(exchangers) => exchangers,
        Err(fault) => return unknown(fault),
    };
    if exchangers.iter().any(|exchanger| exchanger.name != ".") {
        return Ok(Mail::Taken);
    }
    if !exchangers.is_empty() {
        return Ok(Mail::Refused);
    }
    match resolver::addresses(domain) {
        Ok(addresses) if addresses.is_empty() => Ok(Mail::NoSuchDomain),
        Ok(_) => Ok(Mail::Taken),
        Err(fault) => unknown(fault),
    }
}

/// What is no name has no mail; a budget or a grant that is missing is the operator's to mend.
fn unknown(fault: Fault) -> Judgement<Mail> {
    match fault.code {
        Fault::UNAVAILABLE => Ok(Mail::Unknown),
        Fault::INVALID => Ok(Mail::NoSuchDomain),
        _ => Err(fault.into()),
    }
}
