//! Does the server take for the end of the content what is none? RFC 5321 section 4.1.1.4.
//!
//! Where two servers do not agree on the end, what one of them takes for content is a message to the other. Here it is a
//! NOOP: a server that sees an end before it carries the NOOP out, and answers once too often. So no second message ever
//! comes about. The recipient gets one, whole or cut short.
//!
//! Owns the wrong ends and the verdict. Refuses to take silence, nonsense or a connection that ends for an answer: then
//! it fails with [`Stop`], and the end is untested.

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
        let heard = talk.reply(&command).await?;
        if !heard.is_good() {
            return Err(Stop(format!("{command}: {}", heard.words())));
        }
    }
    let heard = talk.reply("DATA").await?;
    if heard.code() != 354 {
        return Err(Stop::at("DATA", &heard));
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
    let refused = |heard: &Heard| {
        talk.found(check, Verdict::Pass, RULE, format!("It refuses {shown} ({}).", heard.words()));
    };
    match early {
        // As it should be: it waits for more.
        Heard::Silence => {}
        Heard::Reply(ref said) if said.code == 421 => {
            refused(&early);
            return Ok(());
        }
        Heard::Reply(_) => {
            // Refused in the middle, and then?
            let heard = talk.ask("QUIT").await;
            match heard {
                _ if early.is_good() || heard.code() == 221 => fault(&format!(" ({})", early.words())),
                Heard::Reply(ref said) if said.code == 421 => refused(&early),
                Heard::Gone => refused(&early),
                _ => return Err(Stop(format!("it says {}, and to QUIT: {}", early.words(), heard.words()))),
            }
            return Ok(());
        }
        Heard::Garbage(_) | Heard::Gone => return Err(Stop(early.words())),
    }
    talk.say(b"NOOP smuggled\r\n\r\n.\r\n");
    let heard = talk.hear().await;
    if heard.code() == 421 {
        refused(&heard);
        return Ok(());
    }
    if heard.is_last() {
        return Err(Stop(format!("the message: {}", heard.words())));
    }
    let more = talk.quit().await?;
    match heard.code() {
        _ if more > 0 => fault(", and what follows for commands"),
        200..=299 => {
            talk.found(check, Verdict::Pass, RULE, format!("{shown} ends no message; it was taken as a part of one."));
        }
        400.. => {
            talk.found(check, Verdict::Pass, RULE, format!("A message with {shown} is refused ({}).", heard.words()));
        }
        _ => return Err(Stop(format!("the message: {}", heard.words()))),
    }
    Ok(())
}
