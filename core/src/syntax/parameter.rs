//! The parameters of MAIL and RCPT. RFC 5321 section 4.1.1.11, and the RFC of each extension.
//!
//! Each stands at most once, in any order and any case. Whether its extension is offered is judged by the server.

use alloc::string::String;
use core::mem;

use super::{SyntaxError, date, path, xtext};
use crate::command::{
    BodyKind, ByMode, DeliverBy, Hold, MailParameters, Notify, OriginalRecipient, ReturnContent, Submitter,
};

/// ENVID as it is encoded. RFC 3461 section 4.4.
const ENVID: usize = 100;
/// ORCPT as it is encoded. RFC 3461 section 4.2.
const ORCPT: usize = 500;
/// Of a keyword that nobody knows so much is repeated to the peer.
const SHOWN_KEYWORD: usize = 40;

/// One parameter as it is written.
struct Parameter<'a> {
    keyword: &'a str,
    value: Option<&'a str>,
}

/// ```text
/// parameters    = *( SP esmtp-param )
/// esmtp-param   = esmtp-keyword [ "=" esmtp-value ]
/// esmtp-keyword = ( ALPHA / DIGIT ) *( ALPHA / DIGIT / "-" )
/// esmtp-value   = 1*( %x21-3C / %x3E-7E / UTF8-non-ascii )
/// ```
fn parameters(text: &str) -> impl Iterator<Item = Result<Parameter<'_>, SyntaxError>> {
    // The text is empty or begins with a space; what stands before that space is no parameter.
    text.split(' ').skip(1).map(|text| {
        let (keyword, value) = match text.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (text, None),
        };
        let keyword_fits = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let value_fits = value.is_none_or(|value| !value.contains('='));
        if keyword_fits && value_fits { Ok(Parameter { keyword, value }) } else { Err(SyntaxError::Parameters) }
    })
}

impl Parameter<'_> {
    fn unknown(&self) -> SyntaxError {
        SyntaxError::UnknownParameter(self.keyword.chars().take(SHOWN_KEYWORD).collect::<String>().to_ascii_uppercase())
    }
}

/// Keyword and value are known; puts it into its slot.
fn once<T>(keyword: &'static str, slot: &mut Option<T>, value: Option<T>) -> Result<(), SyntaxError> {
    let value = value.ok_or(SyntaxError::ParameterValue(keyword))?;
    if slot.replace(value).is_some() { Err(SyntaxError::DuplicateParameter(keyword)) } else { Ok(()) }
}

/// The same for a parameter without a value.
fn flag(keyword: &'static str, slot: &mut bool, value: Option<&str>) -> Result<(), SyntaxError> {
    if value.is_some() {
        Err(SyntaxError::ParameterValue(keyword))
    } else if mem::replace(slot, true) {
        Err(SyntaxError::DuplicateParameter(keyword))
    } else {
        Ok(())
    }
}

/// What follows the reverse-path.
pub(super) fn mail(text: &str) -> Result<MailParameters, SyntaxError> {
    let mut found = MailParameters::default();
    let mut body_kind = None;
    for parameter in parameters(text) {
        let parameter = parameter?;
        let value = parameter.value;
        match parameter.keyword.to_ascii_uppercase().as_str() {
            "SIZE" => once("SIZE", &mut found.size, value.and_then(size))?,
            "BODY" => once("BODY", &mut body_kind, value.and_then(body))?,
            "SMTPUTF8" => flag("SMTPUTF8", &mut found.smtputf8, value)?,
            "REQUIRETLS" => flag("REQUIRETLS", &mut found.require_tls, value)?,
            "PRDR" => flag("PRDR", &mut found.prdr, value)?,
            "RET" => once("RET", &mut found.ret, value.and_then(ret))?,
            "ENVID" => once("ENVID", &mut found.envid, value.and_then(envid))?,
            "AUTH" => once("AUTH", &mut found.auth, value.and_then(auth))?,
            // One slot: there is one of the two at most (RFC 4865 section 4.2).
            "HOLDFOR" => once("HOLDFOR", &mut found.hold, value.and_then(hold_for))?,
            "HOLDUNTIL" => once("HOLDUNTIL", &mut found.hold, value.and_then(date::read).map(Hold::Until))?,
            "BY" => once("BY", &mut found.deliver_by, value.and_then(deliver_by))?,
            "MT-PRIORITY" => once("MT-PRIORITY", &mut found.priority, value.and_then(priority))?,
            _ => return Err(parameter.unknown()),
        }
    }
    found.body = body_kind.unwrap_or_default();
    Ok(found)
}

/// What follows the forward-path.
pub(super) fn rcpt(text: &str) -> Result<(Option<Notify>, Option<OriginalRecipient>), SyntaxError> {
    let (mut notifications, mut original) = (None, None);
    for parameter in parameters(text) {
        let parameter = parameter?;
        let value = parameter.value;
        match parameter.keyword.to_ascii_uppercase().as_str() {
            "NOTIFY" => once("NOTIFY", &mut notifications, value.and_then(notify))?,
            "ORCPT" => once("ORCPT", &mut original, value.and_then(orcpt))?,
            _ => return Err(parameter.unknown()),
        }
    }
    Ok((notifications, original))
}

/// `size-value = 1*20DIGIT`, saturated. RFC 1870 section 3.
fn size(value: &str) -> Option<u64> {
    let digits = (1..=20).contains(&value.len()) && value.bytes().all(|c| c.is_ascii_digit());
    // Twenty nines are more than a u64 holds.
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

/// `"7BIT" / "8BITMIME" / "BINARYMIME"`. RFC 6152 section 2, RFC 3030 section 3.
fn body(value: &str) -> Option<BodyKind> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(BodyKind::SevenBit),
        "8BITMIME" => Some(BodyKind::EightBitMime),
        "BINARYMIME" => Some(BodyKind::BinaryMime),
        _ => None,
    }
}

/// `"FULL" / "HDRS"`. RFC 3461 section 4.3.
fn ret(value: &str) -> Option<ReturnContent> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Some(ReturnContent::Full),
        "HDRS" => Some(ReturnContent::Headers),
        _ => None,
    }
}

/// xtext of at most 100 characters that decodes to printable ASCII. RFC 3461 section 4.4.
fn envid(value: &str) -> Option<String> {
    if value.is_empty() || value.len() > ENVID {
        return None;
    }
    xtext::decode(value).ok().filter(|envid| envid.is_ascii())
}

/// xtext of `"<>" / Mailbox`. RFC 4954 section 5.
fn auth(value: &str) -> Option<Submitter> {
    let decoded = xtext::decode(value).ok()?;
    if decoded == "<>" {
        return Some(Submitter::Unknown);
    }
    path::mailbox(&decoded).is_ok().then_some(Submitter::Mailbox(decoded))
}

/// `1*9DIGIT`.
fn nine_digits(value: &str) -> Option<u32> {
    let digits = (1..=9).contains(&value.len()) && value.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten()
}

/// `1*9DIGIT` above 0. RFC 4865 section 3.
fn hold_for(value: &str) -> Option<Hold> {
    nine_digits(value).filter(|seconds| *seconds > 0).map(Hold::For)
}

/// `[ "-" / "+" ] 1*9DIGIT ";" ( "N" / "R" ) [ "T" ]`; what has to go back in no time at all is an error. RFC 2852
/// section 4.
fn deliver_by(value: &str) -> Option<DeliverBy> {
    let (time, mode) = value.split_once(';')?;
    let (negative, digits) = match time.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, time.strip_prefix('+').unwrap_or(time)),
    };
    let seconds = i32::try_from(nine_digits(digits)?).ok()?;
    let seconds = if negative { -seconds } else { seconds };
    let (mode, trace) = match mode.to_ascii_uppercase().as_str() {
        "R" => (ByMode::Return, false),
        "RT" => (ByMode::Return, true),
        "N" => (ByMode::Notify, false),
        "NT" => (ByMode::Notify, true),
        _ => return None,
    };
    (mode == ByMode::Notify || seconds > 0).then_some(DeliverBy { seconds, mode, trace })
}

/// `[ "-" ] DIGIT`. RFC 6710 section 7 has no `-0`; it is 0 here.
fn priority(value: &str) -> Option<i8> {
    let (negative, digit) = match value.strip_prefix('-') {
        Some(digit) => (true, digit),
        None => (false, value),
    };
    let level = nine_digits(digit).filter(|_| digit.len() == 1).and_then(|level| i8::try_from(level).ok())?;
    Some(if negative { -level } else { level })
}

/// `"NEVER" / ( element *( "," element ) )`, an element being SUCCESS, FAILURE or DELAY. RFC 3461 section 4.1.
fn notify(value: &str) -> Option<Notify> {
    let mut found = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(found);
    }
    for element in value.split(',') {
        match element.to_ascii_uppercase().as_str() {
            "SUCCESS" => found.success = true,
            "FAILURE" => found.failure = true,
            "DELAY" => found.delay = true,
            _ => return None,
        }
    }
    Some(found)
}

/// `addr-type ";" xtext` of at most 500 characters, or `"utf-8;"` and one of the encodings of RFC 6533 section 3. RFC
/// 3461 section 4.2.
fn orcpt(value: &str) -> Option<OriginalRecipient> {
    let (address_type, address) = value.split_once(';').filter(|_| value.len() <= ORCPT)?;
    let atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
    if address_type.is_empty() || !address_type.bytes().all(atom) || address.is_empty() {
        return None;
    }
    let mut address_type = address_type.to_ascii_lowercase();
    let address = if address_type == "utf-8" {
        xtext::decode_utf8_address(address).ok()?
    } else {
        xtext::decode(address).ok().filter(|_| address.is_ascii())?
    };
    // Postfix sends the octets of UTF-8 as xtext under `rfc822`, and would bounce the mail if that were refused; a report
    // has to call it what it is (RFC 6533 section 3).
    if !address.is_ascii() {
        address_type = "utf-8".into();
    }
    Some(OriginalRecipient { address_type, address })
}
