//! What a server's answers mean: above all, that no answer is neither good nor bad.
//!
//! Owns a server that answers by a list, and the table. Refuses to know sockets. Fails as tests do.

use super::*;

/// What it does with a command that begins so: the first that fits. A reply's text; nothing for silence; `!` to hang
/// up.
type Rule = (&'static str, &'static str);

/// A server without faults.
const GOOD: &[Rule] = &[
    ("EHLO", "250-mail.example.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 CHUNKING\r\n"),
    ("STARTTLS", "220 go\r\n"),
    ("MAIL", "250 ok\r\n"),
    ("RCPT TO:<postmaster>", "250 ok\r\n"),
    ("RCPT TO:<anna@example.test>", "250 ok\r\n"),
    ("RCPT", "550 no\r\n"),
    ("DATA", "354 go\r\n"),
    ("VRFY", "252 perhaps\r\n"),
    ("EXPN", "502 no\r\n"),
    ("RSET", "250 ok\r\n"),
    ("NOOP", "250 ok\r\n"),
    ("AUTH", "503 no\r\n"),
    ("BDAT", "503 no\r\n"),
    ("QUIT", "221 bye\r\n"),
    ("", "500 what?\r\n"),
];

/// It goes by these rules first, and then by those of the good one.
struct Listed {
    rules: &'static [Rule],
    secure: bool,
    content: bool,
    gone: bool,
}

impl Peer for Listed {
    fn greeting(&mut self) -> Vec<u8> {
        b"220 mail.example.test\r\n".to_vec()
    }

    fn secured(&mut self) {
        self.secure = true;
    }

    fn hear(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        if self.gone {
            return None;
        }
        let mut said = String::new();
        // The content is one thing: what is said before its end, and at it.
        if self.content {
            let end = octets.ends_with(b"\r\n\r\n.\r\n");
            self.content = !end && !octets.starts_with(b"QUIT");
            if self.content || end {
                let rule = self.rules.iter().find(|(begin, _)| *begin == if end { "(end)" } else { "(content)" });
                return match rule.map_or(if end { "250 taken\r\n" } else { "" }, |rule| rule.1) {
                    "!" => None,
                    reply => Some(reply.as_bytes().to_vec()),
                };
            }
        }
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            let line = String::from_utf8_lossy(line).into_owned();
            let within = if self.secure { "TLS " } else { "" };
            let long = if line.len() > 1000 { "(long)" } else { "" };
            let asked = [format!("{within}{line}"), format!("{long}{line}"), line.clone()];
            let rule = self.rules.iter().chain(GOOD).find(|(begin, _)| asked.iter().any(|one| one.starts_with(begin)));
            match rule.map_or("", |rule| rule.1) {
                "!" if said.is_empty() => return None,
                "!" => {
                    self.gone = true;
                    break;
                }
                reply => said.push_str(reply),
            }
            self.content = said.ends_with("354 go\r\n");
        }
        Some(said.into_bytes())
    }
}

/// What was looked at, and how good it is.
fn verdicts(experiment: Experiment, rules: &'static [Rule]) -> Vec<(&'static str, Verdict)> {
    let mut peer = Listed { rules, secure: false, content: false, gone: false };
    let mut options = options(experiment);
    // In the clear it is a shorter way.
    options.start_tls = false;
    play(options, &mut peer).into_iter().map(|finding| (finding.check, finding.verdict)).collect()
}

#[test]
fn no_answer_is_neither_good_nor_bad() {
    use Experiment::{Commands, Extensions, Greeting, Injection, Nameless, Pipelining, Relay, Smuggling, StartTls};
    use Verdict::{Fail, Pass, Untested, Warn};
    const LF: Experiment = Smuggling(EndOfData::LfDotLf);
    const CHECK: &str = "smuggling-lf-dot-lf";
    let table: &[(Experiment, &'static [Rule], &str, Verdict)] = &[
        (Relay, &[], "open-relay", Pass),
        (Relay, &[("MAIL", "550 who?\r\n")], "open-relay", Untested),
        (Relay, &[("MAIL", "450 later\r\n")], "open-relay", Untested),
        (Relay, &[("MAIL FROM:<>", "550 no notices\r\n")], "open-relay", Pass),
        (Relay, &[("MAIL FROM:<>", "450 later\r\n")], "open-relay", Untested),
        (Relay, &[("RCPT", "450 greylisted\r\n")], "open-relay", Untested),
        (Relay, &[("RCPT TO:<a%", "450 greylisted\r\n")], "open-relay", Untested),
        (Relay, &[("RCPT TO:<a@far.test>", "250 ok\r\n")], "open-relay", Fail),
        (Relay, &[("RCPT TO:<a%", "250 ok\r\n")], "open-relay", Fail),
        (Relay, &[("RCPT TO:<a%", "250 ok\r\n"), ("RCPT TO:<hermetic", "250 ok\r\n")], "open-relay", Pass),
        (Relay, &[("RCPT TO:<a%", "250 ok\r\n"), ("RCPT TO:<hermetic", "450 later\r\n")], "open-relay", Pass),
        // Without a domain it is a local address, if anything without one is taken.
        (Relay, &[("RCPT TO:<\"a@far.test\">", "250 ok\r\n")], "open-relay", Fail),
        (
            Relay,
            &[("RCPT TO:<\"a@far.test\">", "250 ok\r\n"), ("RCPT TO:<\"hermetic", "250 ok\r\n")],
            "open-relay",
            Pass,
        ),
        (Relay, &[("RCPT TO:<a%", "421 enough\r\n")], "open-relay", Untested),
        (Relay, &[("RCPT TO:<a%", "!")], "open-relay", Untested),
        (Relay, &[("RCPT TO:<a%", "")], "open-relay", Untested),
        (Relay, &[("RSET", "500 what?\r\n")], "open-relay", Untested),
        (LF, &[], CHECK, Pass),
        (LF, &[("(content)", "521 a bare LF\r\n"), ("QUIT", "!")], CHECK, Pass),
        (LF, &[("(content)", "521 a bare LF\r\n"), ("QUIT", "")], CHECK, Untested),
        (LF, &[("(content)", "521 a bare LF\r\n")], CHECK, Fail),
        (LF, &[("(content)", "421 a bare LF\r\n")], CHECK, Pass),
        (LF, &[("(content)", "250 taken\r\n")], CHECK, Fail),
        (LF, &[("(content)", "nonsense\r\n")], CHECK, Untested),
        (LF, &[("(content)", "!")], CHECK, Untested),
        (LF, &[("(end)", "550 no\r\n")], CHECK, Pass),
        (LF, &[("(end)", "421 no\r\n")], CHECK, Pass),
        (LF, &[("(end)", "250 taken\r\n250 ok\r\n500 what?\r\n")], CHECK, Fail),
        (LF, &[("(end)", "")], CHECK, Untested),
        (LF, &[("(end)", "nonsense\r\n")], CHECK, Untested),
        (LF, &[("(end)", "!")], CHECK, Untested),
        (LF, &[("QUIT", "")], CHECK, Untested),
        (LF, &[("QUIT", "!")], CHECK, Pass),
        (Commands, &[], "long-line", Pass),
        (Commands, &[("VRFY", "!")], "commands", Untested),
        (Commands, &[("VRFY", "421 enough\r\n")], "commands", Untested),
        (Commands, &[("EXPN", "")], "commands", Untested),
        (Commands, &[("XPROBE", "!")], "commands", Untested),
        (Commands, &[("MAIL", "!")], "commands", Untested),
        (Commands, &[("RSET", "!")], "commands", Untested),
        (Commands, &[("MAIL", "530 log in\r\n")], "null-sender", Untested),
        (Commands, &[("MAIL", "550 no\r\n")], "null-sender", Fail),
        (Commands, &[("(long)", "!")], "long-line", Fail),
        (Commands, &[("(long)", "")], "long-line", Untested),
        (Commands, &[("(long)", "nonsense\r\n")], "long-line", Untested),
        (Commands, &[("(long)", "500 what?\r\n500 what?\r\n")], "long-line", Fail),
        (Commands, &[("QUIT", "")], "long-line", Untested),
        (Pipelining, &[], "pipelining", Pass),
        // Lost for certain, for QUIT is answered; late, perhaps, where it is not.
        (Pipelining, &[("RCPT", ""), ("RSET", ""), ("NOOP", "")], "pipelining", Fail),
        (Pipelining, &[("RCPT", ""), ("RSET", ""), ("NOOP", ""), ("QUIT", "")], "pipelining", Untested),
        (
            Pipelining,
            &[("RCPT", ""), ("RSET", ""), ("NOOP", ""), ("QUIT", "550 no\r\n250 ok\r\n250 ok\r\n221 bye\r\n")],
            "pipelining",
            Untested,
        ),
        (Pipelining, &[("RSET", "!")], "pipelining", Untested),
        (Pipelining, &[("NOOP", "250 ok\r\n250 ok\r\n")], "pipelining", Fail),
        (Extensions, &[], "extensions", Pass),
        (Extensions, &[("BDAT", "!")], "extensions", Untested),
        (Extensions, &[("BDAT", "500 what?\r\n")], "extensions", Fail),
        (Extensions, &[("MAIL FROM:<> XPROBE", "450 later\r\n")], "unknown-parameter", Untested),
        (Greeting, &[], "auth-plaintext", Pass),
        (Greeting, &[("AUTH", "")], "auth-plaintext", Untested),
        (Greeting, &[("AUTH", "!")], "auth-plaintext", Untested),
        (Greeting, &[("AUTH", "421 enough\r\n")], "auth-plaintext", Untested),
        (Greeting, &[("AUTH", "334 \r\n")], "auth-plaintext", Fail),
        (Greeting, &[("EHLO", "502 what?\r\n")], "capabilities", Fail),
        (Greeting, &[("EHLO", "550 not you\r\n")], "greeting", Untested),
        (Greeting, &[("QUIT", "")], "quit", Untested),
        (Greeting, &[("QUIT", "250 ok\r\n221 bye\r\n")], "quit", Fail),
        (StartTls, &[("STARTTLS", "421 too many\r\n")], "starttls", Untested),
        (StartTls, &[("STARTTLS", "")], "starttls", Untested),
        (StartTls, &[("STARTTLS", "!")], "starttls", Untested),
        (StartTls, &[("STARTTLS", "454 no\r\n")], "starttls", Fail),
        (StartTls, &[("EHLO", "250 mail.example.test\r\n")], "starttls", Warn),
        (Injection, &[("NOOP", "")], "starttls-injection", Pass),
        (Injection, &[("NOOP", ""), ("STARTTLS", "421 too many\r\n")], "starttls-injection", Untested),
        (Injection, &[("NOOP", ""), ("STARTTLS", "")], "starttls-injection", Untested),
        (Injection, &[("NOOP", ""), ("STARTTLS", "503 not so\r\n")], "starttls-injection", Pass),
        (Injection, &[("NOOP", ""), ("TLS EHLO", "")], "starttls-injection", Untested),
        (Injection, &[("NOOP", ""), ("TLS EHLO", "250 ok\r\n250 mail.example.test\r\n")], "starttls-injection", Fail),
        (Nameless, &[("MAIL", "503 hello?\r\n")], "hello-required", Pass),
        (Nameless, &[("MAIL", "421 enough\r\n")], "hello-required", Untested),
        (Nameless, &[("MAIL", "")], "hello-required", Untested),
        (Nameless, &[("MAIL", "!")], "hello-required", Untested),
    ];
    for (experiment, rules, check, expected) in table {
        let found = verdicts(*experiment, rules);
        let last = found.iter().rev().find(|(name, _)| name == check).map(|(_, verdict)| *verdict);
        assert_eq!(last, Some(*expected), "{experiment:?} {rules:?}: {found:?}");
    }
}
