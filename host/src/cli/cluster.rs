//! `hermetic cluster`: the nodes that share one store, and the servers that keep it.
//!
//! Owns what is shown. Refuses to change records itself: a node that is to drain is told by a record of its own. Fails with one
//! sentence.

use std::{fmt::Write as _, io};

use clap::Subcommand;

use super::{
    import::{self, ImportError},
    keep, reach, time,
};
use crate::{
    config::Config,
    store::jetstream::{self, OpenError, Status},
};

/// What can be done.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Show nodes, what they work on, streams, copies and whether the servers sync.
    ///
    /// Looks for half a lease, to see who is alive. Changes nothing.
    Status {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Have a node take no more entries, so that it can be stopped without a wait.
    ///
    /// What it works on it ends. New mail it still accepts, and others deliver it. `hermetic cluster resume` ends that.
    Drain {
        /// The node; otherwise that of the configuration.
        node: Option<String>,
    },
    /// Bring the mail of this machine's SQLite store to the cluster.
    ///
    /// For a server whose store.kind was "sqlite" until now, and which does not run. What waits and what is held is moved, with its attempts
    /// so far; each message is taken out here when it is there. If it is interrupted, run it again before you go back to SQLite: it
    /// goes on where it was, and moves nothing twice.
    Import,
    /// Have a node take entries again.
    Resume {
        /// The node; otherwise that of the configuration.
        node: Option<String>,
    },
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    #[error("this server keeps its mail on this machine; store.kind = \"jetstream\" makes it a node of a cluster")]
    Alone,
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Thread(#[from] reach::NotReady),
    #[error("can not write: {0}")]
    Output(#[from] io::Error),
    #[error("can not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

pub(super) fn run(
    command: &ClusterCommand,
    config: &Config,
    print: impl Fn(&str) -> io::Result<()>,
) -> Result<(), ClusterError> {
    let settings = keep::settings(config).ok_or(ClusterError::Alone)?;
    match command {
        ClusterCommand::Status { json } => {
            let status = reach::block_on(jetstream::status(&settings))??;
            let text = if *json { serde_json::to_string(&status)? + "\n" } else { shown(&status) };
            Ok(print(&text)?)
        }
        ClusterCommand::Import => Ok(reach::block_on(import::run(config, &settings, print))??),
        ClusterCommand::Drain { node } | ClusterCommand::Resume { node } => {
            let node = node.clone().unwrap_or_else(|| config.node());
            let drain = matches!(command, ClusterCommand::Drain { .. });
            reach::block_on(jetstream::drain(&settings, &node, drain))??;
            Ok(print(&match drain {
                true => format!("{node} takes no more entries\n"),
                false => format!("{node} takes entries again\n"),
            })?)
        }
    }
}

fn shown(status: &Status) -> String {
    let mut text = String::from("Nodes\n");
    for seen in &status.nodes {
        let node = &seen.node;
        let state = match (seen.alive, node.fenced, node.draining) {
            (_, true, _) => "stopped",
            (false, ..) => "silent",
            (true, _, true) => "draining",
            (true, ..) => "alive",
        };
        let _ = writeln!(
            text,
            "  {}  {state}, works on {}, hermetic {}, since {}",
            node.node,
            node.leases,
            node.program,
            time(node.since)
        );
    }
    text.push_str("\nWaiting\n");
    let mut waiting: Vec<_> = status.waiting.iter().collect();
    waiting.sort();
    for (name, n) in waiting {
        let _ = writeln!(text, "  {name}  {n}");
    }
    text.push_str("\nStreams\n");
    for stream in &status.streams {
        if let Some(trouble) = &stream.trouble {
            let _ = writeln!(text, "  {}  not seen: {trouble}", stream.name);
            continue;
        }
        let leader = stream.leader.as_deref().unwrap_or("nobody");
        let _ =
            writeln!(text, "  {}  {} records, {} octets, led by {leader}", stream.name, stream.records, stream.octets);
        for (name, current, lag) in &stream.replicas {
            let state = if *current { "up to date".to_owned() } else { format!("behind by {lag}") };
            let _ = writeln!(text, "    {name}  {state}");
        }
    }
    let _ = writeln!(text, "\nSync\n  {}", status.sync);
    text
}
