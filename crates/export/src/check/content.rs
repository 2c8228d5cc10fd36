//! What the content of an export says of itself, in whatever format.

use std::io::Read;

use super::csv;
use super::error::{Halt, Problem};
use super::json::{self, Trailer};
use super::tally::Tally;
use super::window::Window;
use crate::fields::Fields;
use crate::format::Format;

/// What was found.
pub(crate) struct Content {
    /// The fields, where the content shows them.
    pub(crate) fields: Option<Fields>,
    pub(crate) has_uids: bool,
    /// Whether it shows where one user ends and another begins.
    pub(crate) counts_users: bool,
    /// Whether it says who is gone.
    pub(crate) changes: bool,
    pub(crate) trailer: Option<Trailer>,
    pub(crate) tally: Tally,
}

/// Which format the content is in; `None` when it is empty, which NDJSON of no users is.
pub(crate) fn format(window: &mut Window<impl Read>) -> Result<Option<Format>, Halt> {
    window.fill(json::HEAD.len())?;
    let bytes = window.bytes();
    Ok(match bytes.first() {
        None => None,
        Some(b'{') if bytes.starts_with(json::HEAD) => Some(Format::Json),
        Some(b'{') => Some(Format::Ndjson),
        Some(_) => Some(Format::Csv),
    })
}

/// Reads all of the content in `format`.
pub(crate) fn read(window: &mut Window<impl Read>, format: Format, guarded: Option<bool>) -> Result<Content, Halt> {
    window.fill(json::HEAD.len())?;
    match format {
        Format::Ndjson => json::lines(window),
        Format::Csv => csv::rows(window, guarded),
        Format::Json => {
            let bytes = window.bytes();
            if bytes.starts_with(json::HEAD) {
                return json::document(window);
            }
            let problem = if json::HEAD.starts_with(bytes) {
                window.cut_short("the JSON document")
            } else {
                window.bad(0, "{\"users\":[ as a JSON export begins")
            };
            Err(problem.into())
        }
    }
}

impl Content {
    /// Compares the counts in the content with what was counted.
    pub(crate) fn check_trailer(&self) -> Result<(), Problem> {
        let Some(trailer) = &self.trailer else { return Ok(()) };
        let (users, identities) = (self.tally.users, self.tally.identities);
        if (trailer.status_code, trailer.error_code) != (200, 0) {
            let (status, code) = (trailer.status_code, trailer.error_code);
            return Err(Problem::BrokenOff { status, code, users });
        }
        let counts = [
            ("users", "usersCount", trailer.users_count, users),
            ("identities", "identitiesCount", trailer.identities_count, identities),
        ];
        for (what, by, expected, found) in counts {
            if expected != found {
                return Err(Problem::Count { what, by, expected, found });
            }
        }
        Ok(())
    }
}
