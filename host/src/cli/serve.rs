//! `hermetic serve`: everything in its order, until a signal.
//!
//! Owns the start, the reload and the end of the server. Refuses to know what any of its parts do. Fails with
//! [`ServeError`]: the operator reads one sentence, and nothing has been announced.
//!
//! At the start: certificates, logins, store, engine, sockets; only then is anything said. SIGHUP reads the
//! configuration again: what can not be used is refused as a whole, and the old one stays. SIGTERM and SIGINT close the
//! sockets, let messages arrive that are on their way, and close the store; a second one does not wait.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    config::{Config, ConfigError, Kind},
    engine::pool::{EngineSettings, SetupError, WasmEngine},
    listen::{BindError, Current, Listeners, Shared},
    policy::{Policy, auth::Users},
    store::{Store, StoreError},
    transport::tls::{Certificates, TlsError},
};

/// How often certificates are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(10);

/// Why the server does not start, or stops.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Engine(#[from] SetupError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the folder {path} can not be made: {error}")]
    Data { path: PathBuf, error: io::Error },
    #[error("signals can not be received: {0}")]
    Signals(io::Error),
    #[error("there is no listener; add a [[listener]] to the configuration")]
    NoListener,
    #[error("the queue stopped")]
    Queue,
}

/// Serves until SIGTERM or SIGINT. `path` is where the configuration is read again; without one a reload only looks at
/// logins and certificates. `defaults`: nothing was configured, so whoever started this may want to know what to do.
pub async fn run(config: Arc<Config>, path: Option<PathBuf>, defaults: bool) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    let server = Server::start(config, path).await?;
    server.announce(defaults).await;
    server.until(&mut signals).await
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A running server.
struct Server {
    path: Option<PathBuf>,
    shared: Arc<Shared>,
    listeners: Listeners,
    queue: JoinHandle<()>,
}

impl Server {
    async fn start(config: Arc<Config>, path: Option<PathBuf>) -> Result<Self, ServeError> {
        if config.listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        raise_descriptor_limit();
        std::fs::create_dir_all(&config.data)
            .map_err(|error| ServeError::Data { path: config.data.clone(), error })?;
        let current = current(config.clone())?;
        let store = store(&config).await?;
        let engine = WasmEngine::new(&EngineSettings {
            sessions: u32::try_from(config.limits.sessions).unwrap_or(u32::MAX),
            deadline: Duration::from_millis(config.engine.deadline),
            memory: config.engine.memory,
            cache: Some(config.data.join("engine")),
        })?;
        let shared = Shared::new(Arc::new(engine), store.clone(), current);
        let mut listeners = Listeners::default();
        listeners.become_these(&shared, &config.listeners)?;
        let queue = tokio::spawn(queue(shared.clone(), store));
        Ok(Self { path, shared, listeners, queue })
    }

    /// The addresses, what waits in the queue, and, for a newcomer, how to see mail arrive.
    async fn announce(&self, defaults: bool) {
        let config = self.shared.current.load().config.clone();
        for (listener, address) in self.listeners.addresses() {
            tracing::info!(kind = listener.kind.as_str(), address, "listening");
        }
        match self.shared.store.list().await {
            Ok(all) => {
                let mut held: BTreeMap<String, usize> = BTreeMap::new();
                for entry in all.iter().filter(|entry| entry.state == "held" || entry.state == "owed") {
                    *held.entry(entry.reason.clone().unwrap_or_else(|| entry.state.clone())).or_default() += 1;
                }
                for (reason, entries) in held {
                    tracing::warn!(entries, reason, "mail is held; `hermetic queue list` shows it");
                }
            }
            Err(error) => tracing::error!(%error, "the queue can not be listed"),
        }
        tracing::info!(name = config.name, data = %config.data.display(), "ready");
        if defaults {
            let mx = self.listeners.addresses().find(|(listener, _)| listener.kind == Kind::Mx);
            if let Some((_, address)) = mx {
                // Nobody may be reading.
                let _ = io::stdout().write_all(welcome(address, &config.data).as_bytes());
            }
        }
    }

    /// Serves until it should end, then ends well.
    async fn until(mut self, signals: &mut Signals) -> Result<(), ServeError> {
        let mut certificates = interval(CERTIFICATES_EVERY);
        certificates.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = signals.end() => break,
                _ = signals.hangup.recv() => self.reload(),
                _ = certificates.tick() => renew(&self.shared),
                _ = &mut self.queue => return Err(ServeError::Queue),
            }
        }
        let most = Duration::from_secs(self.shared.current.load().config.limits.drain);
        tracing::info!(sessions = self.shared.caps.taken(), "stopping");
        self.listeners.close().await;
        tokio::select! {
            () = self.shared.drain(most) => {}
            () = signals.end() => tracing::warn!("stopped without waiting"),
        }
        // A delivery that is cut off is found again at the next start.
        self.queue.abort();
        let _ = self.queue.await;
        self.shared.store.close().await;
        tracing::info!("stopped");
        Ok(())
    }

    /// All of the new configuration, or none of it.
    fn reload(&mut self) {
        match self.try_reload() {
            Ok(()) => tracing::info!("configuration, logins and certificates reloaded"),
            Err(error) => tracing::error!(%error, "not reloaded, the old configuration stays"),
        }
    }

    fn try_reload(&mut self) -> Result<(), ServeError> {
        let old = self.shared.current.load().config.clone();
        let config = match &self.path {
            Some(path) => {
                let loaded = Config::load(path)?;
                for warning in loaded.warnings {
                    tracing::warn!("{warning}");
                }
                Arc::new(loaded.config)
            }
            None => old.clone(),
        };
        if config.listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        let new = current(config.clone())?;
        self.listeners.become_these(&self.shared, &config.listeners)?;
        self.shared.current.store(Arc::new(new));
        for key in needs_restart(&old, &config) {
            tracing::warn!(key, "this change counts from the next start");
        }
        Ok(())
    }
}

/// What a reload can not change.
fn needs_restart<'a>(old: &Config, new: &Config) -> impl Iterator<Item = &'a str> {
    [
        ("data", old.data != new.data),
        ("engine.deadline", old.engine.deadline != new.engine.deadline),
        ("engine.memory", old.engine.memory != new.engine.memory),
        ("queue", old.queue != new.queue),
        ("limits.free-space", old.limits.free_space != new.limits.free_space),
        ("limits.sessions, beyond what it was", old.limits.sessions < new.limits.sessions),
        ("observe", old.observe != new.observe),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
}

/// Everything that a configuration brings, except what lives as long as the process.
fn current(config: Arc<Config>) -> Result<Current, ServeError> {
    let certificates = Certificates::load(&config.tls, &config.data, &config.name)?;
    let users = Arc::new(Users::load(&users_file(&config))?);
    let policy = Arc::new(Policy::new(config.clone(), users.clone())?);
    Ok(Current { config, policy, users, certificates: Some(certificates) })
}

fn users_file(config: &Config) -> PathBuf {
    config.users.file.clone().unwrap_or_else(|| config.data.join("users.toml"))
}

/// Certificates that were renewed on disk.
fn renew(shared: &Shared) {
    if let Some(certificates) = &shared.current.load().certificates {
        match certificates.reload() {
            Ok(true) => tracing::info!("new certificates are in use"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the new certificates can not be used, the old ones stay"),
        }
    }
}

/// One descriptor a session: as many as the system allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Three ways to send a first message.
fn welcome(address: &str, data: &Path) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "2525"));
    let maildir = data.join("mail/example.test/you/new");
    format!(
        "
Hermetic is listening, for this machine only, and takes mail for anybody at example.test. Send some:

  swaks --server {address} --from me@example.test --to you@example.test
  printf 'Subject: hello\\n\\nfrom curl\\n' | curl --crlf smtp://{address} --mail-from me@example.test --mail-rcpt you@example.test -T -
  python3 -c \"import smtplib; smtplib.SMTP('{host}', {port}).sendmail('me@example.test', 'you@example.test', 'Subject: hello\\n\\nfrom Python')\"

It arrives in {}.
",
        maildir.display()
    )
}
