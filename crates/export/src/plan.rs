//! What is settled before the first byte: the range of UIDs, the sums, the length.

use std::ops::Bound;

use headcount_block::{Cut, Progress, Scan, Select, Source, Totals, UidRange};

use crate::envelope::Trailer;
use crate::error::Error;
use crate::format::Format;
use crate::layout::Layout;
use crate::length::{Length, users_len};

/// Which users an export writes.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The users, or `None` when there are none.
    pub(crate) range: Option<UidRange>,
    /// Their sums, where they are known without a pass over the users.
    pub(crate) totals: Option<Totals>,
    /// The last UID of a page that the limit cuts.
    pub(crate) end: Option<Vec<u8>>,
    /// Whether it is the rest of an export whose beginning is elsewhere.
    pub(crate) is_rest: bool,
}

impl Plan {
    /// Settles `select`. Its sums may cost a pass over the users, where `scan` allows it and `progress` is not cancelled.
    ///
    /// # Errors
    /// What the source reports, and cancellation.
    pub(crate) fn new(
        source: &impl Source,
        select: &Select,
        scan: Scan,
        progress: Option<&Progress>,
    ) -> Result<Self, Error> {
        if select.limit == Some(0) {
            return Ok(Self { range: None, totals: Some(Totals::default()), end: None, is_rest: false });
        }
        let go_on = || progress.map_or(Ok(()), |progress| Ok(progress.check()?));
        let measured = source.measure_while(select, scan, &go_on)?;
        let start = select.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let (totals, end) = measured.map_or((None, None), |m| (Some(m.totals), m.end));
        let range = UidRange { start, end: end.clone().map_or(Bound::Unbounded, Bound::Included) };
        Ok(Self { range: Some(range), totals, end, is_rest: false })
    }

    /// The plan of the same export without what lies before `cut`.
    pub(crate) fn rest(&self, cut: Cut) -> Self {
        let range =
            self.range.as_ref().map(|range| UidRange { start: Bound::Included(cut.uid), end: range.end.clone() });
        let totals = self.totals.map(|mut totals| {
            totals -= cut.before;
            totals
        });
        Self { range, totals, end: self.end.clone(), is_rest: true }
    }

    /// Length of the rendered users, where it is known.
    pub(crate) fn users_len(&self, layout: &Layout) -> Option<u64> {
        users_len(layout, self.totals.as_ref()?)
    }

    /// Length of the whole export.
    pub(crate) fn length(&self, layout: &Layout, trailer: &Trailer) -> Length {
        let (Some(totals), Some(users)) = (&self.totals, self.users_len(layout)) else { return Length::Unknown };
        let trailer = match layout.format {
            Format::Json => trailer.success(layout.stated(totals)).len(),
            Format::Csv | Format::Ndjson => 0,
        };
        Length::Exact(users.wrapping_add((layout.head().len() + trailer) as u64))
    }
}
