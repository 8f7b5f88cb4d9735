//! The host's half of a session: what the engine asks, policy and the store answer.
//!
//! Owns what the host knows of the session: its facts, the SASL exchange, the message on its way in. Refuses to know
//! sockets and the order of commands. Cannot fail: trouble is an answer too.

use std::sync::Arc;

use super::{
    Shared, judging,
    transaction::{Accepted, Transaction, address, recipient_address, refusal, trouble},
};
use crate::{
    config::Kind,
    engine::types::{
        Answer, Decision, Event, GreetingVerb, Hello, MessageFacts, Occasion, Question, Recipient, Refusal, SaslAnswer,
        SaslStep, Sender, Step, XclientAttribute,
    },
    observe::{Address, Login, SessionLog},
    plugin::ledger::Witness,
    policy::{
        Policy, SessionFacts,
        auth::Exchange,
        chain::{Chains, Judging},
    },
    store,
};

/// What the host knows of one session.
pub(super) struct Answers {
    shared: Arc<Shared>,
    pub(super) facts: Box<SessionFacts>,
    pub(super) log: SessionLog,
    /// Octets came before the greeting.
    pub(super) spoke_early: bool,
    /// With its mechanism.
    exchange: Option<Box<(String, Exchange)>>,
    transaction: Option<Box<Transaction>>,
    /// Transactions begun.
    transactions: u32,
    /// Messages accepted.
    pub(super) messages: u32,
    /// Where it is written down what plugins are asked, if the session is recorded.
    pub(super) witness: Option<Arc<Witness>>,
    /// Why the engine ends the session, if not because it is over.
    pub(super) cut_short: Option<&'static str>,
    /// What was last asked or reported, for the log if the engine fails.
    pub(super) last: &'static str,
}

impl Answers {
    pub(super) fn new(shared: Arc<Shared>, facts: Box<SessionFacts>, log: SessionLog) -> Self {
        let (exchange, transaction) = (None, None);
        Self {
            shared,
            facts,
            log,
            spoke_early: false,
            exchange,
            transaction,
            transactions: 0,
            messages: 0,
            witness: None,
            cut_short: None,
            last: "opened",
        }
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
                Occasion::TooManyErrors | Occasion::TimedOut => self.cut_short = Some(self.last),
                _ => {}
            }
            self.log.noted(self.last, &event.detail, event.secret);
        }
    }

    /// Takes a step's content, which may lie in `input`, or drops what is held.
    pub(super) async fn content(&mut self, step: &Step, input: &[u8]) {
        if step.abandoned {
            self.transaction = None;
        } else if let Some(transaction) = &mut self.transaction
            && !step.body.is_empty()
        {
            transaction.content(&step.body, input, &self.log).await;
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
            Question::Sender(sender) => {
                let asked = sender.parameters.priority;
                let given = policy.priority(&self.facts, &sender);
                match (self.sender(&policy, sender).await, given) {
                    (Ok(None), Some(priority)) if given != asked => Answer::SenderWithPriority(priority),
                    (decision, _) => Answer::Sender(decision),
                }
            }
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
            self.log.client(facts.client, facts.client_name.as_deref());
            self.facts = facts;
            self.transaction = None;
            self.exchange = None;
        }
        decision
    }

    async fn sasl(&mut self, step: SaslStep) -> SaslAnswer {
        let (mut begun, input) = match step {
            SaslStep::Start((mechanism, initial)) => {
                let users = self.shared.current.load().users.clone();
                match Exchange::begin(&users, &self.facts, &mechanism) {
                    Ok(exchange) => (Box::new((mechanism, exchange)), initial),
                    Err(refusal) => {
                        self.login_failed(&mechanism, &refusal);
                        return SaslAnswer::Refused(refusal);
                    }
                }
            }
            SaslStep::Response(response) => match self.exchange.take() {
                Some(begun) => (begun, Some(response)),
                None => return SaslAnswer::Refused(trouble()),
            },
        };
        let (mechanism, exchange) = &mut *begun;
        let answer = exchange.step(input.as_deref()).await;
        match &answer {
            SaslAnswer::Challenge(_) => self.exchange = Some(begun),
            SaslAnswer::Authenticated(login) => {
                self.log.login(mechanism, Login(login));
                self.shared.metrics.login(true);
                self.facts.identity = Some(login.clone());
            }
            SaslAnswer::Refused(refusal) => self.login_failed(mechanism, refusal),
        }
        answer
    }

    fn login_failed(&self, mechanism: &str, refusal: &Refusal) {
        self.log.login_failed(mechanism, self.facts.client, refusal.code);
        self.shared.metrics.login(false);
    }

    async fn sender(&mut self, policy: &Arc<Policy>, sender: Sender) -> Decision {
        self.transaction = None;
        let decision = policy.sender(&self.facts, &sender).await;
        let from = reverse_path(&sender);
        match &decision {
            Ok(_) => {
                let chains = self.shared.current.load().chains.clone();
                self.transactions = self.transactions.wrapping_add(1);
                let judging = chains.map(|chains| self.judging(policy, chains, &sender));
                let mut transaction = Box::new(Transaction::new(sender, judging));
                if self.facts.listener.early_refusal
                    && let Err(refusal) = Box::pin(transaction.early(&*self.shared.store)).await
                {
                    self.log.sender_refused(shown(from.as_ref()), refusal.code, &refusal.text);
                    return Err(refusal);
                }
                self.log.sender(shown(from.as_ref()));
                self.transaction = Some(transaction);
            }
            Err(refusal) => self.log.sender_refused(shown(from.as_ref()), refusal.code, &refusal.text),
        }
        decision
    }

    fn judging(&self, policy: &Arc<Policy>, chains: Arc<Chains>, sender: &Sender) -> Judging {
        let mut facts = judging::facts(&self.facts, sender, self.transactions);
        facts.witness = self.witness.clone();
        let judging = Judging::new(chains, facts).sending_on(policy.clone());
        // A user's mail program does not come again by itself, and with PRDR each recipient has its own answer.
        let splits = self.facts.listener.kind == Kind::Mx && self.facts.identity.is_none();
        match splits && !sender.parameters.prdr {
            true => judging.splitting(&self.shared.returns, policy.config().limits.errors / 2),
            false => judging,
        }
    }

    async fn recipients(&mut self, policy: &Policy, mut recipients: Vec<Recipient>) -> Vec<Decision> {
        let Some(transaction) = &mut self.transaction else {
            return vec![Err(trouble()); recipients.len()];
        };
        let given: Vec<_> = recipients.iter().map(recipient_address).collect();
        let mut judged = policy.recipients(&self.facts, &transaction.sender, &recipients).await;
        for (recipient, judged) in recipients.iter_mut().zip(&mut judged) {
            if let Some(path) = judged.instead.take() {
                recipient.path = path;
            }
        }
        if transaction.is_judged() {
            Box::pin(transaction.judge(&recipients, &mut judged, &*self.shared.store)).await;
        }
        let mut judged = judged.into_iter();
        recipients
            .into_iter()
            .zip(given)
            .map(|(recipient, to)| {
                let decision = match judged.next().map(|judged| (judged.decision, judged.route)) {
                    Some((Ok(text), Some(route))) => {
                        transaction.add(recipient, route);
                        Ok(text)
                    }
                    Some((Err(refusal), _)) => Err(refusal),
                    // Accepted without a place to go to, or not judged at all.
                    Some((Ok(_), None)) | None => Err(trouble()),
                };
                match &decision {
                    Ok(_) => self.log.recipient(shown(Some(&to))),
                    Err(refusal) => self.log.recipient_refused(shown(Some(&to)), refusal.code, &refusal.text),
                }
                self.shared.metrics.recipient(decision.is_ok());
                decision
            })
            .collect()
    }

    /// Is there room?
    fn data(&mut self) -> Decision {
        let Some(transaction) = &mut self.transaction else { return Err(trouble()) };
        if !self.facts.listener.discard {
            transaction.begin(self.shared.store.begin().map_err(|error| refusal(&error, &self.log))?);
        }
        Ok(None)
    }

    /// One answer a recipient; they differ only where policy says so.
    async fn message(&mut self, policy: &Policy, message: MessageFacts) -> Vec<Decision> {
        let wanted = message.recipients as usize;
        match self.transaction.take() {
            Some(transaction) if transaction.len() == wanted => {
                if self.facts.listener.discard {
                    self.messages += 1;
                    vec![Ok(Some("discarded, for measuring only".to_owned())); wanted]
                } else {
                    self.store(policy, *transaction, &message).await
                }
            }
            _ => vec![Err(trouble()); wanted],
        }
    }

    async fn store(&mut self, policy: &Policy, transaction: Transaction, message: &MessageFacts) -> Vec<Decision> {
        let from = reverse_path(&transaction.sender);
        let recipients = transaction.len();
        let accepted =
            transaction.accept(policy, &self.facts, message, &self.log, &*self.shared.store, &self.shared.room).await;
        let Accepted { id, mut refusals } = match accepted {
            Ok(accepted) => accepted,
            Err(refusal) => Accepted { id: None, refusals: vec![Some(refusal); recipients] },
        };
        refusals.resize(recipients, None);
        for refusal in refusals.iter().flatten() {
            self.log.message_refused(shown(from.as_ref()), refusal.code, &refusal.text);
        }
        let accepted = refusals.iter().filter(|refusal| refusal.is_none()).count();
        if accepted == 0 {
            self.shared.metrics.message_refused();
        } else {
            self.messages += 1;
            self.shared.metrics.message_accepted(message.size);
            if let Some(id) = id {
                self.log.message_accepted(id, shown(from.as_ref()), accepted, message.size);
            } else {
                self.log.message_discarded(shown(from.as_ref()), accepted, message.size);
            }
        }
        let text = id.map_or_else(|| "accepted".to_owned(), |id| format!("queued as {id}"));
        refusals.into_iter().map(|refusal| refusal.map_or_else(|| Ok(Some(text.clone())), Err)).collect()
    }
}

fn reverse_path(sender: &Sender) -> Option<store::Address> {
    sender.mailbox.as_ref().map(address)
}

/// For the log, which may have to redact it.
fn shown(address: Option<&store::Address>) -> Address<'_> {
    address.map_or_else(Address::null, |address| Address::new(&address.local, &address.domain))
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
