//! What may stand on the command line.
//!
//! Owns the names and the defaults. Refuses to open anything. Fails with one sentence: what was wrong, and what was expected.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use hermetic_core::limits::Limits;
use hermetic_core::reply;
use hermetic_core::server::Options;
use lexopt::{Arg, Parser, ValueExt as _};

use crate::policy::Domains;

/// The longest name and domain. RFC 5321 section 4.5.3.1.2.
const NAME: usize = 255;
/// The most that a bound of a line may be.
const LINE: u32 = 1024 * 1024;

/// For people.
pub(crate) const USAGE: &str = "\
An SMTP server without TLS, for trying things out and for embedding. Not for the open internet.

  wasmtime run -S inherit-network hermetic_standalone.wasm ADDRESS --domain DOMAIN [OPTION ...]

  ADDRESS                   where to listen: 127.0.0.1:2525, [::1]:2525, or 2525 for that port of
                            127.0.0.1; port 0 is a free one
  --domain DOMAIN           accept mail for DOMAIN; may be repeated; '*' is any domain
  --name NAME               what the server calls itself; localhost if not given
  --sessions NUMBER         connections at once, 1000 if not given; one more is told 421
  --sessions-per-client N   connections at once of one address, 250 if not given
  --limit NAME=VALUE        a bound of the protocol, such as message-size=1000000, recipients=100,
                            command-timeout=300000 (milliseconds); README.md has all
  --quiet                   no line for each message
  --until-eof               end when standard input ends: no new connections, the open ones
                            may finish their message
  --help                    this text

With a folder (wasmtime run --dir FOLDER ...) messages are kept there, as a Maildir. Without one
they are counted, named in a line each, and gone.
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Serve(Box<Settings>),
}

/// How to serve.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) address: SocketAddr,
    pub(crate) domains: Domains,
    /// For each session.
    pub(crate) options: Options,
    pub(crate) sessions: usize,
    pub(crate) sessions_per_client: usize,
    pub(crate) quiet: bool,
    pub(crate) until_eof: bool,
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut parser = Parser::from_args(arguments.map(OsString::from));
    let mut address = None;
    let mut domains = Domains::default();
    let mut name = "localhost".to_owned();
    let mut limits = Limits::default();
    let (mut sessions, mut sessions_per_client) = (1000, 250);
    let (mut quiet, mut until_eof) = (false, false);
    while let Some(argument) = parser.next().map_err(sentence)? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Help),
            Arg::Long("quiet") => quiet = true,
            Arg::Long("until-eof") => until_eof = true,
            Arg::Long("domain") => domains.add(&domain(&value(&mut parser)?, "--domain")?),
            Arg::Long("name") => name = domain(&value(&mut parser)?, "--name")?,
            Arg::Long("sessions") => sessions = count(&value(&mut parser)?, "--sessions")?,
            Arg::Long("sessions-per-client") => {
                sessions_per_client = count(&value(&mut parser)?, "--sessions-per-client")?;
            }
            Arg::Long("limit") => limit(&mut limits, &value(&mut parser)?)?,
            Arg::Value(text) if address.is_none() => address = Some(listen_address(&text.string().map_err(sentence)?)?),
            Arg::Value(text) => {
                return Err(format!("{text:?} is one argument too many: one address is expected, and options"));
            }
            other => return Err(format!("{}; --help lists what there is", other.unexpected())),
        }
    }
    let Some(address) = address else {
        return Err("an address to listen on is expected, such as 127.0.0.1:2525; --help lists the rest".into());
    };
    if domains.is_empty() {
        return Err("--domain is expected at least once: whose mail is accepted? '*' is anybody's".into());
    }
    let options = Options { server_name: name, limits, ..Options::default() };
    let settings = Settings { address, domains, options, sessions, sessions_per_client, quiet, until_eof };
    Ok(Asked::Serve(Box::new(settings)))
}

fn sentence(error: impl Display) -> String {
    error.to_string()
}

fn value(parser: &mut Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(sentence)
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into());
    }
    text.parse().map_err(|_| {
        format!("{text:?} is no address to listen on: 127.0.0.1:2525, [::1]:2525 or a port up to 65535 is expected")
    })
}

/// A name that can stand in a reply and a header field as it is.
fn domain(text: &str, option: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= NAME && reply::printable(text, false) == text;
    if !fits || text.contains([' ', '/', '(', ')', '<', '>', '@', ',', ';', ':', '\\', '"']) && !text.starts_with('[') {
        return Err(format!("{option} {text:?} is no domain: one such as mail.example.org is expected, in ASCII"));
    }
    Ok(text.to_owned())
}

fn count(text: &str, option: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=100_000) => Ok(number),
        _ => Err(format!("{option} {text:?} is no count: a number from 1 to 100000 is expected")),
    }
}

fn limit(limits: &mut Limits, text: &str) -> Result<(), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("--limit {text:?} has no value: NAME=VALUE is expected, such as recipients=100"));
    };
    let most = u32::MAX;
    match name {
        "message-size" => set(&mut limits.message_size, name, value, 0, u64::from(most)),
        "recipients" => set(&mut limits.recipients, name, value, 1, 10_000),
        "recipient-batch" => set(&mut limits.recipient_batch, name, value, 1, 10_000),
        "command-line" => set(&mut limits.command_line, name, value, 64, LINE),
        "auth-line" => set(&mut limits.auth_line, name, value, 64, LINE),
        "text-line" => set(&mut limits.text_line, name, value, 0, most),
        "errors" => set(&mut limits.errors, name, value, 1, most),
        "idle-commands" => set(&mut limits.idle_commands, name, value, 1, most),
        "messages" => set(&mut limits.messages, name, value, 0, most),
        "auth-failures" => set(&mut limits.auth_failures, name, value, 1, most),
        "command-timeout" => set(&mut limits.command_timeout, name, value, 1, u64::from(most)),
        "data-timeout" => set(&mut limits.data_timeout, name, value, 1, u64::from(most)),
        "data-allowance" => set(&mut limits.data_allowance, name, value, 1, u64::from(most)),
        "data-rate" => set(&mut limits.data_rate, name, value, 0, most),
        "session" => set(&mut limits.session, name, value, 0, u64::from(most)),
        _ => Err(format!(
            "--limit {name:?} is none: message-size, recipients, recipient-batch, command-line, auth-line, text-line, errors, \
             idle-commands, messages, auth-failures, command-timeout, data-timeout, data-allowance, data-rate or session \
             is expected"
        )),
    }
}

fn set<T: FromStr + PartialOrd + Display>(
    place: &mut T,
    name: &str,
    value: &str,
    least: T,
    most: T,
) -> Result<(), String> {
    match value.parse() {
        Ok(number) if number >= least && number <= most => {
            *place = number;
            Ok(())
        }
        _ => Err(format!("--limit {name}={value} is out of place: a number from {least} to {most} is expected")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn told(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_asked_for_is_set() {
        let line =
            "[::1]:25 --domain a.test --domain B.test --name mx.test --sessions 3 --limit recipients=100 --quiet";
        let Asked::Serve(settings) = told(line).unwrap() else { panic!("it is to serve") };
        assert_eq!(settings.address, "[::1]:25".parse().unwrap());
        assert_eq!((settings.sessions, settings.sessions_per_client, settings.quiet), (3, 250, true));
        assert_eq!((settings.options.limits.recipients, settings.options.server_name.as_str()), (100, "mx.test"));
        let Asked::Serve(settings) = told("2525 --domain=*").unwrap() else { panic!("it is to serve") };
        assert_eq!(settings.address, "127.0.0.1:2525".parse().unwrap());
        assert!(matches!(told("--help").unwrap(), Asked::Help));
    }

    #[test]
    fn a_mistake_is_named_with_what_was_expected() {
        let check = |line: &str, expected: &str| {
            let error = told(line).unwrap_err();
            assert!(error.contains(expected), "{line:?} gave {error:?}, expected {expected:?}");
        };
        check("", "an address to listen on is expected");
        check("2525", "--domain is expected");
        check("70000 --domain a.test", "no address to listen on");
        check("localhost:25 --domain a.test", "no address to listen on");
        check("25 26 --domain a.test", "one argument too many");
        check("25 --domain", "missing argument");
        check("25 --domain a\u{7}b", "no domain");
        check("25 --domain a@b.test", "no domain");
        check("25 --domain a.test --sessions 0", "a number from 1");
        check("25 --domain a.test --limit x=1", "--limit \"x\" is none");
        check("25 --domain a.test --limit recipients", "has no value");
        check("25 --domain a.test --limit recipients=0", "from 1");
        check("25 --domain a.test --tls", "invalid option '--tls'; --help");
        check("25 --domain a.test --quiet=yes", "unexpected argument");
    }
}
