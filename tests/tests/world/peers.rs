//! Mail to Postfix, Exim and OpenSMTPD, found through Knot, over DANE and MTA-STS.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
};

use hermetic_tests::{
    maildir::Maildir,
    message::{Message, assert_same},
    server::{Rig, Server, free_port},
    world::{
        dns::{Link, NameServer, Zone},
        middleman::{self, Trick},
        peers::{Exim, OpenSmtpd, Postfix},
        pki::{Authority, Identity, Kind},
        policies::PolicyHost,
    },
};
use serde_json::Value;

use crate::{
    at,
    cases::{CASES, Case, End, Peer, Tlsa, Way},
    folder, notices, submit, wait,
};

const NAME_SERVER: u8 = 1;
const POLICIES: u8 = 9;
const PEERS: [Peer; 7] =
    [Peer::Postfix, Peer::Exim, Peer::OpenSmtpd, Peer::Expired, Peer::Stranger, Peer::Stripped, Peer::Refusing];

/// The last octet of its address.
fn place(peer: Peer) -> u8 {
    10 + PEERS.iter().position(|one| *one == peer).expect("all are there") as u8
}

/// Who shakes hands there.
fn behind(peer: Peer) -> Peer {
    if matches!(peer, Peer::Stripped | Peer::Refusing) { Peer::Postfix } else { peer }
}

/// The names of a case's hosts.
fn names(case: &Case) -> Vec<String> {
    match case.way {
        Way::Exchangers => (1..=case.hosts.len()).map(|number| format!("mx{number}.{}", case.domain)).collect(),
        Way::Aliases => (1..=case.hosts.len()).map(|number| format!("host{number}.{}", case.domain)).collect(),
        Way::Address => vec![case.domain.to_owned()],
        Way::NullMx | Way::Nowhere => Vec::new(),
    }
}

/// A certificate for each.
fn identities(authority: &Authority) -> HashMap<Peer, Identity> {
    let certify = |peer: Peer| {
        let mut own: Vec<String> = match peer {
            Peer::Stranger => vec!["elsewhere.invalid".into()],
            _ => Vec::new(),
        };
        for case in CASES.iter().filter(|_| peer != Peer::Stranger) {
            let hosts = names(case).into_iter().zip(case.hosts);
            own.extend(hosts.filter(|(_, (one, _))| behind(*one) == peer).map(|(name, _)| name));
        }
        let year = if peer == Peer::Expired { 2021 } else { 2099 };
        let kind = if peer == Peer::OpenSmtpd { Kind::Rsa } else { Kind::Ecdsa };
        (peer, authority.certify(&own, year, kind))
    };
    PEERS.into_iter().filter(|peer| behind(*peer) == *peer).map(certify).collect()
}

/// All zones.
fn zones(port: u16, authority: &Authority, identities: &HashMap<Peer, Identity>) -> Vec<Zone> {
    let zone = |name: &str, link| Zone { name: format!("{name}."), link, records: String::new() };
    let mut zones = vec![zone("secure", Link::Signed), zone("plain", Link::Unsigned), zone("forged", Link::Forged)];
    let somebody = authority.certify(&["somebody.invalid".into()], 2099, Kind::Ecdsa);
    for case in CASES {
        let mut text = String::new();
        let domain = case.domain;
        if case.way == Way::NullMx {
            let _ = writeln!(text, "{domain}. IN MX 0 .");
        }
        for (number, (name, (peer, tlsa))) in names(case).into_iter().zip(case.hosts).enumerate() {
            if case.way == Way::Exchangers {
                let _ = writeln!(text, "{domain}. IN MX {} {name}.", 10 + number);
            }
            if case.way == Way::Aliases {
                let alias = format!("mx{}.{domain}.", number + 1);
                let _ = writeln!(text, "{domain}. IN MX {} {alias}\n{alias} IN CNAME {name}.", 10 + number);
            }
            let _ = writeln!(text, "{name}. IN A {}", at(place(*peer), port).ip());
            let identity = &identities[&behind(*peer)];
            let record = match tlsa {
                Tlsa::Nothing => continue,
                Tlsa::Key => identity.tlsa(),
                Tlsa::Authority => authority.tlsa(),
                Tlsa::Wrong => somebody.tlsa(),
                Tlsa::OfWeb => identity.tlsa_of_web(),
                Tlsa::Forged => {
                    let records = format!("_{port} IN {}", identity.tlsa());
                    zones.push(Zone { name: format!("_tcp.{name}."), link: Link::Forged, records });
                    continue;
                }
            };
            let _ = writeln!(text, "_{port}._tcp.{name}. IN {record}");
        }
        if case.policy.is_some() {
            let _ = writeln!(text, "_mta-sts.{domain}. IN TXT \"v=STSv1; id=1;\"");
            let _ = writeln!(text, "mta-sts.{domain}. IN A {}", at(POLICIES, port).ip());
        }
        let top = zones.iter_mut().find(|zone| domain.ends_with(zone.name.trim_end_matches('.')));
        top.expect("a top-level domain").records.push_str(&text);
    }
    zones
}

/// Everything but Hermetic.
struct World {
    port: u16,
    https: u16,
    authority: Authority,
    dns: NameServer,
    postfix: Postfix,
    exim: Exim,
    opensmtpd: OpenSmtpd,
    policies: Option<PolicyHost>,
}

impl World {
    fn start(folder: &std::path::Path) -> Option<Self> {
        let (port, https) = (free_port(), free_port());
        let authority = Authority::new("the only authority");
        let identities = identities(&authority);
        let dns = at(NAME_SERVER, free_port());
        let dns = NameServer::start(&folder.join("dns"), dns, &zones(port, &authority, &identities))?;
        let domains: Vec<String> = CASES.iter().map(|case| case.domain.to_owned()).collect();
        let listeners: Vec<_> = [Peer::Postfix, Peer::Expired, Peer::Stranger]
            .into_iter()
            .map(|peer| (at(place(peer), port), &identities[&peer]))
            .collect();
        let postfix = Postfix::start(&folder.join("postfix"), &domains, &listeners, &[])?;
        for (peer, trick) in [(Peer::Stripped, Trick::Strip), (Peer::Refusing, Trick::Refuse)] {
            middleman::start(at(place(peer), port), at(place(Peer::Postfix), port), trick);
        }
        let exim = at(place(Peer::Exim), port);
        let exim = Exim::start(&folder.join("exim"), &domains, exim, &identities[&Peer::Exim])?;
        let opensmtpd = at(place(Peer::OpenSmtpd), port);
        let opensmtpd =
            OpenSmtpd::start(&folder.join("opensmtpd"), &domains, opensmtpd, &identities[&Peer::OpenSmtpd])?;
        let mut policies = BTreeMap::new();
        let mut hosts = Vec::new();
        for case in CASES {
            let Some((mode, mx)) = case.policy else { continue };
            let domain = case.domain;
            let text = format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}.{domain}\r\nmax_age: 86400\r\n");
            policies.insert(domain.to_owned(), text);
            hosts.push(format!("mta-sts.{domain}"));
        }
        let identity = authority.certify(&hosts, 2099, Kind::Ecdsa);
        let policies = Some(PolicyHost::start(at(POLICIES, https), &identity, policies));
        Some(Self { port, https, authority, dns, postfix, exim, opensmtpd, policies })
    }

    /// Hermetic in this world. What fails is tried again after some seconds.
    fn hermetic(&self, folder: &std::path::Path) -> Server {
        let roots = folder.join("roots.pem");
        fs::write(&roots, self.authority.pem()).expect("a file");
        let tables = format!(
            "[outbound]\nport = {}\nhttps-port = {}\nroots = {roots:?}\n[dns]\nservers = [\"{}\"]\ntrust-anchors = {:?}\n\
             [queue]\nretry-first = 4\nretry-most = 4\nexpire = 3600\nconcurrency = 32\n",
            self.port,
            self.https,
            self.dns.address(),
            self.dns.anchors(),
        );
        Rig::new().listener("submission", "").user("anna", "secret").tables(&tables).start()
    }

    fn maildir(&self, peer: Peer, domain: &str) -> Maildir {
        match peer {
            Peer::Exim => self.exim.maildir(domain),
            Peer::OpenSmtpd => self.opensmtpd.maildir(domain),
            _ => self.postfix.maildir(domain),
        }
    }

    /// Has it come there, and was it sealed? Its words on that are returned.
    fn received(&self, peer: Peer, domain: &str, message: &Message) -> Result<(bool, String), String> {
        let token = format!("X-Token: {}", message.token);
        let found: Vec<_> = self.maildir(peer, domain).messages();
        let mut found: Vec<_> = found.into_iter().filter(|m| String::from_utf8_lossy(m).contains(&token)).collect();
        let one = match found.len() {
            1 => found.remove(0),
            count => return Err(format!("{count} copies for {domain} at {peer:?}")),
        };
        assert_same(&one, message);
        let text = String::from_utf8_lossy(&one).into_owned();
        let trace = text.split("Received: ").nth(1).unwrap_or_default().to_owned();
        Ok((trace.contains("TLSv1.") || trace.contains("TLS1."), trace))
    }
}

/// The reason that the queue shows for an address.
fn reason(queue: &[Value], address: &str) -> Option<String> {
    let of = |entry: &&Value| entry.to_string().contains(&format!("\"{address}\""));
    queue.iter().find(of).map(ToString::to_string)
}

/// A message, and the local part that it is for at each domain.
struct Letter {
    to: &'static str,
    message: Message,
}

impl Letter {
    fn send(server: &Server, to: &'static str, cases: &[&Case]) -> Option<Self> {
        let letter = Self { to, message: Message::seven_bit() };
        let addresses: Vec<String> = cases.iter().map(|case| format!("{to}@{}", case.domain)).collect();
        submit(server, &letter.message, &addresses)?;
        Some(letter)
    }
}

/// Is it as the table says? Else what is missing.
fn as_expected(world: &World, case: &Case, queue: &[Value], letter: &Letter) -> Result<(), String> {
    let waiting = reason(queue, &format!("{}@{}", letter.to, case.domain));
    match case.end {
        End::Sealed(peer) | End::Open(peer) => {
            let (sealed, trace) = world.received(peer, case.domain, &letter.message)?;
            let expected = matches!(case.end, End::Sealed(_));
            if sealed == expected { Ok(()) } else { Err(format!("{}: sealed: {sealed}: {trace}", case.domain)) }
        }
        End::Waits(words) => match waiting {
            Some(entry) if entry.contains(words) => Ok(()),
            other => Err(format!("{}: {words:?} expected, not {other:?}", case.domain)),
        },
        End::Back(..) if waiting.is_some() => Err(format!("{}: it waits: {waiting:?}", case.domain)),
        End::Back(..) => Ok(()),
    }
}

/// Until all cases are as expected.
fn settle(world: &World, server: &Server, cases: &[&Case], letter: &Letter) {
    wait(40, || {
        let queue = server.queue();
        let left: Vec<_> = cases.iter().filter_map(|case| as_expected(world, case, &queue, letter).err()).collect();
        if left.is_empty() {
            return Ok(());
        }
        let logs = [("Postfix", world.postfix.log()), ("Exim", world.exim.log()), ("OpenSMTPD", world.opensmtpd.log())];
        let logs: String = logs.iter().map(|(name, log)| format!("--- {name}\n{log}")).collect();
        Err(format!("{} of {} are not as expected:\n{}\n{logs}", left.len(), cases.len(), left.join("\n")))
    });
}

#[test]
fn every_domain_gets_its_mail_as_it_asks() {
    let folder = folder();
    let Some(mut world) = World::start(folder.path()) else { return };
    let mut server = world.hermetic(folder.path());

    let all: Vec<&Case> = CASES.iter().collect();
    let Some(letter) = Letter::send(&server, "berta", &all) else { return };
    settle(&world, &server, &all, &letter);

    // Policies outlive the server and the host that published them (RFC 8461 section 3.1).
    assert!(world.policies.as_ref().is_some_and(|policies| policies.asked() >= 9), "nobody asked for policies");
    world.policies = None;
    assert!(server.stop().success());
    server.start_again();
    let kept: Vec<&Case> = all.iter().copied().filter(|case| case.policy.is_some()).collect();
    let Some(letter) = Letter::send(&server, "carl", &kept) else { return };
    settle(&world, &server, &kept, &letter);

    // What is never taken comes back with the reason.
    let config = fs::read_to_string(server.config()).expect("it is there");
    fs::write(server.config(), config.replace("expire = 3600", "expire = 4")).expect("a file");
    let said = server.reload();
    assert!(said.contains("reloaded"), "{said}");
    wait(30, || if server.queue().is_empty() { Ok(()) } else { Err(format!("{:#?}", server.queue())) });
    let mut told = BTreeMap::new();
    let Some(notices) = notices(&server) else { return };
    for notice in &notices {
        let text = notice["text"].as_str().expect("text").split_whitespace().collect::<Vec<_>>().join(" ");
        for recipient in notice["recipients"].as_array().expect("a list") {
            let name = recipient["final-recipient"].as_str().expect("a field").to_owned();
            assert!(told.insert(name.clone(), (recipient, text.clone())).is_none(), "two notices of {name}");
        }
    }
    for case in &all {
        let notice = told.get(&format!("rfc822;berta@{}", case.domain));
        let (status, words) = match case.end {
            End::Waits(words) => ("5.4.7", words),
            End::Back(status, words) => (status, words),
            End::Sealed(_) | End::Open(_) => {
                assert!(notice.is_none(), "{}: {notice:?}", case.domain);
                continue;
            }
        };
        let (notice, text) = notice.unwrap_or_else(|| panic!("no notice of {}: {told:#?}", case.domain));
        assert_eq!((&notice["action"], &notice["status"]), (&Value::from("failed"), &Value::from(status)), "{notice}");
        // The words for people have the rule; the fields have it where the other server did not say anything itself.
        assert!(text.contains(words), "{words:?} in {text}");
        let own = notice["diagnostic-code"].as_str().is_some_and(|code| !code.contains(words));
        assert!(!own || notice["diagnostic-code"].to_string().contains("smtp; 454"), "{words:?} in {notice:#}");
    }
}
