//! Does the server carry mail for anybody to anybody? RFC 5321 sections 3.6.1 and 7.8, RFC 2505 section 2.1.
//!
//! Owns the ways in which servers were talked into it, and the verdict. Refuses to go beyond RCPT, so that nobody gets
//! a message, whatever is found; and to call closed what was not refused for good at RCPT. Fails with [`Stop`] where no
//! way can be tried.

use alloc::{format, string::String, vec::Vec};

use super::commands::NOBODY;
use super::talk::{Heard, Stop, Talk};
use super::{Plan, Verdict};
use crate::address::HostName;
use crate::client::line;

/// No trick at all.
const PLAIN: &str = "a stranger";

/// A way in which servers were talked into it.
struct Trick {
    name: &'static str,
    sender: String,
    /// What stands in the brackets.
    recipient: String,
    reads: Reads,
}

/// How a server may read an address that means somebody elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// As that, only.
    Elsewhere,
    /// As one of its own domain, as it is written. If it takes anybody there, it says nothing that it takes this one.
    Domain,
    /// As one of its own without a domain. The same.
    Bare,
}

fn tricks(plan: &Plan) -> Vec<Trick> {
    use Reads::{Bare, Domain, Elsewhere};
    let (domain, sender) = (&plan.domain, &plan.sender);
    let stranger = line::mailbox(&plan.stranger).unwrap_or_default();
    let local = &plan.stranger.local;
    let host = match &plan.stranger.host {
        HostName::Domain(name) => name.clone(),
        HostName::Literal(literal) => format!("[{literal}]"),
    };
    let trick = |name, sender: &str, recipient: String, reads| Trick { name, sender: sender.into(), recipient, reads };
    Vec::from([
        trick(PLAIN, sender, stranger.clone(), Elsewhere),
        trick("a stranger, from the null reverse-path", "", stranger.clone(), Elsewhere),
        trick(
            "a stranger, in the name of the server's own postmaster",
            &format!("postmaster@{domain}"),
            stranger.clone(),
            Elsewhere,
        ),
        trick("a source route", sender, format!("@{domain}:{stranger}"), Elsewhere),
        trick("a percent sign", sender, format!("{local}%{host}@{domain}"), Domain),
        trick("a bang path", sender, format!("{host}!{local}@{domain}"), Domain),
        trick("quotes", sender, format!("\"{local}@{host}\"@{domain}"), Domain),
        trick("two domains", sender, format!("{local}@{host}@{domain}"), Domain),
        trick("quotes without a domain", sender, format!("\"{local}@{host}\""), Bare),
    ])
}

/// What came of a recipient.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Taken,
    /// For good.
    Refused,
    /// For now, or with something that is no answer.
    Later,
    /// It did not come to that: the sender was refused.
    NoSender,
}

impl Came {
    fn of(heard: &Heard) -> Self {
        match heard.code() {
            200..=299 => Self::Taken,
            500.. => Self::Refused,
            _ => Self::Later,
        }
    }
}

/// A recipient in a transaction of its own.
async fn attempt(talk: &Talk, sender: &str, recipient: &str) -> Result<Came, Stop> {
    if !talk.reply("RSET").await?.is_good() {
        return Ok(Came::Later);
    }
    match Came::of(&talk.reply(&format!("MAIL FROM:<{sender}>")).await?) {
        Came::Taken => Ok(Came::of(&talk.reply(&format!("RCPT TO:<{recipient}>")).await?)),
        Came::Refused => Ok(Came::NoSender),
        other => Ok(other),
    }
}

pub(super) async fn relay(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    const CHECK: &str = "open-relay";
    const RULE: &str = "RFC 5321 section 7.8, RFC 2505 section 2.1";
    talk.enter(plan).await?;
    let heard = talk.reply(&format!("MAIL FROM:<{}>", plan.sender)).await?;
    if !heard.is_good() {
        return Err(Stop::at("MAIL", &heard));
    }
    let nobody = Came::of(&talk.reply(&format!("RCPT TO:<{NOBODY}@{}>", plan.domain)).await?);
    if nobody == Came::Taken {
        let text = format!("It takes mail for anybody at {}, even for nobody.", plan.domain);
        talk.found("unknown-recipient", Verdict::Info, "RFC 5321 section 3.3", text);
    }
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    let (mut local, mut later, mut no_sender) = (Vec::new(), Vec::new(), Vec::new());
    let mut ended = None;
    for Trick { name, sender, recipient, reads } in tricks(plan) {
        let came = match attempt(talk, &sender, &recipient).await {
            Ok(Came::Taken) => {
                let nobody = match reads {
                    Reads::Elsewhere => Ok(Came::Refused),
                    Reads::Domain => Ok(nobody),
                    // Few servers take the other one, so this is seldom asked.
                    Reads::Bare => attempt(talk, &sender, &format!("\"{NOBODY}\"")).await,
                };
                nobody.map(|nobody| if nobody == Came::Refused { &mut open } else { &mut local })
            }
            Ok(Came::Refused) => Ok(&mut closed),
            Ok(Came::Later) => Ok(&mut later),
            Ok(Came::NoSender) => Ok(&mut no_sender),
            Err(stop) => Err(stop),
        };
        match came {
            Ok(names) => names.push(name),
            Err(Stop(why)) => {
                ended = Some(why);
                break;
            }
        }
    }
    let mut notes = String::new();
    for (why, names) in [
        ("it may take them for addresses of its own, so nothing is known of", &local),
        ("their sender is refused, so nothing is known of", &no_sender),
        ("refused, but not for good", &later),
    ] {
        if !names.is_empty() {
            notes.push_str(&format!("; {why}: {}", names.join(", ")));
        }
    }
    if let Some(why) = &ended {
        notes.push_str(&format!("; then the session ended ({why})"));
    }
    let (verdict, text) = if !open.is_empty() {
        (Verdict::Fail, format!("It would carry mail elsewhere for anybody: {}{notes}.", open.join(", ")))
    } else if closed.contains(&PLAIN) && later.is_empty() && ended.is_none() {
        (Verdict::Pass, format!("None of {} ways to mail elsewhere is open{notes}.", closed.len()))
    } else {
        (Verdict::Untested, format!("Of the ways to mail elsewhere {} are closed{notes}.", closed.len()))
    };
    talk.found(CHECK, verdict, RULE, text);
    if ended.is_none() {
        let _ = talk.quit().await;
    }
    Ok(())
}
