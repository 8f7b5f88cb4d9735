//! What the host offers, module by module as in `wit/plugin`. Each is what an operator grants or does not.

use crate::host;

/// What is known of the session and the envelope. Needs no grant.
pub mod facts {
    use super::host::facts;

    /// The same for all hooks of one message; names it in the log and in `hermetic why`.
    pub fn transaction_id() -> String {
        facts::transaction_id()
    }

    /// The time at which this hook was called: seconds since 1970.
    pub fn now() -> u32 {
        facts::now()
    }

    /// The listener's name.
    pub fn listener() -> String {
        facts::listener()
    }

    /// `mx`, `submission`, `submissions` or `lmtp`.
    pub fn listener_kind() -> String {
        facts::listener_kind()
    }

    /// An IPv4 or IPv6 address; none on a Unix socket.
    pub fn client_address() -> Option<String> {
        facts::client_address()
    }

    /// The client's verified name, where one is known.
    pub fn client_name() -> Option<String> {
        facts::client_name()
    }

    /// The argument of HELO, EHLO or LHLO.
    pub fn hello_name() -> Option<String> {
        facts::hello_name()
    }

    /// The login.
    pub fn identity() -> Option<String> {
        facts::identity()
    }

    /// `TLSv1.3`; none on a plain connection.
    pub fn tls_version() -> Option<String> {
        facts::tls_version()
    }

    /// None before MAIL. The null reverse-path is the empty string; else an address as in a header field.
    pub fn reverse_path() -> Option<String> {
        facts::reverse_path()
    }

    /// BODY= of MAIL: `7BIT`, `8BITMIME` or `BINARYMIME`.
    pub fn body_type() -> String {
        facts::body_type()
    }

    /// SMTPUTF8 was given.
    pub fn smtputf8() -> bool {
        facts::smtputf8()
    }

    /// The recipient that the running hook was called for; none where it is called for several or none.
    pub fn forward_path() -> Option<String> {
        facts::forward_path()
    }

    /// The recipient's mailbox without subaddress, if it is local.
    pub fn mailbox() -> Option<String> {
        facts::mailbox()
    }

    /// The recipients of this plugin that were accepted so far.
    pub fn recipients() -> Vec<String> {
        facts::recipients()
    }

    /// Octets of the content; before it is complete what SIZE= said, else 0.
    pub fn message_size() -> u32 {
        facts::message_size()
    }
}

/// Header fields as the recipient of the running hook would get them: earlier edits show. Needs no grant.
pub mod header {
    use super::host::header;
    pub use crate::bindings::header::Field;

    /// The fields of this name (in any case), top first; an empty name: all of them.
    pub fn fields(name: &str) -> Vec<Field> {
        header::fields(name)
    }

    /// Their values as text: encoded words decoded, what is no UTF-8 replaced by U+FFFD.
    pub fn text(name: &str) -> Vec<String> {
        header::text(name)
    }
}

/// The content below the header, raw. What is not read is never copied.
pub mod body {
    use super::host::body;

    /// At most `max` octets (and at most 65536) from `offset`; empty at the end.
    pub fn read(offset: u32, max: u32) -> Vec<u8> {
        body::read(offset, max)
    }

    /// Octets of it.
    pub fn size() -> u32 {
        body::size()
    }
}

/// Changes of header fields. In a hook for one recipient they are that recipient's alone; in `on_message` all of this plugin's
/// recipients'. Trace fields and Return-Path are the host's. Needs the grant `edit`.
pub mod edit {
    use super::host::edit;
    use crate::Fault;

    /// A field above all others; returns its id. The value may hold no control but tab.
    ///
    /// # Errors
    /// Not granted, no such field name or value, or the host's field.
    pub fn prepend(name: &str, value: &str) -> Result<u32, Fault> {
        edit::prepend(name, value)
    }

    /// A field below all others; returns its id.
    ///
    /// # Errors
    /// As for [`prepend`].
    pub fn append(name: &str, value: &str) -> Result<u32, Fault> {
        edit::append(name, value)
    }

    /// Another value for a field; its place and id stay.
    ///
    /// # Errors
    /// As for [`prepend`], or there is no such field.
    pub fn replace(field: u32, value: &str) -> Result<(), Fault> {
        edit::replace(field, value)
    }

    /// Without it.
    ///
    /// # Errors
    /// Not granted, no such field, or the host's.
    pub fn remove(field: u32) -> Result<(), Fault> {
        edit::remove(field)
    }
}

/// Other recipients. Needs the grant `forwarding`, which lists domains.
pub mod forwarding {
    use super::host::forwarding;
    use crate::Fault;

    /// Instead of this recipient these. Counts when the recipient is accepted.
    ///
    /// # Errors
    /// A domain is not granted, an address can not be, or there are too many.
    pub fn redirect(to: &[String]) -> Result<(), Fault> {
        forwarding::redirect(to)
    }

    /// This recipient and one more.
    ///
    /// # Errors
    /// As for [`redirect`].
    pub fn add(to: &str) -> Result<(), Fault> {
        forwarding::add(to)
    }
}

/// Accepted, kept aside, and shown to the operator. Needs the grant `quarantine`.
pub mod quarantine {
    use super::host::quarantine;
    use crate::Fault;

    /// This recipient's copy goes there, if it is accepted.
    ///
    /// # Errors
    /// Not granted.
    pub fn keep(why: &str) -> Result<(), Fault> {
        quarantine::keep(why)
    }
}

/// An answer to the sender, in the recipient's name (RFC 3834): the host writes its header and sends it to the reverse-path and
/// nobody else. Needs the grant `reply`.
pub mod reply {
    use super::host::reply;
    use crate::Fault;

    /// One answer of this recipient to this message, in `on_recipient_message`; it is sent if the recipient is accepted. An
    /// empty `subject`: `Auto: ` and the message's.
    ///
    /// # Errors
    /// Not granted, no such subject or text, there is one already, or nobody may be answered
    /// ([`Fault::NOT_FOUND`](crate::Fault::NOT_FOUND)): the reverse-path is null, or a machine has written the message.
    pub fn send(subject: &str, text: &str) -> Result<(), Fault> {
        reply::send(subject, text)
    }
}

/// What one hook leaves for a later one of the same plugin and transaction. At most 64 KiB in all. Needs no grant.
pub mod scratch {
    use super::host::scratch;
    use crate::Fault;

    /// None: nothing was left under this name.
    pub fn get(name: &str) -> Option<Vec<u8>> {
        scratch::get(name)
    }

    /// An earlier value is replaced.
    ///
    /// # Errors
    /// It is full.
    pub fn set(name: &str, value: &[u8]) -> Result<(), Fault> {
        scratch::set(name, value)
    }
}

/// The message as it would be delivered to the recipient of the running hook: trace fields, edits and all.
pub mod rendered {
    use super::host::rendered;

    /// At most `max` octets (and at most 65536) from `offset`; empty at the end.
    pub fn read(offset: u32, max: u32) -> Vec<u8> {
        rendered::read(offset, max)
    }

    /// Octets of it.
    pub fn size() -> u32 {
        rendered::size()
    }
}

/// The queue's attempt that a delivery hook was called for.
pub mod attempt {
    use super::host::attempt;

    /// The same for every attempt of this recipient and message, and of no other.
    pub fn idempotency_key() -> String {
        attempt::idempotency_key()
    }

    /// Counted from 1.
    pub fn number() -> u32 {
        attempt::number()
    }

    /// When the message was accepted: seconds since 1970.
    pub fn queued_at() -> u32 {
        attempt::queued_at()
    }
}

/// What became of the recipient that a report hook was called for.
pub mod fate {
    use super::host::fate;

    /// `delivered`, `discarded`, `deferred`, `refused`, `quarantined`, `redirected`, `failed` or `expired`.
    pub fn state() -> String {
        fate::state()
    }

    /// The enhanced status, if there is one.
    pub fn status() -> Option<String> {
        fate::status()
    }

    /// In words.
    pub fn text() -> String {
        fate::text()
    }

    /// Attempts to deliver so far.
    pub fn attempts() -> u32 {
        fate::attempts()
    }
}

/// Lines for the operator's log, at most 1000 a transaction; each is cut at 1 KiB. Needs no grant.
pub mod log {
    use super::host::log;

    /// Shown only where the operator asks for it.
    pub fn debug(text: &str) {
        log::debug(text);
    }

    /// Worth a line.
    pub fn info(text: &str) {
        log::info(text);
    }

    /// Wants a look.
    pub fn warn(text: &str) {
        log::warn(text);
    }
}

/// The operator's settings for this plugin. Needs no grant. [`settings`](fn@crate::settings) reads them into a type.
pub mod config {
    use super::host::config;

    /// The value of a setting as text; tables and arrays are JSON. None: not set.
    pub fn get(key: &str) -> Option<String> {
        config::get(key)
    }

    /// All settings as one JSON object.
    pub fn json() -> String {
        config::json()
    }
}

/// The plugin's own small database: kept over restarts, shared by its instances, nobody else's. Needs the grant `keyvalue`.
pub mod keyvalue {
    use super::host::keyvalue;
    use crate::Fault;

    /// None: not there, or expired.
    ///
    /// # Errors
    /// Not granted, or not now.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, Fault> {
        keyvalue::get(key)
    }

    /// Kept for so many seconds; 0: until it is deleted.
    ///
    /// # Errors
    /// Not granted, over the quota, or not now.
    pub fn set(key: &str, value: &[u8], seconds: u32) -> Result<(), Fault> {
        keyvalue::set(key, value, seconds)
    }

    /// Gone, if it was there.
    ///
    /// # Errors
    /// Not granted, or not now.
    pub fn delete(key: &str) -> Result<(), Fault> {
        keyvalue::delete(key)
    }

    /// Adds to a counter and returns the sum. A counter that is not there begins at 0 and expires so many seconds after it
    /// began (0: never).
    ///
    /// # Errors
    /// Not granted, over the quota, or not now.
    pub fn increment(key: &str, by: i32, seconds: u32) -> Result<i32, Fault> {
        keyvalue::increment(key, by, seconds)
    }
}

/// Questions to the DNS. An empty list says that there is nothing; [`Fault::UNAVAILABLE`](crate::Fault::UNAVAILABLE) that nobody
/// knows now. Needs the grant `resolver`.
pub mod resolver {
    use super::host::resolver;
    use crate::Fault;
    pub use crate::bindings::resolver::Exchanger;

    /// A and AAAA.
    ///
    /// # Errors
    /// Not granted, the budget is used up, or nobody knows now.
    pub fn addresses(name: &str) -> Result<Vec<String>, Fault> {
        resolver::addresses(name)
    }

    /// MX, lowest preference first.
    ///
    /// # Errors
    /// As for [`addresses`].
    pub fn mx(name: &str) -> Result<Vec<Exchanger>, Fault> {
        resolver::mx(name)
    }

    /// TXT, the strings of each record joined.
    ///
    /// # Errors
    /// As for [`addresses`].
    pub fn txt(name: &str) -> Result<Vec<Vec<u8>>, Fault> {
        resolver::txt(name)
    }

    /// The names of an address.
    ///
    /// # Errors
    /// As for [`addresses`].
    pub fn ptr(address: &str) -> Result<Vec<String>, Fault> {
        resolver::ptr(address)
    }
}

/// Requests to servers that the grant `http` lists. Redirects are not followed.
pub mod http {
    use super::host::http;
    use crate::Fault;
    pub use crate::bindings::http::{Field, Response};

    /// Sends these octets.
    ///
    /// # Errors
    /// Not granted, the budget is used up, or the server can not be reached.
    pub fn send(method: &str, url: &str, fields: &[Field], body: &[u8]) -> Result<Response, Fault> {
        http::send(method, url, fields, body)
    }

    /// Sends the message as it would be delivered; the host streams it, the plugin never holds it.
    ///
    /// # Errors
    /// As for [`send`].
    pub fn send_message(method: &str, url: &str, fields: &[Field]) -> Result<Response, Fault> {
        http::send_message(method, url, fields)
    }
}
