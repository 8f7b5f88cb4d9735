//! Mail servers of other makers, each a private instance with a folder and an address of its own. Nothing below /etc is read.
//!
//! They take mail for any local part of their domains into a Maildir for each domain. Folders must be open to everyone, as
//! must those above: the servers work as users of their own.

mod dovecot;
mod exim;
mod opendkim;
mod opensmtpd;
mod postfix;

use std::{
    fs::{self, Permissions},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

pub use self::{dovecot::Dovecot, exim::Exim, opendkim::OpenDkim, opensmtpd::OpenSmtpd, postfix::Postfix};

/// The user who owns the mail. Without rights, and there everywhere.
const NOBODY: u32 = 65_534;

/// A folder that everyone may enter.
fn open_folder(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("ours");
}

/// A folder for Maildirs.
fn mail_folder(folder: &Path) {
    open_folder(folder);
    std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).expect("root may");
}

/// Waits until somebody listens there.
fn listens(address: SocketAddr, log: &Path) {
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nobody at {address}:\n{}", fs::read_to_string(log).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(20));
    }
}
