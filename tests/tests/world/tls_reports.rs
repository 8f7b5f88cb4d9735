//! A domain is told how TLS went with it: what is counted, by whom it is signed, and that nobody is told of the telling.

use std::{collections::BTreeMap, fs, path::Path};

use hermetic_tests::{
    message::Message,
    programs::{command, program, python, run, scripts},
    server::{Rig, free_port},
    world::{
        dns::{Link, NameServer, Zone},
        peers::Postfix,
        pki::{Authority, Kind},
        policies::PolicyHost,
    },
};
use serde_json::{Value, json};

use crate::{at, dkim, folder, submit, wait};

const NAME_SERVER: u8 = 60;
const POSTFIX: u8 = 61;
const POLICIES: u8 = 62;

/// Says something to the database with counts; what it answers.
fn ask(data: &Path, statement: &str) -> Option<String> {
    const SCRIPT: &str = "import sqlite3, sys\n\
        file = sqlite3.connect(sys.argv[1])\n\
        print([list(row) for row in file.execute(sys.argv[2])])\n\
        file.commit()\n";
    let file = data.join("tls-reports.db");
    let mut python = command(&program("python3")?, ["-c", SCRIPT]);
    Some(run(python.arg(file).arg(statement), b"").trim().to_owned())
}

#[test]
fn a_domain_is_told_how_tls_went_with_it() {
    let folder = folder();
    let here = folder.path();
    let (smtp, https) = (free_port(), free_port());
    let (postfix, web) = (at(POSTFIX, smtp), at(POLICIES, https));
    let records = format!(
        "far.test. IN MX 10 mx.far.test.\nmx.far.test. IN A {}\n_mta-sts.far.test. IN TXT \"v=STSv1; id=1;\"\n\
         mta-sts.far.test. IN A {}\n_smtp._tls.far.test. IN TXT \"v=TLSRPTv1; rua=mailto:reports@far.test\"\n{}",
        postfix.ip(),
        web.ip(),
        dkim::key(here, "one", "rsa"),
    );
    let zone = Zone { name: "test.".into(), link: Link::Unsigned, records };
    let Some(dns) = NameServer::start(&here.join("dns"), at(NAME_SERVER, free_port()), &[zone]) else { return };
    // Its certificate is for another name, and its policy is only being tested.
    let authority = Authority::new("an authority");
    let identity = authority.certify(&["elsewhere.test".into()], 2099, Kind::Ecdsa);
    let domains = ["far.test".to_owned()];
    let Some(postfix) = Postfix::start(&here.join("postfix"), &domains, &[(postfix, &identity)], &[]) else { return };
    let policy = "version: STSv1\r\nmode: testing\r\nmx: mx.far.test\r\nmax_age: 86400\r\n".to_owned();
    let policies = BTreeMap::from([("far.test".to_owned(), policy)]);
    let web = PolicyHost::start(web, &authority.certify(&["mta-sts.far.test".into()], 2099, Kind::Ecdsa), policies);
    let roots = here.join("roots.pem");
    fs::write(&roots, authority.pem()).expect("a file");
    let tables = format!(
        "[outbound]\nport = {smtp}\nhttps-port = {https}\nroots = {roots:?}\n[dns]\nservers = [\"{}\"]\ntrust-anchors = {:?}\n\
         [[dkim]]\ndomain = \"example.test\"\nselector = \"one\"\nkey = {:?}\n\
         [tls-reports]\nfrom = \"tls-reports@example.test\"\norganization = \"Hermetic\"\n",
        dns.address(),
        dns.anchors(),
        here.join("one"),
    );
    let mut server = Rig::new().listener("submission", "").user("anna", "secret").tables(&tables).start();

    let message = Message::seven_bit();
    let Some(()) = submit(&server, &message, &["berta@far.test".to_owned()]) else { return };
    let _ = postfix.maildir("far.test").one(&format!("X-Token: {}", message.token));
    assert!(server.stop().success());
    assert!(web.asked() > 0);

    // It was the day before yesterday.
    let Some(_) = ask(server.data(), "UPDATE page SET day = day - 2") else { return };
    let days = ask(server.data(), "SELECT day * 86400 FROM page").expect("as before");
    let day: u64 = days.trim_matches(['[', ']']).parse().expect("one page");
    server.start_again();
    let arrived = || postfix.maildir("far.test").messages().len() == 2;
    wait(60, || if arrived() { Ok(()) } else { Err(format!("{}\n{}", server.log(), postfix.log())) });
    let stored = postfix.maildir("far.test").one("TLS-Report-Domain: far.test");

    let Some(python) = python() else { return };
    let read = run(&mut command(&python, [scripts().join("read_tlsrpt.py")]), &stored);
    let read: Value = serde_json::from_str(&read).unwrap_or_else(|e| panic!("{e}: {read}"));
    let text = |name: &str| read[name].as_str().unwrap_or_default();
    assert_eq!((text("from"), text("to")), ("tls-reports@example.test", "reports@far.test"), "{read}");
    assert_eq!((text("tls-report-submitter"), text("tls-required")), ("example.test", "No"), "{read}");
    assert!(text("file").starts_with(&format!("example.test!far.test!{day}!{}!", day + 86_399)), "{read}");
    let id = text("message-id");
    assert_eq!(text("subject"), format!("Report Domain: far.test Submitter: example.test Report-ID: {id}"));
    assert_eq!(format!("<{}>", read["report"]["report-id"].as_str().unwrap_or_default()), id);
    let policies = json!([{
        "policy": {
            "policy-type": "sts",
            "policy-string": ["version: STSv1", "mode: testing", "mx: mx.far.test", "max_age: 86400"],
            "policy-domain": "far.test",
            "mx-host": ["mx.far.test"],
        },
        "summary": { "total-successful-session-count": 0, "total-failure-session-count": 1 },
        "failure-details": read["report"]["policies"][0]["failure-details"],
    }]);
    assert_eq!(read["report"]["policies"], policies);
    let details = &read["report"]["policies"][0]["failure-details"];
    let detail = &details[0];
    assert_eq!(details.as_array().map(Vec::len), Some(1));
    assert_eq!(detail["result-type"], "certificate-host-mismatch", "{detail}");
    assert_eq!(detail["receiving-mx-hostname"], "mx.far.test");
    assert_eq!(detail["receiving-ip"], at(POSTFIX, smtp).ip().to_string());
    assert_eq!(detail["failed-session-count"], 1);

    // RFC 8460 section 3: it has to be signed.
    let Some(said) = dkim::dkimpy(&dns, &stored) else { return };
    assert_eq!(said, [("one".to_owned(), "rsa-sha256".to_owned(), true)]);
    // It is done with, and its own session was not counted.
    assert!(server.stop().success());
    assert_eq!(ask(server.data(), "SELECT day, domain FROM page").as_deref(), Some("[]"));
}
