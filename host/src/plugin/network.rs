//! What plugins reach the network by: one resolver and one HTTP client for all of them.

use crate::{
    config::Dns,
    dns::{Resolver, SetupError},
    transport::http::Client,
};

/// A clone is the same one.
#[derive(Clone, Debug)]
pub struct Network {
    /// Answers `interface resolver`, and for whom `interface http` asks.
    pub resolver: Resolver,
    /// Sends the requests of `interface http`.
    pub client: Client,
}

impl Network {
    /// As `[dns]` says, and with the system's root certificates.
    ///
    /// # Errors
    /// The name servers can not be used.
    pub fn new(dns: &Dns) -> Result<Self, SetupError> {
        Ok(Self { resolver: Resolver::new(dns)?, client: Client::new() })
    }
}
