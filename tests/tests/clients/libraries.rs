//! Python's smtplib and nodemailer.

use hermetic_tests::{message::Message, server::Rig};
use serde_json::{Value, json};

use crate::{arrived, command, installed, missing, program, protocol, run, scripts};

const BERTA: &str = "berta@example.test";
const ANNA: &str = "anna@example.test";
const STRANGER: &str = "stranger@example.org";

// --- smtplib -------------------------------------------------------------------------------------------------------

/// What `smtplib_send.py` prints.
fn smtplib(plan: &Value, message: &Message) -> Option<Value> {
    let python = program("python3")?;
    let mut command = command(&python, [scripts().join("smtplib_send.py").as_os_str(), plan.to_string().as_ref()]);
    let said = run(&mut command, &message.octets);
    Some(serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}")))
}

#[test]
fn smtplib_to_the_mx() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let plan = json!({"port": server.port("mx"), "sender": STRANGER, "recipients": [BERTA, "carla@example.test"]});
    let Some(said) = smtplib(&plan, &message) else { return };
    assert_eq!(said["refused"], json!({}));
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTP");
    arrived(&server, "carla", STRANGER, &message);
}

#[test]
fn smtplib_gives_every_parameter() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let plan = json!({
        "port": server.port("mx"), "sender": STRANGER, "recipients": [BERTA],
        "mail_options": ["BODY=8BITMIME", "RET=HDRS", "ENVID=a+2Bb"],
        "rcpt_options": ["NOTIFY=SUCCESS,DELAY,FAILURE", "ORCPT=rfc822;berta+2Bold@example.org"],
    });
    let Some(said) = smtplib(&plan, &message) else { return };
    assert!(said["extensions"]["dsn"].is_string() && said["extensions"]["8bitmime"].is_string(), "{said}");
    arrived(&server, "berta", STRANGER, &message);
}

#[test]
fn smtplib_smtputf8() {
    let server = Rig::full().start();
    let message = Message::utf8_header();
    let from = "jürgen@example.org";
    let plan = json!({
        "port": server.port("mx"), "sender": from, "recipients": ["grüße@example.test"],
        "mail_options": ["BODY=8BITMIME", "SMTPUTF8"],
    });
    let Some(_) = smtplib(&plan, &message) else { return };
    protocol(&arrived(&server, "grüße", from, &message), "UTF8SMTP");
}

#[test]
fn smtplib_starttls_and_login() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let plan = json!({
        "port": server.port("submission"), "sender": ANNA, "recipients": [BERTA],
        "how": "starttls", "user": "anna", "password": "secret",
    });
    let Some(_) = smtplib(&plan, &message) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn smtplib_implicit_tls_with_the_mechanism_login() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let plan = json!({
        "port": server.port("submissions"), "sender": ANNA, "recipients": [BERTA],
        "how": "tls", "user": "anna", "password": "secret", "mechanism": "LOGIN",
    });
    let Some(_) = smtplib(&plan, &message) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn smtplib_lmtp() {
    let server = Rig::full().unix_listener("lmtp").start();
    for socket in ["", server.socket("lmtp").to_str().expect("UTF-8")] {
        let message = Message::eight_bit();
        let plan = json!({
            "port": server.port("lmtp"), "socket": socket, "sender": STRANGER, "recipients": [BERTA],
            "how": "lmtp", "mail_options": ["BODY=8BITMIME"],
        });
        let Some(_) = smtplib(&plan, &message) else { return };
        protocol(&arrived(&server, "berta", STRANGER, &message), "LMTP");
    }
}

#[test]
fn smtplib_hears_which_recipient_is_refused() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let plan = json!({"port": server.port("mx"), "sender": STRANGER, "recipients": ["x@elsewhere.example", BERTA]});
    let Some(said) = smtplib(&plan, &message) else { return };
    let refused = &said["refused"]["x@elsewhere.example"];
    assert!(refused[0].as_u64().is_some_and(|c| (550..=554).contains(&c)), "a relay attempt was not refused: {said}");
    arrived(&server, "berta", STRANGER, &message);
}

// --- nodemailer ----------------------------------------------------------------------------------------------------

/// What `nodemailer_send.js` prints.
fn nodemailer(plan: &Value, message: &[u8]) -> Option<String> {
    let node = program("node")?;
    let modules = installed().join("node/node_modules");
    if !modules.join("nodemailer").is_dir() {
        missing("nodemailer");
        return None;
    }
    let mut command = command(&node, [scripts().join("nodemailer_send.js").as_os_str(), plan.to_string().as_ref()]);
    Some(run(command.env("NODE_PATH", modules), message))
}

#[test]
fn nodemailer_to_the_mx() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let plan = json!({
        "transport": {"port": server.port("mx"), "ignoreTLS": true},
        "envelope": {"from": STRANGER, "to": [BERTA], "use8BitMime": true},
    });
    let Some(_) = nodemailer(&plan, &message.octets) else { return };
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTP");
}

#[test]
fn nodemailer_starttls_and_auth_plain() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let plan = json!({
        "transport": {
            "port": server.port("submission"), "requireTLS": true,
            "auth": {"user": "anna", "pass": "secret"}, "authMethod": "PLAIN",
        },
        "envelope": {"from": ANNA, "to": [BERTA]},
    });
    let Some(_) = nodemailer(&plan, &message.octets) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn nodemailer_implicit_tls_and_auth_login() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let plan = json!({
        "transport": {
            "port": server.port("submissions"), "secure": true,
            "auth": {"user": "anna", "pass": "secret"}, "authMethod": "LOGIN",
        },
        "envelope": {"from": ANNA, "to": [BERTA]},
    });
    let Some(_) = nodemailer(&plan, &message.octets) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn nodemailer_composes_and_asks_for_notifications() {
    let server = Rig::full().start();
    let token = hermetic_tests::message::token();
    let plan = json!({
        "transport": {"port": server.port("mx"), "ignoreTLS": true},
        "envelope": {"from": STRANGER, "to": [BERTA]},
        "composed": token,
        "dsn": {"id": "x1", "return": "headers", "notify": ["failure", "delay"], "recipient": STRANGER},
    });
    let text = "Grüße\n.\n..\nFrom nobody\n";
    let Some(_) = nodemailer(&plan, text.as_bytes()) else { return };
    let stored = String::from_utf8(server.maildir("berta").one(&token)).expect("nodemailer encodes what it composes");
    // The attachment is the text again, in base64: U+00FC is c3 bc in UTF-8.
    assert!(stored.contains("R3LDvMOfZQouCi4uCkZyb20gbm9ib2R5Cg=="), "{stored}");
}
