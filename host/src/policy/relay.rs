//! Where a recipient's mail goes, and who may send it there.
//!
//! Local domains are for everyone. Other domains are for those who have logged in and for the networks that the
//! operator named, on listeners that speak SMTP. The final mailbox alone is judged: source routes are gone before (RFC
//! 5321 appendix C), and routes inside a local part are never obeyed.

use std::net::IpAddr;

use super::{Judged, SessionFacts, refuse, session};
use crate::{
    config::{Config, Found, Kind, Mailboxes, domain},
    engine::types::{ForwardPath, HostName, Mailbox, Recipient, Refusal},
    store::Route,
};

pub(super) fn judge(config: &Config, mailboxes: &Mailboxes, facts: &SessionFacts, recipient: &Recipient) -> Judged {
    match route(config, mailboxes, facts, &recipient.path) {
        Ok(route) => Judged { decision: Ok(None), route: Some(route) },
        Err(refusal) => Judged { decision: Err(refusal), route: None },
    }
}

fn route(config: &Config, mailboxes: &Mailboxes, facts: &SessionFacts, path: &ForwardPath) -> Result<Route, Refusal> {
    session::admit(facts)?;
    let found = match path {
        ForwardPath::Postmaster => mailboxes.postmaster(),
        ForwardPath::Mailbox(Mailbox { local, host: HostName::Domain(host) }) => mailboxes.at_domain(local, host),
        ForwardPath::Mailbox(Mailbox { local, host: HostName::Literal(literal) }) => {
            ip_address(literal).map_or(Found::Foreign, |address| mailboxes.at_address(local, address))
        }
    };
    match found {
        Found::Mailbox(mailbox) => Ok(Route::Local(mailbox)),
        Found::Unknown => Err(refuse(550, 1, 1, "There is no such mailbox here.")),
        Found::Route => Err(refuse(550, 7, 1, "This address names another host; such routes are not followed.")),
        Found::Foreign if !may_relay(config, facts) => {
            Err(refuse(550, 7, 1, "This is not our domain, and you may not relay; please log in."))
        }
        Found::Foreign if !can_exist(path) => Err(refuse(550, 1, 2, "There can be no such domain.")),
        Found::Foreign => Ok(Route::Relay),
    }
}

fn may_relay(config: &Config, facts: &SessionFacts) -> bool {
    let trusted =
        facts.client.is_some_and(|client| config.relay.networks.iter().any(|network| network.contains(client.ip())));
    match facts.listener.kind {
        Kind::Mx => trusted || facts.identity.is_some(),
        // Nobody gets here without a login.
        Kind::Submission | Kind::Submissions => facts.identity.is_some(),
        Kind::Lmtp => false,
    }
}

/// IDNA can refuse a domain that the grammar of SMTP lets through (RFC 5891 section 5.4).
fn can_exist(path: &ForwardPath) -> bool {
    match path {
        ForwardPath::Mailbox(Mailbox { host: HostName::Domain(host), .. }) => domain::canonical(host).is_some(),
        ForwardPath::Mailbox(Mailbox { host: HostName::Literal(literal), .. }) => ip_address(literal).is_some(),
        ForwardPath::Postmaster => true,
    }
}

/// `192.0.2.1` or `IPv6:2001:db8::1`. RFC 5321 section 4.1.3; no other tag is registered.
fn ip_address(literal: &str) -> Option<IpAddr> {
    match literal.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => literal[5..].parse().ok().map(IpAddr::V6),
        _ => literal.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{super::testing, *};

    const UNKNOWN: &str = "550 5.1.1";
    const DENIED: &str = "550 5.7.1";

    #[tokio::test]
    async fn recipients() {
        let policy = testing::policy();
        let mx = testing::facts(Kind::Mx);
        let lmtp = testing::facts(Kind::Lmtp);
        let submission = SessionFacts { tls: Some(testing::tls()), ..testing::facts(Kind::Submission) };
        let neighbour = SessionFacts { client: Some("10.1.2.3:1".parse().unwrap()), ..mx.clone() };
        let neighbour_lmtp = SessionFacts { client: neighbour.client, ..lmtp.clone() };
        let neighbour_submission = SessionFacts { client: neighbour.client, ..submission.clone() };
        let anna = SessionFacts { identity: Some("anna".into()), ..submission.clone() };
        let anna_mx = SessionFacts { identity: Some("anna".into()), ..mx.clone() };
        let unix = SessionFacts { client: None, ..lmtp.clone() };
        for (who, facts, local, host, expected) in [
            ("mx", &mx, "anna", "example.org", "anna@example.org"),
            ("mx", &mx, "Anna+x", "Example.Org", "anna@example.org"),
            ("mx", &mx, "postmaster", "example.org", "anna@example.org"),
            ("mx", &mx, "jürgen", "münchen.example", "jürgen@xn--mnchen-3ya.example"),
            ("mx", &mx, "user@evil.example", "xn--mnchen-3ya.example", DENIED),
            ("mx", &mx, "nobody", "example.org", UNKNOWN),
            ("mx", &mx, "anna", "evil.example", DENIED),
            ("mx", &mx, "anna", "sub.example.org", DENIED),
            ("mx", &mx, "postmaster", "evil.example", DENIED),
            ("mx", &mx, "anna", "exa_mple.invalid-", DENIED),
            ("mx", &mx, "u%evil.example", "example.org", DENIED),
            ("mx", &mx, "u%evil.example", "any.example", DENIED),
            ("mx", &mx, "evil.example!u", "any.example", DENIED),
            ("mx", &mx, "u@evil.example", "any.example", DENIED),
            ("mx", &mx, "u", "any.example", "u@any.example"),
            ("mx", &mx, "postmaster", "[192.0.2.1]", "anna@example.org"),
            ("mx", &mx, "anna", "[192.0.2.1]", UNKNOWN),
            ("mx", &mx, "u%evil.example", "[192.0.2.1]", DENIED),
            ("mx", &mx, "postmaster", "[127.0.0.1]", DENIED),
            ("mx", &mx, "postmaster", "[IPv6:2001:db8::1]", DENIED),
            ("mx", &mx, "postmaster", "[IPv6:::ffff:192.0.2.1]", "anna@example.org"),
            ("mx", &mx, "postmaster", "[2001:db8::1]", DENIED),
            ("mx", &mx, "postmaster", "[x400:nonsense]", DENIED),
            ("lmtp", &lmtp, "anna", "example.org", "anna@example.org"),
            ("lmtp", &lmtp, "anna", "evil.example", DENIED),
            ("lmtp", &neighbour_lmtp, "anna", "evil.example", DENIED),
            ("unix", &unix, "anna", "example.org", "anna@example.org"),
            ("unix", &unix, "anna", "evil.example", DENIED),
            ("neighbour", &neighbour, "u", "evil.example", "relay"),
            ("neighbour", &neighbour, "u%evil.example", "example.org", DENIED),
            ("neighbour", &neighbour, "u", "a..example", "550 5.1.2"),
            ("neighbour", &neighbour_submission, "u", "evil.example", "530 5.7.0"),
            ("anna", &anna, "u", "evil.example", "relay"),
            ("anna", &anna, "u%x", "evil.example", "relay"),
            ("anna", &anna, "u", "[203.0.113.1]", "relay"),
            ("anna", &anna, "u", "[x400:nonsense]", "550 5.1.2"),
            ("anna", &anna, "nobody", "example.org", UNKNOWN),
            ("anna on mx", &anna_mx, "u", "evil.example", "relay"),
            ("submission before login", &submission, "anna", "example.org", "530 5.7.0"),
        ] {
            let judged = policy.recipients(facts, &testing::sender(None), &[testing::recipient(local, host)]).await;
            let [Judged { decision, route }] = &judged[..] else { panic!("{judged:?}") };
            let shown = match (decision, route) {
                (Ok(None), Some(Route::Local(mailbox))) => mailbox.clone(),
                (Ok(None), Some(Route::Relay)) => "relay".into(),
                (Err(refusal), None) => testing::shown(refusal),
                other => panic!("{other:?}"),
            };
            assert_eq!(shown, expected, "{who}: {local:?} at {host}");
        }
        let bare = Recipient { path: ForwardPath::Postmaster, notify: None, orcpt: None };
        let judged = policy.recipients(&mx, &testing::sender(None), &[bare.clone(), bare]).await;
        let expected = Judged { decision: Ok(None), route: Some(Route::Local("anna@example.org".into())) };
        assert_eq!(judged, [expected.clone(), expected]);
    }
}
