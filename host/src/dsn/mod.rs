//! Delivery status notifications: what a sender is told of a recipient's mail (RFC 3461, RFC 3464, RFC 6533).
//!
//! Owns who may be told what, and the form of the message that tells it. Refuses to know queues, stores and sockets: octets
//! come out, and somebody else sends them. Cannot fail: what fits no form is replaced or left out.
//!
//! One notice is about one message and some of its recipients. Its parts: words for people, fields for programs with a group
//! for each recipient, and what the sender sent, as RET and its size allow. Where the sender's message came with SMTPUTF8, so
//! does the notice, with the forms of RFC 6533; otherwise it is ASCII but for the returned message, and addresses that are not
//! are written as RFC 6533 has it.

mod fields;
mod original;
mod words;

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
    /// It goes to several others instead (RFC 3461 section 5.2.7.2).
    Expanded,
}

impl Action {
    /// RFC 3464 section 2.3.3.
    fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed(_) => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    /// How much the sender has to know it: 0 is the most.
    fn rank(self) -> u8 {
        match self {
            Self::Failed => 0,
            Self::Delayed(_) => 1,
            Self::Relayed => 2,
            Self::Expanded => 3,
            Self::Delivered => 4,
        }
    }

    /// RFC 3461 section 4.1: NOTIFY says what the sender wants to hear; without it, of failures and delays.
    #[must_use]
    pub fn is_wanted(self, notify: Option<Notify>) -> bool {
        match self {
            Self::Failed => notify.is_none_or(|notify| notify.failure),
            Self::Delayed(_) => notify.is_none_or(|notify| notify.delay),
            Self::Delivered | Self::Relayed | Self::Expanded => notify.is_some_and(|notify| notify.success),
        }
    }
}

/// A server that had a part in it.
#[derive(Clone, Copy, Debug)]
pub struct Remote<'a> {
    /// Its name.
    pub host: &'a str,
    /// What it said: code, enhanced code if it gave one, text. None: the connection says it all.
    pub reply: Option<&'a str>,
}

/// What became of one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Whose fate it is.
    pub entry: EntryId,
    /// The recipient.
    pub recipient: &'a NewEntry,
    /// What happened.
    pub action: Action,
    /// RFC 3463: `5.1.1`.
    pub status: &'a str,
    /// Why, in words.
    pub reason: &'a str,
    /// When it was last tried; None: it was not.
    pub attempt: Option<Timestamp>,
    /// By whose word.
    pub remote: Option<Remote<'a>>,
}

/// All that a notice says.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Who tells: this host's name.
    pub host: &'a str,
    /// Of the message.
    pub envelope: &'a Envelope,
    /// Of whom; at least one.
    pub told: &'a [Told<'a>],
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
            // RFC 6710 section 4.6: what is told of a message is as urgent as the message.
            wishes: Wishes { priority: self.envelope.wishes.priority, ..Wishes::default() },
            ..Envelope::default()
        }
    }

    /// Those who share what a sender has to know most.
    fn worst(&self) -> Option<&Told<'_>> {
        self.told.iter().min_by_key(|told| told.action.rank())
    }

    /// The message, with CRLF; none of it if there is nobody to tell of.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let Some(worst) = self.worst() else { return Vec::new() };
        let utf8 = self.envelope.smtputf8;
        let original = Original::of(self);
        let addressee = self.addressee().map(|address| fields::shown(address, utf8)).unwrap_or_default();
        // What happens to an entry happens to it once, so this names no other notice. And the sender could not know the
        // entry's id when the message was written.
        let name = format!("{}.{}", worst.entry, worst.action.as_str());
        let boundary = format!("=_{name}");
        let mut out = Vec::with_capacity(original.octets.len() + 4096);
        let mut line = |text: &str| {
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        };
        line(&format!("From: Mail delivery <MAILER-DAEMON@{}>", self.host));
        line(&format!("To: <{addressee}>"));
        line(match worst.action {
            Action::Failed => "Subject: Your message could not be delivered",
            Action::Delayed(_) => "Subject: Your message is late",
            Action::Relayed | Action::Expanded => "Subject: Your message was sent on",
            Action::Delivered => "Subject: Your message was delivered",
        });
        line(&format!("Date: {}", date(self.now)));
        line(&format!("Message-ID: <{name}@{}>", self.host));
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
        words::words(self, &mut line);
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
        for told in self.told {
            line("");
            fields::recipient(told, utf8, &mut line);
        }
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
}

/// RFC 5322 section 3.3, in UTC.
fn date(at: Timestamp) -> String {
    let instant = i64::try_from(at).ok().and_then(|at| Instant::from_millisecond(at).ok()).unwrap_or_default();
    let zoned = instant.to_zoned_datetime(TimeZone::UTC);
    // Only years before 0 and after 9999 have no form, and the clock of a running server is in none.
    rfc2822::to_string(&zoned).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".into())
}
