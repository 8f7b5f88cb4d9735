//! Playing a scenario: its steps become transactions, which the chains judge as in a server.
//!
//! Owns the made-up session and the time. Refuses to know what was expected.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use super::{
    network::Requests,
    scenario::{Kept, Kind, Scenario, ScenarioError, Session, Step, To},
    watched::{Seen, Watched},
};
use crate::{
    config::{
        Config, Mailboxes,
        plugins::{PluginRoute, comparable},
    },
    plugin::{
        hook::{Attempt, Facts, Forward, Hook, Message, Plugin, Report, Scratch, Wishes},
        run::{Shelf, Wasm},
    },
    policy::chain::{Chains, Judging, Outcome},
    store::{Address, Route},
};

/// Which instances are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// A fresh one for each phase, as in a server.
    Fresh,
    /// One for all, as long as it does not fail.
    Shared,
}

impl Instances {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh instances",
            Self::Shared => "one shared instance",
        }
    }
}

/// What happened in one step.
#[derive(Debug, Default)]
pub struct Played {
    /// Every call, in order.
    pub seen: Vec<Seen>,
    /// What became of each recipient; empty for deliveries and reports.
    pub outcomes: Vec<(String, Outcome)>,
    /// The message's content, if there was one.
    pub content: Vec<u8>,
    /// The requests that it sent.
    pub requests: Vec<String>,
    /// All that the plugin has kept.
    pub kept: BTreeMap<String, Vec<u8>>,
}

/// Plays it with a plugin that was loaded for it alone. Of its hooks those in `hooks` are called. `requests`: where those are
/// that it sends.
///
/// # Errors
/// A step that makes no sense.
pub async fn play(
    wasm: &Arc<Wasm>,
    hooks: &[Hook],
    scenario: &Scenario,
    instances: Instances,
    requests: &Requests,
) -> Result<Vec<Played>, ScenarioError> {
    let mut now = scenario.begins();
    let pairs: Vec<_> = scenario.keyvalue.iter().map(|(key, kept)| pair(key, kept)).collect();
    wasm.keep_only(&pairs, now)?;
    let shelf = (instances == Instances::Shared).then(Shelf::default);
    let plugin = Arc::new(Watched::new(Arc::clone(wasm), hooks.to_vec(), shelf, now));
    let problem = |problem: String| ScenarioError::Step { step: 1, problem };
    let mut stage = Stage::new(scenario, Arc::clone(&plugin)).map_err(problem)?;
    let mut played = Vec::with_capacity(scenario.step.len());
    for (place, step) in scenario.step.iter().enumerate() {
        now = now.saturating_add(step.wait);
        plugin.set_time(now);
        let problem = |problem: String| ScenarioError::Step { step: place + 1, problem };
        let (outcomes, content) = match step.kind {
            Kind::Mail => stage.mail(step, place, now).await.map_err(problem)?,
            Kind::Delivery | Kind::Report => {
                stage.queue(step).await.map_err(problem)?;
                (Vec::new(), stage.content.clone().unwrap_or_default())
            }
        };
        let requests = std::mem::take(&mut *requests.lock());
        played.push(Played { seen: plugin.take(), outcomes, content, requests, kept: wasm.kept(now)? });
    }
    Ok(played)
}

fn pair(key: &str, kept: &Kept) -> (String, Vec<u8>, u32) {
    let (text, seconds) = match kept {
        Kept::Text(text) => (text, 0),
        Kept::Expiring { text, seconds } => (text, *seconds),
    };
    (key.to_owned(), text.clone().into_bytes(), seconds)
}

/// Where the steps happen.
struct Stage<'a> {
    scenario: &'a Scenario,
    plugin: Arc<Watched>,
    chains: Option<Arc<Chains>>,
    mailboxes: Mailboxes,
    /// The last transaction: its facts, when it began, and its content.
    facts: Facts,
    began: u32,
    content: Option<Vec<u8>>,
    /// It has no message yet.
    open: Option<(Judging, Vec<String>)>,
}

impl<'a> Stage<'a> {
    fn new(scenario: &'a Scenario, plugin: Arc<Watched>) -> Result<Self, String> {
        let name = plugin.name().to_owned();
        let configured = scenario.plugin.configured(&name, Path::new("plugin.wasm"))?;
        let everybody = "recipients = [\"*\"]\nplugins = []";
        let mut route: PluginRoute = toml::from_str(everybody).map_err(|error| error.to_string())?;
        route.plugins.push(name.clone());
        let config = Config { plugins: vec![configured], routes: vec![route], ..Config::local_default() };
        let plugins: HashMap<String, Arc<dyn Plugin>> = HashMap::from([(name, plugin.clone() as Arc<dyn Plugin>)]);
        Ok(Self {
            scenario,
            chains: Chains::new(&config, &plugins),
            mailboxes: Mailboxes::new(&config),
            plugin,
            facts: Facts::default(),
            began: scenario.begins(),
            content: None,
            open: None,
        })
    }

    /// MAIL, RCPT and the content. What became of each recipient, and the content.
    async fn mail(&mut self, step: &Step, place: usize, now: u32) -> Result<(Vec<(String, Outcome)>, Vec<u8>), String> {
        let content = step.content()?;
        let (mut judging, mut accepted) = match self.open.take() {
            Some(open) if step.continues => open,
            _ if step.continues => {
                return Err("there is no transaction to continue; the step before has ended it".into());
            }
            _ => {
                self.facts = facts(&step.session.over(&self.scenario.session), step, place, content.as_deref());
                self.began = now;
                let chains = self.chains.clone().ok_or("nobody would be judged")?;
                (Judging::new(chains, self.facts.clone()), Vec::new())
            }
        };
        let batch = step.to.iter().map(|to| self.recipient(to)).collect::<Result<Vec<_>, _>>()?;
        let at_rcpt = judging.envelope(&batch).await;
        let mut outcomes = Vec::new();
        for ((address, _), outcome) in batch.iter().zip(at_rcpt) {
            if outcome.fate().is_accepted() {
                accepted.push(address.to_string());
            } else {
                outcomes.push((address.to_string(), outcome));
            }
        }
        let Some(content) = content else {
            outcomes.extend(accepted.iter().map(|to| (to.clone(), Outcome::default())));
            self.open = Some((judging, accepted));
            return Ok((outcomes, Vec::new()));
        };
        if !accepted.is_empty() {
            let size = content.len() as u64;
            let reverse_path = self.facts.reverse_path.clone().unwrap_or_default();
            let message = Message { prefix: prefix(&reverse_path), content: content.clone() };
            outcomes.extend(accepted.into_iter().zip(judging.message(Some(message), size).await));
        }
        self.content = Some(content.clone());
        Ok((outcomes, content))
    }

    /// A delivery or a report, for each recipient.
    async fn queue(&mut self, step: &Step) -> Result<(), String> {
        let hook = if step.kind == Kind::Delivery { Hook::Delivery } else { Hook::Report };
        if !self.plugin.hooks().contains(&hook) {
            return Err(format!("the plugin has no hook {}", hook.as_str()));
        }
        if let Some(content) = step.content()? {
            self.facts = facts(&step.session.over(&self.scenario.session), step, 0, Some(&content));
            self.content = Some(content);
        }
        if self.content.is_none() {
            return Err("there is no message: no step before has had one, and this one has none".into());
        }
        for to in &step.to {
            let (address, route) = self.recipient(to)?;
            let forward_path = address.to_string();
            let mailbox = if let Route::Local(mailbox) = route { Some(mailbox) } else { None };
            let attempt = Attempt {
                idempotency_key: format!("{}/{forward_path}", self.facts.transaction_id),
                number: step.attempt,
                queued_at: self.began,
            };
            let (state, status, text) = (step.state, step.status.clone(), step.text.clone());
            let facts = Facts {
                attempt: (hook == Hook::Delivery).then_some(attempt),
                report: (hook == Hook::Report).then_some(Report { state, status, text, attempts: step.attempt }),
                ..self.facts.clone()
            };
            let reverse_path = facts.reverse_path.clone().unwrap_or_default();
            let content = self.content.clone().unwrap_or_default();
            let message = Arc::new(Message { prefix: prefix(&reverse_path), content });
            let mut phase = Arc::clone(&self.plugin).phase(Arc::new(facts), Scratch::default(), Some(message));
            let recipients = [forward_path.clone()];
            let forward = Forward { forward_path, mailbox };
            phase.call(hook, Some(&forward), &recipients, &mut Wishes::default()).await;
        }
        Ok(())
    }

    fn recipient(&self, to: &To) -> Result<(Address, Route), String> {
        let text = to.address();
        let address = match self.mailboxes.of_text(text) {
            Some((local, domain, _)) => Address { local, domain },
            None if text.eq_ignore_ascii_case("postmaster") => Address { local: text.into(), domain: String::new() },
            None => return Err(format!("to: {text:?} is no address")),
        };
        let own = comparable(&address.local, &address.domain);
        let route = match to {
            To::Text(_) => Route::Local(own),
            To::Full { relay: true, .. } => Route::Relay,
            To::Full { mailbox, .. } => Route::Local(mailbox.clone().unwrap_or(own)),
        };
        Ok((address, route))
    }
}

fn prefix(reverse_path: &str) -> Vec<u8> {
    format!("Return-Path: <{reverse_path}>\r\n").into_bytes()
}

fn facts(session: &Session, step: &Step, place: usize, content: Option<&[u8]>) -> Facts {
    let eight_bit = content.is_some_and(|content| !content.is_ascii());
    let needs_utf8 = !step.from.is_ascii() || step.to.iter().any(|to| !to.address().is_ascii());
    let client_address = session.client_address.unwrap_or_else(|| [192, 0, 2, 1].into());
    Facts {
        transaction_id: format!("trial.{}", place + 1),
        listener: session.listener.clone().unwrap_or_else(|| "mx".into()),
        listener_kind: session.listener_kind.clone().unwrap_or_else(|| "mx".into()),
        client_address: (!session.unix).then_some(client_address),
        client_name: session.client_name.clone(),
        hello_name: Some(session.hello_name.clone().unwrap_or_else(|| "client.example.com".into())),
        identity: session.identity.clone(),
        tls_version: session.tls_version.clone(),
        reverse_path: Some(step.from.clone()),
        body_type: step.body.clone().unwrap_or_else(|| if eight_bit { "8BITMIME" } else { "7BIT" }.into()),
        smtputf8: step.smtputf8.unwrap_or(needs_utf8),
        message_size: step.size.unwrap_or(0),
        ..Facts::default()
    }
}
