//! A trait for each hook, and what exports them.
//!
//! Owns what happens when a plugin can not answer: the reason goes to the operator's log, and the call ends in a trap, so
//! that the failure policy which the operator chose for this plugin (defer, skip, reject) decides, and not the plugin.

use core::fmt;
use core::marker::PhantomData;

use crate::bindings;
use crate::{EnvelopeVerdict, Fault, MessageVerdict, Outcome, log};

/// A plugin's answer, or why it has none. See [`Failure`].
pub type Judgement<T> = Result<T, Failure>;

/// Why a hook can not answer: settings that make no sense, a fault of the host. It is written to the operator's log, and
/// the operator's failure policy for the plugin decides. `?` makes one of a [`Fault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    text: String,
}

impl Failure {
    /// A failure in words, for the operator.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::error::Error for Failure {}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::new(format!("fault {}: {}", fault.code, fault.text))
    }
}

/// Once a transaction, before all other hooks, when the first recipient of this plugin appears.
pub trait OnConnection {
    /// Counts for all of this plugin's recipients.
    ///
    /// # Errors
    /// There is no answer, and the operator's failure policy decides.
    fn judge() -> Judgement<EnvelopeVerdict>;
}

/// Once a transaction, when the first recipient of this plugin appears.
pub trait OnSender {
    /// Counts for all of this plugin's recipients.
    ///
    /// # Errors
    /// There is no answer, and the operator's failure policy decides.
    fn judge() -> Judgement<EnvelopeVerdict>;
}

/// For each recipient, at RCPT.
pub trait OnRecipient {
    /// Counts for this recipient.
    ///
    /// # Errors
    /// There is no answer, and the operator's failure policy decides.
    fn judge() -> Judgement<EnvelopeVerdict>;
}

/// Once a message, after its final octet: what is the same for all of its recipients is found out here.
pub trait OnMessage {
    /// Counts for all of this plugin's recipients.
    ///
    /// # Errors
    /// There is no answer, and the operator's failure policy decides.
    fn judge() -> Judgement<MessageVerdict>;
}

/// For each recipient of a message, after its final octet.
pub trait OnRecipientMessage {
    /// Counts for this recipient.
    ///
    /// # Errors
    /// There is no answer, and the operator's failure policy decides.
    fn judge() -> Judgement<MessageVerdict>;
}

/// For each recipient and attempt, called by the queue.
pub trait OnDelivery {
    /// Delivers. It may be called again after a crash: [`idempotency_key`](crate::attempt::idempotency_key) tells.
    ///
    /// # Errors
    /// There is no answer, and the operator's failure policy decides.
    fn deliver() -> Judgement<Outcome>;
}

/// What became of a recipient; at least once, after it is recorded.
pub trait OnReport {
    /// Decides nothing.
    ///
    /// # Errors
    /// Written to the log.
    fn note() -> Judgement<()>;
}

/// What the exports call. Not for use by hand.
#[doc(hidden)]
pub struct Exported<T>(PhantomData<T>);

/// Runs a hook; ends in a trap if it has no answer.
fn answer<T>(hook: impl FnOnce() -> Judgement<T>) -> T {
    // A panic has nobody to print it here.
    std::panic::set_hook(Box::new(|panic| log::warn(&panic.to_string())));
    match hook() {
        Ok(answer) => answer,
        Err(failure) => {
            log::warn(&failure.to_string());
            std::process::abort()
        }
    }
}

macro_rules! guests {
    ($($hook:ident: $trait:ident, $function:ident -> $answer:ty;)+) => {
        $(impl<T: $trait> bindings::$hook::Guest for Exported<T> {
            fn $function() -> $answer {
                answer(<T as $trait>::$function)
            }
        })+
    };
}

guests! {
    on_connection: OnConnection, judge -> EnvelopeVerdict;
    on_sender: OnSender, judge -> EnvelopeVerdict;
    on_recipient: OnRecipient, judge -> EnvelopeVerdict;
    on_message: OnMessage, judge -> MessageVerdict;
    on_recipient_message: OnRecipientMessage, judge -> MessageVerdict;
    on_delivery: OnDelivery, deliver -> Outcome;
    on_report: OnReport, note -> ();
}

/// Exports a plugin's hooks, these and no others: `export!(Greylist: on_recipient, on_report)`. Once in a crate, which is a
/// `cdylib`.
#[macro_export]
macro_rules! export {
    ($plugin:ident: $($hook:ident),+ $(,)?) => {
        /// The exports; they are unsafe by their names alone, for the linker trusts them.
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "generated exports")]
        mod exported {
            type Exported = $crate::Exported<super::$plugin>;
            $($crate::export_hook!($hook);)+
        }
        // Elsewhere the compiler is asked for the traits all the same.
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            $({
                const fn exports<T: $crate::bindings::$hook::Guest>() {}
                exports::<$crate::Exported<$plugin>>();
            })+
        };
    };
}

/// One hook's exports.
#[doc(hidden)]
#[macro_export]
macro_rules! export_hook {
    (on_connection) => {
        $crate::bindings::on_connection::export_on_connection!(Exported with_types_in $crate::bindings::on_connection);
    };
    (on_sender) => {
        $crate::bindings::on_sender::export_on_sender!(Exported with_types_in $crate::bindings::on_sender);
    };
    (on_recipient) => {
        $crate::bindings::on_recipient::export_on_recipient!(Exported with_types_in $crate::bindings::on_recipient);
    };
    (on_message) => {
        $crate::bindings::on_message::export_on_message!(Exported with_types_in $crate::bindings::on_message);
    };
    (on_recipient_message) => {
        $crate::bindings::on_recipient_message::export_on_recipient_message!(Exported with_types_in $crate::bindings::on_recipient_message);
    };
    (on_delivery) => {
        $crate::bindings::on_delivery::export_on_delivery!(Exported with_types_in $crate::bindings::on_delivery);
    };
    (on_report) => {
        $crate::bindings::on_report::export_on_report!(Exported with_types_in $crate::bindings::on_report);
    };
}
