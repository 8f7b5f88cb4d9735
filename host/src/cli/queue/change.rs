//! What the verbs that change something have in common: how many are meant, the change batch by batch, and what came of it.
//!
//! Owns the question before many entries are changed, and what is said afterwards. Refuses to go on unasked where
//! nobody can answer. Fails with [`QueueError`]; what was changed by then stays so, and is told.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
};

use clap::Args;

use super::{Context, Output, QueueError, client::Client, counted, select::Target, source::parameters};
use crate::{
    admin::{
        desk::{Operation, WAIT},
        wire::{Came, Count, Each, Selection, Wanted},
    },
    store::{Changed, sqlite::now},
};

/// Ids in one request.
const NAMED: usize = 500;

/// A reason that says something.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let empty = text.chars().all(|c| c.is_whitespace() || c.is_control());
    if empty { Err("say why, for the log and for whoever looks later".into()) } else { Ok(text.to_owned()) }
}

/// How it is to be done.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What to do")]
pub(super) struct How {
    /// Do not ask, whatever number of entries the options choose.
    #[arg(long, short)]
    yes: bool,
    /// Wait so many seconds for entries that are being worked on; what still is then is left alone.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=WAIT))]
    wait: u64,
    /// One JSON object for each entry, with what came of it.
    #[arg(long)]
    json: bool,
}

/// Changes what is meant. `wanted`: the reason, and what else the verb has.
pub(super) async fn run(
    context: &Context<'_>,
    operation: Operation,
    target: &Target,
    how: &How,
    wanted: Wanted,
) -> Result<(), QueueError> {
    let selection = target.selection(now())?;
    let client = Client::reach(context).await??;
    let wanted = Wanted { by: name(), wait: how.wait, ..wanted };
    let mut told = Told { out: Output::patient(), json: how.json, all: selection.is_none(), counts: BTreeMap::new() };
    let path = format!("/v1/queue/{}", operation.as_str());
    let Some(selection) = selection else {
        for ids in target.ids.chunks(NAMED) {
            let wanted = Wanted { entries: Some(ids.to_vec()), ..wanted.clone() };
            told.tell(operation, client.post::<Came>(&path, &wanted, how.wait).await?)?;
        }
        return told.end(operation, wanted.bounce);
    };
    if !how.yes {
        match count(&client, &selection).await? {
            0 => {}
            count => ask(operation, count)?,
        }
    }
    let mut after = None;
    loop {
        let wanted = Wanted { filter: Some(selection.clone()), after, ..wanted.clone() };
        let came = match client.post::<Came>(&path, &wanted, how.wait).await {
            Ok(came) => came,
            Err(error) => {
                // What was changed by then stays so.
                told.end(operation, wanted.bounce)?;
                return Err(error);
            }
        };
        after = came.next.clone();
        told.tell(operation, came)?;
        if after.is_none() {
            return told.end(operation, wanted.bounce);
        }
    }
}

async fn count(client: &Client, selection: &Selection) -> Result<u64, QueueError> {
    let (mut all, mut after) = (0, None::<String>);
    loop {
        let query = parameters(selection, after.as_deref()).finish();
        let part: Count = client.get(&format!("/v1/queue/count?{query}")).await?;
        all += part.count;
        after = part.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Nobody who pipes something into us has read the number.
fn ask(operation: Operation, count: u64) -> Result<(), QueueError> {
    let (entries, verb) = (counted(count, "entry"), operation.as_str());
    if !io::stdin().is_terminal() {
        return Err(QueueError::Asked(format!("that is {entries}; add --yes to {verb} all of that")));
    }
    let mut answer = String::new();
    let mut err = io::stderr();
    let asked = write!(err, "{entries}. {verb} all of that? [y/N] ").and_then(|()| err.flush());
    asked.and_then(|()| io::stdin().read_line(&mut answer)).map_err(super::stdout)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(QueueError::NotDone("nothing was changed".into())),
    }
}

/// Who types this, as the system knows it; behind sudo, who that was.
fn name() -> Option<String> {
    let names = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    names.into_iter().find(|name| !name.is_empty())
}

/// What is told of what came of it.
struct Told {
    out: Output,
    json: bool,
    /// Each entry, not only those that were left alone.
    all: bool,
    counts: BTreeMap<&'static str, u64>,
}

impl Told {
    fn tell(&mut self, operation: Operation, came: Came) -> Result<(), QueueError> {
        for each in came.entries {
            let changed = Changed::ALL.into_iter().find(|changed| changed.as_str() == each.result);
            *self.counts.entry(changed.map_or("of an unknown kind", Changed::as_str)).or_default() += 1;
            let done = changed.is_some_and(|changed| self.is_well(changed));
            if self.json {
                self.out.json(&each)?;
            } else if self.all || !done {
                let Each { entry, result } = &each;
                let said = changed.map_or(result.as_str(), |changed| said(operation, changed));
                self.out.write(|out| writeln!(out, "{entry}: {said}"))?;
            }
        }
        Ok(())
    }

    /// Nothing is left to be done. What a filter chose may be so that it can not be changed, or gone by then.
    fn is_well(&self, changed: Changed) -> bool {
        match changed {
            Changed::Done | Changed::Unneeded => true,
            Changed::Held | Changed::Early | Changed::Gone => !self.all,
            Changed::Leased | Changed::NoSender => false,
        }
    }

    fn end(mut self, operation: Operation, bounce: bool) -> Result<(), QueueError> {
        let of = |changed: Changed| self.counts.get(changed.as_str()).copied().unwrap_or(0);
        let done = of(Changed::Done);
        let unneeded: u64 =
            Changed::ALL.into_iter().filter(|one| *one != Changed::Done && self.is_well(*one)).map(of).sum();
        let left = self.counts.values().sum::<u64>() - done - unneeded;
        if !self.json && !self.all {
            let how = if bounce {
                "dropped; their senders are told, save those who want no news of failures or can not be reached"
            } else {
                past(operation)
            };
            let rest = match unneeded {
                0 => String::new(),
                unneeded => format!(", {unneeded} as they were"),
            };
            self.out.write(|out| writeln!(out, "{} {how}{rest}.", counted(done, "entry")))?;
        }
        self.out.end()?;
        match left {
            0 => Ok(()),
            left => Err(QueueError::NotDone(format!("{} left as it was", counted(left, "entry")))),
        }
    }
}

fn past(operation: Operation) -> &'static str {
    match operation {
        Operation::Retry => "due now",
        Operation::Hold => "held",
        Operation::Release => "released",
        Operation::Drop => "dropped",
    }
}

/// What came of one entry.
fn said(operation: Operation, changed: Changed) -> &'static str {
    match (changed, operation) {
        (Changed::Done, operation) => past(operation),
        (Changed::Unneeded, Operation::Hold) => "is held already",
        (Changed::Unneeded, Operation::Release) => "is not held",
        (Changed::Unneeded, _) => "there is nothing to be done with it",
        (Changed::Leased, _) => "is being worked on just now, and was left alone; try again",
        (Changed::Held, _) => "is held; `hermetic queue release` lets it go",
        (Changed::Early, _) => "waits for the time that its sender has chosen",
        (Changed::NoSender, _) => "has the null reverse-path, so nobody can be told; drop it without --bounce",
        (Changed::Gone, _) => "is not in the queue (any more)",
    }
}
