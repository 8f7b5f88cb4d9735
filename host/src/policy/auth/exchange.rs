//! One SASL exchange of one session: octets in, [`SaslAnswer`] out.
//!
//! Owns the order of the steps. Refuses to know how a password is kept. Fails by a refusal; after one, and after
//! `authenticated`, the exchange is over and a new one is needed.

use std::{net::IpAddr, sync::Arc, time::Instant};

use super::{
    LOGIN, PLAIN, SCRAM, SCRAM_PLUS, Users, busy, hashing::Busy, invalid, malformed, needs_tls, prepare, scram,
    scram::ScramError, slow_down, unsupported,
};
use crate::{
    engine::types::{Refusal, SaslAnswer},
    policy::SessionFacts,
};

/// Octets of randomness in the server's nonce.
const NONCE_OCTETS: usize = 18;

/// An exchange from AUTH to its end.
#[derive(Debug)]
pub struct Exchange {
    users: Arc<Users>,
    client: Option<IpAddr>,
    /// The channel's binding, if -PLUS was offered.
    exporter: Option<[u8; 32]>,
    state: State,
}

#[derive(Debug)]
enum State {
    Plain,
    LoginName,
    LoginPassword(Vec<u8>),
    ScramFirst {
        plus: bool,
    },
    ScramFinal {
        name: String,
        awaiting: Box<scram::Awaiting>,
    },
    /// server-final-message is sent; the client acknowledges it by an empty response.
    ScramProved {
        name: String,
    },
    Over,
}

impl Exchange {
    /// Begins. `mechanism` in capitals, as the engine gives it.
    pub fn begin(users: &Arc<Users>, facts: &SessionFacts, mechanism: &str) -> Result<Self, Refusal> {
        if facts.tls.is_none() && !facts.listener.auth_without_tls {
            return Err(needs_tls());
        }
        let exporter = facts.tls.as_ref().and_then(|tls| tls.exporter);
        let state = match mechanism {
            PLAIN => State::Plain,
            LOGIN => State::LoginName,
            SCRAM => State::ScramFirst { plus: false },
            SCRAM_PLUS if exporter.is_some() => State::ScramFirst { plus: true },
            _ => return Err(unsupported()),
        };
        let client = facts.client.map(|client| client.ip());
        if !users.throttle.admits(client, Instant::now()) {
            return Err(slow_down());
        }
        Ok(Self { users: Arc::clone(users), client, exporter, state })
    }

    /// The next message from the client; `None`: AUTH came without an initial response. A refusal for wrong
    /// credentials takes seconds (`throttle.rs`); dropping the future gives up and counts all the same.
    pub async fn step(&mut self, input: Option<&[u8]>) -> SaslAnswer {
        match (std::mem::replace(&mut self.state, State::Over), input) {
            // All but LOGIN let the client speak first: an empty challenge asks for it. RFC 4954 section 4.
            (state @ (State::Plain | State::ScramFirst { .. }), None) => self.ask(state, Vec::new()),
            (State::LoginName, None) => self.ask(State::LoginName, b"Username:".to_vec()),
            (State::Plain, Some(message)) => self.plain(message).await,
            (State::LoginName, Some(name)) => self.ask(State::LoginPassword(name.to_vec()), b"Password:".to_vec()),
            (State::LoginPassword(name), input) => self.password(&name, input.unwrap_or_default()).await,
            (State::ScramFirst { plus }, Some(message)) => self.scram_first(message, plus),
            (State::ScramFinal { name, awaiting }, input) => match awaiting.verify(input.unwrap_or_default()) {
                Ok(server_final) => self.ask(State::ScramProved { name }, server_final.into_bytes()),
                Err(error) => self.scram_failed(error).await,
            },
            (State::ScramProved { name }, None | Some(b"")) => SaslAnswer::Authenticated(name),
            (State::ScramProved { .. } | State::Over, _) => SaslAnswer::Refused(malformed()),
        }
    }

    fn ask(&mut self, next: State, challenge: Vec<u8>) -> SaslAnswer {
        self.state = next;
        SaslAnswer::Challenge(challenge)
    }

    /// `[authzid] NUL authcid NUL passwd`. RFC 4616 section 2.
    async fn plain(&mut self, message: &[u8]) -> SaslAnswer {
        let mut parts = message.split(|octet| *octet == 0);
        let (Some(authzid), Some(name), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return SaslAnswer::Refused(malformed());
        };
        if name.is_empty() || password.is_empty() {
            return SaslAnswer::Refused(malformed());
        }
        if !authzid.is_empty() && prepared(authzid) != prepared(name) {
            // Nobody may act as somebody else.
            return SaslAnswer::Refused(invalid());
        }
        self.password(name, password).await
    }

    async fn password(&mut self, name: &[u8], password: &[u8]) -> SaslAnswer {
        // What cannot be prepared fits nobody, after the same work.
        let (name, password) = (prepared(name), prepared(password));
        let hash = match (&name, &password) {
            (Some(name), Some(_)) => self.users.password(name),
            _ => None,
        };
        match (self.users.hashing.verify(hash, password.unwrap_or_default().into_bytes()).await, name) {
            (Ok(true), Some(name)) => SaslAnswer::Authenticated(name),
            (Ok(_), _) => self.wrong().await,
            (Err(Busy), _) => SaslAnswer::Refused(busy()),
        }
    }

    fn scram_first(&mut self, message: &[u8], plus: bool) -> SaslAnswer {
        let first = match scram::ClientFirst::parse(message, plus, self.exporter.as_ref()) {
            Ok(first) => first,
            // Says nothing about any user: no need to wait.
            Err(ScramError::Downgrade | ScramError::BindingType) => return SaslAnswer::Refused(invalid()),
            Err(_) => return SaslAnswer::Refused(malformed()),
        };
        let Some(name) = prepare(&first.name) else { return SaslAnswer::Refused(malformed()) };
        if first.authzid.as_deref().is_some_and(|authzid| prepare(authzid).as_ref() != Some(&name)) {
            return SaslAnswer::Refused(invalid());
        }
        let (keys, genuine) = self.users.keys(&name);
        let (challenge, awaiting) = first.challenge(keys, genuine, &nonce());
        self.ask(State::ScramFinal { name, awaiting: Box::new(awaiting) }, challenge.into_bytes())
    }

    async fn scram_failed(&mut self, error: ScramError) -> SaslAnswer {
        match error {
            ScramError::Proof | ScramError::Binding => self.wrong().await,
            _ => SaslAnswer::Refused(malformed()),
        }
    }

    async fn wrong(&mut self) -> SaslAnswer {
        let wait = self.users.throttle.failed(self.client, Instant::now());
        tokio::time::sleep(wait).await;
        SaslAnswer::Refused(invalid())
    }
}

fn prepared(octets: &[u8]) -> Option<String> {
    std::str::from_utf8(octets).ok().and_then(prepare)
}

fn nonce() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(rand::random::<[u8; NONCE_OCTETS]>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use rsasl::{
        callback::{Context, Request, SessionCallback, SessionData},
        mechanisms::{
            plain::PLAIN as PLAIN_CLIENT,
            scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS},
        },
        prelude::{ChannelBindingCallback, Mechanism, Mechname, Registry, SASLClient, SASLConfig, SessionError},
        property::{AuthId, Password},
    };

    use super::{super::file::UsersFile, *};
    use crate::{config, transport::tls::TlsFacts};

    const BINDING: [u8; 32] = [42; 32];

    fn users() -> (tempfile::TempDir, Arc<Users>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        UsersFile::edit(&path, |users| {
            users.add("anna", "pencil")?;
            users.add("b,c=d", "straße").map(drop)
        })
        .unwrap();
        let users = Arc::new(Users::load(Path::new(&path)).unwrap());
        (folder, users)
    }

    fn facts(client: &str, exporter: Option<[u8; 32]>) -> SessionFacts {
        let listener: config::Listener = toml::from_str("kind = 'submission'\naddress = '127.0.0.1:0'").unwrap();
        SessionFacts {
            id: "test".into(),
            listener: Arc::new(listener),
            client: Some((client.parse::<IpAddr>().unwrap(), 4321).into()),
            client_name: None,
            tls: Some(TlsFacts { version: "TLSv1.3".into(), cipher: "TLS_AES_128_GCM_SHA256".into(), exporter }),
            hello: None,
            extended: true,
            identity: None,
        }
    }

    /// Every step's answer in short; a step that fails ends it.
    async fn run(users: &Arc<Users>, facts: &SessionFacts, mechanism: &str, inputs: &[Option<&[u8]>]) -> Vec<String> {
        let mut exchange = match Exchange::begin(users, facts, mechanism) {
            Ok(exchange) => exchange,
            Err(refusal) => return vec![short(&SaslAnswer::Refused(refusal))],
        };
        let mut answers = Vec::new();
        for input in inputs {
            answers.push(short(&exchange.step(*input).await));
        }
        answers
    }

    fn short(answer: &SaslAnswer) -> String {
        match answer {
            SaslAnswer::Challenge(octets) => format!("? {}", String::from_utf8_lossy(octets)),
            SaslAnswer::Authenticated(name) => format!("+ {name}"),
            SaslAnswer::Refused(r) => format!("- {} {}.{}.{}", r.code, r.code / 100, r.subject, r.detail),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn plain_and_login() {
        let (_folder, users) = users();
        let check = async |mechanism: &str, inputs: &[Option<&[u8]>], expected: &[&str]| {
            let answers = run(&users, &facts("192.0.2.1", None), mechanism, inputs).await;
            assert_eq!(answers, expected, "{mechanism} {inputs:?}");
        };
        check("PLAIN", &[Some(b"\0anna\0pencil")], &["+ anna"]).await;
        check("PLAIN", &[Some(b"anna\0anna\0pencil")], &["+ anna"]).await;
        check("PLAIN", &[None, Some(b"\0anna\0pencil")], &["? ", "+ anna"]).await;
        check("PLAIN", &[Some("\0b,c=d\0straße".as_bytes())], &["+ b,c=d"]).await;
        check("PLAIN", &[Some("\0a\u{ad}nna\0pencil".as_bytes())], &["+ anna"]).await;
        check("PLAIN", &[Some(b"root\0anna\0pencil")], &["- 535 5.7.8"]).await;
        check("PLAIN", &[Some(b"\0anna\0Pencil")], &["- 535 5.7.8"]).await;
        check("PLAIN", &[Some(b"\0Anna\0pencil")], &["- 535 5.7.8"]).await;
        check("PLAIN", &[Some(b"\0ghost\0pencil")], &["- 535 5.7.8"]).await;
        check("PLAIN", &[Some(b"\0anna\0\xff\xfe")], &["- 535 5.7.8"]).await;
        check("PLAIN", &[Some(b"\0\xff\0pencil")], &["- 535 5.7.8"]).await;
        for malformed in [&b""[..], b"\0", b"\0\0", b"anna", b"\0anna", b"\0anna\0", b"\0\0pencil", b"a\0b\0c\0d"] {
            check("PLAIN", &[Some(malformed)], &["- 501 5.5.2"]).await;
        }
        check("PLAIN", &[Some(b"\0anna\0pencil"), Some(b"\0anna\0pencil")], &["+ anna", "- 501 5.5.2"]).await;
        let ask = ["? Username:", "? Password:"];
        check("LOGIN", &[None, Some(b"anna"), Some(b"pencil")], &[ask[0], ask[1], "+ anna"]).await;
        check("LOGIN", &[Some(b"anna"), Some(b"pencil")], &[ask[1], "+ anna"]).await;
        check("LOGIN", &[None, Some(b"anna"), Some(b"wrong")], &[ask[0], ask[1], "- 535 5.7.8"]).await;
        check("LOGIN", &[Some(b""), Some(b"")], &[ask[1], "- 535 5.7.8"]).await;
        check("CRAM-MD5", &[], &["- 504 5.5.4"]).await;
        check("SCRAM-SHA-256-PLUS", &[], &["- 504 5.5.4"]).await;

        let mut readable = facts("192.0.2.1", None);
        readable.tls = None;
        assert_eq!(run(&users, &readable, "PLAIN", &[]).await, ["- 538 5.7.11"]);
        let nobody = Arc::new(Users::empty());
        let answers = run(&nobody, &facts("192.0.2.1", None), "PLAIN", &[Some(b"\0anna\0pencil")]).await;
        assert_eq!(answers, ["- 535 5.7.8"]);
    }

    #[tokio::test(start_paused = true)]
    async fn scram_refuses_downgrade_and_strangers() {
        let (_folder, users) = users();
        let check = async |plus: bool, exporter: Option<[u8; 32]>, first: &str, expected: &str| {
            let mechanism = if plus { SCRAM_PLUS } else { SCRAM };
            let answers = run(&users, &facts("192.0.2.2", exporter), mechanism, &[Some(first.as_bytes())]).await;
            assert_eq!(answers, [expected], "{mechanism} {first:?}");
        };
        check(false, Some(BINDING), "y,,n=anna,r=abc", "- 535 5.7.8").await;
        check(true, Some(BINDING), "n,,n=anna,r=abc", "- 535 5.7.8").await;
        check(true, Some(BINDING), "p=tls-unique,,n=anna,r=abc", "- 535 5.7.8").await;
        check(false, None, "n,a=root,n=anna,r=abc", "- 535 5.7.8").await;
        check(false, None, "n,,n", "- 501 5.5.2").await;

        // A stranger's first step looks like a user's: the same shape, the same salt each time.
        let ask = async |name: &str| {
            let first = format!("n,,n={name},r=abc");
            let inputs = [None, Some(first.as_bytes()), Some(&b"c=biws,r=x,p=AAAA"[..])];
            let answers = run(&users, &facts("192.0.2.2", None), SCRAM, &inputs).await;
            assert_eq!(answers[0], "? ");
            let (nonce, rest) = answers[1].split_once(",s=").unwrap();
            assert_eq!(nonce.len(), "? r=abc".len() + 24, "{nonce}");
            rest.to_owned()
        };
        let (anna, ghost) = (ask("anna").await, ask("ghost").await);
        assert_eq!((&anna, &ghost), (&ask("anna").await, &ask("ghost").await));
        assert_ne!(anna, ghost);
        assert_eq!(anna.len(), ghost.len());
        assert_eq!(anna.split_once(',').unwrap().1, ghost.split_once(',').unwrap().1, "iterations");
    }

    struct Credentials(&'static str, &'static str);

    impl SessionCallback for Credentials {
        fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
            request.satisfy::<AuthId>(self.0)?.satisfy::<Password>(self.1.as_bytes())?;
            Ok(())
        }

        fn enable_channel_binding(&self) -> bool {
            true
        }
    }

    struct Channel([u8; 32]);

    impl ChannelBindingCallback for Channel {
        fn get_cb_data(&self, kind: &str) -> Option<&[u8]> {
            (kind == "tls-exporter").then_some(&self.0)
        }
    }

    /// Somebody else's client against our server: what happened, line by line. `offered`: what the client is told;
    /// `sees`: the binding at its end.
    async fn foreign_client(offered: &[&str], login: Credentials, sees: [u8; 32]) -> Vec<String> {
        let (_folder, users) = users();
        static KNOWN: &[Mechanism] = &[SCRAM_SHA256_PLUS, SCRAM_SHA256, PLAIN_CLIENT];
        let config =
            SASLConfig::builder().with_registry(Registry::with_mechanisms(KNOWN)).with_callback(login).unwrap();
        let offered: Vec<_> = offered.iter().map(|name| Mechname::parse(name.as_bytes()).unwrap()).collect();
        let mut client = SASLClient::with_cb(config, Channel(sees)).start_suggested(&offered).unwrap();
        let mechanism = client.get_mechname().as_str().to_owned();
        let mut server = Exchange::begin(&users, &facts("192.0.2.3", Some(BINDING)), &mechanism).unwrap();
        let (mut message, mut lines) = (Vec::new(), vec![mechanism]);
        client.step(None, &mut message).unwrap();
        loop {
            lines.push(String::from_utf8_lossy(&message).into_owned());
            let answer = server.step(Some(&message)).await;
            lines.push(short(&answer));
            let SaslAnswer::Challenge(challenge) = answer else { return lines };
            message.clear();
            client.step(Some(&challenge), &mut message).expect("the client accepts what the server says");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_client_agrees() {
        let check = async |offered: &[&str], login, sees, expected: &str| {
            let lines = foreign_client(offered, login, sees).await;
            assert_eq!(lines[0], offered[0], "{lines:#?}");
            assert_eq!(lines.last().unwrap(), expected, "{lines:#?}");
        };
        let both = [SCRAM_PLUS, SCRAM];
        check(&both, Credentials("anna", "pencil"), BINDING, "+ anna").await;
        check(&both, Credentials("b,c=d", "straße"), BINDING, "+ b,c=d").await;
        check(&both, Credentials("anna", "pencil"), [43; 32], "- 535 5.7.8").await;
        check(&both, Credentials("anna", "wrong"), BINDING, "- 535 5.7.8").await;
        check(&both, Credentials("ghost", "pencil"), BINDING, "- 535 5.7.8").await;
        // Somebody on the way has taken -PLUS out of the list.
        check(&[SCRAM], Credentials("anna", "pencil"), BINDING, "- 535 5.7.8").await;
        check(&[PLAIN], Credentials("anna", "pencil"), BINDING, "+ anna").await;
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_and_too_many_at_once_are_sent_away() {
        let (_folder, users) = users();
        let facts = facts("192.0.2.4", None);
        let fail = async || {
            let begun = tokio::time::Instant::now();
            let answer = run(&users, &facts, "PLAIN", &[Some(b"\0anna\0wrong")]).await;
            (answer.concat(), begun.elapsed().as_millis() / 100)
        };
        assert_eq!(fail().await, ("- 535 5.7.8".to_owned(), 10));
        assert_eq!(fail().await, ("- 535 5.7.8".to_owned(), 15));
        let begun = tokio::time::Instant::now();
        let answer = run(&users, &facts, "PLAIN", &[Some(b"\0anna\0pencil")]).await;
        assert_eq!((answer.concat().as_str(), begun.elapsed().as_secs()), ("+ anna", 0), "the right one does not wait");

        let real = std::time::Instant::now();
        let mut rest = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (users, facts) = (Arc::clone(&users), facts.clone());
            rest.spawn(async move { run(&users, &facts, "PLAIN", &[Some(b"\0anna\0wrong")]).await.concat() });
        }
        rest.join_all().await;
        // Where real time stood nearly still the failures still wait as far as the table knows.
        let after = run(&users, &facts, "PLAIN", &[]).await;
        assert!(after == ["- 454 4.7.0"] || real.elapsed().as_secs() > 1, "{after:?}");
    }
}
