//! Everything that an outbound session remembers, as a plain value.
//!
//! ```text
//!        start                220, EHLO                 deliver                  354, or all RCPT answered
//!   New ───────► Replies ─────────────────► Ready ─────────────► Replies ──────────────────────────► Content
//!                │    ▲                     │   ▲                   │  ▲                               │
//!        STARTTLS▼    │secured        login ▼   │ 235, 5yz          ▼  └──────── content, last ────────┘
//!               Handshake               Replies ⇄ Response        Ready, when every reply is in
//! ```

use alloc::collections::VecDeque;
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use super::framing::Framing;
use super::offer::Offer;
use super::reply::ReplyReader;
use super::step::Stage;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) reader: ReplyReader,
    /// The replies that must come, in this order.
    pub(super) expected: VecDeque<Expected>,
    pub(super) tls: bool,
    pub(super) authenticated: bool,
    pub(super) offer: Offer,
    pub(super) delivery: Option<Delivery>,
    /// A transaction may still be open at the peer: RSET before the next one.
    pub(super) unclean: bool,
    /// MAIL commands so far.
    pub(super) messages: u32,
    /// In this AUTH exchange.
    pub(super) challenges: u32,
    /// An initial response that was too long for its command (RFC 4954 section 4).
    pub(super) initial: Option<Vec<u8>>,
    /// Octets of all replies.
    pub(super) received: u64,
    /// The session has waited since. Milliseconds.
    pub(super) waiting: u64,
}

/// What the next octet or call is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    #[default]
    New,
    /// The peer's replies.
    Replies,
    /// `secured`.
    Handshake,
    /// The embedder's wish.
    Ready,
    /// The answer to this challenge.
    Response(Vec<u8>),
    /// Content.
    Content,
    Closed,
}

/// What a reply is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Expected {
    Greeting,
    /// EHLO or LHLO.
    Hello,
    Helo,
    StartTls,
    Auth,
    /// `*`.
    Cancel,
    Reset,
    Mail,
    Rcpt(u32),
    Data,
    /// A chunk that is not the last.
    Chunk,
    /// The end of the content, for all.
    Message,
    /// The same for one: LMTP.
    Recipient(u32),
    /// The same for one, if the reply for all that follows is no refusal: PRDR.
    Provisional(u32),
    /// A lone dot that ended a transaction without recipients.
    Nothing,
    Quit,
}

impl Expected {
    pub(super) fn stage(self) -> Stage {
        match self {
            Self::Greeting => Stage::Greeting,
            Self::Hello | Self::Helo => Stage::Hello,
            Self::StartTls => Stage::StartTls,
            Self::Auth | Self::Cancel => Stage::Auth,
            Self::Reset => Stage::Reset,
            Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data | Self::Nothing => Stage::Data,
            Self::Chunk => Stage::Content,
            Self::Message | Self::Recipient(_) | Self::Provisional(_) => Stage::Message,
            Self::Quit => Stage::Quit,
        }
    }
}

/// What is known of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Slot {
    /// RCPT is not answered.
    Pending,
    /// RCPT was accepted.
    Accepted,
    /// Its outcome has been reported.
    Done,
}

/// A transaction under way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) slots: Vec<Slot>,
    /// Commands that have not been sent, without CRLF.
    pub(super) commands: VecDeque<(Expected, String)>,
    pub(super) framing: Framing,
    pub(super) prdr: bool,
    /// MAIL, DATA or a chunk was refused: what follows is only read to stay in step.
    pub(super) refused: bool,
    /// All of the content has been given.
    pub(super) ended: bool,
}

impl Delivery {
    pub(super) fn all(&self, slot: Slot) -> Vec<u32> {
        let places = self.slots.iter().zip(0..);
        places.filter(|(own, _)| **own == slot).map(|(_, place)| place).collect()
    }

    pub(super) fn has(&self, slot: Slot) -> bool {
        self.slots.contains(&slot)
    }
}
