//! What being asked costs: one Rust plugin that does nothing, fresh and warm, five of them in a chain, and others beside one
//! that is stuck. No sockets; processor time of the whole process, so the figures are steady even on a busy machine.
//!
//!     cargo run --release -p hermetic-tests --example plugins [FILE]
//!
//! FILE: write the component there, for the servers of `plugins.sh`, and measure nothing.

#[path = "../../host/build/component.rs"]
mod component;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hermetic::config::plugins::{OnFailure, Plugin as Configured, PluginLimits};
use hermetic::plugin::Loader;
use hermetic::plugin::hook::{Facts, Forward, Hook, Plugin, Scratch, Verdict, Wishes};

type Failed = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 5;
/// Transactions of one recipient.
const FRESH: usize = 5_000;
/// Recipients of one transaction; of many.
const WARM: usize = 50_000;
const M4: usize = 50;
/// Sessions that ask beside the stuck one, and how long they rest between two transactions.
const SESSIONS: usize = 8;
const REST: Duration = Duration::from_millis(4);
const BESIDE: Duration = Duration::from_secs(4);

fn main() -> Result<(), Failed> {
    let file = build()?;
    if let Some(to) = std::env::args_os().nth(1) {
        fs::copy(file, to)?;
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let loader = Loader::new(&folder.path().join("plugins"))?;
    let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
    for name in ["one", "two", "three", "four", "five", "stuck"] {
        plugins.push(loader.load(&configured(name, &file))?);
    }
    let stuck = plugins.pop().ok_or("no plugin")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        println!(
            "us of CPU     fresh transaction   warm recipient   {M4} recipients: each   five in a chain: transaction"
        );
        for _ in 0..ROUNDS {
            let one = &plugins[..1];
            let fresh = cost(one, FRESH, 1).await?;
            let warm = cost(one, 1, WARM).await? / WARM as f64;
            let many = cost(one, FRESH / M4, M4).await? / M4 as f64;
            let five = cost(&plugins, FRESH / 5, 1).await?;
            println!("              {fresh:17.1}   {warm:14.2}   {many:20.2}   {five:28.1}");
        }
        println!("\nus to answer   alone: median      p99   beside a stuck one: median      p99");
        for _ in 0..ROUNDS {
            let (median, p99) = beside(&plugins[0], None).await?;
            let (slowed, slowed_p99) = beside(&plugins[0], Some(&stuck)).await?;
            println!("               {median:13.1}   {p99:6.1}   {slowed:26.1}   {slowed_p99:6.1}");
        }
        Ok(())
    })
}

/// Microseconds of processor time of a transaction, with so many recipients each.
async fn cost(chain: &[Arc<dyn Plugin>], transactions: usize, recipients: usize) -> Result<f64, Failed> {
    let chain = chain.to_vec();
    // On a worker, as sessions are.
    let work = tokio::spawn(async move {
        transaction(&chain, recipients).await?;
        let before = spent()?;
        for _ in 0..transactions {
            transaction(&chain, recipients).await?;
        }
        Ok::<_, Failed>(spent()? - before)
    });
    Ok(work.await??.as_secs_f64() * 1e6 / transactions as f64)
}

/// Every recipient is put to the whole chain, as in the envelope of a message.
async fn transaction(chain: &[Arc<dyn Plugin>], recipients: usize) -> Result<(), Failed> {
    let facts = Arc::new(Facts { transaction_id: "bench".into(), ..Facts::default() });
    let mut phases: Vec<_> =
        chain.iter().map(|plugin| Arc::clone(plugin).phase(Arc::clone(&facts), Scratch::default(), None)).collect();
    let mut accepted = Vec::new();
    for number in 0..recipients {
        let forward = Forward { forward_path: format!("{number}b@example.test"), mailbox: None };
        for phase in &mut phases {
            let ran = phase.call(Hook::Recipient, Some(&forward), &accepted, &mut Wishes::default()).await;
            if ran.verdict != Verdict::Proceed || ran.failure.is_some() {
                return Err(format!("{ran:?}").into());
            }
        }
        if accepted.len() < M4 {
            accepted.push(forward.forward_path);
        }
    }
    Ok(())
}

/// Median and p99 of transactions in microseconds, of sessions that are asked now and then.
async fn beside(plugin: &Arc<dyn Plugin>, stuck: Option<&Arc<dyn Plugin>>) -> Result<(f64, f64), Failed> {
    let over = Arc::new(AtomicBool::new(false));
    let busy = stuck.map(|stuck| {
        let (stuck, over) = (Arc::clone(stuck), Arc::clone(&over));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let phase = || Arc::clone(&stuck).phase(Arc::default(), Scratch::default(), None);
                phase().call(Hook::Delivery, None, &[], &mut Wishes::default()).await;
                // One good answer, so that it is asked again.
                phase().call(Hook::Recipient, None, &[], &mut Wishes::default()).await;
            }
        })
    });
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let plugin = Arc::clone(plugin);
            tokio::spawn(async move {
                tokio::time::sleep(REST * u32::try_from(number)? / SESSIONS as u32).await;
                let (began, mut times) = (Instant::now(), Vec::new());
                while began.elapsed() < BESIDE {
                    let asked = Instant::now();
                    transaction(std::slice::from_ref(&plugin), 1).await?;
                    times.push(asked.elapsed());
                    tokio::time::sleep(REST).await;
                }
                Ok::<_, Failed>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for session in sessions {
        times.extend(session.await??);
    }
    over.store(true, Ordering::Relaxed);
    if let Some(busy) = busy {
        busy.await?;
    }
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).map(|time| time.as_secs_f64() * 1e6);
    Ok((at(50).ok_or("nothing measured")?, at(99).ok_or("nothing measured")?))
}

/// Processor time of all threads of this process that live, in nanoseconds as Linux keeps it.
fn spent() -> Result<Duration, Failed> {
    let mut sum = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split(' ').next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

fn build() -> Result<PathBuf, Failed> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::current_exe()?.ancestors().nth(3).ok_or("no target folder")?.join("sealed");
    let recipe = component::Recipe {
        manifest: &here.join("fixtures/idle-plugin/Cargo.toml"),
        package: "idle-plugin",
        profile: "engine",
        folder: &target,
    };
    Ok(recipe.build()?)
}

fn configured(name: &str, file: &Path) -> Configured {
    Configured {
        name: name.into(),
        file: file.to_owned(),
        sha256: None,
        grants: Default::default(),
        limits: PluginLimits::default(),
        on_failure: OnFailure::Defer,
        postmaster: false,
        settings: Default::default(),
    }
}
