//! Whether a record of the log is one that a commit can have written: bytes with the right checksum may be anybody's.

use std::path::Path;

use headcount_block::{RowBuf, RowRef};

use super::{Logged, Record, damage};
use crate::error::Result;

/// Checks records by writing their users again.
#[derive(Debug, Default)]
pub(super) struct Checker {
    row: RowBuf,
}

impl Checker {
    /// Checks what bincode cannot: that rows are rows, byte for byte as they are encoded, and UIDs are UIDs.
    ///
    /// # Errors
    /// [`Error::Damage`](crate::Error::Damage) of the log in `path`, with the seq of the record and what is wrong there.
    pub(super) fn check(&mut self, path: &Path, record: &Record) -> Result<()> {
        record.changes.iter().try_for_each(|change| {
            let wrong = match change {
                Logged::Row(bytes) => self.row(bytes),
                Logged::Deleted(uid) => self.uid(uid),
            };
            wrong.map_err(|found| {
                let what = format!("record of the log with seq {}", record.seq);
                damage(path, 0, &what, "users and UIDs as commits write them", found)
            })
        })
    }

    fn row(&mut self, bytes: &[u8]) -> Result<(), String> {
        let user = RowRef::parse(bytes).and_then(|row| row.to_user()).map_err(|fault| fault.to_string())?;
        let again = self.row.encode(&user).map_err(|limit| limit.to_string())?;
        if again.as_bytes() == bytes {
            return Ok(());
        }
        Err(format!("{} bytes of a user that has {} when encoded", bytes.len(), again.as_bytes().len()))
    }

    fn uid(&mut self, uid: &[u8]) -> Result<(), String> {
        let uid = std::str::from_utf8(uid).map_err(|error| error.to_string())?;
        self.row.set_uid(uid).map_err(|limit| limit.to_string())
    }
}
