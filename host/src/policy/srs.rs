//! The Sender Rewriting Scheme (M. Wong, S. Varshavchik, "SRS", 2004): mail that is sent on to another server goes out in the
//! name of a domain of ours, so that SPF (RFC 7208) lets it through; what comes back to that name goes to the sender.
//!
//! Owns the form of such addresses, who made them and how long they count. Refuses to know who may send what. Where one is
//! not ours, [`Refused`] says why; what does not fit into one is sent on in its sender's own name.
//!
//! ```text
//!   anna@far.test                 ->  SRS0=HHHHHHHH=TT=far.test=anna@us.test
//!   SRS0=hhh=tt=far.test=anna@b   ->  SRS1=HHHHHHHH=b==hhh=tt=far.test=anna@us.test      (from another forwarder)
//!   SRS1=hhh=b==hhh=...@c         ->  SRS1=HHHHHHHH=b==hhh=...@us.test                   (c is passed over)
//! ```
//!
//! `TT` is the day, modulo 1024. `HHHHHHHH` is the front of an HMAC-SHA-256 over it, the domain and the local part: 40
//! bits, so that whoever tries a thousand a second for as long as an address counts finds one with a chance of one in 600. (The
//! draft's four letters of Base64 are some 20 bits once case is lost: half an hour.) Both are written in
//! the letters of Base32 (RFC 4648 section 6), and all that is hashed is in small letters: servers on the way may change
//! the case of a local part.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::{
    config::{Config, domain},
    files,
    store::{Address, Timestamp},
};

/// Days that an address counts.
const DAYS: u64 = 21;
/// The day is written with so many bits.
const CYCLE: u64 = 1 << 10;
/// Letters of a hash.
const HASH: usize = 8;
/// RFC 4648 section 6.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Octets of a local part (RFC 5321 section 4.5.3.1.1).
const LOCAL: usize = 64;
/// Octets of a new secret.
const SECRET: usize = 32;
/// A secret that is shorter can be guessed.
const SHORTEST: usize = 16;
const DAY: u64 = 24 * 3600 * 1000;

/// Why an address is not one of ours that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has the scheme's form, and we did not make it.
    Forged,
    /// We made it too long ago.
    Old,
}

/// Why there can be no rewriting. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum SrsError {
    /// The file system's word.
    #[error("srs.secrets: {file} can not be used: {error}")]
    File {
        /// Which file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// Everybody on the machine can read it.
    #[error("srs.secrets: everybody may read {0}; type `chmod 600 {0}`")]
    Open(String),
    /// No secret, or one that is none.
    #[error(
        "srs.secrets: {file}: {problem}; remove the file to have a new one made, or write one secret a line, the newest first"
    )]
    Content {
        /// Which file.
        file: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// A domain in whose name mail is sent on, and the secrets of its addresses.
#[derive(Clone)]
pub struct Srs {
    domain: String,
    only_bounces: bool,
    /// The first one makes addresses; the others still read theirs.
    secrets: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Srs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srs").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl Srs {
    /// As the configuration has it; None: nothing is rewritten. A file of secrets that is not there is made.
    ///
    /// # Errors
    /// [`SrsError`].
    pub fn load(config: &Config) -> Result<Option<Self>, SrsError> {
        let Some(domain) = &config.srs.domain else { return Ok(None) };
        let secrets = secrets(&file(config))?;
        Ok(Some(Self { domain: domain.clone(), only_bounces: config.srs.only_bounces, secrets }))
    }

    /// The secrets can be used, or will be made.
    ///
    /// # Errors
    /// [`SrsError`].
    pub fn inspect(config: &Config) -> Result<(), SrsError> {
        match config.srs.domain {
            Some(_) if file(config).exists() => secrets(&file(config)).map(drop),
            _ => Ok(()),
        }
    }

    /// Only what is from nobody may go back.
    #[must_use]
    pub fn only_bounces(&self) -> bool {
        self.only_bounces
    }

    /// In whose name mail of this sender is sent on today. None: in its own, for there is no room for another, or it is an
    /// address literal.
    #[must_use]
    pub fn rewritten(&self, sender: &Address, now: Timestamp) -> Option<Address> {
        let day = day(now);
        let local = match parsed(&sender.local) {
            Some(Form::First(rest)) => {
                let host = domain::canonical(&sender.domain)?;
                let tail = format!("{host}={rest}");
                format!("SRS1={}={tail}", self.hash(self.secrets.first()?, &tail))
            }
            Some(Form::Again { tail, .. }) => format!("SRS1={}={tail}", self.hash(self.secrets.first()?, tail)),
            None => {
                let host = domain::canonical(&sender.domain)?;
                let tail = format!("{day}={host}={}", sender.local);
                format!("SRS0={}={tail}", self.hash(self.secrets.first()?, &tail))
            }
        };
        let fits = local.len() <= LOCAL && !sender.domain.is_empty() && !sender.domain.starts_with('[');
        fits.then(|| Address { local, domain: self.domain.clone() })
    }

    /// Whose address this stands for; None: it has another domain, or another form.
    pub fn sender(&self, local: &str, host: &str, now: Timestamp) -> Option<Result<Address, Refused>> {
        if domain::canonical(host)? != self.domain {
            return None;
        }
        let found = match parsed(local) {
            Some(Form::First(rest)) => self.first(rest.get(1..).unwrap_or_default(), now),
            Some(Form::Again { hash, tail }) => self.again(hash, tail),
            None if is_like(local) => Err(Refused::Forged),
            None => return None,
        };
        Some(found)
    }

    /// `HASH=TT=domain=local`
    fn first(&self, rest: &str, now: Timestamp) -> Result<Address, Refused> {
        let (hash, tail) = rest.split_once('=').ok_or(Refused::Forged)?;
        self.check(hash, tail)?;
        let [stamp, domain, local] = tail.splitn(3, '=').collect::<Vec<_>>()[..] else { return Err(Refused::Forged) };
        let made = number(stamp).ok_or(Refused::Forged)?;
        let today = (now / DAY) % CYCLE;
        if (today + CYCLE - made) % CYCLE > DAYS {
            return Err(Refused::Old);
        }
        Ok(Address { local: local.into(), domain: domain.into() })
    }

    /// `domain`, then what stood behind SRS0 there. Its age is for that server to check.
    fn again(&self, hash: &str, tail: &str) -> Result<Address, Refused> {
        self.check(hash, tail)?;
        let (domain, rest) = tail.split_once('=').ok_or(Refused::Forged)?;
        Ok(Address { local: format!("SRS0{rest}"), domain: domain.into() })
    }

    fn check(&self, hash: &str, tail: &str) -> Result<(), Refused> {
        let given = hash.to_ascii_uppercase();
        let made = |secret: &Vec<u8>| bool::from(self.hash(secret, tail).as_bytes().ct_eq(given.as_bytes()));
        if self.secrets.iter().any(made) { Ok(()) } else { Err(Refused::Forged) }
    }

    /// Of all that stands behind it.
    fn hash(&self, secret: &[u8], tail: &str) -> String {
        let mut hash = String::with_capacity(HASH);
        // HMAC takes keys of any length.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
            mac.update(tail.to_lowercase().as_bytes());
            let octets = mac.finalize().into_bytes();
            let mut bits = octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| usize::from(octet >> bit & 1)));
            for _ in 0..HASH {
                let letter = bits.by_ref().take(5).fold(0, |number, bit| number << 1 | bit);
                hash.extend(LETTERS.get(letter).map(|letter| char::from(*letter)));
            }
        }
        hash
    }
}

/// What a local part says.
enum Form<'a> {
    /// What is behind SRS0, its separator included.
    First(&'a str),
    /// Behind SRS1: the hash, and what it is made of: a domain, `=`, and what was behind SRS0 there.
    Again { hash: &'a str, tail: &'a str },
}

/// SRS0 or SRS1 in any case, and a separator.
fn is_like(local: &str) -> bool {
    let head = local.get(..4).unwrap_or_default();
    let separator = local.as_bytes().get(4).is_some_and(|octet| b"=+-".contains(octet));
    separator && (head.eq_ignore_ascii_case("SRS0") || head.eq_ignore_ascii_case("SRS1"))
}

fn parsed(local: &str) -> Option<Form<'_>> {
    if !is_like(local) {
        return None;
    }
    let rest = local.get(4..)?;
    if local.as_bytes().get(3) == Some(&b'0') {
        return Some(Form::First(rest));
    }
    let (hash, tail) = rest.get(1..)?.split_once('=')?;
    let (_, first) = tail.split_once('=')?;
    first.starts_with(['=', '+', '-']).then_some(Form::Again { hash, tail })
}

/// The day, in two letters.
fn day(now: Timestamp) -> String {
    let day = (now / DAY) % CYCLE;
    let letter = |number: u64| {
        // Below 32.
        usize::try_from(number).ok().and_then(|number| LETTERS.get(number)).map_or('A', |letter| char::from(*letter))
    };
    [letter(day / 32), letter(day % 32)].iter().collect()
}

fn number(stamp: &str) -> Option<u64> {
    let digit = |octet: u8| LETTERS.iter().position(|letter| *letter == octet.to_ascii_uppercase());
    match *stamp.as_bytes() {
        [high, low] => u64::try_from(digit(high)? * 32 + digit(low)?).ok(),
        _ => None,
    }
}

/// Where they are.
fn file(config: &Config) -> PathBuf {
    config.srs.secrets.clone().unwrap_or_else(|| config.data.join("srs.secrets"))
}

/// Those in the file, one a line; comments begin with `#`.
fn secrets(path: &Path) -> Result<Vec<Vec<u8>>, SrsError> {
    let file = || path.display().to_string();
    let failed = |error| SrsError::File { file: file(), error };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = STANDARD_NO_PAD.encode(rand::random::<[u8; SECRET]>());
            let text = format!(
                "# Addresses that mail is sent on from are made with the first of these, and read with all. To change it, write a\n\
                 # new one above it, and remove the old one after {DAYS} days.\n{secret}\n"
            );
            files::write_private(path, text.as_bytes()).map_err(failed)?;
            text
        }
        Err(error) => return Err(failed(error)),
    };
    if files::Stamp::of(path).map_err(failed)?.open_to_the_world() {
        return Err(SrsError::Open(file()));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let secrets: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
    let content = |problem| Err(SrsError::Content { file: file(), problem });
    match secrets.iter().map(Vec::len).min() {
        None => content("it has no secret"),
        Some(shortest) if shortest < SHORTEST => content("a secret has less than 16 characters"),
        Some(_) => Ok(secrets),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn srs(domain: &str, secrets: &[&str]) -> Srs {
        Srs {
            domain: domain.into(),
            only_bounces: true,
            secrets: secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect(),
        }
    }

    fn address(local: &str, domain: &str) -> Address {
        Address { local: local.into(), domain: domain.into() }
    }

    const NOW: Timestamp = 1_700_000_000_000;

    #[test]
    fn there_and_back() {
        let us = srs("us.test", &["new secret", "old secret"]);
        let sender = address("Anna.B+c", "Far.test");
        let sent = us.rewritten(&sender, NOW).unwrap();
        assert!(sent.local.starts_with("SRS0=") && sent.local.ends_with("=far.test=Anna.B+c"), "{sent}");
        assert_eq!((sent.local.len(), sent.domain.as_str()), (5 + 8 + 1 + 2 + 1 + 8 + 1 + 8, "us.test"));
        let back = |local: &str, host: &str, now| us.sender(local, host, now);
        let found = Some(Ok(address("Anna.B+c", "far.test")));
        assert_eq!(back(&sent.local, "US.test", NOW), found);
        assert_eq!(back(&sent.local, "us.test", NOW + DAYS * DAY), found);
        // Case is lost on the way: the address is what is left of it.
        for changed in [sent.local.to_lowercase(), sent.local.to_uppercase()] {
            let found = back(&changed, "us.test", NOW).unwrap().unwrap();
            assert!(found.to_string().eq_ignore_ascii_case("Anna.B+c@far.test"), "{found}");
        }
        for separator in ["+", "-"] {
            assert_eq!(back(&sent.local.replacen('=', separator, 1), "us.test", NOW), found);
        }
        // Old, from the future, of another day.
        for days in [DAYS + 1, 500, CYCLE - 1] {
            assert_eq!(back(&sent.local, "us.test", NOW + days * DAY), Some(Err(Refused::Old)), "{days}");
        }
        // Secrets: an old one still reads, one that is gone does not.
        let old = srs("us.test", &["old secret"]).rewritten(&sender, NOW).unwrap();
        assert_ne!(old, sent);
        assert_eq!(back(&old.local, "us.test", NOW), found);
        let gone = srs("us.test", &["other secret"]).rewritten(&sender, NOW).unwrap();
        assert_eq!(back(&gone.local, "us.test", NOW), Some(Err(Refused::Forged)));
        // Not of the scheme, or not ours: for others to judge.
        for (local, host) in
            [("anna", "us.test"), ("SRS0", "us.test"), ("SRS2=x=y", "us.test"), (sent.local.as_str(), "far.test")]
        {
            assert_eq!(back(local, host, NOW), None, "{local}@{host}");
        }
    }

    /// From forwarder to forwarder: the second one wraps, the others pass over, and a bounce goes to the first at once.
    #[test]
    fn through_others() {
        let [one, two, three] = ["one.test", "two.test", "three.test"].map(|name| srs(name, &[name]));
        let sender = address("anna", "far.test");
        let first = one.rewritten(&sender, NOW).unwrap();
        let second = two.rewritten(&first, NOW).unwrap();
        assert!(second.local.starts_with("SRS1=") && second.local.contains("=one.test=="), "{second}");
        let third = three.rewritten(&second, NOW).unwrap();
        assert_eq!(third.local.len(), second.local.len());
        for (who, sent) in [(&three, &third), (&two, &second)] {
            assert_eq!(who.sender(&sent.local, &sent.domain, NOW), Some(Ok(first.clone())));
            // That is the first one's to check.
            assert_eq!(who.sender(&sent.local, &sent.domain, NOW + 100 * DAY), Some(Ok(first.clone())));
        }
        assert_eq!(one.sender(&first.local, "one.test", NOW), Some(Ok(sender)));
        // Another scheme's separators are kept.
        let other = address("SRS0+abcd=XY=far.test=anna", "plus.test");
        let sent = two.rewritten(&other, NOW).unwrap();
        assert!(sent.local.ends_with("=plus.test=+abcd=XY=far.test=anna"), "{sent}");
        assert_eq!(two.sender(&sent.local, "two.test", NOW), Some(Ok(other)));
        // Nobody gets us to send elsewhere by wrapping what we did not make.
        for forged in [
            "SRS1=AAAAAAAA=evil.test==x=y=z=u",
            &second.local.replace("one.test", "evil.test"),
            &first.local.replace("far.test", "evil.test").replace("SRS0", "SRS1"),
            &format!("SRS0{}", &second.local[4..]),
            "SRS1=x",
            "SRS1=x=y=z",
        ] {
            assert_eq!(two.sender(forged, "two.test", NOW), Some(Err(Refused::Forged)), "{forged}");
        }
    }

    #[test]
    fn what_does_not_fit() {
        let us = srs("us.test", &["secret"]);
        for (local, domain, fits) in [
            ("a".repeat(38), "far.test", true),
            ("a".repeat(39), "far.test", false),
            ("a".into(), "[192.0.2.1]", false),
            ("postmaster".into(), "", false),
            ("ä".into(), "münchen.test", true),
            ("a".into(), "a..b", false),
        ] {
            assert_eq!(us.rewritten(&address(&local, domain), NOW).is_some(), fits, "{local}@{domain}");
        }
    }

    #[test]
    fn secrets_are_made_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data: folder.path().to_owned(), ..Config::default() };
        assert!(Srs::load(&config).unwrap().is_none());
        config.srs.domain = Some("us.test".into());
        assert!(Srs::inspect(&config).is_ok() && !folder.path().join("srs.secrets").exists(), "looking makes nothing");
        let first = Srs::load(&config).unwrap().unwrap();
        let path = folder.path().join("srs.secrets");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Srs::load(&config).unwrap().unwrap();
        assert_eq!(first.secrets, again.secrets);
        assert!(!format!("{first:?}").contains("secret"));
        for (text, mode, expected) in [
            ("# none\n", 0o600, "no secret"),
            ("short\n", 0o600, "less than 16"),
            ("long enough, is it not?\n", 0o604, "chmod 600"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Srs::load(&config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(Srs::inspect(&config).unwrap_err().to_string(), error);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        /// What was rewritten comes back, and one changed letter is noticed.
        #[test]
        fn nothing_else_counts(local in "[a-z0-9.=+_-]{1,30}", other in "[a-z0-9=]", place: prop::sample::Index) {
            let us = srs("us.test", &["secret"]);
            let sender = address(&local, "far.test");
            let sent = us.rewritten(&sender, NOW);
            prop_assume!(sent.is_some());
            let sent = sent.unwrap();
            if parsed(&local).is_none() {
                prop_assert_eq!(us.sender(&sent.local, "us.test", NOW), Some(Ok(sender)));
            }
            let at = 5 + place.index(sent.local.len() - 5);
            let mut changed = sent.local.clone();
            changed.replace_range(at..=at, &other);
            if !changed.eq_ignore_ascii_case(&sent.local) {
                prop_assert!(!matches!(us.sender(&changed, "us.test", NOW), Some(Ok(_))), "{}", changed);
            }
        }

        /// Whatever it is, it breaks nothing and counts for nothing.
        #[test]
        fn anything_is_read(local in "(?i)(SRS[01])?[=+-]?\\PC{0,40}") {
            let us = srs("us.test", &["secret"]);
            prop_assert!(!matches!(us.sender(&local, "us.test", NOW), Some(Ok(_))));
            let _ = us.rewritten(&address(&local, "far.test"), NOW);
        }
    }
}
