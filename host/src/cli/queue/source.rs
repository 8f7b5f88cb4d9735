//! Where entries are read: from the running server, or without one from its store.
//!
//! Owns that both give the same. Refuses to change anything, and to read the store beside a server that answers. Fails
//! with [`QueueError`].

use std::io::Read as _;

use super::{Context, QueueError, client::Client};
use crate::{
    admin::{desk, wire},
    cli::keep,
    store::{Body, Content, EntryId, MessageId, StoreError, jetstream::Onlooker, sqlite::Beside},
};

/// Octets of a file that are read at a time.
const PIECE: usize = 64 * 1024;

/// Either of them.
pub(super) enum Source {
    Server(Client),
    /// None: there is no store yet, so the queue is empty.
    Store(Option<Beside>, bool),
    /// Of a store on NATS servers, where other nodes may be at work.
    Servers(Box<Onlooker>, bool),
}

impl Source {
    pub(super) async fn open(context: &Context<'_>) -> Result<Self, QueueError> {
        Ok(match Client::reach(context).await? {
            Ok(client) => Self::Server(client),
            Err(_) => {
                let on_hold = context.config.queue.hold;
                match keep::settings(context.config) {
                    Some(settings) => {
                        Self::Servers(Box::new(Onlooker::open(&settings, &context.config.data).await?), on_hold)
                    }
                    None => Self::Store(Beside::open(&context.config.data)?, on_hold),
                }
            }
        })
    }

    /// A part of the queue.
    pub(super) async fn find(
        &self,
        selection: &wire::Selection,
        after: Option<String>,
        most: usize,
    ) -> Result<wire::Page, QueueError> {
        match self {
            Self::Server(client) => {
                let mut query = parameters(selection, after.as_deref());
                query.append_pair("limit", &most.clamp(1, desk::PAGE).to_string());
                client.get(&format!("/v1/queue?{}", query.finish())).await
            }
            Self::Store(None, on_hold) => Ok(wire::Page { on_hold: *on_hold, ..wire::Page::default() }),
            Self::Store(Some(_), on_hold) | Self::Servers(_, on_hold) => {
                let filter = selection.clone().try_into().map_err(QueueError::Asked)?;
                let after = after.as_deref().map(str::parse::<EntryId>).transpose().map_err(QueueError::Asked)?;
                let page = match self {
                    Self::Store(Some(store), _) => store.find(filter, after, most)?,
                    Self::Servers(store, _) => store.find(filter, after, most).await?,
                    Self::Store(None, _) | Self::Server(_) => crate::store::Page::default(),
                };
                let entries = page.entries.into_iter().map(|listed| wire::Entry::new(listed, *on_hold)).collect();
                Ok(wire::Page { entries, next: page.next.map(|next| next.to_string()), on_hold: *on_hold })
            }
        }
    }

    /// A message with its recipients.
    pub(super) async fn show(&self, message: MessageId) -> Result<wire::Message, QueueError> {
        let gone = || {
            QueueError::Gone(format!(
                "no message {message} is in the queue; `hermetic why {message}` may know what became of it"
            ))
        };
        match self {
            Self::Server(client) => client.get(&format!("/v1/messages/{message}")).await,
            Self::Store(None, _) => Err(gone()),
            Self::Store(Some(store), on_hold) => {
                let details = store.show(message)?.ok_or_else(gone)?;
                let header = desk::header(store.body(message)?).await?;
                Ok(wire::Message::new(&details, &header, *on_hold))
            }
            Self::Servers(store, on_hold) => {
                let details = store.show(message).await?.ok_or_else(gone)?;
                let header = desk::header(store.body(message).await?).await?;
                Ok(wire::Message::new(&details, &header, *on_hold))
            }
        }
    }

    /// What is known of a message, a transaction or a session: nothing, if nothing is.
    pub(super) async fn why(&self, id: &str) -> Result<wire::Why, QueueError> {
        match self {
            Self::Server(client) => client.get(&format!("/v1/why/{id}")).await,
            Self::Store(None, _) => Ok(wire::Why::default()),
            Self::Store(Some(_), on_hold) | Self::Servers(_, on_hold) => {
                let message = wire::message_or_entry(id).ok().map(|(message, _)| message);
                let details = match (message, self) {
                    (Some(message), Self::Store(Some(store), _)) => store.show(message)?,
                    (Some(message), Self::Servers(store, _)) => store.show(message).await?,
                    _ => None,
                };
                let entries = details.map(|details| details.entries).unwrap_or_default();
                let entries = entries.into_iter().map(|one| wire::Entry::new(one.listed, *on_hold)).collect();
                let id = message.map_or_else(|| id.to_owned(), |message| message.to_string());
                let verdicts = match self {
                    Self::Store(Some(store), _) => store.verdicts(&id)?,
                    Self::Servers(store, _) => store.verdicts(&id).await?,
                    Self::Store(None, _) | Self::Server(_) => Vec::new(),
                };
                Ok(wire::Why { entries, judged: wire::Judged::all(&verdicts) })
            }
        }
    }

    /// A message's octets, piece by piece.
    pub(super) async fn content(
        &self,
        message: MessageId,
        each: impl FnMut(&[u8]) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        match self {
            Self::Server(client) => client.octets(&format!("/v1/messages/{message}/content"), each).await,
            Self::Store(None, _) => Err(StoreError::Unknown(message.to_string()).into()),
            Self::Store(Some(store), _) => written(store.body(message)?, each),
            Self::Servers(store, _) => written(store.body(message).await?, each),
        }
    }
}

/// A body's octets, piece by piece.
fn written(body: Body, mut each: impl FnMut(&[u8]) -> Result<(), QueueError>) -> Result<(), QueueError> {
    each(&body.prefix)?;
    match body.content {
        Content::Inline(content) => each(&content),
        Content::File(mut file) => {
            let mut piece = vec![0; PIECE];
            loop {
                let read = file.read(&mut piece).map_err(|error| StoreError::Failed(error.to_string()))?;
                match piece.get(..read) {
                    Some(octets) if read > 0 => each(octets)?,
                    _ => return Ok(()),
                }
            }
        }
    }
}

/// A selection as the parameters of a path.
pub(super) fn parameters<'a>(
    selection: &wire::Selection,
    after: Option<&str>,
) -> form_urlencoded::Serializer<'a, String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let texts = [
        ("sender", &selection.sender),
        ("recipient", &selection.recipient),
        ("domain", &selection.domain),
        ("message", &selection.message),
        ("reason", &selection.reason),
    ];
    for state in &selection.state {
        query.append_pair("state", state);
    }
    for (name, text) in texts {
        if let Some(text) = text {
            query.append_pair(name, text);
        }
    }
    for (name, time) in [("since", selection.since), ("before", selection.before)] {
        if let Some(time) = time {
            query.append_pair(name, &time.to_string());
        }
    }
    if let Some(after) = after {
        query.append_pair("after", after);
    }
    query
}
