//! `headcount stats`

use std::path::PathBuf;

use headcount::{SegmentStats, Stats, iso8601};

use crate::failure::{Failure, Outcome};
use crate::size::{human_bytes, human_count};
use crate::store;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  headcount stats site.hc
  headcount stats site.hc --json";

/// Options of `headcount stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Write one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    users: u64,
    registered: u64,
    pending: u64,
    without_identities: u64,
    identities: u64,
    providers: Vec<Provider>,
    bytes: u64,
    segments: Vec<Segment>,
    /// Users changed by commits that are not in a segment yet: of a store that was not closed.
    delta_changes: u64,
    delta_bytes: u64,
    /// Bytes of files that only snapshots hold, and the seq of the oldest one.
    pinned_bytes: u64,
    oldest_snapshot: Option<u64>,
    /// Least seq to ask for changes since.
    changes_floor: u64,
    seq: u64,
    /// When that seq was committed.
    time: String,
    store_id: String,
    incarnation: String,
}

#[derive(serde::Serialize)]
struct Provider {
    provider: String,
    identities: u64,
    registered: u64,
    pending: u64,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Segment {
    name: String,
    rows: u64,
    /// Deletions that it remembers.
    tombstones: u64,
    blocks: u64,
    bytes: u64,
    block_bytes: u64,
    uid_index_bytes: u64,
    identity_index_bytes: u64,
    seq: u64,
}

/// Prints what a store holds.
///
/// # Errors
/// When the store cannot be read or standard output not be written.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let store = store::open(&args.store)?;
    let report = Report::new(store.stats(), store.snapshot().providers()?);
    if args.json {
        ui::print_json(&report)?;
    } else {
        ui::print_bytes(report.table().as_bytes())?;
    }
    Ok(Outcome::Done)
}

impl Report {
    fn new(stats: Stats, providers: Vec<(String, u64, u64)>) -> Self {
        let Stats { origin, totals, bytes, segments, .. } = stats;
        let provider = |(provider, registered, pending): (String, u64, u64)| Provider {
            provider,
            identities: registered + pending,
            registered,
            pending,
        };
        let segment = |segment: SegmentStats| Segment {
            name: segment.name,
            rows: segment.users,
            tombstones: segment.tombstones,
            blocks: segment.blocks,
            bytes: segment.bytes,
            block_bytes: segment.block_bytes,
            uid_index_bytes: segment.uid_index_bytes,
            identity_index_bytes: segment.identity_index_bytes,
            seq: segment.seq,
        };
        Self {
            users: totals.users(),
            registered: totals.registered.users,
            pending: totals.pending.users,
            without_identities: totals.registered.bare_users + totals.pending.bare_users,
            identities: totals.identities(),
            providers: providers.into_iter().map(provider).collect(),
            bytes,
            segments: segments.into_iter().map(segment).collect(),
            delta_changes: stats.delta_changes,
            delta_bytes: stats.delta_bytes,
            pinned_bytes: stats.pinned_bytes,
            oldest_snapshot: stats.oldest_snapshot,
            changes_floor: stats.changes_floor,
            seq: origin.seq,
            time: iso8601(origin.time_ms),
            store_id: format!("{:032x}", origin.store_id),
            incarnation: format!("{:032x}", origin.incarnation),
        }
    }

    /// The report for human readers: a line a number, numbers below each other.
    fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str, note: &str| {
            text.push_str(format!("{name:<22}{value:>16}  {note}").trim_end());
            text.push('\n');
        };
        line("users", &human_count(self.users), "");
        line("  registered", &human_count(self.registered), "");
        line("  pending", &human_count(self.pending), "");
        line("  without identities", &human_count(self.without_identities), "");
        line("identities", &human_count(self.identities), "");
        for provider in &self.providers {
            let note = match provider.pending {
                0 => String::new(),
                pending => format!("of pending users: {}", human_count(pending)),
            };
            // A name from a file may hold anything: it must not reach the terminal as it is.
            let name: String = provider.provider.escape_debug().collect();
            line(&format!("  {name}"), &human_count(provider.identities), &note);
        }
        line("size", &human_bytes(self.bytes), &self.bytes_a_user());
        line("segments", &human_count(self.segments.len() as u64), "");
        for segment in &self.segments {
            let deletions = match segment.tombstones {
                0 => String::new(),
                n => format!(", {} deletions", human_count(n)),
            };
            let (rows, blocks) = (human_count(segment.rows), human_bytes(segment.block_bytes));
            let note = format!("{rows} rows{deletions}, blocks {blocks}");
            line(&format!("  of seq {}", segment.seq), &human_bytes(segment.bytes), &note);
        }
        if self.delta_changes > 0 {
            line("not in a segment yet", &human_count(self.delta_changes), &human_bytes(self.delta_bytes));
        }
        if let Some(oldest) = self.oldest_snapshot {
            line("held by snapshots", &human_bytes(self.pinned_bytes), &format!("the oldest at seq {oldest}"));
        }
        line("seq", &human_count(self.seq), &self.time);
        line("changes known since", &human_count(self.changes_floor), "");
        line("store id", "", &self.store_id);
        text
    }

    fn bytes_a_user(&self) -> String {
        let tenths = self.bytes.saturating_mul(10).checked_div(self.users);
        tenths.map_or_else(String::new, |tenths| format!("{}.{} bytes a user", tenths / 10, tenths % 10))
    }
}
