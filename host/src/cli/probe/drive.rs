//! One session with the server that is tested: the sealed engine says what to write, and what came of it.
//!
//! Owns the connection, the time and the TLS handshake. Refuses to know what is tried. Fails with [`Untestable`] where there
//! was no session; whatever the server does in one is a finding.

use std::{
    io,
    time::{Duration, Instant},
};

use rustls::SupportedProtocolVersion;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::old_tls::{self, OldTls};
use crate::{
    deliver::smtp::connect::{Unreachable, Whereabouts, Wire, connect},
    engine::{
        EngineError,
        pool::WasmEngine,
        probe::{Experiment, Finding, Hello, HostName, Limits, Mailbox, Need, Options, SealedProbe, Step},
        types::Occasion,
    },
    transport::trust::{Roots, Trust, agreed, handshake_at},
};

/// Octets that are read at a time: replies are short.
const READ: usize = 16 << 10;
/// How long a closing connection may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why there was no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untestable {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("{0}")]
    Engine(#[from] EngineError),
}

/// A server, and how it is tested.
pub(super) struct Server<'a> {
    pub(super) engine: &'a WasmEngine,
    pub(super) roots: &'a Roots,
    pub(super) whereabouts: Whereabouts,
    /// For SNI.
    pub(super) name: String,
    pub(super) implicit_tls: bool,
    pub(super) hello_name: String,
    pub(super) domain: HostName,
    pub(super) sender: Mailbox,
    pub(super) stranger: Mailbox,
    pub(super) recipient: Option<Mailbox>,
    pub(super) timeout: Duration,
    pub(super) pause: Duration,
}

/// How TLS is begun.
#[derive(Clone, Copy)]
pub(super) enum Shake {
    /// With these versions.
    Versions(&'static [&'static SupportedProtocolVersion]),
    /// With a version that nobody should take any more, and no further than to the answer.
    Old(OldTls),
}

/// What TLS came to.
pub(super) enum Tls {
    /// Version and cipher, and the certificates that the server showed.
    Agreed(String, Vec<CertificateDer<'static>>),
    /// Of [`Shake::Old`]: it was taken.
    Old(bool),
    /// Why there is none.
    Failed(String),
    /// It was not there in time, so nobody knows.
    Late,
}

/// What one session brought.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) findings: Vec<Finding>,
    /// In their order; the last one is inside TLS if there is TLS.
    pub(super) hellos: Vec<Hello>,
    /// None: it was not asked for.
    pub(super) tls: Option<Tls>,
    /// Lines of the transcript.
    pub(super) said: Vec<String>,
    /// Where the server is.
    pub(super) address: String,
}

impl Server<'_> {
    /// `start_tls`: before the experiment begins, where it is offered.
    pub(super) async fn attempt(
        &self,
        experiment: Experiment,
        start_tls: bool,
        shake: Shake,
    ) -> Result<Heard, Untestable> {
        let options = Options {
            experiment,
            hello_name: self.hello_name.clone(),
            limits: Limits {
                reply_line: 4096,
                reply_lines: 256,
                reply_size: 65_536,
                received: 1024 * 1024,
                reply_timeout: milliseconds(self.timeout),
                pause: milliseconds(self.pause),
            },
            implicit_tls: self.implicit_tls,
            start_tls,
            domain: self.domain.clone(),
            sender: self.sender.clone(),
            stranger: self.stranger.clone(),
            recipient: self.recipient.clone(),
        };
        let (wire, address) = connect(&self.whereabouts, &[], self.timeout).await?;
        let mut session = Session {
            server: self,
            probe: self.engine.probe(&options)?,
            wire: Some(wire),
            begun: Instant::now(),
            shake,
            heard: Heard { address, ..Heard::default() },
        };
        if !self.implicit_tls || session.encrypt().await {
            session.run().await?;
        }
        Ok(session.heard)
    }
}

struct Session<'a> {
    server: &'a Server<'a>,
    probe: SealedProbe,
    wire: Option<Box<dyn Wire>>,
    begun: Instant,
    shake: Shake,
    heard: Heard,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<(), EngineError> {
        let mut step = self.probe.start(self.now())?;
        loop {
            self.keep(&mut step);
            let written = timeout(self.server.timeout, self.write(&step.transmit)).await;
            if step.need == Need::Close {
                if let Some(mut wire) = self.wire.take() {
                    let _ = timeout(GOODBYE, wire.shutdown()).await;
                }
                return Ok(());
            }
            // What the server said before it broke the connection still counts.
            if !matches!(written, Ok(Ok(()))) {
                let input = timeout(GOODBYE, self.read()).await.ok().and_then(Result::ok).unwrap_or_default();
                step = if input.is_empty() {
                    self.wire = None;
                    self.probe.lost(self.now())?
                } else {
                    self.probe.receive(self.now(), &input)?
                };
                continue;
            }
            step = match step.need {
                Need::StartTls => {
                    if self.encrypt().await {
                        self.probe.secured(self.now())?
                    } else {
                        self.probe.lost(self.now())?
                    }
                }
                Need::Input => match timeout(self.left(step.wake), self.read()).await {
                    Ok(Ok(input)) if !input.is_empty() => self.probe.receive(self.now(), &input)?,
                    Ok(_) => {
                        self.wire = None;
                        self.probe.lost(self.now())?
                    }
                    Err(_) => self.probe.tick(self.now())?,
                },
                Need::Close => return Ok(()),
            };
        }
    }

    fn keep(&mut self, step: &mut Step) {
        self.heard.findings.append(&mut step.findings);
        self.heard.hellos.extend(step.hello.take());
        self.heard.said.extend(step.events.iter().filter_map(|event| match event.occasion {
            Occasion::Command => Some(format!("C: {}", event.detail)),
            Occasion::Reply => Some(format!("S: {}", event.detail)),
            _ => None,
        }));
    }

    /// False: there is no TLS, or nothing can follow in it.
    async fn encrypt(&mut self) -> bool {
        let Some(mut wire) = self.wire.take() else { return false };
        let name = &self.server.name;
        let (tls, stream) = match self.shake {
            Shake::Old(version) => {
                let asked = timeout(self.server.timeout, old_tls::ask(&mut wire, version, name)).await;
                let taken = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                (taken.map_or_else(|error| Tls::Failed(error.to_string()), Tls::Old), None)
            }
            Shake::Versions(versions) => {
                let shaking = handshake_at(wire, name, &Trust::Anything, self.server.roots, versions);
                match timeout(self.server.timeout, shaking).await {
                    Ok(Ok(stream)) => {
                        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
                        let chain = shown.iter().map(|one| one.clone().into_owned()).collect();
                        (Tls::Agreed(agreed(&stream), chain), Some(stream))
                    }
                    Ok(Err(error)) => (Tls::Failed(error.to_string()), None),
                    Err(_) => (Tls::Late, None),
                }
            }
        };
        self.heard.said.push(match &tls {
            Tls::Agreed(agreed, _) => format!("-- {agreed}"),
            Tls::Old(taken) => format!("-- an old version of TLS is {}", if *taken { "taken" } else { "refused" }),
            Tls::Failed(why) => format!("-- no TLS: {why}"),
            Tls::Late => "-- no TLS: no answer in time".into(),
        });
        self.heard.tls = Some(tls);
        self.wire = stream.map(|stream| Box::new(stream) as Box<dyn Wire>);
        self.wire.is_some()
    }

    fn now(&self) -> u64 {
        milliseconds(self.begun.elapsed())
    }

    /// Until `wake`.
    fn left(&self, wake: u64) -> Duration {
        Duration::from_millis(wake.saturating_sub(self.now())).min(self.server.timeout)
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let Some(wire) = &mut self.wire else { return Ok(Vec::new()) };
        let mut octets = vec![0; READ];
        let length = wire.read(&mut octets).await?;
        octets.truncate(length);
        Ok(octets)
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        let Some(wire) = &mut self.wire else { return Err(io::ErrorKind::NotConnected.into()) };
        wire.write_all(octets).await?;
        wire.flush().await
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
