//! What plugins are told of a message that is in the queue.
//!
//! Owns the way from the store's words to theirs. Refuses to know hooks and who runs them. Cannot fail: what only the session
//! knew, a client's name, is not known any more, and is told as that.

use crate::{
    config::Config,
    plugin::hook::{Facts, Forward},
    store::{Address, BodyKind, Envelope, Route},
};

/// `transaction`: what the plugins call it.
pub(super) fn facts(config: &Config, envelope: &Envelope, transaction: String) -> Facts {
    let listener = config.listeners.iter().find(|listener| listener.label() == envelope.listener);
    Facts {
        transaction_id: transaction,
        listener: envelope.listener.clone(),
        listener_kind: listener.map(|listener| listener.kind.as_str().to_owned()).unwrap_or_default(),
        client_address: envelope.client.map(|client| client.to_canonical()),
        hello_name: envelope.hello.clone(),
        identity: envelope.identity.clone(),
        // It is kept with the cipher.
        tls_version: envelope.tls.as_ref().and_then(|tls| tls.split(' ').next().map(str::to_owned)),
        reverse_path: Some(envelope.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default()),
        body_type: match envelope.body {
            BodyKind::SevenBit => "7BIT",
            BodyKind::EightBitMime => "8BITMIME",
            BodyKind::BinaryMime => "BINARYMIME",
        }
        .into(),
        smtputf8: envelope.smtputf8,
        message_size: envelope.size,
        ..Facts::default()
    }
}

/// The recipient of a hook.
pub(super) fn forward(recipient: &Address, route: &Route) -> Forward {
    Forward { forward_path: recipient.to_string(), mailbox: route.mailbox().map(str::to_owned) }
}
