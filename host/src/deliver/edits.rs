//! Edits between whoever asks for them (plugins) and whoever keeps them (the store), and the copy that they make.

use std::{borrow::Cow, io, os::unix::fs::FileExt as _};

use crate::{
    plugin::{hook, render::render},
    store::{Body, Content, Edit},
};

/// As the store keeps them.
#[must_use]
pub fn kept(edits: Vec<hook::Edit>) -> Vec<Edit> {
    edits
        .into_iter()
        .map(|edit| match edit {
            hook::Edit::Prepend(id, name, value) => Edit::Prepend(id, name, value),
            hook::Edit::Append(id, name, value) => Edit::Append(id, name, value),
            hook::Edit::Replace(id, value) => Edit::Replace(id, value),
            hook::Edit::Remove(id) => Edit::Remove(id),
        })
        .collect()
}

/// As they were asked for.
#[must_use]
pub fn asked(edits: &[Edit]) -> Vec<hook::Edit> {
    edits
        .iter()
        .cloned()
        .map(|edit| match edit {
            Edit::Prepend(id, name, value) => hook::Edit::Prepend(id, name, value),
            Edit::Append(id, name, value) => hook::Edit::Append(id, name, value),
            Edit::Replace(id, value) => hook::Edit::Replace(id, value),
            Edit::Remove(id) => hook::Edit::Remove(id),
        })
        .collect()
}

/// The message with a recipient's edits, in memory. `size`: octets that its content has.
pub(super) fn copy(body: &Body, size: u64, edits: &[Edit]) -> io::Result<Vec<u8>> {
    let content: Cow<'_, [u8]> = match &body.content {
        Content::Inline(content) => content.into(),
        Content::File(file) => {
            let mut content = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            // Not `read`: the file is shared, and so is its position.
            file.read_exact_at(&mut content, 0)?;
            content.into()
        }
    };
    // Before content without a header section the prefix closes the header; edited fields have to come before that.
    let open = body.prefix.strip_suffix(b"\r\n").filter(|prefix| prefix.ends_with(b"\r\n"));
    Ok(render(open.unwrap_or(&body.prefix), &content, &asked(edits)))
}
