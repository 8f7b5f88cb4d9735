//! The sealed engine's sending side, from the outside: one session with a server, one instance, short synchronous calls.
//!
//! Owns the boundary to the client half of `engine.wasm`, and checks what comes over it. Refuses to know SMTP, sockets,
//! queues and policies. Fails by [`EngineError`]: a misuse is our fault, anything else ends this one session, and whoever was
//! under way in it is as if the connection had been lost ([`Client`] says how to tell).
//!
//! # How to deliver
//!
//! The same component and the same pool serve both sides, so [`super::pool::WasmEngine`] is a [`ClientEngine`] too. A run
//! loop:
//!
//! ```no_run
//! # use hermetic::engine::client::*;
//! # use hermetic::engine::EngineError;
//! # struct Socket; impl Socket {
//! # fn write(&mut self, _: &[u8]) {} fn read(&mut self) -> Option<Vec<u8>> { None } fn shake_hands(&mut self) {} }
//! # fn report(_: &Outcome) {}
//! # fn run(engine: &dyn ClientEngine, socket: &mut Socket, now: u64, transaction: Transaction, mut content: Vec<u8>)
//! # -> Result<(), EngineError> {
//! let mut client = engine.client(&options("mx.example.test"))?;
//! let mut step = client.start(now)?;
//! let mut given = Vec::new();
//! let mut transaction = Some(transaction);
//! loop {
//!     for octets in to_write(&step, &given) {
//!         socket.write(octets);
//!     }
//!     step.outcomes.iter().for_each(report);
//!     given.clear();
//!     step = match step.need {
//!         Need::Input => match socket.read() {
//!             Some(octets) => client.receive(now, &octets)?,
//!             None => client.lost(now)?,
//!         },
//!         Need::StartTls => {
//!             socket.shake_hands();
//!             client.secured(now)?
//!         }
//!         Need::Ready(_) => match transaction.take() {
//!             Some(transaction) => client.deliver(now, &transaction)?,
//!             None => client.quit(now)?,
//!         },
//!         Need::Response(_) => client.cancel(now)?,
//!         Need::Content => {
//!             given = std::mem::take(&mut content);
//!             client.content(now, &given, true)?
//!         }
//!         Need::Close => return Ok(()),
//!     };
//! }
//! # }
//! ```
//!
//! What the loop above leaves out:
//!
//! - **Time.** [`Step::wake`] holds while reading, while shaking hands and while *writing*: if it comes first, call `tick`. A peer that
//!   does not read is found out this way.
//! - **The peer may speak at any time.** While writing content, and while the session is ready and waits for work, read as well and
//!   hand it to `receive`: 421, a refusal in the middle of the content, and the end of the connection (`lost`) arrive like that.
//! - **STARTTLS.** Hand over all that was read; behind [`Need::StartTls`] read nothing before the handshake. If it fails, close:
//!   `lost` tells the session, and opportunistic TLS means to connect again with [`TlsUse::Never`].
//! - **Outcomes.** Each recipient of a transaction has exactly one, and all are there when the session is `Ready` again or wants
//!   to be closed: an engine that breaks this is stopped. [`Fate::Unsent`] goes into the next transaction at once;
//!   [`Fate::Unknown`] is RFC 1047's, to be counted and tried again. With [`Cause::EightBit`] and [`Cause::NotLines`] the
//!   same recipients can have another transaction with re-encoded content; if that is not allowed, the status stands.
//! - **Content** is given as it is stored, in pieces of any size, 64 KiB being a good one. [`ContentFacts`] must be those of
//!   exactly these octets. Where they are not, `content` is a misuse and the session can only be closed: `quit` then tells what
//!   becomes of the recipients, and nothing was sent that could be taken for the end of the message.
//! - **After an [`EngineError`]** that is no misuse the instance is gone: recipients without an outcome are temporary failures,
//!   or unknown ones once `content` was called with `last`.

use super::EngineError;
use super::types::{Event, Piece};

pub use super::bindings::exports::hermetic::engine::client::{
    Cause, ContentFacts, Extension, Failure, Fate, Fault, Limits, Login, Need, Options, Outcome, Peer, Reply, Stage,
    Status, Step, TlsUse, Transaction,
};
pub use super::types::{
    ByMode, DeliverBy, ForwardPath, HostName, Mailbox, Notify, OriginalRecipient, Protocol, Recipient,
};

/// Something that can open sending sessions: the component under wasmtime, or in tests the same core natively.
pub trait ClientEngine: Send + Sync + 'static {
    /// A session before the greeting.
    ///
    /// # Errors
    /// [`EngineError::Instance`] where the pool is full; what a call may fail with.
    fn client(&self, options: &Options) -> Result<Box<dyn Client>, EngineError>;
    /// A session from the image that [`Client::freeze`] made under the same options.
    ///
    /// # Errors
    /// As [`ClientEngine::client`], and a misuse for an image that is none.
    fn thaw_client(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Client>, EngineError>;
}

/// One sending session. `now` is milliseconds on one monotonic clock for the whole session. What each call is for stands in
/// `wit/engine/client.wit`; every one fails with [`EngineError`], after which, unless it is a misuse, every further one fails too.
#[allow(missing_docs, clippy::missing_errors_doc, reason = "documented in wit/engine/client.wit")]
pub trait Client: Send {
    fn start(&mut self, now: u64) -> Result<Step, EngineError>;
    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError>;
    fn secured(&mut self, now: u64) -> Result<Step, EngineError>;
    fn tick(&mut self, now: u64) -> Result<Step, EngineError>;
    fn lost(&mut self, now: u64) -> Result<Step, EngineError>;
    fn login(&mut self, now: u64, mechanism: &str, initial: Option<&[u8]>) -> Result<Step, EngineError>;
    fn respond(&mut self, now: u64, response: &[u8]) -> Result<Step, EngineError>;
    fn cancel(&mut self, now: u64) -> Result<Step, EngineError>;
    fn deliver(&mut self, now: u64, transaction: &Transaction) -> Result<Step, EngineError>;
    fn content(&mut self, now: u64, octets: &[u8], last: bool) -> Result<Step, EngineError>;
    fn quit(&mut self, now: u64) -> Result<Step, EngineError>;
    /// The state as bytes; the instance goes back to the pool.
    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError>;
}

/// What a step wants written, in order. `given` is what its call to [`Client::content`] was given, otherwise nothing.
pub fn to_write<'a>(step: &'a Step, given: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let content = step.content.iter().map(move |piece| match piece {
        // `Ledger::validate` has seen that it lies inside.
        Piece::Range((offset, length)) => {
            given.get(*offset as usize..).and_then(|rest| rest.get(..*length as usize)).unwrap_or_default()
        }
        Piece::Octets(octets) => octets,
    });
    std::iter::once(step.transmit.as_slice()).chain(content).filter(|octets| !octets.is_empty())
}

/// The options of a session about which nothing else was decided, with the times of RFC 5321 section 4.5.3.2.
#[must_use]
pub fn options(hello_name: &str) -> Options {
    Options {
        protocol: Protocol::Smtp,
        hello_name: hello_name.into(),
        limits: limits(),
        tls: TlsUse::Opportunistic,
        implicit_tls: false,
        plaintext_auth: false,
        ignore: Vec::new(),
        pipelining: true,
        chunking: true,
        prdr: true,
        trace: false,
    }
}

/// The bounds of RFC 5321 section 4.5.3, and ours where it has none.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        reply_line: 2048,
        reply_lines: 256,
        reply_size: 65_536,
        auth_line: 12_288,
        reply_text: 1024,
        received: 64 * 1024 * 1024,
        recipients: 1000,
        pipeline: 100,
        messages: 0,
        challenges: 10,
        greeting_timeout: 300_000,
        command_timeout: 300_000,
        handshake_timeout: 60_000,
        mail_timeout: 300_000,
        rcpt_timeout: 300_000,
        data_timeout: 120_000,
        block_timeout: 180_000,
        message_timeout: 600_000,
        quit_timeout: 10_000,
        idle_timeout: 60_000,
    }
}

/// What a call was given, as far as its step must fit it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// Octets of `receive`'s input.
    pub input: usize,
    /// Octets of `content`.
    pub content: usize,
    /// The time of a `tick`.
    pub tick: Option<u64>,
    /// It was `lost`.
    pub lost: bool,
}

/// The recipients that have no outcome, and what a step claims of them. So an engine that was taken over, or that is merely
/// wrong, can neither lose a recipient nor answer for one twice, nor make its embedder read beyond its input, spin, or write
/// a forged line into a log.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By place, whether an outcome is still missing. Not known after a thaw, until the next transaction.
    open: Option<Vec<bool>>,
}

impl Ledger {
    /// Of a new session.
    #[must_use]
    pub fn new() -> Self {
        Self { open: Some(Vec::new()) }
    }

    /// Of a session that was thawed, and may have a transaction under way.
    #[must_use]
    pub fn thawed() -> Self {
        Self { open: None }
    }

    /// So many recipients are given to `deliver`.
    pub fn deliver(&mut self, recipients: usize) {
        self.open = Some(vec![true; recipients]);
    }

    /// The step may be what it claims to be.
    ///
    /// # Errors
    /// [`EngineError::Trap`], for such a step is as good as a trap: the session cannot go on.
    pub fn validate(&mut self, step: &Step, given: Given) -> Result<(), EngineError> {
        let lie = |what: &str| Err(EngineError::Trap(format!("the step is impossible: {what}")));
        let closes = step.need == Need::Close;
        let consumed = step.consumed as usize;
        if consumed > given.input {
            return lie("it consumed more than it was given");
        }
        if consumed < given.input && !closes {
            return lie("it leaves some of the input");
        }
        let mut end = 0;
        for piece in &step.content {
            if let Piece::Range((offset, length)) = piece {
                let (offset, length) = (*offset as usize, *length as usize);
                if offset < end {
                    return lie("its ranges overlap or run backwards");
                }
                end = offset.saturating_add(length);
            }
        }
        if end > given.content {
            return lie("a range is outside of the content");
        }
        if !texts(step).all(|text| !text.chars().any(char::is_control)) {
            return lie("a text is not printable");
        }
        if (step.failure.is_some() || given.lost) && !closes {
            return lie("it goes on after its end");
        }
        if given.tick.is_some_and(|now| step.wake <= now) && !closes {
            return lie("a tick leaves its time in the past");
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        for outcome in &step.outcomes {
            match open.get_mut(outcome.recipient as usize) {
                Some(waits) if *waits => *waits = false,
                _ => return lie("an outcome is nobody's, or the second one"),
            }
        }
        match step.need {
            Need::Ready(_) | Need::Close if open.contains(&true) => lie("a recipient has no outcome"),
            _ => Ok(()),
        }
    }
}

/// All that a person or a log may see.
fn texts(step: &Step) -> impl Iterator<Item = &str> {
    let outcomes = step.outcomes.iter().filter_map(|outcome| outcome.reply.as_ref());
    let failed = step.failure.iter().filter_map(|failure| failure.reply.as_ref());
    let login = step.login.iter().map(|login| &login.reply);
    let replies = outcomes.chain(failed).chain(login).map(|reply| reply.text.as_str());
    let details = step.failure.iter().map(|failure| failure.detail.as_str());
    let events = step.events.iter().map(|event: &Event| event.detail.as_str());
    let peer = match &step.need {
        Need::Ready(peer) => Some(peer),
        _ => None,
    };
    let names = peer.into_iter().flat_map(|peer| {
        let extensions = peer.extensions.iter().flat_map(|line| [line.keyword.as_str(), line.parameters.as_str()]);
        std::iter::once(peer.name.as_str()).chain(extensions).chain(peer.mechanisms.iter().map(String::as_str))
    });
    replies.chain(details).chain(events).chain(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests {
    use super::super::types::Occasion;
    use super::*;

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

    fn peer(name: &str) -> Need {
        Need::Ready(Peer {
            name: name.into(),
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

    fn outcome(recipient: u32) -> Outcome {
        let status = Status { class: 2, subject: 0, detail: 0 };
        let (fate, cause, stage) = (Fate::Accepted, Cause::Reply, Stage::Message);
        Outcome { recipient, fate, cause, stage, status, reply: None, dsn: false, deliver_by: false }
    }

    #[track_caller]
    fn check(recipients: usize, given: Given, step: Step, expected: Option<&str>) {
        let mut ledger = Ledger::new();
        ledger.deliver(recipients);
        match (ledger.validate(&step, given), expected) {
            (Ok(()), None) => {}
            (Err(EngineError::Trap(why)), Some(what)) if why.contains(what) => {}
            (got, _) => panic!("{step:?}: expected {expected:?}, got {got:?}"),
        }
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        let input = |input| Given { input, ..Given::default() };
        let content = |content| Given { content, ..Given::default() };
        check(0, input(0), step(Need::Input), None);
        check(0, input(9), Step { consumed: 9, ..step(Need::Input) }, None);
        check(0, input(9), step(Need::Close), None);
        check(0, input(9), Step { consumed: 10, ..step(Need::Close) }, Some("more than it was given"));
        check(0, input(9), Step { consumed: 8, ..step(Need::Content) }, Some("leaves some"));
        let ranges = |pieces: &[(u32, u32)]| Step {
            content: pieces.iter().map(|range| Piece::Range(*range)).collect(),
            ..step(Need::Input)
        };
        check(0, content(9), ranges(&[(0, 4), (4, 5)]), None);
        check(0, content(9), ranges(&[(0, 10)]), Some("outside"));
        check(0, content(9), ranges(&[(u32::MAX, u32::MAX)]), Some("outside"));
        check(0, content(9), ranges(&[(4, 2), (5, 1)]), Some("overlap"));
        check(0, content(0), ranges(&[(0, 1)]), Some("outside"));
        check(0, Given { lost: true, ..Given::default() }, step(Need::Input), Some("after its end"));
        let tick = Given { tick: Some(9), ..Given::default() };
        check(0, tick, Step { wake: 9, ..step(Need::Input) }, Some("in the past"));
        check(0, tick, Step { wake: 9, ..step(Need::Close) }, None);
        for text in ["a\nb", "\u{1b}[2J", "\u{9b}2J"] {
            check(0, input(0), step(peer(text)), Some("not printable"));
            let event = Event { occasion: Occasion::Refused, detail: text.into(), secret: false };
            check(0, input(0), Step { events: vec![event], ..step(Need::Input) }, Some("not printable"));
            let reply = Some(Reply { code: 550, status: None, text: text.into() });
            let said = Outcome { reply, ..outcome(0) };
            check(1, input(0), Step { outcomes: vec![said], ..step(Need::Input) }, Some("not printable"));
        }
    }

    #[test]
    fn each_recipient_has_one_outcome() {
        let with =
            |places: &[u32], need| Step { outcomes: places.iter().copied().map(outcome).collect(), ..step(need) };
        let given = Given::default();
        check(2, given, with(&[1, 0], peer("a")), None);
        check(2, given, with(&[1], Need::Input), None);
        check(2, given, with(&[1], peer("a")), Some("no outcome"));
        check(2, given, with(&[], Need::Close), Some("no outcome"));
        check(2, given, with(&[1, 1], Need::Input), Some("second"));
        check(2, given, with(&[2], Need::Input), Some("nobody"));
        let mut ledger = Ledger::new();
        assert!(ledger.validate(&with(&[0], Need::Input), given).is_err(), "before any transaction");
        let mut ledger = Ledger::thawed();
        assert!(ledger.validate(&with(&[3], Need::Input), given).is_ok(), "nothing is known of this one");
        ledger.deliver(1);
        assert!(ledger.validate(&with(&[], peer("a")), given).is_err());
    }

    #[test]
    fn what_is_written_is_commands_and_then_content() {
        let step = Step {
            transmit: b"BDAT 4\r\n".to_vec(),
            content: vec![Piece::Range((0, 2)), Piece::Octets(b".".to_vec()), Piece::Range((2, 2))],
            ..step(Need::Input)
        };
        assert_eq!(to_write(&step, b"abcd").collect::<Vec<_>>().concat(), b"BDAT 4\r\nab.cd");
        assert_eq!(to_write(&super::tests::step(Need::Input), b"").count(), 0);
    }
}
