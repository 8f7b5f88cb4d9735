//! An engine that is made up, and servers on loopback for it: what a server says first, one letter, is what it makes of every
//! message.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "for tests")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinHandle};

use super::courier::Means;
use crate::{
    dkim::Signers,
    engine::{
        EngineError,
        client::{
            Cause, Client, ClientEngine, Failure, Fate, Fault, Login, Need, Options, Outcome, Peer, Reply, Stage,
            Status, Step, Transaction,
        },
    },
    transport::{http, trust::Roots},
};

/// A transaction as it was asked for.
pub(crate) struct Asked {
    /// The server's letter.
    pub(crate) server: char,
    /// Of the content.
    pub(crate) size: u64,
    /// The local part of the reverse-path.
    pub(crate) sender: Option<String>,
}

/// All of them, in their order.
pub(crate) type Log = Arc<Mutex<Vec<Asked>>>;

/// What the server `d` says after a while, for the content to be sent.
const GO_ON: &[u8] = b"go on";
/// That while.
const SLOW: Duration = Duration::from_millis(700);

/// The engine.
pub(crate) struct Fake(pub(crate) Log);

impl ClientEngine for Fake {
    fn client(&self, _: &Options) -> Result<Box<dyn Client>, EngineError> {
        Ok(Box::new(Session { server: '?', recipients: 0, log: self.0.clone() }))
    }

    fn thaw_client(&self, _: &Options, _: &[u8]) -> Result<Box<dyn Client>, EngineError> {
        Err(never())
    }
}

fn never() -> EngineError {
    EngineError::Trap("nobody should call this".into())
}

struct Session {
    server: char,
    /// Of the message under way.
    recipients: usize,
    log: Log,
}

fn step(need: Need) -> Step {
    Step {
        consumed: 0,
        transmit: Vec::new(),
        content: Vec::new(),
        outcomes: Vec::new(),
        login: None,
        failure: None,
        events: Vec::new(),
        need,
        wake: u64::MAX,
    }
}

impl Session {
    fn ready(&self) -> Need {
        Need::Ready(Peer {
            name: self.server.to_string(),
            tls: false,
            authenticated: false,
            extensions: Vec::new(),
            mechanisms: Vec::new(),
            size: None,
            messages_left: None,
            recipients_max: None,
            domains_max: None,
        })
    }
}

impl Client for Session {
    fn start(&mut self, _: u64) -> Result<Step, EngineError> {
        Ok(step(Need::Input))
    }

    fn receive(&mut self, _: u64, input: &[u8]) -> Result<Step, EngineError> {
        if input == GO_ON {
            return Ok(Step { consumed: u32::try_from(input.len()).unwrap(), ..step(Need::Content) });
        }
        self.server = input.first().copied().map_or('?', char::from);
        Ok(Step { consumed: 1, ..step(self.ready()) })
    }

    fn deliver(&mut self, _: u64, transaction: &Transaction) -> Result<Step, EngineError> {
        let sender = transaction.sender.as_ref().map(|sender| sender.local.clone());
        self.log.lock().push(Asked { server: self.server, size: transaction.content.size, sender });
        if self.server == 'd' {
            self.recipients = transaction.recipients.len();
            return Ok(step(Need::Input));
        }
        let permanent = |cause, detail| (Fate::Permanent, cause, (7, detail));
        let eight = transaction.content.eight_bit;
        let outcomes = transaction.recipients.iter().zip(0..).map(|(_, recipient)| {
            let (fate, cause, (subject, detail)) = match self.server {
                'r' => permanent(Cause::RequireTls, 30),
                's' => permanent(Cause::TooLarge, 1),
                'u' if recipient == 0 => permanent(Cause::Utf8Address, 2),
                '7' if eight => permanent(Cause::EightBit, 3),
                'n' => permanent(Cause::Reply, 4),
                'x' => (Fate::Temporary, Cause::Reply, (7, 5)),
                _ => (Fate::Accepted, Cause::Reply, (0, 0)),
            };
            let class = if fate == Fate::Accepted { 2 } else { 5 };
            let status = Status { class, subject, detail };
            let stage = Stage::Mail;
            Outcome { recipient, fate, cause, stage, status, reply: None, dsn: false, deliver_by: false }
        });
        Ok(Step { outcomes: outcomes.collect(), ..step(self.ready()) })
    }

    fn quit(&mut self, _: u64) -> Result<Step, EngineError> {
        Ok(step(Need::Close))
    }

    fn lost(&mut self, _: u64) -> Result<Step, EngineError> {
        let failure = Failure { fault: Fault::Lost, stage: Stage::Greeting, reply: None, detail: "it is gone".into() };
        Ok(Step { failure: Some(failure), ..step(Need::Close) })
    }

    fn secured(&mut self, _: u64) -> Result<Step, EngineError> {
        Err(never())
    }

    fn tick(&mut self, _: u64) -> Result<Step, EngineError> {
        Err(never())
    }

    fn login(&mut self, _: u64, _: &str, _: Option<&[u8]>) -> Result<Step, EngineError> {
        Ok(Step { login: Some(accepted()), ..step(self.ready()) })
    }

    fn respond(&mut self, _: u64, _: &[u8]) -> Result<Step, EngineError> {
        Err(never())
    }

    fn cancel(&mut self, _: u64) -> Result<Step, EngineError> {
        Err(never())
    }

    fn content(&mut self, _: u64, _: &[u8], last: bool) -> Result<Step, EngineError> {
        assert!(last, "the content is short");
        let outcomes = (0..).take(self.recipients).map(accepts).collect();
        Ok(Step { outcomes, ..step(self.ready()) })
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        Err(never())
    }
}

fn accepts(recipient: u32) -> Outcome {
    let status = Status { class: 2, subject: 0, detail: 0 };
    let (fate, cause, stage) = (Fate::Accepted, Cause::Reply, Stage::Message);
    Outcome { recipient, fate, cause, stage, status, reply: None, dsn: false, deliver_by: false }
}

fn accepted() -> Login {
    Login { accepted: true, reply: Reply { code: 235, status: None, text: String::new() } }
}

/// Says its letter to everybody who connects.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(letter: char) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                // This one is not there.
                if letter == '!' {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&[letter as u8]).await;
                if letter == 'd' {
                    tokio::time::sleep(SLOW).await;
                    let _ = stream.write_all(GO_ON).await;
                }
                open.push(stream);
            }
        });
        Self { address, connections, task }
    }

    /// How many there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Nobody signs.
pub(crate) fn means() -> Means {
    Means { signers: Signers::default(), roots: Roots::load(None).unwrap(), client: http::Client::new() }
}
