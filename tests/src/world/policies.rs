//! A web server that publishes MTA-STS policies (RFC 8461 section 3.3) for any number of domains.
//!
//! Owns its port, its certificates and what it says. Refuses every path but that of a policy. Fails by panicking at the
//! start, and by closing the connection later.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::pki::Identity;

/// A running one.
#[derive(Debug)]
pub struct PolicyHost {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl PolicyHost {
    /// With this certificate and, by domain, these policies.
    pub fn start(address: SocketAddr, identity: &Identity, policies: BTreeMap<String, String>) -> Self {
        let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let tls = Arc::new(tls);
        let listener = TcpListener::bind(address).expect("the address is free");
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        let thread = {
            let (stop, asked) = (stop.clone(), asked.clone());
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    let (tls, policies) = (tls.clone(), policies.clone());
                    thread::spawn(move || answer(client, tls, &policies));
                }
            })
        };
        Self { address, stop, asked, thread: Some(thread) }
    }

    /// How many have connected.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for PolicyHost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The listener hears of it from a last connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(client: TcpStream, tls: Arc<ServerConfig>, policies: &BTreeMap<String, String>) -> Option<()> {
    client.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(tls).ok()?, client));
    let (mut path, mut domain) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.trim_end();
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("host") => {
                domain = value.strip_prefix("mta-sts.").unwrap_or_default().to_owned();
            }
            None if path.is_empty() => path = line.to_owned(),
            None if line.is_empty() => break,
            _ => {}
        }
    }
    let found = policies.get(&domain).filter(|_| path.starts_with("GET /.well-known/mta-sts.txt "));
    let (status, body) = found.map_or(("404 Not Found", "no policy\n"), |policy| ("200 OK", policy.as_str()));
    let stream = stream.get_mut();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}
