//! `hermetic plugin`: looks at a plugin and tries it, without a server.
//!
//! Owns what is printed. Refuses to judge a component: that is [`plugin::load`]'s. Fails with one sentence; a plugin
//! that failed during `run` is reported in full and is exit code 1.
//!
//! [`plugin::load`]: crate::plugin::load

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};

use crate::{
    config::{
        HttpHost,
        plugins::{Grants, OnFailure, Plugin as Configured, PluginLimits},
    },
    files,
    plugin::{
        LoadError, Loader, VERSION,
        grants::Need,
        header::{Header, Shown, View, name, value},
        hook::{Edit, Facts, Forward, Hook, Message, Phase, Plugin, Ran, Reason, Scratch, Verdict, Wishes},
        load::Description,
        run::{Level, Note, Notes, Wasm},
    },
};

/// What to do with a plugin.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginCommand {
    /// Show what a plugin is: its hooks, its imports, and the configuration that it needs.
    ///
    /// Nothing of the plugin is run. The last part of what is printed can be pasted into the configuration; it grants
    /// everything that the plugin asks for, so read it first.
    Inspect {
        /// The component.
        file: PathBuf,
    },
    /// Ask a plugin about a message, and show what it says and does.
    ///
    /// The hooks are called as the server would call them: those before the content with one instance, those after it
    /// with another. What the plugin keeps in its database is forgotten at the end.
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArguments>),
}

const RUN_HELP: &str = "\
Examples:
  hermetic plugin run greylist.wasm --grant keyvalue --rcpt anna@example.org
  hermetic plugin run rules.wasm --hook recipient-message --grant edit \\
      --settings rules.toml --rcpt anna@example.org --message mail.eml

Exit code 1 if a call failed: a trap, a deadline, too much memory or too many calls.";

/// One try.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// The component.
    file: PathBuf,
    /// Call this hook: connection, sender, recipient, message, recipient-message, delivery or report. Several are called
    /// in the order of a message. None: all that the plugin has, but for delivery and report.
    #[arg(long, value_name = "HOOK", value_parser = hook)]
    hook: Vec<Hook>,
    /// The reverse-path; empty: the null reverse-path.
    #[arg(long, value_name = "ADDRESS", default_value = "sender@example.com")]
    from: String,
    /// A recipient; may be given several times.
    #[arg(long, value_name = "ADDRESS", default_value = "recipient@example.org")]
    rcpt: Vec<String>,
    /// The message. Line ends may be LF. None: a short one.
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// The client's address.
    #[arg(long, value_name = "IP", default_value = "192.0.2.1")]
    client: IpAddr,
    /// What the client said in EHLO.
    #[arg(long, value_name = "NAME", default_value = "client.example.com")]
    hello: String,
    /// The login.
    #[arg(long, value_name = "LOGIN")]
    identity: Option<String>,
    /// Grant something: edit, quarantine, keyvalue, keyvalue=OCTETS, forwarding (any domain) or forwarding=DOMAIN.
    #[arg(long, value_name = "GRANT")]
    grant: Vec<String>,
    /// The plugin's settings: a TOML file, as below `[plugin.settings]`.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Show every call of the host, and how long it took.
    #[arg(long)]
    calls: bool,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The component.
    #[error("{}: {error}", file.display())]
    Load {
        /// Which.
        file: PathBuf,
        /// Why.
        error: LoadError,
    },
    /// A file of the command line.
    #[error("{}: {problem}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// Threads.
    #[error("nothing to run on: {0}")]
    Runtime(#[from] io::Error),
    /// The plugin's fault.
    #[error("the plugin failed")]
    Failed,
}

fn hook(text: &str) -> Result<Hook, String> {
    let names = || Hook::ALL.map(Hook::as_str).join(", ");
    Hook::ALL.into_iter().find(|hook| hook.as_str() == text).ok_or_else(|| format!("there are {}", names()))
}

/// Does what the command line says. What there is to read is given to `print`.
pub(super) fn run(command: &PluginCommand, print: impl Fn(&str) -> io::Result<()>) -> Result<(), PluginError> {
    match command {
        PluginCommand::Inspect { file } => {
            let kept = Kept::new()?;
            let description = kept.loader().and_then(|loader| loader.describe(file));
            let description = description.map_err(|error| PluginError::Load { file: file.clone(), error })?;
            Ok(print(&inspected(file, &description))?)
        }
        PluginCommand::Run(arguments) => {
            let kept = Kept::new()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let (text, failed) = runtime.block_on(try_out(arguments, &kept))?;
            print(&text)?;
            if failed { Err(PluginError::Failed) } else { Ok(()) }
        }
    }
}

/// Compiled components stay for the next time; what plugins write goes at the end.
struct Kept {
    compiled: PathBuf,
    written: PathBuf,
}

impl Kept {
    fn new() -> io::Result<Self> {
        let written = std::env::temp_dir().join(format!("hermetic-plugin-{:016x}", rand::random::<u64>()));
        files::make_private_folder(&written)?;
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        let compiled = caches.map_or_else(|| written.join("compiled"), |caches| caches.join("hermetic-plugins"));
        Ok(Self { compiled, written })
    }

    fn loader(&self) -> Result<Loader, LoadError> {
        Loader::apart(&self.compiled, &self.written)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It is in the system's folder for what is temporary, where it would not stay for ever.
        let _ = fs::remove_dir_all(&self.written);
    }
}

fn inspected(file: &Path, description: &Description) -> String {
    let Description { hash, size, hooks, imports } = description;
    let mut text = format!("{}: a plugin for version {VERSION} of hermetic:plugin, {size} octets\n", file.display());
    let _ = writeln!(text, "SHA-256 {hash}\n\nHooks");
    for hook in hooks {
        let _ = writeln!(text, "  {}", hook.as_str());
    }
    text.push_str("\nImports\n");
    if imports.is_empty() {
        text.push_str("  none\n");
    }
    let width = imports.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, need) in imports {
        let what = match need {
            Need::Nothing => "",
            Need::Grant(_) => "needs a grant",
            Need::Inert => "gives nothing",
            Need::OtherVersion => "another version: can not be loaded",
            Need::Unknown => "unknown: can not be loaded",
        };
        let _ = writeln!(text, "{}", format!("  {name:width$}  {what}").trim_end());
    }
    let stem = file.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy().into_owned());
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let _ = write!(
        text,
        "\nTo use it, write\n\n[[plugin]]\nname = {}\nfile = {}\nsha256 = \"{hash}\"\n",
        quoted(&stem),
        quoted(&file.display().to_string())
    );
    let mut grants: Vec<_> = imports
        .iter()
        .filter_map(|(_, need)| match need {
            Need::Grant(grant) => Some(*grant),
            _ => None,
        })
        .collect();
    grants.sort();
    if !grants.is_empty() {
        text.push_str("\n[plugin.grants]\n");
        for grant in grants {
            let _ = writeln!(text, "{}  # {}", grant.example(), grant.meaning());
        }
    }
    text
}

fn granted(grants: &[String]) -> Result<Grants, PluginError> {
    let mut granted = Grants::default();
    for grant in grants {
        let (name, value) = grant.split_once('=').map_or((&**grant, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("edit", None) => granted.edit = true,
            ("quarantine", None) => granted.quarantine = true,
            ("resolver", None) => granted.resolver = true,
            ("http", Some(server)) => {
                server.parse::<HttpHost>().map_err(|problem| PluginError::Usage(format!("--grant http: {problem}")))?;
                granted.http.push(server.to_owned());
            }
            ("forwarding", domain) => granted.forwarding.push(domain.unwrap_or("*").to_owned()),
            ("keyvalue", None) => granted.keyvalue = 1 << 20,
            ("keyvalue", Some(octets)) => {
                let number = octets.parse().map_err(|_| PluginError::Usage(format!("--grant {grant}: no number")));
                granted.keyvalue = number?;
            }
            _ => {
                return Err(PluginError::Usage(format!(
                    "--grant {grant}: there are edit, quarantine, keyvalue, keyvalue=OCTETS, forwarding, forwarding=DOMAIN, resolver and http=SERVER"
                )));
            }
        }
    }
    Ok(granted)
}

fn configured(arguments: &RunArguments) -> Result<Configured, PluginError> {
    let settings: BTreeMap<String, toml::Value> = match &arguments.settings {
        None => BTreeMap::new(),
        Some(file) => {
            let problem = |problem: String| PluginError::File { file: file.clone(), problem };
            let text = fs::read_to_string(file).map_err(|error| problem(error.to_string()))?;
            toml::from_str(&text).map_err(|error| problem(error.to_string()))?
        }
    };
    Ok(Configured {
        name: arguments.file.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy().into_owned()),
        file: arguments.file.clone(),
        sha256: None,
        grants: granted(&arguments.grant)?,
        limits: PluginLimits::default(),
        on_failure: OnFailure::Defer,
        postmaster: false,
        settings,
    })
}

/// With CRLF, as a server gets it.
fn content(file: Option<&Path>) -> Result<Vec<u8>, PluginError> {
    let Some(file) = file else {
        return Ok(
            b"From: sender@example.com\r\nTo: recipient@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n".to_vec()
        );
    };
    let octets = fs::read(file)
        .map_err(|error| PluginError::File { file: file.to_owned(), problem: format!("can not be read: {error}") })?;
    let mut content = Vec::with_capacity(octets.len() + octets.len() / 32);
    for octet in octets {
        if octet == b'\n' && content.last() != Some(&b'\r') {
            content.push(b'\r');
        }
        content.push(octet);
    }
    Ok(content)
}

/// The report, and whether a call failed.
async fn try_out(arguments: &RunArguments, kept: &Kept) -> Result<(String, bool), PluginError> {
    let configured = configured(arguments)?;
    let loaded = kept.loader().and_then(|loader| loader.load_wasm(&configured));
    let plugin = loaded.map_err(|error| PluginError::Load { file: arguments.file.clone(), error })?;
    let hooks: Vec<Hook> = if arguments.hook.is_empty() {
        plugin.hooks().iter().copied().filter(|hook| !matches!(hook, Hook::Delivery | Hook::Report)).collect()
    } else {
        Hook::ALL.into_iter().filter(|hook| arguments.hook.contains(hook)).collect()
    };
    if let Some(missing) = hooks.iter().find(|hook| !plugin.hooks().contains(hook)) {
        let has: Vec<_> = plugin.hooks().iter().map(|hook| hook.as_str()).collect();
        return Err(PluginError::Usage(format!(
            "the plugin has no hook {}; it has {}",
            missing.as_str(),
            has.join(", ")
        )));
    }
    let content = content(arguments.message.as_deref())?;
    let mut trial = Trial::new(arguments, plugin, content);
    for hook in hooks {
        trial.call(hook).await;
    }
    Ok(trial.finish())
}

/// A transaction that is made up.
struct Trial<'a> {
    arguments: &'a RunArguments,
    plugin: Arc<Wasm>,
    facts: Arc<Facts>,
    scratch: Scratch,
    message: Arc<Message>,
    notes: Notes,
    /// Before and after the content.
    phases: [Option<Box<dyn Phase>>; 2],
    wishes: Vec<Wishes>,
    report: String,
    failed: bool,
}

impl<'a> Trial<'a> {
    fn new(arguments: &'a RunArguments, plugin: Arc<Wasm>, content: Vec<u8>) -> Self {
        let eight_bit = !content.is_ascii();
        let facts = Facts {
            transaction_id: ulid::Ulid::new().to_string(),
            listener: "mx".into(),
            listener_kind: "mx".into(),
            client_address: Some(arguments.client),
            client_name: None,
            hello_name: Some(arguments.hello.clone()),
            identity: arguments.identity.clone(),
            tls_version: None,
            reverse_path: Some(arguments.from.clone()),
            body_type: if eight_bit { "8BITMIME" } else { "7BIT" }.into(),
            smtputf8: !arguments.from.is_ascii() || arguments.rcpt.iter().any(|to| !to.is_ascii()),
            message_size: content.len() as u64,
            ..Facts::default()
        };
        let prefix = format!("Return-Path: <{}>\r\n", arguments.from).into_bytes();
        Self {
            arguments,
            plugin,
            facts: Arc::new(facts),
            scratch: Scratch::default(),
            message: Arc::new(Message { prefix, content }),
            notes: Notes::default(),
            phases: [None, None],
            wishes: vec![Wishes::default(); arguments.rcpt.len()],
            report: String::new(),
            failed: false,
        }
    }

    async fn call(&mut self, hook: Hook) {
        let after = usize::from(!matches!(hook, Hook::Connection | Hook::Sender | Hook::Recipient));
        let recipients = self.arguments.rcpt.clone();
        if matches!(hook, Hook::Connection | Hook::Sender | Hook::Message) {
            let mut wishes = Wishes::default();
            let ran = self.ask(after, hook, None, &recipients, &mut wishes).await;
            self.tell(hook, None, &ran);
            for one in &mut self.wishes {
                one.edits.extend(wishes.edits.iter().cloned());
            }
            return;
        }
        for (place, to) in recipients.iter().enumerate() {
            let forward = Forward { forward_path: to.clone(), mailbox: Some(to.clone()) };
            let accepted = if hook == Hook::Recipient { &recipients[..place] } else { &recipients[..] };
            let mut wishes = std::mem::take(&mut self.wishes[place]);
            let ran = self.ask(after, hook, Some(&forward), accepted, &mut wishes).await;
            self.wishes[place] = wishes;
            self.tell(hook, Some(to), &ran);
        }
    }

    async fn ask(
        &mut self,
        after: usize,
        hook: Hook,
        forward: Option<&Forward>,
        recipients: &[String],
        wishes: &mut Wishes,
    ) -> Ran {
        let message = (after == 1).then(|| Arc::clone(&self.message));
        let (facts, scratch, notes) = (Arc::clone(&self.facts), Arc::clone(&self.scratch), Arc::clone(&self.notes));
        let phase =
            self.phases[after].get_or_insert_with(|| self.plugin.watched_phase(facts, scratch, message, Some(notes)));
        phase.call(hook, forward, recipients, wishes).await
    }

    fn tell(&mut self, hook: Hook, to: Option<&str>, ran: &Ran) {
        let to = to.map(|to| format!(" for {to}")).unwrap_or_default();
        let _ = writeln!(self.report, "{}{to}: {}", hook.as_str(), verdict(hook, &ran.verdict));
        if let Some(failure) = &ran.failure {
            self.failed = true;
            let _ = writeln!(self.report, "  failed: {failure}");
        }
        let notes = std::mem::take(&mut *self.notes.lock());
        let calls = notes.iter().filter(|note| matches!(note, Note::Call(..))).count();
        for note in &notes {
            let _ = match note {
                Note::Log(level, line) => {
                    let level = match level {
                        Level::Debug => "debug",
                        Level::Info => "info",
                        Level::Warn => "warn",
                    };
                    writeln!(self.report, "  {level}: {line}")
                }
                Note::Call(name, time) if self.arguments.calls => writeln!(self.report, "  {name}  {time:.1?}"),
                Note::Call(..) => Ok(()),
            };
        }
        let _ =
            writeln!(self.report, "  {:.1?}, {} KiB of memory, {calls} calls of the host", ran.time, ran.memory / 1024);
    }

    fn finish(mut self) -> (String, bool) {
        for (to, wishes) in self.arguments.rcpt.iter().zip(&self.wishes) {
            let mut lines = difference(&self.message.content, &wishes.edits);
            if let Some(others) = &wishes.redirect {
                lines.push(format!("redirected to {}", others.join(", ")));
            }
            if !wishes.add.is_empty() {
                lines.push(format!("also to {}", wishes.add.join(", ")));
            }
            if let Some(why) = &wishes.quarantine {
                lines.push(format!("kept aside: {why}"));
            }
            if !lines.is_empty() {
                let _ = write!(self.report, "\nThe copy for {to}\n  {}\n", lines.join("\n  "));
            }
        }
        (self.report, self.failed)
    }
}

fn verdict(hook: Hook, verdict: &Verdict) -> String {
    let reply = |class: u8, code: u16, Reason { subject, detail, text }: &Reason| {
        format!("{code} {class}.{subject}.{detail} {text}")
    };
    match verdict {
        Verdict::Proceed => "proceed".into(),
        Verdict::Accept if hook == Hook::Delivery => "delivered".into(),
        Verdict::Accept => "accept".into(),
        Verdict::Discard => "discard".into(),
        Verdict::Defer(reason) => format!("defer: {}", reply(4, 451, reason)),
        Verdict::Reject(reason) => format!("reject: {}", reply(5, 550, reason)),
    }
}

/// The fields that edits change, as lines of a diff.
fn difference(content: &[u8], edits: &[Edit]) -> Vec<String> {
    let header = Header::of(content);
    let [before, after] = [&[][..], edits].map(|edits| View::new(&header, content, edits));
    let line = |sign: char, shown: &Shown| {
        let name = name(shown, content).unwrap_or_default();
        format!("{sign} {name}: {}", String::from_utf8_lossy(&value(shown, content)))
    };
    let at = |view: &View, id: u32| view.fields().iter().find(|(one, _)| *one == id).map(|(_, shown)| shown.clone());
    let mut lines = Vec::new();
    let removed = before.fields().iter().filter(|(id, _)| at(&after, *id).is_none());
    lines.extend(removed.map(|(_, shown)| line('-', shown)));
    for (id, shown) in after.fields() {
        match at(&before, *id) {
            Some(old) if old == *shown => {}
            Some(old) => lines.extend([line('-', &old), line('+', shown)]),
            None => lines.push(line('+', shown)),
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_of_edits() {
        let content = b"A: 1\r\nB: 2\r\nC: 3\r\n\r\n";
        let edits = [
            Edit::Prepend(3, "X".into(), "y".into()),
            Edit::Replace(1, "new".into()),
            Edit::Remove(2),
            Edit::Append(4, "Z".into(), "gone".into()),
            Edit::Remove(4),
        ];
        assert_eq!(difference(content, &edits), ["- C: 3", "+ X: y", "- B: 2", "+ B: new"]);
        assert!(difference(content, &[]).is_empty());
    }

    #[test]
    fn grants_on_the_command_line() {
        let given = ["edit", "forwarding=example.org", "keyvalue=10"].map(str::to_owned);
        let expected = Grants { edit: true, forwarding: vec!["example.org".into()], keyvalue: 10, ..Grants::default() };
        assert_eq!(granted(&given).unwrap(), expected);
        for wrong in ["fly", "edit=1", "keyvalue=many"] {
            assert!(granted(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
