//! Runs a session: a small driver that answers from a list.
//!
//! Owns the ways in which the same session may reach the engine ([`How`]). Refuses to judge what comes out: it returns a
//! [`Record`]. It fails where the engine does, where a question has no answer, and where steps lead nowhere.

use std::collections::VecDeque;

use hermetic::engine::types::{
    Answer, Decision, Need, Options, Piece, Question, Refusal, SaslAnswer, Step, VerifyAnswer,
};
use hermetic::engine::{Engine, EngineError, Session};

use super::{Action, Transcript, show};

/// More steps than any transcript takes, for one input.
const STEPS: usize = 100_000;

/// How a session reaches the engine. None of it may change what the server says.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Cut the octets that arrive between two edges into pieces that end here.
    pub cuts: Vec<usize>,
    /// Freeze and thaw after every call.
    pub freeze: bool,
    /// Call `tick` after every call, although nothing is due.
    pub tick: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// All octets for the peer.
    pub output: Vec<u8>,
    /// As [`show::question`] has them.
    pub questions: Vec<String>,
    /// What was answered; recipients one by one.
    pub answers: Vec<Answer>,
    /// As [`show::event`] has them.
    pub events: Vec<String>,
    /// Every message's content, as it stood when the engine asked about it.
    pub bodies: Vec<Vec<u8>>,
    /// The server closed the connection.
    pub closed: bool,
}

/// Why a session could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The engine's own.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The next answer is to another question.
    #[error("{asked:?} was asked, and the next answer is {answer:?}")]
    Answer {
        /// What was asked.
        asked: String,
        /// What stands next.
        answer: Answer,
    },
    /// `TLS` where no handshake was asked for, and the like.
    #[error("{0}")]
    Order(String),
}

/// Where answers come from.
enum Answers<'a> {
    /// The next of this name, otherwise yes.
    Group(VecDeque<Answer>),
    /// Exactly these.
    Replay(&'a mut VecDeque<Answer>),
}

/// A session under way.
pub struct Run<'a> {
    engine: &'a dyn Engine,
    options: &'a Options,
    how: &'a How,
    session: Option<Box<dyn Session>>,
    now: u64,
    wake: u64,
    need: Need,
    body: Vec<u8>,
    record: Record,
}

/// The transcript as it is written, group by group.
///
/// # Errors
/// See [`Failure`].
pub fn written(engine: &dyn Engine, transcript: &Transcript, how: &How) -> Result<Vec<Record>, Failure> {
    let mut run = Run::new(engine, &transcript.options, how)?;
    let mut records = Vec::new();
    let mut started = false;
    for group in &transcript.groups {
        let mut answers = Answers::Group(group.answers.iter().cloned().collect());
        if !started {
            started = true;
            run.call(&mut answers, b"", |session, now| session.start(now))?;
        }
        for action in &group.actions {
            run.act(&mut answers, action)?;
        }
        if let Answers::Group(left) = &answers
            && let Some(answer) = left.front()
        {
            return Err(Failure::Order(format!("line {}: nobody asked for {answer:?}", group.lines.0 + 1)));
        }
        records.push(std::mem::take(&mut run.record));
        if let Some(record) = records.last_mut() {
            record.closed = run.need == Need::Close;
        }
    }
    Ok(records)
}

/// The same session, told as fast as the edges allow: whatever the client says between two of them arrives at once, or
/// cut as `how` says. The answers are those of an earlier record.
///
/// # Errors
/// See [`Failure`].
pub fn retold(engine: &dyn Engine, transcript: &Transcript, answers: &[Answer], how: &How) -> Result<Record, Failure> {
    let mut run = Run::new(engine, &transcript.options, how)?;
    let mut replay: VecDeque<Answer> = answers.iter().cloned().collect();
    let mut answers = Answers::Replay(&mut replay);
    run.call(&mut answers, b"", |session, now| session.start(now))?;
    let mut said = Vec::new();
    for action in transcript.groups.iter().flat_map(|group| &group.actions) {
        if let Action::Send(octets) = action {
            said.extend(octets);
            continue;
        }
        run.act(&mut answers, &Action::Send(std::mem::take(&mut said)))?;
        run.act(&mut answers, action)?;
    }
    run.act(&mut answers, &Action::Send(said))?;
    run.record.closed = run.need == Need::Close;
    Ok(run.record)
}

impl<'a> Run<'a> {
    fn new(engine: &'a dyn Engine, options: &'a Options, how: &'a How) -> Result<Self, Failure> {
        let session = Some(engine.open(options)?);
        let (need, record) = (Need::Input, Record::default());
        Ok(Self { engine, options, how, session, now: 1000, wake: u64::MAX, need, body: Vec::new(), record })
    }

    fn act(&mut self, answers: &mut Answers<'_>, action: &Action) -> Result<(), Failure> {
        match action {
            Action::Send(octets) => self.send(answers, octets),
            Action::Wait(time) => {
                let end = self.now + time;
                while self.need != Need::Close && self.wake <= end {
                    self.now = self.wake.max(self.now);
                    self.call(answers, b"", |session, now| session.tick(now))?;
                    if self.need != Need::Close && self.wake <= self.now {
                        return Err(Failure::Order("tick leaves a time that has passed".into()));
                    }
                }
                self.now = end;
                Ok(())
            }
            Action::Secured(mechanisms) if self.need == Need::StartTls => {
                self.call(answers, b"", |session, now| session.secured(now, mechanisms)).map(drop)
            }
            Action::Secured(_) => Err(Failure::Order("TLS, but no handshake was asked for".into())),
            Action::Drain(farewell) => self.call(answers, b"", |session, now| session.drain(now, farewell)).map(drop),
        }
    }

    /// Hands over octets, cut where `how` says. Behind STARTTLS they belong to TLS, and behind the end to nobody.
    fn send(&mut self, answers: &mut Answers<'_>, octets: &[u8]) -> Result<(), Failure> {
        let mut ends: Vec<usize> = self.how.cuts.iter().copied().filter(|cut| *cut < octets.len()).collect();
        ends.push(octets.len());
        ends.sort_unstable();
        let mut start = 0;
        for end in ends {
            let mut rest = &octets[start..end];
            start = end;
            while !rest.is_empty() && self.need == Need::Input {
                let input = rest;
                let consumed = self.call(answers, input, |session, now| session.receive(now, input))?;
                rest = &rest[consumed..];
            }
        }
        Ok(())
    }

    /// One call, and the answers to what it asks. Says how much of the input was used.
    fn call(
        &mut self,
        answers: &mut Answers<'_>,
        input: &[u8],
        call: impl FnOnce(&mut dyn Session, u64) -> Result<Step, EngineError>,
    ) -> Result<usize, Failure> {
        let now = self.now;
        let step = call(self.session()?, now)?;
        let consumed = step.consumed as usize;
        self.took(step, input)?;
        for _ in 0..STEPS {
            let Need::Answer(question) = self.need.clone() else { return Ok(consumed) };
            let answer = self.answer(answers, &question)?;
            let step = self.session()?.answer(now, &answer)?;
            self.took(step, b"")?;
        }
        Err(Failure::Order("one question after the other, without end".into()))
    }

    /// Writes down what a step brought, then does to the session what may not change it.
    fn took(&mut self, step: Step, input: &[u8]) -> Result<(), Failure> {
        self.record.output.extend(&step.transmit);
        if step.abandoned {
            self.body.clear();
        }
        for piece in &step.body {
            match piece {
                Piece::Range((offset, length)) => {
                    self.body.extend(&input[*offset as usize..(*offset + *length) as usize]);
                }
                Piece::Octets(octets) => self.body.extend(octets),
            }
        }
        self.record.events.extend(step.events.iter().map(show::event));
        if let Need::Answer(Question::Message(facts)) = &step.need {
            if facts.size != self.body.len() as u64 {
                let got = self.body.len();
                return Err(Failure::Order(format!(
                    "the message has {} octets, but {got} were handed out",
                    facts.size
                )));
            }
            self.record.bodies.push(std::mem::take(&mut self.body));
        }
        (self.need, self.wake) = (step.need, step.wake);
        if self.need == Need::Close {
            return Ok(());
        }
        if self.how.freeze {
            let session = self.session.take().ok_or_else(gone)?;
            self.session = Some(self.engine.thaw(self.options, &session.freeze()?)?);
        }
        if self.how.tick && self.now < self.wake {
            let now = self.now;
            let idle = self.session()?.tick(now)?;
            let changes = (idle.need != self.need)
                || (idle.consumed, idle.transmit.len(), idle.body.len(), idle.events.len(), idle.wake)
                    != (0, 0, 0, 0, self.wake);
            if changes || idle.abandoned {
                return Err(Failure::Order(format!("a tick before its time brought {idle:?}")));
            }
        }
        Ok(())
    }

    fn session(&mut self) -> Result<&mut dyn Session, Failure> {
        self.session.as_deref_mut().map(|session| session as _).ok_or_else(gone)
    }

    fn answer(&mut self, answers: &mut Answers<'_>, question: &Question) -> Result<Answer, Failure> {
        let asked = show::question(question);
        let wanted = if let Question::Recipients(batch) = question { batch.len() } else { 1 };
        let mut given = Vec::with_capacity(wanted);
        for _ in 0..wanted {
            given.push(match answers {
                Answers::Replay(queue) => queue.pop_front(),
                Answers::Group(queue) => {
                    let next = queue.iter().position(|answer| fits(question, answer));
                    next.and_then(|next| queue.remove(next))
                }
            });
        }
        let given = given.into_iter().map(|answer| answer.unwrap_or_else(|| yes(question)));
        let mut given: Vec<Answer> = given.collect();
        if let Some(answer) = given.iter().find(|answer| !fits(question, answer)) {
            return Err(Failure::Answer { asked: asked.join("; "), answer: answer.clone() });
        }
        self.record.questions.extend(asked);
        self.record.answers.extend(given.iter().cloned());
        if matches!(question, Question::Recipients(_)) {
            let each = given.into_iter().flat_map(|answer| match answer {
                Answer::Recipients(decisions) => decisions,
                _ => Vec::new(),
            });
            return Ok(Answer::Recipients(each.collect()));
        }
        Ok(given.pop().unwrap_or_else(|| yes(question)))
    }
}

fn gone() -> Failure {
    Failure::Order("the session is gone".into())
}

fn fits(question: &Question, answer: &Answer) -> bool {
    matches!(
        (question, answer),
        (Question::Connection, Answer::Connection(_))
            | (Question::Hello(_), Answer::Hello(_))
            | (Question::Xclient(_), Answer::Xclient(_))
            | (Question::Sasl(_), Answer::Sasl(_))
            | (Question::Sender(_), Answer::Sender(_) | Answer::SenderWithPriority(_))
            | (Question::Recipients(_), Answer::Recipients(_))
            | (Question::Verify(_), Answer::Verify(_))
            | (Question::Data, Answer::Data(_))
            | (Question::Message(_), Answer::Message(_))
    )
}

/// Yes, as far as there is one: a login and a mailbox have to be named.
fn yes(question: &Question) -> Answer {
    let yes: Decision = Ok(None);
    match question {
        Question::Connection => Answer::Connection(yes),
        Question::Hello(_) => Answer::Hello(yes),
        Question::Xclient(_) => Answer::Xclient(yes),
        Question::Sender(_) => Answer::Sender(yes),
        Question::Data => Answer::Data(yes),
        Question::Recipients(_) => Answer::Recipients(vec![yes]),
        Question::Message(facts) => Answer::Message(vec![yes; facts.recipients as usize]),
        Question::Verify(_) => Answer::Verify(VerifyAnswer::Unsure),
        Question::Sasl(_) => Answer::Sasl(SaslAnswer::Refused(Refusal {
            code: 535,
            subject: 7,
            detail: 8,
            text: "Authentication credentials invalid".into(),
        })),
    }
}
