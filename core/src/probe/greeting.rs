//! The beginning of a session, and its end. RFC 5321 sections 3.1, 4.1.4, 4.2 and 4.3; RFC 4954.
//!
//! Owns the verdicts on greeting, EHLO, QUIT, and on those who skip a part of that; and whether a password would be
//! taken in the clear. Refuses to say one. Fails with [`Stop`] where the answer may be about us, or none came in time.

use alloc::{format, string::String};

use super::talk::{Heard, Stop, Talk};
use super::{Plan, Verdict};

/// Mechanisms that give the password to whoever listens.
const PLAINTEXT: [&str; 3] = ["PLAIN", "LOGIN", "XOAUTH2"];

pub(super) async fn greeting(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    const RULE: &str = "RFC 5321 section 4.2";
    let heard = talk.hear().await;
    match &heard {
        Heard::Reply(said) if said.code == 220 => {
            let name = said.lines.first().and_then(|line| line.split_ascii_whitespace().next()).unwrap_or_default();
            match crate::syntax::path::host(name) {
                Ok(_) => talk.found("greeting", Verdict::Pass, RULE, format!("It greets as {name}.")),
                Err(_) => talk.found("greeting", Verdict::Warn, RULE, "The greeting does not begin with a name."),
            }
        }
        Heard::Reply(_) => return Err(Stop(format!("instead of a greeting: {}", heard.words()))),
        Heard::Silence | Heard::Garbage(_) | Heard::Gone => {
            talk.found("greeting", Verdict::Fail, RULE, format!("There is no greeting: {}.", heard.words()));
            return Ok(());
        }
    }
    let heard = talk.ask(&format!("EHLO {}", plan.hello_name)).await;
    // It does not know the command; all else may be about us.
    if matches!(heard.code(), 500..=509) {
        let text = format!("It has no extensions at all; to EHLO it says: {}.", heard.words());
        talk.found("capabilities", Verdict::Fail, "RFC 5321 section 2.2.1", text);
        return Ok(());
    }
    let offer = talk.offer(&heard)?;
    let offered = offer.extensions.iter().map(|extension| match &*extension.parameters {
        "" => extension.keyword.clone(),
        parameters => format!("{} {parameters}", extension.keyword),
    });
    let offered = offered.collect::<alloc::vec::Vec<String>>().join(", ");
    let where_it_is = if talk.is_in_tls() { "inside TLS" } else { "without TLS" };
    let text = if offered.is_empty() { "nothing".into() } else { offered };
    talk.found("capabilities", Verdict::Info, "RFC 5321 section 4.1.1.1", format!("It offers {where_it_is}: {text}."));
    if !talk.is_in_tls() {
        login(talk, &offer.mechanisms).await;
    }
    if talk.is_over() {
        return Ok(());
    }
    let (verdict, text) = match talk.quit().await {
        Ok(0) => return Ok(()),
        Ok(before) => (Verdict::Fail, format!("{before} replies came that belong to no command.")),
        Err(Stop(why)) => (Verdict::Untested, format!("How the session ends: {why}.")),
    };
    talk.found("quit", verdict, "RFC 5321 section 4.1.1.10", text);
    Ok(())
}

/// Would it take a password that anybody can read?
async fn login(talk: &Talk, mechanisms: &[String]) {
    const RULE: &str = "RFC 4954 section 4, RFC 8314 section 3";
    let plain: alloc::vec::Vec<&str> =
        mechanisms.iter().map(String::as_str).filter(|name| PLAINTEXT.contains(name)).collect();
    if !plain.is_empty() {
        let text = format!("It offers AUTH {} without TLS: passwords can be read on the way.", plain.join(" "));
        return talk.found("auth-plaintext", Verdict::Fail, RULE, text);
    }
    let heard = talk.ask("AUTH PLAIN").await;
    if heard.code() == 334 {
        let _ = talk.ask("*").await;
        let text = "It does not offer AUTH PLAIN without TLS, and takes it all the same.";
        return talk.found("auth-plaintext", Verdict::Fail, RULE, text);
    }
    let (verdict, text) = match heard.code() {
        400.. if !heard.is_last() => (Verdict::Pass, format!("No password is taken without TLS ({}).", heard.words())),
        _ => (Verdict::Untested, format!("Whether a password is taken without TLS: {}.", heard.words())),
    };
    talk.found("auth-plaintext", verdict, RULE, text);
}

/// EHLO before the greeting.
pub(super) async fn haste(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    const RULE: &str = "RFC 5321 section 4.3.1";
    talk.say(format!("EHLO {}\r\n", plan.hello_name).as_bytes());
    let first = talk.hear().await;
    let (verdict, text) = match first {
        Heard::Silence => return Err(Stop(first.words())),
        Heard::Garbage(_) => (
            Verdict::Fail,
            format!("A client that speaks before the greeting brings it out of step: {}.", first.words()),
        ),
        Heard::Gone => (Verdict::Pass, "It closes the connection to a client that speaks before the greeting.".into()),
        Heard::Reply(said) if said.code != 220 => {
            (Verdict::Pass, "It turns a client away that speaks before the greeting.".into())
        }
        Heard::Reply(_) => match talk.hear().await {
            Heard::Reply(said) if said.code == 250 => {
                (Verdict::Info, "It puts up with a client that speaks before the greeting.".into())
            }
            Heard::Reply(_) | Heard::Gone => {
                (Verdict::Pass, "It turns a client away that speaks before the greeting.".into())
            }
            Heard::Silence => return Err(Stop(Heard::Silence.words())),
            second => (
                Verdict::Fail,
                format!("A client that speaks before the greeting brings it out of step: {}.", second.words()),
            ),
        },
    };
    talk.found("early-talker", verdict, RULE, text);
    Ok(())
}

/// MAIL without a hello.
pub(super) async fn nameless(talk: &Talk, _: &Plan) -> Result<(), Stop> {
    const RULE: &str = "RFC 5321 section 4.1.4";
    talk.greeted().await?;
    let heard = talk.reply("MAIL FROM:<>").await?;
    let (verdict, text) = match heard.code() {
        250 => (Verdict::Warn, "It takes MAIL from a client that has not said hello.".into()),
        400..=499 => return Err(Stop::at("MAIL", &heard)),
        500.. => (Verdict::Pass, format!("MAIL is not taken before a hello ({}).", heard.words())),
        _ => (Verdict::Fail, format!("MAIL before a hello: {}.", heard.words())),
    };
    talk.found("hello-required", verdict, RULE, text);
    let _ = talk.quit().await;
    Ok(())
}
