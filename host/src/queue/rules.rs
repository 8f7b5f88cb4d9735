//! What the queue asks of those who know addresses, routes and plugins.
//!
//! Owns the questions. Refuses to know who answers. Cannot fail: an answer always comes, and what can not be decided now is
//! deferred.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    plugin::hook::{Facts, Message, Plugin, Ran},
    store::{Address, Lease, NewEntry, Notice, Route, Verdicts},
};

/// Answers by the configuration in force.
#[async_trait]
pub trait Rules: Send + Sync + 'static {
    /// Where mail to this address goes. Fails with why it goes nowhere.
    fn place(&self, address: &Address) -> Result<Route, String>;

    /// In whose name mail of this sender is sent on to another server now; None: in its own.
    fn sent_as(&self, sender: &Address) -> Option<Address>;

    /// A recipient's plugins, in their order.
    fn chain(&self, recipient: &Address, route: &Route) -> Vec<Arc<dyn Plugin>>;

    /// Has a recipient's plugins judge a message again that one of them deferred.
    async fn judge(&self, facts: Facts, lease: &Lease, message: Message) -> Judged;

    /// A call of a recipient's plugin in the form of [`Verdicts::judged`].
    fn record(&self, recipient: &Address, outcome: &str, ran: Ran) -> String;
}

/// What came of asking again.
#[derive(Debug)]
pub struct Judged {
    /// What the entry becomes, none where nobody gets it; or why it is deferred once more.
    pub becomes: Result<Vec<NewEntry>, String>,
    /// A plugin's answer to the sender, if it becomes something.
    pub reply: Option<Notice>,
    /// For `hermetic why`.
    pub verdicts: Option<Verdicts>,
}
