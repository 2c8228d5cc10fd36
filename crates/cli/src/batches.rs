//! Lines in, commits out: what `put` and `apply` have in common.

use std::mem;

use headcount::{Batch, Error, Progress, Refusal, RefuseReason, Store};
use headcount_import::{ImportError, Line, Lines, Operation, Position, Unit};

use crate::errors::doubtful_hint;
use crate::failure::{Failure, Kind};

/// Most operations of one batch, as the store has it.
pub(crate) const OPERATIONS_MAX: usize = 50_000;
/// Lines of this many bytes fit one batch, however they are escaped: the text that they stand for is not longer.
const BYTES_MAX: usize = 8 << 20;

/// Where one batch ends and the next begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// After so many operations.
    Operations(usize),
    /// As late as possible: what the store finds too large is committed in halves.
    Full,
}

/// What was committed so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Applied {
    /// Number of the last line that was applied.
    pub(crate) lines: u64,
    /// Operations applied.
    pub(crate) operations: u64,
    /// Users written or deleted, counted in each batch.
    pub(crate) changed: u64,
    /// Batches committed.
    pub(crate) batches: u64,
    /// The seq that the store stands at.
    pub(crate) seq: u64,
}

impl Applied {
    /// What to do where the batch that ends with the line `last` may have been applied or not.
    fn look_first(&self, last: u64) -> String {
        let (seq, next, after) = (self.seq, self.lines + 1, last + 1);
        let again = match self.lines {
            0 => "run the command again".to_owned(),
            _ => format!("run the command with the lines from {next} on"),
        };
        // One that was made for this goes again.
        let or_none = if seq == 0 { ", or where there is no store," } else { "" };
        format!(
            "see how far it came with `headcount stats STORE`: at seq {seq}{or_none} {again}, beyond that with the lines \
             from {after} on"
        )
    }

    /// For messages; `settled`: that nothing else was applied is certain.
    fn note(&self, settled: bool) -> String {
        match (self.lines, settled) {
            (0, true) => "nothing was applied".to_owned(),
            (0, false) => "no line was acknowledged".to_owned(),
            (lines, _) => {
                let which = if lines == 1 { "line 1 was".to_owned() } else { format!("lines 1 to {lines} were") };
                let rest = if settled { "nothing after that was" } else { "what follows was not acknowledged" };
                format!("{which} applied, up to seq {}; {rest}", self.seq)
            }
        }
    }
}

/// The line of an operation.
struct Place {
    number: u64,
    offset: u64,
    /// The UID that a rename asks for.
    new_uid: Option<String>,
}

/// Commits the operations of lines in batches.
pub(crate) struct Batches<'a> {
    store: &'a Store,
    progress: &'a Progress,
    cut: Cut,
    /// The next batch.
    batch: Batch,
    /// The lines of its operations.
    places: Vec<Place>,
    /// Bytes of them.
    bytes: usize,
    applied: Applied,
}

impl<'a> Batches<'a> {
    /// Commits to `store`; `progress` counts changed users and can cancel between batches.
    pub(crate) fn new(store: &'a Store, progress: &'a Progress, cut: Cut) -> Self {
        let applied = Applied { seq: store.snapshot().seq(), ..Applied::default() };
        Self { store, progress, cut, batch: Batch::new(), places: Vec::new(), bytes: 0, applied }
    }

    /// Reads all `lines`. `read` gives the operation of a line; `committed` is called after each batch.
    ///
    /// # Errors
    /// The first failure, with what was applied before it.
    pub(crate) fn run(
        mut self,
        lines: &mut Lines,
        mut read: impl FnMut(&mut Line<'_>) -> Result<Operation, ImportError>,
        mut committed: impl FnMut(&Applied) -> Result<(), Failure>,
    ) -> Result<Applied, Failure> {
        let name = lines.name().to_owned();
        loop {
            let mut line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return Err(self.unread(error)),
            };
            if self.is_full_before(line.len()) {
                self.commit(&name, &mut committed)?;
            }
            let at = line.position();
            let operation = read(&mut line).map_err(|error| self.unread(error))?;
            self.bytes += line.len();
            let new_uid = match &operation {
                Operation::Rename { new_uid, .. } => Some(new_uid.clone()),
                _ => None,
            };
            self.places.push(Place { number: at.number, offset: at.offset, new_uid });
            add(&mut self.batch, operation);
            if matches!(self.cut, Cut::Operations(most) if self.places.len() >= most) {
                self.commit(&name, &mut committed)?;
            }
        }
        if !self.places.is_empty() {
            self.commit(&name, &mut committed)?;
        }
        Ok(self.applied)
    }

    /// Whether a line of `len` bytes belongs to the next batch.
    fn is_full_before(&self, len: usize) -> bool {
        let full = self.places.len() >= OPERATIONS_MAX || self.bytes + len > BYTES_MAX;
        matches!(self.cut, Cut::Full) && full && !self.places.is_empty()
    }

    fn commit(
        &mut self,
        name: &str,
        committed: &mut impl FnMut(&Applied) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // Of what is left, the first lines last.
        let mut parts = vec![mem::take(&mut self.batch)];
        while let Some(mut part) = parts.pop() {
            if self.progress.is_cancelled() {
                return Err(self.unread(ImportError::Cancelled));
            }
            let lines = part.len();
            let commit = match self.store.commit(part.clone()) {
                Ok(commit) => commit,
                // How large the users are that lines are about, nobody knows before.
                Err(Error::TooLarge { .. }) if matches!(self.cut, Cut::Full) && lines > 1 => {
                    let rest = part.split_off(lines / 2);
                    parts.extend([rest, part]);
                    continue;
                }
                Err(Error::Refused(refusal)) => return Err(self.refused(name, &refusal)),
                Err(error) => return Err(self.uncommitted(lines, error)),
            };
            self.applied.lines = self.places.drain(..lines).next_back().map_or(self.applied.lines, |last| last.number);
            self.applied.operations += lines as u64;
            self.applied.changed += commit.changed;
            self.applied.batches += 1;
            self.applied.seq = commit.seq;
            self.progress.add_users(commit.changed);
            committed(&self.applied).map_err(|failure| self.stopped(failure, true))?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// An input that cannot be read, or a line that is no operation.
    fn unread(&self, error: ImportError) -> Failure {
        if self.progress.is_cancelled() {
            return self.stopped(Failure::new(Kind::Cancelled, "cancelled"), true);
        }
        let hint = match &error {
            ImportError::Record { at, .. } => Some(self.go_on(at.number)),
            _ => None,
        };
        // Its own hints are those of an import, which changes all or nothing.
        let failure = Failure { hint, ..Failure::from(error) };
        self.stopped(failure, true)
    }

    fn refused(&self, name: &str, refusal: &Refusal) -> Failure {
        let place = self.places.get(refusal.operation);
        let what = refusal_text(refusal, place.and_then(|place| place.new_uid.as_deref()));
        let Some(place) = place else { return self.stopped(Failure::failed(what), true) };
        let at = Position { file: name.to_owned(), unit: Unit::Line, number: place.number, offset: place.offset };
        self.stopped(Failure::failed(format!("{at}: {what}")).hint(self.go_on(place.number)), true)
    }

    /// A batch of the first `lines` that the store cannot take.
    fn uncommitted(&self, lines: usize, error: Error) -> Failure {
        let is_too_large = matches!(error, Error::TooLarge { .. });
        let settled = is_too_large || matches!(error, Error::Limit(_) | Error::Cancelled);
        let (first, last) = (self.places.first(), self.places.iter().take(lines).next_back());
        let doubtful = doubtful_hint(&error);
        let mut failure = Failure::from(error);
        if let (Some(hint), Some(last)) = (doubtful, last) {
            failure = failure.hint(format!("{hint}, then {}", self.applied.look_first(last.number)));
        }
        if settled && let (Some(first), Some(last)) = (first, last) {
            failure =
                Failure { error: format!("lines {} to {}: {failure}", first.number, last.number).into(), ..failure };
        }
        if is_too_large && lines > 1 {
            failure =
                failure.hint("a smaller --batch makes smaller batches; `headcount import` takes any number of users");
        }
        self.stopped(failure, settled)
    }

    fn stopped(&self, failure: Failure, settled: bool) -> Failure {
        let text = format!("{failure}; {}", self.applied.note(settled));
        failure.reworded(text)
    }

    /// What to do about a line that cannot be applied.
    fn go_on(&self, bad: u64) -> String {
        match self.applied.lines {
            0 => format!("mend line {bad} and run the command again"),
            lines => format!("mend line {bad} and run the command with the lines from {} on", lines + 1),
        }
    }
}

/// Adds an operation to a batch.
fn add(batch: &mut Batch, operation: Operation) {
    match operation {
        Operation::Put(user) => batch.put(user),
        Operation::Link { uid, identity } => batch.link(uid, identity),
        Operation::Unlink { uid, identity } => batch.unlink(uid, identity),
        Operation::SetStatus { uid, status } => batch.set_status(uid, status),
        Operation::Rename { uid, new_uid } => batch.rename(uid, new_uid),
        Operation::Delete { uid } => batch.delete(uid),
    };
}

/// What is wrong with an operation; `new_uid`: what a rename asked for.
pub(crate) fn refusal_text(refusal: &Refusal, new_uid: Option<&str>) -> String {
    match (&refusal.reason, new_uid) {
        (RefuseReason::UidTaken, Some(new_uid)) => {
            format!("user {:?} cannot be renamed: there is a user {new_uid:?} already", refusal.uid)
        }
        (reason, _) => format!("user {:?}: {reason}", refusal.uid),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::*;

    fn hint(applied: Applied, error: Error) -> Option<String> {
        let (store, progress) = (Store::temporary().unwrap(), Progress::default());
        let places =
            (applied.lines + 1..=applied.lines + 1000).map(|number| Place { number, offset: 0, new_uid: None });
        let mut batches = Batches::new(&store, &progress, Cut::Operations(1000));
        (batches.places, batches.applied) = (places.collect(), applied);
        batches.uncommitted(1000, error).hint
    }

    #[test]
    fn what_to_do_after_a_batch_that_failed_depends_on_what_is_certain() {
        let io = |kind: ErrorKind| Error::Io { op: "write", path: "s/delta-1".into(), source: io::Error::from(kind) };
        let poisoned = || Error::Poisoned { path: "s".into(), cause: "cannot fsync".to_owned() };
        let at = |lines, seq| Applied { lines, seq, ..Applied::default() };
        let of = |applied, error| hint(applied, error).unwrap_or_default();
        assert_eq!(
            of(at(8000, 9), io(ErrorKind::StorageFull)),
            "make room on that file system, then see how far it came with `headcount stats STORE`: at seq 9 run the command \
             with the lines from 8001 on, beyond that with the lines from 9001 on"
        );
        assert_eq!(
            of(at(0, 0), io(ErrorKind::QuotaExceeded)),
            "make room on that file system, then see how far it came with `headcount stats STORE`: at seq 0, or where there \
             is no store, run the command again, beyond that with the lines from 1001 on"
        );
        for error in [io(ErrorKind::Other), poisoned()] {
            let said = of(at(0, 7), error);
            assert!(said.starts_with("look at the disk, then see how far"), "{said}");
            assert!(
                said.ends_with("at seq 7 run the command again, beyond that with the lines from 1001 on"),
                "{said}"
            );
        }
        let large = Error::TooLarge { what: "bytes", max: 1, found: 2 };
        assert!(of(at(8000, 9), large).starts_with("a smaller --batch"));
        assert_eq!(hint(at(8000, 9), Error::Cancelled), None);
    }
}
