//! STARTTLS. RFC 3207.
//!
//! Owns the verdicts on the offer, on what is offered behind it, and on what somebody on the line puts behind the
//! command. Refuses to know ciphers and certificates, which the embedder sees. Fails with [`Stop`] where the session
//! ends before an answer is there.

use alloc::format;

use super::talk::{Stop, Talk};
use super::{Plan, Verdict};

/// What is offered once TLS is there. How it is encrypted, and with which certificate, the embedder sees.
pub(super) async fn start_tls(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    const RULE: &str = "RFC 3207 section 4";
    talk.greeted().await?;
    let mut offer = talk.hello(&plan.hello_name).await?;
    if !talk.is_in_tls() {
        if !offer.start_tls {
            let text = "It offers no TLS: everybody on the way can read the mail.";
            talk.found("starttls", Verdict::Warn, RULE, text);
            let _ = talk.quit().await;
            return Ok(());
        }
        let heard = talk.reply("STARTTLS").await?;
        if heard.code() != 220 {
            let text = format!("It offers STARTTLS and refuses it: {}.", heard.words());
            talk.found("starttls", Verdict::Fail, RULE, text);
            return Ok(());
        }
        // What comes in the clear behind the reply is no handshake.
        if talk.has_more() || !talk.shake_hands().await {
            talk.found("starttls", Verdict::Fail, RULE, "It offers STARTTLS, and the handshake fails.");
            return Ok(());
        }
        offer = talk.hello(&plan.hello_name).await?;
    }
    if offer.start_tls {
        let text = "It offers STARTTLS inside TLS.";
        talk.found("starttls", Verdict::Fail, "RFC 3207 section 4.2", text);
    } else {
        talk.found("starttls", Verdict::Pass, RULE, "TLS is there, and what is offered is told anew.");
    }
    let text = match &*offer.mechanisms.join(" ") {
        "" => "There are no logins.".into(),
        mechanisms => format!("Logins inside TLS: {mechanisms}."),
    };
    talk.found("auth", Verdict::Info, "RFC 4954 section 3", text);
    let _ = talk.quit().await;
    Ok(())
}

/// What somebody on the line puts behind STARTTLS must not count as said by the client.
pub(super) async fn injection(talk: &Talk, plan: &Plan) -> Result<(), Stop> {
    const CHECK: &str = "starttls-injection";
    const RULE: &str = "RFC 3207 section 4.2";
    talk.greeted().await?;
    if talk.is_in_tls() {
        return Ok(());
    }
    let offer = talk.hello(&plan.hello_name).await?;
    if !offer.start_tls {
        return Ok(());
    }
    talk.say(b"STARTTLS\r\nNOOP injected\r\n");
    let heard = talk.hear().await;
    let held = |why: &str| {
        talk.found(CHECK, Verdict::Pass, RULE, format!("What is put behind STARTTLS does not count: {why}."))
    };
    match heard.code() {
        220 => {}
        500.. => {
            held(&heard.words());
            return Ok(());
        }
        _ => return Err(Stop::at("STARTTLS", &heard)),
    }
    if talk.has_more() {
        let text = "It answers in the clear to what is put behind STARTTLS.";
        talk.found(CHECK, Verdict::Fail, RULE, text);
        return Ok(());
    }
    if !talk.shake_hands().await {
        held("the handshake ends");
        return Ok(());
    }
    // Each command has one reply. One more is that to the command that was injected.
    talk.say(format!("EHLO {}\r\n", plan.hello_name).as_bytes());
    let first = talk.hear().await;
    if first.is_last() {
        return Err(Stop::at("EHLO", &first));
    }
    if talk.quit().await? > 0 {
        let text = "It carries out inside TLS what somebody on the line has put behind STARTTLS.";
        talk.found(CHECK, Verdict::Fail, RULE, text);
    } else {
        held("it is gone inside TLS");
    }
    Ok(())
}
