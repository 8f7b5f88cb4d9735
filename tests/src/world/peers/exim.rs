//! Exim, as a daemon.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{listens, open_folder};
use crate::{
    maildir::Maildir,
    programs::{Daemon, command, exim, run},
    world::pki::Identity,
};

/// A running one.
#[derive(Debug)]
pub struct Exim {
    folder: PathBuf,
    _daemon: Daemon,
}

impl Exim {
    /// Listens there with this certificate. None: there is no Exim on this machine.
    pub fn start(folder: &Path, domains: &[String], address: SocketAddr, identity: &Identity) -> Option<Self> {
        let exim = exim()?;
        open_folder(folder);
        identity.write(folder, "exim");
        for part in ["spool", "log", "mail"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        let mut chown = command(Path::new("chown"), ["-R", "Debian-exim:Debian-exim"]);
        let ours = ["spool", "log", "mail", "exim.key", "exim.crt"].map(|part| folder.join(part));
        run(chown.args(ours), b"");
        let here = folder.display();
        let config = format!(
            "primary_hostname = exim.invalid
exim_path = {exim}
exim_user = Debian-exim
exim_group = Debian-exim
deliver_drop_privilege
spool_directory = {here}/spool
log_file_path = {here}/log/%slog
pid_file_path = {here}/spool/pid
local_interfaces = {ip}
daemon_smtp_ports = {port}
keep_environment =
host_lookup =
rfc1413_hosts =
tls_advertise_hosts = *
tls_certificate = {here}/exim.crt
tls_privatekey = {here}/exim.key
acl_smtp_rcpt = accept domains = {domains}
acl_smtp_data = accept
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  maildir_format
  directory = {here}/mail/${{lookup{{$domain}}lsearch{{{here}/domains}}}}
  create_directory
  envelope_to_add
  return_path_add
begin retry
* * F,1h,1m
",
            exim = exim.display(),
            ip = address.ip(),
            port = address.port(),
            domains = domains.join(" : "),
        );
        fs::write(folder.join("exim.conf"), config).expect("a file");
        let known: String = domains.iter().map(|domain| format!("{domain}: {domain}\n")).collect();
        fs::write(folder.join("domains"), known).expect("a file");
        let log = folder.join("output");
        let daemon = Daemon::start(command(&exim, ["-bdf", "-q1m", "-C"]).arg(folder.join("exim.conf")), &log);
        listens(address, &log);
        Some(Self { folder: folder.to_owned(), _daemon: daemon })
    }

    /// What came for a domain.
    pub fn maildir(&self, domain: &str) -> Maildir {
        Maildir::new(self.folder.join("mail").join(domain))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        ["output", "log/mainlog", "log/rejectlog", "log/paniclog"]
            .iter()
            .map(|name| fs::read_to_string(self.folder.join(name)).unwrap_or_default())
            .collect()
    }
}
