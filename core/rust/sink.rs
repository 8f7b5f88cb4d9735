//! A mail sink: the sealed engine behind a socket, a thread and an instance of its own for each session.
#![allow(missing_docs, reason = "the bindings are generated")]
use exports::hermetic::engine::{server::Limits, server::Options, server::Protocol, types::*};
use std::io::{ErrorKind, Read, Write};
use std::{net::TcpListener, net::TcpStream, sync::Arc, time::Duration, time::Instant};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine as Runtime, Result, Store, StoreLimits, StoreLimitsBuilder, bail};
wasmtime::component::bindgen!({ path: "../wit/engine", world: "engine" });

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, address] = &arguments[..] else { bail!("two arguments are expected: engine.wasm 127.0.0.1:2525") };
    let component = Component::from_file(&Runtime::new(Config::new().consume_fuel(true))?, file)?;
    let sealed = EnginePre::new(Linker::new(component.engine()).instantiate_pre(&component)?)?; // It imports nothing.
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let seats = Arc::new(());
    for stream in listener.incoming().flatten().filter(|_| Arc::strong_count(&seats) <= 100) {
        let (sealed, seat) = (sealed.clone(), seats.clone());
        std::thread::spawn(move || session(&sealed, stream, seat).map_err(|error| eprintln!("{error:#}")));
    }
    Ok(())
}

fn session(sealed: &EnginePre<StoreLimits>, mut stream: TcpStream, _seat: Arc<()>) -> Result<()> {
    let (clock, mut buffer, mut input, mut content) = (Instant::now(), [0; 16384], Vec::new(), Vec::new());
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut store = Store::new(sealed.engine(), StoreLimitsBuilder::new().memory_size(32 << 20).build());
    store.limiter(|limits| limits);
    store.set_fuel(100_000_000)?; // For one call. To use it up is a trap, which ends this session and no other.
    let engine = sealed.instantiate(&mut store)?;
    let server = engine.hermetic_engine_server().session();
    let session = server.call_constructor(&mut store, &options())?;
    let mut step = server.call_start(&mut store, session, 0)?.map_err(wasmtime::Error::msg)?;
    loop {
        content.truncate(if step.abandoned { 0 } else { content.len() });
        for piece in &step.body {
            match piece {
                Piece::Range((at, length)) => content.extend_from_slice(&input[*at as usize..][..*length as usize]),
                Piece::Octets(octets) => content.extend_from_slice(octets),
            }
        }
        input.drain(..step.consumed as usize);
        stream.write_all(&step.transmit)?;
        store.set_fuel(100_000_000)?;
        let now = || clock.elapsed().as_millis() as u64;
        step = match step.need {
            Need::Input => {
                if input.is_empty() {
                    stream.set_read_timeout(Some(Duration::from_millis(step.wake.saturating_sub(now()).max(1))))?;
                    match stream.read(&mut buffer) {
                        Ok(0) => return Ok(()),
                        Ok(count) => input.extend_from_slice(&buffer[..count]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {} // The engine looks at the time.
                        Err(error) => return Err(error.into()),
                    }
                }
                server.call_receive(&mut store, session, now(), &input)?
            }
            Need::Answer(Question::Message(of)) => {
                println!("a message: {:?}", String::from_utf8_lossy(&std::mem::take(&mut content)));
                let kept = vec![Ok(None); of.recipients as usize];
                server.call_answer(&mut store, session, now(), &Answer::Message(kept))?
            }
            Need::Answer(_) | Need::StartTls | Need::Close => return Ok(()), // Of other questions none is asked.
        }
        .map_err(wasmtime::Error::msg)?;
    }
}

#[rustfmt::skip]
fn options() -> Options {
    let limits = Limits { message_size: 10_000_000, recipients: 100, recipient_batch: 100, command_line: 2048,
        auth_line: 12_288, text_line: 0, errors: 20, idle_commands: 100, messages: 0, auth_failures: 3,
        command_timeout: 300_000, data_timeout: 180_000, handshake_timeout: 60_000, data_allowance: 600_000,
        data_rate: 512, session: 0, hold_for: 0, hold_until: 0, deliver_by: 0 };
    Options { protocol: Protocol::Smtp, server_name: "localhost".into(), limits, implicit_tls: false, start_tls: false,
        require_tls: false, plaintext_mechanisms: vec![], tls_mechanisms: vec![], require_auth: false, xclient: vec![],
        strict_hello: false, deliver_by: false, priority: false, trace: false, unasked: Questions::all() ^ Questions::MESSAGE }
}
