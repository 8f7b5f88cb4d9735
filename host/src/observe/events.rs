//! Every event that is logged, by name.
//!
//! Owns the names, levels and fields, so that a filter or an alert can rely on them. Refuses to decide: callers say what
//! happened. Cannot fail. An event's name is its message; addresses pass through [`Address`] and [`Login`], which
//! redact them when that is asked for; passwords and content have no way in.
//!
//! | level | events |
//! | --- | --- |
//! | error | engine failed, store failed, reload failed |
//! | warn | login failed, delivery failed, delivery held, answer failed, self-signed certificate in use, message refused, admin refused and unavailable |
//! | info | session opened and closed, tls, tls failed, login, sender and recipient refused, message accepted and discarded, answer accepted, delivered, relayed, deferred, queue changed, server's own |
//! | debug | sender, recipient accepted, what the engine noted |

use std::{fmt::Display, net::SocketAddr, time::Duration};

use tracing::{debug, error, info, warn};

use super::{Address, Login, redact};

/// The events of one session. Every line carries its id.
#[derive(Clone, Debug)]
pub struct SessionLog {
    id: String,
}

impl SessionLog {
    /// `id` as in [`SessionFacts`](crate::policy::SessionFacts) and the Received field.
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned() }
    }

    /// The connection is open. No client address on a Unix socket.
    pub fn opened(&self, listener: &str, client: Option<SocketAddr>) {
        info!(session = %self.id, listener, client = client.map(display), "session opened");
    }

    /// The session is over. `why`: quit, timeout, drain, …
    pub fn closed(&self, why: &str, messages: u32, lasted: Duration) {
        info!(session = %self.id, why, messages, ms = lasted.as_millis() as u64, "session closed");
    }

    /// A handshake is done.
    pub fn tls(&self, version: &str, cipher: &str) {
        info!(session = %self.id, version, cipher, "tls");
    }

    /// A handshake failed, and the session with it.
    pub fn tls_failed(&self, error: impl Display) {
        info!(session = %self.id, %error, "tls failed");
    }

    /// XCLIENT or PROXY said who the client is.
    pub fn client(&self, client: Option<SocketAddr>, name: Option<&str>) {
        info!(session = %self.id, client = client.map(display), name, "client");
    }

    /// A login succeeded.
    pub fn login(&self, mechanism: &str, login: Login<'_>) {
        info!(session = %self.id, mechanism, %login, "login");
    }

    /// A login failed; who tried is not said, because people type passwords into the wrong field.
    pub fn login_failed(&self, mechanism: &str, client: Option<SocketAddr>, code: u16) {
        warn!(session = %self.id, mechanism, client = client.map(display), code, "login failed");
    }

    /// MAIL was accepted.
    pub fn sender(&self, sender: Address<'_>) {
        debug!(session = %self.id, %sender, "sender");
    }

    /// MAIL was refused.
    pub fn sender_refused(&self, sender: Address<'_>, code: u16, text: &str) {
        info!(session = %self.id, %sender, code, text = said(text), "sender refused");
    }

    /// RCPT was accepted.
    pub fn recipient(&self, recipient: Address<'_>) {
        debug!(session = %self.id, %recipient, "recipient");
    }

    /// RCPT was refused.
    pub fn recipient_refused(&self, recipient: Address<'_>, code: u16, text: &str) {
        info!(session = %self.id, %recipient, code, text = said(text), "recipient refused");
    }

    /// A message is durable and was answered 250.
    pub fn message_accepted(&self, message: impl Display, sender: Address<'_>, recipients: usize, octets: u64) {
        info!(session = %self.id, id = %message, %sender, recipients, octets, "message accepted");
    }

    /// A plugin's answer to the sender is durable.
    pub fn answer_accepted(&self, message: impl Display, octets: u64) {
        info!(session = %self.id, id = %message, octets, "answer accepted");
    }

    /// A plugin's answer to the sender goes nowhere.
    pub fn answer_failed(&self, error: impl Display) {
        warn!(session = %self.id, error = said(&error.to_string()), "answer failed");
    }

    /// A message was answered 250 and nobody gets it, as the plugins of all of its recipients want it.
    pub fn message_discarded(&self, sender: Address<'_>, recipients: usize, octets: u64) {
        info!(session = %self.id, %sender, recipients, octets, "message discarded");
    }

    /// A message was refused after its content.
    pub fn message_refused(&self, sender: Address<'_>, code: u16, text: &str) {
        warn!(session = %self.id, %sender, code, text = said(text), "message refused");
    }

    /// What the engine noted. A secret detail is never written; any other is left out under redaction, because it may
    /// hold an address that has not been parsed.
    pub fn noted(&self, occasion: &str, detail: &str, secret: bool) {
        let detail = if secret { "(secret)" } else { said(detail) };
        debug!(session = %self.id, occasion, detail, "noted");
    }

    /// The engine trapped, overran its deadline or was not to be had: the session ends with 421. `last`: the name of
    /// the session's last event, never input.
    pub fn engine_failed(&self, error: impl Display, last: &str) {
        error!(session = %self.id, %error, last, "engine failed");
    }

    /// The store could not take a message.
    pub fn store_failed(&self, error: impl Display) {
        error!(session = %self.id, %error, "store failed");
    }
}

/// Free text, which may quote an address.
fn said(text: &str) -> &str {
    if redact::enabled() { "(redacted)" } else { text }
}

/// A connection was closed before it became a session: too many, or a bad PROXY header.
pub fn connection_refused(listener: &str, client: Option<SocketAddr>, why: &str) {
    info!(listener, client = client.map(display), why, "connection refused");
}

/// An entry (`ULID.index`) reached its mailbox.
pub fn delivered(entry: impl Display, recipient: Address<'_>, attempt: u32) {
    info!(%entry, %recipient, attempt, "delivered");
}

/// Another server has taken an entry; `by` is who, and what it said.
pub fn relayed(entry: impl Display, recipient: Address<'_>, attempt: u32, by: &str) {
    info!(%entry, %recipient, attempt, by = said(by), "relayed");
}

/// An entry will be tried again. `at`: milliseconds since the Unix epoch.
pub fn deferred(entry: impl Display, recipient: Address<'_>, attempt: u32, at: u64, reason: &str) {
    info!(%entry, %recipient, attempt, at, reason = said(reason), "deferred");
}

/// An entry failed for good.
pub fn failed(entry: impl Display, recipient: Address<'_>, attempt: u32, reason: &str) {
    warn!(%entry, %recipient, attempt, reason = said(reason), "delivery failed");
}

/// An entry waits for an operator or a later feature.
pub fn held(entry: impl Display, recipient: Address<'_>, reason: &str) {
    warn!(%entry, %recipient, reason = said(reason), "delivery held");
}

/// An operator changed an entry. `operation`: retry, hold, release, drop, bounce; `by`: who it was, as far as is known.
pub fn queue_changed(operation: &str, entry: impl Display, by: &str, reason: &str) {
    info!(operation, %entry, by, reason = said(reason), "queue changed");
}

/// Somebody without the token asked the admin API for something.
pub fn admin_refused(peer: impl Display) {
    warn!(%peer, "admin refused");
}

/// The admin API is not served, where nobody has asked for it by name.
pub fn admin_unavailable(error: impl Display) {
    warn!(%error, "admin unavailable; `hermetic queue` can only read");
}

/// Said at the start, if entries are held: they would otherwise be forgotten.
pub fn held_at_start(entries: usize) {
    warn!(entries, "mail is held; see: hermetic queue list");
}

/// The store failed outside of any session.
pub fn store_failed(error: impl Display) {
    error!(%error, "store failed");
}

/// The process begins.
pub fn starting(version: &str, name: &str) {
    info!(version, name, "starting");
}

/// A socket is open. `kind`: mx, submission, submissions, lmtp, metrics, admin.
pub fn listening(kind: &str, name: &str, address: impl Display) {
    info!(kind, name, %address, "listening");
}

/// Accepting connections failed for a moment: out of descriptors, for example.
pub fn accept_failed(listener: &str, error: impl Display) {
    error!(listener, %error, "accept failed");
}

/// A certificate made here is in use: nobody outside has a reason to trust it.
pub fn self_signed(path: impl Display, name: &str) {
    warn!(%path, name, "self-signed certificate in use");
}

/// `what` (configuration, users, certificate) was read again and is in use.
pub fn reloaded(what: &str) {
    info!(what, "reloaded");
}

/// `what` could not be read again; the old one stays.
pub fn reload_failed(what: &str, error: impl Display) {
    error!(what, %error, "reload failed");
}

/// No new sessions; the open ones have so many seconds.
pub fn draining(sessions: usize, seconds: u64) {
    info!(sessions, seconds, "draining");
}

/// The end. `cut`: sessions that were not over in time.
pub fn stopped(cut: usize) {
    info!(cut, "stopped");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::{config::LogFormat, observe::log::tests::logged};

    fn a_session() {
        let log = SessionLog::new("S1");
        log.opened("mx", "192.0.2.1:25".parse().ok());
        log.opened("lmtp", None);
        log.login("PLAIN", Login("anna"));
        log.login_failed("PLAIN", None, 535);
        log.noted("refused", "a secret", true);
        log.message_accepted("01ARZ", Address::new("anna", "example.org"), 2, 4096);
        log.engine_failed("the engine trapped", "message accepted");
    }

    #[test]
    fn every_line_of_a_session_has_its_id() {
        let lines = logged(LogFormat::Json, "debug", a_session);
        assert_eq!(lines.lines().count(), 7, "{lines}");
        for line in lines.lines() {
            assert!(line.starts_with('{') && line.ends_with('}') && line.contains("\"session\":\"S1\""), "{line}");
        }
        let check = |parts: &[&str]| {
            let found = lines.lines().any(|line| parts.iter().all(|part| line.contains(part)));
            assert!(found, "no line with {parts:?} in:\n{lines}");
        };
        check(&["\"message\":\"session opened\"", "\"listener\":\"mx\"", "\"client\":\"192.0.2.1:25\""]);
        check(&["\"message\":\"login failed\"", "\"code\":535", "\"level\":\"WARN\""]);
        check(&["\"sender\":\"anna@example.org\"", "\"recipients\":2", "\"octets\":4096"]);
        check(&["\"message\":\"engine failed\"", "\"last\":\"message accepted\"", "\"level\":\"ERROR\""]);
        assert!(!lines.contains("a secret"), "{lines}");
    }

    #[test]
    fn people_read_one_line_an_event() {
        let lines = logged(LogFormat::Human, "info", a_session);
        assert_eq!(lines.lines().count(), 6, "debug is left out: {lines}");
        assert!(lines.lines().any(|l| l.contains("INFO session opened session=S1 listener=\"mx\"")), "{lines}");
    }
}
