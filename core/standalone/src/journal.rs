//! A line for each message on standard output.
//!
//! Owns what waits to be written, within a bound: whoever reads slowly stalls no session. Lines that find no room are counted, and
//! the count is a line. Fails by silence: when nobody reads any more there is nobody to tell.

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
