//! What is counted, and its text for Prometheus (OpenMetrics 1.0).

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use headcount::Stats;
use headcount::method::Sites;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge<u64, AtomicU64>>;

/// Bounds of what is measured in seconds: from 100 µs to a minute.
const SECONDS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0];

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Counters,
    exports: Counters,
    users: Counters,
    identities: Counters,
    bytes: Counters,
    first_byte: Histogram,
    slow_clients: Counters,
    auth_failures: Counters,
    commits: Histogram,
    refused: Counters,
    under_way: Gauge<u64, AtomicU64>,
    waiting: Gauge<u64, AtomicU64>,
    connections: Gauge<u64, AtomicU64>,
    stores: Stores,
}

/// What each site's store holds, as of the moment at which it is asked for.
#[derive(Debug, Default)]
struct Stores {
    users: Gauges,
    identities: Gauges,
    seq: Gauges,
    bytes: Gauges,
    segments: Gauges,
    delta_changes: Gauges,
    delta_bytes: Gauges,
    pinned_bytes: Gauges,
    commits: Gauges,
    commit_groups: Gauges,
    commit_waits: Gauges,
    failed_compactions: Gauges,
}

/// Numbers that are read when they are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) under_way: usize,
    pub(crate) waiting: usize,
    pub(crate) connections: usize,
}

impl Stores {
    fn register(&self, registry: &mut Registry) {
        let all = [
            ("store_users", "Users, registered and pending", &self.users),
            ("store_identities", "Identities", &self.identities),
            ("store_seq", "The last sequence number", &self.seq),
            ("store_segment_bytes", "Bytes of all segments", &self.bytes),
            ("store_segments", "Segments", &self.segments),
            ("store_delta_changes", "Users changed by commits that are not in a segment yet", &self.delta_changes),
            ("store_delta_bytes", "Bytes of those changes", &self.delta_bytes),
            ("store_pinned_bytes", "Bytes of files that only snapshots hold", &self.pinned_bytes),
            ("store_commits", "Commits since the store was opened", &self.commits),
            ("store_commit_groups", "Groups of commits, each with one fsync", &self.commit_groups),
            ("store_commit_waits", "Commits that waited for a full delta to be written out", &self.commit_waits),
            ("store_failed_compactions", "Background compactions that failed", &self.failed_compactions),
        ];
        for (name, help, gauges) in all {
            registry.register(name, help, gauges.clone());
        }
    }

    fn set(&self, site: &str, stats: &Stats) {
        let totals = &stats.totals;
        let all = [
            (&self.users, totals.users()),
            (&self.identities, totals.identities()),
            (&self.seq, stats.origin.seq),
            (&self.bytes, stats.bytes),
            (&self.segments, stats.segments.len() as u64),
            (&self.delta_changes, stats.delta_changes),
            (&self.delta_bytes, stats.delta_bytes),
            (&self.pinned_bytes, stats.pinned_bytes),
            (&self.commits, stats.work.commits),
            (&self.commit_groups, stats.work.groups),
            (&self.commit_waits, stats.work.waits),
            (&self.failed_compactions, stats.work.failed_compactions),
        ];
        for (gauges, value) in all {
            gauges.get_or_create(&vec![("site", site.to_owned())]).set(value);
        }
    }

    fn clear(&self) {
        let all = [
            &self.users,
            &self.identities,
            &self.seq,
            &self.bytes,
            &self.segments,
            &self.delta_changes,
            &self.delta_bytes,
            &self.pinned_bytes,
            &self.commits,
            &self.commit_groups,
            &self.commit_waits,
            &self.failed_compactions,
        ];
        for gauges in all {
            gauges.clear();
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("headcount");
        let this = Self {
            requests: Family::default(),
            exports: Family::default(),
            users: Family::default(),
            identities: Family::default(),
            bytes: Family::default(),
            first_byte: Histogram::new(SECONDS),
            slow_clients: Family::default(),
            auth_failures: Family::default(),
            commits: Histogram::new(SECONDS),
            refused: Family::default(),
            under_way: Gauge::default(),
            waiting: Gauge::default(),
            connections: Gauge::default(),
            stores: Stores::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests by method and errorCode; 0 is success", this.requests.clone());
        registry.register("exports", "Exports that ended, by site and outcome", this.exports.clone());
        registry.register("export_users", "Users in whole exports", this.users.clone());
        registry.register("export_identities", "Identities in whole exports", this.identities.clone());
        registry.register("export_sent", "Bytes of exports handed to connections, before TLS", this.bytes.clone());
        let help = "From the end of the headers to the first bytes of an export";
        registry.register_with_unit("first_byte", help, Unit::Seconds, this.first_byte.clone());
        let help = "Connections given up: slow_request, idle, slow_reader, evicted";
        registry.register("connections_given_up", help, this.slow_clients.clone());
        registry.register(
            "auth_failures",
            "Requests refused for their credentials, by errorCode",
            this.auth_failures.clone(),
        );
        let help = "Requests that write, with their commit";
        registry.register_with_unit("commit", help, Unit::Seconds, this.commits.clone());
        registry.register(
            "connections_refused",
            "Connections refused, and requests before they were looked at, by reason",
            this.refused.clone(),
        );
        registry.register("exports_in_flight", "Exports under way", this.under_way.clone());
        registry.register("exports_waiting", "Exports that wait for others to end", this.waiting.clone());
        registry.register("connections", "Connections", this.connections.clone());
        this.stores.register(&mut registry);
        Self { registry, ..this }
    }

    /// A request was answered.
    pub(crate) fn request(&self, method: &str, code: u32, is_auth: bool) {
        self.requests.get_or_create(&vec![("method", method.to_owned()), ("code", code.to_string())]).inc();
        if is_auth {
            self.auth_failures.get_or_create(&vec![("code", code.to_string())]).inc();
        }
    }

    pub(crate) fn first_byte(&self, after: Duration) {
        self.first_byte.observe(after.as_secs_f64());
    }

    pub(crate) fn commit(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// An export ended; users and identities are those of a whole one.
    pub(crate) fn export(&self, site: &str, outcome: &str, users: u64, identities: u64, bytes: u64) {
        let site = ("site", site.to_owned());
        self.exports.get_or_create(&vec![site.clone(), ("outcome", outcome.to_owned())]).inc();
        let of_site = vec![site];
        self.users.get_or_create(&of_site).inc_by(users);
        self.identities.get_or_create(&of_site).inc_by(identities);
        self.bytes.get_or_create(&of_site).inc_by(bytes);
    }

    pub(crate) fn given_up(&self, why: &str) {
        self.slow_clients.get_or_create(&vec![("reason", why.to_owned())]).inc();
    }

    pub(crate) fn refused(&self, why: &str) {
        self.refused.get_or_create(&vec![("reason", why.to_owned())]).inc();
    }

    /// The text, as of now.
    pub(crate) fn text(&self, sites: &Sites, now: Now) -> String {
        self.under_way.set(now.under_way as u64);
        self.waiting.set(now.waiting as u64);
        self.connections.set(now.connections as u64);
        // Sites come and go.
        self.stores.clear();
        for site in sites.iter() {
            self.stores.set(&site.api_key, &site.store.stats());
        }
        let mut text = String::new();
        // A string takes all that it is given.
        let written = encode(&mut text, &self.registry);
        debug_assert!(written.is_ok(), "{written:?}");
        text
    }
}
