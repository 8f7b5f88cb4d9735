//! Stand-in until the real one is merged.
#![allow(missing_docs)]
use std::{path::Path, sync::Arc};

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub String);

/// What the handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: String,
    /// The cipher suite's IANA name.
    pub cipher: String,
    /// The `tls-exporter` channel binding (RFC 9266), where it may be used: TLS 1.3, or 1.2 with EMS.
    pub exporter: Option<[u8; 32]>,
}

#[derive(Debug)]
pub struct Certificates {
    config: Arc<rustls::ServerConfig>,
}
impl Certificates {
    pub fn load(_tls: &crate::config::Tls, _data: &Path, name: &str) -> Result<Arc<Self>, TlsError> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).map_err(|e| TlsError(e.to_string()))?;
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|e| TlsError(e.into()))?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError(e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .map_err(|e| TlsError(e.to_string()))?;
        Ok(Arc::new(Self { config: Arc::new(config) }))
    }
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        self.config.clone()
    }
    pub fn reload(&self) -> Result<bool, TlsError> {
        Ok(false)
    }
}

pub fn facts<IO>(stream: &tokio_rustls::server::TlsStream<IO>) -> TlsFacts {
    let (_, session) = stream.get_ref();
    TlsFacts {
        version: format!("{:?}", session.protocol_version()),
        cipher: format!("{:?}", session.negotiated_cipher_suite()),
        exporter: None,
    }
}
