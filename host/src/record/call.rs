//! The engine's functions as values: a call with its parameters, and what came of it.
//!
//! Owns the two halves, each with its calls, its step and the trait of [`crate::engine`] on which they are made. Refuses to
//! know files. A call that can not be read fails by [`Wrong`].

use serde_json::{Map, Value as Json};

use super::value::{Value, Wrong, kebab, member, write_name, write_text};
use crate::engine::client::{self, Client, Transaction};
use crate::engine::types::{Answer, Misuse, Options, Refusal, Step};
use crate::engine::{EngineError, Session};

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<S> {
    /// A step.
    Step(S),
    /// It was called wrongly.
    Misuse(Misuse),
    /// It did not return a step that holds. The text is for people.
    Trap(String),
}

impl<S> Outcome<S> {
    /// Of what the engine's trait returns.
    pub fn of(result: Result<S, EngineError>) -> Self {
        match result {
            Ok(step) => Self::Step(step),
            Err(EngineError::Misuse(misuse)) => Self::Misuse(misuse),
            Err(error) => Self::Trap(error.to_string()),
        }
    }
}

impl<S: PartialEq> Outcome<S> {
    /// They are the same. A trap's text differs from one runtime to the other and does not count.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Trap(_), Self::Trap(_))) || self == other
    }
}

/// The members by which an outcome is known.
const OUTCOMES: [&str; 3] = ["step", "misuse", "trap"];

impl<S: Value> Outcome<S> {
    /// `"step":…`, as a member of a call's object.
    pub fn write(&self, json: &mut String) {
        match self {
            Self::Step(step) => {
                json.push_str("\"step\":");
                step.write(json);
            }
            Self::Misuse(misuse) => {
                json.push_str("\"misuse\":");
                misuse.write(json);
            }
            Self::Trap(text) => {
                json.push_str("\"trap\":");
                write_text(text, json);
            }
        }
    }

    /// The one outcome among an object's members.
    ///
    /// # Errors
    /// There is none, or there are several, or it is of another type.
    pub fn read(object: &Map<String, Json>) -> Result<Self, Wrong> {
        let found: Vec<&str> = OUTCOMES.into_iter().filter(|name| object.contains_key(*name)).collect();
        match found[..] {
            ["step"] => member(object, "step").map(Self::Step),
            ["misuse"] => member(object, "misuse").map(Self::Misuse),
            ["trap"] => member(object, "trap").map(Self::Trap),
            _ => Err(Wrong {
                path: String::new(),
                expected: "one of `step`, `misuse`, `trap`".into(),
                found: if found.is_empty() { "none of them".into() } else { found.join(" and ") },
            }),
        }
    }
}

/// One half of the engine: what can be called, and what comes back.
pub trait Half: Sized {
    /// Its name in a file's header.
    const NAME: &'static str;
    /// What its constructor is given.
    type Options: Value + Clone + PartialEq + std::fmt::Debug;
    /// A call with its parameters.
    type Call: Call;
    /// What a call brings.
    type Step: Value + Clone + PartialEq + std::fmt::Debug;
    /// A session under way.
    type Session: ?Sized;

    /// Makes the call.
    ///
    /// # Errors
    /// The engine's.
    fn call(session: &mut Self::Session, call: &Self::Call) -> Result<Self::Step, EngineError>;
}

/// A call with its parameters, in JSON.
pub trait Call: Clone + PartialEq + std::fmt::Debug {
    /// The names of all functions.
    fn names() -> Vec<String>;
    /// This one's.
    fn name(&self) -> String;
    /// Its time.
    fn now(&self) -> u64;
    /// `"call":…,"now":…`, as members of an object.
    fn write(&self, json: &mut String);
    /// The call that the object tells of: `None` if there is no such function.
    ///
    /// # Errors
    /// A parameter is not there, or of another type; or a member is none of its parameters and no outcome.
    fn read(name: &str, object: &Map<String, Json>) -> Result<Option<Self>, Wrong>;
}

macro_rules! calls {
    ($(#[$doc:meta])* $type:ident { $($(#[$about:meta])* $case:ident { $($parameter:ident: $of:ty),* }),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $type {
            $(
                $(#[$about])*
                $case {
                    /// Its time, in milliseconds.
                    now: u64,
                    $(
                        /// As the WIT has it.
                        $parameter: $of,
                    )*
                },
            )*
        }

        impl Call for $type {
            fn names() -> Vec<String> {
                vec![$(kebab(stringify!($case))),*]
            }

            fn name(&self) -> String {
                kebab(match self { $(Self::$case { .. } => stringify!($case)),* })
            }

            fn now(&self) -> u64 {
                match self { $(Self::$case { now, .. } => *now),* }
            }

            fn write(&self, json: &mut String) {
                json.push_str("\"call\":");
                match self {
                    $(Self::$case { now, $($parameter),* } => {
                        write_name(stringify!($case), json);
                        json.push_str(",\"now\":");
                        now.write(json);
                        $(
                            json.push(',');
                            write_name(stringify!($parameter), json);
                            json.push(':');
                            $parameter.write(json);
                        )*
                    })*
                }
            }

            fn read(name: &str, object: &Map<String, Json>) -> Result<Option<Self>, Wrong> {
                $(if name == kebab(stringify!($case)) {
                    let call = Self::$case {
                        now: member(object, "now")?,
                        $($parameter: member(object, &kebab(stringify!($parameter)))?),*
                    };
                    let parameters = ["call", "now", $(stringify!($parameter)),*];
                    let known: Vec<String> = parameters.into_iter().chain(OUTCOMES).map(kebab).collect();
                    super::value::only(object, &known)?;
                    return Ok(Some(call));
                })*
                Ok(None)
            }
        }
    };
}

calls!(
    /// A call of `wit/engine/server.wit`.
    ServerCall {
        /// The connection is open.
        Start {},
        /// Octets from the peer.
        Receive { input: Vec<u8> },
        /// The handshake is done.
        Secured { mechanisms: Vec<String> },
        /// The time has come.
        Tick {},
        /// The answer to a question.
        Answer { answer: Answer },
        /// The session is to end.
        Drain { farewell: Refusal },
    }
);

calls!(
    /// A call of `wit/engine/client.wit`.
    ClientCall {
        /// The connection is open.
        Start {},
        /// Octets from the peer.
        Receive { input: Vec<u8> },
        /// The handshake is done.
        Secured {},
        /// The time has come.
        Tick {},
        /// The connection is gone.
        Lost {},
        /// AUTH.
        Login { mechanism: String, initial: Option<Vec<u8>> },
        /// The answer to a challenge.
        Respond { response: Vec<u8> },
        /// AUTH is given up.
        Cancel {},
        /// A message for some recipients.
        Deliver { transaction: Transaction },
        /// The next octets of the message.
        Content { octets: Vec<u8>, last: bool },
        /// The session is to end.
        Quit {},
    }
);

/// `wit/engine/server.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHalf;

impl Half for ServerHalf {
    const NAME: &'static str = "server";
    type Options = Options;
    type Call = ServerCall;
    type Step = Step;
    type Session = dyn Session;

    fn call(session: &mut (dyn Session + 'static), call: &ServerCall) -> Result<Step, EngineError> {
        match call {
            ServerCall::Start { now } => session.start(*now),
            ServerCall::Receive { now, input } => session.receive(*now, input),
            ServerCall::Secured { now, mechanisms } => session.secured(*now, mechanisms),
            ServerCall::Tick { now } => session.tick(*now),
            ServerCall::Answer { now, answer } => session.answer(*now, answer),
            ServerCall::Drain { now, farewell } => session.drain(*now, farewell),
        }
    }
}

/// `wit/engine/client.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHalf;

impl Half for ClientHalf {
    const NAME: &'static str = "client";
    type Options = client::Options;
    type Call = ClientCall;
    type Step = client::Step;
    type Session = dyn Client;

    fn call(session: &mut (dyn Client + 'static), call: &ClientCall) -> Result<client::Step, EngineError> {
        match call {
            ClientCall::Start { now } => session.start(*now),
            ClientCall::Receive { now, input } => session.receive(*now, input),
            ClientCall::Secured { now } => session.secured(*now),
            ClientCall::Tick { now } => session.tick(*now),
            ClientCall::Lost { now } => session.lost(*now),
            ClientCall::Login { now, mechanism, initial } => session.login(*now, mechanism, initial.as_deref()),
            ClientCall::Respond { now, response } => session.respond(*now, response),
            ClientCall::Cancel { now } => session.cancel(*now),
            ClientCall::Deliver { now, transaction } => session.deliver(*now, transaction),
            ClientCall::Content { now, octets, last } => session.content(*now, octets, *last),
            ClientCall::Quit { now } => session.quit(*now),
        }
    }
}
