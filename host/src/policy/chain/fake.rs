//! Plugins as tests want them: closures.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::Chains;
use crate::{
    config::Config,
    plugin::hook::{Edit, Facts, Forward, Hook, Message, Phase, Plugin, Ran, Reason, Scratch, Verdict, Wishes},
};

/// What a fake is asked.
pub(crate) struct Asked<'a> {
    pub(crate) hook: Hook,
    /// The recipient's local part, or nothing.
    pub(crate) to: &'a str,
    pub(crate) facts: &'a Facts,
    pub(crate) scratch: &'a Scratch,
    pub(crate) message: Option<&'a Message>,
}

type Judge = Box<dyn Fn(&Asked<'_>, &mut Wishes) -> Verdict + Send + Sync>;

/// What happened: `plugin hook recipient`, and `plugin new` for an instance.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

pub(crate) struct Fake {
    name: String,
    hooks: Vec<Hook>,
    judge: Judge,
    log: Log,
}

impl Fake {
    pub(crate) fn make(
        log: &Log,
        name: &str,
        hooks: &[Hook],
        judge: impl Fn(&Asked<'_>, &mut Wishes) -> Verdict + Send + Sync + 'static,
    ) -> Arc<dyn Plugin> {
        Arc::new(Self { name: name.into(), hooks: hooks.to_vec(), judge: Box::new(judge), log: log.clone() })
    }
}

impl Plugin for Fake {
    fn name(&self) -> &str {
        &self.name
    }
    fn hash(&self) -> &str {
        "00"
    }
    fn hooks(&self) -> &[Hook] {
        &self.hooks
    }
    fn phase(self: Arc<Self>, facts: Arc<Facts>, scratch: Scratch, message: Option<Arc<Message>>) -> Box<dyn Phase> {
        self.log.lock().push(format!("{} new", self.name));
        Box::new(Instance { fake: self, facts, scratch, message })
    }
}

struct Instance {
    fake: Arc<Fake>,
    facts: Arc<Facts>,
    scratch: Scratch,
    message: Option<Arc<Message>>,
}

#[async_trait]
impl Phase for Instance {
    async fn call(&mut self, hook: Hook, forward: Option<&Forward>, _: &[String], wishes: &mut Wishes) -> Ran {
        tokio::task::yield_now().await;
        let path = forward.map(|forward| forward.forward_path.as_str()).unwrap_or_default();
        let to = path.trim_end_matches("@example.test");
        if to.starts_with("slow") {
            tokio::time::sleep(Duration::from_secs(40)).await;
        }
        self.fake.log.lock().push(format!("{} {} {to}", self.fake.name, hook.as_str()).trim_end().into());
        let asked = Asked { hook, to, facts: &self.facts, scratch: &self.scratch, message: self.message.as_deref() };
        let mut asked_for = wishes.clone();
        let verdict = (self.fake.judge)(&asked, &mut asked_for);
        if !matches!(verdict, Verdict::Defer(_) | Verdict::Reject(_)) {
            *wishes = asked_for;
        }
        Ran {
            plugin: self.fake.name.clone(),
            hash: "00".into(),
            hook,
            verdict,
            retry_after: None,
            failure: None,
            time: Duration::from_micros(5),
            memory: 65_536,
        }
    }
}

pub(crate) fn defer(text: &str) -> Verdict {
    Verdict::Defer(Reason { subject: 7, detail: 1, text: text.into() })
}

pub(crate) fn reject(text: &str) -> Verdict {
    Verdict::Reject(Reason { subject: 7, detail: 1, text: text.into() })
}

/// A field at the end, with the number that the runtime would give it if the message has four.
pub(crate) fn append(wishes: &mut Wishes, name: &str, value: &str) -> u32 {
    let made = wishes.edits.iter().filter(|edit| matches!(edit, Edit::Prepend(..) | Edit::Append(..))).count();
    let id = 4 + u32::try_from(made).unwrap_or(u32::MAX);
    wishes.edits.push(Edit::Append(id, name.into(), value.into()));
    id
}

/// Chains over fakes; `routes` as in the configuration: `(recipients, plugins)`, separated by blanks. The name of a plugin
/// says what is special about it: `postmaster...` judges postmaster, and `few...` is called three times at most.
pub(crate) fn chains(plugins: Vec<Arc<dyn Plugin>>, routes: &[(&str, &str)]) -> Option<Arc<Chains>> {
    let routes: Vec<_> = routes.iter().map(|(recipients, plugins)| (*recipients, *plugins, "quarantine")).collect();
    chains_refusing(plugins, &routes)
}

/// The same with what becomes of those who are refused.
pub(crate) fn chains_refusing(plugins: Vec<Arc<dyn Plugin>>, routes: &[(&str, &str, &str)]) -> Option<Arc<Chains>> {
    let words = |text: &str| format!("{:?}", text.split_whitespace().collect::<Vec<_>>());
    let mut text = String::new();
    for plugin in &plugins {
        text.push_str(&format!("[[plugin]]\nname = {:?}\nfile = \"x\"\n", plugin.name()));
        if plugin.name().starts_with("postmaster") {
            text.push_str("postmaster = true\n");
        }
        if plugin.name().starts_with("few") {
            text.push_str("limits = { calls = 3 }\n");
        }
    }
    for (recipients, plugins, refused) in routes {
        let (recipients, plugins) = (words(recipients), words(plugins));
        text.push_str(&format!("[[route]]\nrecipients = {recipients}\nplugins = {plugins}\nrefused = {refused:?}\n"));
    }
    let config: Config = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let plugins: HashMap<_, _> = plugins.into_iter().map(|plugin| (plugin.name().to_owned(), plugin)).collect();
    Chains::new(&config, &plugins)
}
