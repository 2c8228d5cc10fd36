//! `headcount changes`

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::ValueEnum;
use headcount::{Changed, User};

use crate::errors::DAMAGE;
use crate::failure::{Failure, Kind, Outcome};
use crate::serving::Serving;
use crate::store;
use crate::ui;
use crate::wire::UserObject;

const EXAMPLES: &str = "\
Prints each user that changed after seq N once, as it is now, in UID order: the object that `get`
prints, or {\"UID\":…,\"deleted\":true}. A renamed user is one deleted and one new. The last line is
{\"seq\":M}: ask with --since M the next time. In CSV a row has the columns uid, provider,
providerUID, status and deleted (true or false), and {\"seq\":M} goes to standard error.
Deletions are remembered for days, not for ever: when N is too old, that is an error, and a whole
export is needed.

Examples:
  headcount changes site.hc --since 0
  headcount changes site.hc --since 41 --format csv > changed.csv";

/// Options of `headcount changes`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// What was committed after this sequence number
    #[arg(long, value_name = "SEQ")]
    since: u64,
    /// Format
    #[arg(long, value_enum, default_value_t = FormatArg::Ndjson)]
    format: FormatArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    #[value(alias = "jsonl")]
    Ndjson,
    Csv,
}

#[derive(serde::Serialize)]
struct DeletedObject<'a> {
    #[serde(rename = "UID")]
    uid: &'a str,
    deleted: bool,
}

#[derive(serde::Serialize)]
struct SeqObject {
    seq: u64,
}

/// Prints what changed.
///
/// # Errors
/// When the store cannot be read, no longer holds the changes, or standard output cannot be written.
pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let snapshot = store::open_or_ask(&args.store, |serving| instead(args, serving))?.snapshot();
    let seq = SeqObject { seq: snapshot.seq() };
    let mut out = Out::new(args.format)?;
    let mut failed = None;
    snapshot.changes_since(args.since, &mut |change| match out.change(&change) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            failed = Some(failure);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), Err)?;
    out.finish(&seq)?;
    Ok(Outcome::Done)
}

/// What a server that has the store is asked for the same changes. Only of a call to a file the end says the seq.
fn instead(args: &Args, serving: &Serving) -> String {
    let (format, otherwise) = match args.format {
        FormatArg::Ndjson => ("ndjson", ""),
        FormatArg::Csv => ("csv", "whose first column is upsert or delete, and "),
    };
    let what = format!("since={} format={format} fields=uid,provider,providerUID,status", args.since);
    let call = serving.call(&format!("{what} includePendingUsers=true -o FILE"));
    format!("ask that: {call} ({otherwise}whose last message is the seq to go on from)")
}

/// Standard output in one of the formats.
enum Out {
    Ndjson(BufWriter<File>),
    Csv(Box<csv::Writer<File>>),
}

impl Out {
    fn new(format: FormatArg) -> Result<Self, Failure> {
        let stdout = ui::stdout_file()?;
        if format == FormatArg::Ndjson {
            return Ok(Self::Ndjson(BufWriter::with_capacity(64 << 10, stdout)));
        }
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(stdout);
        writer.write_record(["uid", "provider", "providerUID", "status", "deleted"]).map_err(of_csv)?;
        Ok(Self::Csv(Box::new(writer)))
    }

    fn change(&mut self, change: &Changed<'_>) -> Result<(), Failure> {
        match (self, change) {
            (Self::Ndjson(out), Changed::User { user, .. }) => {
                write_line(out, &UserObject::from(&owned(user.to_user())?))
            }
            (Self::Ndjson(out), Changed::Deleted { uid, .. }) => write_line(out, &DeletedObject { uid, deleted: true }),
            (Self::Csv(out), Changed::User { user, .. }) => write_rows(out, &owned(user.to_user())?),
            (Self::Csv(out), Changed::Deleted { uid, .. }) => {
                out.write_record([uid, "", "", "", "true"]).map_err(of_csv)
            }
        }
    }

    fn finish(self, seq: &SeqObject) -> Result<(), Failure> {
        match self {
            Self::Ndjson(mut out) => {
                write_line(&mut out, seq)?;
                out.flush().map_err(ui::stdout_failure)
            }
            Self::Csv(mut out) => {
                out.flush().map_err(ui::stdout_failure)?;
                ui::say_json(seq)
            }
        }
    }
}

fn write_line(out: &mut BufWriter<File>, value: &impl serde::Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from).map_err(ui::stdout_failure)?;
    out.write_all(b"\n").map_err(ui::stdout_failure)
}

/// A row for each identity, and one for a user without any.
fn write_rows(out: &mut csv::Writer<File>, user: &User) -> Result<(), Failure> {
    let status = user.status.as_str();
    if user.identities.is_empty() {
        out.write_record([&user.uid, "", "", status, "false"]).map_err(of_csv)?;
    }
    for identity in &user.identities {
        out.write_record([&user.uid, &identity.provider, &identity.provider_uid, status, "false"]).map_err(of_csv)?;
    }
    Ok(())
}

fn owned(user: Result<User, impl fmt::Display>) -> Result<User, Failure> {
    user.map_err(|fault| Failure::new(Kind::Damage, format!("damage in a row of the store: {fault}")).hint(DAMAGE))
}

fn of_csv(error: csv::Error) -> Failure {
    // A broken pipe is known by the bare error.
    ui::stdout_failure(match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    })
}
