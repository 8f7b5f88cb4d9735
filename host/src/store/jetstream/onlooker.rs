//! The store for whoever only reads it, beside nodes or without any: `hermetic queue` where no server answers.
//!
//! Owns a connection, and a node's parts without a node: it never beats, pulls no tickets and writes nothing, so to the others it does
//! not exist. Refuses to make a stream. Fails as the store does.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Core, Placement,
    link::Link,
    manage::Lists,
    objects::Objects,
    open::{OpenError, Settings, connect},
    presence::Presence,
    reports::Reports,
    why::Why,
    work::Work,
};
use crate::store::{Body, Details, EntryId, Filter, MessageId, Page, StoreError, Verdicts, sqlite::Ids};

/// See the module.
pub struct Onlooker(Core);

impl Core {
    /// Of one who is no node. `data` is the folder for large contents on their way.
    pub(super) async fn beside(settings: &Settings, data: &Path, placement: Placement) -> Result<Self, OpenError> {
        let client = connect(settings).await?;
        let link = Link::open(client.clone(), &settings.name).await.map_err(StoreError::from)?;
        let objects = Objects::open(client.clone(), &settings.name).await.map_err(StoreError::from)?;
        let presence = Presence::onlooker(link.clone(), &settings.node, settings.lease);
        let work = Work::new(link.clone(), presence.clone());
        work.closing.store(true, Ordering::Release);
        Ok(Self {
            work,
            why: Why::new(client, &settings.name),
            ids: Ids::after(0),
            counting: tokio::sync::Mutex::default(),
            link,
            presence,
            placement,
            objects,
            unfinished: parking_lot::Mutex::default(),
            lists: Lists::default(),
            reports: Reports::default(),
            data: data.join("store"),
        })
    }
}

impl Onlooker {
    /// `data` is the folder for large contents on their way.
    pub async fn open(settings: &Settings, data: &Path) -> Result<Self, OpenError> {
        Ok(Self(Core::beside(settings, data, Arc::new(|_| None)).await?))
    }

    /// As [`Store::find`](crate::store::Store::find).
    pub async fn find(&self, filter: Filter, after: Option<EntryId>, most: usize) -> Result<Page, StoreError> {
        Ok(self.0.find(&filter, after, most).await?)
    }

    /// As [`Store::show`](crate::store::Store::show).
    pub async fn show(&self, message: MessageId) -> Result<Option<Details>, StoreError> {
        Ok(self.0.show(message).await?)
    }

    /// As [`Store::body`](crate::store::Store::body).
    pub async fn body(&self, message: MessageId) -> Result<Body, StoreError> {
        self.0.body(message).await
    }

    /// As [`Store::verdicts`](crate::store::Store::verdicts).
    pub async fn verdicts(&self, id: &str) -> Result<Vec<Verdicts>, StoreError> {
        Ok(self.0.why.of(id).await?)
    }
}
