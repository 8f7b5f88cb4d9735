//! What an experiment says and hears with.
//!
//! Owns the octets in both directions, the time, and what was found so far; the session's calls put in at one end what
//! the script takes out at the other. Refuses to know what is tried, and to take a late reply for that to a later
//! command. A peer's silence, nonsense and end are values ([`Heard`]); it fails with [`Stop`] where the caller wants a
//! session that goes on.

use alloc::{format, rc::Rc, string::String, vec::Vec};
use core::{cell::RefCell, future::poll_fn, mem, task::Poll};

use super::{Finding, Hello, Limits, Need, Plan, Step, Verdict};
use crate::client::offer::Offer;
use crate::client::reply::{Bounds, ReplyFault, ReplyReader, Said};
use crate::reply::printable;
use crate::step::{Event, Occasion};

/// Octets of what was sent that an event shows.
const SHOWN: usize = 200;
/// Octets of a reply that a finding cites.
const CITED: usize = 200;

/// What came, or did not.
pub(super) enum Heard {
    Reply(Said),
    /// No reply by any reading; nothing that follows can be understood.
    Garbage(ReplyFault),
    /// Nothing, for as long as one waits.
    Silence,
    /// The connection has ended.
    Gone,
}

impl Heard {
    /// Zero for what is no reply.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Reply(said) => said.code,
            _ => 0,
        }
    }

    /// 2yz.
    pub(super) fn is_good(&self) -> bool {
        self.code() / 100 == 2
    }

    /// It will not be followed by another one.
    pub(super) fn is_last(&self) -> bool {
        !matches!(self, Self::Reply(said) if said.code != 421 && said.code != 221)
    }

    /// For a sentence.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Reply(said) => {
                let reply = said.reported(CITED);
                let status = reply.status.map(|s| format!("{}.{}.{} ", s.class, s.subject, s.detail));
                format!("{} {}{}", reply.code, status.unwrap_or_default(), printable(&reply.text, true))
            }
            Self::Garbage(fault) => format!("{fault}"),
            Self::Silence => "no reply in time".into(),
            Self::Gone => "the connection was closed".into(),
        }
    }
}

/// The session is over before the experiment is, for this reason.
pub(super) struct Stop(pub(super) String);

impl Stop {
    /// What came of this command.
    pub(super) fn at(command: &str, heard: &Heard) -> Self {
        let verb = command.split(' ').next().unwrap_or(command);
        Self(format!("{verb}: {}", heard.words()))
    }
}

/// Both ends of it; a clone is the same one.
#[derive(Clone)]
pub(super) struct Talk(Rc<RefCell<Inner>>);

struct Inner {
    limits: Limits,
    now: u64,
    wake: u64,
    reader: ReplyReader,
    input: Vec<u8>,
    received: u64,
    /// The stream is of no use any more.
    fault: Option<ReplyFault>,
    /// A reply did not come in time. What comes now may be that one, so nothing is a reply to what is asked from now
    /// on.
    late: bool,
    gone: bool,
    tls: bool,
    handshake: bool,
    step: Step,
}

impl Talk {
    pub(super) fn new(limits: Limits, tls: bool) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            limits,
            now: 0,
            wake: u64::MAX,
            reader: ReplyReader::default(),
            input: Vec::new(),
            received: 0,
            fault: None,
            late: false,
            gone: false,
            tls,
            handshake: false,
            step: Step::default(),
        })))
    }

    // The session's end.

    pub(super) fn set_time(&self, now: u64) {
        self.0.borrow_mut().now = now;
    }

    pub(super) fn take(&self, input: &[u8]) {
        self.0.borrow_mut().input.extend_from_slice(input);
    }

    pub(super) fn shakes_hands(&self) -> bool {
        self.0.borrow().handshake
    }

    pub(super) fn secured(&self) {
        let mut inner = self.0.borrow_mut();
        (inner.handshake, inner.tls) = (false, true);
    }

    pub(super) fn lost(&self) {
        let mut inner = self.0.borrow_mut();
        (inner.handshake, inner.gone) = (false, true);
    }

    pub(super) fn step(&self, ended: bool) -> Step {
        let mut inner = self.0.borrow_mut();
        let mut step = mem::take(&mut inner.step);
        step.wake = if ended { u64::MAX } else { inner.wake };
        step.need = match (ended, inner.handshake) {
            (true, _) => Need::Close,
            (false, true) => Need::StartTls,
            (false, false) => Need::Input,
        };
        step
    }

    // The script's end.

    pub(super) fn found(&self, check: &'static str, verdict: Verdict, rule: &'static str, text: impl Into<String>) {
        self.0.borrow_mut().step.findings.push(Finding { check, verdict, rule, text: text.into() });
    }

    /// Nothing that is asked from now on has a reply: the connection has ended, or what comes can not be understood.
    pub(super) fn is_over(&self) -> bool {
        let inner = self.0.borrow();
        inner.gone || inner.late || inner.fault.is_some()
    }

    pub(super) fn is_in_tls(&self) -> bool {
        self.0.borrow().tls
    }

    /// Octets as they are.
    pub(super) fn say(&self, octets: &[u8]) {
        let mut inner = self.0.borrow_mut();
        let mut detail = format!("{}", octets.strip_suffix(b"\r\n").unwrap_or(octets).escape_ascii());
        if detail.len() > SHOWN {
            detail.truncate(SHOWN);
            detail.push_str("...");
        }
        inner.step.events.push(Event { occasion: Occasion::Command, detail, secret: false });
        inner.step.transmit.extend_from_slice(octets);
    }

    /// A command and what comes of it.
    pub(super) async fn ask(&self, command: &str) -> Heard {
        self.say(format!("{command}\r\n").as_bytes());
        self.hear().await
    }

    /// The reply to a command, behind which the session goes on.
    pub(super) async fn reply(&self, command: &str) -> Result<Heard, Stop> {
        let heard = self.ask(command).await;
        if heard.is_last() { Err(Stop::at(command, &heard)) } else { Ok(heard) }
    }

    /// The next reply. Once one has not come in time there is none any more.
    pub(super) async fn hear(&self) -> Heard {
        if self.0.borrow().late {
            return Heard::Silence;
        }
        let most = self.0.borrow().limits.reply_timeout;
        let heard = self.hear_within(most).await;
        if matches!(heard, Heard::Silence) {
            self.0.borrow_mut().late = true;
        }
        heard
    }

    /// What should not come, if it does all the same.
    pub(super) async fn hear_unasked(&self) -> Heard {
        let most = self.0.borrow().limits.pause;
        self.hear_within(most).await
    }

    async fn hear_within(&self, most: u64) -> Heard {
        let until = self.0.borrow().now.saturating_add(most);
        poll_fn(|_| {
            let mut inner = self.0.borrow_mut();
            inner.wake = until;
            match inner.read() {
                Some(heard) => Poll::Ready(heard),
                None if inner.gone => Poll::Ready(Heard::Gone),
                None if inner.now >= until => Poll::Ready(Heard::Silence),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Something has come that nobody has asked for.
    pub(super) fn has_more(&self) -> bool {
        !self.0.borrow().input.is_empty()
    }

    /// TLS, behind a reply that invites to it. False: it did not come about.
    pub(super) async fn shake_hands(&self) -> bool {
        {
            let mut inner = self.0.borrow_mut();
            inner.handshake = true;
            // The embedder bounds the handshake.
            inner.wake = u64::MAX;
        }
        poll_fn(|_| {
            let inner = self.0.borrow();
            if inner.handshake { Poll::Pending } else { Poll::Ready(!inner.gone) }
        })
        .await
    }

    /// The greeting.
    pub(super) async fn greeted(&self) -> Result<(), Stop> {
        let heard = self.hear().await;
        if heard.code() == 220 { Ok(()) } else { Err(Stop(format!("instead of a greeting: {}", heard.words()))) }
    }

    /// EHLO and what is offered.
    pub(super) async fn hello(&self, name: &str) -> Result<Offer, Stop> {
        let heard = self.ask(&format!("EHLO {name}")).await;
        self.offer(&heard)
    }

    /// What a reply to EHLO offers.
    pub(super) fn offer(&self, heard: &Heard) -> Result<Offer, Stop> {
        match heard {
            Heard::Reply(said) if said.code == 250 => {
                let offer = Offer::read(&said.lines, &[]);
                let mut inner = self.0.borrow_mut();
                let tls = inner.tls;
                let (name, extensions) = (offer.name.clone(), offer.extensions.clone());
                inner.step.hello = Some(Hello { name, tls, extensions });
                Ok(offer)
            }
            _ => Err(Stop::at("EHLO", heard)),
        }
    }

    /// To where a transaction may begin: inside TLS if that is wished for and offered.
    pub(super) async fn enter(&self, plan: &Plan) -> Result<Offer, Stop> {
        self.greeted().await?;
        let offer = self.hello(&plan.hello_name).await?;
        if !plan.start_tls || !offer.start_tls || self.is_in_tls() {
            return Ok(offer);
        }
        let heard = self.ask("STARTTLS").await;
        if heard.code() != 220 {
            return Err(Stop::at("STARTTLS", &heard));
        }
        if self.has_more() || !self.shake_hands().await {
            return Err(Stop("the TLS handshake failed".into()));
        }
        self.hello(&plan.hello_name).await
    }

    /// Says goodbye: how many replies come before the last one, late ones among them, and the last one.
    pub(super) async fn goodbye(&self) -> (usize, Heard) {
        self.0.borrow_mut().late = false;
        self.say(b"QUIT\r\n");
        let mut before = 0;
        loop {
            let heard = self.hear().await;
            if heard.is_last() {
                return (before, heard);
            }
            before += 1;
        }
    }

    /// Says goodbye: how many replies come that belong to no command. Nobody knows that where the session does not end
    /// as it should, or where a reply was late.
    pub(super) async fn quit(&self) -> Result<usize, Stop> {
        let late = self.0.borrow().late;
        let (before, last) = self.goodbye().await;
        match last {
            _ if late => Err(Stop("a reply did not come in time".into())),
            Heard::Silence | Heard::Garbage(_) if before == 0 => Err(Stop::at("QUIT", &last)),
            _ => Ok(before),
        }
    }
}

impl Inner {
    fn read(&mut self) -> Option<Heard> {
        if let Some(fault) = self.fault {
            return Some(Heard::Garbage(fault));
        }
        let bounds = Bounds {
            line: self.limits.reply_line as usize,
            lines: self.limits.reply_lines,
            size: u64::from(self.limits.reply_size),
        };
        let (used, said) = self.reader.read(&self.input, bounds);
        self.input.drain(..used.min(self.input.len()));
        self.received = self.received.saturating_add(used as u64);
        let said = match said {
            _ if self.received > self.limits.received => Some(Err(ReplyFault::TooLong)),
            said => said,
        };
        Some(match said? {
            Ok(said) => {
                for (place, line) in said.lines.iter().enumerate() {
                    let separator = if place + 1 < said.lines.len() { '-' } else { ' ' };
                    let detail = printable(&format!("{}{separator}{line}", said.code), true);
                    self.step.events.push(Event { occasion: Occasion::Reply, detail, secret: false });
                }
                Heard::Reply(said)
            }
            Err(fault) => {
                self.fault = Some(fault);
                Heard::Garbage(fault)
            }
        })
    }
}
