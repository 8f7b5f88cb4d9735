//! Maildir: `tmp/` while it is written, `new/` when it is whole, `cur/` when its reader has seen it.
//!
//! Owns names, folders and the order of steps. Refuses to know which mailbox is where. Fails by entry: one that can not
//! be delivered harms no other of its batch.
//!
//! # The steps, and a crash between any two
//!
//! For a batch: all files are written in `tmp/`; each is synced; each is renamed into `new/`; each `new/` is synced once;
//! then the caller settles.
//!
//! * Before the rename there is at most a file in `tmp/`, which no reader looks at. The next attempt removes it.
//! * After the rename, before the folder's fsync: a kill keeps the name, a power failure may lose it. The entry is
//!   unsettled either way, and its next lease unsure. The copy is found by its name and *synced again* before it counts
//!   as delivered, or it is not found and is made.
//! * After the fsync, before the settling: the copy is found, and not made twice.
//!
//! The name is `SECONDS.ULID_INDEX.HOST,S=SIZE`: seconds and ULID are the message's, so every attempt makes the same
//! name, and another message never does. A copy counts in `new/` under any host name and in `cur/` under any flags. Who has deleted it in between gets it again: that can not be known.
//!
//! # What is in the file
//!
//! `Return-Path` (RFC 5321 section 4.4), `Delivered-To` with the recipient as the client gave it (so that a subaddress can
//! be filtered on), the stored prefix (Received), and then the content exactly as it was received, with CRLF. Readers
//! of Maildirs take CRLF and LF alike; under BODY=BINARYMIME a bare LF is content, and a conversion would destroy it.
//! One thing is added: the CRLF that a last chunk need not have (RFC 3030 section 2), since readers take a file for lines;
//! not under BODY=BINARYMIME. A recipient whose plugins changed the header has that header and the same body.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, IoSlice, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::{DeliverError, Delivered, Parcel, edits};
use crate::{
    observe::point::{Point, pass},
    store::{BodyKind, Content, EntryId, Lease, durable},
};

/// Folders that are remembered to exist.
const KNOWN: usize = 16_384;
/// Octets of a large content that are copied at a time.
const PIECE: usize = 256 * 1024;

/// Delivers into Maildirs.
#[derive(Debug)]
pub struct Maildirs {
    host: String,
    /// Folders whose names this process has made or found, and synced.
    known: Mutex<HashSet<PathBuf>>,
}

impl Maildirs {
    /// `host` goes into the files' names.
    #[must_use]
    pub fn new(host: &str) -> Self {
        // As the Maildir specification has it, and a comma would end the name.
        let host = host.replace('/', "\\057").replace(':', "\\072").replace(',', "\\054");
        Self { host, known: Mutex::default() }
    }

    /// Delivers all of them; the results are in their order. Blocks, for as long as the disk needs.
    ///
    /// What is `Ok` is on stable storage.
    pub fn deliver(&self, parcels: &[Parcel]) -> Vec<Result<Delivered, DeliverError>> {
        let mut earlier = earlier_copies(parcels.iter().map(|parcel| (&parcel.lease, parcel.maildir.as_path())));
        let written: Vec<_> = parcels
            .iter()
            .map(|parcel| match earlier.remove(&parcel.lease.entry) {
                Some(Err(error)) => Err(error),
                Some(Ok(copy)) => {
                    info!(entry = %parcel.lease.entry, file = %copy.display(), "already delivered before its record was lost");
                    Written::earlier(&copy)
                }
                None => self.write(parcel),
            })
            .collect();
        pass(Point::CopyWritten);
        // Not one by one: the file system's journal is committed for the first, and has the others with it.
        let synced: Vec<_> = written.into_iter().map(|written| written.and_then(Written::sync)).collect();
        pass(Point::CopySynced);
        let mut results: Vec<_> =
            synced.into_iter().map(|synced| synced.and_then(|written| self.publish(written))).collect();
        pass(Point::CopyNamed);
        let folders: BTreeMap<PathBuf, Result<(), io::Error>> = results
            .iter()
            .flatten()
            .map(|(_, folder)| folder.clone())
            .collect::<HashSet<_>>()
            .into_iter()
            .map(|folder| (folder.clone(), durable::folder(&folder)))
            .collect();
        pass(Point::CopiesDurable);
        results
            .drain(..)
            .map(|result| {
                let (delivered, folder) = result?;
                match folders.get(&folder) {
                    // An io::Error can not be cloned, and each of the entries needs it.
                    Some(Err(error)) => Err(at(&folder)(io::Error::new(error.kind(), error.to_string()))),
                    _ => Ok(delivered),
                }
            })
            .collect()
    }

    /// Which of these are delivered already, in their order: by an attempt whose record was lost. Nothing is delivered now.
    /// Blocks, for as long as the disk needs.
    ///
    /// What is `Ok(true)` is on stable storage.
    pub fn delivered(&self, entries: &[(Lease, PathBuf)]) -> Vec<Result<bool, DeliverError>> {
        let mut earlier = earlier_copies(entries.iter().map(|(lease, maildir)| (lease, maildir.as_path())));
        let found = |copy: PathBuf| {
            Written::earlier(&copy)?.sync()?;
            let folder = folder_of(&copy);
            durable::folder(&folder).map_err(at(&folder))
        };
        let copies = entries.iter().map(|(lease, _)| earlier.remove(&lease.entry));
        copies.map(|copy| copy.map_or(Ok(false), |copy| copy.and_then(&found).map(|()| true))).collect()
    }

    /// One file, whole, in `tmp/`. Nothing of it is synced yet.
    fn write(&self, parcel: &Parcel) -> Result<Written, DeliverError> {
        let (maildir, lease) = (&parcel.maildir, &parcel.lease);
        self.make(maildir)?;
        let temporary = maildir.join("tmp").join(format!("{}.{}", stem(lease.entry), lease.token));
        let created = match create(&temporary) {
            // Somebody has removed the Maildir while we run, or all of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.known.lock().clear();
                self.make(maildir)?;
                create(&temporary)
            }
            created => created,
        };
        match created.and_then(|file| fill(file, parcel)) {
            Ok((file, size)) => {
                let copy = maildir.join("new").join(format!("{}.{},S={size}", stem(lease.entry), self.host));
                Ok(Written { file, path: temporary, copy, delivered: Delivered::Now })
            }
            Err(error) => {
                self.known.lock().clear();
                remove_leftover(&temporary);
                Err(at(&temporary)(error))
            }
        }
    }

    /// The synced file under the name that readers look for. That name is not yet synced.
    fn publish(&self, written: Written) -> Result<(Delivered, PathBuf), DeliverError> {
        let Written { path, copy, delivered, .. } = written;
        if path != copy
            && let Err(error) = fs::rename(&path, &copy)
        {
            self.known.lock().clear();
            remove_leftover(&path);
            return Err(at(&copy)(error));
        }
        Ok((delivered, folder_of(&copy)))
    }

    /// The Maildir exists, durably.
    fn make(&self, maildir: &Path) -> Result<(), DeliverError> {
        let known = |folder: &Path| self.known.lock().contains(folder);
        if known(maildir) {
            return Ok(());
        }
        for name in ["tmp", "new"] {
            let folder = maildir.join(name);
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(at(&folder))?;
        }
        // This syncs the names of all three, and of the folders above.
        let folder = maildir.join("cur");
        durable::make(&folder, known).map_err(at(&folder))?;
        let mut known = self.known.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.extend(maildir.ancestors().map(Path::to_owned));
        Ok(())
    }
}

/// A file that is whole; where it is, and where it has to be.
struct Written {
    file: File,
    path: PathBuf,
    copy: PathBuf,
    delivered: Delivered,
}

impl Written {
    /// What an earlier attempt left where it has to be; it may not have been synced.
    fn earlier(copy: &Path) -> Result<Self, DeliverError> {
        let file = File::open(copy).map_err(at(copy))?;
        Ok(Self { file, path: copy.to_owned(), copy: copy.to_owned(), delivered: Delivered::Earlier })
    }

    fn sync(self) -> Result<Self, DeliverError> {
        match durable::file(&self.file) {
            Ok(()) => Ok(self),
            Err(error) => {
                if self.path != self.copy {
                    remove_leftover(&self.path);
                }
                Err(at(&self.path)(error))
            }
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DeliverError {
    move |error| DeliverError { path: path.to_owned(), error }
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(file).to_owned()
}

/// The part of a file's name that says which entry it is.
fn stem(entry: EntryId) -> String {
    format!("{}.{}_{}", entry.message.timestamp_ms() / 1000, entry.message, entry.index)
}

/// The same part of a name that was found.
fn stem_of(name: &str) -> Option<&str> {
    name.match_indices('.').nth(1).map(|(end, _)| &name[..end])
}

/// The copies that earlier attempts made of the unsure entries, each in its Maildir; an error where nobody can say. Also removes
/// what those left in `tmp/`.
fn earlier_copies<'a>(
    entries: impl Iterator<Item = (&'a Lease, &'a Path)>,
) -> HashMap<EntryId, Result<PathBuf, DeliverError>> {
    let mut wanted: HashMap<&Path, HashMap<String, EntryId>> = HashMap::new();
    for (lease, maildir) in entries.filter(|(lease, _)| lease.unsure) {
        wanted.entry(maildir).or_default().insert(stem(lease.entry), lease.entry);
    }
    let mut copies = HashMap::new();
    for (maildir, stems) in wanted {
        // A reader moves files from new/ to cur/: read in this order, what is moved meanwhile is seen.
        for folder in ["tmp", "new", "cur"].map(|name| maildir.join(name)) {
            let look = || -> io::Result<Vec<(EntryId, PathBuf)>> {
                let mut found = Vec::new();
                for file in fs::read_dir(&folder)? {
                    let file = file?;
                    let file_name = file.file_name();
                    let stem = file_name.to_str().and_then(stem_of);
                    if let Some(entry) = stem.and_then(|stem| stems.get(stem)) {
                        found.push((*entry, file.path()));
                    }
                }
                Ok(found)
            };
            match look() {
                Ok(found) if folder.ends_with("tmp") => found.iter().for_each(|(_, path)| remove_leftover(path)),
                Ok(found) => copies.extend(found.into_iter().map(|(entry, path)| (entry, Ok(path)))),
                // A folder that is not there holds no copy.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    for entry in stems.values() {
                        let again = io::Error::new(error.kind(), error.to_string());
                        copies.insert(*entry, Err(at(&folder)(again)));
                    }
                    break;
                }
            }
        }
    }
    copies
}

/// No reader looks into `tmp/`: what can not be removed there does no harm.
fn remove_leftover(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(file = %path.display(), %error, "can not remove what a failed delivery left");
        }
        _ => {}
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Return-Path and Delivered-To.
fn delivery_fields(lease: &Lease) -> String {
    let reverse = lease.envelope.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("Return-Path: <{reverse}>\r\nDelivered-To: {}\r\n", lease.recipient.recipient)
}

/// Writes; the answer is the file and its length.
fn fill(mut file: File, parcel: &Parcel) -> io::Result<(File, u64)> {
    let fields = delivery_fields(&parcel.lease);
    let body = &parcel.body;
    let edits = &parcel.lease.recipient.edits;
    if !edits.is_empty() {
        let copy = edits::copy(body, parcel.lease.envelope.size, edits)?;
        let end = missing_end(&parcel.lease, &copy);
        let size = (fields.len() + copy.len() + end.len()) as u64;
        write_all(&mut file, &mut [IoSlice::new(fields.as_bytes()), IoSlice::new(&copy), IoSlice::new(end)])?;
        return Ok((file, size));
    }
    let mut size = (fields.len() + body.prefix.len()) as u64;
    match &body.content {
        Content::Inline(content) => {
            let end = missing_end(&parcel.lease, content);
            size += (content.len() + end.len()) as u64;
            write_all(
                &mut file,
                &mut [
                    IoSlice::new(fields.as_bytes()),
                    IoSlice::new(&body.prefix),
                    IoSlice::new(content),
                    IoSlice::new(end),
                ],
            )?;
        }
        Content::File(content) => {
            write_all(&mut file, &mut [IoSlice::new(fields.as_bytes()), IoSlice::new(&body.prefix)])?;
            // Not `io::copy`: the file is shared, and so is its position.
            let mut piece = vec![0; PIECE];
            let mut read = 0;
            let mut end: &[u8] = b"";
            loop {
                let n = content.read_at(&mut piece, read)?;
                if n == 0 {
                    break;
                }
                file.write_all(&piece[..n])?;
                end = missing_end(&parcel.lease, &piece[..n]);
                read += n as u64;
            }
            if read != parcel.lease.envelope.size {
                let wanted = parcel.lease.envelope.size;
                return Err(io::Error::other(format!("the stored body has {read} octets instead of {wanted}")));
            }
            file.write_all(end)?;
            size += read + end.len() as u64;
        }
    }
    Ok((file, size))
}

/// What the content lacks to be lines.
fn missing_end(lease: &Lease, content: &[u8]) -> &'static [u8] {
    if lease.envelope.body == BodyKind::BinaryMime || content.ends_with(b"\n") || content.is_empty() {
        b""
    } else {
        b"\r\n"
    }
}

fn write_all(file: &mut File, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match file.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut parts, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
