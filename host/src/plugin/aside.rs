//! Calls that are busy for long go on here, where they hold up nobody.
//!
//! Owns a few threads of low priority, made when the first such call appears. Refuses to know what is called. A call that
//! panics is told apart from one that answers; a call that nobody waits for any more ends at its next slice.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::Poll,
};

use tokio::{runtime::Runtime, task::JoinHandle};

use crate::sandbox::meter::{Meter, Metered};

/// Threads for busy calls. They share what the mail leaves over.
const THREADS: usize = 2;
/// How nice they are, of 19.
const NICE: i32 = 10;

/// Where busy calls go.
#[derive(Default)]
pub(super) struct Aside {
    runtime: OnceLock<Result<Threads, String>>,
}

struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("busy-plugins")
            .on_thread_start(|| {
                // On Linux this is for the calling thread alone. Without it they are as urgent as all others.
                if let Err(error) = rustix::process::nice(NICE) {
                    tracing::debug!("the threads for busy plugins keep their priority: {error}");
                }
            })
            .enable_all()
            .build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(|error| error.to_string())
    }
}

impl Drop for Threads {
    /// Without waiting for calls, which would be forbidden where it is dropped.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the first slices brought.
enum First<T> {
    Done(T),
    Panicked(String),
    Busy,
}

/// A call that goes on elsewhere, for as long as somebody wants to know.
struct Elsewhere<T>(JoinHandle<T>);

impl<T> Drop for Elsewhere<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Aside {
    /// Runs a call on this task, and if it turns out to be busy, elsewhere. Fails where the host's own code panics.
    pub(super) async fn run<F>(&self, call: F, meter: &Arc<Meter>) -> Result<F::Output, String>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let mut call = Metered { call: Box::pin(call), meter: Arc::clone(meter) };
        let first = poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut call).poll(context)));
            Poll::Ready(match polled {
                Ok(Poll::Ready(value)) => First::Done(value),
                Ok(Poll::Pending) if meter.is_busy() => First::Busy,
                Ok(Poll::Pending) => return Poll::Pending,
                Err(panic) => First::Panicked(said(&*panic)),
            })
        });
        match first.await {
            First::Done(value) => Ok(value),
            First::Panicked(what) => Err(what),
            First::Busy => {
                let threads = self.runtime.get_or_init(Threads::start).as_ref().map_err(Clone::clone)?;
                let Some(runtime) = &threads.0 else { return Err("the threads for busy plugins have ended".into()) };
                let mut elsewhere = Elsewhere(runtime.spawn(call));
                (&mut elsewhere.0).await.map_err(|error| error.to_string())
            }
        }
    }
}

/// A panic's words.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::{Duration, Instant};

    use wasmtime::UpdateDeadline;

    use super::*;

    fn thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    /// Busy for some slices, then done, or a panic; says on which thread it ended.
    async fn call(meter: Arc<Meter>, slices: u32, panics: bool) -> String {
        for _ in 0..slices {
            let until = Instant::now() + Duration::from_millis(12);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            assert!(matches!(meter.look(), UpdateDeadline::Yield(_)));
            tokio::task::yield_now().await;
        }
        assert!(!panics, "this one was to fail");
        thread()
    }

    #[tokio::test]
    async fn who_is_busy_goes_on_elsewhere_and_a_panic_is_an_error() {
        let aside = Aside::default();
        let run = async |slices, panics| {
            let meter = Arc::new(Meter::new(Duration::from_secs(1)));
            aside.run(call(Arc::clone(&meter), slices, panics), &meter).await
        };
        let here = thread();
        assert_eq!(run(0, false).await, Ok(here));
        assert!(aside.runtime.get().is_none(), "nobody was busy");
        assert_eq!(run(2, false).await.as_deref(), Ok("busy-plugins"));
        assert!(run(0, true).await.unwrap_err().contains("this one was to fail"));
        assert!(run(1, true).await.unwrap_err().contains("panic"));
    }

    #[tokio::test]
    async fn who_is_waited_for_by_nobody_ends() {
        struct Held(Arc<()>);
        let aside = Aside::default();
        let held = Arc::new(());
        let meter = Arc::new(Meter::new(Duration::from_secs(60)));
        let call = {
            let (meter, held) = (Arc::clone(&meter), Held(Arc::clone(&held)));
            async move {
                let held = held;
                call(meter, 1, false).await;
                std::future::pending::<()>().await;
                drop(held.0);
            }
        };
        assert!(tokio::time::timeout(Duration::from_millis(100), aside.run(call, &meter)).await.is_err());
        let since = Instant::now();
        while Arc::strong_count(&held) > 1 && since.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
