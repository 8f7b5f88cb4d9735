//! Large contents, which are objects of a bucket: many pieces under one name.
//!
//! Owns their names and pieces. Refuses to know which messages there are. Fails with [`StoreError`], and leaves pieces behind
//! that nobody names if it dies in between; [`Objects::sweep`] takes these away.
//!
//! An object is there when its last record is written, which names its pieces. It goes the other way round: pieces, then that
//! record; nothing is left of it, for a mark of each large content that ever was would be read in each sweep.

use std::{
    collections::{HashMap, HashSet},
    io::SeekFrom,
    path::Path,
    time::{Duration, Instant},
};

use async_nats::{
    Client,
    jetstream::{
        self,
        object_store::{GetErrorKind, ObjectStore},
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _, AsyncWriteExt as _};

use super::{
    incoming,
    link::{ANSWER, Fault, Link, Listed, With},
};
use crate::store::{MessageId, StoreError, Timestamp};

/// A content is given up, and asked for anew, when nothing of it has come for so long.
const PIECE: Duration = Duration::from_secs(5);
/// A content may take so long to be kept, and a second more for each MiB.
const PUT: Duration = Duration::from_secs(30);
/// What servers say that have no room: that does not get better by sending more.
const NO_ROOM: [&str; 3] = ["insufficient", "maximum bytes", "no space"];
/// Before it is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// Times that it is asked for.
const TRIES: u32 = 4;
/// Questions that are asked at a time.
const ASKED: usize = 16;

/// See the module.
#[derive(Clone)]
pub(super) struct Objects {
    bucket: String,
    store: ObjectStore,
    link: Link,
}

/// The last record of an object, as far as it matters here.
#[derive(Deserialize)]
struct Meta {
    nuid: String,
    #[serde(default)]
    deleted: bool,
}

fn refused(error: &dyn std::fmt::Display) -> Fault {
    Fault::Unavailable(format!("large contents: {error}"))
}

impl Objects {
    /// Those below this name.
    pub(super) fn bucket(name: &str) -> String {
        format!("{name}-BODIES")
    }

    /// The bucket must be there.
    pub(super) async fn open(client: Client, name: &str) -> Result<Self, Fault> {
        let bucket = Self::bucket(name);
        let mut context = jetstream::new(client.clone());
        // A server that dies answers nothing: that is to be noticed soon.
        context.set_timeout(ANSWER);
        let store = context.get_object_store(&bucket).await.map_err(|error| refused(&error))?;
        let link = Link::open(client, &format!("OBJ_{bucket}")).await?;
        Ok(Self { bucket, store, link })
    }

    fn meta(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.bucket, BASE64_URL_SAFE.encode(name))
    }

    fn pieces(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.bucket)
    }

    /// Keeps a content of so many octets. It is sent again and again until it is there.
    pub(super) async fn put(
        &self,
        id: MessageId,
        octets: &mut (impl AsyncRead + AsyncSeek + Unpin + Send),
        size: u64,
    ) -> Result<(), StoreError> {
        let name = id.to_string();
        let until = Instant::now() + PUT + Duration::from_secs(size >> 20);
        loop {
            octets.seek(SeekFrom::Start(0)).await.map_err(|error| StoreError::Failed(error.to_string()))?;
            let left = until.saturating_duration_since(Instant::now());
            let put = tokio::time::timeout(left, self.store.put(name.as_str(), &mut *octets)).await;
            let error = match put {
                Ok(Ok(info)) if info.size as u64 == size => return Ok(()),
                Ok(Ok(info)) => return Err(StoreError::Failed(format!("{} of {size} octets were kept", info.size))),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it takes too long".to_owned(),
            };
            if NO_ROOM.iter().any(|words| error.contains(words)) {
                return Err(StoreError::Full(error));
            }
            if Instant::now() + AGAIN >= until {
                return Err(StoreError::Failed(format!("a large content can not be kept: {error}")));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// A content, in a file of this folder without a name. It is asked for again if a server dies while it sends it, which says nothing; or if
    /// whoever answers does not know it yet.
    pub(super) async fn get(&self, id: MessageId, size: u64, folder: &Path) -> Result<std::fs::File, StoreError> {
        let mut tries = 1;
        loop {
            match self.try_get(id, size, folder).await {
                Err(StoreError::Failed(_) | StoreError::Unknown(_)) if tries < TRIES => {
                    tokio::time::sleep(AGAIN * tries).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn try_get(&self, id: MessageId, size: u64, folder: &Path) -> Result<std::fs::File, StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Failed(format!("the content of {id}: {error}"));
        let late = |_| failed(&"nothing comes");
        let asked = tokio::time::timeout(PIECE, self.store.get(id.to_string()));
        let mut object = match asked.await.map_err(late)? {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Err(StoreError::Unknown(id.to_string())),
            Err(error) => return Err(failed(&error)),
        };
        let file = incoming::nameless(folder).map_err(|error| failed(&error))?;
        let mut file = tokio::fs::File::from_std(file);
        let (mut copied, mut piece) = (0, vec![0; 64 * 1024]);
        loop {
            let read = tokio::time::timeout(PIECE, object.read(&mut piece)).await;
            let n = read.map_err(late)?.map_err(|error| failed(&error))?;
            let Some(octets) = piece.get(..n).filter(|octets| !octets.is_empty()) else { break };
            file.write_all(octets).await.map_err(|error| failed(&error))?;
            copied += n as u64;
        }
        file.flush().await.map_err(|error| failed(&error))?;
        if copied != size {
            return Err(failed(&format!("{copied} of {size} octets are there")));
        }
        file.seek(SeekFrom::Start(0)).await.map_err(|error| failed(&error))?;
        Ok(file.into_std().await)
    }

    /// Nobody needs these any more. What fails is swept.
    pub(super) fn remove(&self, ids: Vec<MessageId>) {
        if ids.is_empty() {
            return;
        }
        let objects = self.clone();
        tokio::spawn(async move {
            for id in ids {
                if let Err(error) = objects.remove_one(id).await {
                    tracing::debug!(message = %id, ?error, "a large content is left to the sweep");
                }
            }
        });
    }

    async fn remove_one(&self, id: MessageId) -> Result<(), Fault> {
        let meta = self.meta(&id.to_string());
        let Some(found) = self.link.last(&meta).await? else { return Ok(()) };
        self.purge(&meta, serde_json::from_slice(&found.payload).ok()).await
    }

    async fn purge(&self, subject: &str, meta: Option<Meta>) -> Result<(), Fault> {
        if let Some(Meta { nuid, .. }) = meta.filter(|meta| !meta.nuid.is_empty()) {
            self.purge_all(&self.pieces(&nuid)).await?;
        }
        self.purge_all(subject).await
    }

    async fn purge_all(&self, subject: &str) -> Result<(), Fault> {
        let purged = self.link.stream.purge().filter(subject).await;
        purged.map(drop).map_err(|error| refused(&error))
    }

    /// Takes away what was written so many milliseconds ago or earlier and is nobody's: objects of messages that are not among those that
    /// `is_there` knows, and pieces that no object names. How many of both.
    pub(super) async fn sweep<F>(&self, age: u64, is_there: impl Fn(MessageId) -> F) -> Result<usize, Fault>
    where
        F: Future<Output = Result<bool, Fault>>,
    {
        let now = self.link.time().await?;
        let is_old = |written: Timestamp| written + age <= now;
        // First the pieces: one of which the object is written meanwhile is younger than that.
        let pieces = self.link.subjects(&self.pieces("*")).await?;
        let metas = self.link.scan(self.meta_of_all(), With::Payload).await?;
        let seen: HashSet<String> = metas.iter().map(|listed| listed.subject.clone()).collect();
        // Whoever lists them may lack some: those are left alone this time, but they name pieces.
        let unseen = self.link.unseen(&self.meta_of_all(), &seen).await?;
        let mut named: HashSet<String> = HashSet::new();
        let mut old: HashMap<String, (Option<MessageId>, Meta)> = HashMap::new();
        let (mut damaged, mut known) = (None, Vec::new());
        known.extend(
            metas.into_iter().map(|Listed { subject, payload, written, .. }| (subject, payload, is_old(written))),
        );
        known.extend(unseen.into_iter().map(|found| (found.subject, found.payload, false)));
        for (subject, payload, is_old) in known {
            let Ok(meta) = serde_json::from_slice::<Meta>(&payload) else {
                damaged = Some(subject);
                continue;
            };
            let id = self.id(&subject);
            if meta.deleted || (is_old && id.is_some()) {
                old.insert(subject, (id.filter(|_| !meta.deleted), meta));
            } else {
                named.insert(meta.nuid);
            }
        }
        let mut gone = 0;
        for (subject, (id, meta)) in old {
            if let Some(id) = id
                && is_there(id).await?
            {
                named.insert(meta.nuid);
                continue;
            }
            gone += usize::from(!meta.deleted);
            self.purge(&subject, Some(meta)).await?;
        }
        if let Some(subject) = damaged {
            tracing::warn!(
                subject,
                "the record of a large content can not be read; pieces without a name are left where they are"
            );
            return Ok(gone);
        }
        let nameless = pieces.into_iter().filter(|piece| piece.rsplit('.').next().is_some_and(|n| !named.contains(n)));
        let looks: Vec<_> = nameless
            .map(|piece| async move {
                let found = self.link.stream.get_last_raw_message_by_subject(&piece).await.ok()?;
                let written = Timestamp::try_from(found.time.unix_timestamp_nanos() / 1_000_000).ok()?;
                is_old(written).then_some(piece)
            })
            .collect();
        let nameless: Vec<_> =
            stream::iter(looks).buffer_unordered(ASKED).filter_map(std::future::ready).collect().await;
        for piece in nameless {
            self.purge_all(&piece).await?;
            gone += 1;
        }
        Ok(gone)
    }

    fn meta_of_all(&self) -> String {
        format!("$O.{}.M.>", self.bucket)
    }

    /// Of the message whose content this is.
    fn id(&self, subject: &str) -> Option<MessageId> {
        let name = BASE64_URL_SAFE.decode(subject.rsplit('.').next()?).ok()?;
        MessageId::from_string(std::str::from_utf8(&name).ok()?).ok()
    }
}
