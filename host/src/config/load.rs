//! From a file to a [`Config`]: TOML, then known keys of the right kind, then values that work, then one form for
//! domains and paths.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Config, ConfigError, Endpoint, domain,
    error::Place,
    keys::{Preset, TABLES, Table},
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
        for name in self.domains.iter_mut().map(|domain| &mut domain.name).chain([&mut self.name]) {
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
        for listener in &mut self.listeners {
            if let Ok(Endpoint::Unix(path)) = listener.endpoint() {
                listener.address = Endpoint::Unix(absolute(&path)).to_string();
            }
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
        None => match TABLES.iter().find(|table| table.keys.iter().any(|key| key.name == usual)) {
            Some(home) if home.name.is_empty() => format!("`{usual}` goes before the first table"),
            Some(home) => format!("`{usual}` belongs to [{}]", home.name),
            None => format!("there are {}", names.join(", ")),
        },
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
mod tests {
    use super::*;
    use crate::config::{Domain, Kind, Listener, keys};

    /// What works, for what is wrong to be added.
    const GOOD: &str = "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:25\"\n\n\
                        [[domain]]\nname = \"example.org\"\nmailboxes = [\"postmaster\", \"anna\"]\n";

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let said = match Config::parse(text, Path::new("/etc/h.toml")) {
            Ok(loaded) => loaded.warnings,
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        let expected: Vec<_> = expected.iter().map(|sentence| format!("/etc/h.toml{sentence}")).collect();
        assert_eq!(said, expected, "\n{text}");
    }

    /// `GOOD` with more lines: the first of them is line 8.
    #[track_caller]
    fn added(more: &str, expected: &str) {
        check(&format!("{GOOD}{more}"), &[expected]);
    }

    #[test]
    fn what_works() {
        check(GOOD, &[]);
        check(&keys::default_file(), &[]);
    }

    #[test]
    fn no_toml() {
        check("name = localhost\n", &[":1: this is no TOML: string values must be quoted, expected literal string"]);
        check("\n[limits\n", &[":2: this is no TOML: unclosed table, expected `]`"]);
        check("name = \"a.b\"\nname = \"b.c\"\n", &[":2: this is no TOML: duplicate key"]);
    }

    #[test]
    fn unknown_keys() {
        added("[limits]\n\nrecipents = 200\n", ":10: unknown key `limits.recipents`; did you mean `recipients`?");
        added(
            "[limits]\nmessage_size = 200000\n",
            ":9: unknown key `limits.message_size`; did you mean `message-size`?",
        );
        added("[limit]\nrecipients = 200\n", ":8: unknown key `limit`; did you mean `limits`?");
        added(
            "postmaster = \"anna\"\n",
            ":8: unknown key `domain.postmaster`; there are name, mailboxes, aliases, catch-all, subaddress, maildir",
        );
        added("[queue]\nfree-space = 1\n", ":9: unknown key `queue.free-space`; `free-space` belongs to [limits]");
        check(&format!("hold = true\n{GOOD}"), &[":1: unknown key `hold`; `hold` belongs to [queue]"]);
        // All at once, in the order of the file.
        check(
            &format!("nmae = \"a.b\"\n{GOOD}[relay]\nnetwork = []\n"),
            &[
                ":1: unknown key `nmae`; did you mean `name`?",
                ":10: unknown key `relay.network`; did you mean `networks`?",
            ],
        );
    }

    #[test]
    fn wrong_kinds() {
        added(
            "[limits]\nrecipients = \"many\"\n",
            ":9: limits.recipients: this must be a whole number, for example 1_000, not text in quotes",
        );
        added("[limits]\nrecipients = -1\n", ":9: limits.recipients: invalid value: integer `-1`, expected u32");
        added(
            "[queue]\nhold = 1\n",
            ":9: queue.hold: this must be true or false, for example false, not a whole number",
        );
        added(
            "catch-all = [\"anna\"]\n",
            ":8: domain.catch-all: this must be text in quotes, for example \"anna\", not a list in brackets",
        );
        added(
            "[relay]\nnetworks = [\"10.0.0.0/8\", 7]\n",
            ":9: relay.networks: invalid type: integer `7`, expected a string",
        );
        added(
            "[relay]\nnetworks = [\n  \"10.0.0.0/8\",\n  \"10.0.0.1/8\",\n]\n",
            ":9: relay.networks: \"10.0.0.1/8\" is an address inside a network; write \"10.0.0.0/8\" or \"10.0.0.1\"",
        );
        added("[[limits]]\n", ":8: limits: this is a table; write [limits] above its keys");
        check(
            "[listener]\nkind = \"mx\"\n",
            &[":1: listener: there may be many of these; write [[listener]] above the keys of each"],
        );
        added(
            "[[listener]]\naddress = \"127.0.0.1:26\"\n",
            ":8: listener.kind: this key is missing; add for example `kind = \"mx\"`",
        );
        added(
            "[[listener]]\nkind = \"smtp\"\naddress = \"127.0.0.1:26\"\n",
            ":9: listener.kind: unknown variant `smtp`, expected one of `mx`, `submission`, `submissions`, `lmtp`",
        );
        added("[observe]\nhttp = \"9090\"\n", ":9: observe.http: invalid socket address syntax");
    }

    #[test]
    fn values() {
        for (more, expected) in [
            (
                "[limits]\nrecipients = 99\n",
                ":9: limits.recipients: 99 is too little; by RFC 5321 section 4.5.3.1.8 the least is 100",
            ),
            (
                "[limits]\nmessage-size = 1000\n",
                ":9: limits.message-size: 1000 is too little; by RFC 5321 section 4.5.3.1.7 the least is 65536",
            ),
            ("[limits]\nsessions = 0\n", ":9: limits.sessions: 0 is too little; the least is 1"),
            (
                "[limits]\nsession = 999999999999\n",
                ":9: limits.session: 999999999999 seconds are more than a year; use less",
            ),
            (
                "[limits]\ncommand-timeout = 30\n",
                ":9: limits.command-timeout: 30 is less than the 300 that RFC 5321 section 4.5.3.2.7 asks for",
            ),
            ("[engine]\ndeadline = 0\n", ":9: engine.deadline: 0 milliseconds is no deadline; use 1 to 60000"),
            (
                "[engine]\nmemory = 65536\n",
                ":9: engine.memory: 65536 octets is too little or too much; use 2097152 (2 MiB) to 4294967296 (4 GiB)",
            ),
            (
                "[queue]\nretry-most = 59\n",
                ":9: queue.retry-most: 59 is less than `retry-first`, 60; use at least that",
            ),
            (
                "[queue]\nconcurrency = 0\n",
                ":9: queue.concurrency: 0 would deliver nothing; use at least 1, or `hold = true` if that is what you want",
            ),
            (
                "[tls]\ncertificate = \"a\"\n",
                ":9: tls.certificate: a certificate needs its private key; add `key` to [tls]",
            ),
            ("[tls]\nkey = \"a\"\n", ":9: tls.key: a private key needs its certificate; add `certificate` to [tls]"),
            (
                "[relay]\nnetworks = [\"::/0\"]\n",
                ":9: relay.networks: this lets everyone relay; name only networks whose every host you trust",
            ),
            (
                "[observe]\nhttp = \"0.0.0.0:9090\"\n",
                ":9: observe.http: 0.0.0.0:9090 can be reached by others, and the metrics have no password; use 127.0.0.1:9090 or [::1]:9090",
            ),
            (
                "[observe]\nlevel = \"inof\"\n",
                ":9: observe.level: \"inof\" is no level; use one of error, warn, info, debug, trace, off",
            ),
            ("catch-all = \"bert\"\n", ":8: domain.catch-all: \"bert\" is no mailbox of example.org; name a mailbox"),
            (
                "aliases = { bert = \"carl\" }\n",
                ":8: domain.aliases.bert: \"carl\" is no mailbox of example.org; name a mailbox of this domain, or one of another local domain with its domain",
            ),
            (
                "aliases = { Anna = \"postmaster\" }\n",
                ":8: domain.aliases.Anna: \"Anna\" is a mailbox or an alias already; leave one out",
            ),
            (
                "aliases = { \"bert@example.org\" = \"anna\" }\n",
                ":8: domain.aliases.bert@example.org: \"bert@example.org\" has a domain; give only what is before the \"@\"",
            ),
            (
                "maildir = \"mail\"\n",
                ":8: domain.maildir: all mailboxes of example.org would share one Maildir; put {local} into the path",
            ),
            (
                "maildir = \"mail/{user}\"\n",
                ":8: domain.maildir: \"mail/{user}\" has an unknown placeholder; the two that exist are {domain} and {local}",
            ),
            (
                "subaddress = \"@\"\n",
                ":8: domain.subaddress: \"@\" can not divide a mailbox from its detail; use \"+\" or \"-\", or \"\" for none",
            ),
            (
                "[[domain]]\nname = \"EXAMPLE.org\"\n",
                ":9: domain.name: the domain \"example.org\" is there twice; put both into one [[domain]]",
            ),
            (
                "[[domain]]\nname = \"exa mple\"\n",
                ":9: domain.name: \"exa mple\" is no domain; write it like \"example.org\"",
            ),
            (
                "[[domain]]\nname = \"other.example\"\nmailboxes = [\"a\"]\n",
                ":8: domain: mail for postmaster@other.example would go nowhere, which RFC 5321 section 4.5.1 forbids; add `aliases = { postmaster = \"...\" }`",
            ),
            (
                "[[domain]]\nname = \"b.example\"\nmailboxes = [\"*\", \"a@b.example\"]\n",
                ":10: domain.mailboxes: \"a@b.example\" has a domain; give only what is before the \"@\"",
            ),
            (
                "[[domain]]\nname = \"b.example\"\nmailboxes = [\"*\", \"a\", \"A\"]\n",
                ":10: domain.mailboxes: \"A\" is there twice, as case does not matter; leave one out",
            ),
            (
                "[[listener]]\nkind = \"lmtp\"\naddress = \"127.0.0.1:25\"\n",
                ":10: listener.address: RFC 2033 section 5 forbids LMTP on port 25; use another port, such as 24",
            ),
            (
                "[[listener]]\nkind = \"mx\"\naddress = \"unix:mx\"\n",
                ":10: listener.address: only an \"lmtp\" listener may be a Unix socket; give the \"mx\" listener an address and a port",
            ),
            (
                "[[listener]]\nkind = \"submission\"\naddress = \"127.0.0.1:25\"\n",
                ":10: listener.address: another listener has \"127.0.0.1:25\" already; give this one its own port",
            ),
            (
                "[[listener]]\nkind = \"mx\"\naddress = \"localhost:26\"\n",
                ":10: listener.address: \"localhost:26\" is no address with a port; write it like \"127.0.0.1:2525\", \"[::1]:2525\" or \"unix:/run/hermetic/lmtp\"",
            ),
            (
                "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:26\"\nproxy = []\n",
                ":11: listener.proxy: the list is empty, so nobody could connect; name your proxies, or leave it out if there are none",
            ),
            (
                "[[listener]]\nkind = \"lmtp\"\naddress = \"unix:l\"\nxclient = [\"127.0.0.1\"]\n",
                ":11: listener.xclient: a Unix socket has no client address to compare with these networks; leave it out here",
            ),
            (
                "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:26\"\nauth-without-tls = true\n",
                ":11: listener.auth-without-tls: this \"mx\" listener offers no AUTH at all; leave it out",
            ),
            (
                "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:26\"\nname = \"mx 127.0.0.1:25\"\n",
                ":11: listener.name: another listener is called \"mx 127.0.0.1:25\" already; log lines could not tell them apart",
            ),
        ] {
            added(more, expected);
        }
        check(
            "",
            &[": listener: there is no listener, so no mail could come in; add [[listener]] with `kind` and `address`"],
        );
        check(
            "name = \"under_score\"\n[[listener]]\nkind=\"mx\"\naddress=\"[::1]:25\"\n",
            &[
                ": domain: there is no local domain, so all mail would be refused; add [[domain]] with `name` and `mailboxes`",
                ":1: name: \"under_score\" is no domain; use the name that the server's address resolves to, such as \"mx.example.org\"",
            ],
        );
    }

    #[test]
    fn public_servers_are_warned() {
        check(
            "[[listener]]\nkind = \"mx\"\naddress = \"[::]:25\"\nrequire-tls = true\n\n[[domain]]\nname = \"a.example\"\nmailboxes = [\"*\"]\n",
            &[
                ": name: other servers may not trust a server called \"localhost\"; use the name that the server's address resolves to",
                ":4: listener.require-tls: servers without TLS can not send you mail; RFC 3207 section 4 forbids this on a public server",
                ":8: domain.mailboxes: strangers can fill the disk with mailboxes that they invent; name your mailboxes",
            ],
        );
    }

    #[test]
    fn one_form() {
        let text = "name = \"MX.Example.ORG\"\ndata = \"var\"\n[users]\nfile = \"/u\"\n[tls]\ncertificate = \"../c\"\nkey = \"k\"\n\
                    [[listener]]\nkind = \"lmtp\"\naddress = \"unix:run/lmtp\"\n[[domain]]\nname = \"MÜNCHEN.example\"\nmailboxes = [\"*\"]\n";
        let config = Config::parse(text, Path::new("/etc/hermetic/h.toml")).unwrap().config;
        let mut expected = Config {
            name: "mx.example.org".into(),
            data: "/etc/hermetic/var".into(),
            listeners: vec![Listener::new(Kind::Lmtp, "unix:/etc/hermetic/run/lmtp")],
            domains: vec![Domain::new("xn--mnchen-3ya.example", &["*"])],
            ..Config::default()
        };
        expected.users.file = Some("/u".into());
        expected.tls.certificate = Some("/etc/hermetic/../c".into());
        expected.tls.key = Some("/etc/hermetic/k".into());
        assert_eq!(config, expected);
        assert_eq!(config.users_file(), Path::new("/u"));
        assert_eq!(
            config.maildir("a@xn--mnchen-3ya.example").unwrap(),
            Path::new("/etc/hermetic/var/mail/xn--mnchen-3ya.example/a")
        );
    }

    #[test]
    fn no_file() {
        let error = Config::load(Path::new("/nowhere/h.toml")).unwrap_err().to_string();
        assert_eq!(error, "/nowhere/h.toml: the configuration can not be read: No such file or directory (os error 2)");
        let loaded = Config::local_default().validated().unwrap();
        assert_eq!(loaded, Loaded { config: Config::local_default(), warnings: Vec::new() });
        let error = Config::default().validated().unwrap_err().to_string();
        assert_eq!(
            error,
            "configuration: listener: there is no listener, so no mail could come in; add [[listener]] with `kind` and `address`"
        );
    }
}
