//! From an operator's settings to a store that works: the connection, the streams, and what the servers promise.
//!
//! Owns what is made on the servers, and the refusal to start where "acknowledged" would not mean "on the disks of a majority". Refuses to
//! know mail. Fails with [`OpenError`], which is the operator's to mend.
//!
//! A NATS client can not see how often a server syncs: neither the protocol nor the JetStream API says it. Their monitoring port
//! does (`/varz`), so it is asked of each server; or the operator declares it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions,
    jetstream::{self, object_store, stream::Config},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde::Deserialize;

use super::{
    Core, JetStreamStore,
    link::{self, Link},
    manage::Lists,
    objects::Objects,
    presence::Presence,
    record::ANY,
    reports::Reports,
    why::{self, Why},
    work::Work,
};
use crate::{
    store::{
        Placement, StoreError, durable,
        sqlite::{Ids, Lock},
    },
    transport::http::{Client as Http, Pieces},
};

/// How often it is looked at whether servers still sync as they promised.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// All leases are looked at once in so many, though nothing seems to be wrong.
const ROUTINE: u32 = 20;
/// The largest record is a message of as many recipients as one may have: the default of nats-server.
const PAYLOAD: usize = 1024 * 1024;
/// An answer of a monitoring port.
const MONITOR: Duration = Duration::from_secs(3);

/// Why the store can not be opened. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No server can be reached, or none lets us in.
    #[error("store.servers: {0}")]
    Connect(String),
    /// A file that says whom to trust, or who we are.
    #[error("store.{key}: {path}: {error}")]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it can not be used.
        error: String,
    },
    /// 250 would not mean what it says.
    #[error("{0}")]
    Weak(String),
    /// They do not answer as they should, which may pass.
    #[error("the NATS servers: {0}")]
    Servers(String),
    /// What is on the servers is not what this node needs.
    #[error("the NATS servers: {0}")]
    Unfit(String),
    /// The data folder.
    #[error("{0}")]
    Folder(String),
    /// While it was read for the first time.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Is it worth a wait? Servers that have just come up, or lost one of them, choose who leads.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Servers(_) | Self::Store(_))
    }
}

/// Who says that servers sync before they acknowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Their monitoring ports, one each: `http://127.0.0.1:8222`.
    Checked(Vec<String>),
    /// The operator.
    Declared,
    /// Nobody, and the operator wants it so: the mail of the last two minutes may be lost if the power of a majority fails.
    Weak,
}

/// What an operator says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `nats://127.0.0.1:4222`, `tls://…`.
    pub servers: Vec<String>,
    /// What streams and subjects begin with.
    pub name: String,
    /// This node.
    pub node: String,
    /// Copies of each record.
    pub replicas: usize,
    /// How long a node may be silent.
    pub lease: Duration,
    /// Who says that servers sync.
    pub durability: Durability,
    /// A login, and the file with its password; or, without a login, with a token.
    pub user: Option<String>,
    /// See `user`.
    pub password_file: Option<PathBuf>,
    /// Credentials, or an NKey's seed.
    pub credentials: Option<PathBuf>,
    /// Whom to trust instead of the system's roots.
    pub roots: Option<PathBuf>,
    /// Our certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

fn tls(settings: &Settings) -> Result<ClientConfig, OpenError> {
    let file = |key, path: &Path, error: &dyn std::fmt::Display| OpenError::File {
        key,
        path: path.into(),
        error: error.to_string(),
    };
    let certificates = |key, path: &Path| {
        let read = CertificateDer::pem_file_iter(path).map_err(|error| file(key, path, &error))?;
        read.collect::<Result<Vec<_>, _>>().map_err(|error| file(key, path, &error))
    };
    let mut roots = RootCertStore::empty();
    match &settings.roots {
        Some(path) => {
            for certificate in certificates("roots", path)? {
                roots.add(certificate).map_err(|error| file("roots", path, &error))?;
            }
            if roots.is_empty() {
                return Err(file("roots", path, &"there is no certificate in it"));
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Connect(error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &settings.certificate else { return Ok(config.with_no_client_auth()) };
    let chain = certificates("certificate", certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| file("key", key, &error))?;
    config.with_client_auth_cert(chain, private).map_err(|error| file("certificate", certificate, &error))
}

/// Connects, and goes on trying for ever once it was connected.
pub(super) async fn connect(settings: &Settings) -> Result<Client, OpenError> {
    let mut options = ConnectOptions::new()
        .name(format!("hermetic {}", settings.node))
        .tls_client_config(tls(settings)?)
        .request_timeout(Some(link::ANSWER))
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(5))
        .subscription_capacity(64 * 1024)
        .reconnect_delay_callback(|tries| Duration::from_millis(50 * (tries as u64).clamp(1, 20)));
    if settings.servers.iter().all(|server| server.starts_with("tls://")) {
        options = options.require_tls(true);
    }
    let file = |key, path: &Path, error: String| OpenError::File { key, path: path.into(), error };
    if let Some(path) = &settings.credentials {
        let key = "credentials";
        let read = std::fs::read_to_string(path).map_err(|error| file(key, path, error.to_string()))?;
        options = match read.trim() {
            seed if seed.starts_with("SU") && !seed.contains(char::is_whitespace) => options.nkey(seed.into()),
            _ => options.credentials(&read).map_err(|error| file(key, path, error.to_string()))?,
        };
    }
    if let Some(path) = &settings.password_file {
        let read = std::fs::read_to_string(path).map_err(|error| file("password-file", path, error.to_string()))?;
        let secret = read.trim_end_matches(['\r', '\n']).to_owned();
        options = match settings.user.clone() {
            Some(user) => options.user_and_password(user, secret),
            None => options.token(secret),
        };
    }
    let connected = options.connect(settings.servers.clone()).await;
    connected.map_err(|error| OpenError::Connect(format!("{}: {error}", settings.servers.join(", "))))
}

/// The part of `/varz` that matters.
#[derive(Deserialize)]
pub(super) struct Varz {
    pub(super) server_name: String,
    pub(super) version: String,
    jetstream: Option<VarzJetStream>,
}

impl Varz {
    /// It syncs what it acknowledges.
    pub(super) fn syncs(&self) -> bool {
        let config = self.jetstream.as_ref().and_then(|jetstream| jetstream.config.as_ref());
        config.is_some_and(|config| config.sync_always)
    }
}

#[derive(Deserialize)]
struct VarzJetStream {
    config: Option<VarzConfig>,
}

#[derive(Deserialize)]
struct VarzConfig {
    #[serde(default)]
    sync_always: bool,
}

pub(super) async fn ask(url: &str) -> Result<Varz, String> {
    let host = url.strip_prefix("http://").ok_or("it must begin with http://")?.trim_end_matches('/');
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(host).await.map_err(|error| error.to_string())?.collect();
    let request = hyper::Request::get("/varz").header("host", host).body(Pieces::new([]));
    let client = Http::new();
    let answer = client.send(&addresses, None, request.map_err(|error| error.to_string())?);
    let answer =
        tokio::time::timeout(MONITOR, answer).await.map_err(|_| "no answer")?.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("what it answers is not /varz of nats-server: {error}"))
}

/// Do those who keep the stream sync before they acknowledge? A server that can not be asked is allowed as long as a majority can.
pub(super) async fn verify(monitors: &[String], keepers: &[String]) -> Result<(), OpenError> {
    let mut asked = HashMap::new();
    let mut silent = Vec::new();
    for url in monitors {
        match ask(url).await {
            Ok(varz) => {
                if !varz.syncs() {
                    return Err(OpenError::Weak(format!(
                        "the NATS server {} ({url}) does not sync what it acknowledges, so a loss of power could lose mail that was \
                         answered 250; set `sync_interval: always` in its jetstream block, or store.sync = \"weak\" to live with that",
                        varz.server_name
                    )));
                }
                asked.insert(varz.server_name, varz.version);
            }
            Err(error) => {
                tracing::warn!(url, error, "a NATS server can not be asked whether it syncs");
                silent.push(format!("{url}: {error}"));
            }
        }
    }
    let known = keepers.iter().filter(|keeper| asked.contains_key(*keeper)).count();
    if known * 2 <= keepers.len() {
        let keepers = keepers.join(", ");
        let silent = if silent.is_empty() { String::new() } else { format!(" ({})", silent.join("; ")) };
        return Err(OpenError::Weak(format!(
            "of the NATS servers that keep the mail ({keepers}) no majority could be asked whether they sync what they acknowledge{silent}; \
             name the monitoring port of each in store.monitor, or set store.sync = \"declared\" if you have seen to it"
        )));
    }
    Ok(())
}

/// The stream as it should be: made, or given more copies.
pub(super) async fn stream(context: &jetstream::Context, config: Config) -> Result<Vec<String>, OpenError> {
    let servers = |error: &dyn std::fmt::Display| OpenError::Servers(format!("stream {}: {error}", config.name));
    let stream = context.get_or_create_stream(config.clone()).await.map_err(|error| servers(&error))?;
    let mut info = stream.cached_info().clone();
    if info.config.num_replicas < config.num_replicas {
        let more = Config { num_replicas: config.num_replicas, ..info.config.clone() };
        info = context.update_stream(more).await.map_err(|error| servers(&error))?;
    }
    if info.config.allow_atomic_publish != config.allow_atomic_publish
        || info.config.max_messages_per_subject.max(0) != config.max_messages_per_subject.max(0)
    {
        return Err(OpenError::Unfit(format!(
            "stream {}: it is not one of ours; choose another store.stream",
            config.name
        )));
    }
    Ok(keepers(&info))
}

/// Who has the stream.
pub(super) fn keepers(info: &jetstream::stream::Info) -> Vec<String> {
    let Some(cluster) = &info.cluster else { return Vec::new() };
    cluster.leader.iter().cloned().chain(cluster.replicas.iter().map(|replica| replica.name.clone())).collect()
}

/// Opens the store, and makes on the servers what is missing. `data` is this node's own folder.
pub async fn open(settings: &Settings, data: &Path, placement: Placement) -> Result<Arc<JetStreamStore>, OpenError> {
    let folder = data.join("store");
    let io = |error: std::io::Error| OpenError::Folder(format!("{}: {error}", folder.display()));
    durable::make(&folder, |_| false).map_err(io)?;
    let lock = Lock::take(data, &folder).map_err(|error| OpenError::Folder(error.to_string()))?;
    let client = connect(settings).await?;
    if !client.is_server_compatible(2, 12, 0) {
        return Err(OpenError::Unfit(format!(
            "{} is of version {}; atomic writes and schedules need 2.12 or later",
            client.server_info().server_name,
            client.server_info().version
        )));
    }
    if client.server_info().max_payload < PAYLOAD {
        return Err(OpenError::Unfit(format!(
            "max_payload is {}; set it to 1MB, which is its default, or more",
            client.server_info().max_payload
        )));
    }
    let mut context = jetstream::new(client.clone());
    // To make a stream takes an election.
    context.set_timeout(Duration::from_secs(20));
    let mut keepers = stream(&context, link::config(&settings.name, settings.replicas)).await?;
    if keepers.is_empty() {
        keepers.push(client.server_info().server_name);
    }
    match &settings.durability {
        Durability::Checked(monitors) => verify(monitors, &keepers).await?,
        Durability::Declared => {}
        Durability::Weak => tracing::error!(
            "store.sync is \"weak\": mail that was answered 250 in the last minutes may be lost if the power of a majority of NATS servers fails"
        ),
    }
    stream(&context, why::config(&settings.name, settings.replicas)).await?;
    let bucket = Objects::bucket(&settings.name);
    if context.get_object_store(&bucket).await.is_err() {
        let config =
            object_store::Config { bucket, num_replicas: settings.replicas, max_bytes: -1, ..Default::default() };
        context.create_object_store(config).await.map_err(|error| OpenError::Servers(error.to_string()))?;
    }
    let objects = Objects::open(client.clone(), &settings.name).await.map_err(StoreError::from)?;
    let link = Link::open(client.clone(), &settings.name).await.map_err(StoreError::from)?;
    let remembered = folder.join("epoch");
    let before = std::fs::read_to_string(&remembered).ok();
    let presence = Presence::begin(link.clone(), &settings.node, settings.lease, before.as_deref()).await?;
    std::fs::write(&remembered, presence.epoch()).map_err(io)?;
    let reports = Reports::default();
    reports.load(&link, &settings.node).await.map_err(StoreError::from)?;
    let core = Arc::new(Core {
        work: Work::new(link.clone(), presence.clone()),
        why: Why::new(client, &settings.name),
        ids: Ids::after(0),
        counting: tokio::sync::Mutex::default(),
        unfinished: parking_lot::Mutex::default(),
        lists: Lists::default(),
        link,
        presence,
        placement,
        objects,
        reports,
        data: folder,
    });
    let mut tasks = vec![
        tokio::spawn(core.work.clone().pull(ANY.into())),
        tokio::spawn(core.work.clone().pull(settings.node.clone())),
        tokio::spawn(beat(core.clone())),
        tokio::spawn(live(core.clone(), remembered)),
        tokio::spawn(take_over(core.clone())),
    ];
    let sweeper = core.clone();
    tasks.push(tokio::spawn(async move { sweeper.sweep_now_and_then().await }));
    if let Durability::Checked(monitors) = settings.durability.clone() {
        tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(ASK_AGAIN).await;
                if let Err(error) = verify(&monitors, &keepers).await {
                    tracing::error!(%error, "the NATS servers no longer promise what they did");
                }
            }
        }));
    }
    Ok(Arc::new(JetStreamStore { core, tasks: parking_lot::Mutex::new(tasks), _lock: lock }))
}

/// How often a node looks whether there is something to do about itself and the others.
fn step(lease: Duration) -> Duration {
    (lease / 20).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

/// Beats, whatever else takes its time.
async fn beat(core: Arc<Core>) {
    loop {
        if let Err(error) = core.presence.keep().await {
            tracing::debug!(?error, "no beat");
        }
        tokio::time::sleep(step(core.presence.lease)).await;
    }
}

/// Listens to the others, and speaks for what waits here.
async fn live(core: Arc<Core>, remembered: PathBuf) {
    let mut epoch = core.presence.epoch();
    let mut spoken = tokio::time::Instant::now();
    loop {
        match core.presence.watch().await {
            Ok(true) => core.work.look_at_all(),
            Ok(false) => {}
            Err(error) => tracing::debug!(?error, "the other nodes are not seen"),
        }
        if let Ok(true) = core.presence.heed().await {
            core.work.give_back(|_| true);
            core.work.wake();
        }
        if spoken.elapsed() > core.work.speaks_every() {
            spoken = tokio::time::Instant::now();
            core.work.speak_for().await;
        }
        if core.presence.epoch() != epoch {
            epoch = core.presence.epoch();
            core.work.look_at_all();
            let _ = std::fs::write(&remembered, &epoch);
        }
        tokio::time::sleep(step(core.presence.lease)).await;
    }
}

/// Takes over what others leave, and finishes what they or this node began. It may take long, so nothing waits for it.
async fn take_over(core: Arc<Core>) {
    let (lease, work) = (core.presence.lease, &core.work);
    let mut looked = tokio::time::Instant::now();
    loop {
        let all = work.look.swap(false, Ordering::AcqRel);
        let doubt = looked.elapsed() > lease && work.doubt.swap(false, Ordering::AcqRel);
        if all || doubt || looked.elapsed() > lease * ROUTINE {
            match work.recover(all).await {
                Ok(0) => {}
                Ok(n) => tracing::info!(entries = n, "entries of a node that is gone are free"),
                Err(error) => {
                    tracing::debug!(?error, "leases can not be read");
                    work.look.fetch_or(all, Ordering::AcqRel);
                    work.doubt.store(true, Ordering::Release);
                }
            }
            looked = tokio::time::Instant::now();
        }
        // Whoever died may have had no time for it.
        if all && let Err(error) = core.find_unfinished().await {
            tracing::debug!(?error, "unfinished messages are not looked for");
            work.look.store(true, Ordering::Release);
        }
        core.finish().await;
        let _ = tokio::time::timeout(step(lease), work.looking.notified()).await;
    }
}
