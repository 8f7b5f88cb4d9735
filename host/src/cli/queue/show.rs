//! `hermetic queue show`.
//!
//! Owns how a message is shown to people. Refuses to show what a terminal would obey. Fails with [`QueueError`].

use std::io::{self, Write};

use clap::Args;

use super::{Context, Output, QueueError, print_entry, safe, source::Source, time};
use crate::admin::wire::{self, Message, Recipient};

/// Show a message: its envelope, its recipients with all that is known, and its header.
///
/// Recipients that are done are not shown any more; `hermetic queue why` may know of them.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// A message, or one of its entries.
    id: String,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), QueueError> {
        let (id, _) = wire::message_or_entry(&self.id).map_err(QueueError::Asked)?;
        let message = Source::open(context).await?.show(id).await?;
        let mut out = Output::new();
        if self.json {
            out.json(&message)?;
        } else {
            out.write(|out| print(out, &message))?;
        }
        out.end()
    }
}

fn print(out: &mut dyn Write, message: &Message) -> io::Result<()> {
    let m = message;
    writeln!(out, "message {}, {} octets, received {}", m.id, m.size, time(m.received_at))?;
    let mut parameters = vec![m.body.clone()];
    parameters
        .extend([("smtputf8", m.smtputf8), ("requiretls", m.require_tls)].iter().filter(|p| p.1).map(|p| p.0.into()));
    let given = [("ret", &m.ret), ("envid", &m.envid), ("auth", &m.submitter)];
    parameters.extend(given.iter().filter_map(|(name, value)| Some(format!("{name} {}", safe(value.as_ref()?)))));
    parameters.extend(m.not_before.map(|at| format!("not before {}", time(at))));
    let late = if m.returns { ", or back" } else { "" };
    parameters.extend(m.deliver_by.map(|at| format!("there by {}{late}", time(at))));
    if m.priority != 0 {
        parameters.push(format!("priority {}", m.priority));
    }
    writeln!(out, "  from      {} ({})", m.reverse_path, parameters.join(", "))?;
    let mut client = vec![m.client.clone().unwrap_or_else(|| "local".into())];
    let said = [("which called itself", &m.hello), ("logged in as", &m.identity), ("by", &m.tls)];
    client.extend(said.iter().filter_map(|(name, value)| Some(format!("{name} {}", safe(value.as_ref()?)))));
    writeln!(out, "  client    {}", client.join(", "))?;
    // A notice of our own has none.
    if !m.session.is_empty() {
        writeln!(out, "  session   {} at {}", m.session, m.listener)?;
    }
    writeln!(out, "\nRecipients")?;
    m.recipients.iter().try_for_each(|recipient| print_recipient(out, recipient))?;
    writeln!(out, "\nHeader")?;
    m.header.lines().try_for_each(|line| writeln!(out, "  {}", safe(&line.replace('\t', "    "))))
}

fn print_recipient(out: &mut dyn Write, recipient: &Recipient) -> io::Result<()> {
    print_entry(out, &recipient.entry)?;
    let mut more = vec![match &recipient.mailbox {
        Some(mailbox) => format!("for the mailbox {mailbox}"),
        None => "for another server".into(),
    }];
    if let Some(notify) = &recipient.notify {
        let wanted = if notify.is_empty() { "never".into() } else { notify.join(" ") };
        more.push(format!("notify {wanted}"));
    }
    more.extend(recipient.orcpt.iter().map(|orcpt| format!("originally {}", safe(orcpt))));
    if recipient.sent_on {
        more.push("sent on by a plugin".into());
    }
    if recipient.edits > 0 {
        more.push(format!("header changed in {} places", recipient.edits));
    }
    if recipient.late {
        more.push("its sender knows that it is late".into());
    }
    writeln!(out, "    {}", more.join("; "))
}
