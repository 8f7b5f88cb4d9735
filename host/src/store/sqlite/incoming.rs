//! A message on its way in: in memory while it is small, in a file as soon as it is not.
//!
//! Owns the buffer and when it goes to the disk. Refuses to know rows: the writer has them. Fails with [`StoreError`], and then, as
//! when it is dropped, nothing of the message is left.

use std::{
    io, mem,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};

use super::{
    Shared,
    bodies::BodyFile,
    rows::NewMessage,
    writer::{Arrival, Job},
};
use crate::observe::point::{Point, pass};
use crate::store::{Envelope, Incoming, MessageId, NewEntry, Pressure, StoreError, Verdicts};

/// Contents up to this go into the database; what is larger costs less as a file.
pub(super) const INLINE: usize = 64 * 1024;
/// Octets that are written to a file at a time.
const PIECE: usize = 128 * 1024;
/// The header block that is kept for policy.
const HEADER: usize = 64 * 1024;
/// Buffered without a flush: the caller does not keep the contract.
const OVERDUE: usize = 4 * 1024 * 1024;

type Written = JoinHandle<io::Result<(BodyFile, Vec<u8>)>>;

/// See [`Incoming`].
pub(super) struct Arriving {
    shared: Arc<Shared>,
    id: MessageId,
    size: u64,
    /// What is not in the file.
    buffer: Vec<u8>,
    /// The content's first octets, once they are in the file.
    head: Vec<u8>,
    /// The file while a piece is being written, with a buffer to use again.
    writing: Option<Written>,
    /// The file otherwise.
    file: Option<BodyFile>,
    spare: Vec<u8>,
    verdicts: Option<Verdicts>,
}

impl Arriving {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let id = shared.ids.next();
        shared.arriving.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            id,
            size: 0,
            buffer: Vec::with_capacity(8 * 1024),
            head: Vec::new(),
            writing: None,
            file: None,
            spare: Vec::new(),
            verdicts: None,
        }
    }

    fn is_file(&self) -> bool {
        self.file.is_some() || self.writing.is_some()
    }

    /// Waits until the last piece is written.
    async fn written(&mut self) -> Result<(), StoreError> {
        if let Some(writing) = &mut self.writing {
            let done = writing.await;
            self.writing = None;
            let (file, mut spare) = done.map_err(io::Error::other).flatten().map_err(|error| trouble(&error))?;
            spare.clear();
            self.spare = spare;
            self.file = Some(file);
        }
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.shared.arriving.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Incoming for Arriving {
    fn id(&self) -> MessageId {
        self.id
    }

    fn write(&mut self, octets: &[u8]) -> Result<Pressure, StoreError> {
        if self.buffer.len() > OVERDUE {
            return Err(StoreError::Failed("octets were written without a flush".into()));
        }
        self.buffer.extend_from_slice(octets);
        self.size += octets.len() as u64;
        let most = if self.is_file() { PIECE } else { INLINE };
        Ok(if self.buffer.len() > most { Pressure::Flush } else { Pressure::None })
    }

    /// Returns when the piece before is written: this one is written while the next arrives.
    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.buffer.len() <= INLINE && !self.is_file() {
            return Ok(());
        }
        self.shared.space.check()?;
        self.written().await?;
        if self.file.is_none() {
            if self.head.is_empty() {
                self.head = self.buffer[..self.buffer.len().min(HEADER)].to_vec();
            } else {
                // The piece before failed and took the file with it.
                return Err(StoreError::Failed("the body's file is gone".into()));
            }
        }
        let (file, path) = (self.file.take(), self.shared.bodies.path(self.id));
        let piece = mem::replace(&mut self.buffer, mem::take(&mut self.spare));
        self.writing = Some(spawn_blocking(move || {
            let mut file = file.map_or_else(|| BodyFile::create(path), Ok)?;
            file.append(&piece)?;
            pass(Point::BodyBegun);
            Ok((file, piece))
        }));
        Ok(())
    }

    fn header(&self) -> &[u8] {
        let head = if self.head.is_empty() { &self.buffer } else { &self.head };
        let head = &head[..head.len().min(HEADER)];
        if head.starts_with(b"\r\n") {
            return &[];
        }
        let end = head.windows(4).position(|window| window == b"\r\n\r\n");
        end.map_or(head, |end| &head[..end + 2])
    }

    async fn content(&mut self) -> Result<Vec<u8>, StoreError> {
        if !self.is_file() {
            return Ok(self.buffer.clone());
        }
        self.written().await?;
        let path = self.shared.bodies.path(self.id);
        let read = spawn_blocking(move || std::fs::read(path)).await;
        let mut content = read.map_err(io::Error::other).flatten().map_err(|error| trouble(&error))?;
        content.extend_from_slice(&self.buffer);
        if content.len() as u64 != self.size {
            return Err(StoreError::Failed(format!("{} of {} octets are there", content.len(), self.size)));
        }
        Ok(content)
    }

    fn judged(&mut self, verdicts: Verdicts) {
        self.verdicts = Some(verdicts);
    }

    async fn accept(
        mut self: Box<Self>,
        mut envelope: Envelope,
        prefix: Vec<u8>,
        entries: Vec<NewEntry>,
    ) -> Result<MessageId, StoreError> {
        envelope.size = self.size;
        let mut content = Some(mem::take(&mut self.buffer));
        let mut file = None;
        if self.is_file() || content.as_ref().is_some_and(|content| content.len() > INLINE) {
            self.written().await?;
            let (rest, begun, path) = (content.take(), self.file.take(), self.shared.bodies.path(self.id));
            let finished = spawn_blocking(move || {
                let mut file = begun.map_or_else(|| BodyFile::create(path), Ok)?;
                file.append(&rest.unwrap_or_default())?;
                pass(Point::BodyWritten);
                file.sync()?;
                pass(Point::BodySynced);
                Ok(file)
            });
            file = Some(finished.await.map_err(io::Error::other).flatten().map_err(|error| trouble(&error))?);
        }
        let verdicts = self.verdicts.take();
        let message = NewMessage { id: self.id, envelope, prefix, content, entries, verdicts };
        let (reply, answer) = oneshot::channel();
        self.shared.submit(Job::Accept(Box::new(Arrival { message, file }), reply))?;
        answer.await.map_err(|_| Shared::closed())??;
        pass(Point::AcceptAnswered);
        Ok(self.id)
    }
}

/// An error of the file system's as one of the store's.
fn trouble(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}
