//! REQUIRETLS (RFC 8689): from a client to two servers, one of which does not offer it, and back to the sender.

use std::fs;

use hermetic_tests::{
    maildir::Maildir,
    programs::{command, python, run},
    server::{Rig, Server, free_port},
    world::{
        dns::{Link, NameServer, Zone},
        pki::{Authority, Kind},
    },
};
use serde_json::Value;

use crate::{at, folder, wait};

const NAME_SERVER: u8 = 40;

const SUBMIT: &str = r#"
import smtplib, ssl, sys
with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as smtp:
    smtp.starttls(context=ssl._create_unverified_context())
    smtp.sendmail("anna@back.test", ["berta@with.test", "carl@without.test"], "Subject: a secret\r\n\r\nSecret words\r\n",
        mail_options=["REQUIRETLS"])
"#;

/// One that others can believe.
fn server(folder: &std::path::Path, authority: &Authority, name: &str, tables: &str) -> Server {
    authority.certify(&[name.to_owned()], 2099, Kind::Ecdsa).write(folder, name);
    let file = |kind: &str| folder.join(format!("{name}.{kind}"));
    let tls = format!("[tls]\ncertificate = {:?}\nkey = {:?}\n", file("crt"), file("key"));
    Rig::new().listener("mx", "").tables(&format!("{tls}{tables}")).start()
}

/// Who waits at a server, and what is known of the message.
fn waiting(server: &Server, recipient: &str) -> Option<String> {
    let of = |entry: &&Value| entry["recipient"].as_str() == Some(recipient);
    let entry = server.queue().iter().find(of)?["entry"].as_str().expect("an id").to_owned();
    let message = entry.split('.').next().expect("a message's id");
    Some(server.run(&["queue", "show", message], ""))
}

#[test]
fn it_holds_on_every_way() {
    let Some(python) = python() else { return };
    let folder = folder();
    let authority = Authority::new("the only authority");
    let records = "mx.with IN A 127.0.0.1\nmx.without IN A 127.0.0.1\n".into();
    let zone = Zone { name: "test.".into(), link: Link::Unsigned, records };
    let dns = NameServer::start(&folder.path().join("dns"), at(NAME_SERVER, free_port()), &[zone]);
    let Some(dns) = dns else { return };
    // Mail stays there to be looked at.
    let domain = |name: &str| format!("[[domain]]\nname = \"{name}\"\nmailboxes = [\"*\"]\n");
    let tables = format!("{}{}[queue]\nhold = true\n", domain("with.test"), domain("back.test"));
    let with = server(folder.path(), &authority, "mx.with.test", &tables);
    let without = server(folder.path(), &authority, "mx.without.test", &domain("without.test"));
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, authority.pem()).expect("a file");
    let tables = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[outbound]\nroots = {roots:?}\n[dns]\nservers = [\"{}\"]\ndnssec = false\n\
         [[destination]]\ndomains = [\"with.test\", \"back.test\"]\nhosts = [\"mx.with.test:{}\"]\n\
         [[destination]]\ndomains = [\"without.test\"]\nhosts = [\"mx.without.test:{}\"]\nignore = [\"REQUIRETLS\"]\n",
        dns.address(),
        with.port("mx"),
        without.port("mx")
    );
    let near = Rig::new().listener("mx", "").tables(&tables).start();
    run(&mut command(&python, ["-c", SUBMIT, &near.port("mx").to_string()]), b"");

    // The message goes on as it came, and what is told of it is protected as it was.
    for (recipient, from) in [("berta@with.test", "from      anna@back.test ("), ("anna@back.test", "from      <> (")] {
        wait(30, || match waiting(&with, recipient) {
            Some(shown) if shown.contains(from) && shown.contains("requiretls") => Ok(()),
            other => Err(format!("{recipient}: {other:?}\n{}", near.log())),
        });
    }
    wait(20, || if near.queue().is_empty() { Ok(()) } else { Err(format!("{:#?}", near.queue())) });
    assert!(!without.data().join("mail/without.test").exists() && without.queue().is_empty(), "{}", without.log());

    let config = fs::read_to_string(with.config()).expect("it is there");
    fs::write(with.config(), config.replace("hold = true\n", "hold = false\n")).expect("a file");
    let said = with.reload();
    assert!(said.contains("reloaded"), "{said}");
    let maildir = Maildir::new(with.data().join("mail/back.test/anna"));
    wait(20, || if maildir.messages().len() == 1 { Ok(()) } else { Err(format!("{:#?}", with.queue())) });
    let notice = String::from_utf8_lossy(&maildir.messages()[0]).into_owned();
    for words in [
        "Return-Path: <>",
        "Final-Recipient: rfc822;carl@without.test\r\nAction: failed\r\nStatus: 5.7.30\r\n",
        "Remote-MTA: dns; mx.without.test\r\n",
        "Content-Type: text/rfc822-headers\r\n",
        "Subject: a secret\r\n",
    ] {
        assert!(notice.contains(words), "{words:?} in:\n{notice}");
    }
    assert!(!notice.contains("Secret words") && !notice.contains("berta"), "{notice}");
}
