//! The copy that a recipient's edits make.
//!
//! Owns reading the content back for it. Refuses to know who asked for the edits. Fails as the file does.

use std::{borrow::Cow, io};

use super::read;
use crate::{
    plugin::render::render,
    store::{Body, Content, Edit},
};

/// The message with a recipient's edits, in memory. `size`: octets that its content has.
pub(super) fn copy(body: &Body, size: u64, edits: &[Edit]) -> io::Result<Vec<u8>> {
    let content: Cow<'_, [u8]> = match &body.content {
        Content::Inline(content) => content.into(),
        Content::File(file) => read::octets(file, size)?.into(),
    };
    // Before content without a header section the prefix closes the header; edited fields have to come before that.
    let open = body.prefix.strip_suffix(b"\r\n").filter(|prefix| prefix.ends_with(b"\r\n"));
    Ok(render(open.unwrap_or(&body.prefix), &content, edits))
}
