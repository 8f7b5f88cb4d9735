//! What plugins were asked is in a session's file, and a new version of a plugin is asked the same: its calls of the host are
//! answered from the file, and what is not there is told of.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use hermetic::record::file;
use hermetic_tests::guest::shipped;
use hermetic_tests::server::{Rig, Server, binary};
use hermetic_tests::session::Session;

/// For header-rules: nothing that is sent here.
const RULES: &str = "settings = { rules = [{ header = \"Subject\", contains = \"lottery\", verdict = \"reject\" }] }";

/// A server that records with these keys, whose plugin `judge` is this one.
fn server(file: &Path, record: &str, settings: &str) -> Server {
    Rig::new()
        .listener("mx", "")
        .tables(&format!(
            "[record]\nkeep = [\"sampled\"]\nshare = 1.0\n{record}\n\n[[plugin]]\nname = \"judge\"\nfile = {file:?}\n\
             grants = {{ edit = true, keyvalue = 65536 }}\n{settings}\n\
             [[route]]\nrecipients = [\"*\"]\nplugins = [\"judge\"]\n"
        ))
        .start()
}

/// A message with this subject; the replies' codes.
fn send(server: &Server, subject: &str) -> Vec<u16> {
    let mut session = Session::open(server.port("mx")).expect("a session");
    let mut codes = Vec::new();
    for line in ["EHLO me.example.org", "MAIL FROM:<carl@example.org>", "RCPT TO:<anna@example.test>", "DATA"] {
        codes.push(session.command(line).expect("a reply").code);
    }
    if codes.last() == Some(&354) {
        session
            .write(format!("From: carl@example.org\r\nSubject: {subject}\r\n\r\nHello.\r\n.\r\n").as_bytes())
            .expect("sent");
        codes.push(session.reply().expect("a reply").code);
    }
    session.command("QUIT").expect("a reply");
    codes
}

/// `hermetic replay --plugins`: its exit code and what it prints.
fn rejudge(server: &Server, plugin: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(binary(&[]))
        .args(["replay", "--config"])
        .arg(server.config())
        .arg("--plugins")
        .arg(plugin)
        .args(arguments)
        .arg(server.data().join("sessions"))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code(), text)
}

#[test]
fn a_new_version_is_asked_what_the_old_one_was() {
    let (greylist, rules) = (shipped("greylist"), shipped("header-rules"));
    let mut server = server(&greylist, "bodies = true", "");
    assert_eq!(send(&server, "Hello"), [250, 250, 451, 503]);
    assert!(server.stop().success());

    // The same one says the same, with the database as it was then, and not as it is now.
    for _ in 0..2 {
        let (code, said) = rejudge(&server, &greylist, &[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(" 0 changed, 0 calls of the host that are not in the record, 0 left out"), "{said}");
        assert!(!said.starts_with("0 calls"), "{said}");
    }

    // Another one does not defer; the verdict is listed, with its line.
    let (code, said) = rejudge(&server, &rules, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("recipient for anna@example.test\n  recorded defer 4."), "{said}");
    assert!(said.contains("  now      proceed\n"), "{said}");
    let (_, said) = rejudge(&server, &rules, &["--json"]);
    let object = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut object = object.filter(|object| !object["changes"][0].is_null());
    let change = object.next_back().expect("a change");
    let line = change["changes"][0]["line"].as_u64().expect("a line") as usize;
    let file = fs::read_to_string(change["file"].as_str().expect("a file")).expect("it is there");
    let hook = file.lines().nth(line - 1).expect("the line");
    assert!(hook.contains("\"plugin\":\"judge\"") && hook.contains("\"hook\":\"recipient\""), "{hook}");

    let (code, said) = rejudge(&server, &greylist, &["--name", "nobody"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("0 calls judged again"), "{said}");
    let (code, said) = rejudge(&server, server.config(), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("it is not WebAssembly"), "{said}");
}

#[test]
fn a_call_that_is_not_in_the_record_is_told_of_and_not_made() {
    let greylist = shipped("greylist");
    let mut server = server(&greylist, "bodies = true", "");
    assert_eq!(send(&server, "Hello"), [250, 250, 451, 503]);
    assert!(server.stop().success());
    // The same file without what the plugin asked of the host.
    let mut forgotten = 0;
    for entry in fs::read_dir(server.data().join("sessions")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a file");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.pop();
        for line in lines.iter_mut().filter(|line| line.contains("\"plugin\":\"judge\"")) {
            let mut hook: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let calls = hook["calls"].as_array_mut().expect("calls");
            assert!(calls.iter().any(|call| call["call"] == "keyvalue.get"), "{line}");
            calls.clear();
            *line = hook.to_string();
            forgotten += 1;
        }
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let end = file::end(lines.len(), body.as_bytes());
        fs::write(&path, body + &end).expect("written");
    }
    assert_eq!(forgotten, 1);
    let (code, said) = rejudge(&server, &greylist, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("  not in the record: keyvalue.get [\""), "{said}");
    assert!(!said.contains(" 0 calls of the host that are not in the record"), "{said}");
}

#[test]
fn with_the_content_the_message_is_judged() {
    let rules = shipped("header-rules");
    let mut server = server(&rules, "bodies = true", RULES);
    assert_eq!(send(&server, "Hello"), [250, 250, 250, 354, 250]);
    assert!(server.stop().success());
    let files = fs::read_dir(server.data().join("sessions")).expect("a folder");
    let texts: Vec<String> =
        files.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a file")).collect();
    assert!(texts.iter().any(|text| text.contains("Subject: Hello")), "the content is kept where that is wanted");
    let (code, said) = rejudge(&server, &rules, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" 0 changed") && said.contains(" 0 left out") && !said.starts_with("0 calls"), "{said}");
    // Stricter rules are other settings, which are the configuration's.
    let config = fs::read_to_string(server.config()).expect("the configuration");
    assert!(config.contains("lottery"), "{config}");
    fs::write(server.config(), config.replace("lottery", "Hello")).expect("written");
    let (code, said) = rejudge(&server, &rules, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("  now      reject 5."), "{said}");
}

#[test]
fn without_the_content_only_the_envelope_is_judged() {
    let rules = shipped("header-rules");
    let mut server = server(&rules, "", RULES);
    assert_eq!(send(&server, "Something-Secret"), [250, 250, 250, 354, 250]);
    assert!(server.stop().success());
    for entry in fs::read_dir(server.data().join("sessions")).expect("a folder") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a file");
        assert!(!text.contains("Something-Secret"), "{text}");
    }
    let (code, said) = rejudge(&server, &rules, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" 0 changed") && !said.contains(" 0 left out"), "{said}");
}
