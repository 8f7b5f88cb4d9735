//! Messages as files: written in `tmp`, synced, renamed into `new`, and that folder synced. Then, and only then, a message is kept.
//!
//! Owns names, folders and the order of steps. Refuses to know what a message says. Every operation is the runtime's own and
//! asynchronous, so a slow disk stalls nobody but the session that waits for it. Fails by message: the half that was written is
//! removed. A process that is killed leaves it in `tmp`, where no reader looks.

use std::cell::Cell;

use wasip3::clocks::system_clock;
use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip3::random::random::get_random_u64;
use wasip3::wit_bindgen::{FutureReader, StreamWriter};

/// Content that is held before a file is made for it.
const HELD: usize = 64 * 1024;

/// A folder that messages are kept in.
pub(crate) struct Maildir {
    tmp: Descriptor,
    new: Descriptor,
    /// What the server calls itself, as it can stand in a file's name.
    host: String,
    /// Together with the time and `count`: names that no other message has.
    random: u64,
    count: Cell<u64>,
}

/// A message that is being received.
#[derive(Default)]
pub(crate) struct Draft {
    held: Vec<u8>,
    written: u64,
    file: Option<File>,
    /// What went wrong; the rest of the content is passed over.
    failure: Option<ErrorCode>,
}

struct File {
    name: String,
    descriptor: Descriptor,
    writer: StreamWriter<u8>,
    done: FutureReader<Result<(), ErrorCode>>,
}

impl Maildir {
    /// The folder that the runtime was given, if it was. The name is the one that we see.
    ///
    /// # Errors
    /// More than one, or one that cannot be written to.
    pub(crate) async fn given(server: &str) -> Result<Option<(Self, String)>, String> {
        let mut folders = get_directories();
        let Some((root, name)) = folders.pop() else { return Ok(None) };
        if !folders.is_empty() {
            return Err(format!("{} folders were given; one is expected, for the messages", folders.len() + 1));
        }
        let fail = |part: &str, error: ErrorCode| format!("messages can not be kept in {name}/{part}: {error}");
        for part in ["tmp", "new", "cur"] {
            match root.create_directory_at(part.into()).await {
                Ok(()) | Err(ErrorCode::Exist) => {}
                Err(error) => return Err(fail(part, error)),
            }
        }
        root.sync().await.map_err(|error| fail("", error))?;
        let open = async |part: &str| {
            let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
            let opened = root.open_at(PathFlags::empty(), part.into(), OpenFlags::DIRECTORY, flags).await;
            opened.map_err(|error| fail(part, error))
        };
        let (tmp, new) = (open("tmp").await?, open("new").await?);
        let host = server.replace(':', "\\072");
        Ok(Some((Self { tmp, new, host, random: get_random_u64(), count: Cell::new(0) }, name)))
    }

    /// More of the message. What goes wrong is said at the end.
    pub(crate) async fn add(&self, draft: &mut Draft, octets: &[u8]) {
        if draft.failure.is_none() {
            draft.held.extend_from_slice(octets);
            if draft.held.len() >= HELD {
                draft.failure = self.write(draft).await.err();
            }
        }
    }

    /// Keeps the message: durable when it returns the file's name.
    pub(crate) async fn keep(&self, mut draft: Draft) -> Result<String, ErrorCode> {
        if draft.failure.is_none() {
            draft.failure = self.write(&mut draft).await.err();
        }
        if let Some(failure) = draft.failure.take() {
            self.discard(draft).await;
            return Err(failure);
        }
        let Some(File { name, descriptor, writer, done }) = draft.file else { return Err(ErrorCode::Io) };
        drop(writer);
        let kept = format!("{name},S={}", draft.written);
        let renamed = async {
            done.await?;
            descriptor.sync().await?;
            self.tmp.rename_at(name.clone(), &self.new, kept.clone()).await
        };
        if let Err(error) = renamed.await {
            let _ = self.tmp.unlink_file_at(name).await;
            return Err(error);
        }
        if let Err(error) = self.new.sync().await {
            // The peer is told to come again, and a second copy is worth nothing.
            let _ = self.new.unlink_file_at(kept).await;
            return Err(error);
        }
        Ok(kept)
    }

    /// The message is not wanted after all.
    pub(crate) async fn discard(&self, draft: Draft) {
        if let Some(file) = draft.file {
            self.remove(file).await;
        }
    }

    async fn write(&self, draft: &mut Draft) -> Result<(), ErrorCode> {
        let file = match &mut draft.file {
            Some(file) => file,
            none => none.insert(self.create().await?),
        };
        draft.written += draft.held.len() as u64;
        let rest = file.writer.write_all(std::mem::take(&mut draft.held)).await;
        if rest.is_empty() {
            // Its room is of use again.
            draft.held = rest;
            return Ok(());
        }
        // The stream only says that it ended; the future says why.
        match draft.file.take() {
            Some(file) => Err(self.remove(file).await.unwrap_or(ErrorCode::Io)),
            None => Err(ErrorCode::Io),
        }
    }

    /// Takes away what was written, and says what had gone wrong with it.
    async fn remove(&self, file: File) -> Option<ErrorCode> {
        let File { name, descriptor, writer, done } = file;
        drop(writer);
        let error = done.await.err();
        drop(descriptor);
        // Nobody looks at what stays in `tmp`.
        let _ = self.tmp.unlink_file_at(name).await;
        error
    }

    async fn create(&self) -> Result<File, ErrorCode> {
        let count = self.count.get();
        self.count.set(count + 1);
        let name = format!("{}.{:016x}_{count}.{}", system_clock::now().seconds, self.random, self.host);
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let descriptor = self.tmp.open_at(PathFlags::empty(), name.clone(), flags, DescriptorFlags::WRITE).await?;
        let (writer, data) = wasip3::wit_stream::new();
        let done = descriptor.write_via_stream(data, 0);
        Ok(File { name, descriptor, writer, done })
    }
}
