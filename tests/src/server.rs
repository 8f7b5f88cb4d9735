//! The real `hermetic` binary with a folder and ports of its own.
//!
//! Owns building, starting, ending and explaining it: a test that panics while it has a [`Server`] prints the
//! configuration, the end of the log and the files that are left. Knows nothing of SMTP but "220". Fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File, Permissions},
    io::{Read, Seek, SeekFrom, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::maildir::Maildir;

/// The domain that a server of this rig is responsible for.
pub const DOMAIN: &str = "example.test";
/// Long enough for an unoptimised build on a busy machine that compiles its engine first.
const START: Duration = Duration::from_secs(90);
/// More than `limits.drain` of the rig's configuration.
const STOP: Duration = Duration::from_secs(20);

/// What a server should be like; `start` makes it so.
#[derive(Debug)]
pub struct Rig {
    listeners: Vec<Listener>,
    limits: String,
    tables: String,
    users: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    binary: PathBuf,
}

#[derive(Debug)]
struct Listener {
    kind: String,
    unix: bool,
    more: String,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Rig {
    /// No listeners yet; any mailbox at [`DOMAIN`] is accepted.
    pub fn new() -> Self {
        Self {
            listeners: Vec::new(),
            limits: String::new(),
            tables: String::new(),
            users: Vec::new(),
            environment: Vec::new(),
            binary: binary(&[]),
        }
    }

    /// `mx`, `submission`, `submissions` and `lmtp`, and the user `anna` with the password `secret`.
    pub fn full() -> Self {
        Self::new()
            .listener("mx", "")
            .listener("submission", "")
            .listener("submissions", "")
            .listener("lmtp", "")
            .user("anna", "secret")
    }

    /// A listener on a free port of 127.0.0.1, with more keys as TOML. The first of a kind is what [`Server::port`] tells.
    pub fn listener(mut self, kind: &str, more: &str) -> Self {
        self.listeners.push(Listener { kind: kind.into(), unix: false, more: more.into() });
        self
    }

    /// A listener on a Unix socket (see [`Server::socket`]).
    pub fn unix_listener(mut self, kind: &str) -> Self {
        self.listeners.push(Listener { kind: kind.into(), unix: true, more: String::new() });
        self
    }

    /// Lines of the table `[limits]`.
    pub fn limits(mut self, toml: &str) -> Self {
        self.limits.push_str(toml);
        self.limits.push('\n');
        self
    }

    /// Whole tables, with their headers.
    pub fn tables(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    /// A login, made by `hermetic user add`.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.into(), password.into()));
        self
    }

    /// A variable in the server's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Another build of the server (see [`binary`]).
    pub fn binary(mut self, path: PathBuf) -> Self {
        self.binary = path;
        self
    }

    /// Starts it and waits until every listener answers.
    pub fn start(self) -> Server {
        self.start_below(|_| [])
    }

    /// The same with more variables in its environment, which may name its data folder.
    pub fn start_below<const N: usize>(mut self, more: impl FnOnce(&Path) -> [(&'static str, String); N]) -> Server {
        let folder = tempfile::Builder::new()
            .prefix("hermetic-test-")
            // Postfix and Exim, which the tests start beside the server, work as users of their own.
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary folder");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("ours");
        for (name, value) in more(&data) {
            self = self.environment(name, &value);
        }
        let mut toml = format!("name = \"mail.{DOMAIN}\"\ndata = {:?}\n\n", data.display().to_string());
        let mut ports = HashMap::new();
        let mut greeting = Vec::new();
        for Listener { kind, unix, more } in &self.listeners {
            if *unix {
                let socket = folder.path().join(kind).display().to_string();
                let _ = write!(toml, "[[listener]]\nkind = \"{kind}\"\naddress = {:?}\n\n", format!("unix:{socket}"));
                continue;
            }
            let port = free_port();
            let _ = write!(toml, "[[listener]]\nkind = \"{kind}\"\naddress = \"127.0.0.1:{port}\"\n{more}\n\n");
            ports.entry(kind.clone()).or_insert(port);
            // What must first speak TLS or PROXY is only connected to.
            greeting.push((port, kind != "submissions" && !more.contains("proxy")));
        }
        let _ = write!(toml, "[[domain]]\nname = \"{DOMAIN}\"\nmailboxes = [\"*\"]\n\n");
        // Nothing of a test leaves the machine, unless it says how.
        if !self.tables.contains("[outbound]") {
            toml.push_str("[outbound]\nhold = true\n");
        }
        let _ = write!(toml, "[limits]\nsessions-per-client = 2000\ndrain = 10\n{}\n{}", self.limits, self.tables);
        let config = folder.path().join("hermetic.toml");
        fs::write(&config, &toml).expect("the configuration is written");

        let mut server = Server {
            log: folder.path().join("log"),
            binary: self.binary,
            environment: self.environment,
            folder,
            data,
            config,
            ports,
            greeting,
            child: None,
        };
        for (name, password) in &self.users {
            server.add_user(name, password);
        }
        server.start_again();
        server
    }
}

/// A server that runs, or ran. Ended when dropped.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    ports: HashMap<String, u16>,
    /// Port, and whether a 220 can be read from it at once.
    greeting: Vec<(u16, bool)>,
    child: Option<Child>,
}

impl Server {
    /// Port of the first listener of this kind.
    pub fn port(&self, kind: &str) -> u16 {
        *self.ports.get(kind).unwrap_or_else(|| panic!("the test has no {kind} listener"))
    }

    /// The Unix socket of a kind of listener, made writable for everyone.
    pub fn socket(&self, kind: &str) -> PathBuf {
        let socket = self.folder.path().join(kind);
        let end = Instant::now() + START;
        while !socket.exists() {
            assert!(Instant::now() < end, "no socket {}", socket.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        fs::set_permissions(&socket, Permissions::from_mode(0o777)).expect("the socket is there");
        socket
    }

    /// A folder of this test, removed at its end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's `data`.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its configuration, which it reads again at SIGHUP.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// The Maildir of a local part of [`DOMAIN`].
    pub fn maildir(&self, local: &str) -> Maildir {
        Maildir::new(self.data.join("mail").join(DOMAIN).join(local))
    }

    /// All that it has logged, over all starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Runs another command of the binary with this configuration; `input` goes to its standard input.
    pub fn run(&self, arguments: &[&str], input: &str) -> String {
        self.try_run(arguments, input).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same; the error is what it said.
    pub fn try_run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(&self.binary)
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{} does not start: {e}", self.binary.display()));
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads its input");
        let out = child.wait_with_output().expect("it ends");
        let err = String::from_utf8_lossy(&out.stderr);
        if !out.status.success() {
            return Err(format!("hermetic {arguments:?}: {}\n{err}", out.status));
        }
        Ok(String::from_utf8(out.stdout).expect("UTF-8"))
    }

    fn add_user(&self, name: &str, password: &str) {
        self.run(&["user", "add", name], &format!("{password}\n"));
    }

    /// Starts it, with the same configuration and data as before.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let log = File::options().create(true).append(true).open(&self.log).expect("the log opens");
        let child = Command::new(&self.binary)
            .arg("serve")
            .arg("--config")
            .arg(&self.config)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{} does not start: {e}", self.binary.display()));
        self.child = Some(child);
        let end = Instant::now() + START;
        for (port, greets) in self.greeting.clone() {
            while !answers(port, greets) {
                let child = self.child.as_mut().expect("just started");
                if let Some(status) = child.try_wait().expect("a child of ours") {
                    panic!("the server ended at start: {status}");
                }
                assert!(Instant::now() < end, "no answer on port {port} within {START:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Was it started, and neither stopped nor killed since?
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL: no clean-up of any kind.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("the server runs");
        let end = Instant::now() + STOP;
        loop {
            if let Some(status) = child.try_wait().expect("a child of ours") {
                return status;
            }
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the server did not end within {STOP:?} of SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGHUP, and waits for what it comes to: the line of the log that says so. Only for one at a time.
    pub fn reload(&self) -> String {
        let before = fs::metadata(&self.log).map_or(0, |log| log.len());
        self.signal(Signal::HUP);
        let end = Instant::now() + START;
        loop {
            let mut log = File::open(&self.log).expect("the log opens");
            log.seek(SeekFrom::Start(before)).expect("a file");
            let mut new = Vec::new();
            log.read_to_end(&mut new).expect("the log is read");
            let new = String::from_utf8_lossy(&new);
            let whole = new.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|l| l.contains("reloaded") || l.contains("reload failed")) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "SIGHUP came to nothing within {START:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().expect("the server runs"));
        kill_process(pid, signal).expect("a child of ours");
    }

    /// The lines of `hermetic queue list --json`.
    pub fn queue(&self) -> Vec<serde_json::Value> {
        self.try_queue().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same; the error is what the command said.
    pub fn try_queue(&self) -> Result<Vec<serde_json::Value>, String> {
        let out = self.try_run(&["queue", "list", "--json"], "")?;
        if let Ok(serde_json::Value::Array(all)) = serde_json::from_str(&out) {
            return Ok(all);
        }
        let lines = out.lines().filter(|l| !l.trim().is_empty());
        lines.map(|l| serde_json::from_str(l).map_err(|e| format!("queue list --json: {e}: {l}"))).collect()
    }

    fn explain(&self) {
        let log = self.log();
        let from = log.char_indices().rev().nth(12_000).map_or(0, |(i, _)| i);
        eprintln!("--- {}\n{}", self.config.display(), fs::read_to_string(&self.config).unwrap_or_default());
        eprintln!("--- log\n{}", &log[from..]);
        eprintln!("--- files");
        let mut shown = 0;
        list(self.folder.path(), &mut |path, size| {
            shown += 1;
            if shown <= 200 {
                eprintln!("{size:>10} {}", path.display());
            }
        });
        eprintln!("--- {shown} files; pid {:?}", self.child.as_ref().map(Child::id));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        }
        if let Some(mut child) = self.child.take() {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn list(folder: &Path, each: &mut dyn FnMut(&Path, u64)) {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        match entry.metadata() {
            Ok(m) if m.is_dir() => list(&entry.path(), each),
            Ok(m) => each(&entry.path(), m.len()),
            Err(_) => {}
        }
    }
}

fn answers(port: u16, greets: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    if !greets {
        return true;
    }
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut code = [0; 3];
    let ok = stream.read_exact(&mut code).is_ok() && &code == b"220";
    let _ = stream.write_all(b"QUIT\r\n");
    ok
}

/// A port that nobody listens on, below the range from which the kernel gives ports to clients.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(rand::random::<u32>() % 12_000));
    for _ in 0..12_000 {
        let port = 20_000 + (next.fetch_add(1, Ordering::Relaxed) % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 32000");
}

/// `target/<profile>` of the test that runs.
pub fn profile_folder() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its own path");
    this.ancestors().nth(2).expect("target/<profile>/deps/<test>").to_path_buf()
}

/// The server's binary, built by cargo from the sources as they are, with these features of `hermetic` and in the profile
/// of the test itself. `HERMETIC_BIN` names another one instead when no feature is asked for.
///
/// A copy is kept for each set of features, so that a build with others cannot change it below a test that runs it.
pub fn binary(features: &[&str]) -> PathBuf {
    static BUILT: std::sync::Mutex<Option<HashMap<String, PathBuf>>> = std::sync::Mutex::new(None);
    if let (true, Some(given)) = (features.is_empty(), std::env::var_os("HERMETIC_BIN")) {
        return PathBuf::from(given);
    }
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    built.get_or_insert_with(HashMap::new).entry(features.join(",")).or_insert_with(|| build(features)).clone()
}

fn build(features: &[&str]) -> PathBuf {
    let profile = profile_folder();
    let copies = profile.join("e2e");
    fs::create_dir_all(&copies).expect("the target folder is writable");
    // Test binaries may run side by side: one at a time builds and copies.
    let lock = File::create(copies.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");

    let name = profile.file_name().expect("a profile's folder").to_string_lossy().into_owned();
    let target = profile.parent().expect("a target folder");
    let cargo = |features: &[&str]| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace"));
        // What cargo tells this test about its package. Build scripts that look at it (ring's) would run again, and all that
        // depends on them would be compiled again: now, and once more by whoever builds next.
        for (name, _) in std::env::vars_os() {
            let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"];
            if name.to_str().is_some_and(|name| told.iter().any(|prefix| name.starts_with(prefix))) {
                cargo.env_remove(name);
            }
        }
        // Cargo builds the binary for the tests of its package. For the whole workspace, its dependencies have the features
        // that they have in `cargo test --workspace` and are not all compiled once more.
        cargo.args(["test", "--no-run", "--quiet", "--locked", "--workspace", "--test", "serve"]);
        cargo.args(["--profile", if name == "debug" { "test" } else { &name }]);
        // With `--target` the folder is target/<triple>/<profile>.
        let triple = target.file_name().map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
        if triple.matches('-').count() >= 2 && target.parent().is_some_and(|t| t.join("CACHEDIR.TAG").exists()) {
            cargo.arg("--target-dir").arg(target.parent().expect("checked")).args(["--target", &triple]);
        } else {
            cargo.arg("--target-dir").arg(target);
        }
        if !features.is_empty() {
            cargo.args(features.iter().flat_map(|feature| ["--features".into(), format!("hermetic/{feature}")]));
        }
        let out = cargo.stdin(Stdio::null()).output().expect("cargo starts");
        assert!(out.status.success(), "{cargo:?}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    };
    cargo(features);
    let copy = copies.join(format!("hermetic{}", features.iter().map(|f| format!("+{f}")).collect::<String>()));
    let fresh = copy.with_extension("new");
    let _ = fs::remove_file(&fresh);
    // Cargo replaces the file, it does not write into it: a link stays what it was.
    fs::hard_link(profile.join("hermetic"), &fresh).expect("a link inside the target folder");
    fs::rename(&fresh, &copy).expect("the link is renamed");
    if !features.is_empty() {
        cargo(&[]); // Nobody should find a build with a test's features where the product is expected.
    }
    copy
}
