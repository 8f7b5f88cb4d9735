//! Write a plugin for Hermetic in Rust, and test it without WebAssembly.
//!
//! A plugin is a type that implements a trait for each hook it wants, and one line that exports them:
//!
//! ```
//! use hermetic_plugin::{Judgement, MessageVerdict, OnRecipientMessage, Reason, edit, export, header};
//!
//! struct NoOffers;
//!
//! impl OnRecipientMessage for NoOffers {
//!     fn judge() -> Judgement<MessageVerdict> {
//!         if header::text("Subject").iter().any(|subject| subject.contains("offer")) {
//!             return Ok(MessageVerdict::Reject(Reason::policy("no offers, please")));
//!         }
//!         edit::prepend("X-Looked-At", "yes")?;
//!         Ok(MessageVerdict::Proceed)
//!     }
//! }
//!
//! export!(NoOffers: on_recipient_message);
//!
//! // A test, run by `cargo test` on your own machine:
//! let mut fake = hermetic_plugin::Fake::new();
//! fake.message("Subject: an offer\r\n\r\nHello.\r\n");
//! let verdict = fake.run(NoOffers::judge);
//! assert_eq!(verdict, Ok(MessageVerdict::Reject(Reason::policy("no offers, please"))));
//! ```
//!
//! Each module of the context ([`facts`], [`header`], [`edit`], …) is an interface of `wit/plugin`. Calling one of its
//! functions is how a plugin asks for it: what is never called is not imported, and the list of imports of the built
//! component is what the operator has to grant.
//!
//! On WebAssembly these functions are answered by the server. Anywhere else they are answered by a [`Fake`].

#[allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, reason = "generated; documented in wit/plugin")]
#[doc(hidden)]
pub mod bindings;
mod context;
#[cfg(not(target_family = "wasm"))]
mod fake;
mod hooks;
mod network;
mod reason;
mod settings;

/// Who answers the context's functions.
#[cfg(target_family = "wasm")]
use bindings as host;
#[cfg(not(target_family = "wasm"))]
use fake::host;

pub use bindings::types::{EnvelopeVerdict, Fault, MessageVerdict, Outcome, Reason, Retry};
pub use context::{
    attempt, body, config, edit, facts, fate, forwarding, header, http, keyvalue, log, quarantine, rendered, reply,
    resolver, scratch,
};
#[cfg(not(target_family = "wasm"))]
pub use fake::{Edit, Fake, Forward, Level, Request};
#[doc(hidden)]
pub use hooks::Exported;
pub use hooks::{
    Failure, Judgement, OnConnection, OnDelivery, OnMessage, OnRecipient, OnRecipientMessage, OnReport, OnSender,
};
pub use network::Network;
pub use settings::settings;
