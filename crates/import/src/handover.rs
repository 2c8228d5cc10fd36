//! The handover: the users of a snapshot, written for another system, in one pass, with bounded memory.

use std::fmt;
use std::io::{self, Write};
use std::ops::Bound;
use std::path::Path;

use headcount_block::{
    Error as SourceError, Identity, Progress, RowRef, Scan, Select, Source, Span, Status, UidRange, User, UserRef,
    Visitor,
};

use crate::back::{Back, Leaving, Link, Longest, back_of};
use crate::format::Format;
use crate::handover_report::{HandoverReport, Misfit};
use crate::own;
use crate::systems::BACK;
use tally::Tally;

mod tally;

/// Bytes that are gathered before they are written.
const PIECE: usize = 64 << 10;
/// Users between two looks at whether the handover was cancelled.
const BREATH: u64 = 1024;

/// The users of one snapshot, for another system: all registered ones, unless set otherwise.
///
/// What the system has no place for is counted and reported, and written to [`rejects`](Self::rejects); unless
/// [`allow_partial`](Self::allow_partial) is set, it ends the handover after the last user, before the document is closed.
pub struct Handover<'s, S> {
    source: &'s S,
    back: &'static Back,
    lines: bool,
    select: Select,
    partial: bool,
    progress: Option<&'s Progress>,
    rejects: Option<&'s mut dyn Write>,
}

impl<S> fmt::Debug for Handover<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").field("format", &self.back.format).finish_non_exhaustive()
    }
}

/// Why a handover failed. Whatever was written before is no whole file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// Users are read in this format, and not written.
    #[error("users are not written as {0}: expected {expected}", expected = written())]
    Format(Format),
    /// The format is one document.
    #[error("{0} is one document, not one object a line")]
    Document(Format),
    /// The users could not be read: damage, or a failing disk.
    #[error(transparent)]
    Source(SourceError),
    /// The users that came are not as many as the snapshot states: damage that no checksum showed.
    #[error("damage: the snapshot states {expected} {what}, {found} came")]
    Mismatch {
        /// `users` or `identities`.
        what: &'static str,
        /// What the snapshot states.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The destination took no more.
    #[error("cannot write the users: {0}")]
    Write(#[source] io::Error),
    /// The file of what has no place took no more.
    #[error("cannot write the file of what has no place: {0}")]
    Rejects(#[source] io::Error),
    /// Some of it has no place in the other system, and that was not allowed.
    #[error(
        "{} users and {} identities have no place in {system}",
        report.users_left_out, report.identities_left_out
    )]
    Misfits {
        /// Name of the system.
        system: &'static str,
        /// What there was.
        report: Box<HandoverReport>,
    },
    /// The handover was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl HandoverError {
    /// Whether the stored users are damaged, as opposed to a passing fault.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Source(error) => error.is_damage(),
            Self::Mismatch { .. } => true,
            _ => false,
        }
    }
}

impl From<SourceError> for HandoverError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Cancelled(_) => Self::Cancelled,
            other => Self::Source(other),
        }
    }
}

/// The names of the formats that are written.
fn written() -> String {
    BACK.map(|back| back.format.as_str()).join(", ")
}

impl<'s, S: Source> Handover<'s, S> {
    /// A handover of `source` in `format`.
    ///
    /// # Errors
    /// [`HandoverError::Format`].
    pub fn new(source: &'s S, format: Format) -> Result<Self, HandoverError> {
        let back = back_of(format).ok_or(HandoverError::Format(format))?;
        let select = Select::default();
        Ok(Self { source, back, lines: false, select, partial: false, progress: None, rejects: None })
    }

    /// Name of the system, and what its importer needs besides the file.
    #[must_use]
    pub const fn system(&self) -> (&'static str, &'static str) {
        (self.back.system, self.back.needs)
    }

    /// Whether the system can have pending users. Where it cannot, those that are asked for are left out as misfits.
    #[must_use]
    pub const fn takes_pending(&self) -> bool {
        self.back.room.pending
    }

    /// Writes one object a line, without an array around them.
    ///
    /// # Errors
    /// [`HandoverError::Document`] when the format is one document.
    pub fn lines(mut self, on: bool) -> Result<Self, HandoverError> {
        if on && !self.back.lines {
            return Err(HandoverError::Document(self.back.format));
        }
        self.lines = on;
        Ok(self)
    }

    /// Writes at most so many users: the first in UID order, whether or not they have a place.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Option<u64>>) -> Self {
        self.select.limit = limit.into();
        self
    }

    /// Writes users whose UID sorts after this one.
    #[must_use]
    pub fn after<'u>(mut self, uid: impl Into<Option<&'u str>>) -> Self {
        self.select.after = uid.into().map(|uid| uid.as_bytes().to_vec());
        self
    }

    /// Writes pending users too, as disabled ones where the system has these.
    #[must_use]
    pub const fn include_pending(mut self, on: bool) -> Self {
        self.select.include_pending = on;
        self
    }

    /// Leaves out what has no place, instead of failing.
    #[must_use]
    pub const fn allow_partial(mut self, allow: bool) -> Self {
        self.partial = allow;
        self
    }

    /// Reports progress to, and takes cancellation from, `progress`.
    #[must_use]
    pub const fn progress(mut self, progress: &'s Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Where everything goes that has no place, as NDJSON of our own: users that are left out, and of others the identities
    /// that are. Imported beside the file, with users that are there merged, it makes up for what the file lacks.
    #[must_use]
    pub fn rejects(mut self, rejects: Option<&'s mut dyn Write>) -> Self {
        self.rejects = rejects;
        self
    }

    /// Writes the users to `out`.
    ///
    /// # Errors
    /// What the source and the destinations report, cancellation, and [`HandoverError::Misfits`].
    pub fn run(self, out: &mut dyn Write) -> Result<HandoverReport, HandoverError> {
        let Self { source, back, lines, select, partial, progress, rejects } = self;
        // A limit needs the UID that it ends at; sums are good to have, but nothing depends on them.
        let scan = if select.limit.is_some() { Scan::Allowed } else { Scan::Never };
        let go_on = || progress.map_or(Ok(()), |progress| Ok(progress.check()?));
        let measured = source.measure_while(&select, scan, &go_on)?;
        let end = measured.as_ref().and_then(|measured| measured.end.clone());
        let start = select.after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = UidRange { start, end: end.map_or(Bound::Unbounded, Bound::Included) };
        let totals = measured.map(|measured| measured.totals.selected(select.include_pending));
        if let (Some(progress), Some(totals)) = (progress, &totals) {
            progress.set_total_users(totals.users());
        }
        let mut pass = Pass {
            back,
            lines,
            pending: select.include_pending,
            progress,
            out,
            rejects,
            piece: Vec::with_capacity(PIECE * 2),
            tally: Tally::new(),
            refused: None,
        };
        if !lines {
            pass.piece.extend_from_slice(back.head.as_bytes());
        }
        if select.limit != Some(0) {
            pass.users(source, &range)?;
        }
        for (what, expected, found) in [
            ("users", totals.as_ref().map(headcount_block::Totals::users), pass.tally.seen),
            ("identities", totals.as_ref().map(headcount_block::Totals::identities), pass.tally.seen_identities),
        ] {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(HandoverError::Mismatch { what, expected, found });
            }
        }
        pass.end(partial, source.origin().seq)
    }
}

/// One pass over the users.
struct Pass<'a, 's> {
    back: &'static Back,
    lines: bool,
    pending: bool,
    progress: Option<&'s Progress>,
    out: &'a mut dyn Write,
    rejects: Option<&'s mut dyn Write>,
    /// Written, but not yet handed on.
    piece: Vec<u8>,
    tally: Tally,
    /// Why it ended early; the source only hears that it should stop.
    refused: Option<HandoverError>,
}

impl Pass<'_, '_> {
    fn users<S: Source>(&mut self, source: &S, range: &UidRange) -> Result<(), HandoverError> {
        for part in source.parts(range)? {
            let part = part?;
            let outcome = source.visit(&part, self);
            if let Some(error) = self.refused.take() {
                return Err(error);
            }
            outcome?;
        }
        Ok(())
    }

    fn end(mut self, partial: bool, seq: u64) -> Result<HandoverReport, HandoverError> {
        if let Some(rejects) = &mut self.rejects {
            rejects.flush().map_err(HandoverError::Rejects)?;
        }
        let tally = std::mem::replace(&mut self.tally, Tally::new());
        let report = tally.finish(self.back.format, seq);
        if !partial && !report.is_whole() {
            return Err(HandoverError::Misfits { system: self.back.system, report: Box::new(report) });
        }
        if !self.lines {
            self.piece.extend_from_slice(b"\n");
            self.piece.extend_from_slice(self.back.tail.as_bytes());
            self.piece.extend_from_slice(b"\n");
        }
        self.hand_on()?;
        self.out.flush().map_err(HandoverError::Write)?;
        Ok(report)
    }

    fn hand_on(&mut self) -> Result<(), HandoverError> {
        let handed = self.out.write_all(&self.piece).map_err(HandoverError::Write);
        self.piece.clear();
        handed
    }

    fn show(&mut self, user: &UserRef<'_>) -> Result<(), SourceError> {
        if user.status() == Status::Pending && !self.pending {
            return Ok(());
        }
        // Only damage makes text that is none.
        let user = user.to_user().map_err(|fault| fault.at(Path::new("a user of the source"), 0))?;
        self.user(user).map_err(|error| {
            self.refused = Some(error);
            SourceError::Stopped
        })
    }

    fn user(&mut self, mut user: User) -> Result<(), HandoverError> {
        self.tally.see(&user);
        if let Some(progress) = self.progress
            && self.tally.seen.is_multiple_of(BREATH)
        {
            progress.check().map_err(|_| HandoverError::Cancelled)?;
            progress.add_users(BREATH);
        }
        if let Some((reason, message)) = misfit_of(self.back, &user) {
            self.tally.leave_user(&user, reason, message);
            return self.reject(&user);
        }
        let (leaving, lost) = fit(self.back, &user, &mut self.tally);
        self.write(&leaving)?;
        if lost.is_empty() {
            return Ok(());
        }
        user.identities = lost;
        self.reject(&user)
    }

    fn write(&mut self, user: &Leaving<'_>) -> Result<(), HandoverError> {
        if !self.lines {
            self.piece.extend_from_slice(if self.tally.users > 1 { b",\n" } else { b"\n" });
        }
        (self.back.write)(user, &mut self.piece).map_err(|error| HandoverError::Write(error.into()))?;
        if self.lines {
            self.piece.push(b'\n');
        }
        if self.piece.len() >= PIECE { self.hand_on() } else { Ok(()) }
    }

    fn reject(&mut self, user: &User) -> Result<(), HandoverError> {
        let Some(mut rejects) = self.rejects.as_mut() else { return Ok(()) };
        own::write_line(&mut rejects, user).map_err(HandoverError::Rejects)
    }
}

impl Visitor for Pass<'_, '_> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), SourceError> {
        span.rows()?.try_for_each(|user| self.show(&user?))
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), SourceError> {
        self.show(&row.into())
    }
}

/// Length in UTF-16 code units, by which Firebase counts; for nearly all text that is characters.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Why a user as a whole has no place.
fn misfit_of(back: &Back, user: &User) -> Option<(Misfit, String)> {
    if user.status == Status::Pending && !back.room.pending {
        return Some((Misfit::Pending, format!("{} knows no pending users", back.system)));
    }
    let found = length(&user.uid);
    let max = back.room.uid;
    (found > max).then(|| {
        let message = format!("its UID has {found} characters: {} takes {max} at most", back.system);
        (Misfit::LongUid, message)
    })
}

/// The user as it is written, counted; and the identities that have no place.
fn fit<'u>(back: &'static Back, user: &'u User, tally: &mut Tally) -> (Leaving<'u>, Vec<Identity>) {
    let disabled = user.status == Status::Pending;
    let mut leaving = Leaving { uid: &user.uid, disabled, links: Vec::new(), members: Vec::new() };
    let mut lost = Vec::new();
    for identity in &user.identities {
        match place_of(back, identity, &leaving) {
            Ok(Place::Link(link)) => {
                leaving.links.push(link);
                tally.write_identity(&identity.provider, link.provider);
            }
            Ok(Place::Member(name)) => {
                leaving.members.push((name, &identity.provider_uid));
                tally.write_identity(&identity.provider, name);
            }
            Err((reason, message)) => {
                tally.leave_identity(&user.uid, identity, reason, message);
                lost.push(identity.clone());
            }
        }
    }
    tally.write_user(disabled, !lost.is_empty());
    (leaving, lost)
}

/// Where an identity is written.
enum Place<'u> {
    Link(Link<'u>),
    Member(&'static str),
}

/// Where `identity` has its place beside what the user has already, or why it has none.
fn place_of<'u>(back: &Back, identity: &'u Identity, user: &Leaving<'u>) -> Result<Place<'u>, (Misfit, String)> {
    let (system, room) = (back.system, &back.room);
    let (provider, provider_uid) = (back.names.of(&identity.provider), identity.provider_uid.as_str());
    if let Some(member) = room.members.iter().find(|member| member.provider == provider) {
        if !(member.holds)(provider_uid) {
            return Err((Misfit::Text, format!("{system} has it as {:?}, which cannot be that", member.name)));
        }
        if user.members.iter().any(|(name, _)| *name == member.name) {
            return Err((Misfit::OneEach, format!("{system} has one {:?} for a user", member.name)));
        }
        return Ok(Place::Member(member.name));
    }
    if !room.providers.is_empty() && !room.providers.contains(&provider) {
        return Err((Misfit::Provider, format!("{system} takes {} only", room.providers.join(", "))));
    }
    let (found, max, what) = match room.identity {
        Longest::Any => (0, 0, ""),
        Longest::ProviderUid(max) => (length(provider_uid), max, "its providerUID"),
        Longest::Both(max) => (length(provider) + 1 + length(provider_uid), max, "provider:providerUID"),
    };
    if found > max {
        return Err((Misfit::LongIdentity, format!("{what} has {found} characters: {system} takes {max} at most")));
    }
    let link = Link { provider, provider_uid };
    if user.links.contains(&link) {
        return Err((Misfit::Repeated, format!("in {system} it is {provider:?}, and the user has that already")));
    }
    if room.one_each && user.links.iter().any(|other| other.provider == provider) {
        return Err((Misfit::OneEach, format!("a user has one identity of a provider in {system}, the first")));
    }
    Ok(Place::Link(link))
}
