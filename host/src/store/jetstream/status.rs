//! What is seen of a cluster, by whoever is no node of it.
//!
//! Owns what `hermetic cluster` and `hermetic check` tell. Refuses to change anything but an operator's wish that a node drain. Fails with
//! [`OpenError`]; what can not be seen is told as such, since that is when it is looked at most.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream;

use super::{
    link::Link,
    open::{Durability, OpenError, Settings, ask, connect, keepers, verify},
    presence::Presence,
    record::Node,
    why::Why,
};
use crate::store::StoreError;

/// What `hermetic cluster status` shows.
#[derive(Debug, serde::Serialize)]
pub struct Status {
    /// All nodes that ever were.
    pub nodes: Vec<Seen>,
    /// The streams.
    pub streams: Vec<StreamStatus>,
    /// Tickets that wait: of all nodes, and of each.
    pub waiting: HashMap<String, u64>,
    /// Where the servers say how they sync, or why that is not known.
    pub sync: String,
}

/// A node as it is seen from here.
#[derive(Debug, serde::Serialize)]
pub struct Seen {
    /// Its record.
    #[serde(flatten)]
    pub node: Node,
    /// It has beaten while this was looked at.
    pub alive: bool,
}

/// A stream as it is.
#[derive(Debug, serde::Serialize)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Records, and octets.
    pub records: u64,
    /// See `records`.
    pub octets: u64,
    /// Why nothing is known of it.
    pub trouble: Option<String>,
    /// The server that leads.
    pub leader: Option<String>,
    /// The others: name, whether it is up to date, how many records it lacks.
    pub replicas: Vec<(String, bool, u64)>,
}

impl StreamStatus {
    fn unseen(name: String, trouble: String) -> Self {
        Self { name, records: 0, octets: 0, trouble: Some(trouble), leader: None, replicas: Vec::new() }
    }
}

/// Looks at nodes and servers for as long as a node may be silent; changes nothing.
pub async fn status(settings: &Settings) -> Result<Status, OpenError> {
    let client = connect(settings).await?;
    let context = jetstream::new(client.clone());
    let link = Link::open(client, &settings.name).await.map_err(StoreError::from)?;
    let mut streams = Vec::new();
    let mut waiting = HashMap::new();
    let mut keep = Vec::new();
    for name in [settings.name.clone(), format!("{}-WHY", settings.name), format!("OBJ_{}-BODIES", settings.name)] {
        // What can not be seen is when it is looked at most.
        let stream = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) => {
                streams.push(StreamStatus::unseen(name, error.to_string()));
                continue;
            }
        };
        let info = stream.cached_info().clone();
        if name == settings.name {
            keep = keepers(&info);
            let mut consumers = stream.consumers();
            while let Some(consumer) = futures_util::StreamExt::next(&mut consumers).await {
                let Ok(consumer) = consumer else { break };
                if consumer.config.durable_name.is_some() {
                    waiting.insert(consumer.name.clone(), consumer.num_pending + consumer.num_ack_pending as u64);
                }
            }
        }
        let cluster = info.cluster.as_ref();
        streams.push(StreamStatus {
            name,
            trouble: None,
            records: info.state.messages,
            octets: info.state.bytes,
            leader: cluster.and_then(|cluster| cluster.leader.clone()),
            replicas: cluster.map_or_else(Vec::new, |cluster| {
                let one = |peer: &jetstream::stream::PeerInfo| (peer.name.clone(), peer.current, peer.lag.unwrap_or(0));
                cluster.replicas.iter().map(one).collect()
            }),
        });
    }
    let first = Presence::nodes(&link).await.unwrap_or_default();
    let wait = first.iter().filter(|(node, _)| !node.fenced).map(|(node, _)| node.lease).max().unwrap_or(0);
    // A beat comes in each fifth of a lease.
    tokio::time::sleep(Duration::from_millis((wait / 2).min(30_000))).await;
    let second = Presence::nodes(&link).await.unwrap_or_default();
    let alive = |node: &Node, sequence: u64| !node.fenced && !first.iter().any(|(_, before)| *before == sequence);
    let nodes = second.into_iter().map(|(node, sequence)| Seen { alive: alive(&node, sequence), node }).collect();
    let sync = match &settings.durability {
        Durability::Checked(monitors) => match verify(monitors, &keep).await {
            Ok(()) => "always, as their monitoring ports say".to_owned(),
            Err(error) => error.to_string(),
        },
        Durability::Declared => "always, as store.sync declares".to_owned(),
        Durability::Weak => "weak, as store.sync wants it: mail that was answered 250 may be lost".to_owned(),
    };
    Ok(Status { nodes, streams, waiting, sync })
}

/// How recipients were judged, as [`crate::store::Store::verdicts`], without a node.
pub async fn verdicts(settings: &Settings, id: &str) -> Result<Vec<crate::store::Verdicts>, OpenError> {
    let why = Why::new(connect(settings).await?, &settings.name);
    Ok(why.of(id).await.map_err(StoreError::from)?)
}

/// Has a node take no more entries, or take them again.
pub async fn drain(settings: &Settings, node: &str, drain: bool) -> Result<(), OpenError> {
    let link = Link::open(connect(settings).await?, &settings.name).await.map_err(StoreError::from)?;
    let known = Presence::nodes(&link).await.map_err(StoreError::from)?;
    if !known.iter().any(|(known, _)| known.node == node) {
        let names: Vec<_> = known.into_iter().map(|(known, _)| known.node).collect();
        return Err(OpenError::Servers(format!("there is no node {node:?}; known are: {}", names.join(", "))));
    }
    Ok(Presence::wish(&link, node, drain).await.map_err(StoreError::from)?)
}

/// For `hermetic check`: what is found where the configuration points, one line each; changes nothing.
pub async fn look(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    match connect(settings).await {
        Ok(client) => {
            let info = client.server_info();
            let enough = if client.is_server_compatible(2, 12, 0) { "" } else { ", which is too old: 2.12 is needed" };
            found.push(format!("{} answers: nats-server {}{enough}", info.server_name, info.version));
            let jetstream = jetstream::new(client).query_account().await;
            match jetstream {
                Ok(account) => found.push(format!("JetStream has {} streams for this login", account.streams)),
                Err(error) => found.push(format!("JetStream is not there for this login: {error}")),
            }
        }
        Err(error) => found.push(format!("not reached: {error}")),
    }
    match &settings.durability {
        Durability::Checked(monitors) => {
            for url in monitors {
                found.push(match ask(url).await {
                    Ok(varz) => {
                        let how = match varz.syncs() {
                            true => "syncs what it acknowledges",
                            false => "does NOT sync what it acknowledges; set `sync_interval: always`",
                        };
                        format!("{} ({url}, {}) {how}", varz.server_name, varz.version)
                    }
                    Err(error) => format!("{url} can not be asked whether it syncs: {error}"),
                });
            }
        }
        Durability::Declared => {
            found.push("that they sync what they acknowledge is declared, and not looked at".into())
        }
        Durability::Weak => {
            found.push("whether they sync does not matter to you: mail that was answered 250 may be lost".into());
        }
    }
    found
}
