//! Whether a call that takes long is busy, or only waits for the processor.
//!
//! Owns the verdict on one call. Refuses to know what is called. On a machine with more to do than processors a call of
//! microseconds may well last longer than its deadline, and cutting it off would punish the peer for our load. So time
//! on the processor counts: looked at half-way, again at the deadline, and from then on for a while. Where the system
//! does not tell it, the deadline alone decides.

use std::time::Duration;

use wasmtime::UpdateDeadline;

/// The most looks at one call, each half a deadline after the one before: it ends after ten deadlines in any case.
const LOOKS: u32 = 20;

/// One call under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    looks: u32,
    /// Time on the processor at the first look, if the system tells it.
    before: Option<Duration>,
}

impl Watch {
    /// `half` a deadline, or `epochs`, have passed since the call began or since the last look.
    pub(crate) fn look(&mut self, half: Duration, epochs: u64) -> UpdateDeadline {
        self.judge(on_the_processor(), half, epochs)
    }

    fn judge(&mut self, now: Option<Duration>, half: Duration, epochs: u64) -> UpdateDeadline {
        self.looks += 1;
        if self.looks == 1 {
            self.before = now;
            return UpdateDeadline::Continue(epochs);
        }
        match now.zip(self.before) {
            Some((now, before)) if self.looks < LOOKS && now.saturating_sub(before) < half / 2 => {
                UpdateDeadline::Continue(epochs)
            }
            _ => UpdateDeadline::Interrupt,
        }
    }
}

/// How long this thread has run. The first number of `schedstat`, nanoseconds; Linux keeps it up to date by the tick.
pub(super) fn on_the_processor() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The looks until the end, with so much time on the processor between two of them.
    fn looks(busy: Option<u64>) -> u32 {
        let (mut watch, mut now) = (Watch::default(), Duration::from_secs(7));
        loop {
            let told = busy.map(|busy| {
                now += Duration::from_millis(busy);
                now
            });
            if matches!(watch.judge(told, Duration::from_millis(50), 6), UpdateDeadline::Interrupt) {
                return watch.looks;
            }
        }
    }

    #[test]
    fn who_is_busy_ends_at_the_deadline_and_who_waits_does_not() {
        assert_eq!(looks(Some(50)), 2);
        assert_eq!(looks(Some(25)), 2);
        assert_eq!(looks(Some(10)), 4);
        assert_eq!(looks(Some(0)), LOOKS);
        assert_eq!(looks(None), 2);
    }
}
