//! Compiled components, kept on disk: compiling takes from most of a second to many, loading some milliseconds at most.
//!
//! Owns the files `engine-*.cwasm` and `plugin-*.cwasm` of a folder. Refuses to know what is compiled. It never stops the start: what
//! cannot be read, trusted or written costs a compilation and one line in the log.
//!
//! A compiled component is machine code that runs with all our rights, so a file is used only if all of this holds:
//!
//! - the folder is ours and closed to everyone else, and so is the file (checked on open descriptors, links refused);
//! - its name carries the SHA-256 of the component together with wasmtime's own compatibility hash;
//! - it ends in the SHA-256 of what precedes it: a torn or rotten file is compiled anew, not run.
//!
//! It is read, not mapped: a mapped file that somebody truncates would kill the process.
//!
//! A file that was used keeps the time of that; whoever writes a new one removes what nobody used for [`UNUSED`].

use std::fmt::Write as _;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Octets of the digest at the end of a file.
const DIGEST: usize = 32;
/// So long a file stays that nobody uses: an operator may go back to the build of last month.
const UNUSED: Duration = Duration::from_secs(60 * 24 * 3600);
/// A file's time of use is this exact, so that a start seldom writes.
const EXACT: Duration = Duration::from_secs(24 * 3600);

/// What a component is for: files are named by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Engine,
    Plugin,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Plugin => "plugin",
        }
    }
}

/// The component for this engine: from the folder if it has a good copy, otherwise compiled and left there.
pub(crate) fn component(
    engine: &Engine,
    bytes: &[u8],
    folder: Option<&Path>,
    purpose: Purpose,
) -> wasmtime::Result<Component> {
    let Some(folder) = folder else { return Component::new(engine, bytes) };
    let closed = match open_folder(folder) {
        Ok(closed) => closed,
        Err(why) => {
            tracing::warn!(folder = %folder.display(), "a compiled {} is not kept: {why}", purpose.as_str());
            return Component::new(engine, bytes);
        }
    };
    let name = file_name(engine, bytes, purpose);
    match read(&closed, &name) {
        Ok(Some(code)) => match load(engine, &code) {
            Ok(component) => return Ok(component),
            Err(error) => {
                tracing::warn!(file = name, "a kept {} is of no use and is compiled anew: {error:#}", purpose.as_str())
            }
        },
        Ok(None) => {}
        Err(why) => tracing::warn!(file = name, "a kept {} is not used and is compiled anew: {why}", purpose.as_str()),
    }
    let code = engine.precompile_component(bytes)?;
    match write(&closed, &name, &code) {
        Ok(()) => prune(folder, SystemTime::now()),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), "a compiled {} is not kept: {error}", purpose.as_str());
        }
    }
    load(engine, &code)
}

/// Loads compiled code, which must come from [`component`].
#[allow(unsafe_code, reason = "the argument stands below")]
pub(crate) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` must be given what `precompile_component` made, unchanged, for wasmtime itself checks only
    // the version and settings in its header. `code` is either just that, fresh from the compiler or from a loaded component,
    // or what an earlier run of ours wrote: whole by its digest, and out of anybody else's reach by owner and mode of file and folder. It
    // is in our memory, where nobody changes it between the check and the use.
    unsafe { Component::deserialize(engine, code) }
}

/// Opens the folder, made if need be, and makes sure that nobody else can write to it.
fn open_folder(folder: &Path) -> Result<OwnedFd, String> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    match mkdirat(CWD, folder, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.to_string()),
    }
    let opened = openat(CWD, folder, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| error.to_string())?;
    closed_to_others(&opened)?;
    Ok(opened)
}

/// It belongs to us and has no permission for group or others.
fn closed_to_others(file: impl AsFd) -> Result<(), String> {
    let stat = fstat(file).map_err(|error| error.to_string())?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(format!("it belongs to the user with the number {}", stat.st_uid));
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        return Err(format!("others have access to it ({:o}); `chmod go=` takes it away", mode.bits()));
    }
    Ok(())
}

/// Names everything that makes compiled code fit: the component, and version, settings and processor features.
fn file_name(engine: &Engine, bytes: &[u8], purpose: Purpose) -> String {
    struct Digester(Sha256);
    impl Hasher for Digester {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut digester = Digester(Sha256::new_with_prefix(bytes));
    engine.precompile_compatibility_hash().hash(&mut digester);
    let mut name = format!("{}-", purpose.as_str());
    for octet in digester.0.finalize().iter().take(16) {
        let _ = write!(name, "{octet:02x}");
    }
    name + ".cwasm"
}

/// The code in a file, if there is one, checked against its digest.
fn read(folder: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>, String> {
    let file = match openat(folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    closed_to_others(&file)?;
    let mut code = Vec::new();
    (&file).read_to_end(&mut code).map_err(|error| error.to_string())?;
    let end = code.len().saturating_sub(DIGEST);
    if Sha256::digest(&code[..end]).as_slice() != &code[end..] {
        return Err("it is damaged".into());
    }
    code.truncate(end);
    let now = SystemTime::now();
    let used = file.metadata().and_then(|about| about.modified()).ok().and_then(|used| now.duration_since(used).ok());
    if used.is_some_and(|ago| ago > EXACT) {
        // On a disk that can not be written it only looks older than it is.
        let _ = file.set_modified(now);
    }
    Ok(Some(code))
}

/// Removes what was not used for long, and what a process that died left unfinished. What can not be removed stays.
fn prune(folder: &Path, now: SystemTime) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = [Purpose::Engine, Purpose::Plugin]
            .iter()
            .any(|purpose| name.starts_with(&format!("{}-", purpose.as_str())));
        let most = match name.rsplit_once(".cwasm") {
            Some((_, "")) => UNUSED,
            Some(_) => EXACT,
            None => continue,
        };
        let age =
            entry.metadata().and_then(|about| about.modified()).ok().and_then(|used| now.duration_since(used).ok());
        if ours && age.is_some_and(|age| age > most) && std::fs::remove_file(entry.path()).is_ok() {
            tracing::info!(file = %entry.path().display(), "a compiled component that nobody uses was removed");
        }
    }
}

/// Writes to a name of this process's own and renames: no reader ever sees half a file.
fn write(folder: &OwnedFd, name: &str, code: &[u8]) -> std::io::Result<()> {
    let unfinished = format!("{name}.{}", std::process::id());
    let result = (|| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(code)?;
        file.write_all(&Sha256::digest(code))?;
        file.sync_all()?;
        renameat(folder, &unfinished, folder, name)?;
        Ok(())
    })();
    if result.is_err() {
        // Whether it was made at all is not known; what matters is the first error.
        let _ = unlinkat(folder, &unfinished, AtFlags::empty());
    }
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// The cached file of the empty component, after asking for it.
    fn kept(engine: &Engine, folder: &Path) -> Option<Vec<u8>> {
        component(engine, EMPTY, Some(folder), Purpose::Engine).unwrap();
        fs::read(folder.join(file_name(engine, EMPTY, Purpose::Engine))).ok()
    }

    #[test]
    fn it_is_kept_and_closed_to_others() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b");
        let engine = Engine::default();
        let first = kept(&engine, &folder).expect("a file");
        assert_eq!((mode(&folder), mode(&folder.join(file_name(&engine, EMPTY, Purpose::Engine)))), (0o700, 0o600));
        let opened = open_folder(&folder).unwrap();
        let code = read(&opened, &file_name(&engine, EMPTY, Purpose::Engine)).unwrap().expect("a file");
        assert!(code == first[..first.len() - DIGEST], "the digest ends the file");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("cache");
        let engine = Engine::default();
        let good = kept(&engine, &folder).expect("a file");
        let file = folder.join(file_name(&engine, EMPTY, Purpose::Engine));
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for damaged in [&flipped[..], &good[..good.len() - 1], &good[..7], b""] {
            fs::write(&file, damaged).unwrap();
            assert!(read(&open_folder(&folder).unwrap(), &file_name(&engine, EMPTY, Purpose::Engine)).is_err());
            assert!(kept(&engine, &folder) == Some(good.clone()), "{} octets were not replaced", damaged.len());
        }
    }

    #[test]
    fn what_others_could_have_written_is_not_run() {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let open = home.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o770)).unwrap();
        assert!(kept(&engine, &open).is_none(), "nothing is kept in a folder that the group may write to");

        let folder = home.path().join("cache");
        kept(&engine, &folder).expect("a file");
        let file = folder.join(file_name(&engine, EMPTY, Purpose::Engine));
        fs::set_permissions(&file, Permissions::from_mode(0o602)).unwrap();
        assert!(
            read(&open_folder(&folder).unwrap(), &file_name(&engine, EMPTY, Purpose::Engine))
                .unwrap_err()
                .contains("others")
        );
        kept(&engine, &folder).expect("a file");
        assert_eq!(mode(&file), 0o600, "it has been replaced");

        symlink(&folder, home.path().join("link")).unwrap();
        assert!(open_folder(&home.path().join("link")).is_err(), "a link may lead anywhere tomorrow");
    }

    #[test]
    fn what_nobody_uses_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("cache");
        let engine = Engine::default();
        kept(&engine, &folder).expect("a file");
        let used = folder.join(file_name(&engine, EMPTY, Purpose::Engine));
        let day = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 3600 + 60);
        for (name, days) in [
            ("plugin-a.cwasm", 61),
            ("plugin-b.cwasm", 59),
            ("plugin-c.cwasm.12", 2),
            ("plugin-d.cwasm.12", 0),
            ("e.cwasm", 99),
        ] {
            fs::write(folder.join(name), "").unwrap();
            File::options().write(true).open(folder.join(name)).unwrap().set_modified(day(days)).unwrap();
        }
        File::options().write(true).open(&used).unwrap().set_modified(day(99)).unwrap();
        kept(&engine, &folder).expect("it is still good");
        component(&engine, b"\0asm\x0d\0\x01\0\0\x01\0", Some(&folder), Purpose::Plugin)
            .expect("another, with an empty section");
        let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.retain(|name| !name.to_string_lossy().starts_with("plugin-") || name.len() < 20);
        left.sort();
        let mut expected = ["e.cwasm", "plugin-b.cwasm", "plugin-d.cwasm.12"].map(std::ffi::OsString::from).to_vec();
        expected.insert(1, used.file_name().unwrap().to_owned());
        assert_eq!(left, expected);
    }

    #[test]
    fn another_component_or_setting_has_another_name() {
        let names = [
            file_name(&Engine::default(), EMPTY, Purpose::Engine),
            file_name(&Engine::default(), b"other", Purpose::Engine),
            file_name(&Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap(), EMPTY, Purpose::Engine),
        ];
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
    }
}
