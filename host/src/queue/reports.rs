//! Plugins with the hook `report` are told what became of their recipients: at least once, after it is stored.
//!
//! Owns the outbox's form and its retries. Refuses to know what is reported. Cannot fail: a plugin that does is told again a
//! few times, then that is logged; no delivery ever waits for a report.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, error, warn};

use super::{PAUSE, Rules, Shared, facts};
use crate::{
    observe::{
        events,
        point::{Point, pass},
    },
    plugin::hook::{Facts, Hook, Plugin, Report, State, Wishes},
    store::{self, Address, Detail, Details, Envelope, Lease, Route, Told, sqlite::now},
};

/// Reports that are read at a time.
const BATCH: usize = 32;
/// Of them so many are told at a time.
const TOGETHER: usize = 8;
/// Times that a plugin is told before it is given up.
const TRIES: u32 = 6;
/// The first wait after a failure, milliseconds; each one is four times the one before: the last is after 6 hours.
const WAIT: u64 = 30_000;

/// A row of the outbox: all that is told, because the message may be gone by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// What the plugins call the message.
    transaction: String,
    envelope: Envelope,
    recipient: Address,
    route: Route,
    state: State,
    status: Option<String>,
    text: String,
    attempts: u32,
    /// Whom to tell.
    plugins: Vec<String>,
}

/// What the plugins of an entry are to be told, of which so many attempts were made; None: none of them wants to know.
pub(super) fn text(
    shared: &Shared,
    lease: &Lease,
    attempts: u32,
    state: State,
    status: Option<String>,
    text: String,
) -> Option<String> {
    let row = Row {
        transaction: lease.entry.message.to_string(),
        envelope: Envelope::clone(&lease.envelope),
        recipient: lease.recipient.recipient.clone(),
        route: lease.recipient.route.clone(),
        state,
        status,
        text,
        attempts,
        plugins: Vec::new(),
    };
    row.addressed(&*shared.rules)
}

/// The same of an entry that an operator drops: its plugins hear that it was discarded.
pub fn dropped(rules: &dyn Rules, message: &Details, entry: &Detail, text: &str) -> Option<String> {
    let row = Row {
        transaction: message.id.to_string(),
        envelope: Envelope::clone(&message.envelope),
        recipient: entry.entry.recipient.clone(),
        route: entry.entry.route.clone(),
        state: State::Discarded,
        status: None,
        text: text.to_owned(),
        attempts: entry.listed.attempts,
        plugins: Vec::new(),
    };
    row.addressed(rules)
}

impl Row {
    /// With those of the recipient's plugins that want to know, if there are any.
    fn addressed(mut self, rules: &dyn Rules) -> Option<String> {
        let chain = rules.chain(&self.recipient, &self.route);
        let wanting = chain.iter().filter(|plugin| plugin.hooks().contains(&Hook::Report));
        self.plugins = wanting.map(|plugin| plugin.name().to_owned()).collect();
        // Plain data always has a JSON form.
        if self.plugins.is_empty() { None } else { serde_json::to_string(&self).ok() }
    }
}

/// Tells what is in the outbox until `stop` is true.
pub(super) async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    loop {
        let wait = match shared.store.reports(now(), BATCH).await {
            Ok((due, next)) if due.is_empty() => {
                // Never longer than an hour: the clock may be set.
                Duration::from_millis(next.map_or(3_600_000, |next| next.saturating_sub(now()).clamp(1, 3_600_000)))
            }
            Ok((due, _)) => {
                let count = due.len();
                let told = tell_all(&shared, due).await;
                let broken = told.len() < count;
                pass(Point::ReportTold);
                match shared.store.told(told).await {
                    Ok(()) if broken => PAUSE,
                    Ok(()) => Duration::ZERO,
                    Err(error) => {
                        events::store_failed(error);
                        PAUSE
                    }
                }
            }
            Err(error) => {
                events::store_failed(error);
                PAUSE
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = shared.bell.reported.notified(), if !wait.is_zero() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn tell_all(shared: &Arc<Shared>, due: Vec<store::Report>) -> Vec<(store::Report, Told)> {
    let mut told = Vec::with_capacity(due.len());
    let mut tasks = JoinSet::new();
    let mut due = due.into_iter();
    loop {
        while tasks.len() < TOGETHER
            && let Some(report) = due.next()
        {
            let shared = shared.clone();
            tasks.spawn(async move {
                let result = tell(&shared, &report).await;
                (report, result)
            });
        }
        match tasks.join_next().await {
            None => return told,
            Some(Ok(done)) => told.push(done),
            Some(Err(error)) => error!(%error, "a report broke; it is tried again"),
        }
    }
}

/// Each of the row's plugins. Those that fail are told again.
async fn tell(shared: &Shared, report: &store::Report) -> Told {
    let Ok(mut row) = serde_json::from_str::<Row>(&report.text) else {
        error!(number = report.number, "a report can not be read, and is dropped");
        return Told::Done;
    };
    let config = shared.config.load_full();
    let chain = shared.rules.chain(&row.recipient, &row.route);
    let mut plugins: HashMap<&str, &Arc<dyn Plugin>> = HashMap::new();
    for plugin in chain.iter().filter(|plugin| plugin.hooks().contains(&Hook::Report)) {
        plugins.insert(plugin.name(), plugin);
    }
    let fate = Report { state: row.state, status: row.status.clone(), text: row.text.clone(), attempts: row.attempts };
    let facts = Arc::new(Facts { report: Some(fate), ..facts::facts(&config, &row.envelope, row.transaction.clone()) });
    let forward = facts::forward(&row.recipient, &row.route);
    let recipients = [forward.forward_path.clone()];
    let mut left = Vec::new();
    for name in std::mem::take(&mut row.plugins) {
        let Some(plugin) = plugins.get(name.as_str()) else {
            debug!(plugin = name, transaction = row.transaction, "the recipient's plugin is gone, and not told");
            continue;
        };
        let mut phase = Arc::clone(plugin).phase(facts.clone(), Default::default(), None);
        let ran = phase.call(Hook::Report, Some(&forward), &recipients, &mut Wishes::default()).await;
        if let Some(failure) = ran.failure {
            if report.tries + 1 >= TRIES {
                warn!(
                    plugin = name,
                    transaction = row.transaction,
                    failure,
                    "could not be told what became of a recipient"
                );
            } else {
                left.push(name);
            }
        }
    }
    if left.is_empty() {
        return Told::Done;
    }
    row.plugins = left;
    match serde_json::to_string(&row) {
        Ok(text) => Told::Again { at: now().saturating_add(WAIT.saturating_mul(1 << (2 * report.tries))), text },
        Err(_) => Told::Done,
    }
}
