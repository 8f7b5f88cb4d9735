//! `hermetic send`: hands a message to a server, as the server itself would, for scripts and for people who look for faults.
//!
//! Owns the envelope as it is typed, who is asked for the password, and the exit code. Refuses to speak SMTP: the
//! dialogue is the sealed engine's, with the server's own connections, routes and rules for TLS. Fails by [`SendError`]
//! where nothing was tried; otherwise every recipient has an outcome.

mod attempt;
mod message;
mod notes;
mod report;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};

use self::{
    attempt::{Group, Job},
    message::MessageArguments,
    report::{Report, Wanted},
};
use super::{
    reach::{self, Means},
    user,
};
use crate::{
    config::{
        Config, domain,
        outbound::{NamedHost, Security, named_host},
    },
    engine::{
        client::{ForwardPath, HostName, Mailbox, Notify, OriginalRecipient, Protocol, Recipient},
        types::ReturnContent,
    },
};

/// Holds the password, if no file does.
const VARIABLE: &str = "HERMETIC_PASSWORD";
/// The command line is wrong.
const USAGE: u8 = 2;

/// The envelope, the way and the message.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER)]
pub struct SendArguments {
    /// The sender; `<>`: the null reverse-path. The local part is written without quotes.
    #[arg(long, short, value_name = "ADDRESS")]
    from: String,
    /// A recipient; may be given several times. `postmaster` needs no domain.
    #[arg(long, short, value_name = "ADDRESS", required = true)]
    to: Vec<String>,
    /// Send to this server: `mail.example.org` (port 25), `mail.example.org:587`, `192.0.2.1:25`, or `unix:/run/lmtp`.
    /// Without it, each recipient's domain is looked up (MX), as `hermetic serve` does it.
    #[arg(long, short, value_name = "SERVER")]
    server: Option<String>,
    /// Speak LMTP.
    #[arg(long)]
    lmtp: bool,
    /// How the connection is protected, in the words of `[[destination]]`: `published` (DANE, MTA-STS, else TLS where it is
    /// offered), `none`, `opportunistic`, `encrypted`, `verified`, `dane` [default: published; with --server, opportunistic; with
    /// --login, verified, unless --plaintext-login is given].
    #[arg(long, value_name = "HOW", value_parser = security)]
    tls: Option<Security>,
    /// TLS from the first octet on, as on port 465.
    #[arg(long)]
    implicit_tls: bool,
    /// Log in as this user, at the server that --server names. The password is the first line of --password-file,
    /// HERMETIC_PASSWORD, or asked for; without --tls it goes only to a server whose certificate this machine trusts.
    #[arg(long, value_name = "USER")]
    login: Option<String>,
    /// The password's file; `-`: standard input.
    #[arg(long, value_name = "FILE", requires = "login")]
    password_file: Option<PathBuf>,
    /// Say the password without TLS, too, and without --tls whatever the certificate.
    #[arg(long, requires = "login")]
    plaintext_login: bool,
    /// Our name, for EHLO [default: that of the configuration].
    #[arg(long, value_name = "NAME")]
    hello: Option<String>,
    /// Connect from this address.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// How long a connection and each answer may take, seconds [default: as RFC 5321 says, minutes].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
    /// Say one command after the other, whatever is offered.
    #[arg(long)]
    no_pipelining: bool,
    /// Send by DATA, even if BDAT is offered.
    #[arg(long)]
    no_chunking: bool,
    /// Want one answer for all recipients, even if PRDR is offered.
    #[arg(long)]
    no_prdr: bool,
    /// An EHLO keyword that counts as not offered; may be given several times.
    #[arg(long, value_name = "KEYWORD")]
    ignore: Vec<String>,
    /// Which notices are wanted (DSN).
    #[arg(long, value_name = "WHEN", value_delimiter = ',')]
    notify: Vec<Wish>,
    /// How much of the message a notice returns.
    #[arg(long, value_name = "HOW")]
    ret: Option<Returned>,
    /// The envelope's identifier, for notices.
    #[arg(long, value_name = "ID")]
    envid: Option<String>,
    /// The original recipient, such as `rfc822;anna@example.org`; once for each --to.
    #[arg(long, value_name = "TYPE;ADDRESS")]
    orcpt: Vec<String>,
    /// Not without TLS, all the way (REQUIRETLS).
    #[arg(long)]
    require_tls: bool,
    #[command(flatten)]
    message: MessageArguments,
    /// Show when what was reached.
    #[arg(long)]
    timings: bool,
    /// Show what was said: `C:` is us, `S:` the server, `--` what happened. Passwords are not shown.
    #[arg(long)]
    transcript: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

const AFTER: &str = "\
Exit codes:
  0  every recipient was accepted
  1  nothing was sent: a file can not be read, or the configuration is wrong
  2  nothing was sent: the command line is wrong
  3  there was no session: no host, no connection, no greeting
  4  a recipient was refused for now (4yz)
  5  a recipient was refused for good (5yz)
  6  the answer to the message was lost: it may have arrived, or not
  7  TLS was wanted and did not come about
  8  the login was refused
Where recipients fare differently, the first of these counts: 5, 6, 4, 8, 7, 3.";

/// When a notice is wanted. RFC 3461 section 4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wish {
    Never,
    Success,
    Failure,
    Delay,
}

/// RFC 3461 section 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Returned {
    Full,
    Headers,
}

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Argument(String),
    #[error(transparent)]
    NotReady(#[from] reach::NotReady),
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("cannot read the password from {from}: {error}")]
    Password { from: String, error: io::Error },
    #[error("cannot write: {0}")]
    Output(io::Error),
}

fn security(text: &str) -> Result<Security, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "use published, none, opportunistic, encrypted, verified or dane".to_owned())
}

/// Sends, and says what came of it.
pub fn run(arguments: &SendArguments, config: &Config, print: impl Fn(&str) -> io::Result<()>) -> ExitCode {
    let wanted = Wanted { timings: arguments.timings, transcript: arguments.transcript };
    let done = report(arguments, config).and_then(|report| {
        let text = if arguments.json { format!("{}\n", report.json(wanted)) } else { report.text(wanted) };
        print(&text).map_err(SendError::Output)?;
        Ok(report.exit_code())
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            super::failed(&error);
            if matches!(error, SendError::Argument(_)) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn report(arguments: &SendArguments, config: &Config) -> Result<Report, SendError> {
    let groups = groups(arguments)?;
    let sender = sender(&arguments.from)?;
    let hello = arguments.hello.clone().unwrap_or_else(|| config.name.clone());
    let login = login(arguments)?;
    let from = sender.is_some().then_some(arguments.from.as_str());
    let content = arguments.message.octets(from, &arguments.to, &hello)?;
    let means = Means::new(config)?;
    let job = Job {
        means: &means,
        config,
        hello,
        sender,
        login,
        content,
        protocol: if arguments.lmtp { Protocol::Lmtp } else { Protocol::Smtp },
        tls: tls(arguments),
        implicit_tls: arguments.implicit_tls,
        plaintext_login: arguments.plaintext_login,
        source: arguments.source.into_iter().collect(),
        timeout: arguments.timeout.map(Duration::from_secs),
        pipelining: !arguments.no_pipelining,
        chunking: !arguments.no_chunking,
        prdr: !arguments.no_prdr,
        ignore: arguments.ignore.clone(),
        require_tls: arguments.require_tls,
        ret: arguments.ret.map(|ret| match ret {
            Returned::Full => ReturnContent::Full,
            Returned::Headers => ReturnContent::Headers,
        }),
        envid: arguments.envid.clone(),
    };
    Ok(reach::block_on(job.run(groups))?)
}

/// Whoever sits between could read a password, so by default it wants a certificate that can be believed.
fn tls(arguments: &SendArguments) -> Security {
    let usual = match (&arguments.login, &arguments.server) {
        (Some(_), _) if !arguments.plaintext_login => Security::Verified,
        (_, Some(_)) => Security::Opportunistic,
        (_, None) => Security::Published,
    };
    arguments.tls.unwrap_or(usual)
}

/// None: the null reverse-path.
fn sender(text: &str) -> Result<Option<Mailbox>, SendError> {
    if matches!(text, "" | "<>") {
        return Ok(None);
    }
    reach::mailbox(text).map(Some).map_err(SendError::Argument)
}

/// Who goes where: all to the server that is named, or each domain's to its own.
fn groups(arguments: &SendArguments) -> Result<Vec<Group>, SendError> {
    let server = arguments.server.as_deref().map(server).transpose()?;
    let wrong = |text: String| Err(SendError::Argument(text));
    if !matches!(arguments.orcpt.len(), 0) && arguments.orcpt.len() != arguments.to.len() {
        return wrong("--orcpt is given once for each --to, in their order".into());
    }
    if arguments.lmtp && server.is_none() {
        return wrong("LMTP is for a server that you name; add --server".into());
    }
    if arguments.login.is_some() && server.is_none() {
        return wrong("a password goes only to a server that you name; add --server".into());
    }
    let mut groups: BTreeMap<String, Vec<(String, Recipient)>> = BTreeMap::new();
    for (place, text) in arguments.to.iter().enumerate() {
        let (path, domain) = if text.eq_ignore_ascii_case("postmaster") {
            (ForwardPath::Postmaster, None)
        } else {
            let mailbox = reach::mailbox(text).map_err(SendError::Argument)?;
            let domain = match &mailbox.host {
                HostName::Domain(name) => domain::canonical(name).map(Into::into),
                HostName::Literal(literal) => Some(format!("[{literal}]")),
            };
            (ForwardPath::Mailbox(mailbox), domain)
        };
        let orcpt = arguments.orcpt.get(place).map(|text| original(text)).transpose()?;
        let key = match (&server, domain) {
            (Some(_), _) => String::new(),
            (None, Some(domain)) => domain,
            (None, None) => return wrong(format!("{text:?} has no domain to look up; add --server")),
        };
        let recipient = Recipient { path, notify: notify(&arguments.notify)?, orcpt };
        groups.entry(key).or_default().push((text.clone(), recipient));
    }
    let group = |(domain, recipients)| Group { domain, server: server.clone(), recipients };
    Ok(groups.into_iter().map(group).collect())
}

fn server(text: &str) -> Result<NamedHost, SendError> {
    match named_host(text) {
        Ok(host) => Ok(host),
        Err(why) => match (text.parse::<IpAddr>(), domain::strict(text)) {
            (Ok(ip), _) => Ok(NamedHost::At(crate::config::Endpoint::Tcp((ip, 25).into()))),
            (_, Some(name)) => Ok(NamedHost::Name(name.into_owned(), 25)),
            _ => Err(SendError::Argument(why)),
        },
    }
}

fn original(text: &str) -> Result<OriginalRecipient, SendError> {
    let wrong =
        || SendError::Argument(format!("{text:?} is no original recipient; write a type, a semicolon and an address"));
    let (address_type, address) = text.split_once(';').ok_or_else(wrong)?;
    Ok(OriginalRecipient { address_type: address_type.to_owned(), address: address.to_owned() })
}

/// RFC 3461 section 4.1: NEVER stands alone.
fn notify(wishes: &[Wish]) -> Result<Option<Notify>, SendError> {
    if wishes.contains(&Wish::Never) && wishes.iter().any(|wish| *wish != Wish::Never) {
        return Err(SendError::Argument("--notify never wants no notice at all; leave out the others, or it".into()));
    }
    let flag = |wish: &Wish| match wish {
        Wish::Never => Notify::empty(),
        Wish::Success => Notify::SUCCESS,
        Wish::Failure => Notify::FAILURE,
        Wish::Delay => Notify::DELAY,
    };
    Ok((!wishes.is_empty()).then(|| wishes.iter().map(flag).fold(Notify::empty(), |all, one| all | one)))
}

/// Who logs in, and the password.
fn login(arguments: &SendArguments) -> Result<Option<(String, String)>, SendError> {
    let Some(user) = &arguments.login else { return Ok(None) };
    let failed = |from: &str| {
        let from = from.to_owned();
        move |error| SendError::Password { from, error }
    };
    let password = match &arguments.password_file {
        Some(path) if path.as_os_str() == "-" && arguments.message.reads_input() => {
            return Err(SendError::Argument("standard input is the message, so it can not be the password".into()));
        }
        Some(path) if path.as_os_str() == "-" => {
            user::first_line(io::stdin().lock()).map_err(failed("standard input"))?
        }
        Some(path) => {
            let name = path.display().to_string();
            std::fs::File::open(path).and_then(user::first_line).map_err(failed(&name))?
        }
        None => match std::env::var(VARIABLE) {
            Ok(password) => password,
            Err(_) if io::stdin().is_terminal() => {
                user::ask(&format!("Password for {user}: ")).map_err(failed("the terminal"))?
            }
            Err(_) => {
                let text = format!("no password for {user}: use --password-file or {VARIABLE}");
                return Err(SendError::Argument(text));
            }
        },
    };
    Ok(Some((user.clone(), password)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        send: SendArguments,
    }

    fn parse(line: &str) -> SendArguments {
        Line::try_parse_from(std::iter::once("send").chain(line.split(' '))).unwrap().send
    }

    #[test]
    fn who_goes_where() {
        let check = |line: &str, expected: &str| {
            let arguments = parse(&format!("--from <> {line}"));
            let found = match groups(&arguments) {
                Ok(groups) => groups
                    .iter()
                    .map(|group| {
                        let to: Vec<_> = group.recipients.iter().map(|(text, _)| text.as_str()).collect();
                        format!("{}={}", group.domain, to.join(","))
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(error) => error.to_string(),
            };
            assert!(found.contains(expected), "{line}: {found}");
        };
        check("--to a@x.example --to b@Y.example --to c@X.example", "x.example=a@x.example,c@X.example y.example=");
        check("--to a@x.example --to b@y.example --server h.example", "=a@x.example,b@y.example");
        check("--to a@bücher.example", "xn--bcher-kva.example=");
        check("--to postmaster", "has no domain");
        check("--to postmaster --server h.example:26", "=postmaster");
        check("--to a@x.example --lmtp", "add --server");
        check("--to a@x.example --login anna", "a password goes only to a server that you name; add --server");
        check("--to a@x.example --login anna --server h.example:587", "=a@x.example");
        check("--to a@x.example --server a:b:c", "no host with a port");
        check("--to a", "no address");
        check("--to a@x.example --to b@x.example --orcpt rfc822;c@x.example", "once for each");
        check("--to a@x.example --orcpt nonsense", "no original recipient");
    }

    #[test]
    fn which_notices() {
        assert_eq!(notify(&[]).unwrap(), None);
        assert_eq!(notify(&[Wish::Never]).unwrap(), Some(Notify::empty()));
        for (line, expected) in [
            ("--notify success,delay", Some(Notify::SUCCESS | Notify::DELAY)),
            ("--notify never --notify never", Some(Notify::empty())),
            ("--notify never,failure", None),
            ("--notify failure --notify never", None),
        ] {
            let found = notify(&parse(&format!("--from <> --to a@b.example {line}")).notify);
            assert_eq!(found.ok().flatten(), expected, "{line}");
        }
    }

    #[test]
    fn a_password_wants_a_certificate_that_can_be_believed() {
        for (line, expected) in [
            ("", Security::Published),
            ("--server h.example", Security::Opportunistic),
            ("--server h.example --login anna", Security::Verified),
            ("--server h.example --login anna --tls encrypted", Security::Encrypted),
            ("--server h.example --login anna --tls opportunistic", Security::Opportunistic),
            ("--server h.example --login anna --plaintext-login", Security::Opportunistic),
            ("--server h.example --login anna --plaintext-login --tls verified", Security::Verified),
        ] {
            assert_eq!(tls(&parse(format!("--from <> --to a@x.example {line}").trim_end())), expected, "{line}");
        }
    }

    #[test]
    fn ways_of_protection() {
        assert_eq!(security("dane"), Ok(Security::Dane));
        assert_eq!(security("none"), Ok(Security::None));
        assert!(security("maybe").is_err());
    }
}
