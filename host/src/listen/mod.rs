//! Listeners, connections, sessions.
//!
//! Owns the accept loops and what all sessions share. Refuses to know what a session says. A connection that can not be
//! accepted, a session that panics or an engine that traps harms nobody else.
//!
//! [`Listeners`] opens sockets and serves them; each connection becomes a task that runs `drive::run`.

mod answer;
mod caps;
mod drive;
mod journal;
mod seal;
mod socket;
mod transaction;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

pub use caps::Caps;
pub use socket::{BindError, Bound};

use crate::{
    config::{Config, Kind, Listener},
    engine::Engine,
    policy::{Policy, auth::Users},
    store::Store,
    transport::{Socket, tls::Certificates},
};

/// How long accepting rests when the system has no descriptor left for a connection.
const REST: Duration = Duration::from_millis(200);

/// What a reload replaces, all at once.
pub struct Current {
    /// As it was read.
    pub config: Arc<Config>,
    /// What it says.
    pub policy: Arc<Policy>,
    /// Who may log in.
    pub users: Arc<Users>,
    /// For TLS; without any, none is offered.
    pub certificates: Option<Arc<Certificates>>,
}

/// What all sessions share.
pub struct Shared {
    /// Opens sessions.
    pub engine: Arc<dyn Engine>,
    /// Takes messages.
    pub store: Arc<dyn Store>,
    /// Replaced at a reload.
    pub current: ArcSwap<Current>,
    /// Who sits here.
    pub caps: Arc<Caps>,
    phase: watch::Sender<Phase>,
}

/// How the server stands to its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// They go on.
    Open,
    /// They end as soon as no message is on its way.
    Draining,
    /// They end now.
    Over,
}

impl Shared {
    /// For the sessions to come.
    pub fn new(engine: Arc<dyn Engine>, store: Arc<dyn Store>, current: Current) -> Arc<Self> {
        Arc::new(Self {
            engine,
            store,
            current: ArcSwap::from_pointee(current),
            caps: Arc::default(),
            phase: watch::Sender::new(Phase::Open),
        })
    }

    /// Lets every session end: those without a message now, the others after it, all at the latest after `most`.
    /// The listeners should be closed before.
    pub async fn drain(&self, most: Duration) {
        self.phase.send_replace(Phase::Draining);
        if tokio::time::timeout(most, self.caps.empty()).await.is_err() {
            tracing::warn!(sessions = self.caps.taken(), "sessions cut off at the end");
            self.phase.send_replace(Phase::Over);
            self.caps.empty().await;
        }
    }

    /// Is the address in one of the networks?
    fn trusts(&self, networks: &[String], address: IpAddr) -> bool {
        contains(networks, address)
    }
}

/// A listener's name in logs, metrics and envelopes.
pub(crate) fn name(listener: &Listener) -> String {
    listener.name.clone().unwrap_or_else(|| format!("{} {}", kind(listener.kind), listener.address))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Mx => "mx",
        Kind::Submission => "submission",
        Kind::Submissions => "submissions",
        Kind::Lmtp => "lmtp",
    }
}

/// The open listeners. Dropping them closes the sockets and leaves the sessions alone.
#[derive(Default)]
pub struct Listeners(Vec<Serving>);

/// A socket and its accept loop.
struct Serving {
    listener: Arc<ArcSwap<Listener>>,
    address: String,
    accepting: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listeners {
    /// Serves what `wanted` says: new addresses are opened, missing ones closed, and those that stay get their new
    /// settings. Either all of it happens or, on an error, nothing.
    pub fn become_these(&mut self, shared: &Arc<Shared>, wanted: &[Listener]) -> Result<(), BindError> {
        let mut fresh = Vec::new();
        for listener in wanted.iter().filter(|wanted| self.serving(wanted).is_none()) {
            fresh.push((listener, Bound::open(listener)?));
        }
        self.0.retain(|serving| wanted.iter().any(|wanted| wanted.address == serving.listener.load().address));
        for listener in wanted {
            if let Some(serving) = self.serving(listener) {
                serving.listener.store(Arc::new(listener.clone()));
            }
        }
        for (listener, bound) in fresh {
            let address = bound.address();
            let listener = Arc::new(ArcSwap::from_pointee(listener.clone()));
            let accepting = tokio::spawn(accept(shared.clone(), bound, listener.clone()));
            self.0.push(Serving { listener, address, accepting });
        }
        Ok(())
    }

    fn serving(&self, listener: &Listener) -> Option<&Serving> {
        self.0.iter().find(|serving| serving.listener.load().address == listener.address)
    }

    /// Each listener and where it really listens.
    pub fn addresses(&self) -> impl Iterator<Item = (Arc<Listener>, &str)> {
        self.0.iter().map(|serving| (serving.listener.load_full(), serving.address.as_str()))
    }

    /// Closes the sockets; connections that wait to be accepted are refused by the system.
    pub async fn close(&mut self) {
        for mut serving in std::mem::take(&mut self.0) {
            serving.accepting.abort();
            let _ = (&mut serving.accepting).await;
        }
    }
}

/// Accepts connections for ever.
async fn accept(shared: Arc<Shared>, bound: Bound, listener: Arc<ArcSwap<Listener>>) {
    loop {
        match bound.accept().await {
            Ok(socket) => seat(&shared, listener.load_full(), socket),
            Err(error) if exhausted(&error) => {
                tracing::error!(%error, address = bound.address(), "can not accept connections for a moment");
                sleep(REST).await;
            }
            // The connection died in the queue.
            Err(error) => tracing::debug!(%error, address = bound.address(), "a connection was lost before it began"),
        }
    }
}

/// No descriptor, no memory: trying again at once would only burn time.
fn exhausted(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        use rustix::io::Errno;
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno)
    })
}

/// A connection gets its seat and its task, or one line.
fn seat(shared: &Arc<Shared>, listener: Arc<Listener>, socket: Socket) {
    let most = shared.current.load().config.limits.sessions;
    let Some(seat) = shared.caps.enter(most) else {
        tracing::warn!(listener = name(&listener), most, "too many sessions in all");
        // Before a PROXY header or a handshake the line would be noise.
        if listener.kind != Kind::Submissions && listener.proxy.is_none() {
            let _ = socket.try_write(drive::NO_SEAT);
        }
        return;
    };
    let mut over = shared.phase.subscribe();
    let phase = over.clone();
    let shared = shared.clone();
    tokio::spawn(async move {
        let _panicked = Alarm;
        tokio::select! {
            biased;
            () = drive::run(shared, listener, socket, seat, phase) => {}
            _ = over.wait_for(|phase| *phase == Phase::Over) => {}
        }
    });
}

/// Tells when a session's task panics. The runtime contains the panic; the seat and the message are given back.
struct Alarm;

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a session's task panicked: a bug of ours; only this session is lost");
        }
    }
}

/// Whether one of the networks (`192.0.2.0/24`, `2001:db8::/32`, or a single address) holds the address.
fn contains(networks: &[String], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| {
        let (base, length) = match network.split_once('/') {
            Some((base, length)) => (base, length.parse::<u32>().ok()),
            None => (network.as_str(), Some(128)),
        };
        match (base.parse::<IpAddr>(), address, length) {
            (Ok(IpAddr::V4(base)), IpAddr::V4(address), Some(length)) => {
                let host = 32 - length.min(32);
                let mask = u32::MAX.checked_shl(host).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (Ok(IpAddr::V6(base)), IpAddr::V6(address), Some(length)) => {
                let host = 128 - length.min(128);
                let mask = u128::MAX.checked_shl(host).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    })
}
