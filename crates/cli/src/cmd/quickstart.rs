//! `headcount quickstart`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use headcount::{Export, Format, Options, Store};
use headcount_import::{Import, Input};

use crate::cmd::export::write_stdout;
use crate::failure::{Failure, Outcome};
use crate::store;
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
Prints the export of a store with the seven users of the documented example response, and makes
that store first unless an earlier quickstart did.

Examples:
  headcount quickstart
  headcount quickstart /tmp/demo.hc";

/// The documented example response.
const SEVEN_USERS: &str = include_str!("../../data/seven-users.json");

/// Marks a store that this command made: it holds the store's id.
const MARKER: &str = "QUICKSTART";

/// Options of `headcount quickstart`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where the store is made
    #[arg(default_value = "./headcount-quickstart")]
    dir: PathBuf,
    /// Write a summary as one line of JSON to standard error, instead of what to try next
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Summary<'a> {
    store: &'a Path,
    made: bool,
    users: u64,
    identities: u64,
}

/// Makes the store of seven users, or finds it, and prints its export.
///
/// # Errors
/// When DIR is something else, or cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let dir = &args.dir;
    // A dangling link is something too.
    let made = dir.symlink_metadata().is_err();
    if made {
        make(dir)?;
    }
    let store = open_own(dir)?;
    let summary = write_stdout(&Export::new(&store.snapshot()), Format::Json)?;
    if args.json {
        ui::say_json(&Summary { store: dir, made, users: summary.users, identities: summary.identities })?;
    } else {
        ui.note(&next_steps(dir, made));
    }
    Ok(Outcome::Done)
}

/// Makes the store under a temporary name, so that DIR is there whole or not at all.
fn make(dir: &Path) -> Result<(), Failure> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let scratch = tempfile::Builder::new()
        .prefix(".headcount-")
        .suffix(".partial")
        .tempdir_in(parent)
        .map_err(|source| cannot_make(dir, source))?;
    let path = scratch.path().join("store");
    let store = Store::create(&path, &Options::default())?;
    let sample = Input::reader("the documented example", Box::new(io::Cursor::new(SEVEN_USERS)));
    Import::new(&store).input(sample).run()?;
    let marker = marker_of(&store);
    store.close()?;
    fs::write(path.join(MARKER), marker)?;
    fs::rename(&path, dir).map_err(|source| cannot_make(dir, source))
}

fn cannot_make(dir: &Path, source: io::Error) -> Failure {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot make {}", dir.display())]
    struct CannotMake {
        dir: PathBuf,
        source: io::Error,
    }
    Failure::failed(CannotMake { dir: dir.to_path_buf(), source })
}

/// Opens DIR if this command made it and nobody changed it since.
fn open_own(dir: &Path) -> Result<Store, Failure> {
    let other = |what: &str| {
        Failure::failed(format!("{} {what}: it is left as it is", dir.display()))
            .hint("name a directory that does not exist yet: headcount quickstart DIR")
    };
    let Ok(marker) = fs::read_to_string(dir.join(MARKER)) else {
        return Err(other("was not made by quickstart"));
    };
    let store = store::open(dir)?;
    if marker != marker_of(&store) {
        return Err(other("is another store than the one that quickstart made"));
    }
    let stats = store.stats();
    if (stats.totals.users(), stats.origin.seq) != (7, 1) {
        return Err(other("was made by quickstart, but its users were changed since"));
    }
    Ok(store)
}

fn marker_of(store: &Store) -> String {
    format!("{:032x}\n", store.stats().origin.store_id)
}

fn next_steps(dir: &Path, made: bool) -> String {
    let dir = dir.display();
    let line =
        if made { format!("Made the store {dir}; above is its export.") } else { format!("The export of {dir}.") };
    format!(
        "\n{line} Try next:\n  \
         headcount get {dir} 6625ID\n  \
         headcount find {dir} facebook 622098199\n  \
         headcount export {dir} -o users.csv"
    )
}
