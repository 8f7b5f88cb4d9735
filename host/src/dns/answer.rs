//! What a lookup says: whose records they are, what signatures prove, and how long it may be kept.

use std::{sync::Arc, time::Duration};

use hickory_resolver::{
    lookup::Lookup,
    net::{DnsError, NetError},
    proto::{
        dnssec::Proof,
        op::ResponseCode,
        rr::{Name, RData, Record, RecordType, rdata::SOA},
    },
};

use super::{Answer, NoAnswer};

/// The longest that an answer is kept, whatever it says.
const POSITIVE: u32 = 86_400;
/// The longest that nothing is kept; RFC 2308 section 5 finds one to three hours sensible.
const NEGATIVE: u32 = 3_600;
/// How long it is remembered that nobody answers (RFC 9520 section 3.2: at least a second).
const FAILURE: Duration = Duration::from_secs(1);
/// Aliases on the way to the records.
const ALIASES: usize = 16;

/// An answer before it has a type.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) data: Vec<RData>,
    pub(super) secure: bool,
}

impl Found {
    pub(super) fn typed<T>(&self, of: impl Fn(&RData) -> Option<T>) -> Answer<T> {
        Answer { name: self.name.clone(), records: self.data.iter().filter_map(of).collect(), secure: self.secure }
    }
}

/// Without the last dot; the root is `.`.
pub(super) fn text(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => text,
    }
}

/// The answer, and for how long it may be kept.
pub(super) type Read = (Result<Arc<Found>, NoAnswer>, Duration);

/// What the DNS said. `checks`: signatures were looked at.
pub(super) fn read(name: &Name, kind: RecordType, result: Result<Lookup, NetError>, checks: bool) -> Read {
    match result {
        Ok(lookup) => records(name, kind, lookup.answers(), checks),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let proof = none.authorities.as_deref().unwrap_or_default();
            let secure = checks && !proof.is_empty() && proof.iter().all(|record| record.proof == Proof::Secure);
            let keep = none.soa.as_deref().map_or(0, |soa| soa.ttl.min(soa.data.minimum));
            nothing(none.response_code, secure, keep)
        }
        // Nothing is there, but the proof of it does not count, as for NSEC3 with too many iterations (RFC 9276).
        Err(NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. })) => {
            let keep = response.authorities.iter().find_map(soa).unwrap_or(0);
            nothing(response.response_code, false, keep)
        }
        Err(NetError::Dns(DnsError::DnssecBogus | DnsError::Nsec { .. })) => (Err(NoAnswer::Bogus), FAILURE),
        Err(NetError::Timeout) => failed("no answer in time".into()),
        Err(error) => failed(error.to_string()),
    }
}

/// Nobody knows.
pub(super) fn failed(why: String) -> Read {
    (Err(NoAnswer::Temporary(why)), FAILURE)
}

fn nothing(code: ResponseCode, secure: bool, keep: u32) -> Read {
    let keep = Duration::from_secs(keep.min(NEGATIVE).into());
    (Err(NoAnswer::NotFound { exists: code != ResponseCode::NXDomain, secure }), keep)
}

/// For how long a zone wants nothing to be kept (RFC 2308 section 5).
fn soa(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(SOA { minimum, .. }) => Some(record.ttl.min(*minimum)),
        _ => None,
    }
}

/// Follows the aliases to the records.
fn records(name: &Name, kind: RecordType, answers: &[Record], checks: bool) -> Read {
    let mut at = name;
    let mut keep = POSITIVE;
    let mut proofs = Vec::new();
    // Who asks for an alias does not want what it leads to.
    for _ in 0..if kind == RecordType::CNAME { 0 } else { ALIASES } {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *at => Some((record, &target.0)),
            _ => None,
        });
        let Some((record, target)) = alias else { break };
        keep = keep.min(record.ttl);
        proofs.push(record.proof);
        at = target;
    }
    let found: Vec<&Record> =
        answers.iter().filter(|record| record.record_type() == kind && record.name == *at).collect();
    if found.is_empty() {
        return nothing(ResponseCode::NoError, false, 0);
    }
    keep = found.iter().fold(keep, |keep, record| keep.min(record.ttl));
    proofs.extend(found.iter().map(|record| record.proof));
    if checks && proofs.contains(&Proof::Bogus) {
        return (Err(NoAnswer::Bogus), FAILURE);
    }
    let secure = checks && proofs.iter().all(|proof| *proof == Proof::Secure);
    let data = found.into_iter().map(|record| record.data.clone()).collect();
    (Ok(Arc::new(Found { name: text(at), data, secure })), Duration::from_secs(keep.into()))
}
