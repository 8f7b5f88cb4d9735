//! Dovecot as a store of mailboxes: LMTP at a Unix socket and an address.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{NOBODY, listens, mail_folder, open_folder};
use crate::{
    maildir::Maildir,
    programs::{Daemon, command, program, root},
};

/// A running one.
#[derive(Debug)]
pub struct Dovecot {
    folder: PathBuf,
    _daemon: Daemon,
}

impl Dovecot {
    /// With these users, each of whom may have so many KiB of mail. None: there is no Dovecot on this machine.
    pub fn start(folder: &Path, address: SocketAddr, users: &[(&str, u32)]) -> Option<Self> {
        root()?;
        let dovecot = program("dovecot")?;
        if !Path::new("/usr/lib/dovecot/lmtp").is_file() {
            crate::programs::missing("dovecot-lmtpd");
            return None;
        }
        open_folder(folder);
        mail_folder(&folder.join("mail"));
        let here = folder.display();
        let mut known = String::new();
        for (user, quota) in users {
            let _ = writeln!(
                known,
                "{user}:{{PLAIN}}x:{NOBODY}:{NOBODY}::{here}/mail/{user}::userdb_quota_rule=*:storage={quota}"
            );
        }
        fs::write(folder.join("users"), known).expect("a file");
        let config = format!(
            "protocols = lmtp
base_dir = {here}/run
instance_name = hermetic-test
log_path = {here}/log
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
first_valid_uid = 1
ssl = no
mail_location = maildir:~/Maildir
recipient_delimiter = +
lmtp_save_to_detail_mailbox = yes
lda_mailbox_autocreate = yes
lmtp_add_received_header = yes
quota_full_tempfail = no
mail_plugins = quota
plugin {{
  quota = maildir:User
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {here}/users
}}
passdb {{
  driver = passwd-file
  args = username_format=%u {here}/users
}}
service lmtp {{
  chroot =
  unix_listener {here}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = {ip}
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
",
            ip = address.ip(),
            port = address.port(),
        );
        fs::write(folder.join("dovecot.conf"), config).expect("a file");
        let mut start = command(&dovecot, ["-F", "-c"]);
        start.arg(folder.join("dovecot.conf"));
        let daemon = Daemon::start(&mut start, &folder.join("output"));
        listens(address, &folder.join("log"));
        Some(Self { folder: folder.to_owned(), _daemon: daemon })
    }

    /// Where it speaks LMTP on this machine.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("lmtp")
    }

    /// What came for a user: into this mailbox, or into INBOX.
    pub fn maildir(&self, user: &str, mailbox: Option<&str>) -> Maildir {
        let inbox = self.folder.join("mail").join(user).join("Maildir");
        Maildir::new(mailbox.map_or(inbox.clone(), |name| inbox.join(format!(".{name}"))))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}
