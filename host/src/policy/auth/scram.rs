//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's half (RFC 5802, RFC 7677; channel binding RFC 9266).
//!
//! Owns the messages and the arithmetic. Refuses to know users, sockets, time and randomness: keys and nonces are
//! given. Fails by [`ScramError`], which is always the peer's.
//!
//! Every comparison with something secret takes the same time whatever the octets are.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The name of the only channel binding type offered.
const BINDING_TYPE: &str = "tls-exporter";

/// A client's nonce is echoed to it, so it may not fill a whole challenge. Octets.
const NONCE_MOST: usize = 512;

/// What is kept of a password: enough to check a proof, not enough to make one. RFC 5802 section 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// Random for each user.
    pub(super) salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub(super) iterations: u32,
    /// H(ClientKey).
    pub(super) stored_key: [u8; 32],
    /// Signs the server's last message.
    pub(super) server_key: [u8; 32],
}

impl Keys {
    /// `password` is prepared already (SASLprep). Takes time in proportion to `iterations`.
    pub(super) fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        let mut salted = [0; 32];
        // HMAC takes a key of any length, so this has no way to fail.
        let _ = pbkdf2::pbkdf2::<Hmac<Sha256>>(password.as_bytes(), &salt, iterations, &mut salted);
        let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"])).into();
        let server_key = hmac(&salted, &[b"Server Key"]);
        Self { salt, iterations, stored_key, server_key }
    }
}

/// HMAC-SHA-256 over the parts, one after the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is taken: the error type has no value that this call can return.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Why an exchange ends. None of them says whether the user exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    /// Not what RFC 5802 section 7 allows.
    #[error("malformed SCRAM message")]
    Malformed,
    /// `m=`: something that must be understood, and is not.
    #[error("a mandatory SCRAM extension is not supported")]
    Extension,
    /// The client could bind and believes that this server cannot, though -PLUS was offered: somebody took it out of
    /// the list on the way. RFC 5802 section 6.
    #[error("channel binding was offered, but the client was not told")]
    Downgrade,
    /// The flag does not fit the mechanism, or the binding is of a type that was not offered.
    #[error("only tls-exporter channel binding is supported, and only by the PLUS mechanism")]
    BindingType,
    /// The client is bound to another channel than this one.
    #[error("the channel binding does not match this connection")]
    Binding,
    /// Wrong password, or nobody of that name.
    #[error("the proof is wrong")]
    Proof,
}

/// client-first-message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientFirst {
    /// As whom the client wants to act, if it said so; unescaped, not yet prepared.
    pub(super) authzid: Option<String>,
    /// Unescaped, not yet prepared.
    pub(super) name: String,
    nonce: String,
    /// client-first-message-bare.
    bare: String,
    /// What `c=` must decode to: the gs2 header, then the binding's octets.
    binding: Vec<u8>,
}

impl ClientFirst {
    /// Reads the message. `plus`: the mechanism is -PLUS; `exporter`: the connection's binding, if -PLUS was offered.
    pub(super) fn parse(input: &[u8], plus: bool, exporter: Option<&[u8; 32]>) -> Result<Self, ScramError> {
        let text = std::str::from_utf8(input).map_err(|_| ScramError::Malformed)?;
        let (flag, rest) = text.split_once(',').ok_or(ScramError::Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
        let mut binding = text.as_bytes()[..text.len() - bare.len()].to_vec();

        match (flag, plus) {
            ("n", false) => {}
            ("y", false) if exporter.is_some() => return Err(ScramError::Downgrade),
            ("y", false) => {}
            ("n" | "y", true) => return Err(ScramError::BindingType),
            (flag, plus) => match (flag.strip_prefix("p="), exporter) {
                (None, _) => return Err(ScramError::Malformed),
                (Some(BINDING_TYPE), Some(exporter)) if plus => binding.extend_from_slice(exporter),
                _ => return Err(ScramError::BindingType),
            },
        }

        let authzid = match authzid {
            // `a=` with nothing behind it is not in the grammar, but GNU SASL sends it for "nobody else".
            "" | "a=" => None,
            given => Some(unescape(given.strip_prefix("a=").ok_or(ScramError::Malformed)?)?),
        };
        let mut attributes = bare.split(',');
        let first = attributes.next().unwrap_or_default();
        if first.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        let name = unescape(first.strip_prefix("n=").ok_or(ScramError::Malformed)?)?;
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        if nonce.is_empty() || nonce.len() > NONCE_MOST || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ScramError::Malformed);
        }
        Ok(Self { authzid, name, nonce: nonce.to_owned(), bare: bare.to_owned(), binding })
    }

    /// server-first-message, and what then waits for the proof. `server_nonce` is new, printable and without comma.
    /// `genuine`: the keys are a user's; false ends in [`ScramError::Proof`] whatever the client sends.
    pub(super) fn challenge(self, keys: Keys, genuine: bool, server_nonce: &str) -> (String, Awaiting) {
        let nonce = self.nonce + server_nonce;
        let message = format!("r={nonce},s={},i={}", BASE64.encode(&keys.salt), keys.iterations);
        let signed = format!("{},{message},", self.bare);
        (message, Awaiting { nonce, signed, binding: self.binding, keys, genuine })
    }
}

/// The exchange after the challenge.
#[derive(Debug)]
pub(super) struct Awaiting {
    nonce: String,
    /// AuthMessage as far as it is known.
    signed: String,
    binding: Vec<u8>,
    keys: Keys,
    genuine: bool,
}

impl Awaiting {
    /// Reads client-final-message and checks binding and proof; returns server-final-message.
    pub(super) fn verify(self, input: &[u8]) -> Result<String, ScramError> {
        let text = std::str::from_utf8(input).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|a| a.strip_prefix("c=")).ok_or(ScramError::Malformed)?;
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        let binding = BASE64.decode(binding).map_err(|_| ScramError::Malformed)?;
        let proof: [u8; 32] = BASE64.decode(proof).ok().and_then(|p| p.try_into().ok()).ok_or(ScramError::Malformed)?;

        if !bool::from(binding.ct_eq(&self.binding)) {
            return Err(ScramError::Binding);
        }
        if !bool::from(nonce.as_bytes().ct_eq(self.nonce.as_bytes())) {
            return Err(ScramError::Malformed);
        }
        let signed = self.signed + without_proof;
        let mut client_key = hmac(&self.keys.stored_key, &[signed.as_bytes()]);
        client_key.iter_mut().zip(proof).for_each(|(key, proof)| *key ^= proof);
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        if !bool::from(stored_key.ct_eq(&self.keys.stored_key) & Choice::from(u8::from(self.genuine))) {
            return Err(ScramError::Proof);
        }
        Ok(format!("v={}", BASE64.encode(hmac(&self.keys.server_key, &[signed.as_bytes()]))))
    }
}

/// saslname: `=2C` is a comma, `=3D` an equals sign, and no other `=` is allowed. RFC 5802 section 7.
fn unescape(name: &str) -> Result<String, ScramError> {
    let mut parts = name.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(ScramError::Malformed),
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    if plain.is_empty() || plain.contains('\0') { Err(ScramError::Malformed) } else { Ok(plain) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole exchange of RFC 7677 section 3.
    #[test]
    fn the_rfc_7677_exchange() {
        let keys = Keys::derive("pencil", BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096);
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", false, None).unwrap();
        assert_eq!((first.name.as_str(), &first.authzid), ("user", &None));
        let (challenge, awaiting) = first.challenge(keys, true, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(challenge, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let answer = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                      p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(awaiting.verify(answer.as_bytes()).unwrap(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn what_is_no_client_first_message_is_refused() {
        use ScramError::*;
        let exporter = [7; 32];
        let check = |input: &str, plus: bool, offered: bool, expected: Result<(&str, Option<&str>), ScramError>| {
            let read = ClientFirst::parse(input.as_bytes(), plus, offered.then_some(&exporter));
            let read = read.as_ref().map(|f| (f.name.as_str(), f.authzid.as_deref())).map_err(|e| *e);
            assert_eq!(read, expected, "{input:?} plus={plus} offered={offered}");
        };
        check("n,,n=anna,r=abc", false, false, Ok(("anna", None)));
        check("n,a=anna,n=anna,r=abc", false, true, Ok(("anna", Some("anna"))));
        check("n,,n=a=2Cb=3Dc,r=abc,x=ignored", false, false, Ok(("a,b=c", None)));
        check("n,a=,n=anna,r=abc", false, false, Ok(("anna", None)));
        check("y,,n=anna,r=abc", false, false, Ok(("anna", None)));
        check("y,,n=anna,r=abc", false, true, Err(Downgrade));
        check("p=tls-exporter,,n=anna,r=abc", true, true, Ok(("anna", None)));
        check("p=tls-exporter,,n=anna,r=abc", false, true, Err(BindingType));
        check("p=tls-exporter,,n=anna,r=abc", true, false, Err(BindingType));
        check("p=tls-unique,,n=anna,r=abc", true, true, Err(BindingType));
        check("p=,,n=anna,r=abc", true, true, Err(BindingType));
        check("n,,n=anna,r=abc", true, true, Err(BindingType));
        check("y,,n=anna,r=abc", true, true, Err(BindingType));
        check("n,,m=x,n=anna,r=abc", false, false, Err(Extension));
        for malformed in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n",
            "n,,n=",
            "n,,n=anna",
            "n,,n=anna,",
            "n,,n=anna,r",
            "n,,n=anna,r=",
            "n,,n=anna,r=a b",
            "n,,n=anna,r=é",
            "n,b,n=anna,r=abc",
            "n,,n=a=2cb,r=abc",
            "n,,n=a=,r=abc",
            "n,,n=a\0b,r=abc",
            "x,,n=anna,r=abc",
            "nn,,n=anna,r=abc",
            "n,,r=abc,n=anna",
        ] {
            check(malformed, false, false, Err(Malformed));
        }
        check(&format!("n,,n=anna,r={}", "x".repeat(NONCE_MOST + 1)), false, false, Err(Malformed));
        assert_eq!(ClientFirst::parse(b"n,,n=\xff,r=abc", false, None), Err(Malformed));
    }

    #[test]
    fn what_is_no_good_client_final_message_is_refused() {
        let keys = Keys::derive("pencil", b"salt".to_vec(), 4096);
        let good_proof = |bare: &str, server_first: &str, without_proof: &str| {
            let mut salted = [0; 32];
            pbkdf2::pbkdf2::<Hmac<Sha256>>(b"pencil", b"salt", 4096, &mut salted).unwrap();
            let mut proof = hmac(&salted, &[b"Client Key"]);
            let signed = format!("{bare},{server_first},{without_proof}");
            let signature = hmac(&keys.stored_key, &[signed.as_bytes()]);
            proof.iter_mut().zip(signature).for_each(|(p, s)| *p ^= s);
            format!("{without_proof},p={}", BASE64.encode(proof))
        };
        let check = |without_proof: &str, genuine: bool, expected: Option<ScramError>| {
            let first = ClientFirst::parse(b"n,,n=user,r=abc,x=y", false, None).unwrap();
            let (challenge, awaiting) = first.challenge(keys.clone(), genuine, "XYZ");
            let answer = good_proof("n=user,r=abc,x=y", &challenge, without_proof);
            assert_eq!(awaiting.verify(answer.as_bytes()).err(), expected, "{without_proof:?}");
        };
        check("c=biws,r=abcXYZ", true, None);
        check("c=biws,r=abcXYZ,e=later", true, None);
        check("c=biws,r=abcXYZ", false, Some(ScramError::Proof));
        check("c=eSws,r=abcXYZ", true, Some(ScramError::Binding));
        check("c=biws,r=abc", true, Some(ScramError::Malformed));
        check("c=biws,r=abcXYZW", true, Some(ScramError::Malformed));
        check("c=!,r=abcXYZ", true, Some(ScramError::Malformed));
        check("r=abcXYZ,c=biws", true, Some(ScramError::Malformed));
        for (answer, expected) in [
            (&b""[..], ScramError::Malformed),
            (b"c=biws,r=abcXYZ", ScramError::Malformed),
            (b"c=biws,r=abcXYZ,p=", ScramError::Malformed),
            (b"c=biws,r=abcXYZ,p=AAAA", ScramError::Malformed),
            (b"c=biws,r=abcXYZ,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", ScramError::Proof),
            (b"\xff,p=AAAA", ScramError::Malformed),
        ] {
            let first = ClientFirst::parse(b"n,,n=user,r=abc", false, None).unwrap();
            let (_, awaiting) = first.challenge(keys.clone(), true, "XYZ");
            assert_eq!(awaiting.verify(answer), Err(expected), "{}", String::from_utf8_lossy(answer));
        }
    }

    /// Pieces of real messages in any order, with anything between them.
    fn nearly_a_message() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::sample::select(vec![
                "n",
                "y",
                "p=",
                "p=tls-exporter",
                ",",
                ",,",
                "a=",
                "n=",
                "r=",
                "m=",
                "c=",
                "c=biws",
                "s=",
                "i=",
                "=2C",
                "=3D",
                "=",
                "abc",
                "XYZ",
                "r=abcXYZ",
                "user",
                "\0",
                "é",
                "AAAA",
                "====",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..3),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Whatever a stranger sends: no panic, and no proof without the key.
        #[test]
        fn nothing_but_a_proof_gets_in(
            first in nearly_a_message(), last in nearly_a_message(), plus: bool, offered: bool, valid: bool,
        ) {
            let exporter = [7; 32];
            let exporter = offered.then_some(&exporter);
            let first = if valid { b"n,,n=user,r=abc".to_vec() } else { first };
            if let Ok(first) = ClientFirst::parse(&first, plus, exporter) {
                prop_assert!(!first.name.is_empty() && !first.name.contains('\0'));
                let keys = Keys { salt: vec![1], iterations: 4096, stored_key: [2; 32], server_key: [3; 32] };
                let (challenge, awaiting) = first.challenge(keys, true, "XYZ");
                prop_assert!(challenge.len() < 2 * NONCE_MOST);
                prop_assert!(awaiting.verify(&last).is_err());
            }
        }
    }
}
