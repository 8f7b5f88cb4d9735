//! The plugins of a running server.
//!
//! Owns which are loaded, and that a reload keeps those that stay the same, with what their breakers know. Refuses to know
//! whom they judge. Fails with [`NotLoaded`], which names the plugin; then the old ones go on.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc};

use super::{
    database::Elsewhere,
    hook::Plugin,
    load::{self, LoadError, Loader},
    network::Network,
};
use crate::config::{Dns, plugins::Plugin as Configured};

/// A configured plugin that can not be used.
#[derive(Debug, thiserror::Error)]
#[error("plugin {name:?}, {}: {error}", file.display())]
pub struct NotLoaded {
    /// As it is configured.
    pub name: String,
    /// The component.
    pub file: PathBuf,
    /// Why.
    pub error: LoadError,
}

/// The plugins that a configuration names.
#[derive(Clone, Default)]
pub struct Plugins {
    folder: PathBuf,
    dns: Dns,
    /// Made with the first plugin: a server without plugins has no engine for them.
    loader: Option<Loader>,
    elsewhere: Option<Arc<dyn Elsewhere>>,
    loaded: Vec<(Configured, Arc<dyn Plugin>)>,
}

impl Plugins {
    /// None yet. `folder` is theirs: compiled components and `plugins.sqlite`. `dns`: how they resolve names.
    #[must_use]
    pub fn none(folder: PathBuf, dns: Dns) -> Self {
        Self { folder, dns, loader: None, elsewhere: None, loaded: Vec::new() }
    }

    /// What they keep is kept there.
    #[must_use]
    pub fn keeping(self, elsewhere: Option<Arc<dyn Elsewhere>>) -> Self {
        Self { elsewhere, ..self }
    }

    /// These, as they are configured now: what has changed, in the configuration or on the disk, is loaded, the rest is
    /// kept. Blocks while components are compiled.
    ///
    /// # Errors
    /// The first one that can not be used; nothing has changed then.
    pub fn become_these(&self, wanted: &[Configured]) -> Result<Self, NotLoaded> {
        let mut loader = self.loader.clone();
        let mut loaded = Vec::with_capacity(wanted.len());
        for configured in wanted {
            let failed = |error| NotLoaded { name: configured.name.clone(), file: configured.file.clone(), error };
            let plugin = match self.same(configured) {
                Some(plugin) => plugin,
                None => {
                    let loader = match &loader {
                        Some(loader) => loader,
                        None => loader.insert(self.loader().map_err(failed)?),
                    };
                    let plugin = loader.load(configured).map_err(failed)?;
                    tracing::info!(plugin = plugin.name(), hash = plugin.hash(), "plugin loaded");
                    plugin
                }
            };
            loaded.push((configured.clone(), plugin));
        }
        let (folder, dns, elsewhere) = (self.folder.clone(), self.dns.clone(), self.elsewhere.clone());
        Ok(Self { folder, dns, loader, elsewhere, loaded })
    }

    fn loader(&self) -> Result<Loader, LoadError> {
        let network = Network::new(&self.dns).map_err(|error| LoadError::Runtime(error.to_string()))?;
        Ok(Loader::new(&self.folder)?.reaching(network).keeping(self.elsewhere.clone()))
    }

    /// The loaded one, if it would be loaded the same way again.
    fn same(&self, wanted: &Configured) -> Option<Arc<dyn Plugin>> {
        let (_, plugin) = self.loaded.iter().find(|(configured, _)| configured == wanted)?;
        let octets = fs::read(&wanted.file).ok()?;
        (load::sha256(&octets) == plugin.hash()).then(|| plugin.clone())
    }

    /// Each by its name.
    #[must_use]
    pub fn by_name(&self) -> HashMap<String, Arc<dyn Plugin>> {
        self.loaded.iter().map(|(configured, plugin)| (configured.name.clone(), plugin.clone())).collect()
    }
}
