//! Postfix, which listens at several addresses with a certificate for each.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{NOBODY, listens, mail_folder, open_folder};
use crate::{
    maildir::Maildir,
    programs::{command, program, root, run, scripts},
    server::free_port,
    world::pki::Identity,
};

/// A running one.
#[derive(Debug)]
pub struct Postfix {
    folder: PathBuf,
    port: u16,
}

impl Postfix {
    /// Listens at these addresses; with more parameters of main.cf. None: there is no Postfix on this machine.
    pub fn start(
        folder: &Path,
        domains: &[String],
        listeners: &[(SocketAddr, &Identity)],
        parameters: &[String],
    ) -> Option<Self> {
        root()?;
        program("postfix")?;
        open_folder(folder);
        mail_folder(&folder.join("mail"));
        let mut services = String::from("virtual unix - n n - - virtual\n");
        for (number, (address, identity)) in listeners.iter().enumerate() {
            let name = format!("listener{number}");
            identity.write(folder, &name);
            let here = folder.join(&name).display().to_string();
            let _ =
                writeln!(services, "{address} inet n - n - - smtpd\n  -o smtpd_tls_chain_files={here}.key,{here}.crt");
        }
        fs::write(folder.join("services"), services).expect("a file");
        let mailboxes: Vec<_> = domains.iter().map(|domain| format!("{{@{domain} = {domain}/}}")).collect();
        let own = [
            format!("virtual_mailbox_domains = {}", domains.join(" ")),
            format!("virtual_mailbox_maps = inline:{{ {} }}", mailboxes.join(", ")),
            format!("virtual_mailbox_base = {}/mail", folder.display()),
            format!("virtual_uid_maps = static:{NOBODY}"),
            format!("virtual_gid_maps = static:{NOBODY}"),
            "smtpd_tls_security_level = may".into(),
            "smtpd_tls_received_header = yes".into(),
            "smtpd_tls_loglevel = 1".into(),
        ];
        let postfix = Self { folder: folder.to_owned(), port: free_port() };
        run(postfix.script("start").arg(postfix.port.to_string()).args(own).args(parameters), b"");
        for (address, _) in listeners {
            listens(*address, &folder.join("log"));
        }
        Some(postfix)
    }

    fn script(&self, verb: &str) -> Command {
        command(&scripts().join("postfix.sh"), [verb.as_ref(), self.folder.as_os_str()])
    }

    /// Where it takes mail without TLS too, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What came for a domain.
    pub fn maildir(&self, domain: &str) -> Maildir {
        Maildir::new(self.folder.join("mail").join(domain))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = self.script("stop").status();
    }
}
