//! The message, for reading: header, body, and the whole as the recipient gets it.

use super::Guest;
use crate::plugin::{
    bindings::hermetic::plugin::{body, header, rendered},
    header::{Header, Shown, View, name, text, value},
    hook::Message,
    render::assemble,
};

/// The most octets of one piece.
const PIECE: u32 = 64 << 10;

fn piece(octets: &[u8], offset: u32, max: u32) -> Vec<u8> {
    let rest = octets.get(offset as usize..).unwrap_or_default();
    rest[..rest.len().min(max.min(PIECE) as usize)].to_vec()
}

fn size(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

/// The fields of this name; of the empty name, all.
fn named<'a>(view: &'a View, wanted: &'a str, message: &'a Message) -> impl Iterator<Item = (u32, &'a Shown, &'a str)> {
    view.fields().iter().filter_map(move |(id, shown)| {
        let name = name(shown, &message.content)?;
        (wanted.is_empty() || name.eq_ignore_ascii_case(wanted)).then_some((*id, shown, name))
    })
}

impl header::Host for Guest {
    fn fields(&mut self, wanted: String) -> wasmtime::Result<Vec<header::Field>> {
        self.seam("header.fields", |guest| {
            let Some((view, message)) = guest.view() else { return Vec::new() };
            named(view, &wanted, &message)
                .map(|(id, shown, name)| header::Field {
                    id,
                    name: name.to_owned(),
                    value: value(shown, &message.content),
                })
                .collect()
        })
    }

    fn text(&mut self, wanted: String) -> wasmtime::Result<Vec<String>> {
        self.seam("header.text", |guest| {
            let Some((view, message)) = guest.view() else { return Vec::new() };
            named(view, &wanted, &message).map(|(_, shown, _)| text(&value(shown, &message.content))).collect()
        })
    }
}

impl Guest {
    fn body(&self) -> Option<(std::sync::Arc<Message>, usize)> {
        let message = self.content()?;
        let from = self.transaction.header.get_or_init(|| Header::of(&message.content)).body();
        Some((message, from))
    }

    /// The top of the message as the recipient gets it, and the rest of the content.
    pub(super) fn rendered(&mut self) -> Option<(&[u8], std::sync::Arc<Message>, usize)> {
        let message = self.content()?;
        if self.call.rendered.is_none() {
            let whole = if self.call.wishes.edits.is_empty() {
                (message.prefix.clone(), 0)
            } else {
                let (view, _) = self.view()?;
                let view = view.clone();
                let header = self.transaction.header.get_or_init(|| Header::of(&message.content));
                assemble(&message.prefix, &message.content, header, &view)
            };
            self.call.rendered = Some(whole);
        }
        self.call.rendered.as_ref().map(|(head, from)| (&**head, message, *from))
    }
}

impl body::Host for Guest {
    fn read(&mut self, offset: u32, max: u32) -> wasmtime::Result<Vec<u8>> {
        self.seam("body.read", |guest| {
            guest.body().map(|(message, from)| piece(&message.content[from..], offset, max)).unwrap_or_default()
        })
    }

    fn size(&mut self) -> wasmtime::Result<u32> {
        self.seam("body.size", |guest| guest.body().map_or(0, |(message, from)| size(message.content.len() - from)))
    }
}

impl rendered::Host for Guest {
    fn read(&mut self, offset: u32, max: u32) -> wasmtime::Result<Vec<u8>> {
        self.seam("rendered.read", |guest| {
            let Some((head, message, from)) = guest.rendered() else { return Vec::new() };
            let mut octets = piece(head, offset, max);
            let left = max.min(PIECE) - size(octets.len());
            let skipped = offset.saturating_sub(size(head.len()));
            octets.extend(piece(&message.content[from..], skipped, left));
            octets
        })
    }

    fn size(&mut self) -> wasmtime::Result<u32> {
        self.seam("rendered.size", |guest| {
            guest.rendered().map_or(0, |(head, message, from)| size(head.len() + message.content.len() - from))
        })
    }
}
