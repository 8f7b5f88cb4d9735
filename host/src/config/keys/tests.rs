//! The keys are those of the structs, the defaults are the defaults, and the manual has them all.

use serde::de::DeserializeOwned;

use super::*;
use crate::config::{
    Admin, Config, Destination, Dkim, Dns, Domain, Engine, Limits, Listener, Observe, Outbound, Plugin, PluginRoute,
    Queue, Record, Relay, Srs, StoreKeys, Tls, TlsReports, Users,
};

#[test]
fn the_default_file_is_the_default() {
    let file = default_file();
    let parsed: Config = toml::from_str(&file).unwrap_or_else(|error| panic!("{error}\n{file}"));
    assert_eq!(parsed, Config::local_default(), "{file}");
    // The examples are valid too.
    let examples: String = file
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
        .collect();
    assert_ne!(examples, file);
    toml::from_str::<Config>(&examples).unwrap_or_else(|error| panic!("{error}\n{examples}"));
}

/// The names that a struct knows, from what serde says of one that it does not.
fn fields<T: DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
    let error = toml::from_str::<T>("no-such-key = 1").unwrap_err().to_string();
    let (_, names) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
    let mut names: Vec<_> = names.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn every_field_is_documented() {
    for (table, mut expected) in [
        ("", fields::<Config>()),
        ("listener", fields::<Listener>()),
        ("domain", fields::<Domain>()),
        ("tls", fields::<Tls>()),
        ("users", fields::<Users>()),
        ("relay", fields::<Relay>()),
        ("limits", fields::<Limits>()),
        ("store", fields::<StoreKeys>()),
        ("queue", fields::<Queue>()),
        ("outbound", fields::<Outbound>()),
        ("destination", fields::<Destination>()),
        ("dkim", fields::<Dkim>()),
        ("srs", fields::<Srs>()),
        ("tls-reports", fields::<TlsReports>()),
        ("dns", fields::<Dns>()),
        ("engine", fields::<Engine>()),
        ("observe", fields::<Observe>()),
        ("record", fields::<Record>()),
        ("admin", fields::<Admin>()),
        ("plugin", fields::<Plugin>()),
        ("route", fields::<PluginRoute>()),
    ] {
        expected.retain(|name| !table.is_empty() || TABLES.iter().all(|table| table.name != name));
        let table = TABLES.iter().find(|candidate| candidate.name == table).unwrap();
        let mut documented: Vec<_> = table.keys.iter().map(|key| key.name.to_owned()).collect();
        documented.sort();
        assert_eq!(documented, expected, "[{}]", table.name);
    }
    let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
    assert_eq!(names.len(), 21, "a table without a struct in this test: {names:?}");
}

/// If this fails, put the table that it prints between the two marks in `host/README.md`.
#[test]
fn the_manual_has_every_key() {
    let manual = include_str!("../../../README.md");
    let (_, rest) = manual.split_once("<!-- keys -->\n").expect("the first mark");
    let (found, _) = rest.split_once("<!-- end of keys -->").expect("the second mark");
    let expected = markdown();
    assert!(found.trim() == expected.trim(), "{expected}");
}

#[test]
fn the_examples_of_the_manual_work() {
    let manual = include_str!("../../../README.md");
    let blocks: Vec<_> = manual.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "{blocks:?}");
    // The first is whole, the others are more of the same file.
    let text = blocks.concat();
    if let Err(errors) = Config::parse(&text, std::path::Path::new("README.md")) {
        panic!("{errors:?}\n{text}");
    }
}
