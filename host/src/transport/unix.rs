//! Unix sockets that listen, and their names in the file system.
//!
//! Owns what to do with a name that is taken already, and that ours goes with us. Refuses to know who may connect but for the
//! file's mode. Fails with [`UnixError`]; what is no
//! socket whose server died is left alone.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// Why it can not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Somebody does.
    #[error("another process listens there")]
    Taken,
    /// It is something else.
    #[error("the file exists and is no socket")]
    NoSocket,
    /// The system says no; for a name that is too long (more than 107 octets) too.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The name of a socket of ours; removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl SocketFile {
    /// The name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens on a new socket with this mode. One whose server died is replaced.
pub fn listen(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), UnixError> {
    remove_stale(path)?;
    let socket = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok((socket, file))
}

/// A socket file whose server died is in the way; one whose server lives is not ours.
fn remove_stale(path: &Path) -> Result<(), UnixError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => Err(UnixError::NoSocket),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
            Err(error) => Err(error.into()),
            Ok(_) => Err(UnixError::Taken),
        },
    }
}
