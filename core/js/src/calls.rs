//! The functions of `server.session` and `client.session` by their names, with their parameters as an object: what a line of a
//! `.session` file says.

use alloc::{string::String, vec::Vec};

use hermetic_core::step::Misuse;
use hermetic_core::{client, server};

use crate::misfit::Misfit;
use crate::shape::{Members, Shape, quoted};
use crate::value::Value;

/// A session of one of the two sides.
#[derive(Debug)]
pub enum Half {
    /// The receiving side.
    Server(server::Session),
    /// The sending side.
    Client(client::Session),
}

/// What a call brought about.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// A step of the session.
    Step(Value),
    /// The session is unchanged.
    Misuse(Value),
}

impl Half {
    /// A session before its start, of the half `server` or `client`.
    ///
    /// # Errors
    /// Options that are none.
    pub fn new(half: &str, options: Value) -> Result<Self, Misfit> {
        let inside = |misfit: Misfit| misfit.within("options");
        match half {
            "server" => Ok(Self::Server(server::Session::new(Shape::read(options).map_err(inside)?))),
            "client" => Ok(Self::Client(client::Session::new(Shape::read(options).map_err(inside)?))),
            _ => Err(no_half(half)),
        }
    }

    /// The options that are meant where none are given.
    ///
    /// # Errors
    /// Another half.
    pub fn defaults(half: &str) -> Result<Value, Misfit> {
        match half {
            "server" => Ok(server::Options::default().write()),
            "client" => Ok(client::Options::default().write()),
            _ => Err(no_half(half)),
        }
    }

    /// Calls a function: its name, and `now` and its other parameters as members.
    ///
    /// # Errors
    /// A function that there is not, parameters that it does not have, or that are no values of their types.
    pub fn call(&mut self, function: &str, parameters: Value) -> Result<Outcome, Misfit> {
        let mut given = Members::of(parameters)?;
        let now = given.take("now")?;
        match self {
            Self::Server(session) => {
                let done = match function {
                    "start" => given.end().map(|()| session.start(now)),
                    "receive" => {
                        let input: Vec<u8> = given.take("input")?;
                        given.end().map(|()| session.receive(now, &input))
                    }
                    "secured" => {
                        let mechanisms = given.take("mechanisms")?;
                        given.end().map(|()| session.secured(now, mechanisms))
                    }
                    "tick" => given.end().map(|()| session.tick(now)),
                    "answer" => {
                        let answer = given.take("answer")?;
                        given.end().map(|()| session.answer(now, answer))
                    }
                    "drain" => {
                        let farewell = given.take("farewell")?;
                        given.end().map(|()| session.drain(now, farewell))
                    }
                    _ => return Err(no_function(function, "start, receive, secured, tick, answer, drain")),
                };
                done.map(outcome)
            }
            Self::Client(session) => {
                let done = match function {
                    "start" => given.end().map(|()| session.start(now)),
                    "receive" => {
                        let input: Vec<u8> = given.take("input")?;
                        given.end().map(|()| session.receive(now, &input))
                    }
                    "secured" => given.end().map(|()| session.secured(now)),
                    "tick" => given.end().map(|()| session.tick(now)),
                    "lost" => given.end().map(|()| session.lost(now)),
                    "login" => {
                        let (mechanism, initial): (String, _) = (given.take("mechanism")?, given.take("initial")?);
                        given.end().map(|()| session.login(now, &mechanism, initial))
                    }
                    "respond" => {
                        let response: Vec<u8> = given.take("response")?;
                        given.end().map(|()| session.respond(now, &response))
                    }
                    "cancel" => given.end().map(|()| session.cancel(now)),
                    "deliver" => {
                        let transaction = given.take("transaction")?;
                        given.end().map(|()| session.deliver(now, &transaction))
                    }
                    "content" => {
                        let (octets, last): (Vec<u8>, _) = (given.take("octets")?, given.take("last")?);
                        given.end().map(|()| session.content(now, &octets, last))
                    }
                    "quit" => given.end().map(|()| session.quit(now)),
                    _ => {
                        let known =
                            "start, receive, secured, tick, lost, login, respond, cancel, deliver, content, quit";
                        return Err(no_function(function, known));
                    }
                };
                done.map(outcome)
            }
        }
    }
}

fn outcome<S: Shape>(done: Result<S, Misuse>) -> Outcome {
    match done {
        Ok(step) => Outcome::Step(step.write()),
        Err(misuse) => Outcome::Misuse(misuse.write()),
    }
}

fn no_half(half: &str) -> Misfit {
    Misfit::new([&quoted(half), " is no half of the engine: server or client is expected"].concat())
}

fn no_function(function: &str, known: &str) -> Misfit {
    Misfit::new([&quoted(function), " is no function of this half; there are ", known].concat())
}
