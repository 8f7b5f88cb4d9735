//! Three NATS servers on loopback, for tests: started once for a process, and gone with it.
//!
//! Owns the processes, their ports and folders. Where there is no `nats-server` the tests that want one are skipped with a word; with
//! `CI=true` they fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use super::{Durability, JetStreamStore, Placement, Settings, open};

/// One server; it is killed when its standard input ends, so it never outlives the tests.
struct Server {
    config: PathBuf,
    process: Option<Child>,
    client: u16,
    monitor: u16,
}

/// See the module.
pub(crate) struct Cluster {
    servers: parking_lot::Mutex<Vec<Server>>,
    binary: PathBuf,
    _folder: tempfile::TempDir,
}

/// The server's program: `NATS_SERVER`, in the path, or where the tests install it.
fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/nats/bin");
    std::env::split_paths(&path).chain([installed]).map(|folder| folder.join("nats-server")).find(|file| file.is_file())
}

fn ports<const N: usize>() -> [u16; N] {
    // All at once, so that none is given twice.
    let sockets: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

impl Cluster {
    /// The cluster that the tests of this process share.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        static SHARED: OnceLock<Option<Arc<Cluster>>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("always").map(Arc::new)).clone()
    }

    /// One of its own.
    pub(crate) fn start(sync: &str) -> Option<Self> {
        let Some(binary) = binary() else {
            assert!(std::env::var_os("CI").is_none(), "nats-server is missing: run tests/clients/install.sh");
            eprintln!("skipped: nats-server is missing; tests/clients/install.sh installs it");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (client, monitor, route): ([u16; 3], [u16; 3], [u16; 3]) = (ports(), ports(), ports());
        let routes = route.map(|port| format!("\"nats://127.0.0.1:{port}\"")).join(", ");
        let mut servers = Vec::new();
        for n in 0..3 {
            let config = folder.path().join(format!("{n}.conf"));
            let text = format!(
                "server_name: n{n}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n\
                 jetstream {{ store_dir: {:?}, sync_interval: {sync}, max_mem: 64M, max_file: 64G }}\n\
                 cluster {{ name: tests, listen: \"127.0.0.1:{}\", routes: [{routes}] }}\n",
                client[n],
                monitor[n],
                folder.path().join(format!("{n}")),
                route[n]
            );
            std::fs::write(&config, text).unwrap();
            servers.push(Server { config, process: None, client: client[n], monitor: monitor[n] });
        }
        let cluster = Self { servers: parking_lot::Mutex::new(servers), binary, _folder: folder };
        (0..3).for_each(|n| cluster.run(n));
        cluster.wait();
        Some(cluster)
    }

    /// Starts a server that does not run.
    pub(crate) fn run(&self, n: usize) {
        let mut servers = self.servers.lock();
        let log = std::fs::File::create(servers[n].config.with_extension("log")).unwrap();
        let process = Command::new("sh")
            .args(["-c", r#""$@" & pid=$!; cat >/dev/null; kill -9 $pid"#, "sh"])
            .arg(&self.binary)
            .arg("-c")
            .arg(&servers[n].config)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        servers[n].process = Some(process);
    }

    /// Kills a server, as `kill -9` does.
    pub(crate) fn kill(&self, n: usize) {
        if let Some(mut process) = self.servers.lock()[n].process.take() {
            drop(process.stdin.take());
            process.wait().unwrap();
        }
    }

    /// Until JetStream has a leader.
    pub(crate) fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        let ports: Vec<u16> = self.servers.lock().iter().map(|server| server.monitor).collect();
        while !ports.iter().all(|port| healthy(*port)) {
            assert!(Instant::now() < until, "the NATS servers do not come up");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn settings(&self, name: &str, node: &str) -> Settings {
        let servers = self.servers.lock();
        Settings {
            servers: servers.iter().map(|server| format!("nats://127.0.0.1:{}", server.client)).collect(),
            name: name.into(),
            node: node.into(),
            replicas: 3,
            lease: Duration::from_secs(3),
            durability: Durability::Checked(
                servers.iter().map(|server| format!("http://127.0.0.1:{}", server.monitor)).collect(),
            ),
            user: None,
            password_file: None,
            credentials: None,
            roots: None,
            certificate: None,
        }
    }

    /// A store of this name on these servers; everything may be done anywhere.
    pub(crate) async fn open(&self, name: &str, node: &str, data: &Path) -> Arc<JetStreamStore> {
        let everywhere: Placement = Arc::new(|_| None);
        open(&self.settings(name, node), data, everywhere).await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..3).for_each(|n| self.kill(n));
    }
}

/// What `/healthz` says.
fn healthy(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n");
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.0 200")
}

/// The streams of one test, which go with it.
pub(crate) struct Namespace {
    pub(crate) name: String,
    server: String,
}

impl Namespace {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let server = cluster.settings("", "").servers.swap_remove(0);
        Self { name: super::tests::name(), server }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), self.server.clone());
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let Ok(client) = async_nats::connect(server).await else { return };
                let context = async_nats::jetstream::new(client);
                for stream in
                    [name.clone(), format!("{name}-WHY"), format!("{name}-KEYS"), format!("OBJ_{name}-BODIES")]
                {
                    let _ = context.delete_stream(stream).await;
                }
            });
        });
        let _ = gone.join();
    }
}

impl Cluster {
    /// How many objects there are.
    pub(crate) async fn objects(&self, name: &str) -> usize {
        use futures_util::StreamExt as _;
        let client = async_nats::connect(self.settings("", "").servers).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let objects = context.get_object_store(format!("{name}-BODIES")).await.unwrap();
        objects.list().await.unwrap().filter(|object| std::future::ready(object.is_ok())).count().await
    }
}
