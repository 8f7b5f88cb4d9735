//! What is held for one message between MAIL and the answer after its final octet.
//!
//! Owns the accepted sender and recipients and the message's way into the store. Refuses to know commands and replies.
//! A store that fails half-way is remembered and answered when the content is complete.
//!
//! A mailbox gets a message once, however many of its recipients name it: RCPT is answered yes for each, and the store
//! gets one entry for each mailbox here and for each address elsewhere. The first one's address and ORCPT are kept;
//! NOTIFY is what any of them asked for.

use crate::{
    engine::types::{
        BodyKind, ForwardPath, HostName, Mailbox, MessageFacts, Notify, Piece, Recipient, Refusal, ReturnContent,
        Sender, Submitter,
    },
    observe::SessionLog,
    policy::{Policy, SessionFacts},
    queue::NEEDS_OUTBOUND,
    store::{
        self, Address, Envelope, Incoming, MessageId, NewEntry, Pressure, Route, StoreError, Timestamp, sqlite::now,
    },
};

/// One message on its way in.
pub(super) struct Transaction {
    pub(super) sender: Sender,
    recipients: Vec<Recipient>,
    routes: Vec<Route>,
    incoming: Option<Box<dyn Incoming>>,
    failure: Option<Refusal>,
}

impl Transaction {
    /// MAIL was accepted.
    pub(super) fn new(sender: Sender) -> Self {
        Self { sender, recipients: Vec::new(), routes: Vec::new(), incoming: None, failure: None }
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

    /// The content is complete: returns when the message is on stable storage, with its id, or with what every
    /// recipient is told.
    pub(super) async fn accept(
        self,
        policy: &Policy,
        facts: &SessionFacts,
        message: &MessageFacts,
        log: &SessionLog,
    ) -> Result<MessageId, Refusal> {
        if let Some(refusal) = self.failure {
            return Err(refusal);
        }
        let Some(incoming) = self.incoming else {
            return Err(trouble());
        };
        let now = now();
        let id = incoming.id();
        let prefix = policy.message(facts, &self.sender, &id, &self.recipients, incoming.header(), message, now)?;
        let entries = entries(&self.recipients, &self.routes);
        let accepted = incoming.accept(envelope(facts, &self.sender, message, now), prefix, entries).await;
        accepted.map_err(|error| refusal(&error, log))
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

fn notify(flags: Notify) -> store::Notify {
    store::Notify {
        success: flags.contains(Notify::SUCCESS),
        failure: flags.contains(Notify::FAILURE),
        delay: flags.contains(Notify::DELAY),
    }
}

/// One entry for each place.
fn entries(recipients: &[Recipient], routes: &[Route]) -> Vec<NewEntry> {
    #[derive(PartialEq, Eq, Hash)]
    enum Place {
        Here(String),
        Elsewhere(String, String),
    }
    let mut entries: Vec<NewEntry> = Vec::with_capacity(recipients.len());
    let mut places = std::collections::HashMap::new();
    for (recipient, route) in recipients.iter().zip(routes) {
        let to = recipient_address(recipient);
        let place = match route {
            Route::Local(mailbox) => Place::Here(mailbox.clone()),
            Route::Relay => Place::Elsewhere(to.local.clone(), to.domain.to_ascii_lowercase()),
        };
        let wanted = recipient.notify.map(notify);
        let index = *places.entry(place).or_insert(entries.len());
        if let Some(entry) = entries.get_mut(index) {
            entry.notify = match (entry.notify, wanted) {
                (Some(a), Some(b)) => Some(store::Notify {
                    success: a.success || b.success,
                    failure: a.failure || b.failure,
                    delay: a.delay || b.delay,
                }),
                _ => None,
            };
            continue;
        }
        entries.push(NewEntry {
            recipient: to,
            notify: wanted,
            orcpt: recipient.orcpt.as_ref().map(|orcpt| (orcpt.address_type.clone(), orcpt.address.clone())),
            held: matches!(route, Route::Relay).then(|| NEEDS_OUTBOUND.into()),
            route: route.clone(),
            edits: Vec::new(),
        });
    }
    entries
}

fn envelope(facts: &SessionFacts, sender: &Sender, message: &MessageFacts, now: Timestamp) -> Envelope {
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
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn recipient(local: &str, domain: &str, notify: Option<Notify>) -> Recipient {
        Recipient {
            path: ForwardPath::Mailbox(Mailbox { local: local.into(), host: HostName::Domain(domain.into()) }),
            notify,
            orcpt: None,
        }
    }

    #[test]
    fn one_entry_for_each_place() {
        let here = |mailbox: &str| Route::Local(mailbox.into());
        let given = [
            (recipient("anna", "example.test", Some(Notify::empty())), here("anna@example.test")),
            (recipient("anna+lists", "EXAMPLE.test", Some(Notify::SUCCESS)), here("anna@example.test")),
            (recipient("bob", "example.test", None), here("bob@example.test")),
            (recipient("bob", "example.test", Some(Notify::DELAY)), here("bob@example.test")),
            (recipient("Carl", "far.test", None), Route::Relay),
            (recipient("carl", "far.test", None), Route::Relay),
            (recipient("Carl", "Far.Test", None), Route::Relay),
        ];
        let (recipients, routes): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        let shown: Vec<String> = entries(&recipients, &routes)
            .iter()
            .map(|e| {
                let notify = e.notify.map(|n| (n.success, n.failure, n.delay));
                format!("{}@{} {notify:?} held: {}", e.recipient.local, e.recipient.domain, e.held.is_some())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "anna@example.test Some((true, false, false)) held: false",
                "bob@example.test None held: false",
                "Carl@far.test None held: true",
                "carl@far.test None held: true",
            ]
        );
    }
}
