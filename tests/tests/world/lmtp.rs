//! Local mailboxes that Dovecot keeps.

use hermetic_tests::{
    message::{Message, assert_same, newlines},
    server::{Rig, free_port},
    world::peers::Dovecot,
};

use crate::{at, folder, notices, submit, wait};

const DOVECOT: u8 = 30;
const USERS: &[(&str, u32)] = &[("anna@mail.test", 1024), ("full@mail.test", 1), ("berta@post.test", 1024)];

#[test]
fn dovecot_keeps_the_mailboxes() {
    let folder = folder();
    let (place, address) = (folder.path().join("dovecot"), at(DOVECOT, free_port()));
    let Some(dovecot) = Dovecot::start(&place, address, USERS) else { return };
    // By the socket, and by an address.
    let tables = format!(
        "[[domain]]\nname = \"mail.test\"\nmailboxes = [\"anna\", \"full\", \"gone\"]\n\
         aliases = {{ postmaster = \"anna\" }}\ndeliver = \"lmtp:unix:{}\"\n\
         [[domain]]\nname = \"post.test\"\nmailboxes = [\"berta\"]\naliases = {{ postmaster = \"berta\" }}\ndeliver = \"lmtp:{address}\"\n\
         [queue]\nretry-first = 1\nretry-most = 1\n",
        dovecot.socket().display()
    );
    let server = Rig::new().listener("submission", "").user("anna", "secret").tables(&tables).start();

    // Dovecot refuses two of four, one of them only when it has the message: each has an end of its own.
    let message = Message::eight_bit();
    let to = ["anna+Books@mail.test", "full@mail.test", "gone@mail.test", "Postmaster+x@POST.test"].map(str::to_owned);
    let Some(()) = submit(&server, &message, &to) else { return };
    let word = format!("X-Token: {}", message.token);
    for maildir in [dovecot.maildir("anna@mail.test", Some("Books")), dovecot.maildir("berta@post.test", Some("x"))] {
        let stored = maildir.one(&word);
        assert_same(&stored, &message);
        let text = String::from_utf8(newlines(&stored)).expect("UTF-8");
        let trace = text.split(&word).next().unwrap_or_default();
        assert!(trace.starts_with("Return-Path: <anna@example.test>\n"), "{trace}");
        assert_eq!(trace.matches("Return-Path:").count(), 1, "{trace}");
        assert_eq!(trace.matches("Received: ").count(), 2, "Hermetic's and Dovecot's: {trace}");
    }
    wait(20, || match server.queue() {
        queue if queue.is_empty() => Ok(()),
        queue => Err(format!("{queue:#?}\n{}", dovecot.log())),
    });
    let Some(told) = notices(&server) else { return };
    let mut told: Vec<_> = told.iter().flat_map(|notice| notice["recipients"].as_array().expect("a list")).collect();
    told.sort_by_key(|recipient| recipient["final-recipient"].to_string());
    let fields = |name: &str| told.iter().map(|one| one[name].as_str().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(fields("final-recipient"), ["rfc822;full@mail.test", "rfc822;gone@mail.test"], "{told:#?}");
    assert_eq!(fields("action"), ["failed", "failed"]);
    assert_eq!(fields("status"), ["5.2.2", "5.1.1"]);
    let said = fields("diagnostic-code");
    assert!(said[0].contains("Quota exceeded") && said[1].contains("User doesn't exist"), "{said:?}");
    assert_eq!(dovecot.maildir("full@mail.test", None).messages().len(), 0);

    let before = server.maildir("anna").files().len();

    // While Dovecot is away mail waits, with a reason.
    drop(dovecot);
    let message = Message::seven_bit();
    let Some(()) = submit(&server, &message, &["anna@mail.test".to_owned()]) else { return };
    wait(20, || {
        let queue = format!("{:?}", server.queue());
        let so = queue.contains("anna@mail.test") && queue.contains("4.4.1") && queue.contains("dovecot/lmtp");
        if so { Ok(()) } else { Err(queue) }
    });
    let Some(dovecot) = Dovecot::start(&place, address, USERS) else { return };
    assert_same(&dovecot.maildir("anna@mail.test", None).one(&format!("X-Token: {}", message.token)), &message);
    assert_eq!(server.maildir("anna").files().len(), before, "nobody is told of what came late");
}
