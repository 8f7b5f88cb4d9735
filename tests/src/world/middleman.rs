//! Somebody on the line who wants mail to go in the open: takes STARTTLS out of what the server offers, or refuses it in the
//! server's name.
//!
//! Owns its port and a thread a connection. Refuses to touch anything else that is said. Fails by closing the
//! connection.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

/// What is done to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// The keyword is overwritten, as some firewalls do.
    Strip,
    /// The command is answered with 454.
    Refuse,
}

/// Listens at `own` and passes everything on to `server`, save for the trick; until the process ends.
pub fn start(own: SocketAddr, server: SocketAddr, trick: Trick) {
    let listener = TcpListener::bind(own).expect("the address is free");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { continue };
            thread::spawn(move || session(&client, &server, trick));
        }
    });
}

fn session(client: &TcpStream, server: &TcpStream, trick: Trick) {
    thread::scope(|scope| {
        scope.spawn(|| {
            pass(server, client, |line| {
                let keyword = trick == Trick::Strip && line.get(4..).is_some_and(|rest| rest.starts_with(b"STARTTLS"));
                if keyword {
                    line[4..12].copy_from_slice(b"XXXXXXXX");
                }
                true
            });
            let _ = client.shutdown(Shutdown::Both);
        });
        pass(client, server, |line| {
            let refused = trick == Trick::Refuse && line.to_ascii_uppercase().starts_with(b"STARTTLS");
            if refused {
                let mut client = client;
                let _ = client.write_all(b"454 4.7.0 TLS is not available\r\n");
            }
            !refused
        });
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// Line by line, those that `each` lets through.
fn pass(from: &TcpStream, mut to: &TcpStream, mut each: impl FnMut(&mut Vec<u8>) -> bool) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if each(&mut line) && to.write_all(&line).is_err() {
            return;
        }
        line.clear();
    }
}
