//! Which plugins judge which recipients, and what comes of it.
//!
//! Owns the routes ([`Chains`]), the judging of one transaction ([`Judging`]), the memory of clients that were told to
//! come apart ([`Returns`]) and how a plugin's words become a reply. Refuses to know how plugins run and how mail is
//! stored. Cannot fail: a plugin's failure is a verdict.
//!
//! A chain is asked plugin by plugin until one says something final. At the envelope a plugin's `connection` and `sender`
//! hooks come first, once a transaction, when its first recipient appears; what they say counts for all of its
//! recipients. Then `recipient`. An acceptance there ends the chain for the envelope only. After the content `message`
//! comes once a plugin, then `recipient-message` for each of its recipients; an acceptance ends the chain for good.
//!
//! # Who sees whose edits
//!
//! All of a plugin's hooks run before those of the next plugin of the chain, which sees the header as they left it. One
//! recipient's edits are in no other's view. `message` runs once for recipients whose views may differ by then: it sees
//! the view that they have in common, or, if they have none, the message as it came. What it changes is then put behind
//! each recipient's earlier edits, and the fields that it made get numbers that are free there.

mod content;
mod forward;
mod judge;
mod outcome;
mod split;
mod verdict;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

pub use judge::Judging;
pub use outcome::{Copy, Landing, Outcome};
pub use split::Returns;
pub use verdict::{Fate, Record, Step, mixed};

use crate::{
    config::{
        Config,
        plugins::{Pattern, Refused, comparable},
    },
    plugin::hook::{Hook, Plugin},
    store::{Address, Route},
};

/// The plugins of one configuration, and whom they judge. A transaction keeps those that it began with, so that every
/// recipient is judged wholly by one version.
pub struct Chains {
    links: Vec<Link>,
    routes: Vec<(Vec<Pattern>, Chain)>,
    /// That of whom no route matches.
    none: Chain,
}

/// A plugin as chains see it.
struct Link {
    plugin: Arc<dyn Plugin>,
    postmaster: bool,
    /// Calls of its hooks for one message.
    calls: u32,
}

/// Who judges a recipient, and what becomes of it if they refuse it beside others.
#[derive(Clone)]
struct Chain {
    links: Arc<[usize]>,
    refused: Refused,
}

impl Link {
    fn has(&self, hook: Hook) -> bool {
        self.plugin.hooks().contains(&hook)
    }
}

impl Chains {
    /// The routes over these plugins, by name. None if nobody is ever judged. What a loaded configuration never has, a
    /// bad pattern or an unknown name, is left out.
    #[must_use]
    pub fn new(config: &Config, plugins: &HashMap<String, Arc<dyn Plugin>>) -> Option<Arc<Self>> {
        let mut links = Vec::new();
        let mut places = HashMap::new();
        for configured in &config.plugins {
            if let Some(plugin) = plugins.get(&configured.name) {
                places.insert(configured.name.as_str(), links.len());
                links.push(Link {
                    plugin: plugin.clone(),
                    postmaster: configured.postmaster,
                    calls: configured.limits.calls,
                });
            }
        }
        let routes: Vec<_> = config
            .routes
            .iter()
            .map(|route| {
                let patterns = route.recipients.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
                let links = route.plugins.iter().filter_map(|name| places.get(name.as_str()).copied()).collect();
                (patterns, Chain { links, refused: route.refused })
            })
            .collect();
        let judges = routes.iter().any(|(_, chain): &(_, Chain)| !chain.links.is_empty());
        let none = Chain { links: Arc::new([]), refused: Refused::default() };
        judges.then(|| Arc::new(Self { links, routes, none }))
    }

    /// Who judges this recipient: the first route that matches its mailbox or the address as it was given. Postmaster
    /// can be reached past all plugins that were not told to judge it (RFC 5321 section 4.5.1).
    fn of(&self, given: &Address, route: &Route) -> Chain {
        let address = comparable(&given.local, &given.domain);
        let mailbox = route.mailbox();
        let matches =
            |pattern: &Pattern| pattern.matches(&address) || mailbox.is_some_and(|mailbox| pattern.matches(mailbox));
        let found = self.routes.iter().find(|(patterns, _)| patterns.iter().any(matches));
        let chain = found.map_or(&self.none, |(_, chain)| chain);
        let postmaster = matches!(route, Route::Local(_)) && given.local.eq_ignore_ascii_case("postmaster");
        if postmaster && chain.links.iter().any(|link| !self.links[*link].postmaster) {
            let links = chain.links.iter().copied().filter(|link| self.links[*link].postmaster).collect();
            return Chain { links, ..chain.clone() };
        }
        chain.clone()
    }

    /// The plugins of the first route that is for everybody, for those who are asked before there is a recipient.
    fn of_everybody(&self) -> Arc<[usize]> {
        let everybody = self.routes.iter().find(|(patterns, _)| patterns.iter().any(Pattern::is_everybody));
        everybody.map_or(&self.none, |(_, chain)| chain).links.clone()
    }

    /// Those who judge this recipient, in their order.
    #[must_use]
    pub fn plugins(&self, given: &Address, route: &Route) -> Vec<Arc<dyn Plugin>> {
        self.of(given, route).links.iter().map(|link| self.links[*link].plugin.clone()).collect()
    }

    /// The names of those who judge this recipient, in their order.
    #[must_use]
    pub fn names(&self, given: &Address, route: &Route) -> Vec<&str> {
        self.of(given, route).links.iter().map(|link| self.links[*link].plugin.name()).collect()
    }
}
