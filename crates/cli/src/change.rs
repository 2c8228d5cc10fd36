//! One change of one user: committed, and reported.

use std::path::Path;

use headcount::{Batch, Error, RefuseReason};

use crate::batches::refusal_text;
use crate::errors::doubtful_hint;
use crate::failure::{Failure, Outcome};
use crate::store;
use crate::ui::Ui;

/// A change, and what is said of it.
pub(crate) struct Change {
    /// The change alone.
    pub(crate) batch: Batch,
    /// When it was made, without the seq.
    pub(crate) made: String,
    /// When everything was as asked for already.
    pub(crate) unchanged: String,
    /// What that means.
    pub(crate) unchanged_is: Outcome,
    /// The UID that is asked for, of a rename.
    pub(crate) new_uid: Option<String>,
}

#[derive(serde::Serialize)]
struct Report {
    seq: u64,
    changed: u64,
}

/// Makes `change` in the store at `path`.
///
/// # Errors
/// When it cannot be made: nothing was changed then.
pub(crate) fn run(path: &Path, json: bool, ui: &Ui, change: Change) -> Result<Outcome, Failure> {
    store::write(path, ui, |store| {
        let commit = match store.commit(change.batch) {
            Ok(commit) => commit,
            Err(Error::Refused(refusal)) if refusal.reason == RefuseReason::NoSuchUser => {
                ui.error(&format!("no user {:?}", refusal.uid));
                return Ok(Outcome::NotFound);
            }
            Err(Error::Refused(refusal)) => {
                return Err(Failure::failed(refusal_text(&refusal, change.new_uid.as_deref())));
            }
            Err(error) => {
                let hint = doubtful_hint(&error).map(|hint| {
                    format!(
                        "{hint}, then look whether the change was made before you make it again: `headcount get STORE UID`"
                    )
                });
                let failure = Failure::from(error);
                return Err(Failure { hint: hint.or(failure.hint), ..failure });
            }
        };
        let (outcome, text) =
            if commit.changed > 0 { (Outcome::Done, change.made) } else { (change.unchanged_is, change.unchanged) };
        if outcome == Outcome::NotFound {
            ui.error(&text);
            return Ok(outcome);
        }
        let report = Report { seq: commit.seq, changed: commit.changed };
        ui.report(json, &report, &format!("{text}: seq {}", commit.seq))?;
        Ok(outcome)
    })
}
