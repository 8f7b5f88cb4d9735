//! Three NATS servers on loopback, each of which can be killed, stopped and started again.
//!
//! Owns their folders, ports and processes; they end with the test, however it ends. Fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{programs, proxy::Proxy};

/// Its whole life is that of its standard input, so that it never outlives a test that was killed.
const RUN: &str = r#"log=$1; shift; "$@" >>"$log" 2>&1 & pid=$!; echo $pid; cat >/dev/null; kill -9 $pid; wait $pid"#;
/// Until all three are there.
const START: Duration = Duration::from_secs(60);

/// One server.
#[derive(Debug)]
struct Server {
    client: u16,
    monitor: u16,
    config: PathBuf,
    process: Option<(Child, u32)>,
}

/// See the module.
#[derive(Debug)]
pub struct Nats {
    binary: PathBuf,
    scheme: &'static str,
    servers: Vec<Server>,
    /// The way from each to each other; they tell nobody of another.
    between: Vec<(usize, usize, Proxy)>,
    _folder: TempDir,
}

/// `nats-server`: what `NATS_SERVER` names, or in the path, or where `clients/nats.sh` puts it.
pub fn binary() -> Option<PathBuf> {
    let installed = programs::installed().join("nats/bin/nats-server");
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    named.or_else(|| installed.is_file().then_some(installed)).or_else(|| programs::program("nats-server"))
}

fn ports() -> Vec<u16> {
    let sockets: Vec<_> = (0..9).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    sockets.iter().map(|socket| socket.local_addr().expect("bound").port()).collect()
}

impl Nats {
    /// None: there is no `nats-server`, which is said (and is an error with `CI=true`).
    pub fn start() -> Option<Self> {
        Self::start_with("", "nats")
    }

    /// The same with more in the configuration of each; clients use this scheme.
    pub fn start_with(more: &str, scheme: &'static str) -> Option<Self> {
        let Some(binary) = binary() else {
            programs::missing("nats-server (tests/clients/nats.sh)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("hermetic-nats-").tempdir().expect("a folder");
        let ports = ports();
        let between =
            [0, 1, 2].into_iter().flat_map(|from| [0, 1, 2].map(|to| (from, to))).filter(|(from, to)| from != to);
        let between: Vec<_> = between.map(|(from, to)| (from, to, Proxy::start(&[ports[6 + to]]))).collect();
        let routes = |n| {
            let of_this = between.iter().filter(|(from, ..)| *from == n);
            let routes: Vec<_> =
                of_this.map(|(.., network)| format!("\"nats://127.0.0.1:{}\"", network.ports[0])).collect();
            routes.join(", ")
        };
        let servers = (0..3).map(|n| {
            let config = folder.path().join(format!("{n}.conf"));
            let text = format!(
                "server_name: n{n}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n\
                 jetstream {{ store_dir: {:?}, sync_interval: always, max_mem: 64M, max_file: 8G }}\n\
                 cluster {{ name: tests, no_advertise: true, listen: \"127.0.0.1:{}\", advertise: \"127.0.0.1:9\", routes: [{}] }}\n{more}",
                ports[n],
                ports[3 + n],
                folder.path().join(n.to_string()),
                ports[6 + n],
                routes(n)
            );
            fs::write(&config, text).expect("ours");
            Server { client: ports[n], monitor: ports[3 + n], config, process: None }
        });
        let servers = servers.collect();
        let mut nats = Self { binary, scheme, servers, between, _folder: folder };
        (0..3).for_each(|n| nats.run(n));
        nats.wait();
        Some(nats)
    }

    /// Starts one that does not run.
    pub fn run(&mut self, n: usize) {
        let server = &mut self.servers[n];
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(server.config.with_extension("log")).arg(&self.binary);
        command.arg("-c").arg(&server.config).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("sh");
        let mut pid = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut pid).expect("its number");
        server.process = Some((child, pid.trim().parse().expect("a number")));
    }

    /// Starts one, if it does not run.
    pub fn run_if_dead(&mut self, n: usize) {
        if self.servers[n].process.is_none() {
            self.run(n);
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, n: usize) {
        if let Some((mut child, _)) = self.servers[n].process.take() {
            drop(child.stdin.take());
            child.wait().expect("a child of ours");
        }
    }

    /// SIGSTOP or SIGCONT, or any other.
    pub fn signal(&self, n: usize, signal: Signal) {
        if let Some((_, pid)) = &self.servers[n].process {
            let pid = Pid::from_raw(i32::try_from(*pid).expect("a pid")).expect("a pid");
            kill_process(pid, signal).expect("a child of ours");
        }
    }

    /// Cuts one off from the other two, or joins it to them again. Clients reach it all the same.
    pub fn cut(&self, n: usize, cut: bool) {
        let ways = self.between.iter().filter(|(from, to, _)| n == *from || n == *to);
        ways.for_each(|(.., network)| network.cut(cut));
    }

    /// Until all that run have a leader.
    pub fn wait(&self) {
        let end = Instant::now() + START;
        let there = |server: &Server| {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", server.monitor)) else { return false };
            let mut answer = String::new();
            let asked = stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n");
            asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.0 200")
        };
        while !self.servers.iter().filter(|server| server.process.is_some()).all(there) {
            assert!(Instant::now() < end, "the NATS servers do not come up within {START:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Where clients go.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.client).collect()
    }

    /// The lines of `[store]` for a node that reaches the servers by these ports.
    pub fn store(&self, node: &str, ports: &[u16], more: &str) -> String {
        let list = |scheme: &str, ports: &mut dyn Iterator<Item = u16>| {
            let all: Vec<_> = ports.map(|port| format!("\"{scheme}://127.0.0.1:{port}\"")).collect();
            all.join(", ")
        };
        let servers = list(self.scheme, &mut ports.iter().copied());
        let monitor = list("http", &mut self.servers.iter().map(|server| server.monitor));
        format!(
            "[store]\nkind = \"jetstream\"\nservers = [{servers}]\nmonitor = [{monitor}]\nnode = {node:?}\n{more}\n"
        )
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        (0..3).for_each(|n| self.kill(n));
    }
}
