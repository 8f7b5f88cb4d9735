//! `wasmtime run` with the component, as a server for a test.
//!
//! Owns the process, and what it says. Where there is no `wasmtime` a test says so and ends; `core/standalone/test.sh` installs one.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hermetic_tests::maildir::Maildir;

/// A start compiles the component.
const PATIENCE: Duration = Duration::from_secs(60);

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `wasmtime` and the component. With `HERMETIC_WASMTIME` they have to be there.
pub(crate) fn programs() -> Option<(PathBuf, PathBuf)> {
    let wanted = std::env::var_os("HERMETIC_WASMTIME").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = || std::env::split_paths(&path).map(|folder| folder.join("wasmtime")).find(|file| file.is_file());
    let component = match std::env::var_os("HERMETIC_STANDALONE") {
        Some(file) => PathBuf::from(file),
        None => root().join("core/standalone/target/wasm32-wasip2/release/hermetic_standalone.wasm"),
    };
    let must = wanted.is_some();
    match (wanted.or_else(found), component.is_file()) {
        (Some(wasmtime), true) => Some((wasmtime, component)),
        (None, _) => {
            eprintln!(
                "skipped: there is no wasmtime in PATH; core/standalone/test.sh installs it and runs these tests"
            );
            None
        }
        (Some(_), false) => {
            assert!(!must, "{} is missing: core/standalone/test.sh builds it", component.display());
            eprintln!("skipped: {} is missing; core/standalone/test.sh builds it", component.display());
            None
        }
    }
}

/// A server at a free port of 127.0.0.1.
pub(crate) struct Standalone {
    child: Child,
    pub(crate) port: u16,
    lines: Mutex<Receiver<String>>,
    folder: Option<Place>,
    /// Dropped: the end of its standard input.
    pub(crate) input: Option<ChildStdin>,
}

/// Where messages are kept.
enum Place {
    Ours(tempfile::TempDir),
    Theirs(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Ours(folder) => folder.path(),
            Self::Theirs(folder) => folder,
        }
    }
}

impl Standalone {
    /// Starts one that throws messages away.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        Self::launch(arguments, None)
    }

    /// Starts one that keeps messages in this folder.
    pub(crate) fn keeping_in(folder: &Path, arguments: &[&str]) -> Option<Self> {
        Self::launch(arguments, Some(Place::Theirs(folder.to_owned())))
    }

    /// Starts one that keeps messages.
    pub(crate) fn keeping(arguments: &[&str]) -> Option<Self> {
        Self::launch(arguments, Some(Place::Ours(tempfile::tempdir().expect("a folder"))))
    }

    fn launch(arguments: &[&str], folder: Option<Place>) -> Option<Self> {
        let mut command = wasmtime(&["-S", "inherit-network"], folder.as_ref().map(Place::path))?;
        command.arg("127.0.0.1:0").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let input = child.stdin.take();
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut server = Self { child, port: 0, lines: Mutex::new(lines), folder, input };
        let first = server.line();
        let address = first.strip_prefix("listening on 127.0.0.1:").unwrap_or_else(|| panic!("it said {first:?}"));
        server.port = address.split(' ').next().and_then(|port| port.parse().ok()).expect("a port");
        Some(server)
    }

    /// The next line of its standard output.
    pub(crate) fn line(&self) -> String {
        self.lines.lock().expect("no test panicked").recv_timeout(PATIENCE).expect("a line on standard output")
    }

    /// What it keeps.
    pub(crate) fn maildir(&self) -> Maildir {
        Maildir::new(self.folder().to_owned())
    }

    /// Where it keeps it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().expect("it keeps messages").path()
    }

    /// A connection that has not read the greeting.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Of the runtime.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as the machine would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Waits for its own end; the code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `wasmtime run` with these options and the component; arguments of the component may follow.
pub(crate) fn wasmtime(options: &[&str], folder: Option<&Path>) -> Option<Command> {
    let (wasmtime, component) = programs()?;
    let mut command = Command::new(wasmtime);
    command.arg("run").args(options);
    if let Some(folder) = folder {
        command.arg("--dir").arg(format!("{}::mail", folder.display()));
    }
    command.arg(component);
    Some(command)
}

/// Reads exactly so many octets.
pub(crate) fn octets(stream: &mut TcpStream, count: usize) -> std::io::Result<Vec<u8>> {
    let mut octets = vec![0; count];
    stream.read_exact(&mut octets)?;
    Ok(octets)
}
