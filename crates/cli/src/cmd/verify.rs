//! `headcount verify`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use headcount::{Damage, Error, Options, Progress, Store, VerifyReport};

use crate::errors::LISTED;
use crate::failure::{Failure, Kind, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::progress::{Rate, watch};
use crate::size::{human_bytes, human_count};
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
Prints each damage with file, offset and the range of UIDs it touches. Exit code 5 when there is
any.

Examples:
  headcount verify site.hc
  headcount verify site.hc --json";

/// Damages kept for `--json`; more are only counted.
const KEPT: usize = 10_000;

/// Options of `headcount verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Write the report as one line of JSON
    #[arg(long)]
    json: bool,
}

/// One damage, for `--json`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DamageObject {
    file: String,
    offset: u64,
    what: String,
    expected: String,
    found: String,
    /// First UID that may be concerned; empty: from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_uid: Option<String>,
    /// First UID after them; empty: to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_uid: Option<String>,
}

impl From<&Damage> for DamageObject {
    fn from(damage: &Damage) -> Self {
        let (first_uid, next_uid) = damage.uids.clone().unzip();
        Self {
            file: damage.file.display().to_string(),
            offset: damage.offset,
            what: damage.what.clone(),
            expected: damage.expected.clone(),
            found: damage.found.clone(),
            first_uid,
            next_uid,
        }
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Users of the store.
    users: u64,
    /// Rows of all segments, including those that newer ones hide.
    rows: u64,
    /// Deletions that segments keep.
    tombstones: u64,
    /// Identities of the rows.
    identities: u64,
    segments: u64,
    blocks: u64,
    index_pages: u64,
    bytes: u64,
    seconds: f64,
    damage_count: u64,
    damages: Vec<DamageObject>,
}

/// Prints damages as they are found, or keeps them for `--json`.
struct Found {
    json: bool,
    kept: Vec<DamageObject>,
    count: u64,
    printed: Result<(), Failure>,
}

impl Found {
    fn add(&mut self, damage: &Damage) {
        self.count += 1;
        if !self.json {
            if self.printed.is_ok() {
                self.printed = ui::print_line(&damage.to_string());
            }
        } else if self.kept.len() < KEPT {
            self.kept.push(DamageObject::from(damage));
        }
    }
}

/// Checks everything in a store.
///
/// # Errors
/// When the store cannot be opened or read; damage that is found is reported and is no error here.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let mut found = Found { json: args.json, kept: Vec::new(), count: 0, printed: Ok(()) };
    let (users, checked) = match Store::open_read_only(&args.store, &Options::default()) {
        Ok(store) => {
            cancel_on_signals(&progress)?;
            let checked = watch(ui, &progress, || store.verify(&progress, &mut |damage| found.add(damage)))?;
            (store.stats().totals.users(), checked)
        }
        // So much that the store cannot be opened.
        Err(Error::Damage(damage)) => {
            found.add(&damage);
            (0, VerifyReport::default())
        }
        Err(error) => return Err(error.into()),
    };
    found.printed?;
    let report = Report {
        users,
        tombstones: checked.tombstones,
        rows: checked.rows,
        identities: checked.identities,
        segments: checked.segments,
        blocks: checked.blocks,
        index_pages: checked.pages,
        bytes: checked.bytes,
        seconds: Rate::of(checked.rows, started).seconds,
        damage_count: found.count,
        damages: found.kept,
    };
    show(&report, args, ui)?;
    Ok(if report.damage_count == 0 { Outcome::Done } else { Outcome::Damaged })
}

fn show(report: &Report, args: &Args, ui: &Ui) -> Result<(), Failure> {
    if args.json {
        ui::print_json(report)?;
    }
    let what = format!(
        "{} users, {} rows and {} deletions in {} segments, {} blocks, {} index pages, {}, in {:.2} s",
        human_count(report.users),
        human_count(report.rows),
        human_count(report.tombstones),
        human_count(report.segments),
        human_count(report.blocks),
        human_count(report.index_pages),
        human_bytes(report.bytes),
        report.seconds
    );
    if report.damage_count > 0 {
        let places = if report.damage_count == 1 { "damage" } else { "damages" };
        let text = format!("{} {places} found in {}: {what}", human_count(report.damage_count), args.store.display());
        ui.failure(&Failure::new(Kind::Damage, text).hint(LISTED));
    } else if !args.json {
        ui::print_line(&format!("no damage: {what}"))?;
    }
    Ok(())
}
