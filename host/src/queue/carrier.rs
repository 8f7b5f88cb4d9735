//! What the queue asks of whoever takes mail to other servers.
//!
//! Owns the question, so that a test may answer it. Refuses to know how mail gets there. An answer always comes.

use async_trait::async_trait;

use crate::{
    config::Config,
    deliver::smtp::courier::{Courier, Health, Leases, Sent, Shipment},
};

/// Takes mail to other servers.
#[async_trait]
pub trait Carrier: Send + Sync + 'static {
    /// What became of each recipient, in their order; and how the destination is. Nothing is sent for a lease that is lost.
    async fn send(&self, config: &Config, shipment: &Shipment, leases: &dyn Leases) -> (Vec<Sent>, Health);
}

#[async_trait]
impl Carrier for Courier {
    async fn send(&self, config: &Config, shipment: &Shipment, leases: &dyn Leases) -> (Vec<Sent>, Health) {
        Courier::send(self, config, shipment, leases).await
    }
}
