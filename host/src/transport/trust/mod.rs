//! TLS towards other servers: whom to believe, and why.
//!
//! Owns the three ways in which a server's certificate is judged ([`Trust`]): not at all, by the roots of this machine, by
//! the DNS (DANE). Refuses to know where the records come from and which way a destination wants. Fails with
//! [`HandshakeError`], which says the rule that failed.

mod dane;
mod judge;

use std::{io, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, IpAddr, ServerName, UnixTime, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use dane::usable;
pub use judge::{Judged, judge};

use crate::dns::Tlsa;

/// How the certificate of a server is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Any will do: it keeps out those who only listen (RFC 7435).
    Anything,
    /// By the roots, for one of these names: MTA-STS (RFC 8461 section 4.1), REQUIRETLS, smart hosts.
    Roots(Vec<String>),
    /// By records of the DNS that are secure, at least one of which can be used (RFC 7672). The names count for usage
    /// DANE-TA only (section 3.2.3): the one that has the records, and that of the mail's domain.
    Dane(Vec<Tlsa>, Vec<String>),
}

impl Trust {
    /// Whom the server is asked to be, by SNI: the name that has the records, where there are some (RFC 7672 section 8.1).
    #[must_use]
    pub fn server_name<'a>(&'a self, host: &'a str) -> &'a str {
        match self {
            Self::Dane(_, names) => names.first().map_or(host, String::as_str),
            Self::Anything | Self::Roots(_) => host,
        }
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The certificate; the text names the rule.
    #[error("{1}")]
    Untrusted(Distrust, String),
    /// The two have no version or cipher in common, or the other end broke the protocol.
    #[error("the TLS handshake failed: {0}")]
    Protocol(String),
    /// The connection ended.
    #[error("the connection was lost in the TLS handshake: {0}")]
    Lost(io::Error),
}

/// What a certificate lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It is for other names.
    Name,
    /// It does not count at this time.
    Time,
    /// It is none of those that the TLSA records mean.
    Tlsa,
    /// Anything else: nobody who is trusted vouches for it, or it is broken.
    Other,
}

impl Distrust {
    fn of(error: &rustls::Error) -> Self {
        use CertificateError::{
            Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        };
        match error {
            rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => Self::Name,
            rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
            ) => Self::Time,
            _ => Self::Other,
        }
    }
}

/// Why the roots can not be read: the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[error("{} holds no certificates in PEM that can be used: {reason}", path.display())]
pub struct RootsError {
    path: std::path::PathBuf,
    reason: String,
}

/// The certificates that this machine believes.
#[derive(Clone, Debug)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Those of the system, or those of a file. A system without any believes nobody.
    ///
    /// # Errors
    /// The file.
    pub fn load(file: Option<&Path>) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        if let Some(path) = file {
            let wrong = |reason: String| RootsError { path: path.to_owned(), reason };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                store.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(wrong("there is none".into()));
            }
        } else {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
        }
        Ok(Self(Arc::new(store)))
    }
}

impl Roots {
    /// For somebody else's connections.
    #[must_use]
    pub fn store(&self) -> RootCertStore {
        RootCertStore::clone(&self.0)
    }
}

/// Shakes hands as the client. `name`: the server's, for SNI (RFC 7672 section 8.1); an address literal has none.
///
/// # Errors
/// [`HandshakeError`]; no time limit of its own.
pub async fn handshake<IO: AsyncRead + AsyncWrite + Unpin>(
    stream: IO,
    name: &str,
    trust: &Trust,
    roots: &Roots,
) -> Result<TlsStream<IO>, HandshakeError> {
    handshake_at(stream, name, trust, roots, DEFAULT_VERSIONS).await
}

/// The same with these versions of TLS and no others.
///
/// # Errors
/// As [`handshake`].
pub async fn handshake_at<IO: AsyncRead + AsyncWrite + Unpin>(
    stream: IO,
    name: &str,
    trust: &Trust,
    roots: &Roots,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<TlsStream<IO>, HandshakeError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { trust: trust.clone(), roots: roots.0.clone(), provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| HandshakeError::Protocol(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // A ticket would be used once in a day, and lets a server recognise us.
    config.resumption = rustls::client::Resumption::disabled();
    let name = server_name(name).unwrap_or(ServerName::IpAddress(IpAddr::V4([0; 4].into())));
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)
}

fn failed(error: io::Error) -> HandshakeError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(why))) => {
            let kind = why.0.downcast_ref::<Why>().map_or(Distrust::Other, |why| why.0);
            HandshakeError::Untrusted(kind, why.0.to_string())
        }
        Some(error @ rustls::Error::InvalidCertificate(why)) => {
            HandshakeError::Untrusted(Distrust::of(error), format!("the certificate: {why}"))
        }
        Some(other) => HandshakeError::Protocol(other.to_string()),
        None => HandshakeError::Lost(error),
    }
}

/// Would a handshake have failed under this rule, which was made under another one?
///
/// # Errors
/// [`HandshakeError::Untrusted`].
pub fn reconsidered<IO>(stream: &TlsStream<IO>, trust: &Trust, roots: &Roots) -> Result<(), HandshakeError> {
    let nothing = || HandshakeError::Untrusted(Distrust::Other, "the server shows no certificate".into());
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let (end_entity, intermediates) = shown.split_first().ok_or_else(nothing)?;
    let chain = Chain { end_entity, intermediates, ocsp: &[], now: UnixTime::now() };
    let provider = Arc::new(ring::default_provider());
    chain.fits(trust, &roots.0, &provider).map(|_| ()).map_err(|(kind, why)| HandshakeError::Untrusted(kind, why))
}

/// TLS version and cipher, for Received lines and logs.
#[must_use]
pub fn agreed<IO>(stream: &TlsStream<IO>) -> String {
    let connection = stream.get_ref().1;
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
        other => format!("{other:?}"),
    };
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    format!("{version} {}", cipher.replacen("TLS13_", "TLS_", 1))
}

fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.trim_end_matches('.').to_owned()).ok()
}

/// The reason of a refusal, on its way through rustls.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Why(Distrust, String);

impl From<Why> for rustls::Error {
    fn from(why: Why) -> Self {
        Self::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(why))))
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = Chain { end_entity, intermediates, ocsp, now };
        chain.fits(&self.trust, &self.roots, &self.provider).map_err(|(kind, why)| Why(kind, why).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a server shows.
struct Chain<'a> {
    end_entity: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    ocsp: &'a [u8],
    now: UnixTime,
}

impl Chain<'_> {
    /// Is it good enough? Otherwise what it lacks, and the rule with it.
    fn fits(
        &self,
        trust: &Trust,
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ServerCertVerified, (Distrust, String)> {
        match trust {
            Trust::Anything => Ok(ServerCertVerified::assertion()),
            Trust::Roots(names) => self.reaches(roots.clone(), provider, names).map_err(|(kind, why)| {
                let names = names.join(" or ");
                (kind, format!("the certificate is not one that this machine trusts for {names}: {why}"))
            }),
            Trust::Dane(records, names) => dane::verify(records, names, self, provider),
        }
    }

    /// Does it lead to one of these, for one of these names, and is it in date?
    fn reaches(
        &self,
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        names: &[String],
    ) -> Result<ServerCertVerified, (Distrust, String)> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| (Distrust::Other, error.to_string()))?;
        let mut why = (Distrust::Other, "there is no name to look for".to_owned());
        for name in names.iter().filter_map(|name| server_name(name)) {
            match verifier.verify_server_cert(self.end_entity, self.intermediates, &name, self.ocsp, self.now) {
                Ok(verified) => return Ok(verified),
                Err(error) => why = (Distrust::of(&error), error.to_string()),
            }
        }
        Err(why)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
