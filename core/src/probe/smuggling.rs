//! Does the server take for the end of the content what is none? RFC 5321 section 4.1.1.4.
//!
//! Where two servers do not agree on the end, what one of them takes for content is a message to the other. Here it is a
//! NOOP: a server that sees an end before it carries the NOOP out, and answers once too often. So no second message ever
//! comes about. The recipient gets one, whole or cut short.

use alloc::{format, vec::Vec};

use super::talk::{Heard, Stop, Talk};
use super::{Plan, Verdict};

/// What stands where only CRLF "." CRLF ends the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EndOfData {
    LfDotLf,
    LfDotCrlf,
    CrlfDotLf,
    CrDotCr,
    CrDotCrlf,
    CrlfDotCr,
    LfDotCr,
    CrDotLf,
}

impl EndOfData {
    const fn octets(self) -> &'static [u8] {
        match self {
            Self::LfDotLf => b"\n.\n",
            Self::LfDotCrlf => b"\n.\r\n",
            Self::CrlfDotLf => b"\r\n.\n",
            Self::CrDotCr => b"\r.\r",
            Self::CrDotCrlf => b"\r.\r\n",
            Self::CrlfDotCr => b"\r\n.\r",
            Self::LfDotCr => b"\n.\r",
            Self::CrDotLf => b"\r.\n",
        }
    }

    pub(super) const fn check(self) -> &'static str {
        match self {
            Self::LfDotLf => "smuggling-lf-dot-lf",
            Self::LfDotCrlf => "smuggling-lf-dot-crlf",
            Self::CrlfDotLf => "smuggling-crlf-dot-lf",
            Self::CrDotCr => "smuggling-cr-dot-cr",
            Self::CrDotCrlf => "smuggling-cr-dot-crlf",
            Self::CrlfDotCr => "smuggling-crlf-dot-cr",
            Self::LfDotCr => "smuggling-lf-dot-cr",
            Self::CrDotLf => "smuggling-cr-dot-lf",
        }
    }
}

pub(super) async fn smuggling(talk: &Talk, plan: &Plan, end: EndOfData) -> Result<(), Stop> {
    const RULE: &str = "RFC 5321 section 4.1.1.4";
    let check = end.check();
    let recipient = plan.recipient.as_deref().unwrap_or_default();
    talk.enter(plan).await?;
    for command in [format!("MAIL FROM:<{}>", plan.sender), format!("RCPT TO:<{recipient}>")] {
        let heard = talk.ask(&command).await;
        if !heard.is_good() {
            return Err(Stop(format!("{command}: {}", heard.words())));
        }
    }
    let heard = talk.ask("DATA").await;
    if heard.code() != 354 {
        return Err(Stop(format!("DATA: {}", heard.words())));
    }
    let shown = end.octets().escape_ascii();
    let mut content = Vec::from(format!(
        "From: <{}>\r\nTo: <{recipient}>\r\nSubject: a test by hermetic probe: {check}\r\n\r\n\
         Somebody tests whether this server takes {shown} for the end of a message. You agreed to get this.",
        plan.sender
    ));
    content.extend_from_slice(end.octets());
    talk.say(&content);
    let early = talk.hear_unasked().await;
    let fault = |why: &str| {
        let text = format!("It takes {shown} for the end of the content{why}: messages can be smuggled in.");
        talk.found(check, Verdict::Fail, RULE, text);
    };
    match early {
        // As it should be: it waits for more.
        Heard::Silence => {}
        Heard::Reply(ref said) if said.code != 421 => {
            // Refused in the middle, and then?
            let words = early.words();
            let heard = talk.ask("QUIT").await;
            if heard.code() == 221 || early.is_good() {
                fault(&format!(" ({words})"));
            } else {
                talk.found(check, Verdict::Pass, RULE, format!("It refuses {shown} ({words})."));
            }
            return Ok(());
        }
        Heard::Garbage(_) => return Err(Stop(early.words())),
        Heard::Reply(_) | Heard::Gone => {
            talk.found(check, Verdict::Pass, RULE, format!("It refuses {shown} ({}).", early.words()));
            return Ok(());
        }
    }
    talk.say(b"NOOP smuggled\r\n\r\n.\r\n");
    let heard = talk.hear().await;
    let more = if heard.is_last() { 0 } else { talk.quit().await.len() };
    match heard.code() {
        _ if more > 0 => fault(", and what follows for commands"),
        0 | 421 => talk.found(check, Verdict::Pass, RULE, format!("It refuses {shown} ({}).", heard.words())),
        400.. => {
            talk.found(check, Verdict::Pass, RULE, format!("A message with {shown} is refused ({}).", heard.words()))
        }
        _ => talk.found(check, Verdict::Pass, RULE, format!("{shown} ends no message; it was taken as a part of one.")),
    }
    Ok(())
}
