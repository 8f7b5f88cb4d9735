//! Entries that wait for plugins: those that are delivered by one, and those that are judged again.
//!
//! Owns one attempt of each. Refuses to know how plugins run and whose turn it is. Cannot fail: a plugin's failure is an attempt
//! that is made again.

use std::sync::Arc;

use super::{
    Shared,
    ending::{self, End},
    facts, settle,
};
use crate::{
    config::Config,
    deliver,
    observe::point::{Point, pass},
    plugin::hook::{Attempt, Facts, Hook, Message, Plugin, Reason, Verdict, Wishes},
    store::{Lease, Pending, StoreError, Verdicts, sqlite::now},
};

/// Recipients whose plugins judge again at a time.
pub(super) const JUDGED: usize = 4;
/// Of a plugin's instances so many deliver at a time, and no more than half: sessions wait for the others.
const DELIVERED: usize = 16;

/// Who waits for what.
pub(super) enum Work {
    /// The plugin delivers it.
    Deliver(Arc<dyn Plugin>),
    /// Its chain is asked again.
    Judge(String),
}

impl Work {
    /// What has to be done for an entry by plugins, if anything.
    pub(super) fn of(shared: &Shared, lease: &Lease) -> Option<Self> {
        let entry = &lease.recipient;
        match &entry.pending {
            Pending::Rejudge { transaction, .. } => Some(Self::Judge(transaction.clone())),
            Pending::Bounce { .. } | Pending::Expanded => None,
            Pending::Nothing => {
                let chain = shared.rules.chain(&entry.recipient, &entry.route);
                chain.into_iter().find(|plugin| plugin.delivers()).map(Self::Deliver)
            }
        }
    }

    /// Its lane, and how many of that are worked on at a time.
    pub(super) fn lane(&self, config: &Config) -> (String, usize) {
        match self {
            Self::Judge(_) => ("judge".into(), JUDGED),
            Self::Deliver(plugin) => {
                let configured = config.plugins.iter().find(|configured| configured.name == plugin.name());
                let instances = configured.map_or(2, |configured| configured.limits.instances as usize);
                (format!("deliver {}", plugin.name()), (instances / 2).clamp(1, DELIVERED))
            }
        }
    }

    /// One attempt, with its settlement.
    pub(super) async fn attempt(self, shared: Arc<Shared>, config: Arc<Config>, lease: Lease) {
        let (end, verdicts) = match self {
            Self::Judge(transaction) => judge(&shared, &config, &lease, transaction).await,
            Self::Deliver(plugin) => match deliver(&shared, &config, &lease, plugin).await {
                Some(ended) => ended,
                None => return,
            },
        };
        let ended = ending::outcome(&shared, &config, lease, end, verdicts);
        settle(&shared, &config, vec![ended]).await;
    }
}

async fn message(shared: &Shared, lease: &Lease) -> Result<Message, StoreError> {
    let body = shared.store.body(lease.entry.message).await?;
    let failed = |error: std::io::Error| StoreError::Failed(error.to_string());
    let (prefix, content) = deliver::content(body, lease.envelope.size).await.map_err(failed)?;
    Ok(Message { prefix, content })
}

async fn judge(shared: &Shared, config: &Config, lease: &Lease, transaction: String) -> (End, Option<Verdicts>) {
    let message = match message(shared, lease).await {
        Ok(message) => message,
        Err(error) => return (End::Later { reason: error.to_string(), after: None }, None),
    };
    let facts = facts::facts(config, &lease.envelope, transaction);
    let judged = shared.rules.judge(facts, lease, message).await;
    pass(Point::JudgeAnswered);
    let end = match judged.becomes {
        Ok(entries) => End::Becomes(entries, judged.reply.map(Box::new)),
        Err(reason) => End::Later { reason, after: None },
    };
    (end, judged.verdicts)
}

/// None: the attempt could not be counted, and is not made.
async fn deliver(
    shared: &Shared,
    config: &Config,
    lease: &Lease,
    plugin: Arc<dyn Plugin>,
) -> Option<(End, Option<Verdicts>)> {
    let message = match message(shared, lease).await {
        Ok(message) => message,
        Err(error) => return Some((End::Later { reason: error.to_string(), after: None }, None)),
    };
    // What a plugin delivers can not be looked for after a crash: the attempt is counted before it is made.
    match shared.store.begin_attempts(vec![lease.clone()]).await {
        Ok(stale) if stale.is_empty() => {}
        Ok(_) => return None,
        Err(error) => return Some((End::Later { reason: error.to_string(), after: None }, None)),
    }
    let entry = &lease.recipient;
    let attempt = Attempt {
        idempotency_key: lease.entry.to_string(),
        number: lease.attempts + 1,
        queued_at: u32::try_from(lease.envelope.received_at / 1000).unwrap_or(u32::MAX),
    };
    let id = lease.entry.message.to_string();
    let facts = Facts { attempt: Some(attempt), ..facts::facts(config, &lease.envelope, id.clone()) };
    let forward = facts::forward(&entry.recipient, &entry.route);
    let recipients = [forward.forward_path.clone()];
    // The message is shown with this recipient's edits; what else the plugin may ask for is too late here.
    let mut wishes = Wishes { edits: entry.edits.clone(), ..Wishes::default() };
    let mut phase = plugin.phase(Arc::new(facts), Default::default(), Some(Arc::new(message)));
    let ran = phase.call(Hook::Delivery, Some(&forward), &recipients, &mut wishes).await;
    pass(Point::PluginAnswered);
    let said = |reason: &Reason| format!("plugin {}: {}", ran.plugin, reason.text);
    let (end, outcome) = match &ran.verdict {
        Verdict::Accept => (End::Delivered, format!("delivered by plugin {}", ran.plugin)),
        Verdict::Defer(reason) => {
            let text = said(reason);
            (End::Later { reason: text.clone(), after: ran.retry_after }, format!("not delivered yet: {text}"))
        }
        Verdict::Reject(reason) => {
            let (status, text) = (format!("5.{}.{}", reason.subject, reason.detail), said(reason));
            (End::Failed { status, reason: text.clone() }, format!("not delivered: {text}"))
        }
        // No delivery says this.
        Verdict::Proceed | Verdict::Discard => {
            let reason = format!("plugin {} has not said what became of it", ran.plugin);
            (End::Later { reason: reason.clone(), after: None }, reason)
        }
    };
    let judged = shared.rules.record(&entry.recipient, &outcome, ran);
    let verdicts = Verdicts { transaction: id, message: Some(lease.entry.message), recipients: 1, judged, at: now() };
    Some((end, Some(verdicts)))
}
