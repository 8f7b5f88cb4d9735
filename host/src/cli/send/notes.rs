//! What is noted of a session while it goes on: when what was reached, and what was said.
//!
//! Owns that no secret is noted. Refuses to know how it is shown. Can not fail.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;

use super::report::Session;
use crate::{deliver::smtp::watch::Seen, engine::types::Occasion};

/// A session's report while it is written to.
pub(super) type Notes = Arc<Mutex<Noted>>;

pub(super) struct Noted {
    begun: Instant,
    pub(super) session: Session,
}

impl Noted {
    pub(super) fn begin(host: &str) -> Notes {
        let session = Session { host: host.to_owned(), ..Session::default() };
        Arc::new(Mutex::new(Self { begun: Instant::now(), session }))
    }

    fn at(&self) -> f64 {
        (self.begun.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
    }

    pub(super) fn reached(&mut self, what: &'static str) {
        let at = self.at();
        self.session.timings.push((what, at));
    }

    pub(super) fn line(&mut self, line: String) {
        let at = self.at();
        self.session.transcript.push((at, line));
    }

    pub(super) fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Secured(tls) => {
                self.reached("tls");
                self.line(format!("-- {tls}"));
                self.session.tls = Some(tls.to_owned());
            }
            Seen::Content(octets) => self.line(format!("C: ({octets} octets of content)")),
            Seen::Event(event) => {
                let said = if event.secret { "********" } else { event.detail.as_str() };
                match event.occasion {
                    Occasion::Command => self.line(format!("C: {said}")),
                    Occasion::Reply => self.line(format!("S: {said}")),
                    _ => {}
                }
            }
        }
    }
}
