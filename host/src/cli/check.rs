//! `hermetic check`: what the server would do with a configuration, or every reason why it can not.

use std::{fmt::Write as _, fs, path::Path};

use crate::{
    config::{
        Config, ConfigError, Domain, Found, Kind, Listener, Loaded, Mailboxes,
        plugins::{OnFailure, Refused},
    },
    dkim::Signers,
    dns::Resolver,
    policy::{auth::Users, srs::Srs},
    store::jetstream,
    transport::{tls, trust::Roots},
};

/// For people, on standard output; or every error.
pub(super) fn report(file: Option<&Path>) -> Result<String, Vec<String>> {
    let name = file.map_or_else(
        || "no configuration file, so the local default applies".into(),
        |file| file.display().to_string(),
    );
    let loaded = match file {
        Some(file) => Config::load_all(file).map_err(|errors| sentences(&errors))?,
        None => Config::local_default().validated().map_err(|error| sentences(&[error]))?,
    };
    let mut errors = unreadable(&loaded.config);
    let users = Users::load(&loaded.config.users_file());
    if let Err(error) = &users {
        errors.push(error.to_string());
    }
    let (Ok(users), true) = (users, errors.is_empty()) else { return Err(errors) };
    Ok(describe(&name, &loaded, users.count()))
}

/// Where accepted mail is kept, if it is not below `data`: what is found there.
fn kept(config: &Config) -> String {
    let Some(settings) = super::keep::settings(config) else { return String::new() };
    let mut text = format!(
        "\nStore\n  node {} of {} on NATS servers, {} copies\n",
        settings.node, settings.name, settings.replicas
    );
    let found = match super::reach::block_on(jetstream::look(&settings)) {
        Ok(found) => found,
        Err(error) => vec![error.to_string()],
    };
    for line in found {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn sentences(errors: &[ConfigError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// What the server would have to read or use at its start, and could not.
fn unreadable(config: &Config) -> Vec<String> {
    let mut errors = Vec::new();
    for (key, path) in [("tls.certificate", &config.tls.certificate), ("tls.key", &config.tls.key)] {
        if let Some(path) = path
            && let Err(error) = fs::read(path)
        {
            errors.push(format!("{key}: {} can not be read: {error}", path.display()));
        }
    }
    if let Err(error) = Signers::load(config) {
        errors.push(error.to_string());
    }
    if let Some(file) = &config.outbound.roots
        && let Err(error) = Roots::load(Some(file))
    {
        errors.push(format!("outbound.roots: {error}"));
    }
    // It asks nobody yet.
    if let Err(error) = Resolver::new(&config.dns) {
        errors.push(error.to_string());
    }
    if let Err(error) = Srs::inspect(config) {
        errors.push(error.to_string());
    }
    for path in config.destinations.iter().filter_map(|one| one.password_file.as_ref()) {
        if let Err(error) = fs::File::open(path) {
            errors.push(format!("destination.password-file: {} can not be read: {error}", path.display()));
        }
    }
    for plugin in &config.plugins {
        if let Err(error) = fs::File::open(&plugin.file) {
            errors.push(format!("plugin {}: {} can not be read: {error}", plugin.name, plugin.file.display()));
        }
    }
    if errors.is_empty()
        && let Err(error) = tls::inspect(&config.tls)
    {
        errors.push(error.to_string());
    }
    if config.data.exists() && !config.data.is_dir() {
        errors.push(format!("data: {} is no folder", config.data.display()));
    }
    errors
}

fn describe(name: &str, loaded: &Loaded, users: usize) -> String {
    let Loaded { config, warnings } = loaded;
    let mailboxes = Mailboxes::new(config);
    let mut text = format!("{name}: good\n\n{} keeps its data in {}", config.name, config.data.display());
    text.push_str(if config.data.exists() { "\n" } else { ", which will be made\n" });

    text.push_str("\nListeners\n");
    let width = config.listeners.iter().map(|listener| listener.label().len()).max().unwrap_or(0);
    for listener in &config.listeners {
        let _ = writeln!(text, "  {:width$}  {}", listener.label(), purpose(config, listener));
    }

    text.push_str("\nDomains\n");
    if config.domains.is_empty() {
        text.push_str("  none: all mail here is for other servers\n");
    }
    let width = config.domains.iter().map(|domain| domain.name.len()).max().unwrap_or(0);
    for domain in &config.domains {
        let _ = writeln!(text, "  {:width$}  {}", domain.name, population(domain));
        if let Found::Mailbox(mailbox) = mailboxes.at_domain("postmaster", &domain.name) {
            let place = match crate::config::domain::of_address(&mailbox).and_then(|domain| config.lmtp(domain)) {
                Some(host) => format!("by LMTP to {host}"),
                None => format!("in {}", config.maildir(&mailbox).unwrap_or_default().display()),
            };
            let _ = writeln!(text, "  {:width$}  postmaster: {mailbox}, {place}", "");
        }
    }

    text.push_str("\nTLS\n");
    let _ = match tls::inspect(&config.tls) {
        Ok(Some(certificate)) => writeln!(
            text,
            "  the certificate in {}, for {}, until {}",
            certificate.path.display(),
            certificate.names.join(", "),
            certificate.expires
        ),
        _ => writeln!(
            text,
            "  a self-signed certificate, made at the first start; clients that verify it will refuse it"
        ),
    };

    let listening = config.listeners.iter().any(|listener| listener.kind.is_submission() || listener.auth);
    if listening || users > 0 {
        let file = config.users_file();
        let _ = match users {
            0 => writeln!(text, "\nLogins\n  nobody yet; `hermetic user add NAME` writes {}", file.display()),
            count => writeln!(text, "\nLogins\n  {} in {}", counted(count, "user", "users"), file.display()),
        };
    }

    text.push_str(&kept(config));
    text.push_str(&outbound(config));
    text.push_str(&judges(config));

    let differing = differing(config);
    if !differing.is_empty() {
        text.push_str("\nNot as by default\n");
        for line in differing {
            let _ = writeln!(text, "  {line}");
        }
    }
    if !warnings.is_empty() {
        text.push_str("\nWarnings\n");
        for warning in warnings {
            let _ = writeln!(text, "  {warning}");
        }
    }
    text
}

/// What becomes of mail for other servers.
fn outbound(config: &Config) -> String {
    let outbound = &config.outbound;
    let mut text = "\nMail to other servers\n".to_owned();
    if outbound.hold {
        text.push_str("  held; nothing leaves\n");
        return text;
    }
    for one in &config.destinations {
        let to = if one.hosts.is_empty() { "where the DNS says".into() } else { one.hosts.join(", ") };
        let _ = writeln!(text, "  {}: {to}", one.domains.join(", "));
    }
    let others = if config.destinations.is_empty() { "all" } else { "all others" };
    if !config.destinations.iter().any(|one| one.domains.iter().any(|domain| domain == "*")) {
        let _ = writeln!(text, "  {others}: where the DNS says, at port {}", outbound.port);
    }
    let signed: Vec<_> = config.dkim.iter().map(|one| format!("{} ({})", one.domain, one.selector)).collect();
    let _ = match signed.is_empty() {
        true => writeln!(text, "  not signed; `hermetic dkim new DOMAIN` makes a key"),
        false => writeln!(text, "  signed for {}", signed.join(", ")),
    };
    if let Some(from) = &config.tls_reports.from {
        let who = config.tls_reports.organization.as_ref().unwrap_or(&config.name);
        let _ = writeln!(text, "  TLS is counted; domains that want to know are told daily, by {who} <{from}>");
    }
    text
}

/// Which plugins there are, and who is judged by which.
fn judges(config: &Config) -> String {
    let mut text = String::new();
    if config.plugins.is_empty() {
        return text;
    }
    text.push_str("\nPlugins\n");
    let width = config.plugins.iter().map(|plugin| plugin.name.len()).max().unwrap_or(0);
    for plugin in &config.plugins {
        let grants = &plugin.grants;
        let listed = |what: &str, of: &[String]| format!("{what} {}", of.join(", "));
        let granted: Vec<String> = [
            (grants.edit, "edit".to_owned()),
            (!grants.forwarding.is_empty(), listed("forwarding to", &grants.forwarding)),
            (grants.quarantine, "quarantine".to_owned()),
            (grants.reply, "answer senders".to_owned()),
            (grants.delivery, "deliver".to_owned()),
            (grants.keyvalue > 0, format!("keyvalue of {} octets", grants.keyvalue)),
            (grants.resolver, "resolver".to_owned()),
            (!grants.http.is_empty(), listed("http to", &grants.http)),
        ]
        .into_iter()
        .filter_map(|(granted, what)| granted.then_some(what))
        .collect();
        let may = if granted.is_empty() { "may only judge".to_owned() } else { format!("may {}", granted.join("; ")) };
        let failing = match plugin.on_failure {
            OnFailure::Defer => "if it fails 451",
            OnFailure::Skip => "if it fails it is skipped",
            OnFailure::Reject => "if it fails 550",
        };
        let postmaster = if plugin.postmaster { "; postmaster too" } else { "" };
        let _ = writeln!(text, "  {:width$}  {}; {may}; {failing}{postmaster}", plugin.name, plugin.file.display());
    }
    text.push_str("\nWho is judged by which\n");
    for route in &config.routes {
        let order = if route.plugins.is_empty() { "none".to_owned() } else { route.plugins.join(", then ") };
        let refused = match route.refused {
            _ if route.plugins.is_empty() => "",
            Refused::Quarantine => "",
            Refused::Bounce => "; of a refusal beside others a sender who logged in is told",
            Refused::Split => "; each such group apart, where the client can come again",
        };
        let _ = writeln!(text, "  {}: {order}{refused}", route.recipients.join(", "));
    }
    if !config.routes.iter().any(|route| route.recipients.iter().any(|pattern| pattern == "*")) {
        text.push_str("  everyone else: none\n");
    }
    text
}

/// Who may do what at a listener.
fn purpose(config: &Config, listener: &Listener) -> String {
    let mut parts = Vec::new();
    let mut say = |condition: bool, part: String| {
        if condition {
            parts.push(part);
        }
    };
    let listed =
        |networks: &[crate::config::Network]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    say(listener.discard, "throws everything away".into());
    match listener.kind {
        Kind::Mx => {
            say(true, "from anyone for local domains".into());
            let relay = &config.relay.networks;
            say(!relay.is_empty(), format!("from {} for all domains", listed(relay)));
            say(listener.auth, "after a login for all domains".into());
        }
        Kind::Submission | Kind::Submissions => say(true, "after a login for all domains".into()),
        Kind::Lmtp => say(true, "from whoever connects, for local domains".into()),
    }
    match listener.kind {
        Kind::Submissions => say(true, "TLS from the start".into()),
        Kind::Submission if !listener.auth_without_tls => say(true, "STARTTLS required".into()),
        _ if listener.require_tls => say(true, "STARTTLS required".into()),
        Kind::Lmtp => {}
        _ => say(true, "STARTTLS offered".into()),
    }
    say(listener.auth_without_tls, "passwords also without TLS".into());
    say(listener.strict_hello, "strict EHLO".into());
    say(listener.early_refusal, "plugins may refuse at MAIL".into());
    say(listener.greeting_delay > 0, format!("greeting after {} ms", listener.greeting_delay));
    if let Some(proxies) = &listener.proxy {
        say(true, format!("only behind the proxies {}", listed(proxies)));
    }
    say(!listener.xclient.is_empty(), format!("XCLIENT for {}", listed(&listener.xclient)));
    parts.join("; ")
}

/// Whom a domain has.
fn population(domain: &Domain) -> String {
    let any = domain.mailboxes.iter().any(|name| name == "*");
    let named = domain.mailboxes.iter().filter(|name| *name != "*").count();
    let mut parts = vec![if any { "any mailbox".into() } else { counted(named, "mailbox", "mailboxes") }];
    if !domain.aliases.is_empty() {
        parts.push(counted(domain.aliases.len(), "alias", "aliases"));
    }
    match &domain.catch_all {
        _ if any => {}
        Some(mailbox) => parts.push(format!("all else to {mailbox}")),
        None => parts.push("all else refused".into()),
    }
    parts.join(", ")
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The keys of the tables of single values that are not at their defaults.
fn differing(config: &Config) -> Vec<String> {
    let default = Config::default();
    let pairs = [
        ("limits", toml::Table::try_from(&config.limits), toml::Table::try_from(&default.limits)),
        ("queue", toml::Table::try_from(&config.queue), toml::Table::try_from(&default.queue)),
        ("engine", toml::Table::try_from(&config.engine), toml::Table::try_from(&default.engine)),
        ("observe", toml::Table::try_from(&config.observe), toml::Table::try_from(&default.observe)),
        ("admin", toml::Table::try_from(&config.admin), toml::Table::try_from(&default.admin)),
    ];
    let mut lines = Vec::new();
    for (table, ours, usual) in pairs {
        // A number that TOML can not hold was not read from TOML either.
        let (Ok(ours), Ok(usual)) = (ours, usual) else { continue };
        for (key, value) in &ours {
            match usual.get(key) {
                Some(usual) if usual == value => {}
                Some(usual) => lines.push(format!("{table}.{key} = {value} (by default {usual})")),
                None => lines.push(format!("{table}.{key} = {value}")),
            }
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_report() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("h.toml");
        fs::write(
            &file,
            "name = \"mx.example.org\"\n[[listener]]\nkind = \"mx\"\naddress = \"0.0.0.0:25\"\n[[listener]]\nkind = \"submissions\"\n\
             address = \"0.0.0.0:465\"\nname = \"users\"\n[[domain]]\nname = \"example.org\"\nmailboxes = [\"anna\"]\n\
             aliases = { postmaster = \"anna\" }\n[relay]\nnetworks = [\"10.0.0.0/8\"]\n[limits]\nrecipients = 200\ncommand-timeout = 60\n",
        )
        .unwrap();
        let here = folder.path().display();
        let expected = format!(
            "{here}/h.toml: good\n\n\
             mx.example.org keeps its data in {here}/hermetic-data, which will be made\n\n\
             Listeners\n\
             \x20 mx 0.0.0.0:25  from anyone for local domains; from 10.0.0.0/8 for all domains; STARTTLS offered\n\
             \x20 users          after a login for all domains; TLS from the start\n\n\
             Domains\n\
             \x20 example.org  1 mailbox, 1 alias, all else refused\n\
             \x20              postmaster: anna@example.org, in {here}/hermetic-data/mail/example.org/anna\n\n\
             TLS\n\
             \x20 a self-signed certificate, made at the first start; clients that verify it will refuse it\n\n\
             Logins\n\
             \x20 nobody yet; `hermetic user add NAME` writes {here}/hermetic-data/users.toml\n\n\
             Mail to other servers\n\
             \x20 all: where the DNS says, at port 25\n\
             \x20 not signed; `hermetic dkim new DOMAIN` makes a key\n\n\
             Not as by default\n\
             \x20 limits.command-timeout = 60 (by default 300)\n\
             \x20 limits.recipients = 200 (by default 1000)\n\n\
             Warnings\n\
             \x20 {here}/h.toml:17: limits.command-timeout: 60 is less than the 300 that RFC 5321 section 4.5.3.2.7 asks for\n"
        );
        assert_eq!(report(Some(&file)).unwrap(), expected);
    }

    #[test]
    fn who_tells_of_tls() {
        let tls_reports = crate::config::TlsReports { from: Some("t@example.org".into()), ..Default::default() };
        let config = Config { name: "mx.example.org".into(), tls_reports, ..Config::default() };
        let shown = outbound(&config);
        assert!(shown.contains("told daily, by mx.example.org <t@example.org>"), "{shown}");
        assert!(!outbound(&Config::default()).contains("told daily"));
    }

    #[test]
    fn who_is_judged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("h.toml");
        let here = folder.path().display();
        let text = "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"\n[[domain]]\nname = \"a.example\"\nmailboxes = [\"*\"]\n\
            [[plugin]]\nname = \"spam\"\nfile = \"s.wasm\"\non-failure = \"skip\"\n\
            grants = { edit = true, keyvalue = 1000, http = [\"127.0.0.1:80\"] }\n\
            [[plugin]]\nname = \"greylist\"\nfile = \"g.wasm\"\npostmaster = true\n\
            [[route]]\nrecipients = [\"free@a.example\"]\nplugins = []\n\
            [[route]]\nrecipients = [\"@a.example\", \"x-*@b.example\"]\nplugins = [\"greylist\", \"spam\"]\n";
        fs::write(&file, text).unwrap();
        let errors = report(Some(&file)).unwrap_err();
        let expected = format!("plugin spam: {here}/s.wasm can not be read: No such file or directory (os error 2)");
        assert_eq!((errors.len(), &errors[0]), (2, &expected));
        fs::write(folder.path().join("s.wasm"), "").unwrap();
        fs::write(folder.path().join("g.wasm"), "").unwrap();
        let shown = report(Some(&file)).unwrap();
        let expected = format!(
            "\nPlugins\n\
             \x20 spam      {here}/s.wasm; may edit; keyvalue of 1000 octets; http to 127.0.0.1:80; if it fails it is skipped\n\
             \x20 greylist  {here}/g.wasm; may only judge; if it fails 451; postmaster too\n\n\
             Who is judged by which\n\
             \x20 free@a.example: none\n\
             \x20 @a.example, x-*@b.example: greylist, then spam\n\
             \x20 everyone else: none\n"
        );
        assert!(shown.contains(&expected), "{shown}");
    }

    #[test]
    fn errors() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("h.toml");
        let here = folder.path().display();
        let good = "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"\n[[domain]]\nname = \"a.example\"\nmailboxes = [\"*\"]\n";
        fs::write(&file, format!("{good}[tls]\ncertificate = \"c\"\nkey = \"k\"\n")).unwrap();
        assert_eq!(
            report(Some(&file)).unwrap_err().join("\n"),
            format!(
                "tls.certificate: {here}/c can not be read: No such file or directory (os error 2)\n\
                 tls.key: {here}/k can not be read: No such file or directory (os error 2)"
            )
        );
        let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        fs::write(folder.path().join("c"), pair.cert.pem()).unwrap();
        fs::write(folder.path().join("k"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let error = report(Some(&file)).unwrap_err().join("\n");
        assert!(error.contains("do not belong together") && error.lines().count() == 1, "{error}");
        fs::write(folder.path().join("k"), pair.signing_key.serialize_pem()).unwrap();
        let shown = report(Some(&file)).unwrap();
        assert!(shown.contains(&format!("the certificate in {here}/c, for a.example, until ")), "{shown}");
        fs::write(&file, format!("{good}[srs]\ndomain = \"a.example\"\nsecrets = \"s\"\n")).unwrap();
        assert!(report(Some(&file)).is_ok() && !folder.path().join("s").exists(), "it will be made");
        fs::write(folder.path().join("s"), "short\n").unwrap();
        let error = report(Some(&file)).unwrap_err().join("\n");
        assert!(error.starts_with("srs.secrets: ") && error.lines().count() == 1, "{error}");
        fs::write(&file, format!("nmae = \"x\"\n{good}[limit]\n")).unwrap();
        assert_eq!(
            report(Some(&file)).unwrap_err().join("\n"),
            format!(
                "{here}/h.toml:1: unknown key `nmae`; did you mean `name`?\n\
                 {here}/h.toml:8: unknown key `limit`; did you mean `limits`?"
            )
        );
        let default = report(None).unwrap();
        assert!(default.starts_with("no configuration file, so the local default applies: good\n"), "{default}");
        assert!(!default.contains("Warnings") && !default.contains("Not as by default"), "{default}");
    }
}
