//! A network that can be cut: what goes through it stops where it is, without an error, until it is whole again.
//!
//! Owns its listeners and threads, which end with the process. Fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How soon a pump sees that the network was cut.
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct Proxy {
    /// One for each target.
    pub ports: Vec<u16>,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    /// To these ports of this machine.
    pub fn start(targets: &[u16]) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        let ports = targets.iter().map(|target| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let (cut, target) = (cut.clone(), *target);
            thread::spawn(move || {
                for here in listener.incoming().flatten() {
                    let cut = cut.clone();
                    thread::spawn(move || join(&here, target, &cut));
                }
            });
            port
        });
        Self { ports: ports.collect(), cut }
    }

    /// Cuts it, or mends it.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Release);
    }
}

fn join(here: &TcpStream, target: u16, cut: &AtomicBool) {
    while cut.load(Ordering::Acquire) {
        thread::sleep(LOOK);
    }
    let Ok(there) = TcpStream::connect(("127.0.0.1", target)) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pump(here, &there, cut));
        pump(&there, here, cut);
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, cut: &AtomicBool) {
    let mut octets = vec![0; 64 * 1024];
    from.set_read_timeout(Some(LOOK)).expect("a socket");
    loop {
        if cut.load(Ordering::Acquire) {
            thread::sleep(LOOK);
            continue;
        }
        let n = match from.read(&mut octets) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        while cut.load(Ordering::Acquire) {
            thread::sleep(LOOK);
        }
        if to.write_all(&octets[..n]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
