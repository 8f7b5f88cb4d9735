//! Delivery status notifications: what a sender is told of a recipient's mail (RFC 3461, RFC 3464, RFC 6533).
//!
//! Owns who may be told what, and the form of the message that tells it. Refuses to know queues, stores and sockets: octets
//! come out, and somebody else sends them. Cannot fail: what fits no form is replaced or left out.
//!
//! One notice is about one recipient. Its parts: words for people, fields for programs, and what the sender sent, as RET
//! and its size allow. Where the sender's message came with SMTPUTF8, so does the notice, with the forms of RFC 6533;
//! otherwise it is ASCII but for the returned message, and addresses that are not are written as RFC 6533 has it.

mod fields;
mod original;

#[cfg(test)]
mod tests;

use jiff::{Timestamp as Instant, fmt::rfc2822, tz::TimeZone};

use self::original::Original;
use crate::store::{Address, BodyKind, EntryId, Envelope, NewEntry, Notify, Timestamp, Wishes};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is given up.
    Failed,
    /// It is tried until this time.
    Delayed(Timestamp),
    /// It is in its mailbox.
    Delivered,
    /// A server has it that will not tell (RFC 3461 section 5.2.2.2).
    Relayed,
}

impl Action {
    /// RFC 3464 section 2.3.3.
    fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed(_) => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }

    /// RFC 3461 section 4.1: NOTIFY says what the sender wants to hear; without it, of failures and delays.
    #[must_use]
    pub fn is_wanted(self, notify: Option<Notify>) -> bool {
        match self {
            Self::Failed => notify.is_none_or(|notify| notify.failure),
            Self::Delayed(_) => notify.is_none_or(|notify| notify.delay),
            Self::Delivered | Self::Relayed => notify.is_some_and(|notify| notify.success),
        }
    }
}

/// All that a notice says.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Who tells: this host's name.
    pub host: &'a str,
    /// Whose fate it is; names the notice too.
    pub entry: EntryId,
    /// Of the message.
    pub envelope: &'a Envelope,
    /// The recipient.
    pub recipient: &'a NewEntry,
    /// What happened.
    pub action: Action,
    /// RFC 3463: `5.1.1`.
    pub status: &'a str,
    /// Why, in words.
    pub reason: &'a str,
    /// When.
    pub now: Timestamp,
    /// The message from its first octet, or as much of its front as the caller has.
    pub front: &'a [u8],
    /// `front` is all of it.
    pub whole: bool,
    /// Octets of it that may be returned.
    pub most: usize,
}

impl Notice<'_> {
    /// Whom it goes to. None for mail from the null reverse-path, which is never answered (RFC 5321 section 4.5.5).
    #[must_use]
    pub fn addressee(&self) -> Option<&Address> {
        self.envelope.reverse_path.as_ref()
    }

    /// The notice's own envelope: from nobody, so that it is never answered.
    #[must_use]
    pub fn envelope(&self, message: &[u8]) -> Envelope {
        let eight_bit = !message.is_ascii();
        Envelope {
            reverse_path: None,
            body: if eight_bit { BodyKind::EightBitMime } else { BodyKind::SevenBit },
            smtputf8: self.envelope.smtputf8,
            // RFC 8689 section 5: it needs the same protection as what it tells of.
            require_tls: self.envelope.require_tls,
            session: self.envelope.session.clone(),
            listener: self.envelope.listener.clone(),
            received_at: self.now,
            size: message.len() as u64,
            eight_bit,
            // RFC 6710 section 4.4: what is told of a message is as urgent as the message.
            wishes: Wishes { priority: self.envelope.wishes.priority, ..Wishes::default() },
            ..Envelope::default()
        }
    }

    /// The message, with CRLF.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let utf8 = self.envelope.smtputf8;
        let original = Original::of(self);
        let recipient = fields::shown(&self.recipient.recipient, utf8);
        let addressee = self.addressee().map(|address| fields::shown(address, utf8)).unwrap_or_default();
        // The sender could not know the entry's id when the message was written.
        let boundary = format!("=_{}.{}", self.entry, self.action.as_str());
        let mut out = Vec::with_capacity(original.octets.len() + 4096);
        let mut line = |text: &str| {
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        };
        line(&format!("From: Mail delivery <MAILER-DAEMON@{}>", self.host));
        line(&format!("To: <{addressee}>"));
        line(match self.action {
            Action::Failed => "Subject: Your message could not be delivered",
            Action::Delayed(_) => "Subject: Your message is late",
            Action::Delivered => "Subject: Your message was delivered",
            Action::Relayed => "Subject: Your message was sent on",
        });
        line(&format!("Date: {}", date(self.now)));
        line(&format!("Message-ID: <{}.{}@{}>", self.entry, self.action.as_str(), self.host));
        // RFC 3834 section 5: nobody's autoreply answers it.
        line("Auto-Submitted: auto-replied");
        line("MIME-Version: 1.0");
        line("Content-Type: multipart/report; report-type=delivery-status;");
        line(&format!("\tboundary=\"{boundary}\""));
        let eight = !original.octets.is_ascii() || utf8;
        if eight {
            line("Content-Transfer-Encoding: 8bit");
        }
        line("");
        line("This is a delivery report in MIME format (RFC 3464).");
        line("");
        line(&format!("--{boundary}"));
        line("Content-Type: text/plain; charset=utf-8");
        if utf8 {
            line("Content-Transfer-Encoding: 8bit");
        }
        line("");
        self.words(&recipient, &mut line);
        line("");
        line(&format!("--{boundary}"));
        // RFC 6533 section 4.1.
        line(if utf8 {
            "Content-Type: message/global-delivery-status"
        } else {
            "Content-Type: message/delivery-status"
        });
        if utf8 {
            line("Content-Transfer-Encoding: 8bit");
        }
        line("");
        fields::message(self, &mut line);
        line("");
        fields::recipient(self, &mut line);
        line("");
        line(&format!("--{boundary}"));
        line(&format!("Content-Type: {}", original.media_type));
        if !original.octets.is_ascii() {
            line("Content-Transfer-Encoding: 8bit");
        }
        line("");
        out.extend_from_slice(&original.octets);
        // The CRLF before a delimiter is the delimiter's.
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        out
    }

    /// For people.
    fn words(&self, recipient: &str, line: &mut impl FnMut(&str)) {
        let reason = fields::words(self.reason, self.envelope.smtputf8);
        line(&format!("This is the mail system at {}.", self.host));
        line("");
        match self.action {
            Action::Failed => {
                line("Your message could not be delivered to this recipient, and will not be tried again:");
            }
            Action::Delayed(_) => {
                line("Your message has not been delivered to this recipient yet. You need not send it again:");
            }
            Action::Delivered => line("Your message was delivered to this recipient, as you wanted to know:"),
            Action::Relayed => {
                line("Your message was taken by a server that does not tell what becomes of it, for this recipient:");
            }
        }
        line("");
        line(&format!("    {recipient}"));
        if !reason.is_empty() {
            line("");
            fields::wrapped("    ", &reason, line);
        }
        if let Action::Delayed(until) = self.action {
            line("");
            line(&format!("It will be tried until {}.", date(until)));
        }
    }
}

/// RFC 5322 section 3.3, in UTC.
fn date(at: Timestamp) -> String {
    let instant = i64::try_from(at).ok().and_then(|at| Instant::from_millisecond(at).ok()).unwrap_or_default();
    let zoned = instant.to_zoned_datetime(TimeZone::UTC);
    // Only years before 0 and after 9999 have no form, and the clock of a running server is in none.
    rfc2822::to_string(&zoned).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".into())
}
