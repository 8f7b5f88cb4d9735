//! From a file to a [`Config`]: TOML, then known keys of the right kind, then values that work, then one form for
//! domains and paths.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Config, ConfigError, Delivery, Endpoint, domain,
    error::Place,
    keys::{Preset, TABLES, Table},
    outbound::{NamedHost, named_host},
    validate::{Finding, validate},
};

/// A configuration that works, and what there is to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Domains are canonical and paths do not depend on the working folder.
    pub config: Config,
    /// What works but may surprise, each with its place.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and validates a file. Fails with the first error in it.
    pub fn load(file: &Path) -> Result<Loaded, ConfigError> {
        Self::load_all(file).map_err(first)
    }

    /// The same, with all errors that can be told at once, in the order of the file; there is at least one.
    pub fn load_all(file: &Path) -> Result<Loaded, Vec<ConfigError>> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            vec![ConfigError::Unreadable { place: Place { file: Some(file.into()), line: 0 }, error }]
        })?;
        Self::parse(&text, file)
    }

    /// The same from text; `file` names it in errors and says where relative paths start.
    pub fn parse(text: &str, file: &Path) -> Result<Loaded, Vec<ConfigError>> {
        let source = Source { text, file };
        let tree = DeTable::parse(text).map_err(|error| vec![source.syntax(&error)])?;
        let tree = DeValue::Table(tree.into_inner());
        let mut errors = Vec::new();
        source.shape(&tree, &mut errors);
        if !errors.is_empty() {
            return Err(in_order(errors));
        }
        let mut config: Config = toml::from_str(text).map_err(|error| vec![source.value(&tree, &error)])?;
        config.canonical_domains();
        let (errors, warnings): (Vec<_>, _) = validate(&config).into_iter().partition(|finding| finding.error);
        if !errors.is_empty() {
            return Err(in_order(errors.into_iter().map(|finding| source.finding(&tree, finding)).collect()));
        }
        config.absolute_paths(file.parent().unwrap_or(Path::new("")));
        let warnings = in_order(warnings.into_iter().map(|finding| source.finding(&tree, finding)).collect());
        Ok(Loaded { config, warnings: warnings.iter().map(ToString::to_string).collect() })
    }

    /// Validates a configuration that no file holds. Fails with the first error in it.
    pub fn validated(mut self) -> Result<Loaded, ConfigError> {
        self.canonical_domains();
        let (mut errors, warnings): (Vec<_>, Vec<_>) = validate(&self).into_iter().partition(|finding| finding.error);
        if !errors.is_empty() {
            return Err(errors.swap_remove(0).into());
        }
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Loaded { config: self, warnings })
    }

    /// What is no domain stays as it is, for validation to refuse.
    fn canonical_domains(&mut self) {
        for name in
            self.domains.iter_mut().map(|domain| &mut domain.name).chain([&mut self.name]).chain(&mut self.srs.domain)
        {
            if let Some(canonical) = domain::strict(name) {
                *name = canonical.into_owned();
            }
        }
    }

    fn absolute_paths(&mut self, folder: &Path) {
        // If the working folder is gone, a path relative to it is all there is.
        let absolute = |path: &Path| std::path::absolute(folder.join(path)).unwrap_or_else(|_| folder.join(path));
        self.data = absolute(&self.data);
        for path in [&mut self.tls.certificate, &mut self.tls.key, &mut self.users.file].into_iter().flatten() {
            *path = absolute(path);
        }
        for plugin in &mut self.plugins {
            plugin.file = absolute(&plugin.file);
        }
        let store = &mut self.store;
        let login = [&mut store.password_file, &mut store.credentials];
        let files = login.into_iter().chain([&mut store.roots, &mut store.certificate, &mut store.key]);
        for file in files.flatten() {
            *file = absolute(file);
        }
        let files = [&mut self.outbound.roots, &mut self.srs.secrets, &mut self.dns.trust_anchors];
        for file in files.into_iter().flatten() {
            *file = absolute(file);
        }
        for file in self.destinations.iter_mut().filter_map(|one| one.password_file.as_mut()) {
            *file = absolute(file);
        }
        for dkim in &mut self.dkim {
            dkim.key = absolute(&dkim.key);
        }
        let socket = |host: &NamedHost| match host {
            NamedHost::At(Endpoint::Unix(path)) => Some(Endpoint::Unix(absolute(path))),
            _ => None,
        };
        for domain in &mut self.domains {
            if let Ok(Delivery::Lmtp(host)) = domain.delivery()
                && let Some(socket) = socket(&host)
            {
                domain.deliver = format!("lmtp:{socket}");
            }
        }
        for host in self.destinations.iter_mut().flat_map(|one| &mut one.hosts) {
            if let Some(socket) = named_host(host).ok().and_then(|host| socket(&host)) {
                *host = socket.to_string();
            }
        }
        for listener in &mut self.listeners {
            if let Ok(Endpoint::Unix(path)) = listener.endpoint() {
                listener.address = Endpoint::Unix(absolute(&path)).to_string();
            }
        }
        if let Some(Ok(Endpoint::Unix(path))) = self.admin.listen.as_deref().map(str::parse) {
            self.admin.listen = Some(Endpoint::Unix(absolute(&path)).to_string());
        }
    }
}

fn first(mut errors: Vec<ConfigError>) -> ConfigError {
    errors.swap_remove(0)
}

fn in_order(mut errors: Vec<ConfigError>) -> Vec<ConfigError> {
    errors.sort_by_key(|error| error.place().line);
    errors
}

struct Source<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Source<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Place { file: Some(PathBuf::from(self.file)), line: 1 + before.matches('\n').count() }
    }

    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let place = self.place(&error.span().unwrap_or_default());
        ConfigError::Syntax { place, message: error.message().replace('\n', ", ") }
    }

    /// Are all keys known, of the right kind, and the needed ones there?
    fn shape(&self, tree: &DeValue<'_>, errors: &mut Vec<ConfigError>) {
        let Some(top) = tree.as_table() else { return };
        let (root, tables) = (&TABLES[0], &TABLES[1..]);
        self.keys(root, top, errors);
        for table in tables {
            let Some((name, value)) = top.iter().find(|(name, _)| name.get_ref() == table.name) else { continue };
            let place = self.place(&name.span());
            let problem = match (value.get_ref(), table.many) {
                (DeValue::Table(keys), None) => {
                    self.keys(table, keys, errors);
                    continue;
                }
                (DeValue::Array(items), Some(_)) => {
                    for item in items.iter() {
                        match item.get_ref() {
                            DeValue::Table(keys) => {
                                self.keys(table, keys, errors);
                                self.required(table, keys, &item.span(), errors);
                            }
                            _ => errors.push(self.wrong(
                                self.place(&item.span()),
                                table.name,
                                format!("write [[{}]] above its keys", table.name),
                            )),
                        }
                    }
                    continue;
                }
                (_, None) => format!("this is a table; write [{}] above its keys", table.name),
                (_, Some(_)) => format!("there may be many of these; write [[{}]] above the keys of each", table.name),
            };
            errors.push(self.wrong(place, table.name, problem));
        }
    }

    fn wrong(&self, place: Place, key: &str, problem: String) -> ConfigError {
        ConfigError::Value { place, key: key.to_owned(), problem }
    }

    fn keys(&self, table: &Table, found: &DeTable<'_>, errors: &mut Vec<ConfigError>) {
        for (name, value) in found {
            let name_text = name.get_ref().as_ref();
            let is_table =
                table.name.is_empty() && TABLES.iter().any(|table| !table.name.is_empty() && table.name == name_text);
            if is_table {
                continue;
            }
            let full = if table.name.is_empty() { name_text.to_owned() } else { format!("{}.{name_text}", table.name) };
            let place = self.place(&name.span());
            match table.keys.iter().find(|key| key.name == name_text) {
                None => errors.push(ConfigError::UnknownKey { place, key: full, hint: hint(table, name_text) }),
                Some(key) => {
                    let example = key.preset.example();
                    let wanted = DeValue::parse(example).map(|value| value.get_ref().type_str()).unwrap_or_default();
                    let given = value.get_ref().type_str();
                    if wanted != given {
                        errors.push(self.wrong(
                            place,
                            &full,
                            format!("this must be {}, for example {example}, not {}", kind(wanted), kind(given)),
                        ));
                    }
                }
            }
        }
    }

    fn required(&self, table: &Table, found: &DeTable<'_>, span: &Range<usize>, errors: &mut Vec<ConfigError>) {
        for key in table.keys {
            if let Preset::Required(example) = key.preset
                && !found.iter().any(|(name, _)| name.get_ref() == key.name)
            {
                errors.push(self.wrong(
                    self.place(span),
                    &format!("{}.{}", table.name, key.name),
                    format!("this key is missing; add for example `{} = {example}`", key.name),
                ));
            }
        }
    }

    /// A value of the right kind that serde refused: a number out of range, a name that is none of those allowed.
    fn value(&self, tree: &DeValue<'_>, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or_default();
        let key = key_at(tree, span.start).join(".");
        self.wrong(self.place(&span), &key, error.message().replace('\n', ", "))
    }

    fn finding(&self, tree: &DeValue<'_>, finding: Finding) -> ConfigError {
        let key = finding.key();
        let span = span_of(tree, &finding.path);
        let place = span.map_or(Place { file: Some(self.file.into()), line: 0 }, |span| self.place(&span));
        ConfigError::Value { place, key, problem: finding.text }
    }
}

fn kind(toml: &str) -> &'static str {
    match toml {
        "string" => "text in quotes",
        "integer" => "a whole number",
        "float" => "a number with a point",
        "boolean" => "true or false",
        "array" => "a list in brackets",
        "table" => "a table in braces",
        _ => "a date",
    }
}

/// What to write instead of an unknown name.
fn hint(table: &Table, name: &str) -> String {
    let tables =
        TABLES.iter().filter(|_| table.name.is_empty()).map(|table| table.name).filter(|name| !name.is_empty());
    let names: Vec<&str> = table.keys.iter().map(|key| key.name).chain(tables).collect();
    let usual = name.replace('_', "-").to_lowercase();
    let nearest = names
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(candidate, &usual), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1));
    match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        // The right name in the wrong place.
        // A table that is empty by default is seldom what was meant.
        None => {
            match TABLES.iter().find(|table| table.many != Some(&[]) && table.keys.iter().any(|key| key.name == usual))
            {
                Some(home) if home.name.is_empty() => format!("`{usual}` goes before the first table"),
                Some(home) => format!("`{usual}` belongs to [{}]", home.name),
                None => format!("there are {}", names.join(", ")),
            }
        }
    }
}

/// The keys on the way to what is at this offset, without indices.
fn key_at(value: &DeValue<'_>, offset: usize) -> Vec<String> {
    match value {
        DeValue::Table(table) => table
            .iter()
            .find(|(name, value)| name.span().contains(&offset) || inside(value.get_ref(), &value.span(), offset))
            .map(|(name, value)| {
                let mut path = vec![name.get_ref().to_string()];
                path.extend(key_at(value.get_ref(), offset));
                path
            })
            .unwrap_or_default(),
        DeValue::Array(items) => items
            .iter()
            .find(|item| inside(item.get_ref(), &item.span(), offset))
            .map(|item| key_at(item.get_ref(), offset))
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The span of a table under a header is only its header, so look at what it holds as well.
fn inside(value: &DeValue<'_>, span: &Range<usize>, offset: usize) -> bool {
    span.contains(&offset)
        || match value {
            DeValue::Table(table) => table
                .iter()
                .any(|(name, value)| name.span().contains(&offset) || inside(value.get_ref(), &value.span(), offset)),
            DeValue::Array(items) => items.iter().any(|item| inside(item.get_ref(), &item.span(), offset)),
            _ => false,
        }
}

/// Where the last part of the path that is in the file is.
fn span_of(tree: &DeValue<'_>, path: &[String]) -> Option<Range<usize>> {
    let mut value = tree;
    let mut span = None;
    for part in path {
        let next = match value {
            DeValue::Table(table) => table.iter().find(|(name, _)| name.get_ref() == part).map(|(name, value)| {
                let here = if matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_)) {
                    name.span()
                } else {
                    value.span()
                };
                (here, value.get_ref())
            }),
            DeValue::Array(items) => {
                part.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (item.span(), item.get_ref()))
            }
            _ => None,
        };
        let Some((here, next)) = next else { break };
        span = Some(here);
        value = next;
    }
    span
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
