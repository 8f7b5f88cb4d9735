//! An authority, and what it certifies.
//!
//! Owns its key, the certificates, and the files that servers want to have. Refuses to judge a certificate. Fails by
//! panicking.

use std::{path::Path, process::Command};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _,
    date_time_ymd,
};

use crate::{message::sha256, programs::run};

/// It signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    pem: String,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate and that of the authority, PEM.
    pub chain: String,
    /// The private key, PEM.
    pub key: String,
    /// The public key, as DER (SubjectPublicKeyInfo).
    pub public: Vec<u8>,
}

/// Which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ECDSA with P-256.
    Ecdsa,
    /// RSA with 2048 bits, made by `openssl`.
    Rsa,
}

impl Authority {
    /// Good until 2099.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.not_after = date_time_ymd(2099, 12, 31);
        let certificate = parameters.self_signed(&key).expect("signed");
        Self { der: certificate.der().to_vec(), pem: certificate.pem(), issuer: Issuer::new(parameters, key) }
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names, good from 2020 to the end of `year`.
    pub fn certify(&self, names: &[String], year: i32, kind: Kind) -> Identity {
        let key = match kind {
            Kind::Ecdsa => KeyPair::generate().expect("a key"),
            Kind::Rsa => {
                let mut openssl = Command::new("openssl");
                let pem = run(openssl.args(["genpkey", "-quiet", "-algorithm", "RSA"]), b"");
                let at = pem.find("-----BEGIN").expect("a key in PEM");
                KeyPair::from_pem_and_sign_algo(&pem[at..], &PKCS_RSA_SHA256).expect("a key")
            }
        };
        let mut parameters = CertificateParams::new(names.to_vec()).expect("names");
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(year, 12, 31);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        Identity {
            chain: format!("{}{}", certificate.pem(), self.pem),
            key: key.serialize_pem(),
            public: key.subject_public_key_info(),
        }
    }

    /// A TLSA record (RFC 6698 section 2.2) that names the authority: DANE-TA.
    pub fn tlsa(&self) -> String {
        format!("TLSA 2 0 1 {}", sha256(&self.der))
    }
}

impl Identity {
    /// A TLSA record that names the key: DANE-EE.
    pub fn tlsa(&self) -> String {
        format!("TLSA 3 1 1 {}", sha256(&self.public))
    }

    /// The same with a usage that is not for SMTP (RFC 7672 section 3.1.3).
    pub fn tlsa_of_web(&self) -> String {
        format!("TLSA 1 1 1 {}", sha256(&self.public))
    }

    /// Writes `NAME.crt` and `NAME.key`, which is its owner's alone.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.crt")), &self.chain).expect("a file");
        let key = folder.join(format!("{name}.key"));
        std::fs::write(&key, &self.key).expect("a file");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, private).expect("ours");
    }
}
