//! A small complete SMTP server as a WASI 0.3 command: sockets, clock, files and random numbers are the runtime's, many
//! sessions run at once by the component model's async, and a stock `wasmtime run` is all that it takes.
//!
//! It is [`hermetic_core`] with the least around it that makes a server: no TLS (`wasi:tls` has no server's side), no queue, no
//! relaying. One instance holds all sessions, so a bug that traps ends them all; the server of this project seals each session in
//! an instance of its own.
//!
//! | module | owns |
//! |---|---|
//! | [`arguments`] | what may stand on the command line |
//! | [`listener`] | the socket, who is let in, the end |
//! | [`session`] | the run loop of one connection |
//! | [`connection`] | octets to and from a peer, with a bound in time |
//! | [`policy`] | the answers to the core's questions |
//! | [`transaction`] | one message: who sent it to whom, and its trace fields |
//! | [`maildir`] | keeping it |
//! | [`journal`] | a line for each message on standard output |
//! | [`alarm`] | one timer for everybody who waits |

#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "the macro's")]
mod export {
    wasip3::cli::command::export!(Command);

    pub struct Command;

    impl wasip3::exports::cli::run::Guest for Command {
        async fn run() -> Result<(), ()> {
            super::command().await
        }
    }
}

mod alarm;
mod arguments;
mod connection;
mod journal;
mod listener;
mod maildir;
mod policy;
mod session;
mod transaction;

use arguments::{Asked, USAGE};

/// The command: 0 when it ended as it was asked to, 1 with a sentence on standard error.
async fn command() -> Result<(), ()> {
    let arguments = wasip3::cli::environment::get_arguments();
    match arguments::parse(arguments.into_iter().skip(1)) {
        Ok(Asked::Help) => {
            print!("{USAGE}");
            Ok(())
        }
        Ok(Asked::Serve(settings)) => listener::serve(*settings).await.map_err(|error| say(&error)),
        Err(error) => {
            say(&error);
            Err(())
        }
    }
}

/// A sentence on standard error. Only before the first connection and after the last: it waits until it is written.
fn say(sentence: &str) {
    eprintln!("hermetic-standalone: {sentence}");
}
