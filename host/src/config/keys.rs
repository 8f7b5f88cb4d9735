//! Every key, once: its table, its default as TOML, what it means. From here come the refusal of unknown keys, the
//! file that `hermetic config` prints and the table in `host/README.md`; tests hold all of them to the structs.

use std::fmt::Write as _;

/// What a key is without the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// This value, in TOML.
    Default(&'static str),
    /// Nothing; the value is only an example.
    Absent(&'static str),
    /// It must be given; the value is only an example.
    Required(&'static str),
}

impl Preset {
    /// A value that the key may have.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Default(value) | Self::Absent(value) | Self::Required(value) => value,
        }
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default.
    pub preset: Preset,
    /// One sentence or two for the operator.
    pub doc: &'static str,
}

/// A table of keys.
#[derive(Debug)]
pub struct Table {
    /// Its name; empty for the keys before the first table.
    pub name: &'static str,
    /// There may be many of them: `[[name]]`. Then these are the built-in ones, each by the keys that differ from their
    /// defaults.
    pub many: Option<&'static [&'static [(&'static str, &'static str)]]>,
    /// What it is about.
    pub doc: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

const fn key(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, preset: Preset::Default(default), doc }
}

const fn absent(name: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { name, preset: Preset::Absent(example), doc }
}

const fn required(name: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { name, preset: Preset::Required(example), doc }
}

/// All of them.
pub const TABLES: &[Table] = &[
    Table {
        name: "",
        many: None,
        doc: "Relative paths start at the folder of this file.",
        keys: &[
            key(
                "name",
                r#""localhost""#,
                "The server's name in its greeting, in the reply to EHLO and in Received fields: the domain that its address resolves to.",
            ),
            key(
                "data",
                r#""./hermetic-data""#,
                "The folder that holds the store, the users, keys and secrets, what plugins keep and, unless a domain says otherwise, the mail.",
            ),
        ],
    },
    Table {
        name: "listener",
        many: Some(&[
            &[],
            &[("kind", r#""submission""#), ("address", r#""127.0.0.1:2587""#)],
            &[("kind", r#""submissions""#), ("address", r#""127.0.0.1:2465""#)],
        ]),
        doc: "Where mail comes in. As many as you like.",
        keys: &[
            required(
                "kind",
                r#""mx""#,
                "`mx`: from other servers, for the local domains. `submission`: from users, who must use STARTTLS and log in (RFC 6409). `submissions`: the same with TLS from the start (RFC 8314). `lmtp`: from a server that we trust, for the local domains (RFC 2033); never on port 25.",
            ),
            required(
                "address",
                r#""127.0.0.1:2525""#,
                "The address and port; `[::1]:2525` for IPv6. For `lmtp` also a Unix socket, `unix:PATH`.",
            ),
            absent("name", r#""inbound""#, "Its name in logs and metrics; otherwise the kind and address."),
            absent(
                "proxy",
                r#"["10.0.0.1"]"#,
                "The networks of proxies. If given, only they may connect, and each connection must begin with a PROXY header (version 1 or 2).",
            ),
            key("xclient", "[]", "The networks that may say with XCLIENT who the client really is."),
            key(
                "auth-without-tls",
                "false",
                "Offer AUTH without TLS, and do not demand TLS on a `submission` listener. Passwords then cross the network readable.",
            ),
            key(
                "auth",
                "false",
                "Offer AUTH on an `mx` listener too, inside TLS; who logs in may send to other domains.",
            ),
            key(
                "require-tls",
                "false",
                "Refuse mail before STARTTLS. `submission` does so anyway; on a public `mx` RFC 3207 section 4 forbids it.",
            ),
            key("strict-hello", "false", "Refuse a HELO or EHLO whose argument is no domain or address literal."),
            key(
                "greeting-delay",
                "0",
                "Wait so many milliseconds before the greeting, and refuse clients that speak first.",
            ),
            key(
                "early-refusal",
                "false",
                "At MAIL, ask the `connection` and `sender` hooks of the plugins of the first route for `\"*\"`. What they defer or refuse is answered there, for all recipients, postmaster and those of other routes included.",
            ),
            key(
                "future-release",
                "2_592_000",
                "How many seconds from now users who have logged in may have their mail held (`HOLDFOR`, `HOLDUNTIL`; RFC 4865). On `submission` and `submissions` only. 0: not at all.",
            ),
            key(
                "deliver-by",
                "true",
                "Offer DELIVERBY (RFC 2852): a message that is not delivered in the time that its sender gives goes back, or its sender is told.",
            ),
            key(
                "priority",
                "true",
                "Offer MT-PRIORITY (RFC 6710): of what is due, mail of a higher priority goes first. Above 0 only for those of `relay.priority-from`.",
            ),
            key("discard", "false", "Answer 250 and throw every message away. For measuring only."),
        ],
    },
    Table {
        name: "domain",
        many: Some(&[
            &[("name", r#""localhost""#), ("mailboxes", r#"["*"]"#)],
            &[("name", r#""example.test""#), ("mailboxes", r#"["*"]"#)],
        ]),
        doc: "A domain whose mail ends here. A bare `postmaster` is that of the first one. Case never matters in addresses.",
        keys: &[
            required("name", r#""example.org""#, "Its name, with U-labels or A-labels."),
            key(
                "mailboxes",
                "[]",
                "The local parts of its mailboxes. `\"*\"` accepts any, and makes a Maildir for each: not for a server that strangers reach.",
            ),
            key(
                "aliases",
                "{}",
                "Other local parts, each with the mailbox that gets its mail: `{ postmaster = \"anna\" }`. A mailbox of another local domain is named in full.",
            ),
            absent(
                "catch-all",
                r#""anna""#,
                "The mailbox that gets the mail for all other local parts. Otherwise they are refused (550 5.1.1).",
            ),
            key(
                "subaddress",
                r#""+""#,
                "What divides a mailbox from its detail (RFC 5233): mail for `anna+books` goes to `anna`. Empty: nothing does.",
            ),
            key("maildir", r#""mail/{domain}/{local}""#, "The Maildir of a mailbox. A relative path is below `data`."),
            key(
                "deliver",
                r#""maildir""#,
                "Who keeps the mail: `maildir`, or a server that takes it by LMTP, such as Dovecot: `\"lmtp:unix:/run/dovecot/lmtp\"`, `\"lmtp:127.0.0.1:24\"`. It is told the mailbox, with the detail of the address, and answers for each recipient; what it refuses for good comes back to the sender if that one may be told (`queue.notify-strangers`), and is held otherwise.",
            ),
            absent(
                "node",
                r#""mx1""#,
                "With `store.kind = \"jetstream\"`: the node that has these Maildirs, and alone delivers to them.",
            ),
        ],
    },
    Table {
        name: "tls",
        many: None,
        doc: "The certificate. The files are read again when they change.",
        keys: &[
            absent(
                "certificate",
                r#""/etc/ssl/certs/mail.pem""#,
                "The certificate and its chain, PEM. Without it a self-signed one is made below `data` and kept.",
            ),
            absent("key", r#""/etc/ssl/private/mail.key""#, "Its private key, PEM."),
        ],
    },
    Table {
        name: "users",
        many: None,
        doc: "Logins.",
        keys: &[absent(
            "file",
            r#""/var/lib/hermetic/users.toml""#,
            "The file that `hermetic user add` writes. Otherwise `users.toml` below `data`.",
        )],
    },
    Table {
        name: "relay",
        many: None,
        doc: "Who may send to other domains without a login.",
        keys: &[
            key(
                "networks",
                "[]",
                "Their networks, for example `[\"10.0.0.0/8\", \"2001:db8::/32\"]`; valid on `mx` listeners. Empty: nobody.",
            ),
            key(
                "priority-from",
                "[]",
                "The networks whose mail may have a priority above 0 (`MT-PRIORITY`; RFC 6710). Anybody else's is lowered to 0, and the reply says so.",
            ),
        ],
    },
    Table {
        name: "limits",
        many: None,
        doc: "Bounds. Sizes in octets, times in seconds.",
        keys: &[
            key(
                "message-size",
                "52_428_800",
                "The largest message, announced as SIZE (552 5.3.4 above it). 0: no limit.",
            ),
            key("recipients", "1_000", "Recipients of one message; at least 100 (452 4.5.3 above it)."),
            key("messages", "0", "Messages in one session. 0: no limit."),
            key("errors", "40", "Faulty or refused commands in a session before 421."),
            key("idle-commands", "500", "Commands that bring no message forward (NOOP, RSET, VRFY, ...) before 421."),
            key("auth-failures", "5", "Failed logins in a session before 421."),
            key("command-timeout", "300", "Waiting for a command; RFC 5321 section 4.5.3.2.7 asks for at least 300."),
            key(
                "data-timeout",
                "180",
                "Waiting for the next piece of a message; RFC 5321 section 4.5.3.2.5 asks for at least 180.",
            ),
            key("data-allowance", "600", "Time for a whole message, to which `data-rate` adds."),
            key(
                "data-rate",
                "512",
                "For each so many octets received a message gets a second more. 0: no bound on the whole.",
            ),
            key("handshake-timeout", "60", "Time for a TLS handshake."),
            key("write-timeout", "120", "A client that does not read its replies is dropped after this."),
            key("session", "0", "Time for a whole session. 0: no limit."),
            key("sessions", "10_000", "Sessions at a time."),
            key("sessions-per-client", "100", "Sessions at a time of one client address."),
            key("received-fields", "100", "Received fields in a message; more is a loop (554 5.4.6)."),
            key("free-space", "67_108_864", "Octets that must stay free on the disk of `data` (452 4.3.1 below it)."),
            key(
                "judged-content",
                "268_435_456",
                "Octets of messages in memory for plugins at a time, over all sessions. Who waits for room for longer than 30 seconds is told to come again (451 4.3.1).",
            ),
            key("drain", "30", "After SIGTERM: how long open transactions may take to finish."),
        ],
    },
    Table {
        name: "store",
        many: None,
        doc: "Where accepted mail is kept: on this machine, or on NATS servers, for several nodes (see `host/CLUSTER.md`).",
        keys: &[
            key(
                "kind",
                r#""sqlite""#,
                "`sqlite`: below `data`. `jetstream`: on NATS servers (2.12 or later); all other keys are for that.",
            ),
            key("servers", "[]", "The NATS servers: `[\"nats://10.0.0.1:4222\", …]`, or `tls://` for TLS."),
            key(
                "monitor",
                "[]",
                "Their monitoring ports, `[\"http://10.0.0.1:8222\", …]`: only there can be seen whether a server syncs what it acknowledges (`sync_interval: always`).",
            ),
            key(
                "sync",
                r#""checked""#,
                "`checked`: the server does not start unless `monitor` says that a majority syncs. `declared`: you have seen to it. `weak`: mail that was answered 250 may be lost with the power of a majority.",
            ),
            absent("node", r#""mx1""#, "This node's name, in no other's use. Otherwise `name`, with `-` for each dot."),
            key("stream", r#""HERMETIC""#, "What the streams on the NATS servers begin with; the same on all nodes."),
            key("replicas", "3", "Copies of each record; 250 is said when a majority has it. Raised, it makes more."),
            key("lease", "15", "Seconds that a node may be silent; then others take over what it worked on. 3 to 60."),
            key(
                "maildirs",
                r#""bound""#,
                "`bound`: each domain's Maildirs are on the node that `domain.node` names. `shared`: on a file system that all nodes have at the same path.",
            ),
            absent("user", r#""hermetic""#, "The login at the NATS servers."),
            absent(
                "password-file",
                r#""/etc/hermetic/nats.password""#,
                "The file with its password; or, without `user`, with a token.",
            ),
            absent(
                "credentials",
                r#""/etc/hermetic/nats.creds""#,
                "With an operator's JWTs: the credentials file (`nsc generate creds`). With NKeys: a file with the seed (`SU…`).",
            ),
            absent(
                "roots",
                r#""/etc/hermetic/nats-ca.pem""#,
                "Whom to trust with `tls://`, PEM, instead of the system's roots.",
            ),
            absent("certificate", r#""/etc/hermetic/nats.pem""#, "Our certificate for them, PEM."),
            absent("key", r#""/etc/hermetic/nats.key""#, "Its private key, PEM."),
        ],
    },
    Table {
        name: "queue",
        many: None,
        doc: "Delivery. Times in seconds.",
        keys: &[
            key("hold", "false", "Accept messages and deliver none; `hermetic queue list` shows them."),
            key(
                "retry-first",
                "60",
                "The wait after the first temporary failure. It doubles with each further one; each wait is up to a quarter shorter or longer, by chance.",
            ),
            key("retry-most", "14_400", "The longest wait, but for that quarter."),
            key("expire", "432_000", "Given up after this; RFC 5321 section 4.5.4.1 asks for at least 4 days."),
            key(
                "concurrency",
                "8",
                "Batches of at most 64 entries that are delivered to Maildirs at a time. Mail for other servers and for plugins has bounds of its own.",
            ),
            key("delay-warning", "14_400", "After this the sender is told, once, that a message is late. 0: never."),
            key(
                "notify-strangers",
                "false",
                "Tell senders of failures, delays and (where asked to) deliveries even if they have not logged in, are in no network of [relay] and have no mailbox here. Anybody can write in another's name, so this sends mail to people who never wrote any.",
            ),
            key(
                "return-size",
                "50_000",
                "A message of at most so many octets goes back to its sender with the news that it failed, of a larger one only its header; at most 1_048_576.",
            ),
        ],
    },
    Table {
        name: "outbound",
        many: None,
        doc: "Mail to other servers. Times in seconds.",
        keys: &[
            key("hold", "false", "Nothing leaves: it waits, and `hermetic queue list` shows it."),
            key("port", "25", "The port of the servers that the DNS names."),
            key("https-port", "443", "The port on which domains publish their MTA-STS policies."),
            key("source", "[]", "Addresses of this machine to connect from, at most one of each family."),
            absent("roots", r#""/etc/hermetic/roots.pem""#, "Certificates to believe instead of the system's."),
            key("connections", "10", "Connections to one destination at a time, at most."),
            key(
                "initial-connections",
                "3",
                "Connections to a destination at a time before more is known of it. From there the number grows by one for each round that goes well, and halves where there is trouble. A destination that can not be reached three times in a row rests, from `queue.retry-first` up to `queue.retry-most`; then one message tries it.",
            ),
            key("most-connections", "200", "Connections in all."),
            key("connect-timeout", "30", "For a connection to be established."),
        ],
    },
    Table {
        name: "destination",
        many: Some(&[]),
        doc: "What is different for some domains' mail; the first table that matches counts.",
        keys: &[
            required(
                "domains",
                r#"["example.org", "*.example.net"]"#,
                "Their names; `*.` stands for all below, `\"*\"` for all.",
            ),
            key(
                "hosts",
                "[]",
                "Where their mail goes instead of where the DNS says, in order: `\"smtp.example.net:587\"`, `\"[2001:db8::1]:25\"`, `\"unix:/run/dovecot/lmtp\"`.",
            ),
            key(
                "tls",
                r#""published""#,
                "`published`: what the domain publishes (DANE, MTA-STS), else TLS where it is offered; `none`; `opportunistic`: TLS where it is offered; `encrypted`: always, with any certificate; `verified`: always, with one that is trusted for the server's name; `dane`: as DANE says and never otherwise.",
            ),
            key("implicit-tls", "false", "TLS from the first octet on, as on port 465."),
            key("protocol", r#""smtp""#, "`smtp` or `lmtp`."),
            absent("login", r#""relay@example.org""#, "Log in as this user."),
            absent("password-file", r#""relay.password""#, "The first line of this file is the password."),
            key("ignore", "[]", "ESMTP keywords that count as not offered, for servers that do not keep their word."),
            absent("connections", "2", "Connections at a time, instead of `outbound.connections`."),
            absent("initial-connections", "1", "The same at first, instead of `outbound.initial-connections`."),
            absent(
                "rate",
                r#""100/min""#,
                "So many messages in a second (`s`), minute (`min`), hour (`h`) or day (`d`); others wait.",
            ),
            absent(
                "messages-per-connection",
                "50",
                "After so many a connection is closed. Otherwise the server says when.",
            ),
        ],
    },
    Table {
        name: "dkim",
        many: Some(&[]),
        doc: "A key that signs mail on its way to other servers (RFC 6376). `hermetic dkim new` makes one.",
        keys: &[
            required("domain", r#""example.org""#, "Mail whose From names this domain, or one below it, is signed."),
            required("selector", r#""hermetic""#, "The public key is in the DNS at `SELECTOR._domainkey.DOMAIN`."),
            required("key", r#""dkim/example.org.pem""#, "The private key, RSA or Ed25519, in PEM."),
        ],
    },
    Table {
        name: "srs",
        many: None,
        doc: "In whose name mail is sent on that plugins redirect to other servers (SRS). In its sender's own name SPF would refuse it.",
        keys: &[
            absent(
                "domain",
                r#""example.org""#,
                "One of the local domains. The reverse-path of a sender elsewhere becomes `SRS0=...` at this domain (or `SRS1=...`, if another forwarder made it), and what comes back to that within 21 days goes to the sender. Without it nothing is rewritten; nor is what does not fit into 64 octets.",
            ),
            absent(
                "secrets",
                r#""srs.secrets""#,
                "The secrets that such addresses are signed with, one a line; otherwise `srs.secrets` below `data`. It is made at the first start. To change the secret, write a new one above the old, and remove that after 21 days.",
            ),
            key(
                "only-bounces",
                "true",
                "Take mail for such an address only from the null reverse-path, which notices have. `false`: automatic replies reach the sender too, and so does whoever got hold of an address.",
            ),
        ],
    },
    Table {
        name: "tls-reports",
        many: None,
        doc: "What becomes of TLS on the way to other servers is counted by domain and day and told to the domains that want to know (RFC 8460, `_smtp._tls` in their DNS), by mail or HTTPS.",
        keys: &[
            absent(
                "from",
                r#""tls-reports@example.org""#,
                "The author of reports by mail; its domain is who reports. A `[[dkim]]` key has to sign for it, and its TXT record should say `s=tlsrpt` or have no `s=` at all. Without this key nothing is counted and nothing is reported.",
            ),
            absent("organization", r#""Example""#, "Who that is, for people; otherwise `name`."),
            absent("contact", r#""postmaster@example.org""#, "Whom to ask about a report; otherwise `from`."),
        ],
    },
    Table {
        name: "dns",
        many: None,
        doc: "Questions to the DNS, of whoever takes mail to other servers and of plugins that may ask. Names are asked as they are, without search domains, and /etc/hosts is not read.",
        keys: &[
            key(
                "servers",
                "[]",
                "Recursive name servers, each an address and a port such as `\"127.0.0.1:53\"`. Empty: those of /etc/resolv.conf, read at the start.",
            ),
            key(
                "dnssec",
                "true",
                "Check signatures, from the root on. What is forged is then no answer. Turn it off if the name servers leave signatures out, for then every answer looks forged; best is a validating name server on the same machine.",
            ),
            absent(
                "trust-anchors",
                r#""/etc/hermetic/private-root.key""#,
                "A file of DNSKEY records, to begin with instead of the keys of the real root; or beside those, if none of them is for the root, so that a private domain can be signed. Keys that were revoked, or that `unbound` has marked as not valid, do not count. Read at the start.",
            ),
            key("timeout", "10", "Seconds for one question with all attempts."),
            key("cache", "10_000", "Answers that are kept for as long as they say, at most a day."),
        ],
    },
    Table {
        name: "engine",
        many: None,
        doc: "The sealed engine: each session runs in a WebAssembly sandbox with these bounds.",
        keys: &[
            key("deadline", "100", "Milliseconds that one call may take before its session is ended (421)."),
            key("memory", "16_777_216", "Octets of memory of one session."),
            key(
                "freeze-after",
                "1_000",
                "A session that was idle for so many milliseconds is frozen to a few hundred octets until its client speaks again.",
            ),
        ],
    },
    Table {
        name: "observe",
        many: None,
        doc: "Logs, metrics, health.",
        keys: &[
            key("format", r#""human""#, "Log lines for people (`human`) or one JSON object a line (`json`)."),
            key(
                "level",
                r#""info""#,
                "`error`, `warn`, `info`, `debug`, `trace` or `off`; or a filter such as `info,hermetic::queue=debug`. With `trace` or `hermetic=trace` every command and reply is logged, save for secrets.",
            ),
            key("redact", "false", "Hide the local parts of addresses in logs."),
            absent(
                "http",
                r#""127.0.0.1:9090""#,
                "A loopback address that serves `/metrics` (Prometheus), `/health`, and at `/playground/` a page to try SMTP sessions on.",
            ),
        ],
    },
    Table {
        name: "record",
        many: None,
        doc: "Sessions as files that `hermetic replay` runs again. No password is ever in them.",
        keys: &[
            key(
                "keep",
                "[]",
                "Which sessions are kept, any of: `on-error` (the engine failed or ended the session, TLS failed, or a command or content was faulty), `sampled` (drawn, see `share`), `matching` (see `clients`, `listeners`, `mail`). Empty: none.",
            ),
            key("folder", r#""sessions""#, "Where they are kept. A relative path is below `data`."),
            key("share", "0.01", "The part of all sessions that `sampled` draws: 1.0 is all of them."),
            key("clients", "[]", "For `matching`: the networks of clients. Empty: any."),
            key("listeners", "[]", "For `matching`: listeners by name. Empty: any."),
            key(
                "mail",
                "[]",
                "For `matching`: senders and recipients, as `\"anna@example.org\"` or `\"@example.org\"`; one in the session is enough. Empty: any.",
            ),
            key(
                "bodies",
                "false",
                "Keep the content of messages readable. Otherwise it becomes `x`, with its line ends, leading dots and lengths.",
            ),
            key(
                "addresses",
                r#""kept""#,
                "`masked`: other words of the same length stand in the place of addresses, the same for the same.",
            ),
            key("largest", "1_048_576", "Octets that are held of one session; recording a larger one is given up."),
            key("memory", "67_108_864", "Octets that are held of all sessions; beyond, recording is given up."),
            key("files", "1_000", "Files in the folder; beyond, the oldest are removed."),
            key("octets", "268_435_456", "Octets in the folder; beyond, the oldest files are removed."),
            key("expire", "604_800", "Seconds until a file is removed."),
        ],
    },
    Table {
        name: "admin",
        many: None,
        doc: "The API that `hermetic queue` and other tools use to see and change what the running server has.",
        keys: &[absent(
            "listen",
            r#""127.0.0.1:8025""#,
            "A loopback address, a Unix socket (`unix:PATH`), or `off`. Without this key it is the socket `admin/socket` below `data`, which only the server's own user can open. Whoever asks shows the token in `admin/token` below `data`.",
        )],
    },
    Table {
        name: "plugin",
        many: Some(&[]),
        doc: "A judge of mail: a WebAssembly component in a sandbox of its own. As many as you like; a route says whom it judges.",
        keys: &[
            required("name", r#""greylist""#, "Its name in routes, logs and `hermetic why`."),
            required("file", r#""plugins/greylist.wasm""#, "The component."),
            absent(
                "sha256",
                r#""9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08""#,
                "The SHA-256 of the component; another file is not loaded.",
            ),
            key(
                "grants",
                "{}",
                "What it may do besides judging: `edit` (header fields, true or false), `forwarding` (the domains to which it may redirect, `\"*\"` is any), `quarantine` (true or false), `reply` (true or false; it may answer senders in the recipient's name), `keyvalue` (octets that it may keep), `delivery` (true or false; its hook `delivery` delivers instead of the Maildir, and is not called otherwise), `resolver` (true or false), `http` (the servers that it may send requests to: `\"hooks.example.org\"` is HTTPS at port 443, `\"hooks.example.org:8080\"` HTTPS and HTTP at that port; an address that is not public, such as `\"127.0.0.1:8080\"`, has to be listed itself, even if a listed name leads there). A component that imports more is not loaded.",
            ),
            key(
                "limits",
                "{}",
                "Its bounds: `deadline` (100, milliseconds of CPU time of a call), `timeout` (10_000, milliseconds of a call with all waiting), `memory` (67_108_864, octets of an instance), `host-calls` (10_000 in a call), `dns-questions` (100 in a call), `http-requests` (10 in a call), `instances` (64 at a time), `calls` (2_500 of its hooks for one message; recipients beyond are deferred).",
            ),
            key(
                "on-failure",
                r#""defer""#,
                "What counts when it traps, is too slow or takes too much: `defer` (451), `skip` (it has no opinion) or `reject` (550).",
            ),
            key("postmaster", "false", "Ask it about postmaster too, who otherwise can always be reached."),
            key("settings", "{}", "For the plugin alone; it says which there are."),
        ],
    },
    Table {
        name: "route",
        many: Some(&[]),
        doc: "Which plugins judge which recipients. The first route that matches counts; whom none matches is judged by none.",
        keys: &[
            required(
                "recipients",
                r#"["anna@example.org", "@example.net", "lists-*@example.org", "*"]"#,
                "An address, all of a domain, a pattern, or all. Compared with the mailbox and with the address as the client gave it; case never matters.",
            ),
            required(
                "plugins",
                r#"["greylist"]"#,
                "Their names, in the order in which they are asked. Empty: none, whatever later routes say.",
            ),
            key(
                "refused",
                r#""quarantine""#,
                "What becomes of a recipient that is refused after the content beside others that are accepted, in plain SMTP. `quarantine`: its copy is held. `bounce`: its sender is told, if it has logged in and wants to be; else held. `split`: on `mx`, recipients with other plugins than the first one's are told to come apart (452 4.5.3).",
            ),
        ],
    },
];

const FOREWORD: &str = "The configuration of Hermetic. Every key is here, as it is if you leave it out; what is commented out is an example.";

/// The configuration that `hermetic serve` uses without a file, as a file: every key with its documentation, those
/// without a default commented out.
#[must_use]
pub fn default_file() -> String {
    let mut text = String::new();
    comment(&mut text, FOREWORD);
    for table in TABLES {
        text.push('\n');
        comment(&mut text, table.doc);
        match table.many {
            None => {
                let _ = match table.name {
                    "" => writeln!(text),
                    name => writeln!(text, "[{name}]"),
                };
                keys(&mut text, table, &[]);
            }
            Some([]) => {
                let _ = writeln!(text, "#[[{}]]", table.name);
                for key in table.keys {
                    comment(&mut text, key.doc);
                    let _ = writeln!(text, "#{} = {}", key.name, key.preset.example());
                }
            }
            Some(built_in) => {
                for (index, differing) in built_in.iter().enumerate() {
                    let _ = writeln!(text, "{}[[{}]]", if index > 0 { "\n" } else { "" }, table.name);
                    if index == 0 {
                        keys(&mut text, table, differing);
                    } else {
                        for (name, value) in *differing {
                            let _ = writeln!(text, "{name} = {value}");
                        }
                    }
                }
            }
        }
    }
    text
}

fn keys(text: &mut String, table: &Table, differing: &[(&str, &str)]) {
    for key in table.keys {
        comment(text, key.doc);
        let given = differing.iter().find(|(name, _)| *name == key.name).map(|(_, value)| *value);
        let off = given.is_none() && matches!(key.preset, Preset::Absent(_));
        let _ =
            writeln!(text, "{}{} = {}", if off { "#" } else { "" }, key.name, given.unwrap_or(key.preset.example()));
    }
}

/// Lines of at most 100 characters behind `# `.
fn comment(text: &mut String, doc: &str) {
    let mut line = String::from("#");
    for word in doc.split(' ') {
        if line.len() + 1 + word.len() > 100 {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// The same for `host/README.md`: a Markdown table for each table.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    for table in TABLES {
        let title = match (table.name, table.many) {
            ("", _) => "Before the first table".to_owned(),
            (name, None) => format!("`[{name}]`"),
            (name, Some(_)) => format!("`[[{name}]]`"),
        };
        let _ = write!(text, "### {title}\n\n{}\n\n| key | default | meaning |\n| --- | --- | --- |\n", table.doc);
        for key in table.keys {
            let preset = match key.preset {
                Preset::Default(value) => format!("`{value}`"),
                Preset::Absent(_) => "none".to_owned(),
                Preset::Required(_) => "must be given".to_owned(),
            };
            let _ = writeln!(text, "| `{}` | {preset} | {} |", key.name, key.doc);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
