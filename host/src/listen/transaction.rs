//! What is held for one message between MAIL and the answer after its final octet.
//!
//! Owns the accepted sender and recipients and the message's way into the store. Refuses to know commands and replies.
//! A store that fails half-way is remembered and answered when the content is complete.
//!
//! A mailbox gets a message once, however many of its recipients name it: RCPT is answered yes for each, and the store
//! gets one entry for each mailbox here and for each address elsewhere. The first one's address and ORCPT are kept, and
//! its edits, if plugins made any; NOTIFY is what any of them asked for.
//!
//! # Where plugins differ about the recipients of one message
//!
//! LMTP and PRDR answer each recipient by itself, so whoever is deferred or refused has no entry. Plain SMTP has one
//! answer: positive if anybody accepts. Then whoever is deferred has an entry that the queue judges again before it is
//! delivered, and of whoever is refused its route says what becomes (`config::plugins::Refused`). Who was accepted gets
//! the message once.

use super::{
    entries::{Terms, entries},
    judging::{self, verdicts},
    reply,
    room::Room,
};
use crate::{
    config::Kind,
    engine::types::{
        BodyKind, ByMode, ForwardPath, Hold, HostName, Mailbox, MessageFacts, Notify, Piece, Recipient, Refusal,
        ReturnContent, Sender, Submitter,
    },
    observe::SessionLog,
    plugin::hook,
    policy::{
        Judged, Policy, SessionFacts,
        chain::{Fate, Judging, Outcome, mixed},
    },
    store::{
        self, Address, Envelope, Incoming, MessageId, Pressure, Route, Store, StoreError, Timestamp, Wishes,
        sqlite::now,
    },
};

/// One message on its way in.
pub(super) struct Transaction {
    pub(super) sender: Sender,
    recipients: Vec<Recipient>,
    routes: Vec<Route>,
    incoming: Option<Box<dyn Incoming>>,
    failure: Option<Refusal>,
    /// Only where there are plugins.
    judging: Option<Box<Judging>>,
}

/// A message whose content was judged and, if anybody gets it, stored.
pub(super) struct Accepted {
    /// None: nobody gets it, whatever was answered.
    pub(super) id: Option<MessageId>,
    /// What plugins refused, by recipient; empty without plugins.
    pub(super) refusals: Vec<Option<Refusal>>,
}

impl Transaction {
    /// MAIL was accepted.
    pub(super) fn new(sender: Sender, judging: Option<Judging>) -> Self {
        let judging = judging.map(Box::new);
        Self { sender, recipients: Vec::new(), routes: Vec::new(), incoming: None, failure: None, judging }
    }

    /// Are there plugins?
    pub(super) fn is_judged(&self) -> bool {
        self.judging.is_some()
    }

    /// Asks the plugins about those of a batch that policy has accepted.
    pub(super) async fn judge(&mut self, recipients: &[Recipient], judged: &mut [Judged], store: &dyn Store) {
        let Some(judging) = &mut self.judging else { return };
        let accepted = recipients.iter().zip(judged.iter()).enumerate().filter_map(|(place, (recipient, judged))| {
            let route = judged.route.clone().filter(|_| judged.decision.is_ok())?;
            Some((place, (recipient_address(recipient), route)))
        });
        let (places, batch): (Vec<_>, Vec<_>) = accepted.unzip();
        let outcomes = judging.envelope(&batch).await;
        let mut refused = Vec::new();
        for (place, outcome) in places.into_iter().zip(outcomes) {
            let (Some(judged), Some(recipient)) = (judged.get_mut(place), recipients.get(place)) else { continue };
            if let Some(refusal) = outcome.fate().refusal() {
                judged.decision = Err(refusal);
                judged.route = None;
                refused.push((recipient, outcome));
            }
        }
        let refused = refused.iter().map(|(recipient, outcome)| (*recipient, outcome));
        // At RCPT each recipient hears of its own fate.
        let terms = Terms { transaction: judging.transaction().to_owned(), known_sender: false, one_reply: false };
        if let Some(verdicts) = verdicts(&terms, None, refused, now()) {
            store.record(verdicts);
        }
    }

    /// Asks plugins about the client and the sender, before there is a recipient. Fails with what everybody is told.
    pub(super) async fn early(&mut self, store: &dyn Store) -> Result<(), Refusal> {
        let Some(judging) = &mut self.judging else { return Ok(()) };
        let outcome = judging.early().await;
        let Some(refusal) = outcome.fate().refusal() else { return Ok(()) };
        store.record(judging::early(judging.transaction(), &outcome, now()));
        Err(refusal)
    }

    /// RCPT was accepted.
    pub(super) fn add(&mut self, recipient: Recipient, route: Route) {
        self.recipients.push(recipient);
        self.routes.push(route);
    }

    /// Content is about to come, and goes here.
    pub(super) fn begin(&mut self, incoming: Box<dyn Incoming>) {
        self.incoming = Some(incoming);
    }

    /// The next part of the content: pieces of `input`. Waits when the store has enough for now.
    pub(super) async fn content(&mut self, pieces: &[Piece], input: &[u8], log: &SessionLog) {
        for piece in pieces {
            let Some(incoming) = &mut self.incoming else { return };
            let octets = match piece {
                Piece::Octets(octets) => octets.as_slice(),
                Piece::Range((offset, length)) => {
                    let start = *offset as usize;
                    match input.get(start..start.saturating_add(*length as usize)) {
                        Some(octets) => octets,
                        None => {
                            log.store_failed("the engine's content is outside of its input");
                            return self.fail(trouble());
                        }
                    }
                }
            };
            let written = match incoming.write(octets) {
                Ok(Pressure::None) => Ok(()),
                Ok(Pressure::Flush) => incoming.flush().await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                self.fail(refusal(&error, log));
            }
        }
    }

    /// The rest of the content is only counted; what was kept of it goes now.
    fn fail(&mut self, refusal: Refusal) {
        self.incoming = None;
        self.failure = Some(refusal);
    }

    /// The content is complete: returns when it was judged and, if anybody gets it, is on stable storage; or with what
    /// every recipient is told.
    pub(super) async fn accept(
        self,
        policy: &Policy,
        facts: &SessionFacts,
        message: &MessageFacts,
        log: &SessionLog,
        store: &dyn Store,
        room: &Room,
    ) -> Result<Accepted, Refusal> {
        if let Some(refusal) = self.failure {
            return Err(refusal);
        }
        let Some(mut incoming) = self.incoming else {
            return Err(trouble());
        };
        let now = now();
        let id = incoming.id();
        let prefix = policy.message(facts, &self.sender, &id, &self.recipients, incoming.header(), message, now)?;
        let mut outcomes = Vec::new();
        let known_sender = facts.identity.is_some() && self.sender.mailbox.is_some();
        let mut terms = Terms { transaction: String::new(), known_sender, one_reply: false };
        if let Some(judging) = self.judging {
            terms.transaction = judging.transaction().to_owned();
            // Until the plugins are done.
            let mut _room = None;
            let content = match judging.wants_content() {
                true => {
                    _room = Some(room.take(message.size).await.ok_or_else(crowded)?);
                    Some(incoming.content().await.map_err(|error| refusal(&error, log))?)
                }
                false => None,
            };
            let content = content.map(|content| hook::Message { prefix: prefix.clone(), content });
            outcomes = Box::pin(judging.message(content, message.size)).await;
            // RFC 2033 section 4.2 and PRDR: each recipient hears of its own fate.
            let each = facts.listener.kind == Kind::Lmtp || self.sender.parameters.prdr;
            let fates: Vec<Fate> = outcomes.iter().map(Outcome::fate).collect();
            terms.one_reply = !each && mixed(&fates);
        }
        let refusals = outcomes.iter().map(|outcome| outcome.fate().refusal()).collect();
        let entries = entries(&self.recipients, &self.routes, &outcomes, &terms);
        let kept = (!entries.is_empty()).then_some(id);
        let judgement = verdicts(&terms, kept, self.recipients.iter().zip(&outcomes), now);
        if entries.is_empty() {
            // All were refused or discarded: there is nobody to keep it for.
            if let Some(judgement) = judgement {
                store.record(judgement);
            }
            return Ok(Accepted { id: None, refusals });
        }
        if let Some(judgement) = judgement {
            incoming.judged(judgement);
        }
        let replies = reply::wanted(
            &outcomes,
            self.sender.mailbox.as_ref().map(address),
            &facts.id,
            &facts.listener.label(),
            policy,
        );
        let envelope = envelope(policy, facts, &self.sender, message, now);
        let accepted = incoming.accept(envelope, prefix, entries).await;
        let id = accepted.map_err(|error| refusal(&error, log))?;
        Box::pin(reply::send(replies, store, log)).await;
        Ok(Accepted { id: Some(id), refusals })
    }

    /// Accepted recipients.
    pub(super) fn len(&self) -> usize {
        self.recipients.len()
    }
}

/// What the peer is told of the store's trouble; the log has the rest.
pub(super) fn refusal(error: &StoreError, log: &SessionLog) -> Refusal {
    log.store_failed(error);
    match error {
        StoreError::Full(_) => {
            Refusal { code: 452, subject: 3, detail: 1, text: "insufficient storage, try again later".into() }
        }
        _ => trouble(),
    }
}

/// 451: other messages are being judged, and there is no room for this one.
fn crowded() -> Refusal {
    let text = "Too much mail is being looked at just now; please try again later.".into();
    Refusal { code: 451, subject: 3, detail: 1, text }
}

/// 451: nothing that the peer did.
pub(super) fn trouble() -> Refusal {
    Refusal { code: 451, subject: 3, detail: 0, text: "local trouble, try again later".into() }
}

/// An address as the store keeps it.
pub(super) fn address(mailbox: &Mailbox) -> Address {
    let domain = match &mailbox.host {
        HostName::Domain(domain) => domain.clone(),
        HostName::Literal(literal) => format!("[{literal}]"),
    };
    Address { local: mailbox.local.clone(), domain }
}

/// The same of a recipient.
pub(super) fn recipient_address(recipient: &Recipient) -> Address {
    match &recipient.path {
        ForwardPath::Postmaster => Address { local: "postmaster".into(), domain: String::new() },
        ForwardPath::Mailbox(mailbox) => address(mailbox),
    }
}

pub(super) fn notify(flags: Notify) -> store::Notify {
    store::Notify {
        success: flags.contains(Notify::SUCCESS),
        failure: flags.contains(Notify::FAILURE),
        delay: flags.contains(Notify::DELAY),
    }
}

fn envelope(
    policy: &Policy,
    facts: &SessionFacts,
    sender: &Sender,
    message: &MessageFacts,
    now: Timestamp,
) -> Envelope {
    let parameters = &sender.parameters;
    Envelope {
        reverse_path: sender.mailbox.as_ref().map(address),
        body: match parameters.body {
            BodyKind::SevenBit => store::BodyKind::SevenBit,
            BodyKind::EightBitMime => store::BodyKind::EightBitMime,
            BodyKind::BinaryMime => store::BodyKind::BinaryMime,
        },
        smtputf8: parameters.smtputf8,
        require_tls: parameters.require_tls,
        ret: parameters.ret.map(|ret| match ret {
            ReturnContent::Full => store::ReturnContent::Full,
            ReturnContent::Headers => store::ReturnContent::Headers,
        }),
        envid: parameters.envid.clone(),
        submitter: parameters.auth.as_ref().map(|submitter| match submitter {
            Submitter::Unknown => "<>".into(),
            Submitter::Mailbox(mailbox) => mailbox.clone(),
        }),
        client: facts.client.map(|client| client.ip()),
        hello: facts.hello.clone(),
        identity: facts.identity.clone(),
        tls: facts.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher)),
        session: facts.id.clone(),
        listener: facts.listener.label(),
        received_at: now,
        size: message.size,
        eight_bit: message.eight_bit,
        bare_line_ends: message.bare_line_ends,
        wishes: Wishes {
            hold: parameters.hold.map(|hold| match hold {
                Hold::For(seconds) => store::Hold::For(seconds),
                Hold::Until(time) => store::Hold::Until(time),
            }),
            deliver_by: parameters.deliver_by.map(|by| store::DeliverBy {
                seconds: by.seconds,
                returns: by.mode == ByMode::Return,
                trace: by.trace,
            }),
            priority: policy.priority(facts, sender),
        },
    }
}
