//! What changed since a seq: users in their newest form, and who is gone from the selection.
//!
//! Each format says it in its way: JSON lists `deletedUIDs` after the users, for which the changes are gone through a
//! second time; an NDJSON line is `{"UID":…,"deleted":true}`; CSV begins with a column `change`.
//!
//! Since 0 the users are all there are: where nobody who is gone comes between them, they are rendered as those of a whole
//! export, by the kernel and by all threads.

use headcount_block::{Change, Error as SourceError, Progress, Source, UserRef};

use crate::body::Body;
use crate::buffer::{Buffer, CHUNK, Counts};
use crate::error::Error;
use crate::fields::Field;
use crate::format::Format;
use crate::layout::Layout;
use crate::simple::{csv_value, json_text, render_user};

/// Ends JSON's users and begins those who are gone.
const DELETED: &[u8] = b"],\"deletedUIDs\":[";

/// Whether to go on is asked once in so many changes.
const OFTEN: usize = 4096;

/// What was written besides the users that the body counts.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// UIDs that were written as gone.
    pub(crate) deleted: u64,
    /// The first and the last user that was written.
    pub(crate) first: Option<Vec<u8>>,
    pub(crate) last: Option<Vec<u8>>,
}

/// Writes what changed in `source` after `since`.
///
/// # Errors
/// What the source reports, [`SourceError::TooOld`] among it before anything is written, and what the sink reports.
pub(crate) fn write(source: &impl Source, layout: &Layout, since: u64, body: &mut Body<'_>) -> Result<Found, Error> {
    let json = layout.format == Format::Json;
    let mut pass = Pass { layout, body, buffer: Buffer::short(), scratch: Vec::new(), found: Found::default() };
    run(source, since, pass.body.progress(), |change| match kept(layout, change) {
        Change::User(user) => pass.user(&user),
        Change::Deleted(_) if json => Ok(()),
        Change::Deleted(uid) => pass.line(uid),
    })?;
    pass.flush()?;
    if json {
        pass.deleted(source, since)?;
    }
    Ok(pass.found)
}

/// Whether what changed since `since` is all users, with nobody between them who is gone.
pub(crate) fn is_whole(source: &impl Source, layout: &Layout, since: u64) -> bool {
    since == 0 && (layout.format == Format::Json || is_nobody_gone(source, layout))
}

/// Whether everybody in `source` is in the selection.
fn is_nobody_gone(source: &impl Source, layout: &Layout) -> bool {
    layout.include_pending || source.totals().pending.users == 0
}

/// Ends the users of what [`is_whole`], which `body` has, with those who are gone.
///
/// # Errors
/// As [`write`].
pub(crate) fn end(source: &impl Source, layout: &Layout, body: &mut Body<'_>) -> Result<u64, Error> {
    if layout.format != Format::Json {
        return Ok(0);
    }
    let mut pass = Pass { layout, body, buffer: Buffer::short(), scratch: Vec::new(), found: Found::default() };
    if is_nobody_gone(source, layout) {
        pass.buffer.extend(DELETED);
        pass.flush_rest()?;
    } else {
        pass.deleted(source, 0)?;
    }
    Ok(pass.found.deleted)
}

/// A user who is not in the selection is gone from it.
fn kept<'c>(layout: &Layout, change: Change<'c>) -> Change<'c> {
    match change {
        Change::User(user) if !layout.keeps(user.status()) => Change::Deleted(user.uid()),
        other => other,
    }
}

/// Goes through the changes; `each` ends it with an error of its own.
fn run(
    source: &impl Source,
    since: u64,
    progress: Option<&Progress>,
    mut each: impl FnMut(Change<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut seen = 0_usize;
    let mut each = |change: Change<'_>| {
        // Those that are not written fill no buffer.
        if let Some(progress) = progress.filter(|_| seen.is_multiple_of(OFTEN)) {
            progress.check()?;
        }
        seen += 1;
        each(change)
    };
    let mut refused = None;
    // Nor do blocks without any.
    let go_on = || progress.map_or(Ok(()), |progress| Ok(progress.check()?));
    let outcome = source.changes_while(since, &go_on, &mut |change| {
        each(change).map_err(|error| {
            refused = Some(error);
            SourceError::Stopped
        })
    });
    match refused {
        Some(error) => Err(error),
        None => Ok(outcome?),
    }
}

struct Pass<'a, 'b> {
    layout: &'a Layout,
    body: &'a mut Body<'b>,
    buffer: Buffer,
    scratch: Vec<u8>,
    found: Found,
}

impl Pass<'_, '_> {
    /// JSON's list of those who are gone.
    fn deleted(&mut self, source: &impl Source, since: u64) -> Result<(), Error> {
        self.buffer.extend(DELETED);
        let layout = self.layout;
        run(source, since, self.body.progress(), |change| match kept(layout, change) {
            Change::User(_) => Ok(()),
            Change::Deleted(uid) => self.element(uid),
        })?;
        self.flush_rest()
    }

    fn user(&mut self, user: &UserRef<'_>) -> Result<(), Error> {
        self.scratch.clear();
        render_user(self.layout, user, &mut self.scratch);
        self.buffer.extend(&self.scratch);
        self.buffer.counts += Counts { users: 1, identities: user.identities().count() as u64 };
        if self.found.first.is_none() {
            self.found.first = Some(user.uid().to_vec());
        }
        let last = self.found.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(user.uid());
        if self.buffer.len() < CHUNK { Ok(()) } else { self.flush() }
    }

    /// A line of NDJSON or CSV for a user who is gone.
    fn line(&mut self, uid: &[u8]) -> Result<(), Error> {
        self.found.deleted += 1;
        self.scratch.clear();
        if self.layout.format == Format::Ndjson {
            self.scratch.extend_from_slice(b"{\"UID\":\"");
            json_text(uid, &mut self.scratch);
            self.scratch.extend_from_slice(b"\",\"deleted\":true}\n");
        } else {
            self.scratch.extend_from_slice(b"delete");
            for field in self.layout.fields.iter() {
                self.scratch.push(b',');
                if field == Field::Uid {
                    csv_value(self.layout, uid, &mut self.scratch);
                }
            }
            self.scratch.extend_from_slice(b"\r\n");
        }
        self.buffer.extend(&self.scratch);
        if self.buffer.len() < CHUNK { Ok(()) } else { self.flush() }
    }

    /// A string of JSON's `deletedUIDs`.
    fn element(&mut self, uid: &[u8]) -> Result<(), Error> {
        self.scratch.clear();
        self.scratch.extend_from_slice(if self.found.deleted == 0 { b"\"" } else { b",\"" });
        self.found.deleted += 1;
        json_text(uid, &mut self.scratch);
        self.scratch.push(b'"');
        self.buffer.extend(&self.scratch);
        if self.buffer.len() < CHUNK { Ok(()) } else { self.flush_rest() }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.body.users(&mut self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn flush_rest(&mut self) -> Result<(), Error> {
        self.body.rest(&mut self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
