//! Question in, answer out: what the operator's configuration says about a client, a sender, a recipient, a message.
//!
//! Owns the decisions and their reply codes. Refuses to know sockets, wasm and storage.

pub mod auth;
pub mod message;
pub mod relay;

use std::{net::SocketAddr, sync::Arc};

pub use crate::transport::tls::TlsFacts;

use crate::config::Listener;

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
