//! The core plugged into the host's engine traits without a sandbox, to compare with: in the transcripts octet for
//! octet, in the benchmarks for speed. The product never links it.
//!
//! The values go through the very files that translate them inside the component. Steps are held to the same rules as
//! those that come out of the sandbox.

#[path = "../../core/component/src/convert.rs"]
mod convert;
#[path = "../../core/component/src/convert_client.rs"]
mod convert_client;

/// The host's side of `wit/engine`: this is where the translation looks for its types.
mod wit {
    pub(crate) use hermetic::engine::bindings::exports::hermetic::engine::{client, server, types};
}

use hermetic::engine::client::{self, Client, ClientEngine, ContentFacts, Given, Ledger, Transaction};
use hermetic::engine::types::{self, Answer, Options, Refusal, Step};
use hermetic::engine::{Engine, EngineError, Session, validate, validate_tick};
use hermetic_core::client::{Session as ClientCore, Step as ClientStep};
use hermetic_core::command::Command;
use hermetic_core::server::Session as Core;
use hermetic_core::step;
use hermetic_core::syntax::command;

/// `<mailbox>` and parameters, as they stand behind `MAIL FROM:`; the beginning of a transaction. For rigs.
#[must_use]
pub fn sender(argument: &str) -> Option<Transaction> {
    let parsed = command::parse(format!("MAIL FROM:{argument}").as_bytes());
    let Ok(Command::Mail(sender)) = parsed else { return None };
    let types::Sender { mailbox, parameters } = convert::sender(sender);
    Some(Transaction {
        sender: mailbox,
        recipients: Vec::new(),
        content: ContentFacts { size: 0, eight_bit: false, bare_line_ends: false, longest_line: 0, utf8_header: false },
        require_tls: parameters.require_tls,
        ret: parameters.ret,
        envid: parameters.envid,
        auth: parameters.auth,
        deliver_by: parameters.deliver_by,
        priority: parameters.priority,
    })
}

/// The same for what stands behind `RCPT TO:`.
#[must_use]
pub fn recipient(argument: &str) -> Option<types::Recipient> {
    match command::parse(format!("RCPT TO:{argument}").as_bytes()) {
        Ok(Command::Rcpt(recipient)) => Some(convert::recipient(recipient)),
        _ => None,
    }
}

/// Opens sessions in this very process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Engine for Native {
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Bare(Core::new(convert::options(options.clone())))))
    }

    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        let core = Core::thaw(convert::options(options.clone()), image).map_err(misuse)?;
        Ok(Box::new(Bare(core)))
    }
}

/// A session without a sandbox.
struct Bare(Core);

fn misuse(misuse: step::Misuse) -> EngineError {
    EngineError::Misuse(convert::misuse(misuse))
}

fn checked(result: Result<step::Step, step::Misuse>, input: usize) -> Result<Step, EngineError> {
    let step = convert::step(result.map_err(misuse)?);
    validate(&step, input)?;
    Ok(step)
}

impl Session for Bare {
    fn start(&mut self, now: u64) -> Result<Step, EngineError> {
        checked(self.0.start(now), 0)
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        checked(self.0.receive(now, input), input.len())
    }

    fn secured(&mut self, now: u64, mechanisms: &[String]) -> Result<Step, EngineError> {
        checked(self.0.secured(now, mechanisms.to_vec()), 0)
    }

    fn tick(&mut self, now: u64) -> Result<Step, EngineError> {
        let step = convert::step(self.0.tick(now).map_err(misuse)?);
        validate_tick(&step, now)?;
        Ok(step)
    }

    fn answer(&mut self, now: u64, answer: &Answer) -> Result<Step, EngineError> {
        checked(self.0.answer(now, convert::answer(answer.clone())), 0)
    }

    fn drain(&mut self, now: u64, farewell: &Refusal) -> Result<Step, EngineError> {
        checked(self.0.drain(now, convert::refusal(farewell.clone())), 0)
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.0.freeze().map_err(misuse)
    }
}

impl ClientEngine for Native {
    fn client(&self, options: &client::Options) -> Result<Box<dyn Client>, EngineError> {
        let core = ClientCore::new(convert_client::options(options.clone()));
        Ok(Box::new(BareClient { core, ledger: Ledger::new() }))
    }

    fn thaw_client(&self, options: &client::Options, image: &[u8]) -> Result<Box<dyn Client>, EngineError> {
        let core = ClientCore::thaw(convert_client::options(options.clone()), image).map_err(misuse)?;
        Ok(Box::new(BareClient { core, ledger: Ledger::thawed() }))
    }
}

/// A sending session without a sandbox.
struct BareClient {
    core: ClientCore,
    ledger: Ledger,
}

impl BareClient {
    fn checked(&mut self, result: Result<ClientStep, step::Misuse>, given: Given) -> Result<client::Step, EngineError> {
        let step = convert_client::step(result.map_err(misuse)?);
        self.ledger.validate(&step, given)?;
        Ok(step)
    }
}

impl Client for BareClient {
    fn start(&mut self, now: u64) -> Result<client::Step, EngineError> {
        let result = self.core.start(now);
        self.checked(result, Given::default())
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<client::Step, EngineError> {
        let result = self.core.receive(now, input);
        self.checked(result, Given { input: input.len(), ..Given::default() })
    }

    fn secured(&mut self, now: u64) -> Result<client::Step, EngineError> {
        let result = self.core.secured(now);
        self.checked(result, Given::default())
    }

    fn tick(&mut self, now: u64) -> Result<client::Step, EngineError> {
        let result = self.core.tick(now);
        self.checked(result, Given { tick: Some(now), ..Given::default() })
    }

    fn lost(&mut self, now: u64) -> Result<client::Step, EngineError> {
        let result = self.core.lost(now);
        self.checked(result, Given { lost: true, ..Given::default() })
    }

    fn login(&mut self, now: u64, mechanism: &str, initial: Option<&[u8]>) -> Result<client::Step, EngineError> {
        let result = self.core.login(now, mechanism, initial.map(<[u8]>::to_vec));
        self.checked(result, Given::default())
    }

    fn respond(&mut self, now: u64, response: &[u8]) -> Result<client::Step, EngineError> {
        let result = self.core.respond(now, response);
        self.checked(result, Given::default())
    }

    fn cancel(&mut self, now: u64) -> Result<client::Step, EngineError> {
        let result = self.core.cancel(now);
        self.checked(result, Given::default())
    }

    fn deliver(&mut self, now: u64, transaction: &Transaction) -> Result<client::Step, EngineError> {
        let result = self.core.deliver(now, &convert_client::transaction(transaction.clone()));
        if result.is_ok() {
            self.ledger.deliver(transaction.recipients.len());
        }
        self.checked(result, Given::default())
    }

    fn content(&mut self, now: u64, octets: &[u8], last: bool) -> Result<client::Step, EngineError> {
        let result = self.core.content(now, octets, last);
        self.checked(result, Given { content: octets.len(), ..Given::default() })
    }

    fn quit(&mut self, now: u64) -> Result<client::Step, EngineError> {
        let result = self.core.quit(now);
        self.checked(result, Given::default())
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.core.freeze().map_err(misuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host cannot ask the core for them: it does not depend on it.
    #[test]
    fn a_client_has_the_same_bounds_on_both_sides() {
        let cores = hermetic_core::client::Options { hello_name: "mx.test".into(), ..Default::default() };
        assert_eq!(convert_client::options(client::options("mx.test")), cores);
    }
}
