//! How log lines look and where they go: standard error, for people or one JSON object a line.
//!
//! Owns the subscriber. Refuses to know the events. Fails by [`LogError`], the operator's.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt};

use super::redact;
use crate::config::{LogFormat, Observe};

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Neither a level nor a filter. A validated configuration has none such.
    #[error(
        "observe.level: {level:?} is neither error, warn, info, debug or trace nor a filter like \"hermetic=debug\""
    )]
    Level {
        /// As configured.
        level: String,
    },
    /// The key for redaction can be neither read nor made.
    #[error("observe.redact: cannot keep the key in {}: {error}", path.display())]
    Key {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Called twice.
    #[error("logging has begun already")]
    Twice,
}

/// Begins logging, for the whole process. `data`: where the key for redaction is kept.
pub fn init(settings: &Observe, data: &Path) -> Result<(), LogError> {
    let subscriber = subscriber(settings, io::stderr, io::stderr().is_terminal())?;
    if settings.redact {
        let path = data.join("redact.key");
        redact::enable(&path).map_err(|error| LogError::Key { path, error })?;
    }
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// What the resolver's library says of others' broken zones is for whoever asks for it.
fn filter(settings: &Observe) -> Result<EnvFilter, LogError> {
    let wrong = |_| LogError::Level { level: settings.level.clone() };
    let filter = EnvFilter::builder().parse(&settings.level).map_err(wrong)?;
    if settings.level.contains("hickory") {
        return Ok(filter);
    }
    let mut quiet = ["hickory_net=off", "hickory_resolver=off", "hickory_proto=off"].into_iter();
    quiet
        .try_fold(filter, |filter, directive| directive.parse().map(|directive| filter.add_directive(directive)))
        .map_err(wrong)
}

fn subscriber<W>(settings: &Observe, writer: W, colours: bool) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).with_target(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        LogFormat::Human => Box::new(lines),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).with_span_list(false)),
    };
    Ok(Box::new(tracing_subscriber::registry().with(lines.with_filter(filter(settings)?))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(super) mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// What is logged while `act` runs.
    pub(in crate::observe) fn logged(format: LogFormat, level: &str, act: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                self.0.lock().extend_from_slice(octets);
                Ok(octets.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let settings = Observe { format, level: level.into(), redact: false, http: None };
        let writer = lines.clone();
        let subscriber = subscriber(&settings, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        let octets = lines.0.lock().clone();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn levels_and_filters() {
        let check = |level: &str, good: bool| {
            let settings = Observe { format: LogFormat::Human, level: level.into(), redact: false, http: None };
            let filter = filter(&settings);
            assert_eq!(filter.is_ok(), good, "{level:?}: {filter:?}");
        };
        for level in ["error", "warn", "INFO", "debug", "trace", "off", "info,hermetic=debug", "hermetic=trace"] {
            check(level, true);
        }
        for level in ["hermetic=loud", "a=b=c"] {
            check(level, false);
        }
    }
}
