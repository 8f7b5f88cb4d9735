//! A shipment under way: host after host, until each of its recipients has an answer.
//!
//! Owns the order of the attempts, and what the hosts' answers come to. Refuses to know which connections are kept for the next
//! message and how many there may be ([`super::courier`] does), and when something is tried again. Never fails: what happened to
//! each recipient is a [`Sent`].
//!
//! A host that can not be reached, that ends the session before a transaction, or that lacks what the message needs, is followed
//! by the next one. What a host has said of a recipient counts, for now, for all hosts.

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use std::{
    collections::HashSet,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking};
use tracing::{debug, info};

use super::{
    connect::{Ends, Whereabouts, connect_between},
    content::{ContentError, Facts, Outgoing},
    conversation::{Broken, Consent, Conversation, Secrets},
    counted::{About, Way, also},
    courier::{Courier, Health, InForce, Kept, Key, Leases, Said, Sent, Shipment},
    plan::{Plan, Target, Unsuitable, Wish},
    reencode::{Form, Unconvertible},
    route::Unroutable,
    security::{Protection, Rule},
    sts::Policy,
    transaction::{Verdict, never_begun, options, transaction, verdict, wanted},
};
use crate::{
    dkim::Signers,
    engine::client::{Cause, Fault, TlsUse, Transaction},
    store::{Lease, sqlite::now},
    tlsrpt::Session,
    transport::trust::Trust,
};

/// Sessions that one shipment may use up beyond one for each host, for recipients that did not fit.
const SESSIONS: usize = 20;
/// How long it counts that leases were found to hold. Whoever sends the end of a message later than that asks again: much may have
/// happened while a slow server took the rest.
const FRESH: Duration = Duration::from_millis(500);

/// Leases that held when this was made.
struct Holding<'a> {
    leases: &'a [&'a Lease],
    by: &'a dyn Leases,
    since: Instant,
}

#[async_trait]
impl Consent for Holding<'_> {
    async fn given(&self) -> bool {
        self.since.elapsed() < FRESH || self.by.lost(self.leases).await.is_empty()
    }
}

/// A shipment under way.
pub(super) struct Delivery<'a> {
    courier: &'a Courier,
    plan: Plan,
    policy: Option<Policy>,
    means: Arc<InForce>,
    /// Of this message, in whatever form.
    signers: Signers,
    shipment: &'a Shipment,
    leases: &'a dyn Leases,
    message: Arc<Outgoing>,
    facts: Facts,
    /// The form that some server wanted last, or why there is none.
    converted: Option<(Form, Result<Converted, Unsendable>)>,
    sent: Vec<Option<Sent>>,
    /// By recipient: what the hosts so far come to, if none of them brings an answer.
    troubles: Vec<Option<Trouble>>,
    /// Hosts that lack what the message needs for a recipient.
    unfit: HashSet<(Target, usize)>,
    /// Somebody there spoke of the message.
    met: bool,
    /// A session ended before its time.
    broken: bool,
    /// Why somebody could not be reached.
    gone: Option<String>,
}

/// The message in another form.
#[derive(Clone, Debug)]
struct Converted {
    message: Arc<Outgoing>,
    facts: Facts,
    /// Its place in memory, until the last one is dropped.
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

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

impl<'a> Delivery<'a> {
    /// Nothing has been tried yet.
    #[allow(clippy::too_many_arguments, reason = "all that a shipment needs on its way")]
    pub(super) fn new(
        courier: &'a Courier,
        plan: Plan,
        policy: Option<Policy>,
        means: Arc<InForce>,
        signers: Signers,
        shipment: &'a Shipment,
        leases: &'a dyn Leases,
        message: Outgoing,
        facts: Facts,
    ) -> Self {
        Self {
            courier,
            plan,
            policy,
            means,
            signers,
            shipment,
            leases,
            message: Arc::new(message),
            facts,
            converted: None,
            sent: vec![None; shipment.leases.len()],
            troubles: vec![None; shipment.leases.len()],
            unfit: HashSet::new(),
            met: false,
            broken: false,
            gone: None,
        }
    }

    /// What became of each recipient, in their order; and how the destination is.
    pub(super) async fn run(mut self) -> (Vec<Sent>, Health) {
        let key = self.key();
        // A connection that was kept may have been closed meanwhile; then it is as if there had been none. Each is used once,
        // though it may be kept again.
        let before = self.courier.next_number();
        while let Some(mut session) = self.courier.again(&key, before) {
            let unanswered = self.unanswered();
            self.transactions(&mut session, true).await;
            self.courier.keep(&key, session, self.plan.messages);
            if self.unanswered() < unanswered {
                break;
            }
        }
        if self.unanswered() == 0 {
            return self.done();
        }
        let targets = match self.plan.targets(&self.courier.resolver).await {
            Ok(targets) => targets,
            Err(error) => {
                if let Unroutable::Later { text, .. } = &error {
                    self.gone = Some(text.clone());
                }
                let everybody: Vec<usize> = (0..self.sent.len()).collect();
                self.trouble(&everybody, &unroutable(error));
                return self.done();
            }
        };
        for target in targets {
            self.at(&target, &key).await;
            if self.unanswered() == 0 {
                break;
            }
        }
        self.done()
    }

    /// What a connection of this message's is found by.
    fn key(&self) -> Key {
        Key {
            link: self.plan.link(),
            policy: self.policy.clone(),
            require_tls: self.require_tls(),
            tls_optional: self.message.tls_optional(),
            means: self.means.number,
        }
    }

    /// As many sessions with this host as bring somebody further.
    async fn at(&mut self, target: &Target, key: &Key) {
        for _ in 0..SESSIONS {
            let waiting = self.waiting(target);
            if waiting.is_empty() {
                return;
            }
            match self.open(target).await {
                Ok(conversation) => {
                    let mut session = Kept { conversation, target: target.clone(), messages: 0 };
                    self.transactions(&mut session, false).await;
                    self.courier.keep(key, session, self.plan.messages);
                }
                Err(why) => return self.trouble(&waiting, &why),
            }
            if self.waiting(target).len() == waiting.len() {
                break;
            }
        }
        let waiting = self.waiting(target);
        self.trouble(&waiting, &self.nobody());
    }

    /// This host brings them no answer.
    fn trouble(&mut self, recipients: &[usize], why: &Trouble) {
        for index in recipients {
            if let Some(trouble) = self.troubles.get_mut(*index) {
                *trouble = Some(why.clone().beside(trouble.take()));
            }
        }
    }

    /// This host lacks what the message needs for them.
    fn lacks(&mut self, host: &Target, recipients: &[usize], why: &Trouble) {
        self.unfit.extend(recipients.iter().map(|index| (host.clone(), *index)));
        self.trouble(recipients, why);
    }

    fn nobody(&self) -> Trouble {
        Trouble::Later((4, 4), format!("no host takes mail for {}", self.plan.domain), None)
    }

    fn require_tls(&self) -> bool {
        !self.plan.local && self.shipment.leases.first().is_some_and(|lease| lease.envelope.require_tls)
    }

    /// Recipients without an answer who may get it from this host.
    fn waiting(&self, host: &Target) -> Vec<usize> {
        let open = self.sent.iter().enumerate().filter(|(_, sent)| sent.is_none()).map(|(index, _)| index);
        open.filter(|index| !self.unfit.contains(&(host.clone(), *index))).collect()
    }

    /// How many have no answer.
    fn unanswered(&self) -> usize {
        self.sent.iter().filter(|sent| sent.is_none()).count()
    }

    fn done(self) -> (Vec<Sent>, Health) {
        let nobody = self.nobody();
        let health = match self.gone {
            _ if self.broken => Health::Unwell,
            _ if self.met => Health::Well,
            Some(why) => Health::Gone(why),
            None => Health::Unknown,
        };
        let rest = |trouble: Option<Trouble>| match trouble.unwrap_or_else(|| nobody.clone()) {
            Trouble::Later(status, text, said) => Sent::Later { status, text, said },
            Trouble::Never(status, text, said) => Sent::Never { status, text, said },
        };
        let sent = self.sent.into_iter().zip(self.troubles);
        (sent.map(|(sent, trouble)| sent.unwrap_or_else(|| rest(trouble))).collect(), health)
    }

    async fn open(&mut self, target: &Target) -> Result<Conversation, Trouble> {
        let wish = Wish {
            require_tls: self.require_tls(),
            tls_optional: self.message.tls_optional(),
            policy: self.policy.as_ref(),
        };
        let reached = self.plan.reach(&self.courier.resolver, target, wish).await;
        if let Err(Unsuitable::Unprotected(error)) = &reached {
            self.count(target, |about| about.unprotected(error).into_iter().collect());
        }
        let (whereabouts, protection) = match reached {
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
        let mut ends = None;
        let first = self.session(target, &whereabouts, tls, trust, &mut ends).await;
        self.count(target, |about| about.opened(&protection, Way::of(&first), ends));
        let opened = match first {
            // Opportunistic: TLS that does not work is no reason to keep the mail (RFC 7435).
            Err(Broken::Handshake(error)) if tls == TlsUse::Opportunistic && !self.plan.implicit_tls => {
                info!(host = target.name(), %error, "TLS failed; without it");
                self.session(target, &whereabouts, TlsUse::Never, trust, &mut ends).await
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

    /// For the domain's report, if it is the domain's rules that count.
    fn count(&self, target: &Target, sessions: impl FnOnce(&About<'_>) -> Vec<Session>) {
        let Some(counts) = self.courier.counts() else { return };
        if !self.plan.is_as_published() || self.require_tls() || self.message.tls_optional() {
            return;
        }
        let domain = &*self.plan.domain;
        let unfetched = self.courier.policies.failure(domain);
        let about = About { domain, host: target.name(), policy: self.policy.as_ref(), unfetched };
        let now = now() / 1000;
        sessions(&about).into_iter().for_each(|session| counts.count(domain, session, now));
    }

    /// `ends`: between which addresses, once there is a connection.
    async fn session(
        &self,
        target: &Target,
        whereabouts: &Whereabouts,
        tls: TlsUse,
        trust: &Trust,
        ends: &mut Option<Ends>,
    ) -> Result<Conversation, Broken> {
        let (wire, address, between) =
            connect_between(whereabouts, &self.plan.source, self.plan.connect_timeout).await?;
        *ends = between;
        debug!(host = target.name(), address, "connected");
        let options = options(&self.plan, tls);
        let session = self.courier.engine.client(&options)?;
        let limit = Duration::from_millis(options.limits.handshake_timeout);
        let also = also(self.policy.as_ref(), target.name());
        let secrets =
            Secrets { name: target.name(), trust, roots: &self.means.means.roots, also: also.as_ref(), limit };
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
        let Kept { conversation, target, messages } = session;
        let host = target.name();
        let mut form = None;
        let mut converted: Option<Converted> = None;
        loop {
            if !conversation.is_open() || *messages >= self.plan.messages {
                return;
            }
            let since = Instant::now();
            self.lose().await;
            let waiting = self.waiting(target);
            if waiting.is_empty() {
                return;
            }
            let leases: Vec<&Lease> = waiting.iter().filter_map(|index| self.shipment.leases.get(*index)).collect();
            let (message, facts) = match &converted {
                Some(other) => (Arc::clone(&other.message), other.facts),
                None => (Arc::clone(&self.message), self.facts),
            };
            let transaction = Transaction {
                require_tls: self.require_tls(),
                ..transaction(&leases, self.shipment.sent_as.as_ref(), &facts, self.plan.protocol)
            };
            let holding = Holding { leases: &leases, by: self.leases, since };
            match conversation.deliver(&transaction, &message, Some(&holding)).await {
                Ok(outcomes) => {
                    // Nothing but the news that the connection was dead.
                    if kept && outcomes.iter().all(never_begun) {
                        return;
                    }
                    if let Some(other) = wanted(&outcomes, form) {
                        // Whoever waits for room holds none.
                        drop((message, converted.take()));
                        match self.reencoded(other).await {
                            Ok(made) => {
                                form = Some(other);
                                converted = Some(made);
                                continue;
                            }
                            Err(Unsendable { later, status, text }) => {
                                let (text, said) = (format!("{host}: {text}"), Some(Said::by(host, None)));
                                return match later {
                                    true => self.everybody(&Sent::Later { status, text, said }),
                                    // Another host may take it as it is.
                                    false => self.lacks(target, &waiting, &Trouble::Never(status, text, said)),
                                };
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
                            Verdict::Sent(sent) => {
                                if let Some(place) = self.sent.get_mut(*index) {
                                    *place = Some(sent);
                                }
                            }
                            Verdict::Unfit(status, text, said) => {
                                self.lacks(target, &[*index], &Trouble::Never(status, text, Some(said)));
                            }
                            Verdict::Again => {}
                        }
                    }
                }
                Err(error) => {
                    let text = format!("{host}: {error}");
                    return self.everybody(&Sent::Later { status: (3, 0), text, said: None });
                }
            }
            if self.waiting(target).len() == waiting.len() {
                return;
            }
        }
    }

    /// Leaves out those whose lease is lost. What is said of them here does not count.
    async fn lose(&mut self) {
        let open = self.sent.iter().zip(&self.shipment.leases).filter(|(sent, _)| sent.is_none());
        let asked: Vec<&Lease> = open.map(|(_, lease)| lease).collect();
        let lost = if asked.is_empty() { Vec::new() } else { self.leases.lost(&asked).await };
        for (sent, lease) in self.sent.iter_mut().zip(&self.shipment.leases) {
            if sent.is_none() && lost.contains(&lease.entry) {
                *sent = Some(Sent::Later { status: (3, 0), text: "its lease was lost".into(), said: None });
            }
        }
    }

    /// The message in another form; made once, if several servers in a row want it.
    async fn reencoded(&mut self, form: Form) -> Result<Converted, Unsendable> {
        if let Some((_, made)) = self.converted.as_ref().filter(|(made, _)| *made == form) {
            return made.clone();
        }
        self.converted = None;
        // In memory a few times over: one after the other.
        let _turn = self.courier.converting.acquire().await;
        let (message, signers) = (Arc::clone(&self.message), self.signers.clone());
        let made = spawn_blocking(move || {
            let converted = message.reencoded(form, &signers)?;
            let facts = converted.facts()?;
            Ok::<_, ContentError>((Arc::new(converted), facts))
        });
        let made = match made.await {
            Ok(Ok((message, facts))) => {
                let room = self.courier.room(facts.size).await.map(Arc::new);
                Ok(Converted { message, facts, _room: room })
            }
            Ok(Err(error)) => Err(unsendable(&error)),
            Err(error) => Err(Unsendable { later: true, status: (3, 0), text: error.to_string() }),
        };
        self.converted = Some((form, made.clone()));
        made
    }

    fn everybody(&mut self, sent: &Sent) {
        for one in self.sent.iter_mut().filter(|one| one.is_none()) {
            *one = Some(sent.clone());
        }
    }
}

/// RFC 3463 section 3.7: conversion required but not supported; RFC 6531 section 4.2 for fields.
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
        Broken::Content(_) | Broken::Withheld | Broken::Engine(_) => (3, 0),
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
        Broken::Unreachable(_) | Broken::Password(_) | Broken::Content(_) | Broken::Withheld | Broken::Engine(_) => {
            None
        }
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
