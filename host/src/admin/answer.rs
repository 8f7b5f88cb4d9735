//! The body of an answer: octets that are there, or a message that is read while it is sent.
//!
//! Owns the length that is announced, and how far is read ahead. Refuses to hold a large message. Fails as the file
//! does: then the connection breaks, so that nobody takes a part for the whole.

use std::{
    fs::File,
    io::{self, Read as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::store::{self, Content};

/// Octets of a file that are read at a time.
const PIECE: usize = 64 * 1024;
/// Pieces that are read ahead.
const AHEAD: usize = 4;

/// What is sent.
#[derive(Debug)]
pub(super) struct Sent {
    front: Option<Bytes>,
    rest: Option<mpsc::Receiver<io::Result<Bytes>>>,
    left: u64,
}

impl Sent {
    /// These octets.
    pub(super) fn whole(octets: impl Into<Bytes>) -> Self {
        let front = octets.into();
        Self { left: front.len() as u64, front: Some(front), rest: None }
    }

    /// A stored message. Fails if its file can not be looked at; a file that ends early breaks the connection, so that
    /// nobody takes a part for the whole.
    pub(super) fn message(body: store::Body) -> io::Result<Self> {
        let mut front = body.prefix;
        let file = match body.content {
            Content::Inline(content) => {
                front.extend(content);
                return Ok(Self::whole(front));
            }
            Content::File(file) => file,
        };
        let left = front.len() as u64 + file.metadata()?.len();
        let (sender, rest) = mpsc::channel(AHEAD);
        spawn_blocking(move || read(file, &sender));
        Ok(Self { front: Some(front.into()), rest: Some(rest), left })
    }
}

/// Until its end, or until nobody listens.
fn read(mut file: File, to: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece).map(|count| {
            piece.truncate(count);
            piece
        });
        let end = !matches!(&read, Ok(piece) if !piece.is_empty());
        if matches!(&read, Ok(piece) if piece.is_empty()) || to.blocking_send(read.map(Bytes::from)).is_err() || end {
            return;
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match (self.front.take(), &mut self.rest) {
            (Some(front), _) => front,
            (None, None) => return Poll::Ready(None),
            (None, Some(rest)) => match ready!(rest.poll_recv(context)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if self.left > 0 => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                None => return Poll::Ready(None),
            },
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
