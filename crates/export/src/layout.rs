//! What the users of an export look like: the parameters that rendering depends on.

use headcount_block::{Status, Totals};

use crate::buffer::Counts;
use crate::fields::{Field, Fields};
use crate::format::Format;

/// The parameters of rendering.
///
/// JSON users are rendered with a comma before each; the first of an export is dropped by `body.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    pub(crate) fields: Fields,
    pub(crate) include_pending: bool,
    pub(crate) formula_guard: bool,
    /// Whether this is what changed: CSV then begins with a column `change`.
    pub(crate) changes: bool,
}

impl Layout {
    /// Whether users of this status are exported.
    pub(crate) fn keeps(&self, status: Status) -> bool {
        self.include_pending || status == Status::Registered
    }

    /// What a user's object or row ends with, after its last identity. It is the same for every user of a layout.
    pub(crate) fn close(&self) -> &'static [u8] {
        match self.format {
            Format::Json if self.fields.has_identities() => b"]}",
            Format::Ndjson if self.fields.has_identities() => b"]}\n",
            _ => b"",
        }
    }

    /// Whether the kernel renders this layout: all of them, but for CSV columns whose order is not that of the text in
    /// blocks (UID, provider, providerUID; the status anywhere) or that have the column `change` before them, and the formula
    /// guard, which looks at every value.
    pub(crate) fn is_fast(&self) -> bool {
        let rank = |field: Field| match field {
            Field::Uid => Some(0),
            Field::Provider => Some(1),
            Field::ProviderUid => Some(2),
            Field::Status => None,
        };
        let in_order = || !self.changes && self.fields.iter().filter_map(rank).is_sorted();
        !self.formula_guard && (self.format != Format::Csv || in_order())
    }

    /// Counts as exports state them: no identities when no field of theirs is asked for.
    pub(crate) fn state(&self, counts: Counts) -> Counts {
        if self.fields.has_identities() { counts } else { Counts { identities: 0, ..counts } }
    }

    /// What an export of users with these sums states.
    pub(crate) fn stated(&self, totals: &Totals) -> Counts {
        let totals = totals.selected(self.include_pending);
        self.state(Counts { users: totals.users(), identities: totals.identities() })
    }

    /// What stands before the first user.
    pub(crate) fn head(&self) -> Vec<u8> {
        match self.format {
            Format::Json => b"{\"users\":[".to_vec(),
            Format::Csv if self.changes => format!("change,{}\r\n", self.fields).into_bytes(),
            Format::Csv => format!("{}\r\n", self.fields).into_bytes(),
            Format::Ndjson => Vec::new(),
        }
    }
}
