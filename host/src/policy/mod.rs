//! Question in, answer out: what the operator's configuration says about a client, a sender, a recipient, a message.
//!
//! Owns the decisions and their reply codes. Refuses to know sockets, wasm and storage.

pub mod auth;
pub mod message;
pub mod relay;

use std::{net::SocketAddr, sync::Arc};

use crate::config::{Config, ConfigError, Listener};
use crate::engine::types::{
    Decision, Hello, MessageFacts, Options, Recipient, Refusal, Sender, VerifyAnswer, XclientAttribute,
};
use crate::store::{MessageId, Route, Timestamp};

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

/// Stand-in until the real policy is merged.
pub struct Policy {
    config: Arc<Config>,
}

/// What policy says of one recipient.
pub struct Judged {
    /// Yes or no.
    pub decision: Decision,
    /// Where it goes, if yes.
    pub route: Option<Route>,
}

#[allow(missing_docs, clippy::unused_async)]
impl Policy {
    pub fn new(config: Arc<Config>, _users: Arc<auth::Users>) -> Result<Self, ConfigError> {
        Ok(Self { config })
    }
    pub fn options(&self, facts: &SessionFacts, certificate: bool) -> Options {
        let l = &self.config.limits;
        Options {
            protocol: match facts.listener.kind {
                crate::config::Kind::Lmtp => crate::engine::types::Protocol::Lmtp,
                _ => crate::engine::types::Protocol::Smtp,
            },
            server_name: self.config.name.clone(),
            limits: crate::engine::types::Limits {
                message_size: l.message_size,
                recipients: l.recipients,
                recipient_batch: 100,
                command_line: 2048,
                auth_line: 16384,
                text_line: 0,
                errors: l.errors,
                idle_commands: l.idle_commands,
                messages: 0,
                auth_failures: l.auth_failures,
                command_timeout: l.command_timeout * 1000,
                data_timeout: l.data_timeout * 1000,
                handshake_timeout: l.handshake_timeout * 1000,
                data_allowance: 600_000,
                data_rate: 512,
                session: 0,
            },
            implicit_tls: facts.tls.is_some(),
            start_tls: certificate && facts.tls.is_none(),
            require_tls: false,
            plaintext_mechanisms: Vec::new(),
            tls_mechanisms: Vec::new(),
            require_auth: false,
            xclient: Vec::new(),
            strict_hello: false,
            trace: false,
        }
    }
    pub fn mechanisms(&self, _facts: &SessionFacts) -> Vec<String> {
        Vec::new()
    }
    pub async fn connection(&self, _facts: &SessionFacts, spoke_early: bool) -> Decision {
        if spoke_early {
            return Err(Refusal { code: 554, subject: 5, detail: 1, text: "you spoke before the greeting".into() });
        }
        Ok(None)
    }
    pub async fn hello(&self, _facts: &SessionFacts, _hello: &Hello) -> Decision {
        Ok(None)
    }
    pub async fn xclient(&self, _facts: &mut SessionFacts, _attributes: &[XclientAttribute]) -> Decision {
        Ok(None)
    }
    pub async fn sender(&self, _facts: &SessionFacts, _sender: &Sender) -> Decision {
        Ok(None)
    }
    pub async fn recipients(&self, _facts: &SessionFacts, _sender: &Sender, recipients: &[Recipient]) -> Vec<Judged> {
        recipients
            .iter()
            .map(|r| Judged { decision: Ok(None), route: Some(Route::Local(format!("{:?}", r.path).to_lowercase())) })
            .collect()
    }
    pub async fn verify(&self, _facts: &SessionFacts, _argument: &str) -> VerifyAnswer {
        VerifyAnswer::Unsure
    }
    #[allow(clippy::too_many_arguments)]
    pub fn message(
        &self,
        facts: &SessionFacts,
        _sender: &Sender,
        id: &MessageId,
        _recipients: &[Recipient],
        _header: &[u8],
        _message: &MessageFacts,
        _now: Timestamp,
    ) -> Result<Vec<u8>, Refusal> {
        Ok(format!("Received: stand-in {} {id}\r\n", facts.id).into_bytes())
    }
}
