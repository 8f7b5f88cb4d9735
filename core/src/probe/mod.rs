//! Tries one thing with a server, against the rules where that is what is tried, and tells what came of it.
//!
//! Owns what is tried ([`Experiment`]), the words for it and the verdict on the answer. Refuses to know who the server is,
//! and everything that is no SMTP: TLS versions, certificates, the DNS. A server that says nothing, or nonsense, is a
//! [`Finding`] as any other; it fails only with the embedder's [`Misuse`].
//!
//! [`crate::client`] can not do this, because its job is to be correct. Here octets are sent as they are; but they are
//! fixed text, and names and addresses that [`Session::start`] has read by the grammar that reads a peer's commands. So
//! nothing that is given can forge a command.
//!
//! An experiment is a straight line of asking and hearing, with a branch here and there, and reads best as one: it is an
//! `async` function over a [`Talk`], polled by hand whenever something has happened. So a session can not be frozen; it
//! lasts for seconds.

mod commands;
mod extensions;
mod finding;
mod greeting;
mod limits;
mod relay;
mod smuggling;
mod talk;
mod tls;

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests;

pub use finding::{Finding, Verdict};
pub use limits::Limits;
pub use smuggling::EndOfData;

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Waker},
};

use crate::address::{HostName, Mailbox};
use crate::client::{Extension, line};
use crate::step::{Event, Misuse};
use crate::syntax::path;
use talk::{Stop, Talk};

/// What is tried in one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Experiment {
    /// The greeting, EHLO, QUIT; AUTH without TLS.
    Greeting,
    /// STARTTLS, and EHLO behind it.
    StartTls,
    /// A command behind STARTTLS, in the clear. RFC 3207 section 4.2.
    Injection,
    /// EHLO before the greeting.
    Haste,
    /// MAIL without a hello.
    Nameless,
    /// VRFY, EXPN, an unknown command, the postmaster, a line that is too long.
    Commands,
    /// Several commands at once.
    Pipelining,
    /// Each extension that is offered, and one that is not.
    Extensions,
    /// Recipients elsewhere, up to RCPT.
    Relay,
    /// An end of data that is none. The recipient gets a message.
    Smuggling(EndOfData),
}

/// What the session is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What is tried.
    pub experiment: Experiment,
    /// Our name, for EHLO.
    pub hello_name: String,
    /// All bounds.
    pub limits: Limits,
    /// The session began inside TLS.
    pub implicit_tls: bool,
    /// Use STARTTLS where it is offered, before the experiment begins.
    pub start_tls: bool,
    /// What the server takes mail for.
    pub domain: HostName,
    /// Who the mail is from.
    pub sender: Mailbox,
    /// Whom the server has no business with.
    pub stranger: Mailbox,
    /// Somebody who agreed to get test messages.
    pub recipient: Option<Mailbox>,
}

/// What the server said to EHLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name that it gives itself.
    pub name: String,
    /// It was said inside TLS.
    pub tls: bool,
    /// All that it offers.
    pub extensions: Vec<Extension>,
}

/// Why the session stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// More octets from the server.
    #[default]
    Input,
    /// Write [`Step::transmit`], then shake hands, then call `secured`, or `lost`.
    StartTls,
    /// Write [`Step::transmit`] as far as that goes, then close the connection.
    Close,
}

/// The outcome of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// For the server.
    pub transmit: Vec<u8>,
    /// What was found out.
    pub findings: Vec<Finding>,
    /// What the server said to EHLO, if it did just now.
    pub hello: Option<Hello>,
    /// Everything that was said, by both.
    pub events: Vec<Event>,
    /// What to do next.
    pub need: Need,
    /// Call `tick` at this time if nothing else happens before. `u64::MAX`: never.
    pub wake: u64,
}

type Script = Pin<Box<dyn Future<Output = ()>>>;

/// One session. It has no clock, no socket and no secrets.
pub struct Session {
    options: Options,
    talk: Talk,
    /// None before the start, and behind the end.
    script: Option<Script>,
    started: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Session {
    /// A session before its greeting.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let talk = Talk::new(options.limits.clone(), options.implicit_tls);
        Self { options, talk, script: None, started: false }
    }

    /// The connection is open. Once.
    ///
    /// # Errors
    /// [`Misuse::BadState`] the second time; [`Misuse::BadValue`] for a name or an address that does not read as one, and for
    /// smuggling without a recipient.
    pub fn start(&mut self, now: u64) -> Result<Step, Misuse> {
        if self.started {
            return Err(Misuse::BadState("the session has been started".into()));
        }
        let plan = Plan::new(&self.options)?;
        self.started = true;
        self.script = Some(Box::pin(run(self.talk.clone(), plan)));
        Ok(self.go(now))
    }

    /// Octets from the server: all that have been read. All of them are used.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`]; [`Misuse::BadState`] while a handshake is due.
    pub fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, Misuse> {
        self.running()?;
        if self.talk.shakes_hands() {
            return Err(Misuse::BadState("TLS comes first".into()));
        }
        self.talk.take(input);
        Ok(self.go(now))
    }

    /// The handshake that [`Need::StartTls`] asked for is done.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`]; [`Misuse::BadState`] if no handshake was asked for.
    pub fn secured(&mut self, now: u64) -> Result<Step, Misuse> {
        self.running()?;
        if !self.talk.shakes_hands() {
            return Err(Misuse::BadState("no handshake was asked for".into()));
        }
        self.talk.secured();
        Ok(self.go(now))
    }

    /// The time has come.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`].
    pub fn tick(&mut self, now: u64) -> Result<Step, Misuse> {
        self.running()?;
        Ok(self.go(now))
    }

    /// The server has closed the connection, it has broken, or the handshake has failed.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`].
    pub fn lost(&mut self, now: u64) -> Result<Step, Misuse> {
        self.running()?;
        self.talk.lost();
        Ok(self.go(now))
    }

    fn running(&self) -> Result<(), Misuse> {
        match (&self.script, self.started) {
            (Some(_), _) => Ok(()),
            (None, false) => Err(Misuse::NotStarted),
            (None, true) => Err(Misuse::Closed),
        }
    }

    /// On with the script, as far as it goes.
    fn go(&mut self, now: u64) -> Step {
        self.talk.set_time(now);
        let mut context = Context::from_waker(Waker::noop());
        if let Some(script) = &mut self.script
            && script.as_mut().poll(&mut context).is_ready()
        {
            self.script = None;
        }
        self.talk.step(self.script.is_none())
    }
}

/// What an experiment goes by: the options in the form in which they are said.
struct Plan {
    experiment: Experiment,
    hello_name: String,
    start_tls: bool,
    domain: String,
    /// Addresses as they stand in a path.
    sender: String,
    stranger: Mailbox,
    recipient: Option<String>,
}

impl Plan {
    fn new(options: &Options) -> Result<Self, Misuse> {
        let bad = |what: &str, value: &str| Misuse::BadValue(format!("{what} is no name: {value:?}"));
        path::host(&options.hello_name).map_err(|_| bad("the hello", &options.hello_name))?;
        let domain = match &options.domain {
            HostName::Domain(domain) => domain.clone(),
            HostName::Literal(literal) => format!("[{literal}]"),
        };
        path::host(&domain).map_err(|_| bad("the domain", &domain))?;
        line::mailbox(&options.stranger)?;
        let recipient = options.recipient.as_ref().map(line::mailbox).transpose()?;
        if matches!(options.experiment, Experiment::Smuggling(_)) && recipient.is_none() {
            return Err(Misuse::BadValue("smuggling needs a recipient".into()));
        }
        Ok(Self {
            experiment: options.experiment,
            hello_name: options.hello_name.clone(),
            start_tls: options.start_tls,
            domain,
            sender: line::mailbox(&options.sender)?,
            stranger: options.stranger.clone(),
            recipient,
        })
    }
}

async fn run(talk: Talk, plan: Plan) {
    let (check, done) = match plan.experiment {
        Experiment::Greeting => ("greeting", greeting::greeting(&talk, &plan).await),
        Experiment::StartTls => ("starttls", tls::start_tls(&talk, &plan).await),
        Experiment::Injection => ("starttls-injection", tls::injection(&talk, &plan).await),
        Experiment::Haste => ("early-talker", greeting::haste(&talk, &plan).await),
        Experiment::Nameless => ("hello-required", greeting::nameless(&talk, &plan).await),
        Experiment::Commands => ("commands", commands::commands(&talk, &plan).await),
        Experiment::Pipelining => ("pipelining", commands::pipelining(&talk, &plan).await),
        Experiment::Extensions => ("extensions", extensions::extensions(&talk, &plan).await),
        Experiment::Relay => ("open-relay", relay::relay(&talk, &plan).await),
        Experiment::Smuggling(end) => (end.check(), smuggling::smuggling(&talk, &plan, end).await),
    };
    if let Err(Stop(why)) = done {
        talk.found(check, Verdict::Untested, "", format!("The session came to its end before this was known: {why}."));
    }
}
