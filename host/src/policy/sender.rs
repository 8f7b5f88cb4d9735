//! Who may send as whom.
//!
//! Without a login nobody's reverse-path is judged: mail for local domains comes from everywhere, forwarded mail with
//! local senders too. Who has logged in sends as themselves (RFC 6409 section 6.1), or with the null reverse-path, which
//! mail clients use for read receipts (RFC 8098 section 3).

use super::{SessionFacts, refuse, session};
use crate::{
    config::{Found, Mailboxes, domain, mailboxes::without_detail},
    engine::types::{Decision, HostName, Mailbox, Sender},
};

pub(super) fn judge(mailboxes: &Mailboxes, facts: &SessionFacts, sender: &Sender) -> Decision {
    session::admit(facts)?;
    let (Some(login), Some(mailbox)) = (&facts.identity, &sender.mailbox) else { return Ok(None) };
    if owns(mailboxes, login, mailbox) {
        Ok(None)
    } else {
        Err(refuse(553, 7, 1, "This address does not belong to your login."))
    }
}

/// A login owns the local addresses whose mail it gets: the mailbox of its name, with details and aliases. A login that is
/// itself an address at a domain that is not local owns that one.
fn owns(mailboxes: &Mailboxes, login: &str, mailbox: &Mailbox) -> bool {
    let HostName::Domain(host) = &mailbox.host else { return false };
    match mailboxes.at_domain(&mailbox.local, host) {
        Found::Mailbox(canonical) => mailboxes.belongs(&canonical, login),
        Found::Unknown | Found::Route => false,
        Found::Foreign => {
            let Some(host) = domain::canonical(host) else { return false };
            let (login, local) = (login.to_lowercase(), mailbox.local.to_lowercase());
            [local.as_str(), without_detail(&local, "+")].iter().any(|local| {
                login == format!("{local}@{host}") || login == format!("{local}@{}", domain::unicode(&host))
            })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::testing;
    use crate::config::Kind;

    #[tokio::test]
    async fn senders() {
        let policy = testing::policy();
        for (login, local, host, expected) in [
            (None, "whoever", "anywhere.example", true),
            (None, "anna", "example.org", true),
            (Some("anna@example.org"), "anna", "example.org", true),
            (Some("anna@example.org"), "Anna+books", "EXAMPLE.ORG", true),
            (Some("Anna@Example.org"), "anna", "example.org", true),
            (Some("anna@example.org"), "postmaster", "example.org", true),
            (Some("anna@example.org"), "bert", "example.org", false),
            (Some("anna@example.org"), "nobody", "example.org", false),
            (Some("anna@example.org"), "anna", "any.example", false),
            (Some("anna@example.org"), "anna", "elsewhere.example", false),
            (Some("anna@example.org"), "anna@example.org", "any.example", false),
            (Some("anna"), "anna", "example.org", true),
            (Some("anna"), "anna", "any.example", true),
            (Some("anna"), "anna+x", "any.example", true),
            (Some("anna"), "annabel", "any.example", false),
            (Some("anna"), "anna", "elsewhere.example", false),
            (Some("anna"), "anna", "[192.0.2.1]", false),
            (Some("jürgen"), "Jürgen", "münchen.example", true),
            (Some("jürgen@münchen.example"), "jürgen", "xn--mnchen-3ya.example", true),
            (Some("carl@elsewhere.example"), "carl+x", "Elsewhere.example", true),
            (Some("carl@elsewhere.example"), "carla", "elsewhere.example", false),
            (Some("carl@elsewhere.example"), "carl", "example.org", false),
        ] {
            let mut facts = testing::facts(if login.is_some() { Kind::Submission } else { Kind::Mx });
            facts.tls = Some(testing::tls());
            facts.identity = login.map(Into::into);
            let decision = policy.sender(&facts, &testing::sender(Some(testing::mailbox(local, host)))).await;
            let shown = decision.map_err(|refusal| testing::shown(&refusal));
            let expected = if expected { Ok(None) } else { Err("553 5.7.1".into()) };
            assert_eq!(shown, expected, "{login:?} as {local:?} at {host:?}");
            assert_eq!(policy.sender(&facts, &testing::sender(None)).await, Ok(None), "{login:?} as <>");
        }
    }
}
