//! `hermetic queue export`.
//!
//! Owns where messages go and what is said of them. Refuses to change the queue, and to replace a file. Fails with
//! [`QueueError`]; files that were whole by then stay.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{Context, Output, QueueError, counted, file_error, mbox, part::Part, select::Target, source::Source};
use crate::{
    admin::{desk, wire},
    files::{folder_of, make_private_folder},
    store::{EntryId, MessageId, StoreError, sqlite::now},
};

/// Write messages out of the queue into files, or one to standard output. The queue stays as it is.
///
/// Each message is written once, however many of its recipients are chosen, as it is stored: with the fields that this
/// server put in front (such as Received), without what plugins change for single recipients. One message that is named
/// by its id goes to standard output; otherwise say --to or --mbox. A file can be read by its owner only and replaces
/// none; it is called NAME.part until it is complete and on the disk.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hermetic queue export 01M8756VKN000395ZBJ89VS1ZC > message.eml
  hermetic queue export --state held --to ./held
  hermetic queue export --all --mbox queue.mbox")]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    target: Target,
    /// Write each message as FOLDER/ID.eml. The folder is made if it is not there.
    #[arg(long, value_name = "FOLDER", help_heading = "Where to", conflicts_with = "mbox")]
    to: Option<PathBuf>,
    /// Write all messages into this one file, in the mboxrd format.
    #[arg(long, value_name = "FILE", help_heading = "Where to")]
    mbox: Option<PathBuf>,
    /// Print one line of JSON for each message: its id, how many octets it has, and its file. Only with --to or --mbox.
    #[arg(long, help_heading = "Where to")]
    json: bool,
}

/// Makes the folder, so that a crash does not take it away again with what is in it.
fn make(folder: &Path) -> io::Result<()> {
    let new: Vec<&Path> = folder.ancestors().filter(|one| !one.as_os_str().is_empty() && !one.exists()).collect();
    make_private_folder(folder)?;
    new.into_iter().try_for_each(|one| File::open(folder_of(one))?.sync_all())
}

/// What was written.
#[derive(Serialize)]
struct Written {
    message: String,
    octets: u64,
    file: String,
}

impl Export {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), QueueError> {
        let selection = self.target.selection(now())?;
        let source = Source::open(context).await?;
        let mut sink = match (&self.to, &self.mbox, &self.target.ids[..]) {
            (Some(folder), ..) => {
                make(folder).map_err(file_error(folder))?;
                Sink::Folder(folder.clone())
            }
            (_, Some(file), _) => Sink::Mbox(Part::create(file).map_err(file_error(file))?, file.clone()),
            (None, None, _) if self.json => {
                return Err(QueueError::Asked("--json tells of files; say --to FOLDER or --mbox FILE".into()));
            }
            (_, _, [id]) => {
                let (message, _) = wire::message_or_entry(id).map_err(QueueError::Asked)?;
                let mut out = Output::new();
                source.content(message, |octets| out.write(|out| out.write_all(octets))).await?;
                return out.end();
            }
            _ => return Err(QueueError::Asked("where to? Say --to FOLDER or --mbox FILE".into())),
        };
        // A part of one file is not there before all of it is.
        let late = matches!(sink, Sink::Mbox(..)).then(Vec::new);
        let mut told = Told { out: Output::patient(), written: 0, gone: 0, json: self.json, late };
        match selection {
            None => {
                let mut messages = Vec::new();
                for id in &self.target.ids {
                    let (message, _) = wire::message_or_entry(id).map_err(QueueError::Asked)?;
                    if !messages.contains(&message) {
                        messages.push(message);
                    }
                }
                for message in messages {
                    told.tell(sink.take(&source, message, None).await?)?;
                }
            }
            Some(selection) => {
                let (mut after, mut last) = (None, None);
                loop {
                    let page = source.find(&selection, after, desk::PAGE).await?;
                    for entry in &page.entries {
                        let EntryId { message, .. } = entry.entry.parse().map_err(QueueError::Refused)?;
                        // They come in the order of their messages.
                        if last.replace(message) != Some(message) {
                            let about = (entry.reverse_path.clone(), entry.received_at);
                            told.tell(sink.take(&source, message, Some(about)).await?)?;
                        }
                    }
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        sink.end()?;
        told.end()
    }
}

/// Where the messages go.
enum Sink {
    Folder(PathBuf),
    Mbox(Part, PathBuf),
}

impl Sink {
    /// None: it has been delivered meanwhile, or was never there. `about`: its sender, and when it came, where that is known.
    async fn take(
        &mut self,
        source: &Source,
        message: MessageId,
        about: Option<(String, u64)>,
    ) -> Result<Option<Written>, QueueError> {
        let mut octets = 0;
        let (taken, path) = match self {
            Self::Folder(folder) => {
                let path = folder.join(format!("{message}.eml"));
                // Nothing is made for a message that is gone.
                let mut file: Option<Part> = None;
                let each = |piece: &[u8]| {
                    octets += piece.len() as u64;
                    let file = match &mut file {
                        Some(file) => file,
                        none => none.insert(Part::create(&path).map_err(file_error(&path))?),
                    };
                    file.write_all(piece).map_err(file_error(&path))
                };
                let taken = source.content(message, each).await;
                if let (Ok(()), Some(file)) = (&taken, file) {
                    file.finish().map_err(file_error(&path))?;
                }
                (taken, path)
            }
            Self::Mbox(file, path) => {
                let (sender, at) = match about {
                    Some(about) => about,
                    None => match source.show(message).await {
                        Ok(shown) => (shown.reverse_path, shown.received_at),
                        Err(QueueError::Gone(_)) => return Ok(None),
                        Err(error) => return Err(error),
                    },
                };
                let mut entry = mbox::Entry::new(&sender, at);
                let each = |piece: &[u8]| {
                    octets += piece.len() as u64;
                    entry.write(file, piece).map_err(file_error(path))
                };
                let taken = source.content(message, each).await;
                entry.end(file).map_err(file_error(path))?;
                (taken, path.clone())
            }
        };
        match taken {
            Ok(()) => Ok(Some(Written { message: message.to_string(), octets, file: path.display().to_string() })),
            Err(QueueError::Gone(_) | QueueError::Store(StoreError::Unknown(_))) if octets == 0 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All of it is on the disk.
    fn end(self) -> Result<(), QueueError> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Mbox(file, path) => file.finish().map_err(file_error(&path)),
        }
    }
}

/// What is said of it.
struct Told {
    out: Output,
    written: u64,
    gone: u64,
    json: bool,
    /// What is said at the end only.
    late: Option<Vec<Written>>,
}

impl Told {
    fn tell(&mut self, taken: Option<Written>) -> Result<(), QueueError> {
        let Some(written) = taken else {
            self.gone += 1;
            return Ok(());
        };
        self.written += 1;
        match (self.json, &mut self.late) {
            (false, _) => Ok(()),
            (true, Some(late)) => {
                late.push(written);
                Ok(())
            }
            (true, None) => self.out.json(&written),
        }
    }

    fn end(mut self) -> Result<(), QueueError> {
        for written in self.late.into_iter().flatten() {
            self.out.json(&written)?;
        }
        if !self.json {
            self.out.write(|out| writeln!(out, "{} written.", counted(self.written, "message")))?;
        }
        self.out.end()?;
        match self.gone {
            0 => Ok(()),
            gone => Err(QueueError::NotDone(format!("{} not in the queue (any more)", counted(gone, "message")))),
        }
    }
}
