//! A line for each message on standard output.
//!
//! Owns what waits to be written, within a bound. Lines that find no room are counted, and the count is a line. Fails by silence:
//! when nobody reads any more there is nobody to tell.
//!
//! Here nothing waits for a reader who is slow. The runtime may: `wasmtime run` 48 writes to standard output without giving
//! anybody else a turn, so a pipe that is full stops the whole process. README.md says so.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Octets that may wait.
const ROOM: usize = 256 * 1024;

/// Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Journal(Rc<RefCell<Lines>>);

#[derive(Default)]
struct Lines {
    waiting: Vec<u8>,
    left_out: u64,
    /// Some are being written.
    writing: bool,
    /// Nobody reads.
    closed: bool,
    writer: Option<Waker>,
    finisher: Option<Waker>,
}

impl Journal {
    /// One more line.
    pub(crate) fn line(&self, text: &str) {
        let mut lines = self.0.borrow_mut();
        if lines.closed {
            return;
        }
        if lines.waiting.len() + text.len() > ROOM {
            lines.left_out += 1;
            return;
        }
        lines.waiting.extend_from_slice(text.as_bytes());
        lines.waiting.push(b'\n');
        let writer = lines.writer.take();
        drop(lines);
        writer.into_iter().for_each(Waker::wake);
    }

    /// Writes. Ends when standard output is closed.
    pub(crate) async fn keep(self) {
        let (mut output, data) = wasip3::wit_stream::new();
        let _ = wasip3::cli::stdout::write_via_stream(data);
        loop {
            let lines = self.waiting().await;
            let rest = output.write_all(lines).await;
            let mut lines = self.0.borrow_mut();
            lines.writing = false;
            lines.closed = !rest.is_empty();
            if lines.closed {
                lines.waiting = Vec::new();
                let finisher = lines.finisher.take();
                drop(lines);
                return finisher.into_iter().for_each(Waker::wake);
            }
        }
    }

    async fn waiting(&self) -> Vec<u8> {
        poll_fn(|context| {
            let mut lines = self.0.borrow_mut();
            if lines.waiting.is_empty() {
                lines.writer = Some(context.waker().clone());
                let finisher = lines.finisher.take();
                drop(lines);
                finisher.into_iter().for_each(Waker::wake);
                return Poll::Pending;
            }
            if lines.left_out > 0 {
                let left_out = format!("{} lines were left out: standard output is read too slowly\n", lines.left_out);
                lines.waiting.extend_from_slice(left_out.as_bytes());
                lines.left_out = 0;
            }
            lines.writing = true;
            Poll::Ready(std::mem::take(&mut lines.waiting))
        })
        .await
    }

    /// Waits until all lines are written.
    pub(crate) async fn finish(&self) {
        poll_fn(|context| {
            let mut lines = self.0.borrow_mut();
            if lines.closed || (lines.waiting.is_empty() && !lines.writing) {
                return Poll::Ready(());
            }
            lines.finisher = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn lines_without_room_are_counted_and_told() {
        let journal = Journal::default();
        let line = "x".repeat(1023);
        (0..300).for_each(|_| journal.line(&line));
        assert!(journal.finish().now_or_never().is_none(), "nothing is written yet");
        let written = journal.waiting().now_or_never().unwrap_or_default();
        let text = String::from_utf8_lossy(&written);
        assert_eq!(text.lines().filter(|told| *told == line).count(), 256);
        assert!(text.ends_with("\n44 lines were left out: standard output is read too slowly\n"), "{}", text.len());
        journal.line("and on");
        assert_eq!(journal.waiting().now_or_never().unwrap_or_default(), b"and on\n");
        assert!(journal.waiting().now_or_never().is_none(), "nothing is left");
    }
}
