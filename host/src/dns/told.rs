//! Answers that somebody made up, to try things out without a network.
//!
//! Owns the table. Refuses to ask anybody: what it was not told is not there.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use hickory_resolver::proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA, MX, PTR, TXT},
};
use serde::Deserialize;

use super::{NoAnswer, Resolver, SetupError, answer::Found, parse};
use crate::config::Dns;

/// What is said of a name, or, for `ptr`, of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Told {
    /// A and AAAA.
    pub addresses: Vec<IpAddr>,
    /// MX: preference and name.
    pub mx: Vec<(u16, String)>,
    /// TXT, a record each.
    pub txt: Vec<String>,
    /// PTR.
    pub ptr: Vec<String>,
    /// Nobody answers.
    pub unavailable: bool,
}

/// By name and kind.
#[derive(Debug, Default)]
pub(super) struct Table {
    records: HashMap<(Name, RecordType), Vec<RData>>,
    /// Those of whom anything is known; false: nobody answers.
    names: HashMap<Name, bool>,
}

impl Table {
    pub(super) fn answer(&self, key: &(Name, RecordType)) -> Result<Arc<Found>, NoAnswer> {
        match (self.records.get(key), self.names.get(&key.0)) {
            (_, Some(false)) => Err(NoAnswer::Temporary("no answer in time".into())),
            (Some(data), _) => {
                Ok(Arc::new(Found { name: super::answer::text(&key.0), data: data.clone(), secure: false }))
            }
            (None, known) => Err(NoAnswer::NotFound { exists: known.is_some(), secure: false }),
        }
    }

    fn add(&mut self, text: &str, told: &Told) -> Result<(), NoAnswer> {
        let absolute = |name: &str| {
            let mut name = parse(name)?;
            name.set_fqdn(true);
            Ok::<Name, NoAnswer>(name)
        };
        let mut name = match text.parse::<IpAddr>() {
            Ok(address) => Name::from(address.to_canonical()),
            Err(_) => parse(text)?,
        };
        name.set_fqdn(true);
        self.names.insert(name.clone(), !told.unavailable);
        let mut put = |kind, data| self.records.entry((name.clone(), kind)).or_default().push(data);
        for address in &told.addresses {
            match address {
                IpAddr::V4(address) => put(RecordType::A, RData::A(A(*address))),
                IpAddr::V6(address) => put(RecordType::AAAA, RData::AAAA(AAAA(*address))),
            }
        }
        for (preference, exchange) in &told.mx {
            // A null MX (RFC 7505).
            let exchange = if exchange == "." { Name::root() } else { absolute(exchange)? };
            put(RecordType::MX, RData::MX(MX::new(*preference, exchange)));
        }
        for text in &told.txt {
            put(RecordType::TXT, RData::TXT(TXT::new(vec![text.clone()])));
        }
        for name in &told.ptr {
            put(RecordType::PTR, RData::PTR(PTR(absolute(name)?)));
        }
        Ok(())
    }
}

impl Resolver {
    /// One that knows this and nothing else, and asks nobody.
    ///
    /// # Errors
    /// A name that is none.
    pub fn told(names: &BTreeMap<String, Told>) -> Result<Self, SetupError> {
        let mut table = Table::default();
        for (name, told) in names {
            table.add(name, told).map_err(|error| SetupError::Servers(format!("{name}: {error}")))?;
        }
        // It is set up like any other, with servers that are never asked.
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 53));
        Self::trusting(&Dns { servers: vec![loopback], ..Dns::default() }, None, Some(table))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_and_nothing_else() {
        let names: BTreeMap<String, Told> = toml::from_str(
            "'Example.org' = { mx = [[20, 'b.example'], [10, 'a.example']], txt = ['one'], addresses = ['192.0.2.1', '2001:db8::1'] }
             'null.example' = { mx = [[0, '.']] }
             '192.0.2.1' = { ptr = ['a.example'] }
             'silent.example' = { unavailable = true }",
        )
        .unwrap();
        let resolver = Resolver::told(&names).unwrap();
        let exchanges = resolver.mx("example.ORG").await.unwrap().records;
        assert_eq!(exchanges.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["a.example", "b.example"]);
        assert_eq!(resolver.mx("null.example").await.unwrap().records[0].name, ".");
        assert_eq!(resolver.txt("example.org").await.unwrap().records, [b"one"]);
        assert_eq!(resolver.addresses("example.org").await.unwrap().records.len(), 2);
        assert_eq!(resolver.ptr([192, 0, 2, 1].into()).await.unwrap().records, ["a.example"]);
        let nothing = |exists| Err(NoAnswer::NotFound { exists, secure: false });
        assert_eq!(resolver.txt("null.example").await, nothing(true));
        assert_eq!(resolver.txt("else.example").await, nothing(false));
        assert!(matches!(resolver.txt("silent.example").await, Err(NoAnswer::Temporary(_))));
        let wrong = BTreeMap::from([("a b".to_owned(), Told::default())]);
        assert!(Resolver::told(&wrong).is_err());
    }
}
