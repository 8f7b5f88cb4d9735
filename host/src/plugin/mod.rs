//! Plugins: sandboxed judges of mail.
//!
//! Owns what a plugin is asked ([`hook`]), which components may run and with what ([`load`], [`grants`]), how they are
//! called and bounded ([`run`]), and what the host does for them ([`context`]). Refuses to know sessions and queues. A
//! plugin that fails is a verdict by its failure policy; a component that can not be loaded is a [`load::LoadError`].
//!
//! Plugins have a wasmtime engine of their own: what they need is many times what a session needs.

mod aside;
mod breaker;
mod context;
mod database;
mod failure;
pub mod grants;
pub mod header;
pub mod hook;
mod instance;
pub mod ledger;
pub mod load;
pub mod loaded;
mod network;
mod pool;
mod reason;
pub mod render;
mod room;
pub mod run;

pub use database::{BucketError, Elsewhere, Kept};
pub use load::{LoadError, Loader};
pub use network::Network;

/// What `wit/plugin` says, in Rust.
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all, reason = "generated; documented in wit/plugin")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/plugin",
        world: "everything",
        imports: {
            "hermetic:plugin/resolver": async | trappable,
            "hermetic:plugin/http": async | trappable,
            "hermetic:plugin/keyvalue": async | trappable,
            default: trappable,
        },
    });
}

/// The version of `wit/plugin` that this host offers.
pub const VERSION: &str = "0.1.0";
