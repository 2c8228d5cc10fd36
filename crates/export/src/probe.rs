//! The first and the last UID of an export, looked up afterwards in the parts at its ends.

use headcount_block::{Error as SourceError, Part, RowRef, Source, Span, Status, UserRef, Visitor};

use crate::error::Error;
use crate::layout::Layout;

/// Finds the first or the last exported user of a part.
struct Probe<'a> {
    layout: &'a Layout,
    last: bool,
    uid: Option<String>,
}

impl Probe<'_> {
    fn see(&mut self, uid: &[u8], status: Status) -> bool {
        let kept = self.layout.keeps(status);
        if kept {
            self.uid = Some(String::from_utf8_lossy(uid).into_owned());
        }
        kept
    }

    /// A first user that was found ends the visit.
    const fn next(&self) -> Result<(), SourceError> {
        if self.uid.is_some() && !self.last { Err(SourceError::Stopped) } else { Ok(()) }
    }
}

impl Visitor for Probe<'_> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), SourceError> {
        let last = self.last;
        let mut see = |ordinal| {
            let user = span.block().user(ordinal).map_err(|fault| span.damage(fault))?;
            Ok::<_, SourceError>(self.see(user.uid(), user.status()))
        };
        let mut ordinals = span.ordinals().clone();
        while let Some(ordinal) = if last { ordinals.next_back() } else { ordinals.next() } {
            if see(ordinal)? {
                break;
            }
        }
        self.next()
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), SourceError> {
        let user = UserRef::from(row);
        self.see(user.uid(), user.status());
        self.next()
    }
}

/// UID of the first exported user of `part`, or of the last.
///
/// # Errors
/// What the source reports.
pub(crate) fn end_uid(
    source: &impl Source,
    layout: &Layout,
    part: Option<&Part>,
    last: bool,
) -> Result<Option<String>, Error> {
    let Some(part) = part else { return Ok(None) };
    let mut probe = Probe { layout, last, uid: None };
    match source.visit(part, &mut probe) {
        Ok(()) | Err(SourceError::Stopped) => Ok(probe.uid),
        Err(error) => Err(error.into()),
    }
}
