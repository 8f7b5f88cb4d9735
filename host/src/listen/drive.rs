//! The session driver: what the engine wants done, done in order.
//!
//! Owns the connection and its sealed session. Refuses to know what is said: octets go in, steps come out. A session
//! ends when the engine says so, when the peer is gone, or when the engine fails; then the peer gets one fixed line.
//!
//! 1. [`run`] reads the PROXY header, takes a seat for the client, shakes hands where TLS is implicit, waits out the
//!    greeting's delay.
//! 2. Each step of the engine: its events to the log, its content to the store, its octets to `out`, then its need.
//! 3. `out` is written before anything that waits, so pipelined replies leave in one piece.
//! 4. While nothing comes, no buffer is held, and after a while no instance.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{Phase, Post, Shared, answer::Answers, caps::Seat, seal::Sealed};
use crate::{
    config::{Kind, Limits},
    engine::{
        EngineError,
        types::{Answer, Need, Question, Refusal, Step},
    },
    observe::{SessionLog, events},
    plugin::ledger::Witness,
    policy::SessionFacts,
    record::{Called, recorder::Ended},
    transport::{
        Input, Socket, Stream,
        proxy::{self, Origin, ProxyError},
        tls,
    },
};

/// For the PROXY header.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);
/// Said without an engine, when there is none to say it.
const NO_ENGINE: &[u8] = b"421 4.3.0 internal trouble, closing the connection\r\n";
/// Said without a session, when there is no seat for one.
pub(super) const NO_SEAT: &[u8] = b"421 4.7.0 too many connections, try again later\r\n";

/// Why a session was over.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// As it should be.
    #[error("closed")]
    Closed,
    /// By the engine, for this reason.
    #[error("{0}")]
    CutShort(&'static str),
    /// Because the server ends.
    #[error("drained")]
    Drained,
    /// The peer closed the connection without a word.
    #[error("the peer closed the connection")]
    Gone,
    /// The connection broke, or the peer read no replies.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
    /// No handshake.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// No PROXY header where there must be one.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// No PROXY header in time.
    #[error("no PROXY header in time")]
    ProxyTimeout,
    /// The peer may not send PROXY headers.
    #[error("not a trusted proxy")]
    Untrusted,
    /// The client has enough sessions.
    #[error("too many sessions of this client")]
    NoSeat,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine wants input and takes none.
    #[error("the engine makes no progress")]
    Stuck,
}

/// Serves one connection to its end.
pub(super) async fn run(
    shared: Arc<Shared>,
    post: Arc<Post>,
    socket: Socket,
    mut seat: Seat,
    mut phase: watch::Receiver<Phase>,
) {
    let peer = socket.peer();
    let mut facts = Box::new(SessionFacts {
        id: session_id(),
        listener: post.listener.clone(),
        client: peer,
        client_name: None,
        tls: None,
        hello: None,
        extended: false,
        identity: None,
    });
    let mut stream = Stream::Plain(socket);
    let begun = tokio::select! {
        biased;
        begun = Box::pin(begin(&shared, &mut facts, &mut stream, &mut seat)) => begun,
        _ = phase.wait_for(|phase| *phase != Phase::Open) => Err(End::Closed),
    };
    let (input, spoke_early) = match begun {
        Ok(early) => early,
        Err(end) => {
            post.metrics.refused();
            events::connection_refused(&post.label, facts.client, &end.to_string());
            return;
        }
    };
    let began = Instant::now();
    let _open = post.metrics.session();
    let log = SessionLog::new(&facts.id);
    log.opened(&post.label, facts.client);
    if let Some(tls) = &facts.tls {
        log.tls(&tls.version, &tls.cipher);
    }
    let current = shared.current.load_full();
    let options = current.policy.options(&facts, current.certificates.is_some());
    let write_limit = Duration::from_secs(current.config.limits.write_timeout);
    let freeze_after = current.config.engine.freeze_after;
    let client = facts.client.map(|client| client.ip());
    let mut take = shared.recorder.begin(&current.config.record, &post.label, client, &options);
    let wanted = &current.config.record;
    let witness = take.is_some().then(|| Arc::new(Witness::new(wanted.largest, wanted.bodies)));
    drop(current);
    let mut answers = Answers::new(shared.clone(), facts, log);
    answers.spoke_early = spoke_early;
    answers.witness = witness;
    let end = match Sealed::open(shared.engine.clone(), shared.metrics.clone(), options, take.take()) {
        Ok(sealed) => {
            let timer = Box::pin(sleep_until(began));
            let mut drive = Drive {
                stream: &mut stream,
                sealed,
                answers: &mut answers,
                input,
                out: Vec::new(),
                timer,
                phase,
                drained: false,
                write_limit,
                freeze_after,
            };
            let end = drive.finish().await;
            take = drive.sealed.take.take();
            end
        }
        Err(error) => {
            let _ = stream.send(NO_ENGINE, write_limit).await;
            End::Engine(error)
        }
    };
    record(&shared, &answers, &end);
    answers.log.closed(&end.to_string(), answers.messages, began.elapsed());
    if let Some(take) = take {
        let current = shared.current.load();
        let ended = Ended {
            session: answers.facts.id.clone(),
            listener: post.label.clone(),
            client,
            how: end.to_string(),
            failed: matches!(end, End::Tls(_) | End::Engine(_) | End::Stuck | End::CutShort(_)),
        };
        shared.recorder.end(take, &current.config.record, &current.config.data, ended);
    }
    // Whoever was cut short may be in the middle of a sentence.
    let talking = matches!(end, End::CutShort(_) | End::Engine(_) | End::Stuck);
    // What is held for a message goes before the peer is waited for.
    drop(answers);
    if !matches!(end, End::Lost(_)) {
        Box::pin(stream.close(talking)).await;
    }
}

/// How the session ended, where that is anything to look into.
fn record(shared: &Shared, answers: &Answers, end: &End) {
    let metrics = &shared.metrics;
    match end {
        End::Tls(error) => answers.log.tls_failed(error),
        End::Engine(error) => {
            match error {
                EngineError::Deadline(_) => metrics.engine_overran(),
                EngineError::Instance(_) => metrics.engine_unavailable(),
                EngineError::Trap(_) | EngineError::Misuse(_) => metrics.engine_trapped(),
            }
            answers.log.engine_failed(error, answers.last);
        }
        End::Stuck => {
            metrics.engine_trapped();
            answers.log.engine_failed(end, answers.last);
        }
        _ => {}
    }
}

/// What comes before the engine: who is it, is there a seat, TLS, and does it wait for the greeting?
async fn begin(
    shared: &Shared,
    facts: &mut SessionFacts,
    stream: &mut Stream,
    seat: &mut Seat,
) -> Result<(Input, bool), End> {
    let listener = facts.listener.clone();
    if let Some(networks) = &listener.proxy {
        // A Unix socket has no address to trust; its folder says who may connect.
        if let Some(peer) = facts.client
            && !networks.iter().any(|network| network.contains(peer.ip()))
        {
            return Err(End::Untrusted);
        }
        let origin = timeout(PROXY_TIMEOUT, proxy::read(stream)).await.map_err(|_| End::ProxyTimeout)??;
        if let Origin::Client(client) = origin {
            facts.client = Some(client);
        }
    }
    let current = shared.current.load_full();
    let limits = &current.config.limits;
    let implicit_tls = listener.kind == Kind::Submissions;
    if let Some(client) = facts.client
        && !seat.belongs_to(client.ip(), limits.sessions_per_client)
    {
        // Inside TLS the peer would take this for a broken handshake.
        if let (Stream::Plain(socket), false) = (&*stream, implicit_tls) {
            let _ = socket.try_write(NO_SEAT);
        }
        return Err(End::NoSeat);
    }
    if implicit_tls {
        secure(shared, facts, stream, limits).await?;
    }
    if listener.greeting_delay > 0 {
        match timeout(Duration::from_millis(listener.greeting_delay), stream.next()).await {
            Ok(input) => {
                let input = input?;
                return if input.is_empty() { Err(End::Gone) } else { Ok((input, true)) };
            }
            Err(_waited) => {}
        }
    }
    Ok((Input::default(), false))
}

/// TLS, with the certificates of today.
async fn secure(shared: &Shared, facts: &mut SessionFacts, stream: &mut Stream, limits: &Limits) -> Result<(), End> {
    let certificates = shared.current.load().certificates.clone();
    let Some(certificates) = certificates else {
        return Err(End::Tls(io::Error::other("there is no certificate")));
    };
    let peer = if facts.listener.kind.is_submission() { tls::Peer::User } else { tls::Peer::Server };
    let limit = Duration::from_secs(limits.handshake_timeout);
    let secured = Box::pin(stream.secure(certificates.server_config(peer), limit)).await;
    shared.metrics.handshake(secured.is_ok());
    secured.map_err(End::Tls)?;
    facts.tls = stream.tls().map(|stream| tls::facts(stream, peer));
    Ok(())
}

/// A session in progress.
struct Drive<'a> {
    stream: &'a mut Stream,
    sealed: Sealed,
    answers: &'a mut Answers,
    /// Read and not used yet.
    input: Input,
    /// Said and not written yet.
    out: Vec<u8>,
    /// Set to some time that is not later than the next thing to do.
    timer: Pin<Box<Sleep>>,
    phase: watch::Receiver<Phase>,
    /// The engine knows that we want to stop.
    drained: bool,
    write_limit: Duration,
    /// Milliseconds.
    freeze_after: u64,
}

impl Drive<'_> {
    async fn finish(&mut self) -> End {
        match self.session().await {
            Ok(()) => match self.answers.cut_short {
                Some(why) => End::CutShort(why),
                None if self.drained => End::Drained,
                None => End::Closed,
            },
            Err(end) => {
                if matches!(end, End::Engine(_) | End::Stuck) {
                    self.out.extend_from_slice(NO_ENGINE);
                    let _ = self.flush().await;
                }
                end
            }
        }
    }

    async fn session(&mut self) -> Result<(), End> {
        let mut step = self.sealed.call(Called::Start)?;
        // The last call gave the engine what is in `input`.
        let mut offered = false;
        loop {
            self.answers.report(&step.events);
            self.answers.content(&step, self.input.rest()).await;
            self.input.consume(step.consumed as usize);
            self.say(step.transmit);
            let input = !self.input.is_empty();
            let stuck = offered && step.consumed == 0 && input;
            offered = false;
            step = match step.need {
                Need::Input if stuck => return Err(End::Stuck),
                Need::Input if input => {
                    offered = true;
                    self.receive()?
                }
                Need::Input => {
                    self.flush().await?;
                    let step = self.wait(step.wake).await?;
                    offered = !self.input.is_empty();
                    step
                }
                Need::Answer(question) => {
                    let answer = self.answer(question).await?;
                    self.witnessed();
                    self.sealed.call(Called::Answer(&answer))?
                }
                Need::StartTls => self.start_tls().await?,
                Need::Close => return self.flush().await,
            };
        }
    }

    fn receive(&mut self) -> Result<Step, End> {
        let input = self.input.rest();
        Ok(self.sealed.call(Called::Receive(input))?)
    }

    /// What plugins were asked goes to what is held of the session.
    fn witnessed(&mut self) {
        if let (Some(witness), Some(take)) = (&self.answers.witness, &mut self.sealed.take) {
            witness.take().into_iter().for_each(|(hook, size)| take.hook(hook, size));
        }
    }

    fn say(&mut self, transmit: Vec<u8>) {
        if self.out.is_empty() {
            self.out = transmit;
        } else {
            self.out.extend_from_slice(&transmit);
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if !self.out.is_empty() {
            let out = std::mem::take(&mut self.out);
            self.stream.send(&out, self.write_limit).await?;
        }
        Ok(())
    }

    /// Most questions are answered at once. Where one takes time, the peer gets what was said so far.
    async fn answer(&mut self, question: Question) -> Result<Answer, End> {
        let mut answering = pin!(self.answers.answer(question));
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(answering.as_mut().poll(context))).await {
            return Ok(answer);
        }
        self.input.settle();
        if !self.out.is_empty() {
            let out = std::mem::take(&mut self.out);
            self.stream.send(&out, self.write_limit).await?;
        }
        Ok(answering.await)
    }

    /// RFC 3207: nothing that came before the 220 was written counts.
    async fn start_tls(&mut self) -> Result<Step, End> {
        self.input = Input::default();
        self.flush().await?;
        let shared = self.answers.shared().clone();
        let current = shared.current.load_full();
        secure(&shared, &mut self.answers.facts, self.stream, &current.config.limits).await?;
        self.answers.forget();
        if let Some(tls) = &self.answers.facts.tls {
            self.answers.log.tls(&tls.version, &tls.cipher);
        }
        let mechanisms = current.policy.mechanisms(&self.answers.facts);
        Ok(self.sealed.call(Called::Secured(&mechanisms))?)
    }

    /// Waits for octets, for the time to `wake`, or for the end of the server; after a while frozen.
    async fn wait(&mut self, wake: u64) -> Result<Step, End> {
        let mut freeze_at = self.sealed.now().saturating_add(self.freeze_after);
        loop {
            let next = if self.sealed.live() { wake.min(freeze_at) } else { wake };
            let next = self.sealed.instant(next);
            // Waking up early is cheaper than setting the timer at every step.
            if self.timer.is_elapsed() || self.timer.deadline() > next {
                self.timer.as_mut().reset(next);
            }
            let draining = async {
                // An error would say that the server is gone; that ends the session by other means.
                let _ = self.phase.wait_for(|phase| *phase != Phase::Open).await;
            };
            tokio::select! {
                biased;
                input = self.stream.next() => {
                    self.input = input?;
                    return if self.input.is_empty() { Err(End::Gone) } else { self.receive() };
                }
                () = draining, if !self.drained => {
                    self.drained = true;
                    let text = format!("{} is shutting down", self.answers.shared().current.load().config.name);
                    let farewell = Refusal { code: 421, subject: 3, detail: 2, text };
                    return Ok(self.sealed.call(Called::Drain(&farewell))?);
                }
                () = &mut self.timer => {
                    let now = self.sealed.now();
                    if now >= wake {
                        return Ok(self.sealed.call(Called::Tick)?);
                    }
                    if now >= freeze_at {
                        self.sealed.freeze()?;
                        freeze_at = u64::MAX;
                    }
                }
            }
        }
    }
}

/// Twelve characters, 60 random bits.
fn session_id() -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bits: u64 = rand::random();
    (0..12)
        .map(|_| {
            let digit = DIGITS[(bits & 31) as usize];
            bits >>= 5;
            char::from(digit)
        })
        .collect()
}
