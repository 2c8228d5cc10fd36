//! `headcount salvage`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use headcount::{Loss, Progress, SalvageReport, SalvagedBy, salvage};

use super::verify::DamageObject;
use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::progress::{Rate, watch};
use crate::size::human_count;
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
STORE is only read. NEW gets every user whose newest form can be read, or else the newest form that
can; each thing that cannot be read is printed with file, offset and UIDs, and what it may mean:
users lost, older forms of users, deleted users that are back. Exit code 5 when there is any.

Examples:
  headcount salvage site.hc rescued.hc
  headcount salvage site.hc rescued.hc --json";

/// Options of `headcount salvage`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The damaged store
    store: PathBuf,
    /// Where the new store is made; nothing may be there
    new: PathBuf,
    /// Write the report as one line of JSON
    #[arg(long)]
    json: bool,
}

/// One loss, for `--json`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct LossObject {
    #[serde(flatten)]
    damage: DamageObject,
    /// Bytes of the file that are concerned; 0: not known.
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_block: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_block: Option<u32>,
    /// Users in it, where they can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<u64>,
    /// Older forms of users may have come back.
    older_forms: bool,
    /// Deleted users may have come back.
    deleted_users: bool,
}

impl From<&Loss> for LossObject {
    fn from(loss: &Loss) -> Self {
        let (first_block, last_block) = loss.blocks.unzip();
        Self {
            damage: DamageObject::from(&loss.damage),
            bytes: loss.bytes,
            first_block,
            last_block,
            users: loss.users,
            older_forms: loss.older,
            deleted_users: loss.deleted,
        }
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Users written.
    users: u64,
    pending: u64,
    identities: u64,
    /// Identities left out, since a newer user has them.
    identities_left_out: u64,
    /// Users that the store had, where manifest and log are whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_users: Option<u64>,
    /// Users in what was lost, as far as they can be counted.
    lost_users: u64,
    /// Users written that may stand there in an older form.
    older_users: u64,
    /// Users written that may have been deleted.
    returned_users: u64,
    /// `manifest`, `previous` or `files`: what says which files belong to the store.
    by: &'static str,
    /// The seq of the store that was salvaged, where a manifest says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    segments: u64,
    blocks: u64,
    /// Commits of the log.
    commits: u64,
    seconds: f64,
    losses: Vec<LossObject>,
}

/// Salvages a store.
///
/// # Errors
/// When there is nothing of a store, it is in use, or NEW cannot be made: it is not there then.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    cancel_on_signals(&progress)?;
    let done = watch(ui, &progress, || salvage(&args.store, &args.new, &progress))?;
    let shown = if args.json {
        ui::print_json(&Report::new(&done, started))
    } else {
        done.losses.iter().try_for_each(|loss| ui::print_line(&text_of(loss)))
    };
    shown.map_err(|failure| failure.after(&summary(&done, args)))?;
    if done.is_whole() {
        ui.note(&summary(&done, args));
        return Ok(Outcome::Done);
    }
    ui.error(&summary(&done, args));
    Ok(Outcome::Damaged)
}

/// A loss in one line.
fn text_of(loss: &Loss) -> String {
    let mut text = loss.damage.to_string();
    match loss.blocks {
        Some((first, last)) if first == last => text.push_str(&format!("; block {first}")),
        Some((first, last)) => text.push_str(&format!("; blocks {first} to {last}")),
        None => {}
    }
    if loss.bytes > 0 {
        text.push_str(&format!("; {} bytes", human_count(loss.bytes)));
    }
    if let Some(users) = loss.users {
        text.push_str(&format!("; {} users", human_count(users)));
    }
    match (loss.older, loss.deleted) {
        (true, true) => text.push_str("; older forms of users and deleted ones may be back"),
        (true, false) => text.push_str("; older forms of users may be back"),
        (false, true) => text.push_str("; deleted users may be back"),
        (false, false) => text.push_str("; no user is lost by it"),
    }
    text
}

fn summary(done: &SalvageReport, args: &Args) -> String {
    let mut text = format!("wrote {} users to {}", human_count(done.users), args.new.display());
    if let Some(expected) = done.expected_users {
        text.push_str(&format!(" of the {} in {}", human_count(expected), args.store.display()));
    }
    if done.is_whole() {
        text.push_str(": nothing was lost");
        return text;
    }
    let places = if done.losses.len() == 1 { "1 thing" } else { &format!("{} things", done.losses.len()) };
    text.push_str(&format!(
        ": {places} could not be read, {} users in them; {} users may be older than they were, {} may have been deleted, \
         {} identities were left to a newer user",
        human_count(done.lost),
        human_count(done.older),
        human_count(done.returned),
        human_count(done.identities_left_out),
    ));
    text
}

impl Report {
    fn new(done: &SalvageReport, started: Instant) -> Self {
        Self {
            users: done.users,
            pending: done.pending,
            identities: done.identities,
            identities_left_out: done.identities_left_out,
            expected_users: done.expected_users,
            lost_users: done.lost,
            older_users: done.older,
            returned_users: done.returned,
            by: match done.by {
                SalvagedBy::Manifest => "manifest",
                SalvagedBy::Previous => "previous",
                SalvagedBy::Files => "files",
            },
            seq: done.origin.map(|origin| origin.seq),
            segments: done.segments,
            blocks: done.blocks,
            commits: done.commits,
            seconds: Rate::of(done.users, started).seconds,
            losses: done.losses.iter().map(LossObject::from).collect(),
        }
    }
}
