//! OpenSMTPD, below a root folder of its own that `install.sh` made: its users, its spool and its socket have fixed names.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{NOBODY, listens, mail_folder, open_folder};
use crate::{
    maildir::Maildir,
    programs::{Daemon, command, installed, missing, root, run},
    world::pki::Identity,
};

/// A running one.
#[derive(Debug)]
pub struct OpenSmtpd {
    root: PathBuf,
    log: PathBuf,
    _daemon: Daemon,
}

impl OpenSmtpd {
    /// Listens there with this certificate, which must have an RSA key. None: there is no OpenSMTPD on this machine.
    pub fn start(folder: &Path, domains: &[String], address: SocketAddr, identity: &Identity) -> Option<Self> {
        root()?;
        let installed = installed().join("opensmtpd");
        if !installed.join("usr/sbin/smtpd").is_file() {
            missing("OpenSMTPD");
            return None;
        }
        open_folder(folder);
        let (root, log) = (folder.join("root"), folder.join("log"));
        run(command(Path::new("cp"), ["-a"]).arg(installed).arg(&root), b"");
        mail_folder(&root.join("mail"));
        identity.write(&root.join("etc"), "smtpd");
        let config = format!(
            "pki \"own\" cert \"/etc/smtpd.crt\"
pki \"own\" key \"/etc/smtpd.key\"
listen on {ip} port {port} tls pki \"own\" hostname \"opensmtpd.invalid\"
table domains {{ {domains} }}
table users {{ \"@\" = \"box\" }}
action \"in\" maildir \"/mail/%{{rcpt.domain}}\" virtual <users>
match from any for domain <domains> action \"in\"
",
            ip = address.ip(),
            port = address.port(),
            domains = domains.iter().map(|domain| format!("{domain:?}")).collect::<Vec<_>>().join(", "),
        );
        fs::write(root.join("etc/smtpd.conf"), config).expect("a file");
        let users = format!("box:x:{NOBODY}:{NOBODY}::/mail:/bin/sh\n");
        let passwd = root.join("etc/passwd");
        fs::write(&passwd, fs::read_to_string(&passwd).expect("install.sh made it") + &users).expect("a file");
        // The program starts itself again, and so the library has to be named in the environment.
        let start = "LD_PRELOAD=/openssl3.so exec /usr/sbin/smtpd -d -v -f /etc/smtpd.conf";
        let daemon =
            Daemon::start(command(Path::new("chroot"), [root.as_os_str()]).args(["/bin/sh", "-c", start]), &log);
        listens(address, &log);
        Some(Self { root, log, _daemon: daemon })
    }

    /// What came for a domain.
    pub fn maildir(&self, domain: &str) -> Maildir {
        Maildir::new(self.root.join("mail").join(domain))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
