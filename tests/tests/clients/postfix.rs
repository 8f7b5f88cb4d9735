//! Postfix's clients, smtp(8) and lmtp(8), in a private instance.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use hermetic_tests::{
    message::Message,
    server::{Rig, Server, free_port},
};
use serde_json::json;

use crate::{arrived, command, program, protocol, root, run, scripts};

const STRANGER: &str = "stranger@example.org";
const BERTA: &str = "berta@example.test";

/// A Postfix that hands all its mail on. Stopped when dropped.
pub(crate) struct Postfix {
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Postfix {
    fn start(server: &Server, parameters: &[String]) -> Option<Self> {
        Self::start_below(server.folder(), parameters)
    }

    /// In a folder that everybody may read.
    pub(crate) fn start_below(folder: &Path, parameters: &[String]) -> Option<Self> {
        root()?;
        program("postfix")?;
        let folder = folder.join("postfix");
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("ours");
        let postfix = Self { folder, port: free_port() };
        run(postfix.script("start").arg(postfix.port.to_string()).args(parameters), b"");
        Some(postfix)
    }

    fn script(&self, verb: &str) -> Command {
        command(&scripts().join("postfix.sh"), [verb.as_ref(), self.folder.as_os_str()])
    }

    /// Hands a message in, and returns the SMTP dialogue once it has left.
    fn carry(&self, from: &str, to: &[&str], message: &Message, mail: &[&str], rcpt: &[&str]) -> String {
        let plan =
            json!({"port": self.port, "sender": from, "recipients": to, "mail_options": mail, "rcpt_options": rcpt});
        let send = run(&mut command(&scripts().join("smtplib_send.py"), [plan.to_string()]), &message.octets);
        let end = Instant::now() + Duration::from_secs(30);
        while !run(&mut self.script("queue"), b"").contains("queue is empty") {
            assert!(Instant::now() < end, "still in Postfix's queue\n{send}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = self.log();
        assert!(!log.contains("status=bounced") && !log.contains("status=deferred"), "{log}");
        log
    }

    /// The dialogue, and what became of each recipient.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let wanted = |l: &&str| ["]: > ", "]: < ", "status=", "warning:", "fatal:"].iter().any(|w| l.contains(w));
        log.lines().filter(wanted).fold(String::new(), |all, line| all + line + "\n")
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = self.script("stop").status();
    }
}

fn relayhost(server: &Server, kind: &str) -> String {
    format!("relayhost = [127.0.0.1]:{}", server.port(kind))
}

#[test]
fn postfix_starttls_eight_bit_and_dsn() {
    let server = Rig::full().start();
    let parameters = [relayhost(&server, "mx"), "smtp_tls_security_level = encrypt".into()];
    let Some(postfix) = Postfix::start(&server, &parameters) else { return };
    let message = Message::eight_bit();
    let to = [BERTA, "carla@example.test"];
    let said =
        postfix.carry(STRANGER, &to, &message, &["BODY=8BITMIME", "RET=HDRS", "ENVID=x1"], &["NOTIFY=FAILURE,DELAY"]);
    for word in ["BODY=8BITMIME", "RET=HDRS", "ENVID=x1", "NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;berta@example.test"] {
        assert!(said.contains(word), "Postfix did not say {word}:\n{said}");
    }
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTPS");
    arrived(&server, "carla", STRANGER, &message);
}

#[test]
fn postfix_smtputf8() {
    let server = Rig::full().start();
    let Some(postfix) = Postfix::start(&server, &[relayhost(&server, "mx")]) else { return };
    let message = Message::utf8_header();
    let from = "jürgen@example.org";
    let said = postfix.carry(from, &["grüße@example.test"], &message, &["SMTPUTF8", "BODY=8BITMIME"], &[]);
    assert!(said.contains(" SMTPUTF8"), "{said}");
    protocol(&arrived(&server, "grüße", from, &message), "UTF8SMTP");
}

#[test]
fn postfix_as_a_user() {
    let server = Rig::full().start();
    let parameters = [
        relayhost(&server, "submission"),
        "smtp_tls_security_level = encrypt".into(),
        "smtp_sasl_auth_enable = yes".into(),
        "smtp_sasl_password_maps = static:anna:secret".into(),
    ];
    let Some(postfix) = Postfix::start(&server, &parameters) else { return };
    let message = Message::seven_bit();
    postfix.carry("anna@example.test", &[BERTA], &message, &[], &[]);
    protocol(&arrived(&server, "berta", "anna@example.test", &message), "ESMTPSA");
}

#[test]
fn postfix_as_a_user_over_implicit_tls() {
    let server = Rig::full().start();
    let parameters = [
        relayhost(&server, "submissions"),
        "smtp_tls_security_level = encrypt".into(),
        "smtp_tls_wrappermode = yes".into(),
        "smtp_sasl_auth_enable = yes".into(),
        "smtp_sasl_password_maps = static:anna:secret".into(),
    ];
    let Some(postfix) = Postfix::start(&server, &parameters) else { return };
    let message = Message::eight_bit();
    postfix.carry("anna@example.test", &[BERTA], &message, &["BODY=8BITMIME"], &[]);
    protocol(&arrived(&server, "berta", "anna@example.test", &message), "ESMTPSA");
}

#[test]
fn postfix_lmtp() {
    let server = Rig::full().unix_listener("lmtp").start();
    let transports =
        [format!("lmtp:[127.0.0.1]:{}", server.port("lmtp")), format!("lmtp:unix:{}", server.socket("lmtp").display())];
    for transport in transports {
        let Some(postfix) = Postfix::start(&server, &[format!("default_transport = {transport}")]) else { return };
        let message = Message::eight_bit();
        postfix.carry(STRANGER, &[BERTA, "carla@example.test"], &message, &["BODY=8BITMIME"], &[]);
        protocol(&arrived(&server, "berta", STRANGER, &message), "LMTP");
        protocol(&arrived(&server, "carla", STRANGER, &message), "LMTP");
        let folder = postfix.folder.clone();
        drop(postfix);
        fs::remove_dir_all(folder).expect("Postfix has stopped");
    }
}
