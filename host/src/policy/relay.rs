//! Where a recipient's mail goes, and who may send it there.
//!
//! Local domains are for everyone. Other domains are for those who have logged in and for the networks that the
//! operator named, on listeners that speak SMTP. The final mailbox alone is judged: source routes are gone before (RFC
//! 5321 appendix C), and routes inside a local part are never obeyed.

use std::net::IpAddr;

use super::{
    Judged, SessionFacts, refuse, session,
    srs::{Refused, Srs},
};
use crate::{
    config::{Config, Found, Kind, Mailboxes, domain},
    engine::types::{ForwardPath, HostName, Mailbox, Recipient, Refusal, Sender},
    store::{Route, sqlite::now},
};

/// An address of ours stands for another of ours, and that for a third, so many times.
const SRS_STEPS: usize = 3;

/// What recipients are judged by.
pub(super) struct Rules<'a> {
    pub(super) config: &'a Config,
    pub(super) mailboxes: &'a Mailboxes,
    pub(super) srs: Option<&'a Srs>,
}

impl Rules<'_> {
    pub(super) fn judge(&self, facts: &SessionFacts, sender: &Sender, recipient: &Recipient) -> Judged {
        let returned = || session::admit(facts).and_then(|_| self.returned(sender, &recipient.path));
        match returned() {
            Ok(Some((path, route))) => Judged { decision: Ok(None), route: Some(route), instead: Some(path) },
            Ok(None) => match route(self.config, self.mailboxes, facts, &recipient.path) {
                Ok(route) => Judged { decision: Ok(None), route: Some(route), instead: None },
                Err(refusal) => Judged { decision: Err(refusal), route: None, instead: None },
            },
            Err(refusal) => Judged { decision: Err(refusal), route: None, instead: None },
        }
    }

    /// Whom an address of ours stands for, from which mail was sent on, and where that is. Whoever may not relay may send
    /// there for all that, as we have made the address; and nowhere else. None: it is no such address.
    fn returned(&self, sender: &Sender, path: &ForwardPath) -> Result<Option<(ForwardPath, Route)>, Refusal> {
        let Some(srs) = self.srs else { return Ok(None) };
        let found = |path: &ForwardPath| match path {
            ForwardPath::Mailbox(Mailbox { local, host: HostName::Domain(host) }) => srs.sender(local, host, now()),
            _ => None,
        };
        let mut path = path.clone();
        // Another server may have been between two of ours: then one stands for another.
        for step in 0..=SRS_STEPS {
            let address = match found(&path) {
                None if step == 0 => return Ok(None),
                None => break,
                Some(Ok(address)) if step < SRS_STEPS => address,
                Some(Ok(_) | Err(Refused::Forged)) => {
                    return Err(refuse(550, 1, 1, "There is no such address here, or not any more."));
                }
                Some(Err(Refused::Old)) => return Err(refuse(550, 7, 1, "This address has expired.")),
            };
            if srs.only_bounces() && sender.mailbox.is_some() {
                return Err(refuse(550, 7, 1, "This address takes notices only, which are from <>."));
            }
            path = ForwardPath::Mailbox(Mailbox { local: address.local, host: HostName::Domain(address.domain) });
        }
        let ForwardPath::Mailbox(Mailbox { local, host: HostName::Domain(host) }) = &path else { return Ok(None) };
        let route = match self.mailboxes.at_domain(local, host) {
            Found::Mailbox(mailbox) => Route::Local(mailbox),
            Found::Foreign if can_exist(&path) => Route::Relay,
            Found::Foreign => return Err(refuse(550, 1, 2, "There can be no such domain.")),
            Found::Unknown | Found::Route => return Err(refuse(550, 1, 1, "There is no such mailbox here.")),
        };
        Ok(Some((path, route)))
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
    use crate::store::Address;

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
            let [Judged { decision, route, instead: None }] = &judged[..] else { panic!("{judged:?}") };
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
        let route = Some(Route::Local("anna@example.org".into()));
        let expected = Judged { decision: Ok(None), route, instead: None };
        assert_eq!(judged, [expected.clone(), expected]);
    }
    /// What comes back to addresses from which mail was sent on; nobody gets to relay that way.
    #[tokio::test]
    async fn addresses_that_stand_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = testing::config();
        config.data = folder.path().to_owned();
        config.srs.domain = Some("example.org".into());
        let make = |only_bounces| {
            let mut config = config.clone();
            config.srs.only_bounces = only_bounces;
            let srs = Srs::load(&config).unwrap();
            super::super::Policy::new(config.into(), std::sync::Arc::new(super::super::auth::Users::empty()))
                .unwrap()
                .rewriting(srs)
        };
        let (strict, open) = (make(true), make(false));
        let address = |local: &str, domain: &str| Address { local: local.into(), domain: domain.into() };
        let sent = |who: &Address| strict.sent_as(who, now()).unwrap();
        let sender = sent(&address("u", "far.example"));
        let stale = strict.sent_as(&address("u", "far.example"), now() - 30 * 24 * 3600 * 1000).unwrap();
        assert_eq!(strict.sent_as(&address("anna", "example.org"), now()), None, "it is ours");
        assert_eq!(strict.sent_as(&address("nobody", "example.org"), now()), None, "it is ours");
        let other = sent(&address("SRS0=abcd=XY=b.example=u", "a.example"));
        // Of a time when that domain was not ours.
        let srs = Srs::load(&config).unwrap().unwrap();
        let local = srs.rewritten(&address("Anna+x", "example.org"), now()).unwrap();
        let unknown = srs.rewritten(&address("nobody", "example.org"), now()).unwrap();
        let twice = srs.rewritten(&address(&sender.local, "example.org"), now()).unwrap();
        let forged = sender.local.replacen("far.example", "evil.example", 1);
        let mx = testing::facts(Kind::Mx);
        let submission = SessionFacts { tls: Some(testing::tls()), ..testing::facts(Kind::Submission) };
        let nobody = testing::sender(None);
        let somebody = testing::sender(Some(testing::mailbox("x", "y.example")));
        for (what, policy, facts, from, local, host, expected) in [
            ("a bounce", &strict, &mx, &nobody, sender.local.as_str(), "example.org", "u@far.example relay"),
            ("case lost", &strict, &mx, &nobody, &sender.local.to_lowercase(), "EXAMPLE.org", "u@far.example relay"),
            ("not a bounce", &strict, &mx, &somebody, &sender.local, "example.org", "550 5.7.1"),
            ("as the operator allows", &open, &mx, &somebody, &sender.local, "example.org", "u@far.example relay"),
            ("before a login", &strict, &submission, &nobody, &sender.local, "example.org", "530 5.7.0"),
            ("at another domain", &strict, &mx, &nobody, &sender.local, "xn--mnchen-3ya.example", UNKNOWN),
            ("at another's", &strict, &mx, &nobody, &sender.local, "far.example", DENIED),
            ("old", &strict, &mx, &nobody, &stale.local, "example.org", "550 5.7.1"),
            ("forged", &strict, &mx, &nobody, &forged, "example.org", UNKNOWN),
            ("forged, by somebody", &open, &mx, &somebody, &forged, "example.org", UNKNOWN),
            ("made up", &strict, &mx, &nobody, "SRS0=AAAAAAAA=AA=evil.example=u", "example.org", UNKNOWN),
            ("made up", &strict, &mx, &nobody, "SRS1=AAAAAAAA=evil.example==x=y=z=u", "example.org", UNKNOWN),
            ("made up", &strict, &mx, &nobody, "SRS0=x", "example.org", UNKNOWN),
            (
                "another forwarder's",
                &strict,
                &mx,
                &nobody,
                &other.local,
                "example.org",
                "SRS0=abcd=XY=b.example=u@a.example relay",
            ),
            (
                "of a mailbox here",
                &strict,
                &mx,
                &nobody,
                &local.local,
                "example.org",
                "Anna+x@example.org anna@example.org",
            ),
            ("of no mailbox here", &strict, &mx, &nobody, &unknown.local, "example.org", UNKNOWN),
            ("ours of ours", &strict, &mx, &nobody, &twice.local, "example.org", "u@far.example relay"),
        ] {
            let judged = policy.recipients(facts, from, &[testing::recipient(local, host)]).await.remove(0);
            let shown = match (&judged.decision, &judged.route, &judged.instead) {
                (
                    Ok(None),
                    Some(route),
                    Some(ForwardPath::Mailbox(Mailbox { local, host: HostName::Domain(host) })),
                ) => {
                    let route = if let Route::Local(mailbox) = route { mailbox } else { "relay" };
                    format!("{local}@{host} {route}")
                }
                (Err(refusal), None, None) => testing::shown(refusal),
                other => panic!("{other:?}"),
            };
            assert_eq!(shown, expected, "{what}: {local}@{host}");
        }
        // Without the scheme it is an address as any other.
        let judged =
            testing::policy().recipients(&mx, &nobody, &[testing::recipient(&sender.local, "example.org")]).await;
        assert_eq!(testing::shown(judged[0].decision.as_ref().unwrap_err()), UNKNOWN);
    }
}
