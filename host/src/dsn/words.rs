//! The words for people.
//!
//! Owns what a sender reads first: what happened, to whom, and why. Refuses to know MIME. Never fails.

use super::{Action, Notice, date, fields};

/// What happened, those first to whom the worst did.
pub(super) fn words(notice: &Notice<'_>, line: &mut impl FnMut(&str)) {
    let utf8 = notice.envelope.smtputf8;
    line(&format!("This is the mail system at {}.", notice.host));
    let mut ranks: Vec<u8> = notice.told.iter().map(|told| told.action.rank()).collect();
    ranks.sort_unstable();
    ranks.dedup();
    for rank in ranks {
        let told = || notice.told.iter().filter(|told| told.action.rank() == rank);
        let Some(first) = told().next() else { continue };
        line("");
        line(headline(first.action, told().count() > 1));
        for one in told() {
            line("");
            line(&format!("    {}", fields::shown(&one.recipient.recipient, utf8)));
            let reason = fields::words(one.reason, utf8);
            if !reason.is_empty() {
                fields::wrapped("        ", &reason, line);
            }
            if let Action::Delayed(until) = one.action {
                line(&format!("        It will be tried until {}.", date(until)));
            }
        }
    }
}

fn headline(action: Action, several: bool) -> &'static str {
    match (action, several) {
        (Action::Failed, false) => {
            "Your message could not be delivered to this recipient, and will not be tried again:"
        }
        (Action::Failed, true) => {
            "Your message could not be delivered to these recipients, and will not be tried again:"
        }
        (Action::Delayed(_), false) => {
            "Your message has not been delivered to this recipient yet. You need not send it again:"
        }
        (Action::Delayed(_), true) => {
            "Your message has not been delivered to these recipients yet. You need not send it again:"
        }
        (Action::Delivered, false) => "Your message was delivered to this recipient, as you wanted to know:",
        (Action::Delivered, true) => "Your message was delivered to these recipients, as you wanted to know:",
        (Action::Relayed, false) => {
            "Your message was taken by a server that does not tell what becomes of it, for this recipient:"
        }
        (Action::Relayed, true) => {
            "Your message was taken by servers that do not tell what becomes of it, for these recipients:"
        }
        (Action::Expanded, false) => {
            "Your message was sent on to others who get the mail of this recipient; you hear no more of it:"
        }
        (Action::Expanded, true) => {
            "Your message was sent on to others who get the mail of these recipients; you hear no more of it:"
        }
    }
}
