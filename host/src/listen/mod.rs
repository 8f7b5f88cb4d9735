//! Listeners, connections, sessions.
//!
//! Owns the accept loops and what all sessions share. Refuses to know what a session says. A connection that can not be
//! accepted, a session that panics or an engine that traps harms nobody else.
//!
//! [`Listeners`] opens sockets and serves them; each connection becomes a task that runs `drive::run`.

mod answer;
mod caps;
mod drive;
mod entries;
mod judging;
mod reply;
mod room;
mod rules;
mod seal;
mod socket;
mod transaction;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

pub use caps::Caps;
pub use socket::{BindError, Bound};

use room::Room;

use crate::{
    config::{Config, Kind, Listener},
    engine::Engine,
    observe::{ListenerMetrics, Metrics, events},
    policy::{
        Policy,
        auth::Users,
        chain::{Chains, Returns},
    },
    record::Recorder,
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
    /// The plugins and whom they judge; none: nobody is judged.
    pub chains: Option<Arc<Chains>>,
}

/// What all sessions share.
pub struct Shared {
    /// Opens sessions.
    pub engine: Arc<dyn Engine>,
    /// Takes messages.
    pub store: Arc<dyn Store>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Replaced at a reload.
    pub current: ArcSwap<Current>,
    /// Who sits here.
    pub caps: Arc<Caps>,
    /// Clients that were told to send to some recipients apart.
    returns: Arc<Returns>,
    /// For messages that plugins look at.
    room: Room,
    /// Makes files of sessions.
    pub recorder: Recorder,
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
    pub fn new(engine: Arc<dyn Engine>, store: Arc<dyn Store>, metrics: Arc<Metrics>, current: Current) -> Arc<Self> {
        Arc::new(Self {
            recorder: Recorder::new(engine.clone(), metrics.clone()),
            engine,
            store,
            metrics,
            room: Room::new(current.config.limits.judged_content),
            returns: Arc::default(),
            current: ArcSwap::from_pointee(current),
            caps: Arc::default(),
            phase: watch::Sender::new(Phase::Open),
        })
    }

    /// Lets every session end: those without a message now, the others after it, all at the latest after `most`.
    /// The listeners should be closed before. Returns how many were cut off.
    pub async fn drain(&self, most: Duration) -> usize {
        self.phase.send_replace(Phase::Draining);
        if tokio::time::timeout(most, self.caps.empty()).await.is_ok() {
            return 0;
        }
        let cut = self.caps.taken();
        self.phase.send_replace(Phase::Over);
        self.caps.empty().await;
        cut
    }
}

/// A listener as its sessions see it.
struct Post {
    listener: Arc<Listener>,
    label: String,
    metrics: ListenerMetrics,
}

impl Post {
    fn new(shared: &Shared, listener: &Listener) -> Arc<Self> {
        let label = listener.label();
        let metrics = shared.metrics.listener(&label);
        Arc::new(Self { listener: Arc::new(listener.clone()), label, metrics })
    }
}

/// The open listeners. Dropping them closes the sockets and leaves the sessions alone.
#[derive(Default)]
pub struct Listeners(Vec<Serving>);

/// A socket and its accept loop.
struct Serving {
    post: Arc<ArcSwap<Post>>,
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
        self.0.retain(|serving| wanted.iter().any(|wanted| wanted.address == serving.post.load().listener.address));
        for listener in wanted {
            if let Some(serving) = self.serving(listener) {
                serving.post.store(Post::new(shared, listener));
            }
        }
        for (listener, bound) in fresh {
            let address = bound.address();
            let post = Arc::new(ArcSwap::new(Post::new(shared, listener)));
            let accepting = tokio::spawn(accept(shared.clone(), bound, post.clone()));
            self.0.push(Serving { post, address, accepting });
        }
        Ok(())
    }

    fn serving(&self, listener: &Listener) -> Option<&Serving> {
        self.0.iter().find(|serving| serving.post.load().listener.address == listener.address)
    }

    /// Each listener and where it really listens.
    pub fn addresses(&self) -> impl Iterator<Item = (Arc<Listener>, &str)> {
        self.0.iter().map(|serving| (serving.post.load().listener.clone(), serving.address.as_str()))
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
async fn accept(shared: Arc<Shared>, bound: Bound, post: Arc<ArcSwap<Post>>) {
    loop {
        match bound.accept().await {
            Ok(socket) => seat(&shared, post.load_full(), socket),
            Err(error) if exhausted(&error) => {
                events::accept_failed(&post.load().label, error);
                sleep(REST).await;
            }
            // The connection died while it waited; there is nobody to tell.
            Err(_lost) => {}
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
fn seat(shared: &Arc<Shared>, post: Arc<Post>, socket: Socket) {
    let most = shared.current.load().config.limits.sessions;
    let Some(seat) = shared.caps.enter(most) else {
        post.metrics.refused();
        events::connection_refused(&post.label, socket.peer(), "too many sessions in all");
        // Before a PROXY header or a handshake the line would be noise.
        let listener = &post.listener;
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
            () = drive::run(shared, post, socket, seat, phase) => {}
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
