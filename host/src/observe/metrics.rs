//! Numbers for Prometheus.
//!
//! Owns every metric's name, help and labels. Refuses to know when something counts: callers say so, in one call that
//! is an atomic addition. Labels are looked up once, here or in [`Metrics::listener`]. Cannot fail.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

type Labels = [(&'static str, &'static str); 1];
type ListenerLabels = [(&'static str, String); 1];

/// All metrics of one server. Kept in an [`Arc`] and handed to whoever counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sessions: Family<ListenerLabels, Counter>,
    sessions_open: Family<ListenerLabels, Gauge>,
    connections_refused: Family<ListenerLabels, Counter>,
    messages_accepted: Counter,
    messages_refused: Counter,
    message_octets: Counter,
    recipients_accepted: Counter,
    recipients_refused: Counter,
    logins_accepted: Counter,
    logins_refused: Counter,
    handshakes_done: Counter,
    handshakes_failed: Counter,
    engine_traps: Counter,
    engine_deadlines: Counter,
    engine_unavailable: Counter,
    engine_instances: Gauge,
    commits: Histogram,
    commit_messages: Histogram,
    delivered: Counter,
    deferred: Counter,
    failed: Counter,
    held: Counter,
    changes: Family<Labels, Counter>,
    reloads_done: Counter,
    reloads_failed: Counter,
    tls_reports_sent: Counter,
    tls_reports_failed: Counter,
    recordings: Family<Labels, Counter>,
}

/// Registers while the names are short; the prefix is the registry's.
struct Registering(Registry);

impl Registering {
    /// One counter for each value of one label.
    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Counter; N] {
        let family = Family::<Labels, Counter>::default();
        self.0.register(name, help, family.clone());
        values.map(|value| family.get_or_create_owned(&[(label, value)]))
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Arc<Self> {
        let mut new = Registering(Registry::with_prefix("hermetic"));
        let (sessions, sessions_open, connections_refused) = <(Family<_, _>, Family<_, _>, Family<_, _>)>::default();
        new.0.register("sessions", "Sessions begun", sessions.clone());
        new.0.register("sessions_open", "Sessions now open", sessions_open.clone());
        new.0.register("connections_refused", "Connections closed before a session", connections_refused.clone());
        let outcome = "outcome";
        let [messages_accepted, messages_refused] =
            new.counters("messages", "Messages after their content", outcome, ["accepted", "refused"]);
        let message_octets = Counter::default();
        let help = "Content of accepted messages";
        new.0.register_with_unit("messages_accepted", help, Unit::Other("octets".into()), message_octets.clone());
        let [recipients_accepted, recipients_refused] =
            new.counters("recipients", "Answers to RCPT", outcome, ["accepted", "refused"]);
        let [logins_accepted, logins_refused] =
            new.counters("logins", "AUTH exchanges that ended", outcome, ["accepted", "refused"]);
        let [handshakes_done, handshakes_failed] =
            new.counters("tls_handshakes", "TLS handshakes", outcome, ["done", "failed"]);
        let [engine_traps, engine_deadlines, engine_unavailable] = new.counters(
            "engine_failures",
            "Sessions ended because the engine failed",
            "kind",
            ["trap", "deadline", "unavailable"],
        );
        let engine_instances = Gauge::default();
        new.0.register("engine_instances", "Engine instances in memory", engine_instances.clone());
        // 0.1 ms to 1.6 s, doubling.
        let commits = Histogram::new(exponential_buckets(0.0001, 2.0, 15));
        new.0.register_with_unit(
            "store_commit",
            "From asking for durability to having it",
            Unit::Seconds,
            commits.clone(),
        );
        let commit_messages = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        new.0.register("store_commit_messages", "Messages made durable together", commit_messages.clone());
        let [delivered, deferred, failed, held] = new.counters(
            "deliveries",
            "Attempts to deliver to one recipient",
            outcome,
            ["delivered", "deferred", "failed", "held"],
        );
        let changes = Family::<Labels, Counter>::default();
        new.0.register("queue_changes", "Entries that an operator changed", changes.clone());
        for operation in ["retry", "hold", "release", "drop", "bounce"] {
            drop(changes.get_or_create(&[("operation", operation)]));
        }
        let [reloads_done, reloads_failed] =
            new.counters("reloads", "Configuration, users and certificates read again", outcome, ["done", "failed"]);
        let [tls_reports_sent, tls_reports_failed] =
            new.counters("tls_reports", "TLS reports to a place that a domain names", outcome, ["sent", "failed"]);
        let recordings = Family::<Labels, Counter>::default();
        new.0.register("recordings", "Sessions that were to become files", recordings.clone());
        for outcome in ["kept", "given-up", "not-kept", "not-written"] {
            drop(recordings.get_or_create(&[("outcome", outcome)]));
        }
        Arc::new(Self {
            registry: new.0,
            sessions,
            sessions_open,
            connections_refused,
            messages_accepted,
            messages_refused,
            message_octets,
            recipients_accepted,
            recipients_refused,
            logins_accepted,
            logins_refused,
            handshakes_done,
            handshakes_failed,
            engine_traps,
            engine_deadlines,
            engine_unavailable,
            engine_instances,
            commits,
            commit_messages,
            delivered,
            deferred,
            failed,
            held,
            changes,
            reloads_done,
            reloads_failed,
            tls_reports_sent,
            tls_reports_failed,
            recordings,
        })
    }

    /// The metrics of one listener, by its name. Look them up once.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        let labels = [("listener", name.to_owned())];
        ListenerMetrics {
            sessions: self.sessions.get_or_create_owned(&labels),
            open: self.sessions_open.get_or_create_owned(&labels),
            refused: self.connections_refused.get_or_create_owned(&labels),
        }
    }

    /// A message is durable. `octets`: its content.
    pub fn message_accepted(&self, octets: u64) {
        self.messages_accepted.inc();
        self.message_octets.inc_by(octets);
    }

    /// A message was refused after its content, for all of its recipients.
    pub fn message_refused(&self) {
        self.messages_refused.inc();
    }

    /// RCPT was answered.
    pub fn recipient(&self, accepted: bool) {
        if accepted { &self.recipients_accepted } else { &self.recipients_refused }.inc();
    }

    /// A TLS report is on its way to one place, or it or all of the report is given up.
    pub fn tls_report(&self, sent: bool) {
        if sent { &self.tls_reports_sent } else { &self.tls_reports_failed }.inc();
    }

    /// An AUTH exchange ended.
    pub fn login(&self, accepted: bool) {
        if accepted { &self.logins_accepted } else { &self.logins_refused }.inc();
    }

    /// A TLS handshake ended.
    pub fn handshake(&self, done: bool) {
        if done { &self.handshakes_done } else { &self.handshakes_failed }.inc();
    }

    /// The engine trapped.
    pub fn engine_trapped(&self) {
        self.engine_traps.inc();
    }

    /// The engine did not return in time.
    pub fn engine_overran(&self) {
        self.engine_deadlines.inc();
    }

    /// There was no instance to be had.
    pub fn engine_unavailable(&self) {
        self.engine_unavailable.inc();
    }

    /// An engine instance is in memory for as long as the guard lives.
    pub fn engine_instance(&self) -> Held {
        Held::new(&self.engine_instances)
    }

    /// A commit: how long it took until durable, and for how many messages.
    pub fn committed(&self, took: Duration, messages: usize) {
        self.commits.observe(took.as_secs_f64());
        self.commit_messages.observe(messages as f64);
    }

    /// An entry was delivered.
    pub fn delivered(&self) {
        self.delivered.inc();
    }

    /// An entry will be tried again.
    pub fn deferred(&self) {
        self.deferred.inc();
    }

    /// An entry failed for good.
    pub fn failed(&self) {
        self.failed.inc();
    }

    /// An entry is held for an operator or a later feature.
    pub fn held(&self) {
        self.held.inc();
    }

    /// An operator changed so many entries. `operation`: retry, hold, release, drop, bounce.
    pub fn changed(&self, operation: &'static str, entries: usize) {
        self.changes.get_or_create_owned(&[("operation", operation)]).inc_by(entries as u64);
    }

    /// A session became a file (`kept`), was too large (`given-up`), could not be masked or run again (`not-kept`), or there
    /// was trouble with the disk (`not-written`).
    pub fn recorded(&self, outcome: &'static str) {
        self.recordings.get_or_create_owned(&[("outcome", outcome)]).inc();
    }

    /// Files were read again.
    pub fn reloaded(&self, done: bool) {
        if done { &self.reloads_done } else { &self.reloads_failed }.inc();
    }

    /// All of them in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String has no way to fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The metrics of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    sessions: Counter,
    open: Gauge,
    refused: Counter,
}

impl ListenerMetrics {
    /// A session begins; it is open for as long as the guard lives.
    pub fn session(&self) -> Held {
        self.sessions.inc();
        Held::new(&self.open)
    }

    /// A connection was closed before a session began: too many, or a bad PROXY header.
    pub fn refused(&self) {
        self.refused.inc();
    }
}

/// Counts in a gauge for as long as it lives.
#[derive(Debug)]
#[must_use = "it counts only as long as it lives"]
pub struct Held(Gauge);

impl Held {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        let listener = metrics.listener("mx");
        let (first, _second) = (listener.session(), listener.session());
        drop(first);
        let _instance = metrics.engine_instance();
        metrics.message_accepted(4096);
        metrics.message_accepted(4);
        metrics.recipient(false);
        metrics.login(true);
        metrics.engine_trapped();
        metrics.committed(Duration::from_micros(300), 3);
        metrics.delivered();
        metrics.deferred();
        metrics.changed("hold", 3);
        metrics.recorded("kept");
        let text = metrics.text();
        for line in [
            "hermetic_sessions_total{listener=\"mx\"} 2",
            "hermetic_sessions_open{listener=\"mx\"} 1",
            "hermetic_connections_refused_total{listener=\"mx\"} 0",
            "hermetic_messages_total{outcome=\"accepted\"} 2",
            "hermetic_messages_total{outcome=\"refused\"} 0",
            "hermetic_messages_accepted_octets_total 4100",
            "hermetic_recipients_total{outcome=\"refused\"} 1",
            "hermetic_logins_total{outcome=\"accepted\"} 1",
            "hermetic_tls_handshakes_total{outcome=\"failed\"} 0",
            "hermetic_engine_failures_total{kind=\"trap\"} 1",
            "hermetic_engine_instances 1",
            "hermetic_store_commit_seconds_bucket{le=\"0.0002\"} 0",
            "hermetic_store_commit_seconds_bucket{le=\"0.0004\"} 1",
            "hermetic_store_commit_messages_sum 3.0",
            "hermetic_deliveries_total{outcome=\"deferred\"} 1",
            "hermetic_queue_changes_total{operation=\"hold\"} 3",
            "hermetic_queue_changes_total{operation=\"drop\"} 0",
            "hermetic_recordings_total{outcome=\"kept\"} 1",
            "hermetic_recordings_total{outcome=\"given-up\"} 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|shown| shown == line), "no line {line:?} in:\n{text}");
        }
    }
}
