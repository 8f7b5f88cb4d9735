//! Takes messages to other servers, each to one domain.
//!
//! Owns the connections that are kept for the next message, and how many there are in all. Refuses to know in which order hosts
//! are tried ([`super::delivery`] does), when something is tried again, and how many connections one destination may have. Never
//! fails: what happened to each recipient is a [`Sent`].

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    content::Outgoing,
    conversation::Conversation,
    delivery::Delivery,
    plan::{Link, Plan, Target},
    sts::{Policies, Policy},
};
use crate::{
    config::{Config, domain},
    dkim::Signers,
    dns::Resolver,
    engine::client::{ClientEngine, Reply},
    store::{Address, Body, EntryId, Lease},
    tlsrpt::Counts,
    transport::{http::Client, trust::Roots},
};

/// A connection without work is kept for so long.
const KEEP: Duration = Duration::from_secs(3);

/// What all of this needs.
#[derive(Debug)]
pub struct Means {
    /// Who signs.
    pub signers: Signers,
    /// Whom to believe.
    pub roots: Roots,
    /// Fetches policies, and believes the same.
    pub client: Client,
}

/// Recipients of one message at one domain, with the same edits and in the same name.
#[derive(Debug)]
pub struct Shipment {
    /// The right to deliver to each.
    pub leases: Vec<Lease>,
    /// The message.
    pub body: Arc<Body>,
    /// In whose name it goes, if not in the sender's.
    pub sent_as: Option<Address>,
}

/// Who knows whether leases hold.
#[async_trait]
pub trait Leases: Send + Sync {
    /// The entries of those that do not (any more): nothing may be sent for them. It is asked before each transaction, as it may
    /// have been long since the connection was wanted, and before the end of a message that took long.
    async fn lost(&self, leases: &[&Lease]) -> Vec<EntryId>;
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A server has taken it.
    Taken {
        /// Which one, and its words.
        by: String,
        /// It answers for notices of success (RFC 3461); otherwise they are ours to send.
        dsn: bool,
        /// It keeps the time that the sender gave (RFC 2852), or is where the message ends.
        timed: bool,
        /// For the sender.
        said: Option<Said>,
    },
    /// Not now.
    Later {
        /// The second and third number of the enhanced status.
        status: (u16, u16),
        /// Who said what.
        text: String,
        /// The same for the sender, where a server had a part in it.
        said: Option<Said>,
    },
    /// Never.
    Never {
        /// The second and third number of the enhanced status.
        status: (u16, u16),
        /// Who said what.
        text: String,
        /// The same for the sender, where a server had a part in it.
        said: Option<Said>,
    },
}

/// How a destination took an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Somebody there took mail, or said what is wrong with it.
    Well,
    /// Connections were lost, or closed on us.
    Unwell,
    /// Nobody there could be found or reached, and why.
    Gone(String),
    /// It says nothing of the destination.
    Unknown,
}

/// A server's part in what became of a recipient (RFC 3464 sections 2.3.5 and 2.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its name.
    pub host: String,
    /// Code, enhanced code if it gave one, and text: `550 5.1.1 Who?`. None: it did not say it in words.
    pub reply: Option<String>,
}

impl Said {
    /// By this server, in these words.
    #[must_use]
    pub fn by(host: &str, reply: Option<&Reply>) -> Self {
        let words = |reply: &Reply| {
            let status = reply.status.as_ref().map(|s| format!(" {}.{}.{}", s.class, s.subject, s.detail));
            format!("{}{} {}", reply.code, status.unwrap_or_default(), reply.text).trim_end().to_owned()
        };
        Self { host: host.to_owned(), reply: reply.map(words) }
    }
}

/// KiB for messages that were re-encoded and are being sent, of all deliveries: a few of the largest ([`super::reencode::MOST`], which
/// become three times as large at most and a little), or hundreds of usual ones.
const ROOM: u32 = 128 << 10;

/// Takes mail to other servers.
pub struct Courier {
    pub(super) engine: Arc<dyn ClientEngine>,
    pub(super) resolver: Resolver,
    pub(super) policies: Policies,
    means: ArcSwap<InForce>,
    /// Connections, to whomever.
    all: Semaphore,
    /// One message is re-encoded at a time.
    pub(super) converting: Semaphore,
    /// KiB for messages that were re-encoded, until they are sent.
    room: Arc<Semaphore>,
    kept: Arc<Mutex<HashMap<Key, Vec<Numbered>>>>,
    /// Counts what is kept, and the means that were in force.
    number: AtomicU64,
    /// Who counts how TLS went.
    counts: OnceLock<Arc<Counts>>,
}

/// The means that count now.
pub(super) struct InForce {
    pub(super) number: u64,
    pub(super) means: Means,
}

/// All that a connection was made under. A message for which any of it is different does not get that connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) link: Link,
    pub(super) policy: Option<Policy>,
    pub(super) require_tls: bool,
    pub(super) tls_optional: bool,
    /// [`InForce::number`].
    pub(super) means: u64,
}

/// One that is kept, with what it is found by when its time is over.
struct Numbered {
    number: u64,
    session: Kept,
}

/// A session and what is to be known of it.
pub(super) struct Kept {
    pub(super) conversation: Conversation,
    pub(super) target: Target,
    /// Messages that it has carried.
    pub(super) messages: usize,
}

impl Courier {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(config: &Config, engine: Arc<dyn ClientEngine>, resolver: Resolver, means: Means) -> Arc<Self> {
        let all = Semaphore::new(config.outbound.most_connections.clamp(1, Semaphore::MAX_PERMITS));
        Arc::new(Self {
            engine,
            resolver,
            policies: Policies::new(config.data.join("mta-sts"), config.outbound.https_port),
            means: ArcSwap::from_pointee(InForce { number: 0, means }),
            all,
            converting: Semaphore::new(1),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            kept: Arc::default(),
            number: AtomicU64::new(1),
            counts: OnceLock::new(),
        })
    }

    /// From now on it is counted how TLS goes. The first call counts.
    pub fn count_with(&self, counts: Arc<Counts>) {
        let _ = self.counts.set(counts);
    }

    /// Who counts, if somebody wants to know.
    pub(super) fn counts(&self) -> Option<&Counts> {
        self.counts.get().map(|counts| &**counts).filter(|counts| counts.wanted())
    }

    /// Who asks the DNS.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Who sends HTTP requests now.
    #[must_use]
    pub fn client(&self) -> Client {
        self.means.load().means.client.clone()
    }

    /// Other keys and roots count from now on.
    pub fn become_these(&self, means: Means) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.means.store(Arc::new(InForce { number, means }));
    }

    /// What became of each recipient, in their order; and how the destination is.
    pub async fn send(&self, config: &Config, shipment: &Shipment, leases: &dyn Leases) -> (Vec<Sent>, Health) {
        let Some(first) = shipment.leases.first() else { return (Vec::new(), Health::Unknown) };
        let all = |sent: Sent| (vec![sent; shipment.leases.len()], Health::Unknown);
        let given = &first.recipient.recipient.domain;
        let canonical = if given.starts_with('[') { Some(given.as_str().into()) } else { domain::canonical(given) };
        let Some(domain) = canonical else {
            return all(Sent::Never { status: (1, 2), text: format!("{given:?} is no domain"), said: None });
        };
        let plan = Plan::new(config, &domain);
        let means = self.means.load_full();
        let size = first.envelope.size;
        let signers = if plan.local { Signers::default() } else { means.means.signers.clone() };
        let message = match Outgoing::new(&shipment.body, size, &first.recipient.edits, &signers) {
            Ok(message) => message,
            Err(error) => return all(unreadable(&error)),
        };
        let facts = match message.facts() {
            Ok(facts) => facts,
            Err(error) => return all(unreadable(&error)),
        };
        // Never closed, so never refused. How many there are for this destination, whoever sends it here sees to.
        let _slot = self.all.acquire().await;
        let policy = if plan.asks_for_policy() {
            self.policies.of(&self.resolver, &means.means.client, &plan.domain).await
        } else {
            None
        };
        Delivery::new(self, plan, policy, means, signers, shipment, leases, message, facts).run().await
    }

    /// Waits for room for a message of so many octets, beside those of others.
    pub(super) async fn room(&self, octets: u64) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(octets.div_ceil(1024)).unwrap_or(ROOM).min(ROOM);
        // Never closed, so never refused.
        Arc::clone(&self.room).acquire_many_owned(wanted).await.ok()
    }

    /// Smaller than that of any connection that will be kept.
    pub(super) fn next_number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// A connection that was kept before there was this number, if there is one.
    pub(super) fn again(&self, key: &Key, before: u64) -> Option<Kept> {
        let mut kept = self.kept.lock();
        let here = kept.get_mut(key)?;
        let place = here.iter().rposition(|one| one.number < before)?;
        Some(here.swap_remove(place).session)
    }

    /// Keeps a connection for a moment.
    pub(super) fn keep(&self, key: &Key, session: Kept, most: usize) {
        if !session.conversation.is_open() {
            return;
        }
        if session.messages >= most {
            tokio::spawn(session.conversation.quit());
            return;
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.kept.lock().entry(key.clone()).or_default().push(Numbered { number, session });
        let (kept, key) = (Arc::clone(&self.kept), key.clone());
        tokio::spawn(async move {
            tokio::time::sleep(KEEP).await;
            let old = {
                let mut all = kept.lock();
                let Some(here) = all.get_mut(&key) else { return };
                let place = here.iter().position(|one| one.number == number);
                let old = place.map(|place| here.swap_remove(place));
                if here.is_empty() {
                    all.remove(&key);
                }
                old
            };
            if let Some(old) = old {
                old.session.conversation.quit().await;
            }
        });
    }
}

fn unreadable(error: &dyn std::error::Error) -> Sent {
    Sent::Later { status: (3, 0), text: error.to_string(), said: None }
}
