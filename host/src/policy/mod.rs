//! Question in, answer out: what the operator's configuration says about a client, a sender, a recipient, a message.
//!
//! Owns the decisions and their reply codes. Refuses to know sockets, wasm and storage. It does not fail: whoever can not
//! be judged is refused.

pub mod auth;
pub mod chain;
pub mod message;
pub mod relay;
pub mod sender;
pub mod session;
pub mod srs;

use std::{net::SocketAddr, sync::Arc};

use crate::{
    config::{Config, ConfigError, Found, Listener, Mailboxes, validate},
    engine::types::{
        Decision, ForwardPath, Hello, MessageFacts, Options, Recipient, Refusal, Sender, VerifyAnswer, XclientAttribute,
    },
    store::{Address, MessageId, Route, Timestamp},
};

pub use crate::transport::tls::TlsFacts;

/// What is known of the session so far.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Short, unique, on every log line and in the Received field.
    pub id: String,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// The client (after PROXY or XCLIENT); none on a Unix socket.
    pub client: Option<SocketAddr>,
    /// The client's name, if XCLIENT or PROXY said it.
    pub client_name: Option<String>,
    /// Inside TLS: what was negotiated.
    pub tls: Option<TlsFacts>,
    /// HELO, EHLO or LHLO as given.
    pub hello: Option<String>,
    /// ESMTP or LMTP was spoken (not HELO).
    pub extended: bool,
    /// The login.
    pub identity: Option<String>,
}

/// What was decided about a recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// For the engine.
    pub decision: Decision,
    /// Where it goes, if it was accepted.
    pub route: Option<Route>,
    /// Who gets it instead: it is an address that stands for another (SRS).
    pub instead: Option<ForwardPath>,
}

/// The rules of one configuration. A new configuration makes a new one, which decides from then on, in running sessions too.
pub struct Policy {
    config: Arc<Config>,
    users: Arc<auth::Users>,
    mailboxes: Mailboxes,
    srs: Option<srs::Srs>,
}

impl Policy {
    /// Fails if the domains do not validate, which those of a loaded configuration always do.
    pub fn new(config: Arc<Config>, users: Arc<auth::Users>) -> Result<Self, ConfigError> {
        if let Some(finding) = validate::domains(&config).into_iter().find(|finding| finding.error) {
            return Err(finding.into());
        }
        let mailboxes = Mailboxes::new(&config);
        Ok(Self { config, users, mailboxes, srs: None })
    }

    /// With rewriting of senders whose mail is sent on, if that is wanted.
    #[must_use]
    pub fn rewriting(self, srs: Option<srs::Srs>) -> Self {
        Self { srs, ..self }
    }

    /// In whose name mail of this sender is sent on to other servers; None: in its own.
    #[must_use]
    pub fn sent_as(&self, sender: &Address, now: Timestamp) -> Option<Address> {
        let srs = self.srs.as_ref()?;
        if !matches!(self.mailboxes.at_domain(&sender.local, &sender.domain), Found::Foreign) {
            return None;
        }
        let rewritten = srs.rewritten(sender, now);
        if rewritten.is_none() {
            tracing::info!(
                sender = %crate::observe::Address::new(&sender.local, &sender.domain),
                "sent on in its sender's own name, which does not fit into an address of srs.domain"
            );
        }
        rewritten
    }

    /// The configuration behind these rules.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Who may log in.
    #[must_use]
    pub fn users(&self) -> &Arc<auth::Users> {
        &self.users
    }

    /// What the engine is told at the start of a session. `certificate`: TLS is possible.
    #[must_use]
    pub fn options(&self, facts: &SessionFacts, certificate: bool) -> Options {
        session::options(&self.config, facts, certificate)
    }

    /// The SASL mechanisms to offer now, the strongest first.
    #[must_use]
    pub fn mechanisms(&self, facts: &SessionFacts) -> Vec<String> {
        session::mechanisms(facts)
    }

    /// May this client speak? Asked before the greeting, and again after XCLIENT.
    pub async fn connection(&self, facts: &SessionFacts, spoke_early: bool) -> Decision {
        if spoke_early && facts.listener.greeting_delay > 0 {
            return Err(refuse(421, 5, 1, "You spoke before the greeting. Please wait for it (RFC 5321 section 3.1)."));
        }
        Ok(None)
    }

    /// HELO, EHLO, LHLO: whatever the grammar lets through, as RFC 5321 section 4.1.4 wants it.
    pub async fn hello(&self, _facts: &SessionFacts, _hello: &Hello) -> Decision {
        Ok(None)
    }

    /// A trusted peer says who the client really is.
    pub async fn xclient(&self, facts: &mut SessionFacts, attributes: &[XclientAttribute]) -> Decision {
        session::xclient(facts, attributes)
    }

    /// MAIL.
    pub async fn sender(&self, facts: &SessionFacts, sender: &Sender) -> Decision {
        sender::judge(&self.mailboxes, facts, sender)
    }

    /// The priority of this sender's mail (RFC 6710), if it asked for one.
    #[must_use]
    pub fn priority(&self, facts: &SessionFacts, sender: &Sender) -> Option<i8> {
        sender.parameters.priority.map(|asked| session::priority(&self.config, facts, asked))
    }

    /// RCPT, all of a pipelined batch. As many answers as recipients, in their order.
    pub async fn recipients(&self, facts: &SessionFacts, sender: &Sender, recipients: &[Recipient]) -> Vec<Judged> {
        let rules = relay::Rules { config: &self.config, mailboxes: &self.mailboxes, srs: self.srs.as_ref() };
        recipients.iter().map(|recipient| rules.judge(facts, sender, recipient)).collect()
    }

    /// Where an address goes that a plugin named. Fails with why it goes nowhere.
    pub fn place(&self, address: &str) -> Result<(Address, Route), String> {
        let (local, domain, found) = self.mailboxes.of_text(address).ok_or("it is no address")?;
        let address = Address { local, domain };
        match found {
            Found::Mailbox(mailbox) => Ok((address, Route::Local(mailbox))),
            Found::Foreign => Ok((address, Route::Relay)),
            Found::Unknown | Found::Route => Err("there is no such mailbox here".into()),
        }
    }

    /// VRFY: neither yes nor no, so that nobody harvests addresses (RFC 5321 section 7.3).
    pub async fn verify(&self, _facts: &SessionFacts, _argument: &str) -> VerifyAnswer {
        VerifyAnswer::Unsure
    }

    /// The fields that go before the content, or why the message is refused. `header` is the header block, or its first
    /// 64 KiB.
    #[allow(clippy::too_many_arguments, reason = "all that is known of a message")]
    pub fn message(
        &self,
        facts: &SessionFacts,
        sender: &Sender,
        id: &MessageId,
        recipients: &[Recipient],
        header: &[u8],
        _facts_of_message: &MessageFacts,
        now: Timestamp,
    ) -> Result<Vec<u8>, Refusal> {
        message::prefix(&self.config, facts, sender, id, recipients, header, now)
    }
}

/// The class of the enhanced code follows from `code`.
fn refuse(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> Refusal {
    Refusal { code, subject, detail, text: text.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod testing {
    //! Facts and questions as tests want them.

    use super::*;
    use crate::{
        config::{Domain, Kind},
        engine::types::{BodyKind, ForwardPath, HostName, MailParameters, Mailbox},
    };

    /// `anna`, with an alias, at `example.org`; anyone at `any.example`; `jürgen` at `münchen.example`.
    pub(crate) fn config() -> Config {
        let mut config = Config {
            name: "mx.example.org".into(),
            listeners: vec![Listener::new(Kind::Mx, "192.0.2.1:25")],
            domains: vec![
                Domain::new("example.org", &["anna", "bert"]),
                Domain::new("any.example", &["*"]),
                Domain::new("xn--mnchen-3ya.example", &["jürgen", "postmaster"]),
            ],
            ..Config::default()
        };
        config.domains[0].aliases.insert("postmaster".into(), "anna".into());
        config.relay.networks = vec!["10.0.0.0/8".parse().unwrap()];
        config
    }

    pub(crate) fn policy() -> Policy {
        Policy::new(Arc::new(config()), Arc::new(auth::Users::empty())).unwrap()
    }

    pub(crate) fn facts(kind: Kind) -> SessionFacts {
        SessionFacts {
            id: "s1".into(),
            listener: Arc::new(Listener::new(kind, "192.0.2.1:25")),
            client: Some("198.51.100.7:4711".parse().unwrap()),
            client_name: None,
            tls: None,
            hello: Some("client.example".into()),
            extended: true,
            identity: None,
        }
    }

    pub(crate) fn tls() -> TlsFacts {
        TlsFacts { version: "TLSv1.3".into(), cipher: "TLS_AES_256_GCM_SHA384".into(), exporter: Some([0; 32]) }
    }

    /// Domains, or literals in brackets.
    pub(crate) fn mailbox(local: &str, host: &str) -> Mailbox {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = literal.map_or(HostName::Domain(host.into()), |host| HostName::Literal(host.into()));
        Mailbox { local: local.into(), host }
    }

    pub(crate) fn sender(mailbox: Option<Mailbox>) -> Sender {
        let parameters = MailParameters {
            size: None,
            body: BodyKind::SevenBit,
            smtputf8: false,
            require_tls: false,
            prdr: false,
            ret: None,
            envid: None,
            auth: None,
            hold: None,
            deliver_by: None,
            priority: None,
        };
        Sender { mailbox, parameters }
    }

    pub(crate) fn recipient(local: &str, host: &str) -> Recipient {
        Recipient { path: ForwardPath::Mailbox(mailbox(local, host)), notify: None, orcpt: None }
    }

    pub(crate) fn shown(refusal: &Refusal) -> String {
        format!("{} {}.{}.{}", refusal.code, refusal.code / 100, refusal.subject, refusal.detail)
    }
}
