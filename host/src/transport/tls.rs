//! TLS for listeners: the certificate, the handshake's settings, and what a handshake agreed on.
//!
//! Owns rustls' configuration (TLS 1.2 and 1.3, tickets, no ALPN) and the files it comes from. Refuses to know SMTP:
//! when to shake hands is the session's business. Fails by [`TlsError`], the operator's, naming the file and the
//! key; a certificate that turns bad while the server runs leaves the old one in use.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use parking_lot::Mutex;
use rustls::{
    ProtocolVersion, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ResolvesServerCert, ServerConnection},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject},
};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use crate::{
    config,
    files::{self, Stamp},
};

/// Years that a self-signed certificate is good for. Its users trust it by pinning, not by date.
const SELF_SIGNED_YEARS: i16 = 10;
/// It is made anew when less than this is left. Seconds.
const RENEW_BEFORE: i64 = 30 * 24 * 3600;

/// What the handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: String,
    /// The cipher suite's IANA name.
    pub cipher: String,
    /// The `tls-exporter` channel binding (RFC 9266), where it may be used: under TLS 1.3, and under TLS 1.2 where the
    /// extended master secret is certain ([`Peer::User`]).
    pub exporter: Option<[u8; 32]>,
}

/// Who shakes hands. RFC 9266 section 4.2 allows `tls-exporter` under TLS 1.2 only with the extended master secret
/// (RFC 7627), and rustls does not tell whether it was negotiated; but it can be told to demand it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A mail program, which logs in: TLS 1.2 without the extended master secret is refused.
    User,
    /// Another server: an old one gets through, and no channel binding under TLS 1.2.
    Server,
}

/// What is wrong with a certificate or key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One without the other.
    #[error("tls.{present} is set but tls.{absent} is not; both are needed")]
    Half {
        /// `certificate` or `key`.
        present: &'static str,
        /// The other.
        absent: &'static str,
    },
    /// The file cannot be read.
    #[error("tls.{key}: cannot read {}: {error}", path.display())]
    Read {
        /// `certificate` or `key`.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds no PEM of the right kind.
    #[error("tls.{key}: {} {reason}", path.display())]
    Pem {
        /// `certificate` or `key`.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong, as the rest of a sentence that begins with the file.
        reason: String,
    },
    /// The two do not belong together, or one of them is of a kind that is not supported.
    #[error("tls: the certificate {} cannot be used with the key {}: {reason}", certificate.display(), key.display())]
    Pair {
        /// The chain's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// None is configured, and none could be made.
    #[error("cannot make a self-signed certificate in {}: {reason}; set tls.certificate and tls.key", path.display())]
    SelfSigned {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// rustls refused settings that do not depend on the operator: ours.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// What an operator wants to know of the certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// When it ends.
    pub expires: Timestamp,
    /// Made here, because none is configured.
    pub self_signed: bool,
    /// Where it was read from.
    pub path: PathBuf,
}

/// The server's certificate and all that follows from it, renewed while sessions go on.
#[derive(Debug)]
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    self_signed: bool,
    seen: Mutex<Option<(Stamp, Stamp)>>,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    for_users: Arc<ServerConfig>,
    for_servers: Arc<ServerConfig>,
    names: Vec<String>,
    expires: Timestamp,
}

impl Certificates {
    /// Reads the configured pair, or makes a self-signed one for `name`, which is kept below `data` and used again.
    pub fn load(tls: &config::Tls, data: &Path, name: &str) -> Result<Arc<Self>, TlsError> {
        let (certificate, key, self_signed) = match configured(tls)? {
            Some((certificate, key)) => (certificate.to_owned(), key.to_owned(), false),
            None => {
                let path = data.join("tls").join("self-signed.pem");
                if !still_good(&path, name) {
                    make_self_signed(&path, name)
                        .map_err(|reason| TlsError::SelfSigned { path: path.clone(), reason })?;
                }
                (path.clone(), path, true)
            }
        };
        let seen = stamps(&certificate, &key);
        let current = ArcSwap::from_pointee(Current::read(&certificate, &key)?);
        Ok(Arc::new(Self { certificate, key, self_signed, seen: Mutex::new(seen), current }))
    }

    /// For the next handshake.
    pub fn server_config(&self, peer: Peer) -> Arc<ServerConfig> {
        let current = self.current.load();
        Arc::clone(match peer {
            Peer::User => &current.for_users,
            Peer::Server => &current.for_servers,
        })
    }

    /// Reads the files again if they have changed; true if a new pair is now in use. After an error the old pair stays,
    /// and the same bad files are not read twice.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let now = stamps(&self.certificate, &self.key);
        if std::mem::replace(&mut *self.seen.lock(), now) == now {
            return Ok(false);
        }
        self.current.store(Arc::new(Current::read(&self.certificate, &self.key)?));
        Ok(true)
    }

    /// The certificate in use.
    pub fn summary(&self) -> Summary {
        let current = self.current.load();
        let (names, expires) = (current.names.clone(), current.expires);
        Summary { names, expires, self_signed: self.self_signed, path: self.certificate.clone() }
    }
}

/// What [`Certificates::load`] would say of the configured pair; nothing if there is none. Makes and changes nothing.
pub fn inspect(tls: &config::Tls) -> Result<Option<Summary>, TlsError> {
    let Some((certificate, key)) = configured(tls)? else { return Ok(None) };
    let Current { names, expires, .. } = Current::read(certificate, key)?;
    Ok(Some(Summary { names, expires, self_signed: false, path: certificate.to_owned() }))
}

fn configured(tls: &config::Tls) -> Result<Option<(&Path, &Path)>, TlsError> {
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (Some(_), None) => Err(TlsError::Half { present: "certificate", absent: "key" }),
        (None, Some(_)) => Err(TlsError::Half { present: "key", absent: "certificate" }),
        (None, None) => Ok(None),
    }
}

/// What the handshake of a server's connection agreed on. Call it after the handshake, with the same `peer`.
pub fn facts<IO>(stream: &tokio_rustls::server::TlsStream<IO>, peer: Peer) -> TlsFacts {
    facts_of(stream.get_ref().1, peer)
}

fn facts_of(connection: &ServerConnection, peer: Peer) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
        other => format!("{other:?}"),
    };
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    // rustls names the suites of TLS 1.3 by `TLS13_AES_…`, IANA by `TLS_AES_…`.
    let cipher = cipher.replacen("TLS13_", "TLS_", 1);
    let binds = peer == Peer::User || connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    // RFC 9266 section 2: a context of no octets. Under TLS 1.3 that is the same as no context, under TLS 1.2 it is not
    // (RFC 5705 section 4).
    let exporter = binds
        .then(|| connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok())
        .flatten();
    TlsFacts { version, cipher, exporter }
}

fn stamps(certificate: &Path, key: &Path) -> Option<(Stamp, Stamp)> {
    Some((Stamp::of(certificate).ok()?, Stamp::of(key).ok()?))
}

impl Current {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read("certificate", certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|error| bad_pem("certificate", certificate, error))?;
        let Some(first) = chain.first() else {
            return Err(bad_pem("certificate", certificate, PemError::NoItemsFound));
        };
        let (names, expires) = look_into(first).map_err(|reason| TlsError::Pem {
            key: "certificate",
            path: certificate.to_owned(),
            reason,
        })?;
        let private = PrivateKeyDer::from_pem_slice(&read("key", key)?).map_err(|error| bad_pem("key", key, error))?;
        let provider = Arc::new(ring::default_provider());
        let pair = CertifiedKey::from_der(chain, private, &provider).map_err(|error| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            reason: match error {
                rustls::Error::InconsistentKeys(_) => "they do not belong together".to_owned(),
                other => other.to_string(),
            },
        })?;
        let certificate: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(pair));
        let server = |peer| server_config(provider.clone(), certificate.clone(), peer).map_err(TlsError::Setup);
        let (for_users, for_servers) = (Arc::new(server(Peer::User)?), Arc::new(server(Peer::Server)?));
        Ok(Self { for_users, for_servers, names, expires })
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    certificate: Arc<dyn ResolvesServerCert>,
    peer: Peer,
) -> Result<ServerConfig, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    server.ticketer = ring::Ticketer::new()?;
    server.require_ems = peer == Peer::User;
    Ok(server)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read { key, path: path.to_owned(), error })
}

fn bad_pem(key: &'static str, path: &Path, error: PemError) -> TlsError {
    let reason = match error {
        PemError::NoItemsFound => format!("holds no PEM {}", if key == "key" { "private key" } else { key }),
        PemError::MissingSectionEnd { .. } => "ends in the middle of a PEM section".to_owned(),
        // Its words may quote the file, which may be the key.
        _ => "is not valid PEM".to_owned(),
    };
    TlsError::Pem { key, path: path.to_owned(), reason }
}

/// The names that a certificate is for, and its end.
fn look_into(der: &CertificateDer<'_>) -> Result<(Vec<String>, Timestamp), String> {
    let unreadable = |what: &str| format!("holds a certificate that cannot be read ({what})");
    let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| unreadable(&error.to_string()))?;
    let expires = Timestamp::from_second(certificate.validity().not_after.timestamp())
        .map_err(|error| unreadable(&error.to_string()))?;
    Ok((names_of(&certificate), expires))
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name_of = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => <[u8; 4]>::try_from(*octets)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from))
            .ok()
            .map(|ip| ip.to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name_of).collect()
}

/// Is there a self-signed pair for this name that can be used for a while?
fn still_good(path: &Path, name: &str) -> bool {
    let Ok(current) = Current::read(path, path) else { return false };
    let name = ascii(name);
    current.names.iter().any(|known| known.eq_ignore_ascii_case(&name))
        && current.expires.as_second() - Timestamp::now().as_second() > RENEW_BEFORE
}

/// One file for both, so that they cannot get out of step: the certificate first, then the key.
fn make_self_signed(path: &Path, name: &str) -> Result<(), String> {
    let now = Timestamp::now().to_zoned_datetime(TimeZone::UTC);
    // A day early, for peers whose clock is behind.
    let (begin, end) = (now.saturating_sub(1.day()).date(), now.saturating_add(SELF_SIGNED_YEARS.years()).date());
    let day = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    let name = ascii(name);
    // Whoever tries the server out connects to this machine, by name or by address.
    let mut names = vec![name.clone()];
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned).into_iter().filter(|here| *here != name));
    let mut parameters = rcgen::CertificateParams::new(names).map_err(|error| error.to_string())?;
    (parameters.not_before, parameters.not_after) = (day(begin), day(end));
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = parameters.self_signed(&key).map_err(|error| error.to_string())?;
    files::write_private(path, (certificate.pem() + &key.serialize_pem()).as_bytes()).map_err(|e| e.to_string())
}

fn ascii(name: &str) -> String {
    idna::domain_to_ascii(name).unwrap_or_else(|_| name.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

    use super::*;

    fn none() -> config::Tls {
        config::Tls { certificate: None, key: None }
    }

    /// Shakes hands in memory with a client that trusts the certificate at `path`.
    fn shake_hands(
        server: &Certificates,
        peer: Peer,
        path: &Path,
        name: &'static str,
        version: &'static SupportedProtocolVersion,
    ) -> (TlsFacts, ClientConnection) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(client), name.try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(server.server_config(peer)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut octets = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut octets).unwrap();
            }
            server.read_tls(&mut octets.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            octets.clear();
            while server.wants_write() {
                server.write_tls(&mut octets).unwrap();
            }
            client.read_tls(&mut octets.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        (facts_of(&server, peer), client)
    }

    #[test]
    fn a_self_signed_pair_is_made_once_and_works() {
        let data = tempfile::tempdir().unwrap();
        let first = Certificates::load(&none(), data.path(), "mail.example.test").unwrap();
        let path = first.summary().path;
        let made = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(first.summary().names, ["mail.example.test", "localhost", "127.0.0.1", "::1"]);
        let years = (first.summary().expires.as_second() - Timestamp::now().as_second()) / (365 * 24 * 3600);
        assert!((9..=10).contains(&years), "{years}");

        Certificates::load(&none(), data.path(), "MAIL.example.test").unwrap();
        assert_eq!(fs::read(&path).unwrap(), made, "used again");
        Certificates::load(&none(), data.path(), "bücher.example.test").unwrap();
        assert_ne!(fs::read(&path).unwrap(), made, "another name, another certificate");

        let certificates = Certificates::load(&none(), data.path(), "192.0.2.1").unwrap();
        let (facts, client) = shake_hands(&certificates, Peer::Server, &path, "192.0.2.1", &version::TLS13);
        assert_eq!(facts.version, "TLSv1.3");
        assert!(facts.cipher.starts_with("TLS_AES_") || facts.cipher.starts_with("TLS_CHACHA20_"), "{facts:?}");
        let exported = client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
        assert_eq!(facts.exporter, Some(exported), "both ends see the same channel");

        let (facts, client) = shake_hands(&certificates, Peer::User, &path, "192.0.2.1", &version::TLS12);
        let exported = client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
        assert_eq!((facts.version.as_str(), facts.exporter), ("TLSv1.2", Some(exported)));
        let (facts, _) = shake_hands(&certificates, Peer::Server, &path, "192.0.2.1", &version::TLS12);
        assert_eq!((facts.version.as_str(), facts.exporter), ("TLSv1.2", None));
        assert!(facts.cipher.starts_with("TLS_ECDHE_"), "{facts:?}");
    }

    #[test]
    fn new_files_are_used_and_bad_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        let put = |name: &str| {
            let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            fs::write(&certificate, pair.cert.pem()).unwrap();
            fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        };
        put("one.test");
        let tls = config::Tls { certificate: Some(certificate.clone()), key: Some(key.clone()) };
        let certificates = Certificates::load(&tls, folder.path(), "unused").unwrap();
        let names = || certificates.summary().names;
        assert_eq!((certificates.reload().unwrap(), names()), (false, vec!["one.test".to_owned()]));

        put("two.example.test");
        assert_eq!((certificates.reload().unwrap(), names()), (true, vec!["two.example.test".to_owned()]));
        shake_hands(&certificates, Peer::Server, &certificate, "two.example.test", &version::TLS13);

        fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let error = certificates.reload().unwrap_err().to_string();
        assert!(error.contains("do not belong together") && error.contains("key.pem"), "{error}");
        assert!(!certificates.reload().unwrap(), "said once");
        assert_eq!(names(), ["two.example.test"]);
    }

    #[test]
    fn errors_name_the_key_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let pair = rcgen::generate_simple_self_signed(["x.test".to_owned()]).unwrap();
        let (chain, key) = (write("c", &pair.cert.pem()), write("k", &pair.signing_key.serialize_pem()));
        let check = |certificate: Option<&Path>, key: Option<&Path>, expected: &[&str]| {
            let tls = config::Tls { certificate: certificate.map(Into::into), key: key.map(Into::into) };
            let error = Certificates::load(&tls, folder.path(), "x").unwrap_err().to_string();
            assert!(expected.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{error}");
            assert_eq!(inspect(&tls).unwrap_err().to_string(), error, "checking says the same");
        };
        check(Some(&chain), None, &["tls.certificate", "tls.key"]);
        check(None, Some(&key), &["tls.certificate", "tls.key"]);
        check(Some(Path::new("/nowhere/chain.pem")), Some(&key), &["tls.certificate", "/nowhere/chain.pem"]);
        check(Some(&chain), Some(Path::new("/nowhere/key.pem")), &["tls.key", "/nowhere/key.pem"]);
        check(Some(&key), Some(&key), &["tls.certificate", "holds no PEM certificate"]);
        check(Some(&chain), Some(&chain), &["tls.key", "holds no PEM private key"]);
        check(Some(&write("e", "")), Some(&key), &["tls.certificate", "holds no PEM"]);
        let half = pair.cert.pem().replace("-----END CERTIFICATE-----", "");
        check(Some(&write("h", &half)), Some(&key), &["tls.certificate", "ends in the middle"]);
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(Some(&write("j", junk)), Some(&key), &["tls.certificate", "cannot be read"]);
    }
}
