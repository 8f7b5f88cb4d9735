//! `hermetic probe` has nothing against a Postfix that is set up with care.

use std::{
    fs::{self, Permissions},
    io::Read as _,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use hermetic_tests::server::binary;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use crate::postfix::Postfix;

const NAME: &str = "mail.postfix.test";

#[test]
fn postfix_has_no_fault() {
    let folder =
        tempfile::Builder::new().prefix("hermetic-probe-").permissions(Permissions::from_mode(0o755)).tempdir();
    let folder = folder.expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("ours");
        path.display().to_string()
    };
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec![NAME.to_owned()]).expect("a name").self_signed(&key).expect("signed");
    let pem = certificate.pem();
    let (chain, key) = (file("chain.pem", &pem), file("key.pem", &key.serialize_pem()));
    let parameters = [
        format!("myhostname = {NAME}"),
        "mydestination = postfix.test".into(),
        "local_recipient_maps = inline:{ anna=x postmaster=x }".into(),
        "local_transport = discard:".into(),
        // Whoever tests is a stranger.
        "mynetworks = 192.0.2.0/24".into(),
        "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination".into(),
        "smtpd_tls_security_level = may".into(),
        format!("smtpd_tls_cert_file = {chain}"),
        format!("smtpd_tls_key_file = {key}"),
        "smtpd_tls_protocols = >=TLSv1.2".into(),
        "smtpd_helo_required = yes".into(),
        "disable_vrfy_command = yes".into(),
        "smtpd_forbid_bare_newline = yes".into(),
        "smtpd_forbid_bare_newline_exclusions =".into(),
        "smtpd_error_sleep_time = 0".into(),
    ];
    let Some(postfix) = Postfix::start_below(folder.path(), &parameters) else { return };
    let config = file(
        "hermetic.toml",
        &format!(
            "name = \"probe.test\"\ndata = {:?}\n[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:9\"\n\
             [[domain]]\nname = \"probe.test\"\nmailboxes = [\"postmaster\"]\n\
             [dns]\nservers = [\"127.0.0.1:9\"]\ndnssec = false\ntimeout = 1\n[outbound]\nroots = {:?}\n",
            folder.path().join("data").display().to_string(),
            file("roots.pem", &pem)
        ),
    );
    answers(postfix.port);
    let out = Command::new(binary(&[]))
        .args(["probe", &format!("{NAME}:{}", postfix.port), "--at", "127.0.0.1", "--domain", "postfix.test"])
        .args(["--to", "anna@postfix.test", "--timeout", "5", "--json", "--transcript", "--config", &config])
        .output()
        .expect("hermetic starts");
    let json: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"));
    let findings = json["findings"].as_array().expect("findings");
    let with = |verdict: &str| findings.iter().filter(|one| one["verdict"] == verdict).collect::<Vec<_>>();
    let shown = || format!("{json:#}\n{}", postfix.log());
    assert!(with("fail").is_empty() && with("warn").is_empty(), "{}", shown());
    assert_eq!(out.status.code(), Some(0), "{}", shown());
    // Nothing could pass because nothing was tried.
    for check in
        ["open-relay", "starttls-injection", "tls-versions", "pipelining", "extensions", "long-line", "postmaster"]
    {
        assert!(with("pass").iter().any(|one| one["check"] == check), "{check}\n{}", shown());
    }
    let smuggling = |one: &&&Value| one["check"].as_str().is_some_and(|check| check.starts_with("smuggling-"));
    assert_eq!(with("pass").iter().filter(smuggling).count(), 8, "{}", shown());
}

/// Waits for a greeting.
fn answers(port: u16) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let mut code = [0; 3];
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
            if stream.read_exact(&mut code).is_ok() {
                return;
            }
        }
        assert!(Instant::now() < end, "Postfix does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
}
