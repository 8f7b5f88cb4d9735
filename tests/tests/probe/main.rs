//! `hermetic probe` finds every fault of a server that is bad on purpose, and none in Hermetic.
//!
//! `clients/probe.rs` has the same for Postfix.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod bad;
mod network;

use std::{
    fmt::Write as _,
    fs,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bad::{Bad, DOMAIN, Fault, NAME};
use hermetic_tests::server::{Rig, binary};
use network::{Authority, Flaw, Record, name_server, policy_server};
use serde_json::Value;

/// A domain's certificate authority, name server and policy, and the configuration that knows them.
struct Scene {
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Scene {
    /// With this MTA-STS policy.
    fn new(policy: Option<String>) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let roots = folder.path().join("roots.pem");
        fs::write(&roots, &authority.pem).unwrap();
        let (mut names, mut https) = (Vec::new(), 443);
        if let Some(policy) = policy {
            https = policy_server(authority.server(&format!("mta-sts.{DOMAIN}"), Flaw::Nothing), policy);
            names.push(("_mta-sts.bad.test", Record::Txt("v=STSv1; id=1;")));
            names.push(("mta-sts.bad.test", Record::A([127, 0, 0, 1])));
        }
        let text = format!(
            "name = \"probe.test\"\ndata = {:?}\n[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:9\"\n\
             [[domain]]\nname = \"probe.test\"\nmailboxes = [\"postmaster\"]\n\
             [dns]\nservers = [\"127.0.0.1:{}\"]\ndnssec = false\ntimeout = 3\n[outbound]\nroots = {:?}\nhttps-port = {https}\n",
            folder.path().join("data").display().to_string(),
            name_server(names),
            roots.display().to_string(),
        );
        fs::write(folder.path().join("hermetic.toml"), text).unwrap();
        Self { authority, folder }
    }

    fn probe(&self, port: u16, more: &[&str]) -> Probed {
        let out = Command::new(binary(&[]))
            .args(["probe", &format!("{NAME}:{port}"), "--at", "127.0.0.1"])
            .args(if more.contains(&"--domain") { &[][..] } else { &["--domain", DOMAIN] })
            .args(["--timeout", "2", "--json", "--transcript", "--config"])
            .arg(self.folder.path().join("hermetic.toml"))
            .args(more)
            .output()
            .expect("hermetic starts");
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        let json = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"));
        Probed { code: out.status.code(), json, errors }
    }
}

struct Probed {
    code: Option<i32>,
    json: Value,
    errors: String,
}

impl Probed {
    fn with(&self, verdicts: &[&str]) -> Vec<String> {
        let all = self.json["findings"].as_array().into_iter().flatten();
        let with = all.filter(|one| verdicts.contains(&one["verdict"].as_str().unwrap_or_default()));
        with.map(|one| format!("{} {}: {}", text(&one["verdict"]), text(&one["check"]), text(&one["text"]))).collect()
    }

    fn has(&self, verdict: &str, check: &str) -> bool {
        self.with(&[verdict]).iter().any(|one| one.starts_with(&format!("{verdict} {check}:")))
    }

    fn shown(&self) -> String {
        let mut shown = format!("exit code {:?}\n{}", self.code, self.errors);
        for finding in self.with(&["fail", "warn", "untested", "pass", "info"]) {
            let _ = writeln!(shown, "{finding}");
        }
        for line in self.json["transcript"].as_array().into_iter().flatten() {
            let _ = writeln!(shown, "    {}", text(line));
        }
        shown
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What is wrong, and what has to be said of it.
const FAULTS: [(Fault, &str, &str); 32] = [
    (Fault::OpenRelay, "fail", "open-relay"),
    (Fault::PercentHack, "fail", "open-relay"),
    (Fault::Injection, "fail", "starttls-injection"),
    (Fault::Smuggling(b"\n.\n"), "fail", "smuggling-lf-dot-lf"),
    (Fault::Smuggling(b"\n.\r\n"), "fail", "smuggling-lf-dot-crlf"),
    (Fault::Smuggling(b"\r\n.\n"), "fail", "smuggling-crlf-dot-lf"),
    (Fault::Smuggling(b"\r.\r"), "fail", "smuggling-cr-dot-cr"),
    (Fault::Smuggling(b"\r.\r\n"), "fail", "smuggling-cr-dot-crlf"),
    (Fault::Smuggling(b"\r\n.\r"), "fail", "smuggling-crlf-dot-cr"),
    (Fault::Smuggling(b"\n.\r"), "fail", "smuggling-lf-dot-cr"),
    (Fault::Smuggling(b"\r.\n"), "fail", "smuggling-cr-dot-lf"),
    (Fault::QuietSmuggling(b"\n.\n"), "fail", "smuggling-lf-dot-lf"),
    (Fault::PlaintextAuth, "fail", "auth-plaintext"),
    (Fault::SilentPlaintextAuth, "fail", "auth-plaintext"),
    (Fault::Liar, "fail", "extensions"),
    (Fault::Deaf, "fail", "pipelining"),
    (Fault::ShortLines, "fail", "long-line"),
    (Fault::Fragile, "fail", "long-line"),
    (Fault::NoNotices, "fail", "null-sender"),
    (Fault::NoPostmaster, "fail", "postmaster"),
    (Fault::TlsForEver, "fail", "starttls"),
    (Fault::BrokenTls, "fail", "starttls"),
    (Fault::Silent, "fail", "greeting"),
    (Fault::NoExtensions, "fail", "capabilities"),
    (Fault::OldTls, "warn", "tls-versions"),
    (Fault::NoTls, "warn", "starttls"),
    (Fault::Talkative, "warn", "vrfy"),
    (Fault::Talkative, "warn", "expn"),
    (Fault::Nameless, "warn", "hello-required"),
    (Fault::TakesAll, "warn", "unknown-parameter"),
    (Fault::Size, "warn", "size"),
    // Neither a fault nor none.
    (Fault::BusyTls, "untested", "starttls"),
];

/// What may be found besides where no TLS follows the reply: it depends on whether that is read together with the reply, which
/// ends the session, or after it, when it is taken for a handshake.
const BROKEN: [&str; 3] = [" tls:", " tls-versions:", " starttls-injection:"];

#[test]
fn every_planted_fault_is_found() {
    let scene = Scene::new(None);
    let tls = scene.authority.server(NAME, Flaw::Nothing);
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(String::new()));
    thread::scope(|scope| {
        // Most of it is waiting.
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((fault, verdict, check)) = FAULTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let server = Bad::start(*fault, Arc::clone(&tls));
                    let smuggles = matches!(fault, Fault::Smuggling(_) | Fault::QuietSmuggling(_));
                    let more = if smuggles { &["--to", "anna@bad.test"][..] } else { &[] };
                    let probed = scene.probe(server.port, more);
                    let code = i32::from(*verdict == "fail");
                    // One wrong end of data may hold another; and without a handshake there is no TLS.
                    let known = |one: &String| {
                        one.contains(" smuggling-")
                            || (*fault == Fault::BrokenTls && BROKEN.iter().any(|check| one.contains(check)))
                            || FAULTS.iter().any(|(of, verdict, check)| {
                                of == fault && one.starts_with(&format!("{verdict} {check}:"))
                            })
                    };
                    let more = !probed.with(&["fail", "warn"]).iter().all(known);
                    if !probed.has(verdict, check) || probed.code != Some(code) || more {
                        let mut missed = missed.lock().unwrap();
                        let _ = writeln!(missed, "== {fault:?}: no {verdict} {check}, or more\n{}", probed.shown());
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "{missed}");
}

#[test]
fn a_server_without_faults_has_none() {
    let scene = Scene::new(Some(format!("version: STSv1\nmode: enforce\nmx: {NAME}\nmax_age: 86400\n")));
    let server = Bad::start(Fault::Nothing, scene.authority.server(NAME, Flaw::Nothing));
    let probed = scene.probe(server.port, &["--to", "anna@bad.test"]);
    assert!(probed.with(&["fail", "warn", "untested"]).is_empty() && probed.code == Some(0), "{}", probed.shown());
    for check in ["mta-sts", "certificate-name", "certificate-trust", "certificate-dates", "tls-versions", "open-relay"]
    {
        assert!(probed.has("pass", check), "{check}\n{}", probed.shown());
    }
    assert_eq!(probed.with(&["pass"]).iter().filter(|one| one.contains("smuggling")).count(), 8, "{}", probed.shown());
}

#[test]
fn certificates_and_policies_that_do_not_fit() {
    let policy = |mode: &str, mx: &str| Some(format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n"));
    for (flaw, policy, expected) in [
        (Flaw::Expired, None, &[("fail", "certificate-dates")][..]),
        (Flaw::SelfSigned, None, &[("fail", "certificate-trust")]),
        (Flaw::OtherName, None, &[("fail", "certificate-name")]),
        (Flaw::Nothing, policy("enforce", "other.bad.test"), &[("fail", "mta-sts")]),
        (Flaw::Nothing, policy("testing", "other.bad.test"), &[("warn", "mta-sts")]),
        (Flaw::Expired, policy("enforce", "*.bad.test"), &[("fail", "certificate-dates"), ("fail", "mta-sts")]),
        (Flaw::Nothing, Some("nonsense".into()), &[("fail", "mta-sts")]),
    ] {
        let scene = Scene::new(policy.clone());
        let server = Bad::start(Fault::Nothing, scene.authority.server(NAME, flaw));
        let probed = scene.probe(server.port, &[]);
        let found = probed.with(&["fail", "warn"]);
        let all = expected.iter().all(|(verdict, check)| probed.has(verdict, check));
        assert!(all && found.len() == expected.len(), "{flaw:?} {policy:?}: {found:#?}\n{}", probed.shown());
    }
}

#[test]
fn hermetic_has_no_fault() {
    let scene = Scene::new(None);
    let (chain, key) = scene.authority.pem(NAME);
    let file = |name: &str, text: &str| {
        let path = scene.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let tables = format!(
        "[tls]\ncertificate = {:?}\nkey = {:?}\n[[domain]]\nname = {DOMAIN:?}\nmailboxes = [\"anna\", \"postmaster\"]\n",
        file("chain.pem", &chain),
        file("key.pem", &key)
    );
    let server = Rig::full().tables(&tables).start();
    for (kind, more) in
        [("mx", &["--to", "anna@bad.test"][..]), ("submission", &[]), ("submissions", &["--implicit-tls"])]
    {
        let probed = scene.probe(server.port(kind), more);
        assert!(
            probed.with(&["fail", "warn"]).is_empty() && probed.code == Some(0),
            "{kind}\n{}\n{}",
            probed.shown(),
            server.log()
        );
    }
}

#[test]
fn what_can_not_be_tested() {
    let scene = Scene::new(None);
    let nobody = hermetic_tests::server::free_port();
    let out = Command::new(binary(&[]))
        .args(["probe", &format!("127.0.0.1:{nobody}"), "--config"])
        .arg(scene.folder.path().join("hermetic.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.contains("no connection"), "{out:?}");

    // A configuration that does not count is no fault of the server.
    let broken = scene.folder.path().join("broken.toml");
    fs::write(&broken, "nonsense").unwrap();
    let out = Command::new(binary(&[])).args(["probe", "127.0.0.1:9", "--config"]).arg(broken).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.contains("broken.toml") && out.stdout.is_empty(), "{out:?}");
}

/// Where it comes to nothing, what it came to is said, and what is known beside that makes no success.
#[test]
fn what_comes_to_nothing() {
    let scene = Scene::new(None);
    let tls = scene.authority.server(NAME, Flaw::Nothing);
    for (fault, more, code, verdict, check) in [
        (Fault::Closed, &[][..], 2, "untested", "greeting"),
        (Fault::Nothing, &["--implicit-tls"], 1, "fail", "tls"),
        (Fault::Silent, &["--implicit-tls"], 2, "untested", "tls"),
    ] {
        let server = Bad::start(fault, Arc::clone(&tls));
        let probed = scene.probe(server.port, more);
        let one = probed.with(&["fail", "warn", "pass", "untested"]).len() == 1;
        let told = probed.errors.contains("nothing could be tested") == (code == 2);
        assert!(
            probed.code == Some(code) && one && told && probed.has(verdict, check),
            "{fault:?}\n{}",
            probed.shown()
        );
    }
}

/// Whatever script it is typed in, servers and the DNS are asked for a name of letters, digits and hyphens.
#[test]
fn a_domain_in_another_script() {
    let scene = Scene::new(None);
    let server = Bad::start(Fault::Nothing, scene.authority.server(NAME, Flaw::Nothing));
    let probed = scene.probe(server.port, &["--domain", "Bücher.test"]);
    assert_eq!(probed.json["domain"], "xn--bcher-kva.test", "{}", probed.shown());
    assert!(probed.shown().contains("RCPT TO:<hermetic-probe-no-such-user@xn--bcher-kva.test>"), "{}", probed.shown());
    assert!(!probed.shown().contains("ücher"), "{}", probed.shown());
}
