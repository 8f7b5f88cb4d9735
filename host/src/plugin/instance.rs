//! One instance of a plugin, and a call of one of its hooks.
//!
//! Owns the store and the functions found in it. Refuses to know bounds and policies, and who else has an instance.

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{
    Store,
    component::{ComponentExportIndex, Instance, TypedFunc},
};

use super::{
    bindings::hermetic::plugin::types::{EnvelopeVerdict, MessageVerdict, Outcome},
    context::Guest,
    hook::{Hook, Verdict},
};

/// An instance and its place among those that may live at a time. The instance goes first.
pub(super) struct Live {
    pub(super) store: Store<Guest>,
    instance: Instance,
    /// Those that were called, for looking one up takes longer than calling it.
    functions: Vec<(Hook, Function)>,
    _place: OwnedSemaphorePermit,
}

#[derive(Clone, Copy)]
enum Function {
    Envelope(TypedFunc<(), (EnvelopeVerdict,)>),
    Message(TypedFunc<(), (MessageVerdict,)>),
    Delivery(TypedFunc<(), (Outcome,)>),
    Report(TypedFunc<(), ()>),
}

impl Live {
    pub(super) fn new(store: Store<Guest>, instance: Instance, place: OwnedSemaphorePermit) -> Self {
        Self { store, instance, functions: Vec::new(), _place: place }
    }

    /// The verdict, and when a delivery wants to be tried again.
    pub(super) async fn judge(
        &mut self,
        hook: Hook,
        export: &ComponentExportIndex,
    ) -> wasmtime::Result<(Verdict, Option<u32>)> {
        let function = self.function(hook, export)?;
        let store = &mut self.store;
        Ok(match function {
            Function::Envelope(function) => (function.call_async(store, ()).await?.0.into(), None),
            Function::Message(function) => (function.call_async(store, ()).await?.0.into(), None),
            Function::Delivery(function) => {
                let outcome = function.call_async(store, ()).await?.0;
                let after = if let Outcome::Retry(retry) = &outcome { retry.after_seconds } else { None };
                (outcome.into(), after)
            }
            Function::Report(function) => {
                function.call_async(store, ()).await?;
                (Verdict::Proceed, None)
            }
        })
    }

    fn function(&mut self, hook: Hook, export: &ComponentExportIndex) -> wasmtime::Result<Function> {
        if let Some((_, function)) = self.functions.iter().find(|(one, _)| *one == hook) {
            return Ok(*function);
        }
        let Self { store, instance, .. } = self;
        let function = match hook {
            Hook::Connection | Hook::Sender | Hook::Recipient => {
                Function::Envelope(instance.get_typed_func(store, export)?)
            }
            Hook::Message | Hook::RecipientMessage => Function::Message(instance.get_typed_func(store, export)?),
            Hook::Delivery => Function::Delivery(instance.get_typed_func(store, export)?),
            Hook::Report => Function::Report(instance.get_typed_func(store, export)?),
        };
        self.functions.push((hook, function));
        Ok(function)
    }
}
