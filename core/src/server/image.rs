//! A session as bytes: a version and the whole [`State`].
//!
//! An image is trusted to come from `freeze`, but not to be intact: one that no session could be in is refused.

use alloc::{format, vec, vec::Vec};

use super::state::{Phase, State};
use super::{Options, Session};
use crate::question::Question;
use crate::step::Misuse;

/// Changes whenever [`State`] does.
const VERSION: u8 = 2;

impl Session {
    /// The whole state behind a version byte; the session is spent. The options are not part of it.
    ///
    /// # Errors
    /// None that is known: every state can be frozen.
    pub fn freeze(self) -> Result<Vec<u8>, Misuse> {
        postcard::to_extend(&self.state, vec![VERSION]).map_err(|error| Misuse::BadState(format!("{error}")))
    }

    /// The session whose `freeze` made this image, under the same options and on the same clock. What it needs, an open
    /// question included, and when it wants to be woken, [`Session::tick`] tells.
    ///
    /// # Errors
    /// [`Misuse::BadImage`] for bytes that no `freeze` of this version made.
    pub fn thaw(options: Options, image: &[u8]) -> Result<Self, Misuse> {
        let bad = |why: &str| Err(Misuse::BadImage(why.into()));
        let state = match image.split_first() {
            None => return bad("it is empty"),
            Some((&VERSION, state)) => state,
            Some((version, _)) => return bad(&format!("version {version}, not {VERSION}")),
        };
        match postcard::take_from_bytes::<State>(state) {
            Err(error) => bad(&format!("{error}")),
            Ok((_, rest)) if !rest.is_empty() => bad("it is too long"),
            Ok((state, _)) if !is_consistent(&state, &options) => bad("no session is ever in this state"),
            Ok((state, _)) => Ok(Self::with(options, state)),
        }
    }
}

fn is_consistent(state: &State, options: &Options) -> bool {
    let transaction = state.transaction.as_ref();
    let content = transaction.is_some_and(|transaction| transaction.content.is_some());
    let recipients = transaction.map_or(0, |transaction| transaction.recipients);
    let limits = &options.limits;
    let shortest_line = limits.command_line.min(limits.auth_line) as usize;
    let phase = match &state.phase {
        Phase::New | Phase::Closed | Phase::Exchange | Phase::Handshake => transaction.is_none(),
        Phase::Command => true,
        Phase::Data => content,
        Phase::Chunk(chunk) => content != chunk.refused.is_some(),
        Phase::Asked(asked) => match &asked.question {
            Question::Connection | Question::Xclient(_) | Question::Sasl(_) | Question::Sender(_) => {
                transaction.is_none()
            }
            Question::Hello(_) | Question::Verify(_) => true,
            Question::Recipients(asked) => transaction.is_some() && !content && !asked.is_empty(),
            Question::Data => recipients > 0 && !content,
            Question::Message(facts) => facts.recipients > 0 && facts.recipients == recipients,
        },
    };
    let copies = match &state.phase {
        Phase::Chunk(chunk) => chunk.refused.as_ref().map_or(1, |denial| denial.copies),
        Phase::Asked(asked) => asked.faults.iter().map(|(_, denial)| denial.copies).max().unwrap_or(1),
        _ => 1,
    };
    phase
        && (recipients > 0 || !content)
        && recipients <= limits.recipients
        && copies <= limits.recipients.max(1)
        && state.reader.is_consistent(shortest_line)
        && (state.tls || !options.implicit_tls)
}
