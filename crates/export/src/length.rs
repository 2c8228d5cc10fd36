//! The length of an export, computed from sums: no user is looked at.

use headcount_block::{ClassSums, Status, Totals};

use crate::fields::Field;
use crate::format::Format;
use crate::layout::Layout;

/// The length of an export in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Exactly so many bytes will be written.
    Exact(u64),
    /// It is not known without a pass over the users.
    Unknown,
}

impl Length {
    /// The length, when it is known.
    #[must_use]
    pub const fn exact(self) -> Option<u64> {
        match self {
            Self::Exact(n) => Some(n),
            Self::Unknown => None,
        }
    }
}

/// Length in bytes of the rendered users of these sums, without head and trailer; JSON's commas between users included.
///
/// Pending users count only when the layout includes them. `None` with the formula guard, which adds what no sum states.
pub(crate) fn users_len(layout: &Layout, totals: &Totals) -> Option<u64> {
    if layout.formula_guard {
        return None;
    }
    let totals = totals.selected(layout.include_pending);
    let class = |sums: &ClassSums, status: Status| match layout.format {
        Format::Json | Format::Ndjson => json_len(layout, sums, status),
        Format::Csv => csv_len(layout, sums, status),
    };
    let len = class(&totals.registered, Status::Registered).wrapping_add(class(&totals.pending, Status::Pending));
    // Sums that were read from damaged bytes must not panic; a wrong length is found out by comparison.
    let between = match layout.format {
        Format::Json => totals.users().saturating_sub(1),
        Format::Ndjson => totals.users(),
        Format::Csv => 0,
    };
    Some(len.wrapping_add(between))
}

/// Length of a text of this program.
const fn len(text: &str) -> u64 {
    text.len() as u64
}

const fn if_asked(asked: bool, n: u64) -> u64 {
    if asked { n } else { 0 }
}

/// Objects without the commas or line ends between them.
fn json_len(layout: &Layout, sums: &ClassSums, status: Status) -> u64 {
    let has = |field| layout.fields.has(field);
    let members =
        u64::from(has(Field::Uid)) + u64::from(has(Field::Status)) + u64::from(layout.fields.has_identities());
    let uid = if_asked(has(Field::Uid), len("\"UID\":\"\""));
    let state = if_asked(has(Field::Status), len("\"status\":\"\"") + len(status.as_str()));
    let list = if_asked(layout.fields.has_identities(), len("\"identities\":[]"));
    let a_user = len("{}") + uid + state + list + members.saturating_sub(1);

    let provider = if_asked(has(Field::Provider), len("\"provider\":\"\""));
    let provider_uid = if_asked(has(Field::ProviderUid), len("\"providerUID\":\"\""));
    let both = u64::from(has(Field::Provider) && has(Field::ProviderUid));
    let an_identity = if_asked(layout.fields.has_identities(), len("{}") + provider + provider_uid + both);
    // One comma less than identities, for every user that has any.
    let linked = sums.users.wrapping_sub(sums.bare_users);
    let commas = if_asked(layout.fields.has_identities(), sums.identities.wrapping_sub(linked));

    let text = if_asked(has(Field::Uid), sums.json_uid)
        .wrapping_add(if_asked(has(Field::Provider), sums.json_provider))
        .wrapping_add(if_asked(has(Field::ProviderUid), sums.json_provider_uid));
    text.wrapping_add(sums.users.wrapping_mul(a_user))
        .wrapping_add(sums.identities.wrapping_mul(an_identity))
        .wrapping_add(commas)
}

/// Rows, without the header.
fn csv_len(layout: &Layout, sums: &ClassSums, status: Status) -> u64 {
    let has = |field| layout.fields.has(field);
    let by_identity = layout.fields.has_identities();
    let rows = if by_identity { sums.identities.wrapping_add(sums.bare_users) } else { sums.users };
    let columns = layout.fields.iter().count() as u64;
    let change = if_asked(layout.changes, len("upsert,"));
    let a_row = change + columns.saturating_sub(1) + len("\r\n") + if_asked(has(Field::Status), len(status.as_str()));
    let uid = if by_identity { sums.csv_uid_rows } else { sums.csv_uid };
    let text = if_asked(has(Field::Uid), uid)
        .wrapping_add(if_asked(has(Field::Provider), sums.csv_provider))
        .wrapping_add(if_asked(has(Field::ProviderUid), sums.csv_provider_uid));
    // The row of a user without identities is empty when the only column is one of identities: two quotes.
    let quotes = if_asked(by_identity && columns == 1, sums.bare_users.wrapping_mul(len("\"\"")));
    text.wrapping_add(rows.wrapping_mul(a_row)).wrapping_add(quotes)
}
