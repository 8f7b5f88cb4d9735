//! The host's half of a session: what the engine asks, policy and the store answer.
//!
//! Owns what the host knows of the session: its facts, the SASL exchange, the message on its way in. Refuses to know
//! sockets and the order of commands. Cannot fail: trouble is an answer too.

use std::sync::Arc;

use super::{
    Shared, journal,
    transaction::{Transaction, refusal, trouble},
};
use crate::{
    engine::types::{
        Answer, Decision, Event, GreetingVerb, Hello, MessageFacts, Occasion, Question, Recipient, Refusal, SaslAnswer,
        SaslStep, Sender, Step, XclientAttribute,
    },
    policy::{Policy, SessionFacts, auth::Exchange},
};

/// What the host knows of one session.
pub(super) struct Answers {
    shared: Arc<Shared>,
    pub(super) facts: Box<SessionFacts>,
    /// Octets came before the greeting.
    pub(super) spoke_early: bool,
    exchange: Option<Box<Exchange>>,
    transaction: Option<Box<Transaction>>,
    /// Messages accepted.
    pub(super) messages: u32,
    /// The engine ends the session because of what the peer keeps sending.
    pub(super) cut_short: bool,
    /// What was last asked or reported, for the log if the engine fails.
    pub(super) last: &'static str,
}

impl Answers {
    pub(super) fn new(shared: Arc<Shared>, facts: Box<SessionFacts>) -> Self {
        let (exchange, transaction) = (None, None);
        Self { shared, facts, spoke_early: false, exchange, transaction, messages: 0, cut_short: false, last: "opened" }
    }

    /// Today's policy: a reload counts from the next question on.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.shared.current.load().policy.clone()
    }

    /// What all sessions share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The client begins anew inside TLS: nothing that it said before counts (RFC 3207 section 4.2).
    pub(super) fn forget(&mut self) {
        self.facts.hello = None;
        self.facts.extended = false;
        self.facts.identity = None;
        self.transaction = None;
        self.exchange = None;
    }

    /// Writes a step's events to the log.
    pub(super) fn report(&mut self, events: &[Event]) {
        for event in events {
            self.last = occasion(event.occasion);
            match event.occasion {
                Occasion::AuthCancelled => self.exchange = None,
                Occasion::TooManyErrors => self.cut_short = true,
                _ => {}
            }
            journal::event(&self.facts, self.last, event);
        }
    }

    /// Takes a step's content, which may lie in `input`, or drops what is held.
    pub(super) async fn content(&mut self, step: &Step, input: &[u8]) {
        if step.abandoned {
            self.transaction = None;
        } else if let Some(transaction) = &mut self.transaction
            && !step.body.is_empty()
        {
            transaction.content(&step.body, input).await;
        }
    }

    /// The answer to a question.
    pub(super) async fn answer(&mut self, question: Question) -> Answer {
        let policy = self.policy();
        self.last = asked(&question);
        match question {
            Question::Connection => {
                let spoke_early = std::mem::take(&mut self.spoke_early);
                Answer::Connection(policy.connection(&self.facts, spoke_early).await)
            }
            Question::Hello(hello) => Answer::Hello(self.hello(&policy, hello).await),
            Question::Xclient(attributes) => Answer::Xclient(self.xclient(&policy, &attributes).await),
            Question::Sasl(step) => Answer::Sasl(Box::pin(self.sasl(step)).await),
            Question::Sender(sender) => Answer::Sender(self.sender(&policy, sender).await),
            Question::Recipients(recipients) => Answer::Recipients(self.recipients(&policy, recipients).await),
            Question::Verify(argument) => Answer::Verify(policy.verify(&self.facts, &argument).await),
            Question::Data => Answer::Data(self.data()),
            Question::Message(message) => Answer::Message(self.message(&policy, message).await),
        }
    }

    async fn hello(&mut self, policy: &Policy, hello: Hello) -> Decision {
        let decision = policy.hello(&self.facts, &hello).await;
        if decision.is_ok() {
            self.facts.extended = hello.verb != GreetingVerb::Helo;
            self.facts.hello = Some(hello.raw);
        }
        decision
    }

    /// The session begins anew, for whoever XCLIENT says.
    async fn xclient(&mut self, policy: &Policy, attributes: &[XclientAttribute]) -> Decision {
        let mut facts = self.facts.clone();
        facts.hello = None;
        facts.extended = false;
        facts.identity = None;
        let decision = policy.xclient(&mut facts, attributes).await;
        if decision.is_ok() {
            journal::xclient(&self.facts, &facts);
            self.facts = facts;
            self.transaction = None;
            self.exchange = None;
        }
        decision
    }

    async fn sasl(&mut self, step: SaslStep) -> SaslAnswer {
        let input = match step {
            SaslStep::Start((mechanism, initial)) => {
                let users = self.shared.current.load().users.clone();
                match Exchange::begin(&users, &self.facts, &mechanism) {
                    Ok(exchange) => self.exchange = Some(Box::new(exchange)),
                    Err(refusal) => return SaslAnswer::Refused(refusal),
                }
                initial
            }
            SaslStep::Response(response) => Some(response),
        };
        let Some(mut exchange) = self.exchange.take() else {
            return SaslAnswer::Refused(trouble());
        };
        let answer = exchange.step(input.as_deref()).await;
        match &answer {
            SaslAnswer::Challenge(_) => self.exchange = Some(exchange),
            SaslAnswer::Authenticated(login) => self.facts.identity = Some(login.clone()),
            SaslAnswer::Refused(_) => {}
        }
        answer
    }

    async fn sender(&mut self, policy: &Policy, sender: Sender) -> Decision {
        self.transaction = None;
        let decision = policy.sender(&self.facts, &sender).await;
        if decision.is_ok() {
            self.transaction = Some(Box::new(Transaction::new(sender)));
        }
        decision
    }

    async fn recipients(&mut self, policy: &Policy, recipients: Vec<Recipient>) -> Vec<Decision> {
        let Some(transaction) = &mut self.transaction else {
            return vec![Err(trouble()); recipients.len()];
        };
        let judged = policy.recipients(&self.facts, &transaction.sender, &recipients).await;
        let mut judged = judged.into_iter();
        recipients
            .into_iter()
            .map(|recipient| match judged.next().map(|judged| (judged.decision, judged.route)) {
                Some((Ok(text), Some(route))) => {
                    transaction.add(recipient, route);
                    Ok(text)
                }
                Some((Err(refusal), _)) => Err(refusal),
                // Accepted without a place to go to, or not judged at all.
                Some((Ok(_), None)) | None => Err(trouble()),
            })
            .collect()
    }

    /// Is there room?
    fn data(&mut self) -> Decision {
        let Some(transaction) = &mut self.transaction else { return Err(trouble()) };
        if !self.facts.listener.discard {
            transaction.begin(self.shared.store.begin().map_err(|error| refusal(&error))?);
        }
        Ok(None)
    }

    /// One answer a recipient; they differ only where policy says so.
    async fn message(&mut self, policy: &Policy, message: MessageFacts) -> Vec<Decision> {
        let wanted = message.recipients as usize;
        let decision = match self.transaction.take() {
            Some(transaction) if transaction.len() == wanted => {
                if self.facts.listener.discard {
                    self.messages += 1;
                    Ok("discarded, for measuring only".to_owned())
                } else {
                    self.store(policy, *transaction, &message).await
                }
            }
            _ => Err(trouble()),
        };
        vec![decision.map(Some); wanted]
    }

    async fn store(
        &mut self,
        policy: &Policy,
        transaction: Transaction,
        message: &MessageFacts,
    ) -> Result<String, Refusal> {
        let accepted = transaction.accept(policy, &self.facts, message).await;
        match accepted {
            Ok((id, entries)) => {
                self.messages += 1;
                journal::accepted(&self.facts, id, message.size, entries);
                Ok(format!("queued as {id}"))
            }
            Err(refusal) => {
                journal::not_accepted(&self.facts, &refusal);
                Err(refusal)
            }
        }
    }
}

fn asked(question: &Question) -> &'static str {
    match question {
        Question::Connection => "asked: connection",
        Question::Hello(_) => "asked: hello",
        Question::Xclient(_) => "asked: xclient",
        Question::Sasl(_) => "asked: sasl",
        Question::Sender(_) => "asked: sender",
        Question::Recipients(_) => "asked: recipients",
        Question::Verify(_) => "asked: verify",
        Question::Data => "asked: data",
        Question::Message(_) => "asked: message",
    }
}

/// The occasion's name in the log.
fn occasion(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Command => "command",
        Occasion::Reply => "reply",
        Occasion::SyntaxError => "syntax-error",
        Occasion::SequenceError => "sequence-error",
        Occasion::Refused => "refused",
        Occasion::ContentRefused => "content-refused",
        Occasion::PlaintextDiscarded => "plaintext-discarded",
        Occasion::AuthCancelled => "auth-cancelled",
        Occasion::TooManyErrors => "too-many-errors",
        Occasion::TimedOut => "timed-out",
        Occasion::Closed => "closed",
    }
}
