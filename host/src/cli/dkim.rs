//! `hermetic dkim`: keys that sign what leaves, and what to put into the DNS for them.
//!
//! Owns the conversation with the operator. Refuses to know how mail is signed: that is [`crate::dkim`]'s. Fails by
//! [`DkimCommandError`], one sentence for the terminal.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Subcommand;

use crate::{
    config::Config,
    dkim::{DkimError, Kind, PrivateKey, generate},
    files,
};

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum DkimCommand {
    /// Make a key, and print what to write into the DNS and into the configuration.
    New {
        /// Whose mail it signs, such as example.org.
        domain: String,
        /// Its name in the DNS; a new key wants a new one.
        #[arg(long, default_value = "hermetic")]
        selector: String,
        /// The kind of key.
        #[arg(long, value_enum, default_value = "rsa")]
        kind: Kind,
        /// Where to keep it; otherwise below the data folder.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the DNS records of the keys that the configuration names.
    Show,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum DkimCommandError {
    /// There is a file already.
    #[error("{} is there already; a new key wants a new selector, such as --selector {selector}", file.display())]
    Exists {
        /// Which file.
        file: PathBuf,
        /// Another name.
        selector: String,
    },
    /// The file system says no.
    #[error("{}: {error}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The name is no domain.
    #[error("{0:?} is no domain; write it like example.org")]
    Domain(String),
    /// The key.
    #[error(transparent)]
    Key(#[from] DkimError),
    /// The terminal.
    #[error("{0}")]
    Print(#[from] io::Error),
}

/// Does it.
///
/// # Errors
/// [`DkimCommandError`].
pub fn run(command: &DkimCommand, config: &Config, print: fn(&str) -> io::Result<()>) -> Result<(), DkimCommandError> {
    match command {
        DkimCommand::New { domain, selector, kind, out } => {
            let canonical = crate::config::domain::strict(domain);
            let domain = canonical.ok_or_else(|| DkimCommandError::Domain(domain.clone()))?.into_owned();
            let file = out.clone().unwrap_or_else(|| config.data.join("dkim").join(format!("{domain}.{selector}.pem")));
            if file.exists() {
                return Err(DkimCommandError::Exists { file, selector: format!("{selector}2") });
            }
            let pem = generate(*kind)?;
            let text = record(&domain, selector, pem.as_bytes(), &file)?;
            files::write_private(&file, pem.as_bytes())
                .map_err(|error| DkimCommandError::Io { file: file.clone(), error })?;
            let path = std::path::absolute(&file).unwrap_or(file);
            print(&format!(
                "For the DNS:\n\n{text}\nFor the configuration, when the DNS has it:\n\n[[dkim]]\ndomain = {domain:?}\nselector = {selector:?}\nkey = {path:?}\n"
            ))?;
        }
        DkimCommand::Show => {
            for one in &config.dkim {
                let pem = fs::read(&one.key).map_err(|error| DkimError::Unreadable { file: one.key.clone(), error })?;
                print(&record(&one.domain, &one.selector, &pem, &one.key)?)?;
            }
            if config.dkim.is_empty() {
                print("No key signs anything: `hermetic dkim new DOMAIN` makes one.\n")?;
            }
        }
    }
    Ok(())
}

/// A line of a zone file; strings of at most 255 octets (RFC 1035 section 3.3.14).
fn record(domain: &str, selector: &str, pem: &[u8], file: &Path) -> Result<String, DkimError> {
    let key = PrivateKey::from_pem(pem).map_err(|problem| DkimError::Key { file: file.to_owned(), problem })?;
    let value = key.record();
    let strings: Vec<_> =
        value.as_bytes().chunks(250).map(|part| format!("{:?}", String::from_utf8_lossy(part))).collect();
    Ok(format!("{selector}._domainkey.{domain}. IN TXT ( {} )\n", strings.join(" ")))
}
