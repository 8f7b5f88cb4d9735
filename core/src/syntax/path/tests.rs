//! Paths that RFC 5321 allows and paths that it does not.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn domain_mailbox(local: &str, domain: &str) -> Mailbox {
    Mailbox { local: local.into(), host: HostName::Domain(domain.into()) }
}

fn literal_mailbox(local: &str, literal: &str) -> Mailbox {
    Mailbox { local: local.into(), host: HostName::Literal(literal.into()) }
}

#[test]
fn valid_reverse_paths() {
    let org = |local| domain_mailbox(local, "example.org");
    for (path, expected) in [
        ("<a@example.org>", org("a")),
        (r#"<"quoted"@example.org>"#, org("quoted")),
        (r#"<"with space"@example.org>"#, org("with space")),
        (r#"<"a@b"@example.org>"#, org("a@b")),
        (r#"<"esc\"aped"@example.org>"#, org("esc\"aped")),
        (r#"<"back\\slash"@example.org>"#, org("back\\slash")),
        (r#"<"\q\u\ \@"@example.org>"#, org("qu @")),
        (r#"<"<>,;:"@example.org>"#, org("<>,;:")),
        (r#"<".dot."@example.org>"#, org(".dot.")),
        (r#"<""@example.org>"#, org("")),
        (r#"<"jür gen"@example.org>"#, org("jür gen")),
        ("<!#$%&'*+-/=?^_`{|}~@example.org>", org("!#$%&'*+-/=?^_`{|}~")),
        ("<a.b.c@example.org>", org("a.b.c")),
        ("<postmaster@example.org>", org("postmaster")),
        ("<a@Example.ORG>", domain_mailbox("a", "Example.ORG")),
        ("<a@localhost>", domain_mailbox("a", "localhost")),
        ("<a@x-y.example>", domain_mailbox("a", "x-y.example")),
        ("<a@x--y.example>", domain_mailbox("a", "x--y.example")),
        ("<a@1.example>", domain_mailbox("a", "1.example")),
        ("<a@192.0.2.1>", domain_mailbox("a", "192.0.2.1")),
        ("<a@xn--mnchen-3ya.example>", domain_mailbox("a", "xn--mnchen-3ya.example")),
        ("<jürgen@münchen.example>", domain_mailbox("jürgen", "münchen.example")),
        ("<用户@例え.テスト>", domain_mailbox("用户", "例え.テスト")),
        ("<@relay.example:a@example.org>", org("a")),
        (r#"<@a.example,@b.example:"@:,"@example.org>"#, org("@:,")),
        ("<a@[127.0.0.1]>", literal_mailbox("a", "127.0.0.1")),
        ("<a@[IPv6:::1]>", literal_mailbox("a", "IPv6:::1")),
        ("<a@[ipV6:2001:DB8:0::1]>", literal_mailbox("a", "IPv6:2001:db8::1")),
        ("<a@[IPv6:::ffff:192.0.2.1]>", literal_mailbox("a", "IPv6:::ffff:192.0.2.1")),
        ("<a@[IPv6:1:2:3:4:5:6::]>", literal_mailbox("a", "IPv6:1:2:3:4:5:6::")),
        ("<a@[IPv6:1:2:3:4:5:6:192.0.2.1]>", literal_mailbox("a", "IPv6:1:2:3:4:5:6:c000:201")),
        ("<a@[X-Tag:a>b;c]>", literal_mailbox("a", "X-Tag:a>b;c")),
    ] {
        assert_eq!(reverse_path(path), Ok((Some(expected), "")), "{path}");
    }
    assert_eq!(reverse_path("<>"), Ok((None, "")));
    assert_eq!(reverse_path("<> SIZE=1"), Ok((None, " SIZE=1")));
    assert_eq!(reverse_path("<a@example.org> A <b>"), Ok((Some(org("a")), " A <b>")));
}

#[test]
fn invalid_paths() {
    use PathFault::*;
    for (path, fault) in [
        ("", Brackets),
        ("a@example.org", Brackets),
        (" <a@example.org>", Brackets),
        ("<", LocalPart),
        ("< >", LocalPart),
        ("<@>", Route),
        ("<a>", NoDomain),
        ("<a", NoDomain),
        ("<a@>", Domain),
        ("<a@", Domain),
        ("<@example.org>", Route),
        ("<@example.org:>", LocalPart),
        ("<@x,a@example.org>", Route),
        ("<@x,:a@example.org>", Route),
        ("<@x,@:a@example.org>", Route),
        ("<@[127.0.0.1]:a@example.org>", Route),
        ("<@x :a@example.org>", Route),
        ("<a b@example.org>", LocalPart),
        ("<a\t@example.org>", LocalPart),
        ("<a@b@example.org>", Domain),
        (r#"<"unclosed@example.org>"#, LocalPart),
        (r#"<"a"b@example.org>"#, LocalPart),
        (r#"<a"b@example.org>"#, LocalPart),
        (r#"<"a".b@example.org>"#, LocalPart),
        ("<\"a\\\u{1}\"@example.org>", LocalPart),
        ("<\"a\\\u{fc}\"@example.org>", LocalPart),
        ("<\"a\tb\"@example.org>", LocalPart),
        ("<\"a\u{7f}b\"@example.org>", LocalPart),
        ("<a\u{85}b@example.org>", LocalPart),
        ("<a\u{2028}b@example.org>", LocalPart),
        (r"<a\@b@example.org>", LocalPart),
        ("<a..b@example.org>", LocalPart),
        ("<.a@example.org>", LocalPart),
        ("<a.@example.org>", LocalPart),
        ("<.@example.org>", LocalPart),
        ("<,a@example.org>", LocalPart),
        ("<a(c)@example.org>", LocalPart),
        ("<<a@example.org>>", LocalPart),
        ("<a:b@example.org>", LocalPart),
        ("<user\u{ff20}example.org>", NoDomain),
        ("<a@exa mple.org>", Domain),
        ("<a@exam_ple,org>", Domain),
        ("<a@exam_ple.org>", Domain),
        ("<a@example.org.>", Domain),
        ("<a@.example.org>", Domain),
        ("<a@example..org>", Domain),
        ("<a@-example.org>", Domain),
        ("<a@example-.org>", Domain),
        ("<a@example.org-.>", Domain),
        ("<a@m\u{fc}n_chen.example>", Domain),
        ("<a@m\u{fc}nchen\u{3002}example>", Domain),
        ("<a@m\u{fc}nchen\u{a0}.example>", Domain),
        ("<a@example.org", Trailing),
        ("<a@example.org>>", Trailing),
        ("<a@example.org>garbage", Trailing),
        ("<a@example.org>\tSIZE=1", Trailing),
        ("<>>", Trailing),
        ("<a@[300.1.1.1]>", Literal),
        ("<a@[1.2.3]>", Literal),
        ("<a@[1.2.3.4.5]>", Literal),
        ("<a@[01.2.3.4]>", Literal),
        ("<a@[127.0.0.1>", Literal),
        ("<a@[]>", Literal),
        ("<a@[IPv6:]>", Literal),
        ("<a@[IPv6:zz::1]>", Literal),
        ("<a@[IPv6:1:2]>", Literal),
        ("<a@[IPv6:fe80::1%eth0]>", Literal),
        ("<a@[IPv6:1:2:3:4:5:6:7::]>", Literal),
        ("<a@[IPv6:::2:3:4:5:6:7:8]>", Literal),
        ("<a@[IPv6:1:2:3:4:5::192.0.2.1]>", Literal),
        ("<a@[::1]>", Literal),
        ("<a@[tag]>", Literal),
        ("<a@[tag-:x]>", Literal),
        ("<a@[tag:]>", Literal),
        ("<a@[tag:a b]>", Literal),
        ("<a@[t\u{fc}g:x]>", Literal),
        ("<a@[127.0.0.1]x>", Trailing),
    ] {
        assert_eq!(reverse_path(path), Err(fault), "MAIL FROM:{path}");
        assert_eq!(forward_path(path), Err(if path == "<>>" { Null } else { fault }), "RCPT TO:{path}");
    }
}

#[test]
fn lengths() {
    use PathFault::*;
    let local = |n| format!("<{}@example.org>", "a".repeat(n));
    let domain = |n: usize| {
        let labels = format!("{}.", "d".repeat(63)).repeat(4);
        format!("<a@{}>", &labels[..n])
    };
    let path = |n: usize| {
        let domain = ["d".repeat(60).as_str(); 4].join(".");
        format!("<{}@{domain}>", "l".repeat(n - 3 - domain.len()))
    };
    let u_label = |n| format!("<a@{}.example>", "\u{fc}".repeat(n));
    for (path, expected) in [
        (local(1), Ok(())),
        (local(64), Ok(())),
        (local(65), Err(LocalPartTooLong)),
        (local(3000), Err(LocalPartTooLong)),
        // Quotes count.
        (format!("<\"{}\"@example.org>", "a".repeat(62)), Ok(())),
        (format!("<\"{}\"@example.org>", "a".repeat(63)), Err(LocalPartTooLong)),
        // Octets count, not characters.
        (format!("<{}@example.org>", "\u{fc}".repeat(32)), Ok(())),
        (format!("<{}@example.org>", "\u{fc}".repeat(33)), Err(LocalPartTooLong)),
        (domain(63), Ok(())),
        (format!("<a@{}.example>", "d".repeat(64)), Err(Domain)),
        (u_label(59), Ok(())),
        (u_label(60), Err(Domain)),
        (domain(252), Ok(())),
        (domain(253), Err(PathTooLong)),
        (domain(255), Err(PathTooLong)),
        (format!("<a@{}>", "d.".repeat(128)), Err(DomainTooLong)),
        (path(255), Ok(())),
        (path(256), Ok(())),
        (path(257), Err(PathTooLong)),
        (format!("<@{}:a@example.org>", "d".repeat(63)), Ok(())),
        (format!("<@{0}.{0}.{0}.{0}:a@example.org>", "d".repeat(60)), Err(PathTooLong)),
        (format!("<a@[x:{}]>", "y".repeat(240)), Ok(())),
        (format!("<a@[x:{}]>", "y".repeat(260)), Err(Literal)),
    ] {
        assert_eq!(reverse_path(&path).map(|_| ()), expected, "{} octets: {path}", path.len());
    }
}

#[test]
fn forward_paths() {
    for path in ["<postmaster>", "<Postmaster>", "<POSTMASTER>"] {
        assert_eq!(forward_path(path), Ok((ForwardPath::Postmaster, "")), "{path}");
    }
    assert_eq!(forward_path("<postmaster> A=b"), Ok((ForwardPath::Postmaster, " A=b")));
    assert_eq!(forward_path("<postmaster>A"), Err(PathFault::Trailing));
    assert_eq!(forward_path("<\"postmaster\">"), Err(PathFault::NoDomain));
    assert_eq!(reverse_path("<postmaster>"), Err(PathFault::NoDomain));
    assert_eq!(forward_path("<>"), Err(PathFault::Null));
    assert_eq!(
        forward_path("<PostMaster@example.org>"),
        Ok((ForwardPath::Mailbox(domain_mailbox("PostMaster", "example.org")), ""))
    );
}

#[test]
fn ascii_or_not() {
    for (path, expected) in [
        ("<a@example.org>", true),
        ("<postmaster>", true),
        ("<a@[127.0.0.1]>", true),
        ("<\u{fc}@example.org>", false),
        ("<\"\u{fc} \"@example.org>", false),
        ("<a@m\u{fc}nchen.example>", false),
    ] {
        assert_eq!(forward_path(path).unwrap().0.is_ascii(), expected, "{path}");
    }
}

#[test]
fn strings() {
    for (text, expected) in [
        ("ann", "ann"),
        ("ann@example.org", "ann@example.org"),
        ("<ann@example.org>", "<ann@example.org>"),
        (r#""Ann Other""#, "Ann Other"),
        (r#""a\"b""#, "a\"b"),
        (r#""a"@example.org"#, r#""a"@example.org"#),
        (r#""open"#, r#""open"#),
    ] {
        assert_eq!(string(text), expected, "{text}");
    }
}

/// The local part as it is written in a path.
fn written(local: &str) -> String {
    if !local.is_empty() && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext)) {
        return local.into();
    }
    format!("\"{}\"", local.replace('\\', "\\\\").replace('"', "\\\""))
}

proptest! {
    #[test]
    fn a_written_mailbox_comes_back(
        local in r#"[a-z.+"\\@<> ü用]{0,12}"#,
        domain in "[a-z0-9ü]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z0-9ü]{1,6}){0,3}",
    ) {
        let mailbox = domain_mailbox(&local, &domain);
        let text = format!("<{}@{domain}>", written(&local));
        prop_assert_eq!(forward_path(&text), Ok((ForwardPath::Mailbox(mailbox), "")));
    }

    #[test]
    fn addresses_come_back(v4: Ipv4Addr, v6: Ipv6Addr) {
        prop_assert_eq!(host(&format!("[{v4}]")), Ok(HostName::Literal(format!("{v4}"))));
        prop_assert_eq!(host(&format!("[IPv6:{v6}]")), Ok(HostName::Literal(format!("IPv6:{v6}"))));
    }

    /// Anything that is accepted means one thing only, and hides nothing.
    #[test]
    fn nothing_panics_and_nothing_is_hidden(text in r#"<?[@,:.a"\\ \[\]ü>]{0,24}>?|\PC*|.*"#) {
        for mailbox in [
            reverse_path(&text).ok().and_then(|(mailbox, _)| mailbox),
            forward_path(&text).ok().and_then(|(path, _)| match path {
                ForwardPath::Mailbox(mailbox) => Some(mailbox),
                ForwardPath::Postmaster => None,
            }),
        ].into_iter().flatten() {
            prop_assert!(mailbox.local.len() <= 64);
            prop_assert!(!mailbox.local.chars().any(is_control));
            let HostName::Domain(domain) = mailbox.host else { continue };
            prop_assert!(!domain.contains(['@', '>', '<', ' ', ',', ':', '[', '"', '\\']), "{text:?} gave {domain:?}");
        }
    }
}
