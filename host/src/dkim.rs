//! DKIM: signatures over what leaves (RFC 6376; Ed25519 by RFC 8463).
//!
//! Owns the keys, whose mail each of them signs, and which fields are covered. Refuses to know queues and configuration
//! files' places. Fails with [`DkimError`]: a key that can not be used is the operator's to mend and stops the start.
//!
//! Signatures are made by `mail-auth`, canonicalization relaxed/relaxed. The domain is that of the author: `From` (RFC 6376
//! section 3.6.1 leaves it open; DMARC, RFC 7489 section 3.1.1, wants it so).

use std::{fs, io, path::PathBuf, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use mail_auth::{
    common::{
        crypto::{Ed25519Key, RsaKey, Sha256, SigningKey},
        headers::HeaderWriter as _,
    },
    dkim::{DkimSigner, Done, generate::DkimKeyPair},
};
use mail_parser::{HeaderName, HeaderValue, MessageParser};
use rustls_pki_types::{PrivateKeyDer, alg_id, pem::PemObject as _};

use crate::{
    config::{Config, domain},
    files,
};

/// The fields that a signature covers (RFC 6376 section 5.4.1), each once more than it is there: nobody can add another From, or
/// a Reply-To where there was none, without breaking it (section 8.15). So those that mailing lists and gateways add on their
/// way (List-*, Sender, Resent-*) are not among them. Reply-To is, though some lists set it: whoever could do so unnoticed would
/// get the answers, and such a list signs in its own name.
const FIELDS: [&str; 12] = [
    "From",
    "Reply-To",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Bits of a new RSA key: what RFC 8301 section 3.2 asks for and one DNS string of a UDP answer still holds.
const RSA_BITS: usize = 2048;

/// Why mail can not be signed.
#[derive(Debug, thiserror::Error)]
pub enum DkimError {
    /// The file system's word.
    #[error("dkim.key: {} can not be read: {error}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Everybody on the machine can read or write it.
    #[error("dkim.key: everybody may read {0}; type `chmod 600 {0}`", file.display())]
    Open {
        /// Which file.
        file: PathBuf,
    },
    /// No key, or one of a kind that DKIM does not know.
    #[error("dkim.key: {} is no RSA or Ed25519 key in PEM: {problem}; `hermetic dkim new` makes one", file.display())]
    Key {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The message has no From to sign for, or the library refused it.
    #[error("the message can not be signed: {0}")]
    Message(String),
}

/// A private key of either kind.
pub enum PrivateKey {
    /// RSA with SHA-256.
    Rsa(RsaKey<Sha256>),
    /// Ed25519 (RFC 8463).
    Ed25519(Ed25519Key),
}

impl PrivateKey {
    /// From PEM: `RSA PRIVATE KEY` (PKCS #1) or `PRIVATE KEY` (PKCS #8).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        if let PrivateKeyDer::Pkcs8(inner) = &der
            && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(inner.secret_pkcs8_der())
        {
            return Ok(Self::Ed25519(key));
        }
        RsaKey::from_key_der(der).map(Self::Rsa).map_err(|error| error.to_string())
    }

    /// The value of the TXT record for it (RFC 6376 section 3.6.1).
    #[must_use]
    pub fn record(&self) -> String {
        match self {
            // The RFC's text says RSAPublicKey, its examples and everybody's practice say SubjectPublicKeyInfo.
            Self::Rsa(key) => {
                let spki = rustls::sign::public_key_to_spki(&alg_id::RSA_ENCRYPTION, key.public_key());
                format!("v=DKIM1; k=rsa; p={}", BASE64.encode(spki))
            }
            Self::Ed25519(key) => format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(key.public_key())),
        }
    }
}

/// Which kind of key is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Everybody can verify it.
    Rsa,
    /// Short and quick; not everybody can verify it yet, so have an RSA key too.
    Ed25519,
}

/// A new private key as PEM.
///
/// # Errors
/// [`DkimError::Message`] if the machine has no random numbers.
pub fn generate(kind: Kind) -> Result<String, DkimError> {
    let (pair, label) = match kind {
        Kind::Rsa => (DkimKeyPair::generate_rsa(RSA_BITS), "RSA PRIVATE KEY"),
        Kind::Ed25519 => (DkimKeyPair::generate_ed25519(), "PRIVATE KEY"),
    };
    let pair = pair.map_err(|error| DkimError::Message(error.to_string()))?;
    let text = BASE64.encode(pair.private_key());
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    Ok(pem)
}

/// Hands out a message's octets, piece by piece and from the start each time it is called.
pub type Feed<'a> = dyn FnMut(&mut dyn FnMut(&[u8])) -> io::Result<()> + 'a;

type Sign = dyn Fn(&mut Feed<'_>) -> Result<Vec<u8>, DkimError> + Send + Sync;

/// One key that signs for one domain.
struct Signer {
    domain: String,
    sign: Box<Sign>,
}

fn signer<K: SigningKey + Send + Sync + 'static>(key: K, domain: &str, selector: &str) -> Signer {
    // The library names a field that it does not find all the same. Of two of a name it finds the first.
    let fields = FIELDS.into_iter().chain(FIELDS);
    let signer: DkimSigner<K, Done> =
        DkimSigner::from_key(key).domain(domain).selector(selector).headers(fields).reporting(false);
    let sign = move |feed: &mut Feed<'_>| {
        let mut stream = signer.sign_streaming();
        feed(&mut |piece| stream.write(piece)).map_err(|error| DkimError::Message(error.to_string()))?;
        stream
            .finish()
            .map(|signature| signature.to_header().into_bytes())
            .map_err(|error| DkimError::Message(error.to_string()))
    };
    Signer { domain: domain.to_owned(), sign: Box::new(sign) }
}

/// All keys of a configuration.
#[derive(Clone, Default)]
pub struct Signers(Arc<Vec<Signer>>);

impl std::fmt::Debug for Signers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|signer| &signer.domain)).finish()
    }
}

impl Signers {
    /// Reads the keys.
    ///
    /// # Errors
    /// The first one that can not be used.
    pub fn load(config: &Config) -> Result<Self, DkimError> {
        let mut signers = Vec::with_capacity(config.dkim.len());
        for one in &config.dkim {
            let file = || one.key.clone();
            let unreadable = |error| DkimError::Unreadable { file: file(), error };
            if files::Stamp::of(&one.key).map_err(unreadable)?.open_to_the_world() {
                return Err(DkimError::Open { file: file() });
            }
            let pem = fs::read(&one.key).map_err(unreadable)?;
            let key = PrivateKey::from_pem(&pem).map_err(|problem| DkimError::Key { file: file(), problem })?;
            signers.push(match key {
                PrivateKey::Rsa(key) => signer(key, &one.domain, &one.selector),
                PrivateKey::Ed25519(key) => signer(key, &one.domain, &one.selector),
            });
        }
        Ok(Self(Arc::new(signers)))
    }

    /// Is nothing ever signed?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields to put above the message, each with its CRLF; empty where no key is for its author. `top`: the
    /// message's beginning, as far as `From` at least.
    ///
    /// # Errors
    /// [`DkimError::Message`].
    pub fn sign(&self, top: &[u8], feed: &mut Feed<'_>) -> Result<Vec<u8>, DkimError> {
        let mut fields = Vec::new();
        if self.is_empty() {
            return Ok(fields);
        }
        let Some(author) = author(top) else { return Ok(fields) };
        // The closest domain's keys sign, not those of domains above it as well.
        let ours = |signer: &&Signer| {
            author == signer.domain || author.strip_suffix(&signer.domain).is_some_and(|rest| rest.ends_with('.'))
        };
        let longest = self.0.iter().filter(ours).map(|signer| signer.domain.len()).max();
        for signer in self.0.iter().filter(ours).filter(|signer| Some(signer.domain.len()) == longest) {
            fields.extend_from_slice(&(signer.sign)(feed)?);
        }
        Ok(fields)
    }
}

/// The domain of the author, in A-labels and lower case. None without exactly one `From`.
fn author(header: &[u8]) -> Option<String> {
    let parsed = MessageParser::new().parse_headers(header)?;
    let mut from = parsed.root_part().headers.iter().filter(|field| field.name == HeaderName::From);
    let (Some(field), None) = (from.next(), from.next()) else { return None };
    let HeaderValue::Address(address) = &field.value else { return None };
    let address = address.first()?.address()?;
    domain::canonical(domain::of_address(address)?).map(Into::into)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Received: by here\r\nFrom: Anna <anna@Sub.Example.org>\r\nTo: b@far.test\r\nSubject: hello\r\n\r\nHow are you? \r\n\r\n\r\n";

    fn signers(keys: &[(&str, &str, Kind)]) -> (Signers, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { dkim: Vec::new(), ..Config::local_default() };
        let mut records = Vec::new();
        for (domain, selector, kind) in keys {
            let pem = generate(*kind).unwrap();
            let key = folder.path().join(selector);
            files::write_private(&key, pem.as_bytes()).unwrap();
            records.push(PrivateKey::from_pem(pem.as_bytes()).unwrap().record());
            config.dkim.push(crate::config::Dkim { domain: (*domain).into(), selector: (*selector).into(), key });
        }
        (Signers::load(&config).unwrap(), records)
    }

    fn sign(signers: &Signers, pieces: &[&[u8]]) -> String {
        let mut feed = |to: &mut dyn FnMut(&[u8])| {
            pieces.iter().for_each(|piece| to(piece));
            Ok(())
        };
        String::from_utf8(signers.sign(&pieces.concat(), &mut feed).unwrap()).unwrap()
    }

    #[test]
    fn the_closest_domain_signs_with_all_its_keys() {
        let keys = [
            ("example.org", "a", Kind::Ed25519),
            ("sub.example.org", "b", Kind::Ed25519),
            ("sub.example.org", "c", Kind::Rsa),
            ("ample.org", "d", Kind::Ed25519),
        ];
        let (signers, records) = signers(&keys);
        let said = sign(&signers, &[MESSAGE]);
        assert_eq!(said.matches("DKIM-Signature:").count(), 2, "{said}");
        for word in ["d=sub.example.org", "s=b", "s=c", "a=rsa-sha256", "a=ed25519-sha256", "c=relaxed/relaxed"] {
            assert!(said.contains(word), "{word} in {said}");
        }
        assert!(said.ends_with("\r\n") && !said.contains("\r\n\r\n"), "{said:?}");
        assert!(records[2].starts_with("v=DKIM1; k=rsa; p=MII"), "{records:?}");
        let named = said.replace(['\r', '\n', '\t'], "");
        let covered = named.split("; h=").nth(1).or(named.split(";h=").nth(1)).and_then(|rest| rest.split(';').next());
        let covered: Vec<_> = covered.unwrap_or_default().split(':').collect();
        for field in FIELDS {
            assert_eq!(covered.iter().filter(|one| one.eq_ignore_ascii_case(field)).count(), 2, "{field}: {named}");
        }
        for (message, why) in [
            (&b"From: a@example.com\r\n\r\nx\r\n"[..], "another domain"),
            (b"Subject: x\r\n\r\nx\r\n", "no author"),
            (b"From: a@example.org\r\nFrom: b@example.org\r\n\r\nx\r\n", "two"),
            (b"", "nothing"),
        ] {
            assert!(sign(&signers, &[message]).is_empty(), "{why}");
        }
    }

    #[test]
    fn pieces_are_one_message() {
        let (signers, _) = signers(&[("example.org", "a", Kind::Ed25519)]);
        let strip = |field: String| {
            let text = field.replace(['\r', '\n', '\t', ' '], "");
            text.split(';').filter(|tag| !tag.starts_with("t=") && !tag.starts_with("b=")).collect::<Vec<_>>().join(";")
        };
        let whole = strip(sign(&signers, &[MESSAGE]));
        let body = MESSAGE.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        for at in body - 10..MESSAGE.len() {
            assert_eq!(strip(sign(&signers, &[&MESSAGE[..at], &MESSAGE[at..]])), whole, "split at {at}");
        }
    }

    #[test]
    fn keys_that_can_not_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let load = || {
            let dkim = vec![crate::config::Dkim { domain: "a.test".into(), selector: "s".into(), key: key.clone() }];
            Signers::load(&Config { dkim, ..Config::local_default() }).unwrap_err().to_string()
        };
        assert!(load().contains("can not be read"), "{}", load());
        files::write_private(&key, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(load().contains("hermetic dkim new"), "{}", load());
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load().contains("chmod 600"), "{}", load());
    }
}
