//! What the operator sees: log lines, metrics, health.
//!
//! Owns every event's name and fields ([`events`]), every metric's name and labels ([`metrics`]), how lines look
//! ([`log`]) and where numbers are read ([`http`]), beside the playground's page. Refuses to know the protocol: it is handed plain values. Nothing
//! here can fail a session; a bad setting fails the start.

pub mod events;
pub mod http;
pub mod log;
pub mod metrics;
mod playground;
pub(crate) mod point;
mod redact;

pub use events::SessionLog;
pub use http::{Health, Http};
pub use metrics::{ListenerMetrics, Metrics};
pub use redact::{Address, Login};
