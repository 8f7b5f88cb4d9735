//! Commands of which not every server knows what to make. RFC 5321 sections 3.5, 4.1.1 and 4.5; RFC 2920.
//!
//! Owns the verdicts on what comes back. Refuses to judge where nothing does: then, or once the session has ended or a
//! reply was late, it fails with [`Stop`], and what is left is untested.

use alloc::{format, string::String};

use super::talk::{Heard, Stop, Talk};
use super::{Plan, Verdict};

/// Nobody has this name.
pub(super) const NOBODY: &str = "hermetic-probe-no-such-user";
/// Octets of a line that is far too long.
const LONG: usize = 6000;

pub(super) async fn commands(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    talk.enter(plan).await?;
    lists(talk, &plan.domain).await?;
    let heard = talk.reply("XPROBE").await?;
    let (verdict, text) = match heard.code() {
        500..=504 => (Verdict::Pass, format!("A command that nobody knows is refused ({}).", heard.words())),
        _ => (Verdict::Warn, format!("To a command that nobody knows it says: {}.", heard.words())),
    };
    talk.found("unknown-command", verdict, "RFC 5321 section 4.2.4", text);
    postmaster(talk).await?;
    long_line(talk).await
}

/// Does it tell who is there?
async fn lists(talk: &Talk, domain: &str) -> Result<(), Stop> {
    const RULE: &str = "RFC 5321 section 7.3";
    let somebody = talk.reply("VRFY postmaster").await?;
    let nobody = talk.reply(&format!("VRFY {NOBODY}@{domain}")).await?;
    // 252 is no answer; so it tells something only where it is not given to everybody.
    let tells = |one: &Heard, other: &Heard| one.is_good() && matches!(other.code(), 550..=559);
    if tells(&somebody, &nobody) || tells(&nobody, &somebody) || matches!(somebody.code(), 250 | 251) {
        let text = format!("VRFY tells who is there and who is not ({}; {}).", somebody.words(), nobody.words());
        talk.found("vrfy", Verdict::Warn, RULE, text);
    } else {
        talk.found("vrfy", Verdict::Pass, RULE, format!("VRFY tells nothing ({}).", somebody.words()));
    }
    let heard = talk.reply("EXPN postmaster").await?;
    match heard.code() {
        250 | 251 => {
            talk.found("expn", Verdict::Warn, RULE, format!("EXPN tells who is on a list ({}).", heard.words()))
        }
        _ => talk.found("expn", Verdict::Pass, RULE, format!("EXPN tells nothing ({}).", heard.words())),
    }
    Ok(())
}

/// Notices have no sender, and whoever has trouble with a server has somebody to write to.
async fn postmaster(talk: &Talk) -> Result<(), Stop> {
    let heard = talk.reply("MAIL FROM:<>").await?;
    let rule = "RFC 5321 section 4.5.5";
    match heard.code() {
        250 => talk.found("null-sender", Verdict::Pass, rule, "The null reverse-path, that of notices, is taken."),
        // It wants a login first.
        500.. if heard.code() != 530 => {
            let text = format!("The null reverse-path is refused, and notices with it: {}.", heard.words());
            talk.found("null-sender", Verdict::Fail, rule, text);
            return Ok(());
        }
        _ => {
            untested(talk, "null-sender", rule, &heard);
            return Ok(());
        }
    }
    let rule = "RFC 5321 section 4.5.1";
    let heard = talk.reply("RCPT TO:<postmaster>").await?;
    match heard.code() {
        250 | 251 => talk.found("postmaster", Verdict::Pass, rule, "Mail for the postmaster is taken."),
        500.. => {
            let text = format!("Mail for the postmaster is refused: {}.", heard.words());
            talk.found("postmaster", Verdict::Fail, rule, text);
        }
        _ => untested(talk, "postmaster", rule, &heard),
    }
    talk.reply("RSET").await.map(drop)
}

fn untested(talk: &Talk, check: &'static str, rule: &'static str, heard: &Heard) {
    talk.found(check, Verdict::Untested, rule, format!("It can not be told: {}.", heard.words()));
}

/// One line is one command, however long it is. Everything before has been answered.
async fn long_line(talk: &Talk) -> Result<(), Stop> {
    const CHECK: &str = "long-line";
    const RULE: &str = "RFC 5321 sections 4.5.3.1.4 and 4.5.3.1.10";
    let heard = talk.ask(&format!("NOOP {}", "x".repeat(LONG))).await;
    let (verdict, text): (Verdict, String) = match heard {
        Heard::Reply(ref said) if said.code == 421 => {
            (Verdict::Pass, format!("It gives up on a line of {LONG} octets ({}).", heard.words()))
        }
        Heard::Reply(_) => match talk.quit().await {
            Ok(0) => (Verdict::Pass, format!("A line of {LONG} octets has one answer ({}).", heard.words())),
            Ok(more) => (
                Verdict::Fail,
                format!("A line of {LONG} octets has {} answers: its end is read as commands.", more + 1),
            ),
            Err(Stop(why)) => (Verdict::Untested, format!("How many answers a line of {LONG} octets has: {why}.")),
        },
        Heard::Gone => (Verdict::Fail, format!("A line of {LONG} octets is not answered: {}.", heard.words())),
        Heard::Silence | Heard::Garbage(_) => {
            (Verdict::Untested, format!("What a line of {LONG} octets brings about: {}.", heard.words()))
        }
    };
    talk.found(CHECK, verdict, RULE, text);
    Ok(())
}

/// Several commands in one packet have as many replies, if that is what is offered.
pub(super) async fn pipelining(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    const CHECK: &str = "pipelining";
    const RULE: &str = "RFC 2920 section 3.2";
    let offer = talk.enter(plan).await?;
    if !offer.extensions.iter().any(|extension| extension.keyword == "PIPELINING") {
        talk.found(CHECK, Verdict::Info, RULE, "PIPELINING is not offered.");
        let _ = talk.quit().await;
        return Ok(());
    }
    talk.say(b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nRSET\r\nNOOP\r\n");
    for place in 0..4 {
        let heard = talk.hear().await;
        match heard {
            // Lost, or late? Replies come in order, so that to QUIT is behind all of them.
            Heard::Silence => {
                let (more, last) = talk.goodbye().await;
                let answered = place + more;
                if last.code() != 221 || answered >= 4 {
                    return Err(Stop(heard.words()));
                }
                let text = format!("It offers PIPELINING, and of 4 commands at once {answered} are answered.");
                talk.found(CHECK, Verdict::Fail, RULE, text);
                return Ok(());
            }
            _ if heard.is_last() => return Err(Stop(heard.words())),
            _ => {}
        }
    }
    match talk.quit().await? {
        0 => talk.found(CHECK, Verdict::Pass, RULE, "Several commands at once are answered one by one."),
        more => {
            talk.found(CHECK, Verdict::Fail, RULE, format!("To 4 commands at once there are {} answers.", 4 + more))
        }
    }
    Ok(())
}
