//! From recipients to outcomes: host after host, transaction after transaction.
//!
//! Owns what a failure means for those who have no outcome yet, and what is noted on the way. Refuses to know SMTP, and how
//! outcomes are shown. Does not fail: every recipient has an outcome.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::super::reach::Means;
use super::{
    notes::{Noted, Notes},
    report::{Became, Report, Told},
};
use crate::{
    config::{
        Config, Endpoint,
        outbound::{NamedHost, Security},
    },
    deliver::smtp::{
        connect::{Whereabouts, connect},
        content::{Facts, Outgoing},
        conversation::{Broken, Conversation, Secrets},
        route::{Host, Own, Unroutable, addresses, hosts},
        security::{Protection, Subject, protection},
        sts::{Policies, Policy},
        watch::Watch,
        why,
    },
    dkim::Signers,
    engine::{
        EngineError,
        client::{
            self, ClientEngine as _, ContentFacts, Fate, Limits, Mailbox, Options, Outcome, Protocol, Recipient, Reply,
            TlsUse, Transaction,
        },
        types::{Misuse, ReturnContent},
    },
    store::{Body, Content},
    transport::trust::Trust,
};

/// RFC 5321 section 4.5.3.1.8: every server takes 100.
const RECIPIENTS: u32 = 100;
/// For a connection to be established, where nothing else is said.
const CONNECT: Duration = Duration::from_secs(30);

/// Recipients that share a way.
pub(super) struct Group {
    /// Empty where the server is named.
    pub(super) domain: String,
    pub(super) server: Option<NamedHost>,
    /// As they were typed, and as they are said.
    pub(super) recipients: Vec<(String, Recipient)>,
}

/// What is to be sent, and how.
pub(super) struct Job<'a> {
    pub(super) means: &'a Means,
    pub(super) config: &'a Config,
    pub(super) hello: String,
    pub(super) sender: Option<Mailbox>,
    pub(super) login: Option<(String, String)>,
    pub(super) content: Vec<u8>,
    pub(super) protocol: Protocol,
    pub(super) tls: Security,
    pub(super) implicit_tls: bool,
    pub(super) plaintext_login: bool,
    pub(super) source: Vec<IpAddr>,
    pub(super) timeout: Option<Duration>,
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) prdr: bool,
    pub(super) ignore: Vec<String>,
    pub(super) require_tls: bool,
    pub(super) ret: Option<ReturnContent>,
    pub(super) envid: Option<String>,
}

/// Why a host brought nobody further.
struct Trouble(Became, String);

impl Trouble {
    fn session(text: impl ToString) -> Self {
        Self(Became::NoSession, text.to_string())
    }

    /// Of a transaction that had begun: if our own part of it failed, nobody knows how far it had come. A value that
    /// was not to be sent is found before anything is.
    fn midway(broken: Broken) -> Self {
        match broken {
            Broken::Engine(EngineError::Misuse(Misuse::BadValue(_))) => broken.into(),
            Broken::Engine(_) => Self(Became::Unknown, broken.to_string()),
            other => other.into(),
        }
    }
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        let became = match &broken {
            Broken::Handshake(_) => Became::NoTls,
            Broken::Login(_) | Broken::Password(_) => Became::NoLogin,
            Broken::Failed(failure) => match failure.fault {
                client::Fault::NoTls | client::Fault::TlsRefused | client::Fault::Plaintext => Became::NoTls,
                _ => Became::NoSession,
            },
            Broken::Unreachable(_) | Broken::Content(_) | Broken::Withheld | Broken::Engine(_) => Became::NoSession,
        };
        Self(became, broken.to_string())
    }
}

impl Job<'_> {
    pub(super) async fn run(self, groups: Vec<Group>) -> Report {
        let mut report = Report::default();
        let size = self.content.len() as u64;
        let body = Arc::new(Body { prefix: Vec::new(), content: Content::Inline(self.content.clone()) });
        let message = Outgoing::new(&body, size, &[], &Signers::default());
        let facts = message
            .as_ref()
            .map_err(ToString::to_string)
            .and_then(|message| message.facts().map(|facts| (message, facts)).map_err(|error| error.to_string()));
        for group in groups {
            let mut waiting: Vec<usize> = (0..group.recipients.len()).collect();
            let trouble = match &facts {
                Ok((message, facts)) => self.group(&group, message, facts, &mut waiting, &mut report).await,
                Err(error) => Trouble::session(error),
            };
            for (recipient, _) in waiting.iter().filter_map(|place| group.recipients.get(*place)) {
                let Trouble(became, text) = &trouble;
                report.told.push(Told {
                    recipient: recipient.clone(),
                    became: *became,
                    host: None,
                    code: None,
                    status: None,
                    text: text.clone(),
                });
            }
        }
        report
    }

    /// Whoever still waits at the end has the trouble that comes back.
    async fn group(
        &self,
        group: &Group,
        message: &Outgoing,
        facts: &Facts,
        waiting: &mut Vec<usize>,
        report: &mut Report,
    ) -> Trouble {
        let policies = Policies::new(self.config.data.join("mta-sts"), self.config.outbound.https_port);
        let resolver = &self.means.resolver;
        let mut remark = None;
        let (targets, policy) = match &group.server {
            Some(NamedHost::Name(name, port)) => {
                (vec![(Host { name: name.clone(), address: None, port: *port, secure: true }, None)], None)
            }
            Some(NamedHost::At(endpoint)) => {
                let (name, port) = match endpoint {
                    Endpoint::Tcp(address) => (format!("[{}]", address.ip()), address.port()),
                    Endpoint::Unix(path) => (path.display().to_string(), 0),
                };
                (vec![(Host { name, address: None, port, secure: true }, Some(endpoint.clone()))], None)
            }
            None => {
                let port = self.config.outbound.port;
                let found = match hosts(resolver, &group.domain, &Own::default(), port).await {
                    Ok(found) => found,
                    Err(error) => return unroutable(&error),
                };
                // As for the server itself, a policy that can not be had is none; but whoever looks should see it.
                let policy = match policies.published(resolver, &self.means.client, &group.domain).await {
                    Ok(policy) => policy,
                    Err(error) => {
                        remark = Some(format!("-- MTA-STS: {error}"));
                        None
                    }
                };
                (found.into_iter().map(|host| (host, None)).collect(), policy)
            }
        };
        let mut trouble = Trouble::session("no host takes the mail");
        for (host, endpoint) in targets {
            loop {
                let before = waiting.len();
                let notes = Noted::begin(&host.name);
                if let Some(remark) = &remark {
                    notes.lock().line(remark.clone());
                }
                let tried = self.host(group, &host, endpoint.as_ref(), policy.as_ref(), &notes).await;
                match tried {
                    Ok(mut conversation) => {
                        self.transactions(&mut conversation, group, &host.name, message, facts, waiting, report).await;
                        notes.lock().reached("answered");
                        conversation.quit().await;
                        notes.lock().reached("closed");
                    }
                    Err(why) => {
                        notes.lock().line(format!("-- {}", why.1));
                        trouble = why;
                    }
                }
                report.sessions.push(notes.lock().session.clone());
                if waiting.is_empty() || waiting.len() == before {
                    break;
                }
            }
            if waiting.is_empty() {
                break;
            }
        }
        trouble
    }

    async fn host(
        &self,
        group: &Group,
        host: &Host,
        endpoint: Option<&Endpoint>,
        policy: Option<&Policy>,
        notes: &Notes,
    ) -> Result<Conversation, Trouble> {
        let (whereabouts, expanded, address_secure) = match endpoint {
            Some(Endpoint::Unix(path)) => (Whereabouts::Unix(path.clone()), host.name.clone(), true),
            Some(Endpoint::Tcp(address)) => (Whereabouts::Tcp(vec![*address]), host.name.clone(), true),
            None => {
                let found = addresses(&self.means.resolver, host, &Own::default()).await;
                let found = found.map_err(|error| unroutable(&error))?;
                (Whereabouts::Tcp(found.addresses), found.name, found.secure)
            }
        };
        let subject = Subject {
            domain: if group.domain.is_empty() { &host.name } else { &group.domain },
            host: &host.name,
            expanded: &expanded,
            port: host.port,
            host_secure: host.secure,
            address_secure,
            named: group.server.is_some(),
            require_tls: self.require_tls,
            tls_optional: false,
            policy,
        };
        let protection = protection(&self.means.resolver, self.tls, &subject).await;
        let protection = protection.map_err(|error| Trouble(Became::NoTls, error.to_string()))?;
        let (tls, trust) = match &protection {
            Protection::None => (TlsUse::Never, &Trust::Anything),
            Protection::Opportunistic => (TlsUse::Opportunistic, &Trust::Anything),
            Protection::Required(trust, _) => (TlsUse::Required, trust),
        };
        match self.session(host, &whereabouts, tls, trust, notes).await {
            // Opportunistic: without TLS rather than not at all (RFC 7435).
            Err(Broken::Handshake(error)) if tls == TlsUse::Opportunistic && !self.implicit_tls => {
                notes.lock().line(format!("-- {error}; without TLS"));
                self.session(host, &whereabouts, TlsUse::Never, trust, notes).await
            }
            other => other,
        }
        .map_err(Trouble::from)
    }

    async fn session(
        &self,
        host: &Host,
        whereabouts: &Whereabouts,
        tls: TlsUse,
        trust: &Trust,
        notes: &Notes,
    ) -> Result<Conversation, Broken> {
        let (wire, address) = connect(whereabouts, &self.source, self.timeout.unwrap_or(CONNECT)).await?;
        notes.lock().reached("connected");
        notes.lock().session.address = Some(address);
        let options = self.options(tls);
        let session = self.means.engine.client(&options)?;
        let limit = Duration::from_millis(options.limits.handshake_timeout);
        let secrets = Secrets { name: &host.name, trust, roots: &self.means.roots, limit, also: None };
        let seen = Arc::clone(notes);
        let watch: Watch = Box::new(move |what| seen.lock().see(what));
        let opened = Conversation::open_watched(session, wire, &options, &secrets, Some(watch)).await;
        let mut conversation = opened?;
        {
            let mut notes = notes.lock();
            notes.reached("ready");
            let offers = conversation.peer().extensions.iter();
            let offers = offers.map(|one| format!("{} {}", one.keyword, one.parameters).trim_end().to_owned());
            notes.session.offers = offers.collect();
        }
        if let Some((user, password)) = &self.login {
            if conversation.peer().mechanisms.is_empty() {
                return Err(Broken::Password("the server offers no login here".into()));
            }
            conversation.login(user, password).await?;
            notes.lock().reached("logged in");
        }
        Ok(conversation)
    }

    fn options(&self, tls: TlsUse) -> Options {
        let usual = client::options(&self.hello);
        let mut limits = Limits { recipients: RECIPIENTS, ..usual.limits };
        if let Some(timeout) = self.timeout {
            let most = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            for time in [
                &mut limits.greeting_timeout,
                &mut limits.command_timeout,
                &mut limits.handshake_timeout,
                &mut limits.mail_timeout,
                &mut limits.rcpt_timeout,
                &mut limits.data_timeout,
                &mut limits.block_timeout,
                &mut limits.message_timeout,
                &mut limits.quit_timeout,
            ] {
                *time = most.min(*time);
            }
        }
        Options {
            protocol: self.protocol,
            limits,
            tls,
            implicit_tls: self.implicit_tls,
            plaintext_auth: self.plaintext_login,
            ignore: self.ignore.clone(),
            pipelining: self.pipelining,
            chunking: self.chunking,
            prdr: self.prdr,
            trace: true,
            ..usual
        }
    }

    /// As long as they bring somebody further.
    #[allow(clippy::too_many_arguments, reason = "one call, where a struct would only be taken apart again")]
    async fn transactions(
        &self,
        conversation: &mut Conversation,
        group: &Group,
        host: &str,
        message: &Outgoing,
        facts: &Facts,
        waiting: &mut Vec<usize>,
        report: &mut Report,
    ) {
        while !waiting.is_empty() && conversation.is_open() {
            let these: Vec<usize> = waiting.iter().copied().take(RECIPIENTS as usize).collect();
            let recipients = these.iter().filter_map(|place| group.recipients.get(*place));
            let transaction = Transaction {
                sender: self.sender.clone(),
                recipients: recipients.map(|(_, recipient)| recipient.clone()).collect(),
                content: ContentFacts {
                    size: facts.size,
                    eight_bit: facts.eight_bit,
                    bare_line_ends: facts.bare_line_ends,
                    longest_line: facts.longest_line,
                    utf8_header: facts.utf8_header,
                },
                require_tls: self.require_tls,
                ret: self.ret,
                envid: self.envid.clone(),
                auth: None,
                deliver_by: None,
                priority: None,
            };
            let outcomes = match conversation.deliver(&transaction, message, None).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    let broken = Trouble::midway(error);
                    waiting.retain(|place| !these.contains(place));
                    for place in these {
                        let Some((recipient, _)) = group.recipients.get(place) else { continue };
                        report.told.push(Told {
                            recipient: recipient.clone(),
                            became: broken.0,
                            host: Some(host.to_owned()),
                            code: None,
                            status: None,
                            text: broken.1.clone(),
                        });
                    }
                    return;
                }
            };
            let before = waiting.len();
            for outcome in outcomes {
                let Some(place) = these.get(outcome.recipient as usize) else { continue };
                let Some((recipient, _)) = group.recipients.get(*place) else { continue };
                if let Some(told) = told(recipient, host, &outcome) {
                    waiting.retain(|one| one != place);
                    report.told.push(told);
                }
            }
            if waiting.len() == before {
                return;
            }
        }
    }
}

fn unroutable(error: &Unroutable) -> Trouble {
    let became = if matches!(error, Unroutable::Never { .. }) { Became::Permanent } else { Became::NoSession };
    Trouble(became, error.to_string())
}

/// None: it was not tried.
fn told(recipient: &str, host: &str, outcome: &Outcome) -> Option<Told> {
    let became = match outcome.fate {
        Fate::Accepted => Became::Accepted,
        Fate::Temporary => Became::Temporary,
        Fate::Permanent => Became::Permanent,
        Fate::Unknown => Became::Unknown,
        Fate::Unsent => return None,
    };
    let status = &outcome.status;
    let text = match &outcome.reply {
        Some(Reply { code, text, status }) => {
            let status = status.as_ref().map(|s| format!("{}.{}.{} ", s.class, s.subject, s.detail));
            format!("{code} {}{text}", status.unwrap_or_default())
        }
        None => why(outcome.cause).to_owned(),
    };
    Some(Told {
        recipient: recipient.to_owned(),
        became,
        host: Some(host.to_owned()),
        code: outcome.reply.as_ref().map(|reply| reply.code),
        status: Some(format!("{}.{}.{}", status.class, status.subject, status.detail)),
        text,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_a_failure_means() {
        for (broken, begun, expected) in [
            (Broken::Engine(EngineError::Trap("x".into())), false, Became::NoSession),
            (Broken::Engine(EngineError::Trap("x".into())), true, Became::Unknown),
            (Broken::Engine(EngineError::Deadline(5)), true, Became::Unknown),
            (Broken::Engine(EngineError::Misuse(Misuse::NotStarted)), true, Became::Unknown),
            (Broken::Engine(EngineError::Misuse(Misuse::BadValue("x".into()))), true, Became::NoSession),
            (Broken::Content(io::ErrorKind::Other.into()), true, Became::NoSession),
            (Broken::Password("x".into()), false, Became::NoLogin),
        ] {
            let shown = format!("{broken:?} {begun}");
            let Trouble(became, _) = if begun { Trouble::midway(broken) } else { broken.into() };
            assert_eq!(became, expected, "{shown}");
        }
    }
}
