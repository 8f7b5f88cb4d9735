//! Invariant 7 over random schedules of faults: whatever was answered 250 is delivered or still in the store, with a reason, and
//! never twice where that can be avoided.
//!
//! A run has a seed, which decides the faults; in which order threads are done it does not, so a seed that has failed may need a
//! few tries to fail again. Time is simulated: a day of mail takes a fraction of a second. The store, the queue and
//! the Maildirs are the real ones; the other servers are in memory ([`world`]), the store has its bad moments ([`faulty`]), and
//! the process dies, which here is that its runtime is dropped wherever its tasks are ([`life`]). After every death and at the
//! end all is judged that the world knows ([`judge`]).
//!
//! `HERMETIC_SIMULATION_RUNS` says how many runs there are, `HERMETIC_SIMULATION_SEED` which one is the first. Of a run that
//! fails seed and history are printed.

mod faulty;
mod judge;
mod life;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use parking_lot::Mutex;

use self::world::World;

/// Runs with the ordinary tests.
const RUNS: u64 = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// One run; what was counted, or what is wrong with the history so far.
fn simulate(seed: u64) -> Result<BTreeMap<&'static str, u64>, String> {
    let world = World::new(seed);
    let ran = catch_unwind(AssertUnwindSafe(|| life::all(&world)));
    crate::store::sqlite::simulated::inherit(None);
    let wrong = match ran {
        Ok(()) => world.wrong(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            vec![text.unwrap_or_else(|| "a panic".into())]
        }
    };
    if wrong.is_empty() { Ok(world.tally()) } else { Err(format!("{}\n\n{}", world.history(), wrong.join("\n"))) }
}

#[test]
fn what_was_accepted_is_delivered_once_or_told_of() {
    let first = number("HERMETIC_SIMULATION_SEED");
    let runs = number("HERMETIC_SIMULATION_RUNS").unwrap_or(if first.is_some() { 1 } else { RUNS });
    let first = first.unwrap_or(0);
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let all: Mutex<BTreeMap<&'static str, u64>> = Mutex::default();
    let failed: Mutex<Vec<u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + runs || failed.lock().len() > 2 {
                        return;
                    }
                    match simulate(seed) {
                        Ok(tally) => {
                            let mut all = all.lock();
                            tally.into_iter().for_each(|(what, n)| *all.entry(what).or_default() += n);
                        }
                        Err(text) => {
                            println!("{text}\n\nseed {seed}; again: HERMETIC_SIMULATION_SEED={seed} cargo test --workspace --lib -- simulation\n");
                            failed.lock().push(seed);
                        }
                    }
                }
            });
        }
    });
    let (all, failed) = (all.into_inner(), failed.into_inner());
    println!("{runs} runs in {:.1} s: {all:#?}", began.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "these seeds fail: {failed:?}");
    if runs >= RUNS {
        for what in EXPECTED {
            assert!(all.get(what).is_some_and(|n| *n > 0), "never: {what}");
        }
    }
}

/// What happens in any number of runs worth the name; otherwise they show nothing.
const EXPECTED: [&str; 20] = [
    "accepted",
    "held at the end",
    "received by a Maildir",
    "received by a plugin",
    "received by a server",
    "received twice: the process died before it was recorded",
    "received twice: the reply was lost",
    "told of a delay",
    "told of a failure",
    "told of a success",
    "the process died",
    "the process was stopped",
    "a delivery task died",
    "a server refused",
    "a server was gone",
    "the store failed",
    "the clock was set",
    "the configuration changed",
    "an operator dropped",
    "an operator changed",
];
