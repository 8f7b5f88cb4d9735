//! MTA-STS (RFC 8461): a domain says over HTTPS which hosts take its mail and that they do so inside TLS.
//!
//! Owns the policies, fetched and kept on the disk until they are too old, even when fetching fails. Refuses to connect to
//! the hosts. Never fails: a domain whose policy can not be had has none, unless an earlier one is still good.

use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hyper::{Request, header};
use parking_lot::{Mutex, MutexGuard};
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    dns::{NoAnswer, Resolver},
    files,
    tlsrpt::ResultType,
    transport::{
        http::{Client, HttpError, Pieces},
        public::is_public,
    },
};

/// Octets of a policy (section 3.2 lets us bound it at 64 KiB).
const POLICY: usize = 64 << 10;
/// The longest that a policy counts (section 3.2), seconds.
const AGE: u64 = 31_557_600;
/// For a fetch (section 3.3).
const FETCH: Duration = Duration::from_secs(60);
/// After a failed fetch the next one waits (section 3.3 asks for a pause), seconds.
const PAUSE: u64 = 300;
/// Domains that are remembered in memory.
const DOMAINS: usize = 10_000;

/// What a policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing is sent otherwise.
    Enforce,
    /// What would not be sent is only reported.
    Testing,
    /// There is no policy any more.
    None,
}

/// A policy (section 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// What it asks for.
    pub mode: Mode,
    /// Hosts: `mx.example.org`, or `*.example.org` for one label below.
    pub mx: Vec<String>,
    /// Seconds from when it was fetched.
    pub max_age: u64,
}

impl Policy {
    /// Its lines, as it is written.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
        lines.extend(self.mx.iter().map(|host| format!("mx: {host}")));
        lines.push(format!("max_age: {}", self.max_age));
        lines
    }

    /// Reads a policy's text.
    fn parse(text: &str) -> Result<Self, String> {
        let mut version = None;
        let mut mode = None;
        let mut max_age = None;
        let mut mx = Vec::new();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is no field"))?;
            let value = value.trim();
            // Of a field that is there twice the first counts, `mx` apart; unknown ones are for later versions.
            match key {
                "version" if version.is_none() => version = Some(value),
                "mode" if mode.is_none() => {
                    mode = Some(match value {
                        "enforce" => Mode::Enforce,
                        "testing" => Mode::Testing,
                        "none" => Mode::None,
                        other => return Err(format!("there is no mode {other:?}")),
                    });
                }
                "max_age" if max_age.is_none() => {
                    let digits = !value.is_empty() && value.len() <= 10 && value.bytes().all(|c| c.is_ascii_digit());
                    let age = digits.then(|| value.parse::<u64>().ok()).flatten();
                    max_age = Some(age.ok_or_else(|| format!("max_age {value:?} is no number"))?.min(AGE));
                }
                "mx" => mx.push(value.trim_end_matches('.').to_ascii_lowercase()),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("it is not of version STSv1".into());
        }
        let mode = mode.ok_or("it has no mode")?;
        if mode != Mode::None && mx.is_empty() {
            return Err("it names no host".into());
        }
        Ok(Self { mode, mx, max_age: max_age.ok_or("it has no max_age")? })
    }

    /// Is the host one of them (section 4.1)?
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => *pattern == host,
        })
    }
}

/// Why it can not be said what a domain's policy is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPolicy {
    /// The DNS does not say whether there is one.
    #[error("{0}")]
    Unknown(String),
    /// There is one that nobody can use: the domain's fault.
    #[error("{0}")]
    Wrong(String),
}

/// Why a policy was not fetched.
#[derive(Debug)]
struct Unfetched {
    /// For the domain's report.
    result: ResultType,
    text: String,
}

impl Unfetched {
    /// What was sent is no policy.
    fn wrong(text: String) -> Self {
        Self { result: ResultType::StsPolicyInvalid, text }
    }
}

impl From<String> for Unfetched {
    fn from(text: String) -> Self {
        Self { result: ResultType::StsPolicyFetchError, text }
    }
}

/// A policy as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// That of the TXT record.
    id: String,
    /// Seconds since 1970.
    fetched: u64,
    policy: Policy,
}

impl Kept {
    fn good(&self, now: u64) -> bool {
        now < self.fetched.saturating_add(self.policy.max_age)
    }
}

#[derive(Clone, Debug, Default)]
struct Known {
    kept: Option<Kept>,
    /// When a fetch of this id failed, and how.
    failed: Option<(String, u64, ResultType)>,
}

/// The policies of all domains.
#[derive(Debug)]
pub struct Policies {
    folder: PathBuf,
    port: u16,
    known: Mutex<HashMap<String, Known>>,
}

impl Policies {
    /// Kept in this folder. `port`: 443.
    #[must_use]
    pub fn new(folder: PathBuf, port: u16) -> Self {
        Self { folder, port, known: Mutex::default() }
    }

    /// The policy of a domain in A-labels, if it has one that counts now.
    pub async fn of(&self, resolver: &Resolver, client: &Client, domain: &str) -> Option<Policy> {
        let now = now();
        let known = self.known(domain);
        let good = known.kept.clone().filter(|kept| kept.good(now));
        let id = match resolver.txt(&format!("_mta-sts.{domain}")).await {
            Ok(answer) => id(&answer.records),
            Err(NoAnswer::NotFound { .. } | NoAnswer::Invalid(_)) => None,
            // Whoever breaks the look-up must not switch the policy off (section 5.1); the one that is kept counts on.
            Err(_) => None,
        };
        let Some(id) = id else { return good.map(|kept| kept.policy) };
        if let Some(kept) = good.as_ref().filter(|kept| kept.id == id) {
            return Some(kept.policy.clone());
        }
        if known.failed.as_ref().is_some_and(|(failed, at, _)| *failed == id && now.abs_diff(*at) < PAUSE) {
            return good.map(|kept| kept.policy);
        }
        match self.fetch(resolver, client, domain).await {
            Ok(policy) => {
                info!(domain, mode = ?policy.mode, "MTA-STS policy");
                let kept = Kept { id, fetched: now, policy: policy.clone() };
                self.keep(domain, kept);
                Some(policy)
            }
            Err(Unfetched { text: problem, result }) => {
                warn!(domain, problem, "the MTA-STS policy can not be had");
                // Another message's fetch may have brought it meanwhile.
                let current = self.failed(domain, (id, now, result));
                current.filter(|kept| kept.good(now)).map(|kept| kept.policy)
            }
        }
    }

    /// How the last fetch failed, if the domain has no policy because of that.
    #[must_use]
    pub fn failure(&self, domain: &str) -> Option<ResultType> {
        let (known, now) = (self.known.lock().get(domain).cloned()?, now());
        // As long as a policy is announced it is fetched again, and what is older is of one that is not.
        let failed = known.failed.filter(|(_, at, _)| now.abs_diff(*at) < PAUSE)?;
        let kept = known.kept.is_some_and(|kept| kept.good(now));
        (!kept).then_some(failed.2)
    }

    /// What a domain publishes now, for people: nothing is kept, and what is wrong is said.
    ///
    /// # Errors
    /// [`NoPolicy`].
    pub async fn published(
        &self,
        resolver: &Resolver,
        client: &Client,
        domain: &str,
    ) -> Result<Option<Policy>, NoPolicy> {
        let records = match resolver.txt(&format!("_mta-sts.{domain}")).await {
            Ok(answer) => answer.records,
            Err(NoAnswer::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(NoPolicy::Unknown(format!("_mta-sts.{domain}: {error}"))),
        };
        if id(&records).is_none() {
            return Err(NoPolicy::Wrong(format!("_mta-sts.{domain} is not one record of version STSv1 with an id")));
        }
        let fetched = self.fetch(resolver, client, domain).await;
        fetched.map(Some).map_err(|error| NoPolicy::Wrong(error.text))
    }

    async fn fetch(&self, resolver: &Resolver, client: &Client, domain: &str) -> Result<Policy, Unfetched> {
        let host = format!("mta-sts.{domain}");
        let found = resolver.addresses(&host).await.map_err(|error| format!("{host}: {error}"))?;
        // Whoever publishes a policy would else have us knock at doors inside, and be told by a report who opened. A port of
        // its own is a test's, or a network's of its own.
        let reached = |ip: &&IpAddr| self.port != 443 || is_public(**ip);
        let addresses: Vec<_> =
            found.records.iter().filter(reached).take(4).map(|ip| SocketAddr::new(*ip, self.port)).collect();
        if addresses.is_empty() {
            return Err(format!("{host} has no public address").into());
        }
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
        let request = Request::get("/.well-known/mta-sts.txt")
            .header(header::HOST, &host)
            .header(header::USER_AGENT, concat!("hermetic/", env!("CARGO_PKG_VERSION")))
            .body(Pieces::default())
            .map_err(|error| error.to_string())?;
        let asked = tokio::time::timeout(FETCH, client.send(&addresses, Some(name), request)).await;
        let response = asked.map_err(|_| format!("{host}: no answer in time"))?.map_err(|error| {
            let result = match error {
                HttpError::Tls(_) => ResultType::StsWebpkiInvalid,
                _ => ResultType::StsPolicyFetchError,
            };
            Unfetched { result, text: format!("{host}: {error}") }
        })?;
        // Redirects are not followed (section 3.3).
        if response.status != 200 {
            return Err(format!("{host} answers {}", response.status).into());
        }
        let kind = response.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let plain =
            |value: &str| value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain"));
        if !kind.is_some_and(|(_, value)| plain(value)) {
            return Err(Unfetched::wrong(format!("{host} sends no text/plain")));
        }
        if response.body.len() > POLICY {
            return Err(Unfetched::wrong(format!("{host} sends more than {POLICY} octets")));
        }
        let text =
            String::from_utf8(response.body).map_err(|_| Unfetched::wrong(format!("{host} sends what is no text")))?;
        Policy::parse(&text).map_err(|problem| Unfetched::wrong(format!("{host}: the policy: {problem}")))
    }

    fn file(&self, domain: &str) -> Option<PathBuf> {
        // A domain in A-labels is a file's name; what is none never gets here, and would not leave the folder.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        (domain.chars().all(plain) && !domain.starts_with('.')).then(|| self.folder.join(format!("{domain}.json")))
    }

    fn known(&self, domain: &str) -> Known {
        if let Some(known) = self.known.lock().get(domain) {
            return known.clone();
        }
        let kept = self.file(domain).and_then(|file| match read(&file) {
            Ok(kept) => kept,
            Err(error) => {
                warn!(file = %file.display(), %error, "a kept MTA-STS policy can not be read");
                None
            }
        });
        let known = Known { kept, failed: None };
        let mut all = self.room(domain);
        all.entry(domain.to_owned()).or_insert(known).clone()
    }

    /// Notes how a fetch failed; the answer is the policy that is kept.
    fn failed(&self, domain: &str, failed: (String, u64, ResultType)) -> Option<Kept> {
        let mut all = self.room(domain);
        let known = all.entry(domain.to_owned()).or_default();
        known.failed = Some(failed);
        known.kept.clone()
    }

    /// All that is known, with room for this domain.
    fn room(&self, domain: &str) -> MutexGuard<'_, HashMap<String, Known>> {
        let mut all = self.known.lock();
        if all.len() >= DOMAINS && !all.contains_key(domain) {
            // What is forgotten here is still in its file.
            all.clear();
        }
        all
    }

    fn keep(&self, domain: &str, kept: Kept) {
        if let (Some(file), Ok(text)) = (self.file(domain), serde_json::to_vec(&kept))
            && let Err(error) = files::write_private(&file, &text)
        {
            warn!(file = %file.display(), %error, "an MTA-STS policy can not be kept");
        }
        self.room(domain).insert(domain.to_owned(), Known { kept: Some(kept), failed: None });
    }
}

fn read(file: &Path) -> io::Result<Option<Kept>> {
    match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id of the one TXT record that begins as it must (section 3.1).
fn id(records: &[Vec<u8>]) -> Option<String> {
    let mut found = records.iter().filter_map(|record| std::str::from_utf8(record).ok()).filter_map(|record| {
        let mut fields = record.split(';').map(str::trim);
        (fields.next()? == "v=STSv1").then(|| fields.find_map(|field| field.strip_prefix("id=")).map(str::to_owned))
    });
    let (Some(Some(id)), None) = (found.next(), found.next()) else { return None };
    let plain = !id.is_empty() && id.len() <= 32 && id.bytes().all(|c| c.is_ascii_alphanumeric());
    plain.then_some(id)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::transport::http::Response;

    #[test]
    fn policies_are_read() {
        let good = "version: STSv1\r\nmode: enforce\r\nmx: Mx.Example.org\r\nmx: *.example.net\r\nmax_age: 86400\r\n";
        let policy = Policy::parse(good).unwrap();
        assert_eq!((policy.mode, policy.max_age, policy.mx.len()), (Mode::Enforce, 86_400, 2));
        assert_eq!(Policy::parse(&policy.lines().join("\r\n")).as_ref(), Ok(&policy));
        for (host, expected) in [
            ("mx.example.org", true),
            ("MX.example.org.", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("mx2.example.org", false),
        ] {
            assert_eq!(policy.names(host), expected, "{host}");
        }
        for (text, expected) in [
            ("version: STSv1\nmode: none\nmax_age: 1\n", Ok(Mode::None)),
            ("version: STSv1\nmode: testing\nmode: enforce\nmx: a\nmax_age: 99999999999\n", Err("is no number")),
            ("version: STSv1\nmode: testing\nmx: a\nmax_age: 9999999999\nnew: x\n", Ok(Mode::Testing)),
            ("mode: enforce\nmx: a\nmax_age: 1\n", Err("version")),
            ("version: STSv2\nmode: enforce\nmx: a\nmax_age: 1\n", Err("version")),
            ("version: STSv1\nmode: enforce\nmax_age: 1\n", Err("names no host")),
            ("version: STSv1\nmode: strict\nmx: a\nmax_age: 1\n", Err("no mode")),
            ("version: STSv1\nmode: enforce\nmx: a\n", Err("no max_age")),
            ("<html>", Err("no field")),
        ] {
            match (Policy::parse(text), expected) {
                (Ok(policy), Ok(mode)) => assert!(policy.mode == mode && policy.max_age <= AGE, "{text}: {policy:?}"),
                (Err(problem), Err(words)) if problem.contains(words) => {}
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn ids_of_records() {
        let check = |records: &[&str], expected: Option<&str>| {
            let records: Vec<_> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
            assert_eq!(id(&records).as_deref(), expected, "{records:?}");
        };
        check(&["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z"));
        check(&["other", "v=STSv1;id=1"], Some("1"));
        check(&["v=STSv1; id=1", "v=STSv1; id=2"], None);
        check(&["v=STSv1;"], None);
        check(&["v=STSv1; id=a-b"], None);
        check(&["v=STSv10; id=1"], None);
        check(&[], None);
    }

    /// RFC 8460 section 4.3.2.2.
    #[tokio::test]
    async fn a_fetch_that_fails_has_a_name() {
        use crate::dns::Told;
        let names: std::collections::BTreeMap<String, Told> = toml::from_str(
            "'_mta-sts.far.example' = { txt = ['v=STSv1; id=1;'] }
             '_mta-sts.nowhere.example' = { txt = ['v=STSv1; id=1;'] }
             '_mta-sts.inside.example' = { txt = ['v=STSv1; id=1;'] }
             'mta-sts.inside.example' = { addresses = ['10.0.0.5'] }
             'mta-sts.far.example' = { addresses = ['9.9.9.9'] }",
        )
        .unwrap();
        let resolver = Resolver::told(&names).unwrap();
        let good = "version: STSv1\nmode: testing\nmx: mx.far.example\nmax_age: 100\n";
        let answer = |status, kind: &str, body: &str| {
            let fields = vec![("Content-Type".to_owned(), kind.to_owned())];
            Some(Response { status, fields, body: body.as_bytes().to_vec() })
        };
        for (domain, answer, expected) in [
            ("far.example", answer(200, "text/plain", good), None),
            ("far.example", answer(404, "text/plain", good), Some(ResultType::StsPolicyFetchError)),
            ("far.example", answer(200, "text/html", good), Some(ResultType::StsPolicyInvalid)),
            ("far.example", answer(200, "text/plain", "mode: enforce"), Some(ResultType::StsPolicyInvalid)),
            ("far.example", None, Some(ResultType::StsWebpkiInvalid)),
            ("nowhere.example", answer(200, "text/plain", good), Some(ResultType::StsPolicyFetchError)),
            ("inside.example", answer(200, "text/plain", good), Some(ResultType::StsPolicyFetchError)),
            ("none.example", None, None),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let policies = Policies::new(folder.path().into(), 443);
            let told = answer.clone();
            let client = Client::told(std::sync::Arc::new(move |_: bool, _: &Request<Pieces>| {
                told.clone().ok_or_else(|| HttpError::Tls(io::Error::other("not its name")))
            }));
            let found = policies.of(&resolver, &client, domain).await;
            assert_eq!(policies.failure(domain), expected, "{domain} {answer:?}");
            assert_eq!(found.is_some(), expected.is_none() && domain == "far.example");
        }
    }

    #[test]
    fn what_is_kept_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let policy = Policy { mode: Mode::Enforce, mx: vec!["mx.example".into()], max_age: 100 };
        let kept = Kept { id: "1".into(), fetched: now(), policy };
        Policies::new(folder.path().into(), 443).keep("far.example", kept.clone());
        let again = Policies::new(folder.path().into(), 443);
        assert_eq!(again.known("far.example").kept, Some(kept.clone()));
        assert!(kept.good(kept.fetched + 99) && !kept.good(kept.fetched + 100));
        assert!(again.known("../far.example").kept.is_none() && again.known("other.example").kept.is_none());
        fs::write(folder.path().join("bad.example.json"), "{").unwrap();
        assert!(again.known("bad.example").kept.is_none());
    }
}
