//! The greeting, EHLO, STARTTLS. RFC 5321 sections 3.1, 3.2 and 4.1.1.1, RFC 3207, RFC 2033.

use alloc::format;

use super::offer::Offer;
use super::reply::Said;
use super::state::{Expected, Phase};
use super::step::{Failure, Fault, Peer, Reply, Stage};
use super::{Session, TlsUse, Turn};

impl Session {
    pub(super) fn greeted(&mut self, turn: &mut Turn<'_>, reply: Reply) {
        match reply.code {
            220 => self.say_hello(turn),
            400.. => self.refused(turn, Fault::Refused, Stage::Greeting, Some(reply)),
            _ => self.bad_reply(turn, Stage::Greeting, reply),
        }
    }

    pub(super) fn say_hello(&mut self, turn: &mut Turn<'_>) {
        let verb = if self.is_lmtp() { "LHLO" } else { "EHLO" };
        turn.command(&format!("{verb} {}", self.options.hello_name));
        self.state.expected.push_back(Expected::Hello);
        self.state.phase = Phase::Replies;
    }

    pub(super) fn hello_answered(&mut self, turn: &mut Turn<'_>, expected: Expected, said: &Said, reply: Reply) {
        match reply.code {
            250 if expected == Expected::Helo => {
                self.state.offer = Offer::read(said.lines.get(..1).unwrap_or_default(), &[]);
                self.hello_done(turn);
            }
            250 => {
                self.state.offer = Offer::read(&said.lines, &self.options.ignore);
                self.hello_done(turn);
            }
            500.. if expected == Expected::Hello && !self.is_lmtp() && !self.wants_tls(TlsUse::Required) => {
                turn.command(&format!("HELO {}", self.options.hello_name));
                self.state.expected.push_back(Expected::Helo);
            }
            400.. => self.refused(turn, Fault::Refused, Stage::Hello, Some(reply)),
            _ => self.bad_reply(turn, Stage::Hello, reply),
        }
    }

    fn hello_done(&mut self, turn: &mut Turn<'_>) {
        let offered = self.state.offer.start_tls;
        if offered && (self.wants_tls(TlsUse::Opportunistic) || self.wants_tls(TlsUse::Required)) {
            turn.command("STARTTLS");
            self.state.expected.push_back(Expected::StartTls);
        } else if self.wants_tls(TlsUse::Required) {
            self.refused(turn, Fault::NoTls, Stage::Hello, None);
        } else {
            self.state.phase = Phase::Ready;
        }
    }

    fn wants_tls(&self, how: TlsUse) -> bool {
        !self.state.tls && self.options.tls == how
    }

    pub(super) fn start_tls_answered(&mut self, turn: &mut Turn<'_>, reply: Reply) {
        match reply.code {
            // RFC 3207 section 4: what follows in the clear may be anybody's.
            220 if !turn.rest().is_empty() => {
                let detail = format!("{} octets in the clear before the handshake", turn.rest().len());
                turn.at = turn.input.len();
                self.fail(turn, Failure { fault: Fault::Plaintext, stage: Stage::StartTls, reply: None, detail });
            }
            220 => self.state.phase = Phase::Handshake,
            400.. if self.options.tls == TlsUse::Required => {
                self.refused(turn, Fault::TlsRefused, Stage::StartTls, Some(reply));
            }
            400.. => self.state.phase = Phase::Ready,
            _ => self.bad_reply(turn, Stage::StartTls, reply),
        }
    }

    /// What the embedder is told of the peer.
    pub(super) fn peer(&self) -> Peer {
        let offer = &self.state.offer;
        let usable = self.state.tls || self.options.plaintext_auth;
        let mechanisms =
            if usable && !self.state.authenticated { offer.mechanisms.clone() } else { Default::default() };
        Peer {
            name: offer.name.clone(),
            tls: self.state.tls,
            authenticated: self.state.authenticated,
            extensions: offer.extensions.clone(),
            mechanisms,
            size: offer.size_limit,
            messages_left: self.messages_left(),
            recipients_max: offer.rcpt_max,
            domains_max: offer.domain_max,
        }
    }

    /// Transactions that may still follow.
    pub(super) fn messages_left(&self) -> Option<u32> {
        let ours = Some(self.options.limits.messages).filter(|most| *most > 0);
        let most = match (ours, self.state.offer.mail_max) {
            (Some(ours), Some(theirs)) => ours.min(theirs),
            (ours, theirs) => ours.or(theirs)?,
        };
        Some(most.saturating_sub(self.state.messages))
    }
}
