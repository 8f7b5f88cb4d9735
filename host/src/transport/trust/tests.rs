//! Handshakes in memory, with certificates made here.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::io::DuplexStream;
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority, and a certificate of it for `mx.example`, good until the end of `year`.
struct Pki {
    authority: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: Vec<u8>,
    leaf_spki: Vec<u8>,
}

fn pki(year: i32) -> Pki {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
    leaf.not_before = date_time_ymd(2020, 1, 1);
    leaf.not_after = date_time_ymd(year, 12, 31);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf.der()).unwrap();
    let leaf_spki = parsed.tbs_certificate.subject_pki.raw.to_vec();
    Pki {
        authority: authority_certificate.der().clone(),
        leaf: leaf.der().clone(),
        key: key.serialize_der(),
        leaf_spki,
    }
}

fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Tlsa {
    let data = match matching {
        1 => Sha256::digest(data).to_vec(),
        2 => Sha512::digest(data).to_vec(),
        _ => data.to_vec(),
    };
    Tlsa { usage, selector, matching, data }
}

async fn shake(pki: &Pki, trust: &Trust, roots: &Roots) -> Result<String, String> {
    connected(pki, trust, roots).await.map(|stream| agreed(&stream)).map_err(|error| error.to_string())
}

async fn connected(pki: &Pki, trust: &Trust, roots: &Roots) -> Result<TlsStream<DuplexStream>, HandshakeError> {
    let chain = vec![pki.leaf.clone(), pki.authority.clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pki.key.clone()));
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let accepting = tokio::spawn(async move { TlsAcceptor::from(Arc::new(server)).accept(theirs).await.map(drop) });
    let result = handshake(ours, "mx.example", trust, roots).await;
    let _ = accepting.await;
    result
}

#[tokio::test]
async fn whom_to_believe() {
    let good = pki(2099);
    let expired = pki(2021);
    let other = pki(2099);
    let nobody = Roots(Arc::new(RootCertStore::empty()));
    let mut store = RootCertStore::empty();
    store.add(good.authority.clone()).unwrap();
    store.add(expired.authority.clone()).unwrap();
    let roots = Roots(Arc::new(store));
    let names = |name: &str| vec![name.to_owned()];
    let dane = |records: Vec<Tlsa>, name: &str| Trust::Dane(records, names(name));
    type Case<'a> = (&'a str, &'a Pki, Trust, &'a Roots, Result<(), &'a str>);
    let cases: Vec<Case<'_>> = vec![
        ("anything", &expired, Trust::Anything, &nobody, Ok(())),
        ("roots", &good, Trust::Roots(names("mx.example")), &roots, Ok(())),
        ("any of the names", &good, Trust::Roots(vec!["a.example".into(), "mx.example".into()]), &roots, Ok(())),
        ("roots, another name", &good, Trust::Roots(names("mx2.example")), &roots, Err("mx2.example")),
        ("roots, expired", &expired, Trust::Roots(names("mx.example")), &roots, Err("expired")),
        ("no roots", &good, Trust::Roots(names("mx.example")), &nobody, Err("not one that this machine trusts")),
        ("EE, certificate", &good, dane(vec![record(3, 0, 1, &good.leaf)], "x.example"), &nobody, Ok(())),
        ("EE, key", &good, dane(vec![record(3, 1, 1, &good.leaf_spki)], "x.example"), &nobody, Ok(())),
        ("EE, key, SHA-512", &good, dane(vec![record(3, 1, 2, &good.leaf_spki)], "x.example"), &nobody, Ok(())),
        ("EE, whole", &good, dane(vec![record(3, 0, 0, &good.leaf)], "x.example"), &nobody, Ok(())),
        ("EE, expired", &expired, dane(vec![record(3, 1, 1, &expired.leaf_spki)], "x.example"), &nobody, Ok(())),
        (
            "EE, another key",
            &good,
            dane(vec![record(3, 1, 1, &other.leaf_spki)], "mx.example"),
            &roots,
            Err("no TLSA record fits"),
        ),
        (
            "EE of the authority",
            &good,
            dane(vec![record(3, 0, 1, &good.authority)], "mx.example"),
            &roots,
            Err("no TLSA record fits"),
        ),
        (
            "one of two fits",
            &good,
            dane(vec![record(3, 1, 1, &other.leaf_spki), record(3, 1, 1, &good.leaf_spki)], "x.example"),
            &nobody,
            Ok(()),
        ),
        ("TA", &good, dane(vec![record(2, 0, 1, &good.authority)], "mx.example"), &nobody, Ok(())),
        ("TA, whole", &good, dane(vec![record(2, 0, 0, &good.authority)], "mx.example"), &nobody, Ok(())),
        (
            "TA, another name",
            &good,
            dane(vec![record(2, 0, 1, &good.authority)], "mx2.example"),
            &roots,
            Err("mx2.example"),
        ),
        (
            "TA, expired",
            &expired,
            dane(vec![record(2, 0, 1, &expired.authority)], "mx.example"),
            &nobody,
            Err("expired"),
        ),
        (
            "TA, another",
            &good,
            dane(vec![record(2, 0, 1, &other.authority)], "mx.example"),
            &roots,
            Err("no TLSA record fits"),
        ),
        (
            "TA of the leaf",
            &good,
            dane(vec![record(2, 0, 1, &good.leaf)], "mx.example"),
            &roots,
            Err("no TLSA record fits"),
        ),
        ("usage 1", &good, dane(vec![record(1, 0, 1, &good.leaf)], "mx.example"), &roots, Err("no TLSA record fits")),
    ];
    for (what, pki, trust, roots, expected) in cases {
        let found = shake(pki, &trust, roots).await;
        match (&found, expected) {
            (Ok(agreed), Ok(())) => assert!(agreed.starts_with("TLSv1.3 TLS_"), "{agreed}"),
            (Err(why), Err(words)) if why.contains(words) => {}
            _ => panic!("{what}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn records_that_can_be_used() {
    for (usage, selector, matching, octets, expected) in [
        (3, 1, 1, 32, true),
        (2, 0, 2, 64, true),
        (3, 0, 0, 1, true),
        (0, 0, 1, 32, false),
        (1, 0, 1, 32, false),
        (3, 2, 1, 32, false),
        (3, 1, 3, 32, false),
        (3, 1, 1, 31, false),
        (3, 0, 0, 0, false),
        (255, 255, 255, 0, false),
    ] {
        let record = Tlsa { usage, selector, matching, data: vec![0; octets] };
        assert_eq!(usable(&record), expected, "{record:?}");
    }
}

#[test]
fn each_thing_about_a_certificate_on_its_own() {
    let (good, old, other) = (pki(2040), pki(2021), pki(2040));
    let at = |pki: &Pki| {
        let mut store = RootCertStore::empty();
        store.add(pki.authority.clone()).unwrap();
        Roots(Arc::new(store))
    };
    let ee = |pki: &Pki| record(3, 1, 1, &pki.leaf_spki);
    let ta = |pki: &Pki| record(2, 0, 1, &pki.authority);
    // In date, for the name, by the roots, by DANE, by DANE-EE.
    for (pki, name, roots, records, expected) in [
        (&good, "mx.example", at(&good), vec![], (true, true, true, None, false)),
        (&old, "mx.example", at(&old), vec![], (false, true, true, None, false)),
        (&good, "other.example", at(&good), vec![], (true, false, true, None, false)),
        (&good, "mx.example", at(&other), vec![], (true, true, false, None, false)),
        (&old, "other.example", at(&other), vec![ee(&old)], (false, false, false, Some(true), true)),
        (&good, "mx.example", at(&other), vec![ta(&good)], (true, true, false, Some(true), false)),
        (&old, "mx.example", at(&other), vec![ta(&old)], (false, true, false, Some(false), false)),
        (&good, "mx.example", at(&good), vec![ee(&other), ta(&other)], (true, true, true, Some(false), false)),
    ] {
        let chain = [pki.leaf.clone(), pki.authority.clone()];
        let judged = judge(&chain, name, "example", &records, &roots, UnixTime::now()).unwrap();
        let dane = judged.dane.as_ref().map(Result::is_ok);
        let found = (judged.in_date, judged.name.is_ok(), judged.roots.is_ok(), dane, judged.dane_ee);
        assert_eq!(found, expected, "{name} {records:?}: {judged:?}");
    }
    let roots = at(&good);
    assert!(judge(&[], "mx.example", "example", &[], &roots, UnixTime::now()).is_err());
    assert!(judge(&[vec![1, 2].into()], "mx.example", "example", &[], &roots, UnixTime::now()).is_err());
}

/// A handshake under one rule, judged by another: the kind of what is wrong is the same as where the rule counts.
#[tokio::test]
async fn what_a_certificate_lacks() {
    let (good, expired, other) = (pki(2099), pki(2021), pki(2099));
    let mut store = RootCertStore::empty();
    store.add(good.authority.clone()).unwrap();
    store.add(expired.authority.clone()).unwrap();
    let roots = Roots(Arc::new(store));
    let for_name = |name: &str| Trust::Roots(vec![name.to_owned()]);
    let dane = |pki: &Pki| Trust::Dane(vec![record(3, 1, 1, &pki.leaf_spki)], vec!["mx.example".to_owned()]);
    for (what, pki, trust, expected) in [
        ("good", &good, for_name("mx.example"), None),
        ("anything", &other, Trust::Anything, None),
        ("another name", &good, for_name("mx2.example"), Some(Distrust::Name)),
        ("expired", &expired, for_name("mx.example"), Some(Distrust::Time)),
        ("a stranger's", &other, for_name("mx.example"), Some(Distrust::Other)),
        ("that of the records", &other, dane(&other), None),
        ("none of the records", &good, dane(&other), Some(Distrust::Tlsa)),
    ] {
        let open = connected(pki, &Trust::Anything, &roots).await.unwrap();
        let kind = |result: Result<(), HandshakeError>| match result {
            Ok(()) => None,
            Err(HandshakeError::Untrusted(kind, _)) => Some(kind),
            Err(error) => panic!("{what}: {error}"),
        };
        assert_eq!(kind(reconsidered(&open, &trust, &roots)), expected, "{what}, reconsidered");
        assert_eq!(kind(connected(pki, &trust, &roots).await.map(drop)), expected, "{what}");
    }
}
