//! A configuration and every sentence that is said about it.

use super::*;
use crate::config::{Domain, Kind, Listener, keys};

/// What works, for what is wrong to be added.
const GOOD: &str = "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:25\"\n\n\
                    [[domain]]\nname = \"example.org\"\nmailboxes = [\"postmaster\", \"anna\"]\n";

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let said = match Config::parse(text, Path::new("/etc/h.toml")) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    };
    let expected: Vec<_> = expected.iter().map(|sentence| format!("/etc/h.toml{sentence}")).collect();
    assert_eq!(said, expected, "\n{text}");
}

/// `GOOD` with more lines: the first of them is line 8.
#[track_caller]
fn added(more: &str, expected: &str) {
    check(&format!("{GOOD}{more}"), &[expected]);
}

#[test]
fn what_works() {
    check(GOOD, &[]);
    check(&keys::default_file(), &[]);
}

#[test]
fn no_toml() {
    check("name = localhost\n", &[":1: this is no TOML: string values must be quoted, expected literal string"]);
    check("\n[limits\n", &[":2: this is no TOML: unclosed table, expected `]`"]);
    check("name = \"a.b\"\nname = \"b.c\"\n", &[":2: this is no TOML: duplicate key"]);
}

#[test]
fn unknown_keys() {
    added("[limits]\n\nrecipents = 200\n", ":10: unknown key `limits.recipents`; did you mean `recipients`?");
    added("[limits]\nmessage_size = 200000\n", ":9: unknown key `limits.message_size`; did you mean `message-size`?");
    added("[limit]\nrecipients = 200\n", ":8: unknown key `limit`; did you mean `limits`?");
    added(
        "postmaster = \"anna\"\n",
        ":8: unknown key `domain.postmaster`; there are name, mailboxes, aliases, catch-all, subaddress, maildir, deliver, node",
    );
    added("[queue]\nfree-space = 1\n", ":9: unknown key `queue.free-space`; `free-space` belongs to [limits]");
    check(&format!("hold = true\n{GOOD}"), &[":1: unknown key `hold`; `hold` belongs to [queue]"]);
    // All at once, in the order of the file.
    check(
        &format!("nmae = \"a.b\"\n{GOOD}[relay]\nnetwork = []\n"),
        &[":1: unknown key `nmae`; did you mean `name`?", ":10: unknown key `relay.network`; did you mean `networks`?"],
    );
}

#[test]
fn wrong_kinds() {
    added(
        "[limits]\nrecipients = \"many\"\n",
        ":9: limits.recipients: this must be a whole number, for example 1_000, not text in quotes",
    );
    added("[limits]\nrecipients = -1\n", ":9: limits.recipients: invalid value: integer `-1`, expected u32");
    added("[queue]\nhold = 1\n", ":9: queue.hold: this must be true or false, for example false, not a whole number");
    added(
        "catch-all = [\"anna\"]\n",
        ":8: domain.catch-all: this must be text in quotes, for example \"anna\", not a list in brackets",
    );
    added(
        "[relay]\nnetworks = [\"10.0.0.0/8\", 7]\n",
        ":9: relay.networks: invalid type: integer `7`, expected a string",
    );
    added(
        "[relay]\nnetworks = [\n  \"10.0.0.0/8\",\n  \"10.0.0.1/8\",\n]\n",
        ":9: relay.networks: \"10.0.0.1/8\" is an address inside a network; write \"10.0.0.0/8\" or \"10.0.0.1\"",
    );
    added("[[limits]]\n", ":8: limits: this is a table; write [limits] above its keys");
    check(
        "[listener]\nkind = \"mx\"\n",
        &[":1: listener: there may be many of these; write [[listener]] above the keys of each"],
    );
    added(
        "[[listener]]\naddress = \"127.0.0.1:26\"\n",
        ":8: listener.kind: this key is missing; add for example `kind = \"mx\"`",
    );
    added(
        "[[listener]]\nkind = \"smtp\"\naddress = \"127.0.0.1:26\"\n",
        ":9: listener.kind: unknown variant `smtp`, expected one of `mx`, `submission`, `submissions`, `lmtp`",
    );
    added("[observe]\nhttp = \"9090\"\n", ":9: observe.http: invalid socket address syntax");
}

#[test]
fn values() {
    for (more, expected) in [
        (
            "[limits]\nrecipients = 99\n",
            ":9: limits.recipients: 99 is too little; by RFC 5321 section 4.5.3.1.8 the least is 100",
        ),
        (
            "[limits]\nmessage-size = 1000\n",
            ":9: limits.message-size: 1000 is too little; by RFC 5321 section 4.5.3.1.7 the least is 65536",
        ),
        ("[limits]\nsessions = 0\n", ":9: limits.sessions: 0 is too little; the least is 1"),
        (
            "[limits]\nsession = 999999999999\n",
            ":9: limits.session: 999999999999 seconds are more than a year; use less",
        ),
        (
            "[limits]\ncommand-timeout = 30\n",
            ":9: limits.command-timeout: 30 is less than the 300 that RFC 5321 section 4.5.3.2.7 asks for",
        ),
        ("[engine]\ndeadline = 0\n", ":9: engine.deadline: 0 milliseconds is no deadline; use 1 to 60000"),
        (
            "[engine]\nmemory = 65536\n",
            ":9: engine.memory: 65536 octets is too little or too much; use 2097152 (2 MiB) to 4294967296 (4 GiB)",
        ),
        ("[queue]\nretry-most = 59\n", ":9: queue.retry-most: 59 is less than `retry-first`, 60; use at least that"),
        (
            "[queue]\nconcurrency = 0\n",
            ":9: queue.concurrency: 0 would deliver nothing; use at least 1, or `hold = true` if that is what you want",
        ),
        (
            "[tls]\ncertificate = \"a\"\n",
            ":9: tls.certificate: a certificate needs its private key; add `key` to [tls]",
        ),
        ("[tls]\nkey = \"a\"\n", ":9: tls.key: a private key needs its certificate; add `certificate` to [tls]"),
        (
            "[relay]\nnetworks = [\"::/0\"]\n",
            ":9: relay.networks: this lets everyone relay; name only networks whose every host you trust",
        ),
        (
            "[observe]\nhttp = \"0.0.0.0:9090\"\n",
            ":9: observe.http: 0.0.0.0:9090 can be reached by others, and the metrics have no password; use 127.0.0.1:9090 or [::1]:9090",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:8025\"\n",
            ":9: admin.listen: 0.0.0.0:8025 can be reached by others, and whoever can use the admin API can read and drop mail; use 127.0.0.1:8025 or [::1]:8025",
        ),
        (
            "[observe]\nlevel = \"inof\"\n",
            ":9: observe.level: \"inof\" is no level; use one of error, warn, info, debug, trace, off",
        ),
        ("catch-all = \"bert\"\n", ":8: domain.catch-all: \"bert\" is no mailbox of example.org; name a mailbox"),
        (
            "aliases = { bert = \"carl\" }\n",
            ":8: domain.aliases.bert: \"carl\" is no mailbox of example.org; name a mailbox of this domain, or one of another local domain with its domain",
        ),
        (
            "aliases = { Anna = \"postmaster\" }\n",
            ":8: domain.aliases.Anna: \"Anna\" is a mailbox or an alias already; leave one out",
        ),
        (
            "aliases = { \"bert@example.org\" = \"anna\" }\n",
            ":8: domain.aliases.bert@example.org: \"bert@example.org\" has a domain; give only what is before the \"@\"",
        ),
        (
            "maildir = \"mail\"\n",
            ":8: domain.maildir: all mailboxes of example.org would share one Maildir; put {local} into the path",
        ),
        (
            "maildir = \"mail/{user}\"\n",
            ":8: domain.maildir: \"mail/{user}\" has an unknown placeholder; the two that exist are {domain} and {local}",
        ),
        (
            "subaddress = \"@\"\n",
            ":8: domain.subaddress: \"@\" can not divide a mailbox from its detail; use \"+\" or \"-\", or \"\" for none",
        ),
        (
            "[[domain]]\nname = \"EXAMPLE.org\"\n",
            ":9: domain.name: the domain \"example.org\" is there twice; put both into one [[domain]]",
        ),
        (
            "[[domain]]\nname = \"exa mple\"\n",
            ":9: domain.name: \"exa mple\" is no domain; write it like \"example.org\"",
        ),
        (
            "[[domain]]\nname = \"other.example\"\nmailboxes = [\"a\"]\n",
            ":8: domain: mail for postmaster@other.example would go nowhere, which RFC 5321 section 4.5.1 forbids; add `aliases = { postmaster = \"...\" }`",
        ),
        (
            "[[domain]]\nname = \"b.example\"\nmailboxes = [\"*\", \"a@b.example\"]\n",
            ":10: domain.mailboxes: \"a@b.example\" has a domain; give only what is before the \"@\"",
        ),
        (
            "[[domain]]\nname = \"b.example\"\nmailboxes = [\"*\", \"a\", \"A\"]\n",
            ":10: domain.mailboxes: \"A\" is there twice, as case does not matter; leave one out",
        ),
        (
            "[[listener]]\nkind = \"lmtp\"\naddress = \"127.0.0.1:25\"\n",
            ":10: listener.address: RFC 2033 section 5 forbids LMTP on port 25; use another port, such as 24",
        ),
        (
            "[[listener]]\nkind = \"mx\"\naddress = \"unix:mx\"\n",
            ":10: listener.address: only an \"lmtp\" listener may be a Unix socket; give the \"mx\" listener an address and a port",
        ),
        (
            "[[listener]]\nkind = \"submission\"\naddress = \"127.0.0.1:25\"\n",
            ":10: listener.address: another listener has \"127.0.0.1:25\" already; give this one its own port",
        ),
        (
            "[[listener]]\nkind = \"mx\"\naddress = \"localhost:26\"\n",
            ":10: listener.address: \"localhost:26\" is no address with a port; write it like \"127.0.0.1:2525\", \"[::1]:2525\" or \"unix:/run/hermetic/lmtp\"",
        ),
        (
            "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:26\"\nproxy = []\n",
            ":11: listener.proxy: the list is empty, so nobody could connect; name your proxies, or leave it out if there are none",
        ),
        (
            "[[listener]]\nkind = \"lmtp\"\naddress = \"unix:l\"\nxclient = [\"127.0.0.1\"]\n",
            ":11: listener.xclient: a Unix socket has no client address to compare with these networks; leave it out here",
        ),
        (
            "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:26\"\nauth-without-tls = true\n",
            ":11: listener.auth-without-tls: this \"mx\" listener offers no AUTH at all; leave it out",
        ),
        (
            "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:26\"\nname = \"mx 127.0.0.1:25\"\n",
            ":11: listener.name: another listener is called \"mx 127.0.0.1:25\" already; log lines could not tell them apart",
        ),
    ] {
        added(more, expected);
    }
    check(
        "",
        &[": listener: there is no listener, so no mail could come in; add [[listener]] with `kind` and `address`"],
    );
    check(
        "name = \"under_score\"\n[[listener]]\nkind=\"mx\"\naddress=\"[::1]:25\"\n",
        &[
            ": domain: there is no local domain, so all mail would be refused; add [[domain]] with `name` and `mailboxes`",
            ":1: name: \"under_score\" is no domain; use the name that the server's address resolves to, such as \"mx.example.org\"",
        ],
    );
}

#[test]
fn public_servers_are_warned() {
    check(
        "[[listener]]\nkind = \"mx\"\naddress = \"[::]:25\"\nrequire-tls = true\n\n[[domain]]\nname = \"a.example\"\nmailboxes = [\"*\"]\n",
        &[
            ": name: other servers may not trust a server called \"localhost\"; use the name that the server's address resolves to",
            ":4: listener.require-tls: servers without TLS can not send you mail; RFC 3207 section 4 forbids this on a public server",
            ":8: domain.mailboxes: strangers can fill the disk with mailboxes that they invent; name your mailboxes",
        ],
    );
}

#[test]
fn one_form() {
    let text = "name = \"MX.Example.ORG\"\ndata = \"var\"\n[users]\nfile = \"/u\"\n[tls]\ncertificate = \"../c\"\nkey = \"k\"\n\
                [[listener]]\nkind = \"lmtp\"\naddress = \"unix:run/lmtp\"\n[[domain]]\nname = \"MÜNCHEN.example\"\nmailboxes = [\"*\"]\n";
    let config = Config::parse(text, Path::new("/etc/hermetic/h.toml")).unwrap().config;
    let mut expected = Config {
        name: "mx.example.org".into(),
        data: "/etc/hermetic/var".into(),
        listeners: vec![Listener::new(Kind::Lmtp, "unix:/etc/hermetic/run/lmtp")],
        domains: vec![Domain::new("xn--mnchen-3ya.example", &["*"])],
        ..Config::default()
    };
    expected.users.file = Some("/u".into());
    expected.tls.certificate = Some("/etc/hermetic/../c".into());
    expected.tls.key = Some("/etc/hermetic/k".into());
    assert_eq!(config, expected);
    assert_eq!(config.users_file(), Path::new("/u"));
    assert_eq!(
        config.maildir("a@xn--mnchen-3ya.example").unwrap(),
        Path::new("/etc/hermetic/var/mail/xn--mnchen-3ya.example/a")
    );
}

#[test]
fn no_file() {
    let error = Config::load(Path::new("/nowhere/h.toml")).unwrap_err().to_string();
    assert_eq!(error, "/nowhere/h.toml: the configuration can not be read: No such file or directory (os error 2)");
    let loaded = Config::local_default().validated().unwrap();
    assert_eq!(loaded, Loaded { config: Config::local_default(), warnings: Vec::new() });
    let error = Config::default().validated().unwrap_err().to_string();
    assert_eq!(
        error,
        "configuration: listener: there is no listener, so no mail could come in; add [[listener]] with `kind` and `address`"
    );
}

/// Whatever is cut off or in the way, there is an answer, and each error has a line of the file.
#[test]
fn damaged_files() {
    let file = keys::default_file();
    let lines = file.lines().count() + 1;
    let ends = (0..file.len()).step_by(9).filter(|end| file.is_char_boundary(*end));
    for end in ends {
        for text in [file[..end].to_owned(), format!("{}]=\"{}", &file[..end], &file[end..])] {
            let Err(errors) = Config::parse(&text, Path::new("h.toml")) else { continue };
            assert!(!errors.is_empty(), "{text}");
            for error in errors {
                assert!(error.place().line <= lines && !error.to_string().contains('\n'), "{error}\n{text}");
            }
        }
    }
}
