//! `hermetic serve`: everything in its order, until a signal.
//!
//! Owns the start, the reload and the end of the server. Refuses to know what any of its parts do. Fails with
//! [`ServeError`]: the operator reads one sentence, and nothing has been announced.
//!
//! At the start: plugins, certificates, logins, store, engine, sockets; only then is anything said. SIGHUP reads the
//! configuration again and loads plugins that changed, aside ([`super::reload`]): what can not be used is refused as a
//! whole, and the old one stays. SIGTERM and SIGINT close the sockets, let messages arrive that are on their way, and close
//! the store; a second one does not wait.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    admin::{Admin, AdminError, desk::Desk},
    config::{Config, ConfigError, Kind},
    deliver::smtp::courier::{Courier, Means},
    dkim::{DkimError, Signers},
    dns::{self, Resolver},
    engine::{
        Engine,
        client::ClientEngine,
        pool::{EngineSettings, SetupError, WasmEngine},
    },
    files::make_private_folder,
    listen::{BindError, Current, Listeners, Shared},
    observe::{Health, Http, Metrics, events, http::HttpError},
    plugin::loaded::{NotLoaded, Plugins},
    policy::{
        Policy,
        auth::{Users, UsersError},
        chain::Chains,
        srs::{Srs, SrsError},
    },
    queue::{self, Bell, Orders, Rules as _},
    store::{self, Store, StoreError, sqlite::OpenError},
    tlsrpt::{Counts, Reporter, Ways},
    transport::{
        http::Client,
        tls::{Certificates, TlsError},
        trust::{Roots, RootsError},
    },
};

use super::reload::{self, Fresh, Reload};

/// How often certificates and logins are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long sessions that ended may still become files when the server ends.
const RECORDINGS: Duration = Duration::from_secs(5);

/// Why the server does not start, or stops.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Dns(#[from] dns::SetupError),
    #[error("outbound.roots: {0}")]
    Roots(#[from] RootsError),
    #[error(transparent)]
    Dkim(#[from] DkimError),
    #[error(transparent)]
    Srs(#[from] SrsError),
    #[error("the queue can not be read: {0}")]
    Queued(#[from] StoreError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Cluster(#[from] store::jetstream::OpenError),
    #[error(transparent)]
    Engine(#[from] SetupError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("admin.listen: {0}")]
    Endpoint(String),
    #[error("the folder {path} can not be made: {error}")]
    Data { path: PathBuf, error: io::Error },
    #[error("signals can not be received: {0}")]
    Signals(io::Error),
    #[error("there is no listener; add a [[listener]] to the configuration")]
    NoListener,
    #[error(transparent)]
    Plugins(#[from] NotLoaded),
    #[error("what was read aside never came back, which is a bug; the old configuration goes on")]
    Aside,
    #[error("the queue stopped, which is a bug; start again, no mail is lost")]
    Queue,
}

/// Serves until SIGTERM or SIGINT. `path` is where the configuration is read again; without one a reload only looks at
/// logins and certificates. `defaults`: nothing was configured, so whoever started this may want to know what to do.
pub async fn run(config: Arc<Config>, path: Option<PathBuf>, defaults: bool) -> Result<(), ServeError> {
    events::starting(env!("CARGO_PKG_VERSION"), &config.name);
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    let engine = sealed_engine(&config)?;
    let server = tokio::select! {
        server = Server::start(config, path, engine.clone(), Some(engine)) => server?,
        () = signals.end.comes() => {
            events::stopped(0);
            return Ok(());
        }
    };
    server.announce(defaults).await;
    server.until(&mut signals).await
}

/// The same with another engine, and nothing leaves: the benchmarks have one without a sandbox to compare with.
pub async fn run_with(config: Arc<Config>, engine: Arc<dyn Engine>) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    let server = Server::start(config, None, engine, None).await?;
    server.until(&mut signals).await
}

/// Compiled once and kept; one instance a session.
fn sealed_engine(config: &Config) -> Result<Arc<WasmEngine>, ServeError> {
    make_private_folder(&config.data).map_err(|error| ServeError::Data { path: config.data.clone(), error })?;
    Ok(Arc::new(WasmEngine::new(&EngineSettings {
        sessions: u32::try_from(config.limits.sessions).unwrap_or(u32::MAX),
        deadline: Duration::from_millis(config.engine.deadline),
        memory: config.engine.memory,
        cache: Some(config.data.join("engine")),
    })?))
}

struct Signals {
    end: End,
    hangup: Signal,
}

struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let end = End { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { end, hangup: signal(SignalKind::hangup())? })
    }
}

impl End {
    async fn comes(&mut self) {
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
    plugins: Plugins,
    reload: Reload,
    listeners: Listeners,
    health: Arc<Health>,
    courier: Option<Arc<Courier>>,
    queue: Queue,
    admin: Option<JoinHandle<()>>,
}

/// The queue's task, with the configuration that it looks at.
struct Queue {
    config: Arc<ArcSwap<Config>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Tells domains how TLS went, until the same `stop`.
    reports: Option<JoinHandle<()>>,
}

impl Server {
    async fn start(
        config: Arc<Config>,
        path: Option<PathBuf>,
        engine: Arc<dyn Engine>,
        client: Option<Arc<dyn ClientEngine>>,
    ) -> Result<Self, ServeError> {
        if config.listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        raise_descriptor_limit();
        make_private_folder(&config.data).map_err(|error| ServeError::Data { path: config.data.clone(), error })?;
        let plugins = reload::plugins(config.clone()).await?;
        let current = current(config.clone(), &plugins, None)?;
        let metrics = Metrics::new();
        let live = Arc::new(ArcSwap::new(config.clone()));
        let store = super::keep::open(&live, &metrics).await?;
        let shared = Shared::new(engine, store.clone(), metrics.clone(), current);
        // Whoever sees the server listen can reach this, too.
        let bell = Arc::new(Bell::default());
        let admin = admin(&live, &shared, &metrics, &bell).await?;
        let mut listeners = Listeners::default();
        listeners.become_these(&shared, &config.listeners)?;
        let health = Arc::new(Health::default());
        if let Some(address) = config.observe.http {
            let http = Http::bind(address).await?;
            events::listening("metrics", "metrics", http.address().unwrap_or(address));
            tokio::spawn(http.serve(metrics.clone(), health.clone()));
        }
        let courier = match client {
            Some(client) => {
                let resolver = Resolver::new(&config.dns)?;
                Some(Courier::new(&config, client, resolver, means(&config)?))
            }
            None => None,
        };
        if courier.is_some() && !config.outbound.hold {
            store.release(queue::NEEDS_OUTBOUND).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let reports = match &courier {
            Some(courier) => match tls_reports(&config.data, courier, &store, &shared, &metrics) {
                Ok(reporter) => {
                    let live = live.clone();
                    Some(tokio::spawn(reporter.run(move || live.load_full(), stopped.clone())))
                }
                // No reason to take no mail.
                Err(error) => {
                    tracing::warn!(%error, "tls-reports.db below `data` can not be used; no TLS reports are made until the next start");
                    None
                }
            },
            None => None,
        };
        let (rules, orders) = (shared.clone(), Orders { stop: stopped, bell });
        let carrier = courier.clone().map(|courier| courier as Arc<dyn queue::Carrier>);
        let deliveries = queue::run(store, live.clone(), Config::maildir, rules, carrier, metrics, orders);
        let task = tokio::spawn(deliveries);
        let reload = Reload::default();
        let queue = Queue { config: live, stop, task, reports };
        Ok(Self { path, shared, plugins, reload, listeners, health, courier, queue, admin })
    }

    /// The addresses, what waits in the queue, and, for a newcomer, how to see mail arrive.
    async fn announce(&self, defaults: bool) {
        let current = self.shared.current.load_full();
        if let Some(summary) = current.certificates.as_ref().map(|certificates| certificates.summary())
            && summary.self_signed
        {
            events::self_signed(summary.path.display(), &current.config.name);
        }
        match self.shared.store.counts().await {
            Ok(counts) => {
                let held = counts.held + counts.owed;
                if held > 0 {
                    events::held_at_start(usize::try_from(held).unwrap_or(usize::MAX));
                }
            }
            Err(error) => events::store_failed(error),
        }
        for (listener, address) in self.listeners.addresses() {
            events::listening(listener.kind.as_str(), &listener.label(), address);
        }
        if defaults {
            let mx = self.listeners.addresses().find(|(listener, _)| listener.kind == Kind::Mx);
            if let Some((_, address)) = mx {
                // Nobody may be reading.
                let _ = io::stdout().write_all(welcome(address, &current.config.data).as_bytes());
            }
        }
    }

    /// Serves until it should end, then ends well.
    async fn until(mut self, signals: &mut Signals) -> Result<(), ServeError> {
        let mut files = interval(LOOK_EVERY);
        files.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = signals.end.comes() => break,
                _ = signals.hangup.recv() => self.begin_reload(),
                fresh = self.reload.ready() => self.end_reload(fresh).await,
                _ = files.tick() => look(&self.shared),
                _ = &mut self.queue.task => return Err(ServeError::Queue),
            }
        }
        let seconds = self.shared.current.load().config.limits.drain;
        self.health.failing("drain", "the server is shutting down");
        events::draining(self.shared.caps.taken(), seconds);
        self.listeners.close().await;
        let cut = tokio::select! {
            cut = self.shared.drain(Duration::from_secs(seconds)) => cut,
            () = signals.end.comes() => self.shared.drain(Duration::ZERO).await,
        };
        // What is being delivered is delivered; whatever else happens, the next start finds it.
        self.queue.stop.send_replace(true);
        tokio::select! {
            _ = &mut self.queue.task => {}
            () = signals.end.comes() => self.queue.task.abort(),
        }
        if let Some(reports) = self.queue.reports {
            // It has counts in its hands, and is quick.
            let _ = reports.await;
        }
        if let Some(admin) = self.admin {
            admin.abort();
            // Its socket goes with it.
            let _ = admin.await;
        }
        let shared = self.shared.clone();
        let _ = tokio::task::spawn_blocking(move || shared.recorder.close(RECORDINGS)).await;
        self.shared.store.close().await;
        events::stopped(cut);
        Ok(())
    }

    fn begin_reload(&mut self) {
        let old = self.shared.current.load().config.clone();
        self.reload.wanted(self.path.clone(), old, self.plugins.clone());
    }

    /// All of the new configuration, or none of it.
    async fn end_reload(&mut self, fresh: Result<Fresh, ServeError>) {
        const ALL: &str = "configuration, plugins, users and certificates";
        let held = self.queue.config.load().outbound.hold;
        let result = fresh.and_then(|fresh| self.put_into_place(fresh));
        // Only now: what is held from here on is held by the new configuration, or the queue sees to it.
        let goes = held && !self.queue.config.load().outbound.hold;
        if goes
            && self.courier.is_some()
            && let Err(error) = self.shared.store.release(queue::NEEDS_OUTBOUND).await
        {
            events::store_failed(error);
        }
        self.shared.metrics.reloaded(result.is_ok());
        match result {
            Ok(()) => events::reloaded(ALL),
            Err(error) => events::reload_failed(ALL, error),
        }
        if self.reload.again() {
            self.begin_reload();
        }
    }

    fn put_into_place(&mut self, Fresh { config, plugins }: Fresh) -> Result<(), ServeError> {
        let old = self.shared.current.load_full();
        let new = current(config.clone(), &plugins, Some(&old))?;
        let means = means(&config)?;
        self.listeners.become_these(&self.shared, &config.listeners)?;
        if let Some(courier) = &self.courier {
            courier.become_these(means);
        }
        self.plugins = plugins;
        self.shared.current.store(Arc::new(new));
        self.queue.config.store(config.clone());
        for key in needs_restart(&old.config, &config) {
            tracing::warn!(key, "the change counts from the next start");
        }
        Ok(())
    }
}

/// Serves operators, if that is wanted. Where nobody has said where, a socket that can not be had is no reason not to start.
async fn admin(
    config: &Arc<ArcSwap<Config>>,
    shared: &Arc<Shared>,
    metrics: &Arc<Metrics>,
    bell: &Arc<Bell>,
) -> Result<Option<JoinHandle<()>>, ServeError> {
    let current = config.load_full();
    let Some(endpoint) = current.admin.endpoint(&current.data).map_err(ServeError::Endpoint)? else { return Ok(None) };
    let desk = Desk::new(shared.store.clone(), shared.clone(), config.clone(), metrics.clone(), bell.clone());
    match Admin::open(&endpoint, &current.data, desk).await {
        Ok(admin) => {
            events::listening("admin", "admin", admin.endpoint());
            Ok(Some(tokio::spawn(admin.serve())))
        }
        Err(error @ AdminError::Bind { .. }) if current.admin.listen.is_none() => {
            events::admin_unavailable(error);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Who counts how TLS goes on the way out, and tells the domains.
fn tls_reports(
    data: &Path,
    courier: &Arc<Courier>,
    store: &Arc<dyn Store>,
    shared: &Arc<Shared>,
    metrics: &Arc<Metrics>,
) -> Result<Reporter, rusqlite::Error> {
    let counts = Arc::new(Counts::default());
    let (rules, sender) = (shared.clone(), courier.clone());
    let ways = Ways { place: Box::new(move |address| rules.place(address)), client: Box::new(move || sender.client()) };
    let resolver = courier.resolver().clone();
    let reporter = Reporter::open(data, counts.clone(), store.clone(), resolver, ways, metrics.clone())?;
    courier.count_with(counts);
    Ok(reporter)
}

/// What outgoing mail is signed and judged by.
fn means(config: &Config) -> Result<Means, ServeError> {
    let roots = Roots::load(config.outbound.roots.as_deref())?;
    let client = if config.outbound.roots.is_some() { Client::trusting(roots.store()) } else { Client::new() };
    Ok(Means { signers: Signers::load(config)?, roots, client })
}

/// What a reload can not change.
fn needs_restart<'a>(old: &Config, new: &Config) -> impl Iterator<Item = &'a str> {
    [
        ("data", old.data != new.data),
        ("dns", old.dns != new.dns),
        ("outbound.https-port", old.outbound.https_port != new.outbound.https_port),
        ("outbound.most-connections", old.outbound.most_connections != new.outbound.most_connections),
        ("engine.deadline", old.engine.deadline != new.engine.deadline),
        ("engine.memory", old.engine.memory != new.engine.memory),
        ("limits.free-space", old.limits.free_space != new.limits.free_space),
        ("limits.judged-content", old.limits.judged_content != new.limits.judged_content),
        ("limits.sessions, beyond what it was", old.limits.sessions < new.limits.sessions),
        ("store", old.store != new.store),
        ("observe", old.observe != new.observe),
        ("admin", old.admin != new.admin),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
}

/// Everything that a configuration brings, except what lives as long as the process. What the `old` one read from the
/// same files goes on living, with its memory of failed logins.
fn current(config: Arc<Config>, plugins: &Plugins, old: Option<&Current>) -> Result<Current, ServeError> {
    let users = match old {
        Some(old) if old.config.users_file() == config.users_file() => {
            old.users.reload()?;
            old.users.clone()
        }
        _ => Arc::new(Users::load(&config.users_file())?),
    };
    let certificates = Certificates::load(&config.tls, &config.data, &config.name)?;
    let policy = Policy::new(config.clone(), users.clone())?.rewriting(Srs::load(&config)?);
    let policy = Arc::new(policy);
    let chains = Chains::new(&config, &plugins.by_name());
    Ok(Current { config, policy, users, certificates: Some(certificates), chains })
}

/// Certificates and logins that changed on disk.
fn look(shared: &Shared) {
    let current = shared.current.load();
    let told = |what, result: Result<bool, String>| match result {
        Ok(false) => {}
        Ok(true) => {
            shared.metrics.reloaded(true);
            events::reloaded(what);
        }
        Err(error) => {
            shared.metrics.reloaded(false);
            events::reload_failed(what, error);
        }
    };
    if let Some(certificates) = &current.certificates {
        told("certificate", certificates.reload().map_err(|error| error.to_string()));
    }
    told("users", current.users.reload().map_err(|error| error.to_string()));
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
