//! Programs that tests run and that a machine may not have.
//!
//! Owns where they are and what is said when one is missing. Refuses to install any: `tests/clients/install.sh` does. Fails by
//! panicking, with what the program said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// The folder with the scripts that drive clients and servers.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Where `install.sh` puts what is no system package. `HERMETIC_CLIENTS` names another place.
pub fn installed() -> PathBuf {
    match std::env::var_os("HERMETIC_CLIENTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients"),
    }
}

/// For `let … else`: says that the test is not run. A failure with `CI=true`.
pub fn missing(what: &str) {
    let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!ci, "{what} is missing: run tests/clients/install.sh");
    eprintln!("skipped: {what} is missing; install it with tests/clients/install.sh");
}

/// A program of the search path.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|d| d.join(name)).find(|p| p.is_file());
    if found.is_none() {
        missing(name);
    }
    found
}

/// Root, which Postfix, Exim and OpenSMTPD need.
pub fn root() -> Option<()> {
    let root = rustix::process::geteuid().is_root();
    if !root {
        missing("root");
    }
    root.then_some(())
}

/// Exim, unpacked by `install.sh` or installed.
pub fn exim() -> Option<PathBuf> {
    root()?;
    let places = [installed().join("exim/usr/sbin/exim4"), "/usr/sbin/exim4".into()];
    let found = places.into_iter().find(|p| p.is_file());
    if found.is_none() {
        missing("exim4");
    }
    // Exim runs itself again and wants the whole path.
    found.map(|p| p.canonicalize().expect("it is there"))
}

/// Python with the modules that `install.sh` gives it.
pub fn python() -> Option<PathBuf> {
    let python = installed().join("venv/bin/python");
    if !python.is_file() {
        missing("Python with modules of its own");
        return None;
    }
    Some(python)
}

/// `program` with arguments, as [`Command`].
pub fn command<S: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    command
}

/// Runs to the end with this input.
pub fn output(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A thread of its own: a client may talk before it has read everything.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let out = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer does not panic");
    out
}

/// Runs to the end, must succeed, and gives standard output and error together.
pub fn run(command: &mut Command, input: &[u8]) -> String {
    let out = output(command, input);
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{text}", out.status);
    text
}

/// A server in the foreground. Ended when dropped.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// Starts it; what it says goes to this file.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        Self(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
