//! The table of aliases, and what an address stands for.

use std::collections::{BTreeMap, BTreeSet};

use hermetic_plugin::Failure;
use serde::Deserialize;

/// How many aliases one after the other are followed.
const DEPTH: usize = 10;

/// The most addresses that one may stand for.
const ADDRESSES: usize = 100;

/// By address or `@domain`, what it stands for.
#[derive(Deserialize)]
#[serde(from = "BTreeMap<String, OneOrMore>")]
pub(crate) struct Table {
    aliases: BTreeMap<String, Vec<String>>,
}

/// As the operator writes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// What an address in the table stands for.
#[derive(Debug, PartialEq)]
pub(crate) enum Expansion {
    /// Itself.
    Same,
    /// These; itself may be one of them.
    To(Vec<String>),
}

impl From<BTreeMap<String, OneOrMore>> for Table {
    fn from(written: BTreeMap<String, OneOrMore>) -> Self {
        let list = |value| match value {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(more) => more,
        };
        Self { aliases: written.into_iter().map(|(name, value)| (fold(&name), list(value))).collect() }
    }
}

/// For comparing: nobody gives two people addresses that differ in case alone.
fn fold(address: &str) -> String {
    address.trim().to_lowercase()
}

impl Table {
    /// What the address stands for; none where the table does not have it.
    pub(crate) fn expand(&self, address: &str) -> Result<Option<Expansion>, Failure> {
        if self.find(address).is_none() {
            return Ok(None);
        }
        let mut walk = Walk { table: self, seen: BTreeSet::new(), found: Vec::new() };
        walk.visit(address, 0)?;
        match &walk.found[..] {
            [] => Err(Failure::new(format!("settings: aliases: {address} stands for nobody"))),
            [only] if fold(only) == fold(address) => Ok(Some(Expansion::Same)),
            _ => Ok(Some(Expansion::To(walk.found))),
        }
    }

    /// The line of the table that the address falls under.
    fn find(&self, address: &str) -> Option<&Vec<String>> {
        let address = fold(address);
        let of_domain = || self.aliases.get(&address[address.rfind('@')?..]);
        self.aliases.get(&address).or_else(of_domain)
    }
}

struct Walk<'a> {
    table: &'a Table,
    seen: BTreeSet<String>,
    found: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, address: &str, depth: usize) -> Result<(), Failure> {
        if depth > DEPTH {
            return Err(Failure::new(format!("settings: aliases: {address} lies more than {DEPTH} aliases deep")));
        }
        if !self.seen.insert(fold(address)) {
            return Ok(());
        }
        let Some(targets) = self.table.find(address) else { return self.keep(address) };
        for target in targets {
            // An alias that names itself, or the address that a whole domain's line names, is where mail ends.
            if fold(target) == fold(address) {
                self.keep(target)?;
            } else {
                self.visit(target, depth + 1)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, address: &str) -> Result<(), Failure> {
        if self.found.len() == ADDRESSES {
            return Err(Failure::new(format!("settings: aliases: more than {ADDRESSES} addresses")));
        }
        self.found.push(address.trim().to_owned());
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn table(lines: &[(&str, &[&str])]) -> Table {
        let list = |targets: &[&str]| targets.iter().map(|target| (*target).to_owned()).collect();
        Table { aliases: lines.iter().map(|(name, targets)| (fold(name), list(targets))).collect() }
    }

    fn expand(lines: &[(&str, &[&str])], address: &str) -> Result<Option<Vec<String>>, String> {
        match table(lines).expand(address) {
            Ok(None) => Ok(None),
            Ok(Some(Expansion::Same)) => Ok(Some(vec!["same".into()])),
            Ok(Some(Expansion::To(list))) => Ok(Some(list)),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn what_an_address_stands_for() {
        type Case<'a> = (&'a [(&'a str, &'a [&'a str])], &'a str, Option<&'a [&'a str]>);
        let cases: [Case<'_>; 9] = [
            (&[], "a@x", None),
            (&[("a@x", &["b@y"])], "A@X", Some(&["b@y"])),
            (&[("a@x", &["b@y"]), ("b@y", &["c@z"])], "a@x", Some(&["c@z"])),
            (&[("a@x", &["a@x"])], "a@x", Some(&["same"])),
            (&[("a@x", &["a@x", "b@y"])], "a@x", Some(&["a@x", "b@y"])),
            // Nobody twice, in any case, by any way.
            (&[("l@x", &["a@x", "A@x", "m@x"]), ("m@x", &["a@X", "b@x"])], "l@x", Some(&["a@x", "b@x"])),
            // Round and round: those beside the circle get it.
            (&[("a@x", &["b@x", "c@x"]), ("b@x", &["a@x"])], "a@x", Some(&["c@x"])),
            (&[("@x", &["all@x"])], "who@x", Some(&["all@x"])),
            (&[("@x", &["all@y"]), ("a@x", &["b@y"])], "a@x", Some(&["b@y"])),
        ];
        for (lines, address, expected) in cases {
            let expected = expected.map(|list| list.iter().map(|text| (*text).to_owned()).collect());
            assert_eq!(expand(lines, address), Ok(expected), "{address} in {lines:?}");
        }
    }

    #[test]
    fn what_can_not_be_expanded_says_why() {
        let chain: Vec<(String, String)> = (0..20).map(|n| (format!("a{n}@x"), format!("a{}@x", n + 1))).collect();
        let targets: Vec<[&str; 1]> = chain.iter().map(|(_, to)| [to.as_str()]).collect();
        let lines: Vec<(&str, &[&str])> =
            chain.iter().zip(&targets).map(|((from, _), to)| (from.as_str(), &to[..])).collect();
        let many: Vec<String> = (0..101).map(|n| format!("a{n}@y")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (lines, named) in [
            (&lines[..], "more than 10 aliases deep"),
            (&[("a0@x", &[][..])], "stands for nobody"),
            (&[("a0@x", &["b@x"][..]), ("b@x", &["a0@x"])], "stands for nobody"),
            (&[("a0@x", &many[..])], "more than 100 addresses"),
        ] {
            let error = expand(lines, "a0@x").expect_err(named);
            assert!(error.contains(named), "{error}");
        }
        assert!(expand(&lines[10..], "a10@x").is_ok(), "ten are followed");
    }
}
