//! The ways in which a NATS server lets somebody in, and what its operator hands out for each.
//!
//! Owns keys, passwords and certificates that are good for one test. Refuses to start anything. Fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{fmt::Write as _, fs, path::Path};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::world::pki::{Authority, Kind};

/// One way.
#[derive(Debug)]
pub struct Login {
    /// Its name, for people.
    pub name: &'static str,
    /// What clients write before a server's address.
    pub scheme: &'static str,
    /// For the configuration of each server.
    pub server: String,
    /// For a client: keys of `[store]`.
    pub client: String,
    /// What nobody may ever read in a log.
    pub secret: String,
}

/// All of them, with fresh secrets in files of this folder.
pub fn all(folder: &Path) -> Vec<Login> {
    vec![password(folder), token(folder), nkey(folder), jwt(folder), certificate(folder)]
}

/// A key of `[store]` whose value is a file with this in it.
fn file(folder: &Path, key: &str, name: &str, content: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, content).expect("ours");
    format!("{key} = {file:?}\n")
}

fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// `system`: the account of the servers themselves, which JetStream on several servers needs beside that of the mail.
fn accounts(users: &str) -> String {
    format!(
        "accounts {{ MAIL: {{ jetstream: enabled, users: [{users}] }}, SYS: {{ users: [{{ user: sys, password: {:?} }}] }} }}\n\
         system_account: SYS\n",
        secret()
    )
}

fn password(folder: &Path) -> Login {
    let secret = secret();
    Login {
        name: "user and password",
        scheme: "nats",
        server: accounts(&format!("{{ user: hermetic, password: {secret:?} }}")),
        client: file(folder, "password-file", "password", &format!("{secret}\n")) + "user = \"hermetic\"\n",
        secret,
    }
}

fn token(folder: &Path) -> Login {
    let secret = secret();
    Login {
        name: "token",
        scheme: "nats",
        server: format!("authorization {{ token: {secret:?} }}\n"),
        client: file(folder, "password-file", "token", &secret),
        secret,
    }
}

fn nkey(folder: &Path) -> Login {
    let user = KeyPair::new_user();
    let secret = user.seed().expect("it was made with one");
    Login {
        name: "NKey",
        scheme: "nats",
        server: accounts(&format!("{{ nkey: {} }}", user.public_key())),
        client: file(folder, "credentials", "nkey", &format!("{secret}\n")),
        secret,
    }
}

/// No login at all: a certificate of the right authority is enough.
fn certificate(folder: &Path) -> Login {
    let authority = Authority::new("whom these servers trust");
    let (server, client) = (["127.0.0.1".to_owned()], ["mx.example.test".to_owned()]);
    authority.certify(&server, 2099, Kind::Ecdsa).write(folder, "nats");
    let identity = authority.certify(&client, 2099, Kind::Ecdsa);
    identity.write(folder, "mx");
    let roots = file(folder, "roots", "roots.pem", authority.pem());
    let path = |name| folder.join(name);
    Login {
        name: "certificate",
        scheme: "tls",
        server: format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
            path("nats.crt"),
            path("nats.key"),
            path("roots.pem")
        ),
        client: format!("{roots}certificate = {:?}\nkey = {:?}\n", path("mx.crt"), path("mx.key")),
        secret: identity.key.lines().nth(1).expect("PEM").to_owned(),
    }
}

/// Signs what `subject` may do, in the form of NATS JWTs, version 2.
fn sign(issuer: &KeyPair, subject: &KeyPair, kind: &str, mut rights: Value) -> String {
    rights["type"] = kind.into();
    rights["version"] = 2.into();
    let claims = json!({
        "jti": secret(), "iat": 1_700_000_000, "iss": issuer.public_key(), "name": kind, "sub": subject.public_key(), "nats": rights,
    });
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let mut token = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = issuer.sign(token.as_bytes()).expect("it has a seed");
    let _ = write!(token, ".{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    token
}

/// An operator, its accounts, and a user of one of these.
fn jwt(folder: &Path) -> Login {
    let (operator, system, mail, user) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let no_limit = |names: &[&str]| -> Value { names.iter().map(|name| ((*name).to_owned(), json!(-1))).collect() };
    let usual = ["subs", "data", "payload", "imports", "exports", "conn", "leaf"];
    let mut limits = no_limit(&usual);
    limits["wildcards"] = true.into();
    let system_jwt = sign(&operator, &system, "account", json!({ "limits": limits }));
    for name in ["mem_storage", "disk_storage", "streams", "consumer"] {
        limits[name] = (-1).into();
    }
    let mail_jwt = sign(&operator, &mail, "account", json!({ "limits": limits }));
    let rights = json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let user_jwt = sign(&mail, &user, "user", rights);
    let server = format!(
        "operator: {:?}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {system_jwt:?}, {}: {mail_jwt:?} }}\n",
        sign(&operator, &operator, "operator", json!({})),
        system.public_key(),
        system.public_key(),
        mail.public_key(),
    );
    let secret = user.seed().expect("it was made with one");
    // As `nsc generate creds` writes it.
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{secret}\n------END USER NKEY SEED------\n"
    );
    let client = file(folder, "credentials", "creds", &credentials);
    Login { name: "JWT of an operator", scheme: "nats", server, client, secret }
}
