//! A message on its way in: in memory while it is small, in a file without a name as soon as it is not.
//!
//! Owns the buffer and that file, which vanishes with the process. Refuses to know records. Fails with [`StoreError`]; then, as when it
//! is dropped, nothing of the message is left but perhaps an object that nobody names, which is swept.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    mem,
    sync::Arc,
};

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::{
    Core,
    letter::{self, INLINE, Octets},
    settle::PATIENCE,
};
use crate::store::{Envelope, Incoming, MessageId, NewEntry, Pressure, StoreError, Verdicts};

/// Octets that are written to the file at a time.
const PIECE: usize = 256 * 1024;
/// The header block that is kept for policy.
const HEADER: usize = 64 * 1024;
/// Buffered without a flush: the caller does not keep the contract.
const OVERDUE: usize = 4 * 1024 * 1024;

/// See [`Incoming`].
pub(super) struct Arriving {
    core: Arc<Core>,
    id: MessageId,
    size: u64,
    buffer: Vec<u8>,
    head: Vec<u8>,
    file: Option<File>,
    /// The file was lost to an error.
    broken: bool,
    verdicts: Option<Verdicts>,
}

impl Arriving {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let id = core.ids.next();
        let (buffer, head) = (Vec::with_capacity(8 * 1024), Vec::new());
        Self { core, id, size: 0, buffer, head, file: None, broken: false, verdicts: None }
    }

    /// Works on the file where it holds up nobody.
    async fn with_file<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut File) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.broken {
            return Err(StoreError::Failed("the body's file is gone".into()));
        }
        let (file, folder) = (self.file.take(), self.core.data.clone());
        self.broken = true;
        let done = spawn_blocking(move || {
            let mut file = file.map_or_else(|| nameless(&folder), Ok)?;
            let done = work(&mut file)?;
            Ok((file, done))
        });
        let (file, done) = done.await.map_err(io::Error::other).flatten().map_err(|error| trouble(&error))?;
        self.file = Some(file);
        self.broken = false;
        Ok(done)
    }

    async fn spill(&mut self) -> Result<(), StoreError> {
        if self.head.is_empty() {
            self.head = self.buffer[..self.buffer.len().min(HEADER)].to_vec();
        }
        let piece = mem::take(&mut self.buffer);
        self.buffer = self.with_file(move |file| file.write_all(&piece).map(|()| piece)).await?;
        self.buffer.clear();
        Ok(())
    }
}

/// A file that only its descriptor knows.
pub(super) fn nameless(folder: &std::path::Path) -> io::Result<File> {
    let path = folder.join(format!("arriving-{}", super::work::unique()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
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
        let most = if self.file.is_some() { PIECE } else { INLINE };
        Ok(if self.buffer.len() > most { Pressure::Flush } else { Pressure::None })
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let most = if self.file.is_some() || self.broken { 0 } else { INLINE };
        if self.buffer.len() <= most { Ok(()) } else { self.spill().await }
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
        if self.file.is_none() && !self.broken {
            return Ok(self.buffer.clone());
        }
        let mut content = self
            .with_file(|file| {
                file.rewind()?;
                let mut content = Vec::new();
                file.read_to_end(&mut content)?;
                Ok(content)
            })
            .await?;
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
        if self.core.work.closing.load(std::sync::atomic::Ordering::Acquire) {
            return Err(StoreError::Failed("the store is closed".into()));
        }
        let many = entries.len() > letter::FIRST;
        envelope.size = self.size;
        let large = self.file.is_some() || self.broken || self.buffer.len() > INLINE;
        let octets = if large {
            if !self.buffer.is_empty() {
                self.spill().await?;
            }
            let file = self.file.take().ok_or_else(|| StoreError::Failed("the body's file is gone".into()))?;
            let mut file = tokio::fs::File::from_std(file);
            self.core.objects.put(self.id, &mut file, self.size).await?;
            Octets::Object(self.size)
        } else {
            Octets::Inline(mem::take(&mut self.buffer))
        };
        let Core { link, placement, .. } = &*self.core;
        let records = letter::records(link, placement, self.id, envelope.into(), &prefix, &octets, entries)?;
        // If it fails its object stays, and is swept: whatever the servers say, an earlier try may have been written.
        let mut done = link.commit(records, &format!("m.{}", self.id), PATIENCE).await.map(drop);
        let accepted = done.clone();
        if many && done.is_ok() {
            done = letter::finish(link, placement, self.id).await;
        }
        if many && let Err(fault) = done {
            tracing::warn!(message = %self.id, ?fault, "not all entries are written yet; a later look does it");
            self.core.is_unfinished(self.id);
        }
        accepted?;
        if let Some(verdicts) = self.verdicts.take() {
            self.core.why.record(&verdicts);
        }
        Ok(self.id)
    }
}

fn trouble(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}
