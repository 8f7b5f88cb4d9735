//! Whether a server does what it offers. The RFC of each extension; RFC 5321 section 4.1.1.11.
//!
//! Owns a parameter or a command for each extension, and the verdicts. Refuses to send a message: nothing goes beyond
//! MAIL, and BDAT where it is out of place. Fails with [`Stop`] once the session has ended or a reply was late.

use alloc::{format, string::String, vec::Vec};

use super::talk::{Heard, Stop, Talk};
use super::{Plan, Verdict};

/// A keyword, and a parameter of MAIL that whoever offers it has to know.
const PARAMETERS: [(&str, &str); 9] = [
    ("SIZE", "SIZE=1000"),
    ("8BITMIME", "BODY=8BITMIME"),
    ("BINARYMIME", "BODY=BINARYMIME"),
    ("SMTPUTF8", "SMTPUTF8"),
    ("DSN", "RET=HDRS ENVID=probe"),
    ("PRDR", "PRDR"),
    ("REQUIRETLS", "REQUIRETLS"),
    ("DELIVERBY", "BY=86400;N"),
    ("MT-PRIORITY", "MT-PRIORITY=0"),
];
/// What says that a command or its parameter is not known.
const UNKNOWN: [u16; 6] = [500, 501, 502, 503, 504, 555];

pub(super) async fn extensions(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    const CHECK: &str = "extensions";
    const RULE: &str = "RFC 5321 section 2.2";
    let offer = talk.enter(plan).await?;
    let offers = |name: &str| offer.extensions.iter().any(|extension| extension.keyword == name);
    let heard = talk.reply("MAIL FROM:<>").await?;
    if heard.code() != 250 {
        return Err(Stop::at("MAIL", &heard));
    }
    let mut lies: Vec<String> = Vec::new();
    let mut kept: Vec<&str> = Vec::new();
    for (keyword, parameter) in PARAMETERS.into_iter().filter(|(keyword, _)| offers(keyword)) {
        let heard = mail(talk, parameter).await?;
        if UNKNOWN.contains(&heard.code()) {
            lies.push(format!("{keyword} ({})", heard.words()));
        } else {
            kept.push(keyword);
        }
    }
    reset(talk).await?;
    if offers("CHUNKING") {
        // Out of place, and known all the same.
        let heard = talk.reply("BDAT 0 LAST").await?;
        if matches!(heard.code(), 500 | 502) {
            lies.push(format!("CHUNKING ({})", heard.words()));
        } else {
            kept.push("CHUNKING");
        }
    }
    if lies.is_empty() {
        talk.found(CHECK, Verdict::Pass, RULE, format!("It knows what it offers: {}.", kept.join(", ")));
    } else {
        let text = format!("It offers what it does not know: {}.", lies.join("; "));
        talk.found(CHECK, Verdict::Fail, RULE, text);
    }
    if let Some(limit) = offer.size_limit.filter(|limit| *limit < u64::MAX / 2) {
        size(talk, limit).await?;
    }
    let heard = mail(talk, "XPROBE=1").await?;
    let rule = "RFC 5321 section 4.1.1.11";
    match heard.code() {
        250 => talk.found("unknown-parameter", Verdict::Warn, rule, "It takes a parameter that it does not offer."),
        400..=499 => {
            talk.found("unknown-parameter", Verdict::Untested, rule, format!("It can not be told: {}.", heard.words()));
        }
        _ => {
            let text = format!("A parameter that is not offered is refused ({}).", heard.words());
            talk.found("unknown-parameter", Verdict::Pass, rule, text);
        }
    }
    let _ = talk.quit().await;
    Ok(())
}

async fn size(talk: &Talk, limit: u64) -> Result<(), Stop> {
    const RULE: &str = "RFC 1870 section 6.1";
    let heard = mail(talk, &format!("SIZE={}", limit.saturating_add(1))).await?;
    match heard.code() {
        250 => {
            let text = format!("It takes at most {limit} octets, and says yes to one more.");
            talk.found("size", Verdict::Warn, RULE, text);
        }
        _ => talk.found(
            "size",
            Verdict::Pass,
            RULE,
            format!("More than {limit} octets are refused ({}).", heard.words()),
        ),
    }
    Ok(())
}

/// MAIL, in a transaction of its own.
async fn mail(talk: &Talk, parameter: &str) -> Result<Heard, Stop> {
    reset(talk).await?;
    let heard = talk.ask(&format!("MAIL FROM:<> {parameter}")).await;
    if heard.is_last() { Err(Stop(format!("MAIL with {parameter}: {}", heard.words()))) } else { Ok(heard) }
}

async fn reset(talk: &Talk) -> Result<(), Stop> {
    talk.reply("RSET").await.map(drop)
}
