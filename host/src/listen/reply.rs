//! Answers to the sender that plugins asked for, on their way into the store.
//!
//! Owns their envelope: the null reverse-path, and the sender as their only recipient. Refuses to know what they say. An
//! answer that can not be stored is a line in the log: the message that it answers is accepted already.

use super::transaction::address;
use crate::{
    engine::types::Sender,
    observe::SessionLog,
    policy::{
        Policy, SessionFacts,
        chain::{Fate, Outcome},
    },
    store::{Envelope, MessageId, NewEntry, Pressure, Store, StoreError, sqlite::now},
};

/// A message that is about to be stored.
pub(super) struct Reply {
    content: Vec<u8>,
    envelope: Envelope,
    entry: NewEntry,
}

/// One message for each accepted recipient that has an answer.
pub(super) fn wanted(
    outcomes: &[Outcome],
    sender: &Sender,
    facts: &SessionFacts,
    policy: &Policy,
    log: &SessionLog,
) -> Vec<Reply> {
    let accepted = outcomes.iter().filter(|outcome| outcome.fate() == Fate::Accepted);
    let mut replies = accepted.filter_map(|outcome| outcome.wishes.reply.clone()).peekable();
    // RFC 3834 section 4: to the reverse-path, and to nobody if that is null.
    let Some(to) = sender.mailbox.as_ref().map(address).filter(|_| replies.peek().is_some()) else {
        return Vec::new();
    };
    let (to, route) = match policy.place(&to.to_string()) {
        Ok(place) => place,
        Err(problem) => {
            log.answer_failed(format!("{to}: {problem}"));
            return Vec::new();
        }
    };
    let entry = NewEntry::to(to, route);
    let reply = |content: Vec<u8>| Reply {
        envelope: Envelope {
            smtputf8: !entry.recipient.local.is_ascii(),
            session: facts.id.clone(),
            listener: facts.listener.label(),
            received_at: now(),
            size: content.len() as u64,
            eight_bit: !content.is_ascii(),
            ..Envelope::default()
        },
        content,
        entry: entry.clone(),
    };
    replies.map(reply).collect()
}

/// Stores them, one after the other.
pub(super) async fn send(replies: Vec<Reply>, store: &dyn Store, log: &SessionLog) {
    for reply in replies {
        let size = reply.envelope.size;
        match stored(reply, store).await {
            Ok(id) => log.answer_accepted(id, size),
            Err(error) => log.answer_failed(error),
        }
    }
}

async fn stored(reply: Reply, store: &dyn Store) -> Result<MessageId, StoreError> {
    let mut incoming = store.begin()?;
    if incoming.write(&reply.content)? == Pressure::Flush {
        incoming.flush().await?;
    }
    incoming.accept(reply.envelope, Vec::new(), vec![reply.entry]).await
}
