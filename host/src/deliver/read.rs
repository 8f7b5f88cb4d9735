//! A stored message in memory, for those who need it at once.
//!
//! Owns reading the content back. Refuses to know who wants it. Fails as the file does.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use tokio::task::spawn_blocking;

use crate::store::{Body, Content};

/// So many octets of a content's front; there are `size`. Not `read`: the file is shared, and so is its position.
pub(super) fn octets(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Prefix and content; `size` octets has the content.
pub async fn content(body: Body, size: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let content = match body.content {
        Content::Inline(content) => content,
        Content::File(file) => spawn_blocking(move || octets(&file, size)).await.map_err(io::Error::other)??,
    };
    Ok((body.prefix, content))
}

/// The message's front, at most `most` octets, and whether that is all of it.
pub async fn front(body: Body, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut front = body.prefix;
    let room = most.saturating_sub(front.len());
    let whole = match body.content {
        Content::Inline(content) => {
            front.extend_from_slice(&content[..content.len().min(room)]);
            content.len() <= room
        }
        Content::File(file) => {
            let read = spawn_blocking(move || {
                let size = file.metadata()?.len();
                octets(&file, size.min(room as u64)).map(|octets| (octets, size <= room as u64))
            });
            let (octets, whole) = read.await.map_err(io::Error::other)??;
            front.extend_from_slice(&octets);
            whole
        }
    };
    front.truncate(most);
    Ok((front, whole))
}
