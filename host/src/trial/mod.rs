//! Plugins on trial: transactions that are made up, and what a plugin makes of them.
//!
//! Owns scenarios ([`scenario`]), how they are played ([`play`]), how recorded mail is judged again ([`rejudge`]) and how what happened is compared with what was expected
//! ([`expect`]). Refuses to judge mail by itself: recipients go through [`policy::chain`], as they do in a server. Fails with
//! a [`ScenarioError`], which is the author's to mend; a plugin that fails is part of what is seen.
//!
//! [`policy::chain`]: crate::policy::chain

pub mod expect;
mod network;
pub mod play;
pub mod rejudge;
pub mod scenario;
pub mod shown;
mod watched;

pub use network::Requests;
pub use play::{Instances, Played, play};
pub use scenario::{Scenario, ScenarioError};
pub use watched::Seen;
