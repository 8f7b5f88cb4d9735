//! One session's sealed half: the engine instance while it is talked to, a few hundred octets while it idles.
//!
//! Owns the session's clock and whether it is live or frozen. Refuses to know what the steps mean. Fails with
//! [`EngineError`]; then the session is over.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::{
    engine::{
        Engine, EngineError, Session,
        types::{Options, Step},
    },
    observe::{Metrics, metrics::Held},
    record::{Called, Take},
};

enum State {
    /// Counted for as long as it lives.
    Live(Box<dyn Session>, Held),
    Frozen(Box<[u8]>),
    Spent,
}

/// A session in its instance, or the image of one.
pub(super) struct Sealed {
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    options: Box<Options>,
    state: State,
    began: Instant,
    /// If the session is recorded.
    pub(super) take: Option<Box<Take>>,
}

impl Sealed {
    /// A new session, whose clock begins now.
    pub(super) fn open(
        engine: Arc<dyn Engine>,
        metrics: Arc<Metrics>,
        options: Options,
        take: Option<Box<Take>>,
    ) -> Result<Self, EngineError> {
        let state = State::Live(engine.open(&options)?, metrics.engine_instance());
        Ok(Self { engine, metrics, options: Box::new(options), state, began: Instant::now(), take })
    }

    /// Milliseconds since the session began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the session's clock will show this; at most a day from now.
    pub(super) fn instant(&self, time: u64) -> Instant {
        let day = Duration::from_secs(86_400);
        let latest = self.began.elapsed().saturating_add(day);
        self.began + Duration::from_millis(time).min(latest)
    }

    /// Whether an instance is held.
    pub(super) fn live(&self) -> bool {
        matches!(self.state, State::Live(..))
    }

    /// One call into the engine, thawing the session if it was frozen. After an error the instance is never used again.
    pub(super) fn call(&mut self, called: Called<'_>) -> Result<Step, EngineError> {
        let now = self.now();
        let (mut session, held) = match std::mem::replace(&mut self.state, State::Spent) {
            State::Live(session, held) => (session, held),
            State::Frozen(image) => (self.engine.thaw(&self.options, &image)?, self.metrics.engine_instance()),
            State::Spent => return Err(EngineError::Instance("the session's instance is gone".into())),
        };
        let outcome = called.make(&mut *session, now);
        if let Some(take) = &mut self.take {
            take.add(now, called, &outcome);
        }
        let step = outcome?;
        self.state = State::Live(session, held);
        Ok(step)
    }

    /// Turns the session into its image and gives the instance back.
    pub(super) fn freeze(&mut self) -> Result<(), EngineError> {
        match std::mem::replace(&mut self.state, State::Spent) {
            State::Live(session, _held) => self.state = State::Frozen(session.freeze()?.into()),
            state => self.state = state,
        }
        Ok(())
    }
}
