//! One transaction: MAIL, RCPT, the content, and what the peer says to them. RFC 5321 section 3.3, RFC 2920, RFC 3030,
//! RFC 2033, draft-hall-prdr-00.
//!
//! Commands that may be sent together are, up to the limit; replies are taken in their order, and each recipient's part is
//! settled once. What the peer cannot take is found out before anything is sent ([`need`]).

use alloc::collections::{BTreeSet, VecDeque};
use alloc::{format, vec::Vec};

use super::framing::{Framing, Transport, range};
use super::line;
use super::state::{Delivery, Expected, Phase, Slot};
use super::step::{Cause, Fate, Fault, Reply, Stage};
use super::{Session, Transaction, Turn, need};
use crate::step::{Misuse, Occasion};

/// A reply of a code that its command never has.
pub(super) struct Unfit;

impl Session {
    /// `transaction` has passed [`line::check`].
    pub(super) fn begin(&mut self, turn: &mut Turn<'_>, transaction: &Transaction) -> Result<(), Misuse> {
        let uses = need::uses(transaction, &self.state.offer, &self.options);
        let mail = line::mail(transaction, &self.state.offer, uses)?;
        let whole = match self.messages_left() {
            Some(0) => Some((Fate::Unsent, Cause::Limit)),
            _ => need::hindrance(transaction, &self.state.offer, &self.options, self.state.tls)
                .map(|cause| (Fate::Permanent, cause)),
        };
        let mut commands = VecDeque::new();
        let mut hindered = Vec::new();
        let mut domains = BTreeSet::new();
        for (recipient, place) in transaction.recipients.iter().zip(0_u32..) {
            let offer = &self.state.offer;
            if !recipient.path.is_ascii() && !offer.smtputf8 {
                hindered.push((place, Fate::Permanent, Cause::Utf8Address));
                continue;
            }
            let domain = need::domain(&recipient.path);
            let full = |most: Option<u32>, count: usize| most.is_some_and(|most| count >= most as usize);
            if full(offer.rcpt_max, commands.len())
                || (!domains.contains(&domain) && full(offer.domain_max, domains.len()))
            {
                hindered.push((place, Fate::Unsent, Cause::Limit));
                continue;
            }
            domains.insert(domain);
            let (line, left_out) = line::rcpt(recipient, offer, uses.smtputf8)?;
            if left_out && whole.is_none() {
                turn.event(Occasion::Refused, format!("ORCPT of recipient {place} is too long and left out"));
            }
            commands.push_back((Expected::Rcpt(place), line));
        }
        let chunked = self.state.offer.chunking && self.options.chunking;
        let transport = match uses.body {
            Some(need::BINARY) => Transport::Binary,
            _ if chunked => Transport::Chunks,
            _ => Transport::Data,
        };
        let any = !commands.is_empty();
        if transport == Transport::Data {
            commands.push_back((Expected::Data, "DATA".into()));
        }
        commands.push_front((Expected::Mail, mail));
        if self.state.unclean {
            commands.push_front((Expected::Reset, "RSET".into()));
        }
        let facts = &transaction.content;
        self.state.delivery = Some(Delivery {
            slots: transaction.recipients.iter().map(|_| Slot::Pending).collect(),
            commands,
            framing: Framing::new(transport, facts.eight_bit || facts.utf8_header, facts.size),
            prdr: uses.prdr,
            refused: false,
            ended: false,
        });
        if let Some((fate, cause)) = whole {
            self.settle_all(turn, fate, cause, Stage::Mail, None);
        }
        for (place, fate, cause) in hindered {
            self.settle(turn, place, fate, cause, Stage::Rcpt, None);
        }
        if whole.is_some() || !any {
            self.state.delivery = None;
            return Ok(());
        }
        self.state.unclean = false;
        self.state.messages = self.state.messages.saturating_add(1);
        self.state.phase = Phase::Replies;
        if self.is_in_step(turn) {
            self.proceed(turn);
        }
        Ok(())
    }

    /// How many commands may be without their reply.
    fn window(&self) -> usize {
        let pipelining = self.state.offer.pipelining && self.options.pipelining;
        if pipelining { self.options.limits.pipeline.max(1) as usize } else { 1 }
    }

    /// Sends what may be sent now. Half of the window has to be free, so that commands travel together.
    fn send_commands(&mut self, turn: &mut Turn<'_>) {
        let window = self.window();
        let Some(delivery) = &mut self.state.delivery else { return };
        if delivery.refused {
            delivery.commands.clear();
        }
        if self.state.expected.len() > window / 2 {
            return;
        }
        while self.state.expected.len() < window {
            let hopeless = !delivery.has(Slot::Pending) && !delivery.has(Slot::Accepted);
            match delivery.commands.pop_front() {
                None => return,
                Some((Expected::Data, _)) if hopeless => return,
                Some((expected, line)) => {
                    turn.command(&line);
                    self.state.expected.push_back(expected);
                }
            }
        }
    }

    /// What follows from the replies so far.
    pub(super) fn proceed(&mut self, turn: &mut Turn<'_>) {
        if !matches!(self.state.phase, Phase::Replies | Phase::Content) || self.state.delivery.is_none() {
            return;
        }
        self.send_commands(turn);
        let window = self.window();
        let lmtp = self.is_lmtp();
        let expected = &self.state.expected;
        let Some(delivery) = &self.state.delivery else { return };
        let hopeless = delivery.refused || !delivery.has(Slot::Accepted);
        if expected.is_empty() && (delivery.ended || hopeless) {
            self.state.unclean = delivery.refused || !delivery.ended;
            self.state.delivery = None;
            self.state.phase = Phase::Ready;
        } else if delivery.framing.transport != Transport::Data && !delivery.ended {
            // In LMTP a refused chunk would leave open how many replies the last one gets.
            let most = if lmtp { 0 } else { window / 2 };
            let room = expected.len() <= most && expected.iter().all(|reply| *reply == Expected::Chunk);
            let content = room && !hopeless && delivery.commands.is_empty();
            self.state.phase = if content { Phase::Content } else { Phase::Replies };
        }
    }

    /// The next octets of the content. Nothing has changed if they are not what was announced.
    pub(super) fn say_content(&mut self, turn: &mut Turn<'_>, octets: &[u8], last: bool) -> Result<(), Misuse> {
        let lmtp = self.is_lmtp();
        let Some(delivery) = &mut self.state.delivery else { return Ok(()) };
        let framing = delivery.framing;
        let next = framing.after(octets, last).map_err(|fault| Misuse::BadValue(format!("{fault}")))?;
        delivery.framing = next;
        turn.moved = true;
        if framing.transport == Transport::Data {
            turn.content(framing.stuffed(next, octets, last));
        } else if last || !octets.is_empty() {
            turn.command(&format!("BDAT {}{}", octets.len(), if last { " LAST" } else { "" }));
            let mut pieces = Vec::new();
            range(&mut pieces, 0, octets.len());
            turn.content(pieces);
            if !last {
                self.state.expected.push_back(Expected::Chunk);
            }
        }
        if last {
            delivery.ended = true;
            if lmtp {
                self.state.expected.extend(delivery.all(Slot::Accepted).into_iter().map(Expected::Recipient));
            } else {
                self.state.expected.push_back(Expected::Message);
            }
            self.state.phase = Phase::Replies;
        } else {
            self.proceed(turn);
        }
        Ok(())
    }

    pub(super) fn mail_answered(&mut self, turn: &mut Turn<'_>, reply: &Reply) -> Result<(), Unfit> {
        match reply.code {
            200..=299 => Ok(()),
            400.. => {
                self.refuse_all(turn, Stage::Mail, reply);
                Ok(())
            }
            _ => Err(Unfit),
        }
    }

    pub(super) fn rcpt_answered(&mut self, turn: &mut Turn<'_>, place: u32, reply: &Reply) -> Result<(), Unfit> {
        let Some(delivery) = &mut self.state.delivery else { return Ok(()) };
        if delivery.refused {
            return Ok(());
        }
        match reply.code {
            200..=299 => {
                if let Some(slot) = delivery.slots.get_mut(place as usize)
                    && *slot == Slot::Pending
                {
                    *slot = Slot::Accepted;
                }
                Ok(())
            }
            400.. => {
                let (fate, cause) = refused_recipient(reply, delivery.has(Slot::Accepted));
                self.settle(turn, place, fate, cause, Stage::Rcpt, Some(reply));
                Ok(())
            }
            _ => Err(Unfit),
        }
    }

    pub(super) fn data_answered(&mut self, turn: &mut Turn<'_>, reply: &Reply) -> Result<(), Unfit> {
        let Some(delivery) = &mut self.state.delivery else { return Ok(()) };
        match reply.code {
            // RFC 2920 section 3.1: nobody is left to send it to.
            354 if delivery.refused || !delivery.has(Slot::Accepted) => {
                delivery.refused = false;
                delivery.ended = true;
                turn.command(".");
                self.state.expected.push_back(Expected::Nothing);
                Ok(())
            }
            354 => {
                self.state.phase = Phase::Content;
                Ok(())
            }
            400.. => {
                self.refuse_all(turn, Stage::Data, reply);
                Ok(())
            }
            _ => Err(Unfit),
        }
    }

    pub(super) fn chunk_answered(&mut self, turn: &mut Turn<'_>, reply: &Reply) -> Result<(), Unfit> {
        match reply.code {
            200..=299 => Ok(()),
            400.. => {
                self.refuse_all(turn, Stage::Content, reply);
                self.state.phase = Phase::Replies;
                Ok(())
            }
            _ => Err(Unfit),
        }
    }

    pub(super) fn message_answered(
        &mut self,
        turn: &mut Turn<'_>,
        expected: Expected,
        reply: &Reply,
    ) -> Result<(), Unfit> {
        let Some(delivery) = &mut self.state.delivery else { return Ok(()) };
        if delivery.refused {
            return Ok(());
        }
        let fate = match reply.code {
            353 if expected == Expected::Message && delivery.prdr => {
                delivery.prdr = false;
                let each = delivery.all(Slot::Accepted).into_iter().map(Expected::Provisional);
                self.state.expected = each.chain([Expected::Message]).chain(self.state.expected.drain(..)).collect();
                return Ok(());
            }
            200..=299 => Fate::Accepted,
            500.. => Fate::Permanent,
            400.. => Fate::Temporary,
            _ => return Err(Unfit),
        };
        match expected {
            Expected::Recipient(place) => self.settle(turn, place, fate, Cause::Reply, Stage::Message, Some(reply)),
            Expected::Provisional(_) if fate == Fate::Accepted => {}
            Expected::Provisional(place) => self.settle(turn, place, fate, Cause::Reply, Stage::Message, Some(reply)),
            _ => self.settle_all(turn, fate, Cause::Reply, Stage::Message, Some(reply)),
        }
        Ok(())
    }

    /// The transaction is over for all that are still in it.
    fn refuse_all(&mut self, turn: &mut Turn<'_>, stage: Stage, reply: &Reply) {
        let fate = if reply.code >= 500 { Fate::Permanent } else { Fate::Temporary };
        self.settle_all(turn, fate, Cause::Reply, stage, Some(reply));
        if let Some(delivery) = &mut self.state.delivery {
            delivery.refused = true;
        }
    }

    /// A reply that nothing asked for. While content is on its way it is the peer's last word on the message.
    pub(super) fn unsolicited(&mut self, turn: &mut Turn<'_>, stage: Stage, reply: Reply) {
        if self.state.phase == Phase::Content && reply.code >= 400 {
            self.refused(turn, Fault::Refused, stage, Some(reply));
        } else {
            self.bad_reply(turn, stage, reply);
        }
    }
}

/// RFC 5321 section 4.5.3.1.10: 452, or by an old habit 552, says that there are enough recipients for now; the others
/// have their turn in another transaction, if this one has any.
fn refused_recipient(reply: &Reply, others: bool) -> (Fate, Cause) {
    let too_many =
        matches!(reply.code, 452 | 552) && reply.status.is_none_or(|status| (status.subject, status.detail) == (5, 3));
    match reply.code {
        _ if too_many && others => (Fate::Unsent, Cause::Limit),
        _ if too_many => (Fate::Temporary, Cause::Reply),
        500.. => (Fate::Permanent, Cause::Reply),
        _ => (Fate::Temporary, Cause::Reply),
    }
}
