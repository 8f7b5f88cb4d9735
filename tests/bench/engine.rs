//! What a message costs in the engine, in the sandbox, recorded, and without a sandbox: no sockets, one thread, so the figures are steady
//! even on a busy machine.
//!
//!     cargo run --release -p hermetic-tests --example engine

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use hermetic::engine::pool::{EngineSettings, WasmEngine};
use hermetic::engine::types::{Answer, Limits, Need, Options, Protocol, Question, Questions, Step};
use hermetic::engine::{Engine, Session};
use hermetic::record::take::Bounds;
use hermetic_tests::native::Native;
use hermetic_tests::tape::Held;

/// Sessions that take turns, as they do in a server under load.
const SESSIONS: usize = 50;
/// Messages of each.
const MESSAGES: usize = 400;
/// Sessions of one message, one after the other.
const SHORT: usize = 2000;
const ROUNDS: usize = 5;

const HELLO: &[u8] = b"EHLO client.example.test\r\n";

fn main() -> Result<(), Box<dyn Error>> {
    let sandboxed = WasmEngine::new(&EngineSettings::default())?;
    // As a server does it with `[record]`, with a lock in addition.
    let bounds = Bounds { largest: 64 << 20, memory: 4 << 30 };
    let recorded = Held::new(Arc::new(sandboxed.clone()), bounds);
    let engines: [(&str, &dyn Engine); 3] = [("sandboxed", &sandboxed), ("recorded", &recorded), ("native", &Native)];
    let mut content = Vec::new();
    while content.len() < 4096 {
        content.extend_from_slice(&[b'X'; 78]);
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b".\r\n");
    let parts: [&[u8]; 4] = [b"MAIL FROM:<a@example.test>\r\n", b"RCPT TO:<b@example.test>\r\n", b"DATA\r\n", &content];
    println!("ns           MAIL   RCPT   DATA  content  message | a session of one message");
    for _ in 0..ROUNDS {
        for (name, engine) in engines {
            let mut sessions = Vec::with_capacity(SESSIONS);
            for _ in 0..SESSIONS {
                sessions.push(open(engine)?);
            }
            let mut spent = [0; 4];
            for _ in 0..MESSAGES {
                for (part, spent) in parts.iter().zip(&mut spent) {
                    let began = Instant::now();
                    for session in &mut sessions {
                        say(&mut **session, part)?;
                    }
                    *spent += began.elapsed().as_nanos();
                }
            }
            drop(sessions);
            let [mail, rcpt, data, content] = spent.map(|spent| spent / (SESSIONS * MESSAGES) as u128);
            let message = mail + rcpt + data + content;
            let began = Instant::now();
            for _ in 0..SHORT {
                let mut session = open(engine)?;
                for part in parts {
                    say(&mut *session, part)?;
                }
            }
            let short = began.elapsed().as_nanos() / SHORT as u128;
            println!("{name:10} {mail:6} {rcpt:6} {data:6} {content:8} {message:8} | {short}");
        }
    }
    Ok(())
}

/// A session that has been greeted.
fn open(engine: &dyn Engine) -> Result<Box<dyn Session>, Box<dyn Error>> {
    let mut session = engine.open(&options())?;
    let first = session.start(0)?;
    go_on(&mut *session, first, b"")?;
    say(&mut *session, HELLO)?;
    Ok(session)
}

/// Input, and all that follows from it.
fn say(session: &mut dyn Session, input: &[u8]) -> Result<(), Box<dyn Error>> {
    let step = session.receive(1, input)?;
    go_on(session, step, input)
}

/// Everything is accepted.
fn go_on(session: &mut dyn Session, mut step: Step, mut input: &[u8]) -> Result<(), Box<dyn Error>> {
    loop {
        input = input.get(step.consumed as usize..).unwrap_or_default();
        step = match step.need {
            Need::Input if input.is_empty() => return Ok(()),
            Need::Input => session.receive(1, input)?,
            Need::Answer(question) => session.answer(1, &yes(&question).ok_or("an unexpected question")?)?,
            Need::StartTls | Need::Close => return Err("the session ended".into()),
        };
    }
}

fn yes(question: &Question) -> Option<Answer> {
    match question {
        Question::Connection => Some(Answer::Connection(Ok(None))),
        Question::Hello(_) => Some(Answer::Hello(Ok(None))),
        Question::Sender(_) => Some(Answer::Sender(Ok(None))),
        Question::Recipients(recipients) => Some(Answer::Recipients(vec![Ok(None); recipients.len()])),
        Question::Data => Some(Answer::Data(Ok(None))),
        Question::Message(message) => {
            Some(Answer::Message(vec![Ok(Some("accepted, for measuring".into())); message.recipients as usize]))
        }
        Question::Xclient(_) | Question::Sasl(_) | Question::Verify(_) => None,
    }
}

fn options() -> Options {
    Options {
        protocol: Protocol::Smtp,
        server_name: "bench.example.test".into(),
        limits: Limits {
            message_size: 0,
            recipients: 1000,
            recipient_batch: 100,
            command_line: 2048,
            auth_line: 12_288,
            text_line: 0,
            errors: 10,
            idle_commands: 100,
            messages: 0,
            auth_failures: 3,
            command_timeout: 300_000,
            data_timeout: 180_000,
            handshake_timeout: 60_000,
            data_allowance: 600_000,
            data_rate: 0,
            session: 0,
            hold_for: 0,
            hold_until: 0,
            deliver_by: 0,
        },
        implicit_tls: false,
        start_tls: true,
        require_tls: false,
        plaintext_mechanisms: Vec::new(),
        tls_mechanisms: Vec::new(),
        require_auth: false,
        xclient: Vec::new(),
        strict_hello: false,
        deliver_by: false,
        priority: false,
        trace: false,
        unasked: Questions::empty(),
    }
}
