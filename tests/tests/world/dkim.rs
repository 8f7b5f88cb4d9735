//! What Hermetic signs, dkimpy and OpenDKIM verify; what was changed on the way, neither does.

use std::{fs, path::Path, process::Command};

use hermetic_tests::{
    message::Message,
    programs::{command, program, python, run, scripts},
    server::{Rig, binary, free_port},
    world::{
        dns::{Link, NameServer, Zone},
        peers::{OpenDkim, Postfix},
        pki::{Authority, Kind},
    },
};
use serde_json::{Value, json};

use crate::{at, folder, submit};

const NAME_SERVER: u8 = 40;
const POSTFIX: u8 = 41;
const OPENDKIM: u8 = 42;
const KEYS: [(&str, &str); 2] = [("one", "rsa"), ("two", "ed25519")];

/// Makes a key; the line for the zone, as the command prints it.
pub(crate) fn key(folder: &Path, selector: &str, kind: &str) -> String {
    let config = folder.join("keys.toml");
    let text = "[[listener]]\nkind = \"submission\"\naddress = \"127.0.0.1:0\"\n";
    fs::write(&config, text).expect("a file");
    let mut hermetic = Command::new(binary(&[]));
    hermetic.args(["dkim", "new", "example.test", "--selector", selector, "--kind", kind, "--out"]);
    let said = run(hermetic.arg(folder.join(selector)).arg("--config").arg(&config), b"");
    said.lines().find(|line| line.contains(" IN TXT ")).expect("a record").to_owned()
}

/// What dkimpy says of each signature.
pub(crate) fn dkimpy(dns: &NameServer, message: &[u8]) -> Option<Vec<(String, String, bool)>> {
    let mut verify = command(&python()?, [scripts().join("dkim_verify.py")]);
    let said = run(verify.args([dns.address().ip().to_string(), dns.address().port().to_string()]), message);
    let said: Vec<Value> = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |one: &Value| (text(&one["selector"]), text(&one["algorithm"]), one["good"] == true);
    Some(said.iter().map(of).collect())
}

/// What OpenDKIM has written on a message: `dkim=RESULT` for each signature.
fn opendkim(message: &str) -> Vec<&str> {
    let unsigned = message.split("\nDKIM-Signature:").next().unwrap_or_default();
    unsigned.split_whitespace().filter_map(|word| word.strip_prefix("dkim=")).collect()
}

#[test]
fn signatures_are_good_until_somebody_changes_the_message() {
    let folder = folder();
    let here = folder.path();
    let records = KEYS.map(|(selector, kind)| key(here, selector, kind)).join("\n");
    let zone = Zone { name: "test.".into(), link: Link::Signed, records };
    let Some(dns) = NameServer::start(&here.join("dns"), at(NAME_SERVER, free_port()), &[zone]) else { return };
    let Some(milter) = OpenDkim::start(&here.join("opendkim"), at(OPENDKIM, free_port()), &dns) else { return };
    let address = at(POSTFIX, free_port());
    let identity = Authority::new("an authority").certify(&["far.test".into()], 2099, Kind::Ecdsa);
    let parameters = [format!("smtpd_milters = {}", milter.milter()), "milter_default_action = tempfail".into()];
    let domains = ["far.test".to_owned()];
    let Some(postfix) = Postfix::start(&here.join("postfix"), &domains, &[(address, &identity)], &parameters) else {
        return;
    };
    let mut tables = format!("[outbound]\n[[destination]]\ndomains = [\"far.test\"]\nhosts = [\"{address}\"]\n");
    for (selector, _) in KEYS {
        let file = here.join(selector);
        tables += &format!("[[dkim]]\ndomain = \"example.test\"\nselector = \"{selector}\"\nkey = {file:?}\n");
    }
    let server = Rig::new().listener("submission", "").user("anna", "secret").tables(&tables).start();

    let mut sent = String::new();
    for message in [Message::seven_bit(), Message::eight_bit()] {
        let Some(()) = submit(&server, &message, &["berta@far.test".to_owned()]) else { return };
        let stored = postfix.maildir("far.test").one(&format!("X-Token: {}", message.token));
        let text = String::from_utf8(stored.clone()).expect("UTF-8");
        let Some(mut said) = dkimpy(&dns, &stored) else { return };
        said.sort();
        let good = [("one", "rsa-sha256", true), ("two", "ed25519-sha256", true)];
        assert_eq!(said, good.map(|(s, a, good)| (s.to_owned(), a.to_owned(), good)), "dkimpy:\n{text}");
        let said = opendkim(&text);
        assert!(said == ["pass", "pass"], "OpenDKIM: {said:?}\n{text}\n{}", milter.log());

        sent = text[text.find("DKIM-Signature:").expect("signed")..].to_owned();
    }

    // The last one from its first signature on, by a way of our own; then with changes that a reader would notice.
    for (what, changed, expected) in [
        ("nothing", sent.to_owned(), "pass"),
        ("its last line", sent.replacen("the last line", "the last lie", 1), "fail"),
        ("its subject", sent.replacen("Subject: ", "Subject: not ", 1), "fail"),
        ("its author", sent.replacen("From: Anna", "From: Hanna", 1), "fail"),
        ("a second From", sent.replacen("X-Token:", "From: berta@example.test\nX-Token:", 1), "fail"),
        ("a Reply-To", sent.replacen("X-Token:", "Reply-To: carl@example.test\nX-Token:", 1), "fail"),
        ("the end", format!("{sent}P.S.: and pay at once\n"), "fail"),
    ] {
        assert_eq!(what == "nothing", changed == sent, "{what}");
        let word = format!("X-Case: {}", hermetic_tests::message::token());
        let changed = format!("{word}\n{changed}").replace('\n', "\r\n");
        let Some(said) = dkimpy(&dns, changed.as_bytes()) else { return };
        assert!(said.len() == 2 && said.iter().all(|one| one.2 == (expected == "pass")), "{what}: {said:?}");
        let Some(python) = program("python3") else { return };
        let plan = json!({"port": postfix.port(), "sender": "anna@example.test", "recipients": ["berta@far.test"],
                          "mail_options": ["BODY=8BITMIME"]});
        run(
            &mut command(&python, [scripts().join("smtplib_send.py").as_os_str(), plan.to_string().as_ref()]),
            changed.as_bytes(),
        );
        let stored = postfix.maildir("far.test").one(&word);
        let text = String::from_utf8(stored).expect("UTF-8");
        let said = opendkim(&text);
        assert!(!said.is_empty() && said.iter().all(|one| *one == expected), "{what}: OpenDKIM: {said:?}\n{text}");
    }
}
