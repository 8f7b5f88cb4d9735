//! An outbound session as bytes: a version and the whole [`State`].
//!
//! An image is trusted to come from `freeze`, but not to be intact: one that no session could be in is refused.

use alloc::{format, vec, vec::Vec};

use super::state::{Delivery, Expected, Phase, State};
use super::{Options, Session};
use crate::step::Misuse;

/// Changes whenever [`State`] does. The first bit tells it from an image of the receiving side.
const VERSION: u8 = 0x81;

impl Session {
    /// The whole state behind a version byte; the session is spent. The options are not part of it.
    ///
    /// # Errors
    /// None that is known: every state can be frozen.
    pub fn freeze(self) -> Result<Vec<u8>, Misuse> {
        postcard::to_extend(&self.state, vec![VERSION]).map_err(|error| Misuse::BadState(format!("{error}")))
    }

    /// The session whose `freeze` made this image, under the same options and on the same clock. What it needs and when it
    /// wants to be woken, [`Session::tick`] tells.
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
            Ok((state, _)) => {
                let session = Self::with(options, state);
                if session.is_consistent() { Ok(session) } else { bad("no session is ever in this state") }
            }
        }
    }

    fn is_consistent(&self) -> bool {
        let State { phase, expected, delivery, reader, tls, .. } = &self.state;
        let limits = &self.options.limits;
        let waits = match phase {
            Phase::Replies => !expected.is_empty(),
            Phase::Content => expected.iter().all(|reply| *reply == Expected::Chunk),
            _ => expected.is_empty(),
        };
        let within = match (phase, delivery) {
            (Phase::Content, None) => false,
            (Phase::Replies | Phase::Content, _) | (_, None) => true,
            _ => false,
        };
        let places = |delivery: &Delivery| delivery.slots.len();
        let recipients = delivery.as_ref().map_or(0, places);
        let sound = |reply: &Expected| match reply {
            Expected::Rcpt(place) | Expected::Recipient(place) | Expected::Provisional(place) => {
                (*place as usize) < recipients
            }
            _ => true,
        };
        let commands = delivery.iter().flat_map(|delivery| &delivery.commands);
        waits
            && within
            && recipients <= limits.recipients as usize
            && expected.iter().all(sound)
            && commands.clone().count() <= recipients + 3
            && commands.clone().all(|(reply, line)| sound(reply) && !line.contains(['\r', '\n']))
            && reader.is_consistent(self.widest())
            && (*tls || !self.options.implicit_tls)
    }
}
