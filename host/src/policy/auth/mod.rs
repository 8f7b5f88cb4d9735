//! Logins: SASL PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 4954, RFC 4616, RFC 7677, RFC 9266).
//!
//! Owns who may log in and how that is proved. Refuses to know SMTP: the engine decodes base64 and frames replies; what
//! comes here are octets. Fails by a refusal with RFC 4954's codes: 535 5.7.8 says nothing but "no", 454 4.7.0 means
//! later, 501 and 504 are mistakes in the exchange itself.
//!
//! What an attacker may learn: nothing about who exists. An unknown name costs the same hashing and gets the same
//! salt each time, and the answer to a failure waits (`throttle.rs`).

mod exchange;
mod file;
mod hashing;
mod scram;
mod throttle;
mod users;

pub use exchange::Exchange;
pub use file::{UsersError, UsersFile};
pub use users::Users;

use crate::{engine::types::Refusal, transport::tls::TlsFacts};

/// SASL mechanisms to offer, the best first. -PLUS needs a channel to bind to; without TLS whether to offer any is the
/// operator's choice, which the caller has checked.
pub fn mechanisms(tls: Option<&TlsFacts>) -> Vec<String> {
    let plus = tls.is_some_and(|tls| tls.exporter.is_some());
    MECHANISMS.iter().filter(|name| plus || **name != SCRAM_PLUS).map(|name| (*name).to_owned()).collect()
}

const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";
const SCRAM: &str = "SCRAM-SHA-256";
const PLAIN: &str = "PLAIN";
const LOGIN: &str = "LOGIN";
const MECHANISMS: [&str; 4] = [SCRAM_PLUS, SCRAM, PLAIN, LOGIN];

/// A name or password as it is compared and hashed: SASLprep (RFC 4013), the profile that RFC 4616 and RFC 5802 name.
/// None: a character that it prohibits, or nothing is left.
fn prepare(text: &str) -> Option<String> {
    stringprep::saslprep(text).ok().filter(|prepared| !prepared.is_empty()).map(|prepared| prepared.into_owned())
}

fn refusal(code: u16, subject: u16, detail: u16, text: &str) -> Refusal {
    Refusal { code, subject, detail, text: text.to_owned() }
}

/// RFC 4954 section 6. The same words whatever was wrong.
fn invalid() -> Refusal {
    refusal(535, 7, 8, "The name or the password is wrong")
}

fn malformed() -> Refusal {
    refusal(501, 5, 2, "That is no valid message of this mechanism")
}

fn busy() -> Refusal {
    refusal(454, 7, 0, "Too many logins at the moment; please try again soon")
}

fn slow_down() -> Refusal {
    refusal(454, 7, 0, "Too many failed logins from your address; please wait a little")
}

fn unsupported() -> Refusal {
    refusal(504, 5, 4, "That mechanism is not offered here")
}

fn needs_tls() -> Refusal {
    refusal(538, 7, 11, "Please start TLS first")
}
