//! Answers to the sender that plugins asked for, on their way into the store.
//!
//! Owns their envelope: the null reverse-path, and the sender as their only recipient. Refuses to know what they say. An
//! answer that can not be stored is a line in the log: the message that it answers is accepted already.

use crate::{
    observe::SessionLog,
    policy::{
        Policy,
        chain::{Fate, Landing, Outcome},
    },
    store::{Address, Envelope, MessageId, NewEntry, Notice, Pressure, Store, StoreError, sqlite::now},
};

/// One message for each accepted recipient, and each to whom its copies were sent on, that has an answer. `to`: the
/// reverse-path; `session` and `listener`: of the message that is answered. Fails if mail for the sender goes nowhere.
pub(super) fn wanted(
    outcomes: &[Outcome],
    to: Option<Address>,
    session: &str,
    listener: &str,
    policy: &Policy,
) -> Result<Vec<Notice>, String> {
    let mut contents = Vec::new();
    outcomes.iter().for_each(|outcome| collect(outcome, &mut contents));
    // RFC 3834 section 4: to the reverse-path, and to nobody if that is null.
    let Some(to) = to.filter(|_| !contents.is_empty()) else { return Ok(Vec::new()) };
    let (to, route) = policy.place(&to.to_string()).map_err(|problem| format!("{to}: {problem}"))?;
    let entry = NewEntry::to(to, route);
    let notice = |content: Vec<u8>| Notice {
        envelope: Envelope {
            smtputf8: !entry.recipient.local.is_ascii(),
            session: session.to_owned(),
            listener: listener.to_owned(),
            received_at: now(),
            size: content.len() as u64,
            eight_bit: !content.is_ascii(),
            ..Envelope::default()
        },
        content,
        entries: vec![entry.clone()],
    };
    Ok(contents.into_iter().map(notice).collect())
}

fn collect(outcome: &Outcome, contents: &mut Vec<Vec<u8>>) {
    if outcome.fate() != Fate::Accepted {
        return;
    }
    contents.extend(outcome.wishes.reply.clone());
    for copy in &outcome.copies {
        if let Landing::Here(_, _, outcome) = &copy.landing {
            collect(outcome, contents);
        }
    }
}

/// Stores them, one after the other.
pub(super) async fn send(replies: Result<Vec<Notice>, String>, store: &dyn Store, log: &SessionLog) {
    let replies = match replies {
        Ok(replies) => replies,
        Err(problem) => return log.answer_failed(problem),
    };
    for reply in replies {
        let size = reply.envelope.size;
        match stored(reply, store).await {
            Ok(id) => log.answer_accepted(id, size),
            Err(error) => log.answer_failed(error),
        }
    }
}

async fn stored(reply: Notice, store: &dyn Store) -> Result<MessageId, StoreError> {
    let mut incoming = store.begin()?;
    if incoming.write(&reply.content)? == Pressure::Flush {
        incoming.flush().await?;
    }
    incoming.accept(reply.envelope, Vec::new(), reply.entries).await
}
