//! OpenDKIM, which verifies signatures for a server that speaks to it as a milter.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{listens, open_folder};
use crate::{
    programs::{Daemon, command, program, root},
    world::dns::NameServer,
};

/// A running one.
#[derive(Debug)]
pub struct OpenDkim {
    address: SocketAddr,
    log: PathBuf,
    _daemon: Daemon,
}

impl OpenDkim {
    /// Listens there and asks this name server for keys. None: there is no OpenDKIM on this machine.
    pub fn start(folder: &Path, address: SocketAddr, dns: &NameServer) -> Option<Self> {
        root()?;
        let opendkim = program("opendkim")?;
        open_folder(folder);
        let here = folder.display();
        // Unbound knows by itself that nothing is below `test` (RFC 6761).
        let unbound = format!(
            "server:\n  do-not-query-localhost: no\n  local-zone: \"test.\" nodefault\nstub-zone:\n  name: \".\"\n  stub-addr: {}@{}\n  stub-prime: no\n",
            dns.address().ip(),
            dns.address().port()
        );
        fs::write(folder.join("unbound.conf"), unbound).expect("a file");
        let config = format!(
            "Mode v
Socket inet:{port}@{ip}
UserID nobody
Syslog no
ResolverConfiguration {here}/unbound.conf
TrustAnchorFile {anchors}
AlwaysAddARHeader yes
AuthservID opendkim.invalid
",
            port = address.port(),
            ip = address.ip(),
            anchors = dns.anchors().display(),
        );
        fs::write(folder.join("opendkim.conf"), config).expect("a file");
        let log = folder.join("log");
        let daemon = Daemon::start(command(&opendkim, ["-f", "-x"]).arg(folder.join("opendkim.conf")), &log);
        listens(address, &log);
        Some(Self { address, log, _daemon: daemon })
    }

    /// As Postfix names it in `smtpd_milters`.
    pub fn milter(&self) -> String {
        format!("inet:{}", self.address)
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
