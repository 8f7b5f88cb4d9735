//! Does the server carry mail for anybody to anybody? RFC 5321 sections 3.6.1 and 7.8, RFC 2505 section 2.1.
//!
//! Nothing goes beyond RCPT, so that nobody gets a message, whatever is found.

use alloc::{format, string::String, vec::Vec};

use super::commands::NOBODY;
use super::talk::{Stop, Talk};
use super::{Plan, Verdict};
use crate::address::HostName;
use crate::client::line;

/// A way in which servers were talked into it.
struct Trick {
    name: &'static str,
    sender: String,
    /// What stands in the brackets.
    recipient: String,
    /// It is an address of the server's own domain, as it is written. A server that takes any recipient there takes this one
    /// too, which says nothing.
    local: bool,
}

fn tricks(plan: &Plan) -> Vec<Trick> {
    let (domain, sender) = (&plan.domain, &plan.sender);
    let stranger = line::mailbox(&plan.stranger).unwrap_or_default();
    let local = &plan.stranger.local;
    let host = match &plan.stranger.host {
        HostName::Domain(name) => name.clone(),
        HostName::Literal(literal) => format!("[{literal}]"),
    };
    let trick = |name, sender: &str, recipient: String, local| Trick { name, sender: sender.into(), recipient, local };
    Vec::from([
        trick("a stranger", sender, stranger.clone(), false),
        trick("a stranger, from the null reverse-path", "", stranger.clone(), false),
        trick(
            "a stranger, in the name of the server's own postmaster",
            &format!("postmaster@{domain}"),
            stranger.clone(),
            false,
        ),
        trick("a source route", sender, format!("@{domain}:{stranger}"), false),
        trick("a percent sign", sender, format!("{local}%{host}@{domain}"), true),
        trick("a bang path", sender, format!("{host}!{local}@{domain}"), true),
        trick("quotes", sender, format!("\"{local}@{host}\"@{domain}"), true),
        trick("two domains", sender, format!("{local}@{host}@{domain}"), true),
        trick("quotes without a domain", sender, format!("\"{local}@{host}\""), false),
    ])
}

pub(super) async fn relay(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    const CHECK: &str = "open-relay";
    const RULE: &str = "RFC 5321 section 7.8, RFC 2505 section 2.1";
    talk.enter(plan).await?;
    let heard = talk.ask(&format!("MAIL FROM:<{}>", plan.sender)).await;
    if heard.is_last() {
        return Err(Stop(format!("MAIL: {}", heard.words())));
    }
    let heard = talk.ask(&format!("RCPT TO:<{NOBODY}@{}>", plan.domain)).await;
    let takes_all = heard.is_good();
    if takes_all {
        let text = format!("It takes mail for anybody at {}, even for nobody.", plan.domain);
        talk.found("unknown-recipient", Verdict::Info, "RFC 5321 section 3.3", text);
    }
    let (mut tried, mut open, mut unsure) = (0, Vec::new(), Vec::new());
    let mut ended = None;
    for trick in tricks(plan) {
        let mut heard = talk.ask("RSET").await;
        if !heard.is_last() {
            heard = talk.ask(&format!("MAIL FROM:<{}>", trick.sender)).await;
        }
        if heard.is_good() {
            heard = talk.ask(&format!("RCPT TO:<{}>", trick.recipient)).await;
        }
        if heard.is_last() {
            ended = Some(heard.words());
            break;
        }
        tried += 1;
        match heard.is_good() {
            true if trick.local && takes_all => unsure.push(trick.name),
            true => open.push(trick.name),
            false => {}
        }
    }
    let ended = ended.map(|why| format!("; then it ended the session ({why})")).unwrap_or_default();
    if !open.is_empty() {
        let text = format!("It would carry mail elsewhere for anybody: {}{ended}.", open.join(", "));
        talk.found(CHECK, Verdict::Fail, RULE, text);
    } else if tried == 0 {
        talk.found(CHECK, Verdict::Untested, RULE, format!("Nothing could be tried{ended}."));
    } else {
        let unsure = match &*unsure.join(", ") {
            "" => String::new(),
            names => format!("; of its own domain it takes any recipient, so nothing is known of: {names}"),
        };
        talk.found(
            CHECK,
            Verdict::Pass,
            RULE,
            format!("None of {tried} ways to mail elsewhere is open{unsure}{ended}."),
        );
    }
    let _ = talk.quit().await;
    Ok(())
}
