//! Addresses in log lines, with or without the person in them.
//!
//! Owns the replacement: with `redact = true` a local part becomes `~` and eight characters of a keyed hash, the same
//! for the same address as long as the key is kept, so that lines can still be brought together. Refuses to know
//! where lines go.

use std::{fmt, path::Path, sync::OnceLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::files;

/// Set once at the start, if addresses are to be redacted.
static KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// From now on local parts and logins are replaced. The key is kept in the file, which is made if it is not there.
pub(super) fn enable(key_file: &Path) -> std::io::Result<()> {
    let kept = std::fs::read(key_file).ok().and_then(|octets| octets.try_into().ok());
    let key = match kept {
        Some(key) => key,
        None => {
            let key: [u8; 32] = rand::random();
            files::write_private(key_file, &key)?;
            key
        }
    };
    // A second start in one process keeps the first key.
    let _ = KEY.set(key);
    Ok(())
}

/// Are addresses redacted?
pub(super) fn enabled() -> bool {
    KEY.get().is_some()
}

/// An address for a log line: `<>` for the null reverse-path, `local@domain`, or the local part alone for a bare
/// `postmaster`, which is nobody in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    local: &'a str,
    domain: &'a str,
}

impl<'a> Address<'a> {
    /// Unquoted local part; domain, or literal in its brackets.
    pub fn new(local: &'a str, domain: &'a str) -> Self {
        Self { local, domain }
    }

    /// The null reverse-path.
    pub fn null() -> Self {
        Self { local: "", domain: "" }
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self, KEY.get(), f)
    }
}

/// A login for a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login<'a>(pub &'a str);

impl fmt::Display for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KEY.get() {
            Some(key) => f.write_str(&pseudonym(key, self.0, "")),
            None => printable(self.0, f),
        }
    }
}

fn show(address: &Address<'_>, key: Option<&[u8; 32]>, f: &mut impl fmt::Write) -> fmt::Result {
    match (address.local, address.domain, key) {
        ("", "", _) => f.write_str("<>"),
        (local, "", _) => printable(local, f),
        (local, domain, key) => {
            match key {
                Some(key) => f.write_str(&pseudonym(key, local, domain))?,
                None => printable(local, f)?,
            }
            f.write_char('@')?;
            printable(domain, f)
        }
    }
}

/// The domain is part of what is hashed: the same local part elsewhere is somebody else.
fn pseudonym(key: &[u8; 32], local: &str, domain: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return "~".to_owned() };
    mac.update(local.as_bytes());
    mac.update(&[0]);
    mac.update(domain.to_ascii_lowercase().as_bytes());
    format!("~{}", &BASE64.encode(mac.finalize().into_bytes())[..8])
}

/// One line stays one line, whatever a local part holds.
fn printable(text: &str, f: &mut impl fmt::Write) -> fmt::Result {
    text.chars().try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_or_replaced() {
        let shown = |local, domain, key: Option<&[u8; 32]>| {
            let mut text = String::new();
            show(&Address::new(local, domain), key, &mut text).unwrap();
            text
        };
        assert_eq!(shown("anna", "example.org", None), "anna@example.org");
        assert_eq!(shown("a\nb", "example.org", None), "a\\nb@example.org");
        let key = [7; 32];
        let anna = shown("anna", "example.org", Some(&key));
        assert!(anna.starts_with('~') && anna.ends_with("@example.org") && anna.len() == 21, "{anna}");
        assert!(!anna.contains("anna"));
        assert_eq!(anna.split('@').next(), shown("anna", "EXAMPLE.org", Some(&key)).split('@').next());
        assert_ne!(anna.split('@').next(), shown("anna", "example.net", Some(&key)).split('@').next());
        assert_ne!(anna, shown("anna", "example.org", Some(&[8; 32])));
        for key in [None, Some(&key)] {
            assert_eq!(shown("", "", key), "<>");
            assert_eq!(shown("postmaster", "", key), "postmaster");
        }
    }
}
