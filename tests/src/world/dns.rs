//! Knot as the whole of the DNS: it has the root and all zones below it, signs them, and answers for each.
//!
//! Owns keys, delegations and the process. Refuses to know what the records are for. Fails by panicking, with Knot's log.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::programs::{Daemon, command, program, run};

/// How a zone hangs on its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is signed, and its parent says with which key.
    Signed,
    /// It is not signed, and its parent says so.
    Unsigned,
    /// It is signed, and its parent names another key.
    Forged,
}

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// With the last dot.
    pub name: String,
    /// Its place in the chain of trust.
    pub link: Link,
    /// Lines of a zone file; names without a last dot are below the zone.
    pub records: String,
}

/// A running Knot.
#[derive(Debug)]
pub struct NameServer {
    folder: PathBuf,
    keymgr: PathBuf,
    address: SocketAddr,
    daemon: Option<Daemon>,
}

const HEAD: &str = "$TTL 300\n@ IN SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 60\n@ IN NS ns.invalid.\n";

impl NameServer {
    /// With these zones and, above them, the root. None: there is no Knot on this machine.
    pub fn start(folder: &Path, address: SocketAddr, zones: &[Zone]) -> Option<Self> {
        let (knotd, keymgr) = (program("knotd")?, program("keymgr")?);
        for part in ["keys", "run"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        let mut server = Self { folder: folder.to_owned(), keymgr, address, daemon: None };
        let here = folder.display();
        let mut config = format!(
            "server:\n  rundir: {here}/run\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {here}/keys\n\
             policy:\n  - id: signed\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n    manual: on\n\
             template:\n  - id: default\n    storage: {here}\n    journal-content: none\n    zonefile-sync: -1\n\
             zone:\n",
            address.ip(),
            address.port()
        );
        let root = Zone { name: ".".into(), link: Link::Signed, records: String::new() };
        let all: Vec<&Zone> = zones.iter().chain([&root]).collect();
        for zone in &all {
            let _ = write!(config, "  - domain: {}\n    file: {}\n", zone.name, file(&zone.name));
            if zone.link != Link::Unsigned {
                config.push_str("    dnssec-signing: on\n    dnssec-policy: signed\n");
            }
        }
        fs::write(folder.join("knot.conf"), config).expect("a file");
        for zone in &all {
            if zone.link != Link::Unsigned {
                server.keys(&zone.name, &["generate", "ksk=yes", "zsk=yes", "algorithm=ecdsap256sha256"]);
            }
        }
        for zone in &all {
            let mut text = format!("{HEAD}{}\n", zone.records);
            for child in zones.iter().filter(|child| parent(child, &all) == zone.name && child.name != zone.name) {
                let _ = writeln!(text, "{} IN NS ns.invalid.", child.name);
                if child.link != Link::Unsigned {
                    text.push_str(&server.delegation(child));
                }
            }
            fs::write(folder.join(file(&zone.name)), text).expect("a file");
        }
        let mut knotd = command(&knotd, ["-c"]);
        server.daemon = Some(Daemon::start(knotd.arg(folder.join("knot.conf")), &folder.join("log")));
        let end = Instant::now() + Duration::from_secs(20);
        while !server.log().contains("server started") || TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "Knot does not start:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = server.log();
        assert!(!log.contains("error:"), "{log}");
        Some(server)
    }

    fn keys(&self, zone: &str, arguments: &[&str]) -> String {
        let mut keymgr = command(&self.keymgr, ["-c"]);
        run(keymgr.arg(self.folder.join("knot.conf")).arg(zone).args(arguments), b"")
    }

    /// DS records, one for each digest.
    fn delegation(&self, child: &Zone) -> String {
        let mut text = String::new();
        for line in self.keys(&child.name, &["ds"]).lines() {
            let (record, digest) = line.rsplit_once(' ').expect("a DS record ends with a digest");
            let digest = if child.link == Link::Forged { "0".repeat(digest.len()) } else { digest.to_owned() };
            let _ = writeln!(text, "{} {digest}", record.replace(" DS ", " IN DS "));
        }
        text
    }

    /// Where it answers, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A file with the root's key.
    pub fn anchors(&self) -> PathBuf {
        let path = self.folder.join("root.key");
        fs::write(&path, self.keys(".", &["dnskey"]).replace(" DNSKEY ", " IN DNSKEY ")).expect("a file");
        path
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn file(zone: &str) -> String {
    format!("{}zone", if zone == "." { "root." } else { zone })
}

/// The nearest zone above.
fn parent(child: &Zone, all: &[&Zone]) -> String {
    let above = |zone: &&&Zone| zone.name == "." || child.name.ends_with(&format!(".{}", zone.name));
    all.iter().filter(above).map(|zone| zone.name.clone()).max_by_key(String::len).expect("the root")
}
