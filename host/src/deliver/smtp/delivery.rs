//! A shipment under way: host after host, until each of its recipients has an answer.
//!
//! Owns the order of the attempts, and what the hosts' answers come to. Refuses to know which connections are kept for the next
//! message and how many there may be ([`super::courier`] does), and when something is tried again. Never fails: what happened to
//! each recipient is a [`Sent`].
//!
//! A host that can not be reached, or that ends the session before a transaction, is followed by the next one. What a host
//! has said of a recipient counts, for now, for all hosts.

use std::{fs, sync::Arc, time::Duration};

use tokio::task::spawn_blocking;
use tracing::{debug, info};

use super::{
    connect::{Ends, Whereabouts, connect_between},
    content::{ContentError, Facts, Outgoing},
    conversation::{Broken, Conversation, Secrets},
    counted::{About, Way, also},
    courier::{Courier, Health, Kept, Means, Said, Sent, Shipment},
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

/// A shipment under way.
pub(super) struct Delivery<'a> {
    courier: &'a Courier,
    plan: Plan,
    policy: Option<Policy>,
    means: Arc<Means>,
    /// Of this message, in whatever form.
    signers: Signers,
    shipment: &'a Shipment,
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

impl<'a> Delivery<'a> {
    /// Nothing has been tried yet.
    #[allow(clippy::too_many_arguments, reason = "all that a shipment needs on its way")]
    pub(super) fn new(
        courier: &'a Courier,
        plan: Plan,
        policy: Option<Policy>,
        means: Arc<Means>,
        signers: Signers,
        shipment: &'a Shipment,
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
            message: Arc::new(message),
            facts,
            converted: Vec::new(),
            sent: vec![None; shipment.leases.len()],
            met: false,
            broken: false,
            gone: None,
        }
    }

    /// What became of each recipient, in their order; and how the destination is.
    pub(super) async fn run(mut self) -> (Vec<Sent>, Health) {
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
        let secrets = Secrets { name: target.name(), trust, roots: &self.means.roots, also: also.as_ref(), limit };
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
            let waiting = self.waiting();
            if waiting.is_empty() || !conversation.is_open() || *messages >= self.plan.messages {
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
