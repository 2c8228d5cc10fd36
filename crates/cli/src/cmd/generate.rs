//! `headcount generate`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headcount::Progress;

use crate::failure::{Failure, Kind, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::output::Target;
use crate::progress::watch;
use crate::size::{human_bytes, human_count};
use crate::synthetic::{Counts, Draft, Format, Shape, Users, Writer};
use crate::ui::Ui;

const EXAMPLES: &str = "\
The same users, byte for byte, for the same seed and options. User i of a seed is the same in
every run, so a smaller file is the beginning of a larger one. Users are not in UID order.

Examples:
  headcount generate --users 1000000 -o users.ndjson
  headcount generate --users 1000 --seed 7 --format csv
  headcount generate --users 100000 --pending-percent 30 --bare-percent 30 --escape-percent 10";

/// Options of `headcount generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many users
    #[arg(long, value_name = "N")]
    users: u64,
    /// Which users: another number gives others
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Format of the file [default: by FILE's extension, or ndjson]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Users whose registration is pending
    #[arg(long, value_name = "P", default_value_t = Shape::default().pending, value_parser = percent)]
    pending_percent: f64,
    /// Users without identities
    #[arg(long, value_name = "P", default_value_t = Shape::default().bare, value_parser = percent)]
    bare_percent: f64,
    /// Users with a value that needs JSON escaping or CSV quoting
    #[arg(long, value_name = "P", default_value_t = Shape::default().escaped, value_parser = percent)]
    escape_percent: f64,
    /// Users with a value that is not ASCII
    #[arg(long, value_name = "P", default_value_t = Shape::default().unicode, value_parser = percent)]
    unicode_percent: f64,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 0 to 100".to_owned()),
    }
}

/// Writes synthetic users.
///
/// # Errors
/// When the output cannot be written, or on Ctrl-C; a file that existed before is then as it was.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let shape = Shape {
        pending: args.pending_percent,
        bare: args.bare_percent,
        escaped: args.escape_percent,
        unicode: args.unicode_percent,
    };
    let format = args.format.unwrap_or_else(|| format_of(args.output.as_deref()));
    let progress = Arc::new(Progress::default());
    cancel_on_signals(&progress)?;
    progress.set_phase("generating");
    progress.set_total_users(args.users);

    let mut target = Target::open(args.output.as_deref())?;
    let users = Users::new(args.seed, shape);
    let counts = watch(ui, &progress, || write(&users, args.users, Writer::new(&mut target, format), &progress))?;
    target.finish()?;
    ui.note(&format!(
        "generated {} users ({} pending), {} identities, {}",
        human_count(counts.users),
        human_count(counts.pending),
        human_count(counts.identities),
        human_bytes(counts.bytes)
    ));
    Ok(Outcome::Done)
}

fn write(users: &Users, count: u64, mut writer: Writer<&mut Target>, progress: &Progress) -> Result<Counts, Failure> {
    /// Users between two looks at Ctrl-C.
    const STEP: u64 = 4096;
    let mut draft = Draft::new();
    let mut next = 0;
    while next < count {
        progress.check().map_err(|cancelled| Failure::new(Kind::Cancelled, cancelled))?;
        let end = count.min(next.saturating_add(STEP));
        for index in next..end {
            users.fill(index, &mut draft);
            writer.user(&draft)?;
        }
        progress.add_users(end - next);
        next = end;
    }
    Ok(writer.finish()?)
}

/// The format that a file's extension names.
fn format_of(path: Option<&Path>) -> Format {
    match path.and_then(Path::extension).map(|extension| extension.to_ascii_lowercase()) {
        Some(extension) if extension == "csv" => Format::Csv,
        Some(extension) if extension == "json" => Format::GigyaJson,
        _ => Format::Ndjson,
    }
}
