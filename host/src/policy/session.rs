//! What a session may do before any mail: the engine's options, the logins it offers, XCLIENT.

use std::net::{IpAddr, SocketAddr};

use super::{SessionFacts, auth, refuse};
use crate::{
    config::{Config, Endpoint, Kind, Listener},
    engine::types::{Decision, Limits, Options, Protocol, Questions, Refusal, XclientAttribute},
    store::sqlite::now,
};

/// A question with more recipients than this brings nothing: the look-ups of one batch overlap.
const RECIPIENT_BATCH: u32 = 100;
/// RFC 5321 section 4.5.3.1.4 with the allowances of RFC 1870, 3461, 4954, 6531 and then some.
const COMMAND_LINE: u32 = 2048;
/// RFC 4954 section 4 asks for 12288.
const AUTH_LINE: u32 = 16_384;

pub(super) fn options(config: &Config, facts: &SessionFacts, certificate: bool) -> Options {
    let listener = &facts.listener;
    let implicit_tls = listener.kind == Kind::Submissions;
    let local = matches!(listener.endpoint(), Ok(Endpoint::Unix(_)));
    Options {
        protocol: if listener.kind == Kind::Lmtp { Protocol::Lmtp } else { Protocol::Smtp },
        server_name: config.name.clone(),
        limits: limits(config, listener),
        implicit_tls,
        start_tls: certificate && !implicit_tls && !local,
        require_tls: requires_tls(listener),
        plaintext_mechanisms: mechanisms(&SessionFacts { tls: None, ..facts.clone() }),
        tls_mechanisms: mechanisms(facts),
        require_auth: listener.kind.is_submission(),
        xclient: offered_attributes(facts),
        strict_hello: listener.strict_hello,
        deliver_by: listener.deliver_by,
        priority: listener.priority,
        trace: tracing::enabled!(target: "hermetic", tracing::Level::TRACE),
        unasked: Questions::empty(),
    }
}

fn requires_tls(listener: &Listener) -> bool {
    match listener.kind {
        Kind::Submission => listener.require_tls || !listener.auth_without_tls,
        Kind::Submissions => true,
        Kind::Mx | Kind::Lmtp => listener.require_tls,
    }
}

/// May mail begin? The engine enforces both itself; asking again here, outside the sandbox, costs nothing and does not
/// depend on its word.
pub(super) fn admit(facts: &SessionFacts) -> Result<(), Refusal> {
    if requires_tls(&facts.listener) && facts.tls.is_none() {
        Err(refuse(530, 7, 0, "Please use STARTTLS first."))
    } else if facts.listener.kind.is_submission() && facts.identity.is_none() {
        Err(refuse(530, 7, 0, "Please log in first."))
    } else {
        Ok(())
    }
}

fn limits(config: &Config, listener: &Listener) -> Limits {
    let limits = &config.limits;
    let hold = if listener.kind.is_submission() { listener.future_release } else { 0 };
    Limits {
        message_size: limits.message_size,
        recipients: limits.recipients,
        recipient_batch: RECIPIENT_BATCH,
        command_line: COMMAND_LINE,
        auth_line: AUTH_LINE,
        text_line: 0,
        errors: limits.errors,
        idle_commands: limits.idle_commands,
        messages: limits.messages,
        auth_failures: limits.auth_failures,
        command_timeout: milliseconds(limits.command_timeout),
        data_timeout: milliseconds(limits.data_timeout),
        handshake_timeout: milliseconds(limits.handshake_timeout),
        data_allowance: milliseconds(limits.data_allowance),
        data_rate: limits.data_rate,
        session: milliseconds(limits.session),
        hold_for: u32::try_from(hold).unwrap_or(u32::MAX),
        hold_until: (now() / 1000).saturating_add(hold),
        deliver_by: 0,
    }
}

fn milliseconds(seconds: u64) -> u64 {
    seconds.saturating_mul(1000)
}

/// The priority that this client's mail gets where it asks for this one. RFC 6710 section 4.1: only from those that are
/// trusted with it, and lowering never hurts anybody.
pub(super) fn priority(config: &Config, facts: &SessionFacts, asked: i8) -> i8 {
    let trusted = || {
        let client = facts.client.map(|client| client.ip());
        client.is_some_and(|client| config.relay.priority_from.iter().any(|network| network.contains(client)))
    };
    if asked > 0 && !trusted() { 0 } else { asked.clamp(-9, 9) }
}

/// Passwords, and what can be guessed from a recorded SCRAM exchange, are for TLS only, unless the operator says
/// otherwise.
pub(super) fn mechanisms(facts: &SessionFacts) -> Vec<String> {
    let listener = &facts.listener;
    let offered = listener.kind.is_submission() || (listener.kind == Kind::Mx && listener.auth);
    if offered && (facts.tls.is_some() || listener.auth_without_tls) {
        auth::mechanisms(facts.tls.as_ref())
    } else {
        Vec::new()
    }
}

/// What a trusted peer may say of the client. A login can not be handed on where the engine itself demands AUTH.
fn offered_attributes(facts: &SessionFacts) -> Vec<String> {
    let trusted =
        facts.client.is_some_and(|client| facts.listener.xclient.iter().any(|network| network.contains(client.ip())));
    let names = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"].into_iter();
    names
        .filter(|name| trusted && (*name != "LOGIN" || !facts.listener.kind.is_submission()))
        .map(str::to_owned)
        .collect()
}

/// Obeys XCLIENT. The engine lets only those send it whom `options` offered it, and they may do so again; so the peer is
/// not compared anew, as the client of these facts is the one that the first XCLIENT named.
pub(super) fn xclient(facts: &mut SessionFacts, attributes: &[XclientAttribute]) -> Decision {
    if facts.listener.xclient.is_empty() {
        return Err(refuse(550, 7, 0, "XCLIENT is not for you."));
    }
    let mut said = facts.clone();
    let mut address = facts.client.map(|client| client.ip());
    let mut port = facts.client.map_or(0, |client| client.port());
    for XclientAttribute { name, value } in attributes {
        let wrong = || refuse(501, 5, 4, format!("The value of {name} can not be used."));
        match (name.as_str(), value) {
            ("NAME", value) => said.client_name.clone_from(value),
            // Without an address there is no client to judge; the one before stays.
            ("ADDR" | "PORT", None) => {}
            ("ADDR", Some(value)) => {
                let plain = value
                    .get(..5)
                    .filter(|tag| tag.eq_ignore_ascii_case("IPV6:"))
                    .map_or(value.as_str(), |_| &value[5..]);
                address = Some(plain.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical());
                port = 0;
            }
            ("PORT", Some(value)) => port = value.parse().map_err(|_| wrong())?,
            ("PROTO", Some(value)) if value.eq_ignore_ascii_case("SMTP") => said.extended = false,
            ("PROTO", Some(value)) if value.eq_ignore_ascii_case("ESMTP") => said.extended = true,
            ("PROTO", None) => {}
            ("HELO", value) => said.hello.clone_from(value),
            ("LOGIN", value) if !facts.listener.kind.is_submission() => said.identity.clone_from(value),
            _ => return Err(wrong()),
        }
    }
    said.client = address.map(|address| SocketAddr::new(address, port));
    *facts = said;
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;

    use super::{super::testing, *};

    #[test]
    fn who_may_log_in_where() {
        let all = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN";
        let unbound = "SCRAM-SHA-256 PLAIN LOGIN";
        // Kind, AUTH on mx, AUTH without TLS; then without TLS, in TLS without and with a channel binding.
        for (kind, auth, plaintext, expected) in [
            (Kind::Mx, false, false, ["", "", ""]),
            (Kind::Mx, true, false, ["", unbound, all]),
            (Kind::Mx, true, true, [unbound, unbound, all]),
            (Kind::Submission, false, false, ["", unbound, all]),
            (Kind::Submission, false, true, [unbound, unbound, all]),
            (Kind::Submissions, false, false, ["", unbound, all]),
            (Kind::Lmtp, false, false, ["", "", ""]),
        ] {
            let mut facts = testing::facts(kind);
            facts.listener = Arc::new(Listener { auth, auth_without_tls: plaintext, ..Listener::new(kind, "[::1]:1") });
            let tls = Some(testing::tls());
            let unbound = Some(super::super::TlsFacts { exporter: None, ..testing::tls() });
            let found = [None, unbound, tls].map(|tls| mechanisms(&SessionFacts { tls, ..facts.clone() }).join(" "));
            assert_eq!(found, expected, "{kind:?} auth {auth} auth-without-tls {plaintext}");
        }
    }

    #[test]
    fn options_of_each_kind() {
        // STARTTLS, TLS demanded, implicit TLS, login demanded.
        for (kind, expected) in [
            (Kind::Mx, [true, false, false, false]),
            (Kind::Submission, [true, true, false, true]),
            (Kind::Submissions, [false, true, true, true]),
            (Kind::Lmtp, [true, false, false, false]),
        ] {
            let options = options(&testing::config(), &testing::facts(kind), true);
            let found = [options.start_tls, options.require_tls, options.implicit_tls, options.require_auth];
            assert_eq!(found, expected, "{kind:?}");
            assert_eq!(options.protocol == Protocol::Lmtp, kind == Kind::Lmtp);
        }
        let mut facts = testing::facts(Kind::Lmtp);
        facts.listener = Arc::new(Listener::new(Kind::Lmtp, "unix:/run/l"));
        assert!(!options(&testing::config(), &facts, true).start_tls, "TLS on a Unix socket");
        assert!(!options(&testing::config(), &testing::facts(Kind::Mx), false).start_tls, "TLS without a certificate");
    }

    #[test]
    fn mail_begins_after_tls_and_login() {
        let anna = Some("anna".to_owned());
        for (kind, strict, tls, identity, expected) in [
            (Kind::Mx, false, None, None, Ok(())),
            (Kind::Mx, true, None, None, Err("530 5.7.0".to_owned())),
            (Kind::Mx, true, Some(testing::tls()), None, Ok(())),
            (Kind::Lmtp, false, None, None, Ok(())),
            (Kind::Submission, false, None, anna.clone(), Err("530 5.7.0".into())),
            (Kind::Submission, false, Some(testing::tls()), None, Err("530 5.7.0".into())),
            (Kind::Submission, false, Some(testing::tls()), anna.clone(), Ok(())),
            (Kind::Submissions, false, None, anna.clone(), Err("530 5.7.0".into())),
            (Kind::Submissions, false, Some(testing::tls()), anna, Ok(())),
        ] {
            let listener = Listener { require_tls: strict, ..Listener::new(kind, "[::1]:1") };
            let facts = SessionFacts { listener: Arc::new(listener), tls, identity, ..testing::facts(kind) };
            let found = admit(&facts).map_err(|refusal| testing::shown(&refusal));
            assert_eq!(found, expected, "{kind:?} require-tls {strict} {:?} {:?}", facts.tls, facts.identity);
        }
    }

    #[test]
    fn limits_reach_the_engine() {
        let mut config = testing::config();
        config.limits.command_timeout = 7;
        config.limits.session = u64::MAX;
        let limits = limits(&config, &Listener::new(Kind::Mx, "[::1]:1"));
        assert_eq!(limits.hold_for, 0, "only users may have their mail held");
        assert_eq!((limits.command_timeout, limits.session, limits.recipients), (7000, u64::MAX, 1000));
    }

    #[test]
    fn whose_priority_counts() {
        let mut config = testing::config();
        config.relay.priority_from = vec!["198.51.100.0/24".parse().unwrap()];
        let trusted = testing::facts(Kind::Mx);
        let stranger =
            SessionFacts { client: Some("192.0.2.1:1".parse().unwrap()), ..testing::facts(Kind::Submission) };
        let nobody = SessionFacts { client: None, ..testing::facts(Kind::Lmtp) };
        for (facts, asked, expected) in [
            (&trusted, 9, 9),
            (&trusted, -9, -9),
            (&trusted, i8::MAX, 9),
            (&stranger, 1, 0),
            (&stranger, 0, 0),
            (&stranger, -4, -4),
            (&nobody, 4, 0),
        ] {
            assert_eq!(priority(&config, facts, asked), expected, "{:?} {asked}", facts.client);
        }
    }

    #[test]
    fn xclient_says_who() {
        let mut facts = testing::facts(Kind::Mx);
        let listener =
            Listener { xclient: vec!["198.51.100.0/24".parse().unwrap()], ..Listener::new(Kind::Mx, "[::1]:1") };
        facts.listener = Arc::new(listener);
        assert_eq!(options(&testing::config(), &facts, true).xclient.join(" "), "NAME ADDR PORT PROTO HELO LOGIN");
        let say = |facts: &mut SessionFacts, pairs: &[(&str, Option<&str>)]| {
            let attributes: Vec<_> = pairs
                .iter()
                .map(|(name, value)| XclientAttribute { name: (*name).into(), value: value.map(Into::into) })
                .collect();
            xclient(facts, &attributes).map_err(|refusal| testing::shown(&refusal))
        };
        let all = [
            ("NAME", Some("a.example")),
            ("ADDR", Some("IPV6:2001:db8::1")),
            ("PORT", Some("25")),
            ("PROTO", Some("SMTP")),
            ("HELO", Some("h.example")),
            ("LOGIN", Some("anna")),
        ];
        say(&mut facts, &all).unwrap();
        let found =
            (facts.client_name.clone(), facts.client, facts.extended, facts.hello.clone(), facts.identity.clone());
        let expected = (
            Some("a.example".into()),
            Some("[2001:db8::1]:25".parse().unwrap()),
            false,
            Some("h.example".into()),
            Some("anna".into()),
        );
        assert_eq!(found, expected);
        say(&mut facts, &[("LOGIN", None), ("NAME", None), ("ADDR", Some("192.0.2.9"))]).unwrap();
        assert_eq!((facts.identity.clone(), facts.client), (None, Some("192.0.2.9:0".parse().unwrap())));
        for wrong in [("ADDR", "nonsense"), ("PORT", "65536"), ("PROTO", "UUCP"), ("FOO", "1")] {
            let before = format!("{facts:?}");
            let said = say(&mut facts, &[("NAME", Some("evil.example")), (wrong.0, Some(wrong.1))]);
            assert_eq!(said, Err("501 5.5.4".into()), "{wrong:?}");
            assert_eq!(format!("{facts:?}"), before, "{wrong:?} changed something");
        }
        let mut stranger = testing::facts(Kind::Mx);
        assert!(options(&testing::config(), &stranger, true).xclient.is_empty());
        assert_eq!(say(&mut stranger, &all), Err("550 5.7.0".into()));
    }
}
