//! `hermetic probe`: is a mail server as it should be?
//!
//! Owns which server is meant, the order of the tests, and the exit code: 0 no fault, 1 a fault, 2 nothing could be
//! tested. Refuses to say anything to the server: that, also what breaks the rules, is the sealed engine's
//! (`core/src/probe`); here are TLS versions, certificates, and what the DNS and the web say. Fails with one sentence
//! where there is nobody to be tested.

mod drive;
mod encryption;
mod old_tls;
mod published;
mod report;

use std::{
    borrow::Cow,
    io,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use rustls::DEFAULT_VERSIONS;
use rustls_pki_types::UnixTime;

use self::{
    drive::{Heard, Server, Shake, Tls, Untestable},
    published::Shown,
    report::{Finding, Found, Verdict},
};
use super::reach::{self, Means};
use crate::{
    config::{Config, Endpoint, domain, outbound::NamedHost, outbound::named_host},
    deliver::smtp::{connect::Whereabouts, sts::Policies},
    dns::NoAnswer,
    engine::probe::{self as engine, ENDS_OF_DATA, EndOfData, Experiment, HostName, Mailbox},
    transport::trust::judge,
};

/// Nothing could be tested.
pub(super) const UNTESTABLE: u8 = 2;
/// SMTP.
const PORT: u16 = 25;
/// Submission inside TLS (RFC 8314 section 7.3).
const IMPLICIT: u16 = 465;

/// Which server, and how.
#[derive(Clone, Debug, Args)]
pub struct ProbeArguments {
    /// A domain whose mail server is looked up (MX), a server with its port (`mail.example.org:587`), or an address.
    host: String,
    /// Connect to this address instead of where the DNS says the server is: to test it before the world sees it.
    #[arg(long, value_name = "ADDRESS")]
    at: Option<IpAddr>,
    /// What the server takes mail for, if it is not the name that is given.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// TLS from the first octet on; port 465 is always taken so.
    #[arg(long)]
    implicit_tls: bool,
    /// Test whether messages can be smuggled in, with this recipient, who must agree to it and must be one of the server's.
    ///
    /// For each of eight wrong ends of data (a bare LF or CR instead of CRLF) one short test message is sent to it. A server that
    /// takes the wrong end for one reads a NOOP as a command, and nothing else: no second message comes about. A server that
    /// refuses the message delivers nothing.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// The sender of the tests [default: hermetic-probe@ and our name].
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Somebody for whom the server must not take mail. Nothing is ever sent there: each try ends with the answer to the
    /// recipient.
    #[arg(long, value_name = "ADDRESS", default_value = "hermetic-probe@example.com")]
    stranger: String,
    /// Our name, for EHLO [default: that of the configuration].
    #[arg(long, value_name = "NAME")]
    hello: Option<String>,
    /// How long an answer may take, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Show also what was said in each session: `C:` is us, `S:` the server, `--` what happened.
    #[arg(long)]
    transcript: bool,
}

/// Why there is nothing to say.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("{0}")]
    Argument(String),
    #[error(transparent)]
    NotReady(#[from] reach::NotReady),
    #[error("{0}")]
    NoServer(String),
    #[error("{host}: {error}")]
    Untestable { host: String, error: Untestable },
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Tests, and says what was found.
pub fn run(arguments: &ProbeArguments, config: &Config, print: impl Fn(&str) -> io::Result<()>) -> ExitCode {
    let tested = Means::new(config)
        .and_then(|means| reach::block_on(test(arguments, config, &means)))
        .map_err(ProbeError::from)
        .and_then(|found| found)
        .and_then(|found| {
            let text = if arguments.json {
                format!("{}\n", found.json(arguments.transcript))
            } else {
                found.text(arguments.transcript)
            };
            print(&text)?;
            Ok(found)
        });
    match tested {
        Ok(found) if found.count(Verdict::Fail) > 0 => ExitCode::FAILURE,
        Ok(found) if found.is_empty() => {
            super::failed("nothing could be tested; what is said above is why");
            ExitCode::from(UNTESTABLE)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            super::failed(super::safe(&error.to_string()));
            ExitCode::from(UNTESTABLE)
        }
    }
}

/// The server that is meant.
struct Target {
    /// Its name or address, for people, SNI and certificates.
    name: String,
    port: u16,
    whereabouts: Whereabouts,
    domain: String,
    /// All that take mail for the domain; empty: it is not known whether this one does.
    exchangers: Vec<String>,
    /// Signatures prove that it does, and where it is.
    secure: bool,
}

async fn test(arguments: &ProbeArguments, config: &Config, means: &Means) -> Result<Found, ProbeError> {
    let mut found = Found::default();
    let target = target(arguments, means, &mut found).await?;
    let address = |text: &str| reach::mailbox(text).map_err(ProbeError::Argument);
    let hello_name = ascii(arguments.hello.as_deref().unwrap_or(&config.name));
    let sender = match &arguments.from {
        Some(text) => address(text)?,
        None => Mailbox { local: "hermetic-probe".into(), host: HostName::Domain(hello_name.clone()) },
    };
    let no_domain = || ProbeError::Argument(format!("{:?} is no domain", target.domain));
    let server = Server {
        engine: &means.engine,
        roots: &means.roots,
        whereabouts: target.whereabouts.clone(),
        name: target.name.clone(),
        implicit_tls: arguments.implicit_tls || target.port == IMPLICIT,
        hello_name,
        domain: reach::host(&target.domain).ok_or_else(no_domain)?,
        sender,
        stranger: address(&arguments.stranger)?,
        recipient: arguments.to.as_deref().map(address).transpose()?,
        timeout: Duration::from_secs(arguments.timeout),
        pause: Duration::from_secs(1),
    };
    found.host = format!("{}:{}", target.name, target.port);
    found.domain.clone_from(&target.domain);

    let usual = Shake::Versions(DEFAULT_VERSIONS);
    let untestable = |error| ProbeError::Untestable { host: found.host.clone(), error };
    let first = server.attempt(Experiment::Greeting, false, usual).await.map_err(untestable)?;
    found.address.clone_from(&first.address);
    let greeted = !first.hellos.is_empty();
    // Where TLS comes first, there may be no more to say than that it does not come.
    if let (false, Some(tls)) = (greeted, &first.tls) {
        found.add(encryption::handshake(tls));
    }
    take(&mut found, first);
    if !greeted {
        return Ok(found);
    }
    secrecy(&server, &target, config, means, &mut found).await;
    for (experiment, check) in [
        (Experiment::Injection, "starttls-injection"),
        (Experiment::Haste, "early-talker"),
        (Experiment::Nameless, "hello-required"),
        (Experiment::Commands, "commands"),
        (Experiment::Pipelining, "pipelining"),
        (Experiment::Extensions, "extensions"),
        (Experiment::Relay, "open-relay"),
    ] {
        let heard = server.attempt(experiment, true, usual).await;
        settle(&mut found, check, heard);
    }
    if server.recipient.is_some() {
        smuggling(&server, usual, &mut found).await;
    } else {
        let text = "Whether messages can be smuggled in is only tested with --to.";
        found.add(Finding::new("smuggling", Verdict::Info, "RFC 5321 section 4.1.1.4", text));
    }
    Ok(found)
}

fn take(found: &mut Found, heard: Heard) {
    heard.findings.into_iter().for_each(|finding| found.add(finding));
    found.said(heard.said);
}

/// A test that came to nothing says so.
fn settle(found: &mut Found, check: &str, heard: Result<Heard, Untestable>) {
    match heard {
        Ok(heard) => {
            if let (true, Some(Tls::Failed(_) | Tls::Late)) = (heard.findings.is_empty(), &heard.tls) {
                found.add(Finding::new(check, Verdict::Untested, "", "This time there was no TLS."));
            }
            take(found, heard);
        }
        Err(error) => found.add(Finding::new(check, Verdict::Untested, "", format!("{error}."))),
    }
}

/// Most of it is waiting for what should not come, so a few wait side by side.
async fn smuggling(server: &Server<'_>, shake: Shake, found: &mut Found) {
    let attempt = |end: EndOfData| server.attempt(Experiment::Smuggling(end), true, shake);
    for [a, b, c, d] in ENDS_OF_DATA {
        let (a, b, c, d) = tokio::join!(attempt(a), attempt(b), attempt(c), attempt(d));
        for heard in [a, b, c, d] {
            settle(found, "smuggling", heard);
        }
    }
}

/// TLS, certificates, and what is published of them.
async fn secrecy(server: &Server<'_>, target: &Target, config: &Config, means: &Means, found: &mut Found) {
    let heard = match server.attempt(Experiment::StartTls, false, Shake::Versions(DEFAULT_VERSIONS)).await {
        Ok(heard) => heard,
        Err(error) => return found.add(Finding::new("starttls", Verdict::Untested, "", format!("{error}."))),
    };
    let tls = heard.tls.is_some();
    let unknown = match &heard.tls {
        Some(tls) => matches!(tls, Tls::Late),
        // It was refused for now, or the session ended before.
        None => heard.findings.iter().any(|finding| finding.verdict == engine::Verdict::Untested),
    };
    if let Some(tls) = &heard.tls {
        found.add(encryption::handshake(tls));
    }
    let chain = match &heard.tls {
        Some(Tls::Agreed(_, chain)) => Some(chain.clone()),
        _ => None,
    };
    take(found, heard);
    if tls && let Err(error) = encryption::versions(server, found).await {
        found.add(Finding::new("tls-versions", Verdict::Untested, "", format!("{error}.")));
    }
    let by_name = target.name.parse::<IpAddr>().is_err();
    let records = if by_name {
        published::tlsa(&means.resolver, &target.name, target.port, target.secure, found).await
    } else {
        Vec::new()
    };
    let now = UnixTime::now();
    let judged = chain.map(|chain| judge(&chain, &target.name, &target.domain, &records, &means.roots, now));
    let shown = match &judged {
        Some(Ok(judged)) => {
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            encryption::certificate(judged, &target.name, now, found);
            published::dane(judged, records.len(), found);
            Shown::Certificate(judged)
        }
        Some(Err(why)) => {
            let text = format!("The certificate can not be read: {why}.");
            found.add(Finding::new("certificate", Verdict::Fail, "RFC 5280 section 4", text));
            Shown::Nonsense
        }
        None if unknown => Shown::Unknown,
        None => Shown::Nothing,
    };
    if !records.is_empty() {
        published::without_certificate(shown, found);
    }
    if !target.exchangers.is_empty() {
        let policies = Policies::new(config.data.join("mta-sts"), config.outbound.https_port);
        let (resolver, client) = (&means.resolver, &means.client);
        published::policy(&policies, resolver, client, &target.domain, &target.exchangers, shown, found).await;
    }
}

/// A name as the DNS and SMTP have it; what is none is left to whoever reads it next.
fn ascii(name: &str) -> String {
    domain::canonical(name).map_or_else(|| name.to_owned(), Cow::into_owned)
}

/// From what was typed to a server.
async fn target(arguments: &ProbeArguments, means: &Means, found: &mut Found) -> Result<Target, ProbeError> {
    let text = arguments.host.trim();
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match (literal.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(ip), _) => Some(SocketAddr::new(ip, if arguments.implicit_tls { IMPLICIT } else { PORT })),
        (_, Ok(address)) => Some(address),
        _ => None,
    };
    if let Some(address) = address {
        let ip = address.ip();
        let domain = if ip.is_ipv6() { format!("[IPv6:{ip}]") } else { format!("[{ip}]") };
        return Ok(Target {
            name: ip.to_string(),
            port: address.port(),
            whereabouts: Whereabouts::Tcp(vec![SocketAddr::new(arguments.at.unwrap_or(ip), address.port())]),
            exchangers: Vec::new(),
            domain: arguments.domain.as_deref().map_or(domain, ascii),
            secure: false,
        });
    }
    let (name, port, exchangers, secure) = match named_host(text) {
        Ok(NamedHost::Name(name, port)) => (name, port, Vec::new(), true),
        Ok(NamedHost::At(Endpoint::Unix(_))) => {
            return Err(ProbeError::Argument("a Unix socket is not tested; name a host".into()));
        }
        _ => {
            domain::canonical(text)
                .ok_or_else(|| ProbeError::Argument(format!("{text:?} is no host, and no domain")))?;
            let (name, exchangers, secure) = exchanger(&ascii(text), means, found).await?;
            (name, if arguments.implicit_tls { IMPLICIT } else { PORT }, exchangers, secure)
        }
    };
    let (whereabouts, located) = match arguments.at {
        Some(ip) => (vec![SocketAddr::new(ip, port)], true),
        None => {
            let answer = means.resolver.addresses(&name).await;
            let answer = answer.map_err(|error| ProbeError::NoServer(format!("the addresses of {name}: {error}")))?;
            (answer.records.iter().map(|ip| SocketAddr::new(*ip, port)).collect(), answer.secure)
        }
    };
    let domain = match (&arguments.domain, exchangers.is_empty()) {
        (Some(domain), _) => ascii(domain),
        (None, true) => name.clone(),
        (None, false) => ascii(text),
    };
    let exchangers = if exchangers.is_empty() && arguments.domain.is_some() { vec![name.clone()] } else { exchangers };
    Ok(Target { name, port, whereabouts: Whereabouts::Tcp(whereabouts), domain, exchangers, secure: secure && located })
}

/// The best of those that take a domain's mail, and all of them.
async fn exchanger(domain: &str, means: &Means, found: &mut Found) -> Result<(String, Vec<String>, bool), ProbeError> {
    const RULE: &str = "RFC 5321 section 5.1";
    match means.resolver.mx(domain).await {
        Ok(answer) => {
            let hosts = answer.records.iter().filter(|one| one.name != ".");
            let hosts: Vec<(u16, String)> = hosts.map(|one| (one.preference, one.name.clone())).collect();
            let Some((_, best)) = hosts.first().cloned() else {
                return Err(ProbeError::NoServer(format!("{domain} takes no mail (null MX, RFC 7505)")));
            };
            let list: Vec<String> = hosts.iter().map(|(preference, name)| format!("{name} ({preference})")).collect();
            let signed = if answer.secure { ", signed" } else { "" };
            let text = format!("Mail for {domain} goes to {}{signed}; {best} is tested.", list.join(", "));
            found.add(Finding::new("mx", Verdict::Info, RULE, text));
            Ok((best, hosts.into_iter().map(|(_, name)| name).collect(), answer.secure))
        }
        Err(NoAnswer::NotFound { exists: true, secure }) => {
            let text = format!("{domain} has no MX, so it is tested itself.");
            found.add(Finding::new("mx", Verdict::Info, RULE, text));
            Ok((domain.to_owned(), vec![domain.to_owned()], secure))
        }
        Err(NoAnswer::NotFound { exists: false, .. }) => {
            Err(ProbeError::NoServer(format!("there is no domain {domain}")))
        }
        Err(error) => Err(ProbeError::NoServer(format!("the mail exchangers of {domain}: {error}"))),
    }
}
