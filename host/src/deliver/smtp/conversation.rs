//! A session with a server: what the sealed engine asks for is read, written, encrypted and waited for.
//!
//! Owns the connection and the time. Refuses to know SMTP: replies are read, commands written and limits kept by the
//! engine. Fails with [`Broken`] where there was no session to deliver in; what becomes of recipients is an [`Outcome`].

use std::{
    io,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tracing::debug;

use super::{
    connect::{Unreachable, Wire},
    content::Outgoing,
    watch::{Seen, Watch},
};
use crate::{
    engine::{
        EngineError,
        client::{Client, Failure, Login, Need, Options, Outcome, Peer, Step, Transaction, to_write},
    },
    observe::point::{Point, pass},
    transport::trust::{HandshakeError, Roots, Trust, agreed, handshake, reconsidered},
};

/// Octets that are read at a time: replies are short.
const READ: usize = 16 << 10;
/// How long a closing connection may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why there is no session, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// No address answers.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// A password that can not be read: the operator's.
    #[error("{0}")]
    Password(String),
    /// TLS was wanted and did not come about.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The other end, in the engine's words.
    #[error("{}", describe(.0))]
    Failed(Failure),
    /// A login was refused.
    #[error("the login was refused: {} {}", .0.reply.code, .0.reply.text)]
    Login(Login),
    /// A message that can not be read here.
    #[error("the message can not be read: {0}")]
    Content(io::Error),
    /// What gave the right to send the message ended on the way. The server has no end of it, and so no message.
    #[error("the right to send the message ended before its end was sent")]
    Withheld,
    /// Ours.
    #[error("{0}")]
    Engine(#[from] EngineError),
}

/// What happened, in one line.
fn describe(failure: &Failure) -> String {
    let what = &failure.detail;
    match &failure.reply {
        Some(reply) => format!("{what}: {} {}", reply.code, reply.text),
        None => what.clone(),
    }
}

/// A session that is ready for a transaction.
pub struct Conversation {
    session: Box<dyn Client>,
    wire: Option<Box<dyn Wire>>,
    begun: Instant,
    tls: Option<String>,
    reconsidered: Option<HandshakeError>,
    peer: Peer,
    used: Instant,
    watch: Option<Watch>,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("peer", &self.peer).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// How the server's certificate is judged, if there is TLS.
#[derive(Clone, Debug)]
pub struct Secrets<'a> {
    /// The server's name.
    pub name: &'a str,
    /// How.
    pub trust: &'a Trust,
    /// By whom.
    pub roots: &'a Roots,
    /// How else, without consequences: see [`Conversation::reconsidered`].
    pub also: Option<&'a Trust>,
    /// For the handshake.
    pub limit: Duration,
}

/// Who says whether the end of a content may be sent: with it the message is the server's.
#[async_trait]
pub trait Consent: Send + Sync {
    /// Is asked when all but the last piece has been sent.
    async fn given(&self) -> bool;
}

/// What is to be sent, and with whose consent.
type Message<'a> = (&'a Outgoing, Option<&'a dyn Consent>);

/// What a transaction, or the way to the first one, brought.
#[derive(Default)]
struct Gathered {
    outcomes: Vec<Outcome>,
    login: Option<Login>,
    failure: Option<Failure>,
}

/// Where the engine has got to.
enum Stop {
    Ready(Peer),
    /// Of a mechanism whose answers do not depend on it.
    Challenge,
    Closed,
}

impl Conversation {
    /// From a connection to the first `ready`.
    ///
    /// # Errors
    /// [`Broken`]; the connection is closed.
    pub async fn open(
        session: Box<dyn Client>,
        wire: Box<dyn Wire>,
        options: &Options,
        secrets: &Secrets<'_>,
    ) -> Result<Self, Broken> {
        Self::open_watched(session, wire, options, secrets, None).await
    }

    /// The same for somebody who watches it from its first octet to its last.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_watched(
        session: Box<dyn Client>,
        wire: Box<dyn Wire>,
        options: &Options,
        secrets: &Secrets<'_>,
        watch: Option<Watch>,
    ) -> Result<Self, Broken> {
        let now = Instant::now();
        let peer = nobody();
        let wire = Some(wire);
        let mut conversation =
            Self { session, wire, begun: now, tls: None, reconsidered: None, peer, used: now, watch };
        if options.implicit_tls {
            conversation.encrypt(secrets).await?;
        }
        let step = conversation.session.start(conversation.now())?;
        let mut gathered = Gathered::default();
        match conversation.go(step, Some(secrets), None, &mut gathered).await? {
            Stop::Ready(peer) => {
                conversation.peer = peer;
                Ok(conversation)
            }
            _ => Err(ended(gathered)),
        }
    }

    /// What is known of the server.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// TLS version and cipher.
    #[must_use]
    pub fn tls(&self) -> Option<&str> {
        self.tls.as_deref()
    }

    /// Why TLS would have failed under [`Secrets::also`].
    #[must_use]
    pub fn reconsidered(&self) -> Option<&HandshakeError> {
        self.reconsidered.as_ref()
    }

    /// Since the last transaction.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    /// Another transaction may follow.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.wire.is_some() && self.peer.messages_left != Some(0)
    }

    /// AUTH PLAIN (RFC 4616), or LOGIN where there is nothing else.
    ///
    /// # Errors
    /// [`Broken::Login`], and as [`Self::open`].
    pub async fn login(&mut self, user: &str, password: &str) -> Result<(), Broken> {
        let offers = |name: &str| self.peer.mechanisms.iter().any(|one| one == name);
        let (mechanism, first, mut rest) = if offers("PLAIN") || !offers("LOGIN") {
            ("PLAIN", Some(format!("\0{user}\0{password}").into_bytes()), Vec::new())
        } else {
            ("LOGIN", None, vec![password.as_bytes().to_vec(), user.as_bytes().to_vec()])
        };
        let mut gathered = Gathered::default();
        let mut step = self.session.login(self.now(), mechanism, first.as_deref())?;
        loop {
            match self.go(step, None, None, &mut gathered).await? {
                Stop::Ready(peer) => {
                    self.peer = peer;
                    return match gathered.login {
                        Some(login) if login.accepted => Ok(()),
                        Some(login) => Err(Broken::Login(login)),
                        None => Err(ended(gathered)),
                    };
                }
                Stop::Challenge => {
                    step = match rest.pop() {
                        Some(response) => self.session.respond(self.now(), &response)?,
                        None => self.session.cancel(self.now())?,
                    };
                }
                Stop::Closed => return Err(ended(gathered)),
            }
        }
    }

    /// One transaction. Every recipient has an outcome, however it ends. Without `consent` the end of the content is always sent.
    ///
    /// # Errors
    /// [`Broken`] where not even that is known, for a reason of ours; the connection is closed.
    pub async fn deliver(
        &mut self,
        transaction: &Transaction,
        message: &Outgoing,
        consent: Option<&dyn Consent>,
    ) -> Result<Vec<Outcome>, Broken> {
        let mut gathered = Gathered::default();
        let step = self.session.deliver(self.now(), transaction)?;
        match self.go(step, None, Some((message, consent)), &mut gathered).await {
            Ok(Stop::Ready(peer)) => self.peer = peer,
            Ok(_) => self.wire = None,
            Err(error) => {
                self.wire = None;
                return Err(error);
            }
        }
        self.used = Instant::now();
        Ok(gathered.outcomes)
    }

    /// QUIT, as far as the other end plays along.
    pub async fn quit(mut self) {
        if self.wire.is_none() {
            return;
        }
        if let Ok(step) = self.session.quit(self.now()) {
            let _ = timeout(GOODBYE, self.go(step, None, None, &mut Gathered::default())).await;
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Until `wake`.
    fn left(&self, wake: u64) -> Duration {
        // Longer than any session lasts is as good as for ever.
        Duration::from_millis(wake.saturating_sub(self.now()).min(24 * 3600 * 1000))
    }

    async fn encrypt(&mut self, secrets: &Secrets<'_>) -> Result<(), Broken> {
        let Some(wire) = self.wire.take() else {
            return Err(HandshakeError::Lost(io::ErrorKind::NotConnected.into()).into());
        };
        let shaking = handshake(wire, secrets.trust.server_name(secrets.name), secrets.trust, secrets.roots);
        let late = || HandshakeError::Lost(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        let stream = timeout(secrets.limit, shaking).await.map_err(|_| late())??;
        let agreed = agreed(&stream);
        self.reconsidered = secrets.also.and_then(|also| reconsidered(&stream, also, secrets.roots).err());
        self.tell(Seen::Secured(&agreed));
        self.tls = Some(agreed);
        self.wire = Some(Box::new(stream));
        Ok(())
    }

    fn tell(&mut self, seen: Seen<'_>) {
        if let Some(watch) = &mut self.watch {
            watch(seen);
        }
    }

    /// Does what steps ask for until one asks for something that only the caller has.
    async fn go(
        &mut self,
        mut step: Step,
        secrets: Option<&Secrets<'_>>,
        message: Option<Message<'_>>,
        gathered: &mut Gathered,
    ) -> Result<Stop, Broken> {
        let mut given: Vec<u8> = Vec::new();
        let (mut offset, mut whole) = (0, false);
        loop {
            for event in step.events.iter().filter(|event| !event.secret) {
                debug!(detail = event.detail, "outbound session");
            }
            for event in &step.events {
                self.tell(Seen::Event(event));
            }
            let content = to_write(&step, &given).map(<[u8]>::len).sum::<usize>().saturating_sub(step.transmit.len());
            if content > 0 {
                self.tell(Seen::Content(content));
            }
            gathered.outcomes.append(&mut step.outcomes);
            gathered.login = step.login.take().or(gathered.login.take());
            gathered.failure = step.failure.take().or(gathered.failure.take());
            if matches!(step.need, Need::Close) {
                let _ = timeout(GOODBYE, self.write(&step, &given)).await;
                if let Some(mut wire) = self.wire.take() {
                    let _ = timeout(GOODBYE, wire.shutdown()).await;
                }
                return Ok(Stop::Closed);
            }
            match timeout(self.left(step.wake), self.write(&step, &given)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(%error, "the connection broke while it was written to");
                    step = self.session.lost(self.now())?;
                    continue;
                }
                Err(_) => {
                    step = self.session.tick(self.now())?;
                    continue;
                }
            }
            given.clear();
            match step.need {
                Need::Content if offset == 0 => pass(Point::EnvelopeAnswered),
                Need::Input if whole => pass(Point::ContentSent),
                _ => {}
            }
            step = match step.need {
                Need::Ready(peer) => return Ok(Stop::Ready(peer)),
                Need::Response(_) => return Ok(Stop::Challenge),
                Need::StartTls => {
                    let Some(secrets) = secrets else {
                        return Err(EngineError::Trap("the engine wants TLS where there can be none".into()).into());
                    };
                    self.encrypt(secrets).await?;
                    self.session.secured(self.now())?
                }
                Need::Content => match self.heard().await {
                    Some(input) => self.hear(input)?,
                    None => {
                        let Some((message, consent)) = message else {
                            return Err(EngineError::Trap("the engine wants content where there is none".into()).into());
                        };
                        given = message.read(offset).map_err(Broken::Content)?;
                        offset += given.len() as u64;
                        whole = offset >= message.size();
                        if let (true, Some(consent)) = (whole, consent)
                            && !consent.given().await
                        {
                            return Err(Broken::Withheld);
                        }
                        self.session.content(self.now(), &given, whole)?
                    }
                },
                Need::Input => match timeout(self.left(step.wake), self.read()).await {
                    Ok(input) => self.hear(input)?,
                    Err(_) => self.session.tick(self.now())?,
                },
                Need::Close => return Ok(Stop::Closed),
            };
        }
    }

    /// What was read, for the engine; nothing is the end of the connection.
    fn hear(&mut self, input: io::Result<Vec<u8>>) -> Result<Step, EngineError> {
        match input {
            Ok(octets) if !octets.is_empty() => self.session.receive(self.now(), &octets),
            Ok(_) => self.session.lost(self.now()),
            Err(error) => {
                debug!(%error, "the connection broke while it was read from");
                self.session.lost(self.now())
            }
        }
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let Some(wire) = &mut self.wire else { return Ok(Vec::new()) };
        let mut octets = vec![0; READ];
        let length = wire.read(&mut octets).await?;
        octets.truncate(length);
        Ok(octets)
    }

    /// What is there already, without waiting.
    async fn heard(&mut self) -> Option<io::Result<Vec<u8>>> {
        tokio::select! {
            biased;
            input = self.read() => Some(input),
            () = std::future::ready(()) => None,
        }
    }

    /// `given`: the octets that the engine's ranges are about.
    async fn write(&mut self, step: &Step, given: &[u8]) -> io::Result<()> {
        let Some(wire) = &mut self.wire else { return Err(io::ErrorKind::NotConnected.into()) };
        if step.transmit.is_empty() && step.content.is_empty() {
            return Ok(());
        }
        for octets in to_write(step, given) {
            wire.write_all(octets).await?;
        }
        wire.flush().await
    }
}

/// Before the server has said anything.
fn nobody() -> Peer {
    Peer {
        name: String::new(),
        tls: false,
        authenticated: false,
        extensions: Vec::new(),
        mechanisms: Vec::new(),
        size: None,
        messages_left: None,
        recipients_max: None,
        domains_max: None,
    }
}

fn ended(gathered: Gathered) -> Broken {
    match gathered.failure {
        Some(failure) => Broken::Failed(failure),
        None => EngineError::Trap("the session ended without a reason".into()).into(),
    }
}
