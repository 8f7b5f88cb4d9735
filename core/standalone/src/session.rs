//! The run loop of one connection: octets, time and answers into the core; what it says to the peer, and content to where it is
//! kept.
//!
//! Owns the order of things, in the steps that [`hermetic_core`] describes. Refuses to know SMTP. A peer that is gone ends its
//! own session, and so does a mistake of ours, which is a line.

use std::net::IpAddr;
use std::rc::Rc;

use hermetic_core::command::Hello;
use hermetic_core::question::{Answer, Decision, MessageFacts, Question, Refusal, SaslAnswer, VerifyAnswer};
use hermetic_core::server::Session;
use hermetic_core::step::{Misuse, Need, Piece, Step};
use wasip3::filesystem::types::ErrorCode;

use crate::alarm::{now, turn};
use crate::connection::{Connection, Waited};
use crate::listener::Server;
use crate::maildir::Draft;
use crate::policy::refusal;
use crate::transaction::{Transaction, date};

/// Milliseconds in which a peer has to take what is said to it, if it has no less for a command.
const WRITING: u64 = 60_000;
/// A peer that always has more to say lets the others have a turn after so many reads.
const READS: u32 = 8;

/// Why a session ended before its time.
#[derive(Debug)]
enum End {
    /// The peer is gone, or does not read.
    Gone,
    /// We used the core wrongly.
    Ours(Misuse),
}

impl From<Misuse> for End {
    fn from(misuse: Misuse) -> Self {
        Self::Ours(misuse)
    }
}

/// Serves one peer to the end.
pub(crate) async fn serve(server: Rc<Server>, connection: Connection, client: IpAddr) {
    let mut drive = Drive::new(&server, connection, client);
    let end = drive.run(Ok(None)).await;
    drive.forget().await;
    match end {
        Ok(()) => drive.connection.close().await,
        Err(End::Gone) => {}
        Err(End::Ours(misuse)) => server.journal.line(&format!("a session was ended by a mistake of ours: {misuse}")),
    }
}

/// Tells one peer that it may not speak now.
pub(crate) async fn refuse(server: Rc<Server>, connection: Connection, client: IpAddr, why: Refusal) {
    let mut drive = Drive::new(&server, connection, client);
    if drive.run(Err(why)).await.is_ok() {
        drive.connection.close().await;
    }
}

struct Drive<'a> {
    connection: Connection,
    core: Session,
    client: IpAddr,
    hello: Option<Hello>,
    transaction: Transaction,
    /// The content that has come, where it is kept.
    draft: Option<Draft>,
    /// Said and not written yet.
    out: Vec<u8>,
    /// The core knows that we want to end.
    drained: bool,
    reads: u32,
    server: &'a Server,
}

impl<'a> Drive<'a> {
    fn new(server: &'a Server, connection: Connection, client: IpAddr) -> Self {
        Self {
            connection,
            core: Session::new(server.settings.options.clone()),
            client,
            hello: None,
            transaction: Transaction::default(),
            draft: None,
            out: Vec::new(),
            drained: false,
            reads: 0,
            server,
        }
    }

    /// `welcome`: the answer to the first question.
    async fn run(&mut self, welcome: Decision) -> Result<(), End> {
        let mut input: Vec<u8> = Vec::new();
        let mut step = self.core.start(now())?;
        // The core has seen all that is in `input`.
        let mut seen = true;
        loop {
            self.content(&step, &input).await;
            input.drain(..(step.consumed as usize).min(input.len()));
            self.out.append(&mut step.transmit);
            step = match step.need {
                Need::Input if !input.is_empty() && !seen => {
                    seen = true;
                    self.core.receive(now(), &input)?
                }
                Need::Input if !input.is_empty() => return Err(Misuse::BadState("input was left unread".into()).into()),
                Need::Input => {
                    self.flush().await?;
                    self.wait(&mut input, step.wake).await?
                }
                Need::Answer(Question::Connection) => self.core.answer(now(), Answer::Connection(welcome.clone()))?,
                Need::Answer(question) => {
                    seen = false;
                    let answer = self.answer(question).await?;
                    self.core.answer(now(), answer)?
                }
                Need::Close => return self.flush().await,
                // It is never offered, and refused when it is asked for all the same.
                Need::StartTls => return Err(Misuse::BadState("STARTTLS was not offered".into()).into()),
            };
        }
    }

    /// Waits for octets, for the time that the core wants to be told, or for the end of the server.
    async fn wait(&mut self, input: &mut Vec<u8>, wake: u64) -> Result<Step, End> {
        self.reads += 1;
        if self.reads.is_multiple_of(READS) {
            turn().await;
        }
        loop {
            let (ending, drained) = (&self.server.ending, self.drained);
            match self.connection.read(input, wake, || ending.get() && !drained).await {
                Waited::Octets if input.is_empty() => {}
                Waited::Octets => return Ok(self.core.receive(now(), input)?),
                Waited::Due => return Ok(self.core.tick(now())?),
                Waited::Interrupted => {
                    self.drained = true;
                    let text = format!("{} is shutting down", self.server.settings.options.server_name);
                    return Ok(self.core.drain(now(), refusal(421, 3, 2, &text))?);
                }
                Waited::Gone => return Err(End::Gone),
            }
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let due = now() + WRITING.min(self.server.settings.options.limits.command_timeout);
        self.connection.write(std::mem::take(&mut self.out), due).await.map_err(|_| End::Gone)
    }

    /// What the step brought of the content, and whether what came before it is void.
    async fn content(&mut self, step: &Step, input: &[u8]) {
        if step.abandoned {
            self.forget().await;
        }
        if let (Some(maildir), Some(draft)) = (&self.server.maildir, &mut self.draft) {
            for piece in &step.body {
                let octets = match piece {
                    Piece::Range { offset, length } => {
                        let start = *offset as usize;
                        input.get(start..start + *length as usize).unwrap_or_default()
                    }
                    Piece::Octets(octets) => octets,
                };
                maildir.add(draft, octets).await;
            }
        }
    }

    async fn answer(&mut self, question: Question) -> Result<Answer, End> {
        Ok(match question {
            Question::Connection => Answer::Connection(Ok(None)),
            Question::Hello(hello) => {
                self.hello = Some(hello);
                Answer::Hello(Ok(None))
            }
            Question::Sender(sender) => {
                self.forget().await;
                self.transaction.sender = Some(sender);
                Answer::Sender(Ok(None))
            }
            Question::Recipients(batch) => {
                let decisions = batch.into_iter().map(|recipient| {
                    let decision = self.server.settings.domains.decide(&recipient.path);
                    if decision.is_ok() {
                        self.transaction.recipients.push(recipient.path);
                    }
                    decision
                });
                Answer::Recipients(decisions.collect())
            }
            Question::Verify(_) => Answer::Verify(VerifyAnswer::Unsure),
            Question::Data => {
                self.begin().await;
                Answer::Data(Ok(None))
            }
            Question::Message(facts) => self.message(facts).await?,
            // Neither is offered.
            Question::Xclient(_) => Answer::Xclient(Err(refusal(502, 5, 1, "XCLIENT is not available"))),
            Question::Sasl(_) => Answer::Sasl(SaslAnswer::Refused(refusal(502, 5, 1, "AUTH is not available"))),
        })
    }

    /// The content is about to come.
    async fn begin(&mut self) {
        if let Some(maildir) = &self.server.maildir {
            let name = &self.server.settings.options.server_name;
            let header = self.transaction.header(name, self.client, self.hello.as_ref(), &date());
            let draft = self.draft.insert(Draft::default());
            maildir.add(draft, header.as_bytes()).await;
        }
    }

    /// The content is whole: 250 only when it is kept.
    async fn message(&mut self, facts: MessageFacts) -> Result<Answer, End> {
        let told = self.transaction.told();
        let fate = match (&self.server.maildir, self.draft.take()) {
            (None, _) => Ok("discarded".to_owned()),
            (Some(_), None) => Err(ErrorCode::Io),
            (Some(maildir), Some(draft)) => {
                // The disk takes its time: the peer hears meanwhile what was said before.
                self.flush().await?;
                maildir.keep(draft).await.map(|name| format!("kept=new/{name}"))
            }
        };
        let decision = match &fate {
            Ok(_) => Ok(None),
            Err(ErrorCode::InsufficientSpace | ErrorCode::Quota) => {
                Err(refusal(452, 3, 1, "There is no room for the message"))
            }
            Err(_) => Err(refusal(451, 3, 0, "The message could not be kept")),
        };
        let fate = fate.unwrap_or_else(|error| format!("not kept: {error}"));
        if !self.server.settings.quiet || decision.is_err() {
            let line = format!("message {told} size={} client={} {fate}", facts.size, self.client);
            self.server.journal.line(&line);
        }
        self.transaction = Transaction::default();
        Ok(Answer::Message(vec![decision; facts.recipients as usize]))
    }

    /// The transaction is over without a message.
    async fn forget(&mut self) {
        self.transaction = Transaction::default();
        if let (Some(maildir), Some(draft)) = (&self.server.maildir, self.draft.take()) {
            maildir.discard(draft).await;
        }
    }
}
