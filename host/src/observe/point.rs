//! Where a test may kill the process: one point before and behind each step by which a message changes its state.
//!
//! Owns the names of the points. Refuses to know what is done there. In a build that is no test, passing a point is nothing at
//! all. In a test's own process that was started with [`DIE_AT`] set to `POINT` or `POINT:N`, the first or Nth passing aborts
//! it: no destructor runs and nothing is flushed. The matrix that goes through all of them is `queue/tests/points.rs`.

/// Names the points, and lists them.
macro_rules! points {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// See the module.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Point {
            $($(#[$doc])* $name,)*
        }

        #[cfg(test)]
        impl Point {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

points! {
    /// A large body's first octets are in their file.
    BodyBegun,
    /// All of its octets are, and nothing is synced.
    BodyWritten,
    /// The file and its name are synced, and no row names it.
    BodySynced,
    /// The rows of a message are written, and not committed.
    AcceptBeforeCommit,
    /// They are committed, and nobody was told.
    AcceptCommitted,
    /// Whoever waits for it was told.
    AcceptAnswered,
    /// A lease was given.
    Claimed,
    /// The queue sorts what it has claimed.
    Sorted,
    /// The number of an attempt is written, and not committed.
    BeginBeforeCommit,
    /// It is committed, and the attempt is not made.
    BeginCommitted,
    /// A plugin has delivered, or said why not.
    PluginAnswered,
    /// Judges were asked again, and have answered.
    JudgeAnswered,
    /// A shipment has its turn, and nothing was said to the other server.
    ShipmentBegun,
    /// The other server has answered before the content.
    EnvelopeAnswered,
    /// The final dot is on its way; its reply was not read.
    ContentSent,
    /// The other server's last reply was read.
    ShipmentAnswered,
    /// A copy is in `tmp`, whole and not synced.
    CopyWritten,
    /// It is synced.
    CopySynced,
    /// It is in `new`, and that is not synced.
    CopyNamed,
    /// That is synced, and nothing is settled.
    CopiesDurable,
    /// The notices of what has ended are written, in memory.
    Ended,
    /// What becomes of entries is written, and not committed.
    SettleBeforeCommit,
    /// It is committed, and the queue was not told.
    SettleCommitted,
    /// The queue was told.
    Settled,
    /// Rows are gone, and their file is not.
    FileNeedless,
    /// A plugin was told what became of a recipient.
    ReportTold,
    /// That is written, and not committed.
    ToldBeforeCommit,
    /// It is committed.
    ToldCommitted,
    /// An operator's change is written, and not committed.
    ChangeBeforeCommit,
    /// It is committed, and the operator was not told.
    ChangeCommitted,
    /// What was held for want of a way is due, and that is not committed.
    ReleaseBeforeCommit,
    /// It is committed.
    ReleaseCommitted,
    /// A start has the lock and the database, and has repaired nothing.
    Opened,
    /// It has repaired what a death left.
    Repaired,
    /// The last write-back of the log is done, and the database is still open.
    Closing,
}

/// The process is here.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn pass(_: Point) {}

/// The process is here, and dies if that is wanted.
#[cfg(test)]
pub(crate) fn pass(point: Point) {
    use std::sync::LazyLock;

    static WANTED: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let text = std::env::var(DIE_AT).ok()?;
        let (name, number) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), number.parse().unwrap_or(1)))
    });
    let mut passed = PASSED.lock();
    let times = passed.entry(point).or_default();
    *times += 1;
    if let Some((name, number)) = &*WANTED
        && *name == format!("{point:?}")
        && times == number
    {
        std::process::abort();
    }
}

/// How often this process was where.
#[cfg(test)]
pub(crate) fn passed() -> std::collections::BTreeMap<Point, u32> {
    PASSED.lock().clone()
}

#[cfg(test)]
static PASSED: parking_lot::Mutex<std::collections::BTreeMap<Point, u32>> =
    parking_lot::Mutex::new(std::collections::BTreeMap::new());

/// The variable that says where a test's process dies.
#[cfg(test)]
pub(crate) const DIE_AT: &str = "HERMETIC_DIE_AT";
