//! One message on its way to one domain: host after host, until each of its recipients has an answer.
//!
//! Owns the order of the attempts, the connections that are kept for the next message, and how many there are in all. Refuses
//! to know when something is tried again, and how many connections one destination may have. Never fails: what happened to each recipient is a [`Sent`].
//!
//! A host that can not be reached, or that ends the session before a transaction, is followed by the next one. What a host
//! has said of a recipient counts, for now, for all hosts.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::{debug, info};

use super::{
    connect::{Whereabouts, connect},
    content::{ContentError, Facts, Outgoing},
    conversation::{Broken, Conversation, Secrets},
    plan::{Plan, Target, Unsuitable, Wish},
    reencode::{Form, Unconvertible},
    route::Unroutable,
    security::{Protection, Rule},
    sts::{Policies, Policy},
    transaction::{Verdict, never_begun, options, transaction, verdict, wanted},
};
use crate::{
    config::{Config, domain},
    dkim::Signers,
    dns::Resolver,
    engine::client::{Cause, ClientEngine, Fault, Reply, TlsUse, Transaction},
    store::{Body, EntryId, Lease},
    transport::{
        http::Client,
        trust::{Roots, Trust},
    },
};

/// A connection without work is kept for so long.
const KEEP: Duration = Duration::from_secs(3);
/// Sessions that one shipment may use up beyond one for each host, for recipients that did not fit.
const SESSIONS: usize = 20;

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
}

/// Who knows whether leases hold.
#[async_trait]
pub trait Leases: Send + Sync {
    /// The entries of those that do not (any more): nothing may be sent for them. It is asked before each transaction, as it may
    /// have been long since the connection was wanted.
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

/// Takes mail to other servers.
pub struct Courier {
    engine: Arc<dyn ClientEngine>,
    resolver: Resolver,
    policies: Policies,
    means: ArcSwap<Means>,
    /// Connections, to whomever.
    all: Semaphore,
    /// One message is re-encoded at a time.
    converting: Semaphore,
    kept: Arc<Mutex<HashMap<String, Vec<Numbered>>>>,
    number: AtomicU64,
}

/// One that is kept, with what it is found by when its time is over.
struct Numbered {
    number: u64,
    session: Kept,
}

/// A session and what is to be known of it.
struct Kept {
    conversation: Conversation,
    host: String,
    /// Messages that it has carried.
    messages: usize,
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
            means: ArcSwap::from_pointee(means),
            all,
            converting: Semaphore::new(1),
            kept: Arc::default(),
            number: AtomicU64::new(0),
        })
    }

    /// Other keys and roots count from now on.
    pub fn become_these(&self, means: Means) {
        self.means.store(Arc::new(means));
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
        let signers = if plan.local { Signers::default() } else { means.signers.clone() };
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
            self.policies.of(&self.resolver, &means.client, &plan.domain).await
        } else {
            None
        };
        Delivery {
            courier: self,
            policy,
            plan,
            means,
            signers,
            shipment,
            leases,
            message: Arc::new(message),
            facts,
            converted: Vec::new(),
            sent: vec![None; shipment.leases.len()],
            met: false,
            broken: false,
            gone: None,
        }
        .run()
        .await
    }

    /// A connection that was kept, if there is one.
    fn again(&self, key: &str) -> Option<Kept> {
        let mut kept = self.kept.lock();
        kept.get_mut(key)?.pop().map(|kept| kept.session)
    }

    /// Keeps a connection for a moment.
    fn keep(&self, key: &str, session: Kept, most: usize) {
        if !session.conversation.is_open() {
            return;
        }
        if session.messages >= most {
            tokio::spawn(session.conversation.quit());
            return;
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.kept.lock().entry(key.to_owned()).or_default().push(Numbered { number, session });
        let (kept, key) = (Arc::clone(&self.kept), key.to_owned());
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

/// A shipment under way.
struct Delivery<'a> {
    courier: &'a Courier,
    plan: Plan,
    policy: Option<Policy>,
    means: Arc<Means>,
    /// Of this message, in whatever form.
    signers: Signers,
    shipment: &'a Shipment,
    leases: &'a dyn Leases,
    message: Arc<Outgoing>,
    facts: Facts,
    /// The forms that some server has wanted so far, or why there is none.
    converted: Vec<(Form, Result<Converted, Unsendable>)>,
    sent: Vec<Option<Sent>>,
    /// Somebody there spoke of the message.
    met: bool,
    /// A session ended before its time.
    broken: bool,
    /// Why somebody could not be reached.
    gone: Option<String>,
}

type Converted = (Arc<Outgoing>, Facts);

/// Why there is no such form: whether there may be one later, the status and the words.
#[derive(Clone, Debug)]
struct Unsendable {
    later: bool,
    status: (u16, u16),
    text: String,
}

/// Why a host brought nobody further.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    Later((u16, u16), String, Option<Said>),
    Never((u16, u16), String, Option<Said>),
}

impl Trouble {
    /// What counts after an earlier host's: mail is given up only if no host may take it later.
    fn beside(self, earlier: Option<Self>) -> Self {
        match (earlier, self) {
            (Some(earlier @ Self::Later(..)), Self::Never(..)) => earlier,
            (_, this) => this,
        }
    }
}

impl Delivery<'_> {
    async fn run(mut self) -> (Vec<Sent>, Health) {
        let require_tls = self.require_tls();
        // What is protected by less is not used again for more.
        let key = format!("{} {require_tls} {}", self.plan.domain, self.message.tls_optional());
        // A connection that was kept may have been closed meanwhile; then it is as if there had been none.
        while let Some(mut session) = self.courier.again(&key) {
            let before = self.waiting().len();
            self.transactions(&mut session, true).await;
            self.courier.keep(&key, session, self.plan.messages);
            if self.waiting().len() < before {
                break;
            }
        }
        if self.waiting().is_empty() {
            return self.done(Trouble::Later((0, 0), String::new(), None));
        }
        let targets = match self.plan.targets(&self.courier.resolver).await {
            Ok(targets) => targets,
            Err(error) => {
                if let Unroutable::Later { text, .. } = &error {
                    self.gone = Some(text.clone());
                }
                return self.done(unroutable(error));
            }
        };
        let mut trouble = None;
        for target in targets {
            for _ in 0..SESSIONS {
                let before = self.waiting().len();
                match self.open(&target).await {
                    Ok(conversation) => {
                        let mut session = Kept { conversation, host: target.name().to_owned(), messages: 0 };
                        self.transactions(&mut session, false).await;
                        self.courier.keep(&key, session, self.plan.messages);
                    }
                    Err(why) => {
                        trouble = Some(why.beside(trouble));
                        break;
                    }
                }
                let waiting = self.waiting().len();
                if waiting == 0 || waiting == before {
                    break;
                }
            }
            if self.waiting().is_empty() {
                break;
            }
        }
        let nobody = || Trouble::Later((4, 4), format!("no host takes mail for {}", self.plan.domain), None);
        let trouble = trouble.unwrap_or_else(nobody);
        self.done(trouble)
    }

    fn require_tls(&self) -> bool {
        !self.plan.local && self.shipment.leases.first().is_some_and(|lease| lease.envelope.require_tls)
    }

    /// Recipients without an answer.
    fn waiting(&self) -> Vec<usize> {
        (0..self.sent.len()).filter(|index| self.sent[*index].is_none()).collect()
    }

    fn done(self, trouble: Trouble) -> (Vec<Sent>, Health) {
        let health = match self.gone {
            _ if self.broken => Health::Unwell,
            _ if self.met => Health::Well,
            Some(why) => Health::Gone(why),
            None => Health::Unknown,
        };
        let rest = match trouble {
            Trouble::Later(status, text, said) => Sent::Later { status, text, said },
            Trouble::Never(status, text, said) => Sent::Never { status, text, said },
        };
        (self.sent.into_iter().map(|sent| sent.unwrap_or_else(|| rest.clone())).collect(), health)
    }

    async fn open(&mut self, target: &Target) -> Result<Conversation, Trouble> {
        let wish = Wish {
            require_tls: self.require_tls(),
            tls_optional: self.message.tls_optional(),
            policy: self.policy.as_ref(),
        };
        let (whereabouts, protection) = match self.plan.reach(&self.courier.resolver, target, wish).await {
            Ok(reach) => reach,
            Err(Unsuitable::Unroutable(error)) => return Err(unroutable(error)),
            Err(Unsuitable::Unprotected(error)) if error.permanent => {
                return Err(Trouble::Never(error.status, error.text, None));
            }
            Err(Unsuitable::Unprotected(error)) => return Err(Trouble::Later(error.status, error.text, None)),
        };
        let (tls, trust, rule) = match &protection {
            Protection::None => (TlsUse::Never, &Trust::Anything, None),
            Protection::Opportunistic => (TlsUse::Opportunistic, &Trust::Anything, None),
            Protection::Required(trust, rule) => (TlsUse::Required, trust, Some(*rule)),
        };
        let opened = match self.session(target, &whereabouts, tls, trust).await {
            // Opportunistic: TLS that does not work is no reason to keep the mail (RFC 7435).
            Err(Broken::Handshake(error)) if tls == TlsUse::Opportunistic && !self.plan.implicit_tls => {
                info!(host = target.name(), %error, "TLS failed; without it");
                self.session(target, &whereabouts, TlsUse::Never, trust).await
            }
            other => other,
        };
        opened.map_err(|error| {
            let why = trouble(target, rule, &error);
            // Of the others the operator's or ours is the fault.
            if let (Broken::Unreachable(_) | Broken::Handshake(_) | Broken::Failed(_), Trouble::Later(_, text, _)) =
                (&error, &why)
            {
                self.gone = Some(text.clone());
            }
            why
        })
    }

    async fn session(
        &self,
        target: &Target,
        whereabouts: &Whereabouts,
        tls: TlsUse,
        trust: &Trust,
    ) -> Result<Conversation, Broken> {
        let (wire, address) = connect(whereabouts, &self.plan.source, self.plan.connect_timeout).await?;
        debug!(host = target.name(), address, "connected");
        let options = options(&self.plan, tls);
        let session = self.courier.engine.client(&options)?;
        let limit = Duration::from_millis(options.limits.handshake_timeout);
        let secrets = Secrets { name: target.name(), trust, roots: &self.means.roots, limit };
        let mut conversation = Conversation::open(session, wire, &options, &secrets).await?;
        if let Some((login, file)) = &self.plan.login {
            let text = fs::read_to_string(file)
                .map_err(|error| Broken::Password(format!("destination.password-file: {}: {error}", file.display())))?;
            conversation.login(login, text.lines().next().unwrap_or_default()).await?;
        }
        Ok(conversation)
    }

    /// Transactions in this session, as long as they bring somebody further.
    async fn transactions(&mut self, session: &mut Kept, kept: bool) {
        let Kept { conversation, host, messages } = session;
        let mut form = None;
        let (mut message, mut facts) = (Arc::clone(&self.message), self.facts);
        loop {
            if !conversation.is_open() || *messages >= self.plan.messages {
                return;
            }
            self.lose().await;
            let waiting = self.waiting();
            if waiting.is_empty() {
                return;
            }
            let leases: Vec<&Lease> = waiting.iter().map(|index| &self.shipment.leases[*index]).collect();
            let transaction =
                Transaction { require_tls: self.require_tls(), ..transaction(&leases, &facts, self.plan.protocol) };
            match conversation.deliver(&transaction, &message).await {
                Ok(outcomes) => {
                    // Nothing but the news that the connection was dead.
                    if kept && outcomes.iter().all(never_begun) {
                        return;
                    }
                    if let Some(other) = wanted(&outcomes, form) {
                        match self.reencoded(other).await {
                            Ok(converted) => {
                                form = Some(other);
                                (message, facts) = converted;
                                continue;
                            }
                            Err(Unsendable { later, status, text }) => {
                                let (text, said) = (format!("{host}: {text}"), Some(Said::by(host, None)));
                                return self.everybody(&match later {
                                    true => Sent::Later { status, text, said },
                                    false => Sent::Never { status, text, said },
                                });
                            }
                        }
                    }
                    *messages += 1;
                    for outcome in outcomes {
                        let lost = matches!(outcome.cause, Cause::Lost | Cause::TimedOut)
                            || outcome.reply.as_ref().is_some_and(|reply| reply.code == 421);
                        self.broken |= lost;
                        self.met |= !lost;
                        let Some(index) = waiting.get(outcome.recipient as usize) else { continue };
                        match verdict(host, &outcome, self.plan.protocol) {
                            Verdict::Sent(sent) => self.sent[*index] = Some(sent),
                            Verdict::Again => {}
                        }
                    }
                }
                Err(error) => {
                    let text = format!("{host}: {error}");
                    return self.everybody(&Sent::Later { status: (3, 0), text, said: None });
                }
            }
            if self.waiting().len() == waiting.len() {
                return;
            }
        }
    }

    /// Leaves out those whose lease is lost. What is said of them here does not count.
    async fn lose(&mut self) {
        let waiting = self.waiting();
        let asked: Vec<&Lease> = waiting.iter().filter_map(|index| self.shipment.leases.get(*index)).collect();
        let lost = if asked.is_empty() { Vec::new() } else { self.leases.lost(&asked).await };
        for (sent, lease) in self.sent.iter_mut().zip(&self.shipment.leases) {
            if sent.is_none() && lost.contains(&lease.entry) {
                *sent = Some(Sent::Later { status: (3, 0), text: "its lease was lost".into(), said: None });
            }
        }
    }

    /// The message in another form; made once, however many servers want it.
    async fn reencoded(&mut self, form: Form) -> Result<Converted, Unsendable> {
        if let Some((_, made)) = self.converted.iter().find(|(made, _)| *made == form) {
            return made.clone();
        }
        // In memory a few times over: one after the other.
        let _turn = self.courier.converting.acquire().await;
        let (message, signers) = (Arc::clone(&self.message), self.signers.clone());
        let made = spawn_blocking(move || {
            let converted = message.reencoded(form, &signers)?;
            let facts = converted.facts()?;
            Ok::<Converted, ContentError>((Arc::new(converted), facts))
        });
        let made = match made.await {
            Ok(made) => made.map_err(|error| unsendable(&error)),
            Err(error) => Err(Unsendable { later: true, status: (3, 0), text: error.to_string() }),
        };
        self.converted.push((form, made.clone()));
        made
    }

    fn everybody(&mut self, sent: &Sent) {
        for one in self.sent.iter_mut().filter(|one| one.is_none()) {
            *one = Some(sent.clone());
        }
    }
}

/// RFC 3463 section 3.7: conversion required but not supported; RFC 6531 section 3.7.4.2 for fields.
fn unsendable(error: &ContentError) -> Unsendable {
    let (later, status) = match error {
        ContentError::Io(_) | ContentError::Dkim(_) => (true, (3, 0)),
        ContentError::Form(Unconvertible::Header) => (false, (6, 9)),
        ContentError::Form(_) => (false, (6, 3)),
    };
    Unsendable { later, status, text: error.to_string() }
}

/// `rule`: why there has to be TLS. It is named where that is what the session failed of.
fn trouble(target: &Target, rule: Option<Rule>, error: &Broken) -> Trouble {
    let host = target.name();
    let status = match error {
        Broken::Unreachable(_) => (4, 1),
        Broken::Handshake(_) => (7, 5),
        Broken::Login(_) | Broken::Password(_) => (7, 8),
        // "Security features not supported", whatever words a server that takes TLS back has for it.
        Broken::Failed(failure) if of_tls(failure.fault) => (7, 4),
        Broken::Failed(failure) => {
            failure.reply.as_ref().and_then(|reply| reply.status.as_ref()).map_or((4, 2), |s| (s.subject, s.detail))
        }
        Broken::Content(_) | Broken::Engine(_) => (3, 0),
    };
    let text = match (error, rule) {
        (Broken::Handshake(_), Some(rule)) => format!("{host}: {rule}: {error}"),
        (Broken::Failed(failure), Some(rule)) if of_tls(failure.fault) => {
            format!("{host}: {rule} asks for TLS: {error}")
        }
        _ => format!("{host}: {error}"),
    };
    let said = match error {
        Broken::Failed(failure) => Some(Said::by(host, failure.reply.as_ref())),
        Broken::Login(login) => Some(Said::by(host, Some(&login.reply))),
        Broken::Handshake(_) => Some(Said::by(host, None)),
        Broken::Unreachable(_) | Broken::Password(_) | Broken::Content(_) | Broken::Engine(_) => None,
    };
    Trouble::Later(status, text, said)
}

fn of_tls(fault: Fault) -> bool {
    matches!(fault, Fault::NoTls | Fault::TlsRefused | Fault::Plaintext)
}

fn unroutable(error: Unroutable) -> Trouble {
    match error {
        Unroutable::Later { status, text } => Trouble::Later(status, text, None),
        Unroutable::Never { status, text } => Trouble::Never(status, text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_given_up_only_if_no_host_may_take_it_later() {
        let later = |n| Trouble::Later((4, n), String::new(), None);
        let never = |n| Trouble::Never((4, n), String::new(), None);
        for (hosts, expected) in [
            (vec![later(1)], later(1)),
            (vec![never(4)], never(4)),
            (vec![later(2), never(4)], later(2)),
            (vec![never(4), later(2)], later(2)),
            (vec![never(6), never(4)], never(4)),
            (vec![later(1), later(2), never(4)], later(2)),
        ] {
            let all = hosts.iter().cloned().fold(None, |earlier, this| Some(this.beside(earlier)));
            assert_eq!(all, Some(expected), "{hosts:?}");
        }
    }
}
