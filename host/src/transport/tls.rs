//! TLS.

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
