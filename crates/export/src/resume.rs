//! The resume record: what a file in work is an export of, so that a broken one can be continued.

use std::path::{Path, PathBuf};

use headcount_block::Origin;
use serde::{Deserialize, Serialize};

use crate::compress::Compression;
use crate::digest::DigestAlgorithm;
use crate::envelope;
use crate::error::Error;
use crate::fields::Fields;
use crate::file;
use crate::format::Format;

/// The version of records that this program writes, and the only one that it reads.
pub const RESUME_VERSION: u32 = 1;

/// Everything that the bytes of an export depend on: `NAME.partial.json` beside `NAME.partial`.
///
/// Its JSON names are those of the fields in camel case, ids are 32 hexadecimal digits. A field that this version does
/// not know would be one that changes the bytes: it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ResumeRecord {
    /// [`RESUME_VERSION`].
    pub version: u32,
    /// The program that wrote it, such as `headcount 0.1.0`.
    pub writer: String,
    /// Id of the store.
    #[serde(with = "hex_id")]
    pub store_id: u128,
    /// The store's incarnation.
    #[serde(with = "hex_id")]
    pub incarnation: u128,
    /// The last seq of the snapshot.
    pub seq: u64,
    /// The format.
    pub format: Format,
    /// The fields, in order.
    pub fields: Fields,
    /// Whether pending users are exported.
    pub include_pending: bool,
    /// Whether CSV values that look like formulas are guarded.
    pub formula_guard: bool,
    /// At most so many users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Users after this UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What changed after this seq.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// The envelope's `callId`, given or not.
    pub call_id: String,
    /// The envelope's `time`, given or not.
    pub time: String,
    /// Members of the envelope after `time`, as JSON, each with a comma before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub members: String,
    /// Whether a page that the limit cuts ends with `nextAfter`.
    #[serde(default)]
    pub next_after: bool,
    /// The digest of the manifest, where one is to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<DigestAlgorithm>,
    /// How the file is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether the file is synced before it takes its name.
    pub fsync: bool,
}

/// Why a broken export cannot be continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// There is no broken export of that name.
    #[error(
        "nothing to resume: {} is not there (the export was completed or removed, or is to be written to another \
         name); start anew without resuming",
        path.display()
    )]
    Nothing {
        /// The file that is missing.
        path: PathBuf,
    },
    /// The destination is a pipe or a device.
    #[error("{} is no regular file: only those can be resumed", path.display())]
    NoFile {
        /// The destination.
        path: PathBuf,
    },
    /// The record is damaged.
    #[error("{} does not say what the broken export was ({reason}); start anew without resuming", path.display())]
    Unreadable {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The record is of another version of this program.
    #[error(
        "{} is of version {found}, this program reads version {expected}; resume with the program that began the \
         export, or start anew without resuming",
        path.display()
    )]
    Version {
        /// The record.
        path: PathBuf,
        /// [`RESUME_VERSION`].
        expected: u32,
        /// The record's.
        found: u64,
    },
    /// The broken export is of another store.
    #[error(
        "the broken export is of store {expected:032x}, this is store {found:032x}; resume from the store that it is \
         of, or start anew without resuming"
    )]
    Store {
        /// The record's store id.
        expected: u128,
        /// That of the snapshot.
        found: u128,
    },
    /// The store's history began anew after the export.
    #[error(
        "the broken export is of incarnation {expected:032x} of the store, which is in incarnation {found:032x} now \
         (it was restored from a backup, or recovered without the last buffered commits); start anew without resuming"
    )]
    Incarnation {
        /// The record's incarnation.
        expected: u128,
        /// That of the snapshot.
        found: u128,
    },
    /// The store was written to after the export.
    #[error(
        "the store went on: the broken export is of seq {expected}, the store is at seq {found} now; start anew without \
         resuming, or export what changed since an earlier whole export"
    )]
    Seq {
        /// The record's seq.
        expected: u64,
        /// That of the snapshot.
        found: u64,
    },
}

/// What is looked at first: the rest may mean something else in another version.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl ResumeRecord {
    /// Reads the record of the broken export to `destination`, the name that the export was to have.
    ///
    /// # Errors
    /// [`ResumeError`], and when the record cannot be read.
    pub fn read(destination: impl AsRef<Path>) -> Result<Self, Error> {
        let target = file::resolve(destination.as_ref())?;
        if file::is_special(&target) {
            return Err(ResumeError::NoFile { path: target }.into());
        }
        let partial = file::beside(&target, file::PARTIAL)?;
        if !partial.try_exists().map_err(file::failed("open", &partial))? {
            return Err(ResumeError::Nothing { path: partial }.into());
        }
        Self::load(&file::beside(&target, file::RECORD)?)
    }

    /// Reads the record at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let Some(text) = file::read_small(path)? else {
            return Err(ResumeError::Nothing { path: path.to_path_buf() }.into());
        };
        let unreadable =
            |error: serde_json::Error| ResumeError::Unreadable { path: path.to_path_buf(), reason: error.to_string() };
        let version: Version = serde_json::from_slice(&text).map_err(unreadable)?;
        if version.version != u64::from(RESUME_VERSION) {
            let (expected, found) = (RESUME_VERSION, version.version);
            return Err(ResumeError::Version { path: path.to_path_buf(), expected, found }.into());
        }
        let record: Self = serde_json::from_slice(&text).map_err(unreadable)?;
        envelope::check_members(&record.members).map_err(unreadable)?;
        Ok(record)
    }

    /// The record as a file's text.
    pub(crate) fn text(&self) -> Result<Vec<u8>, Error> {
        json_file(self)
    }

    /// Refuses another snapshot than that of the record.
    pub(crate) fn check(&self, origin: &Origin) -> Result<(), ResumeError> {
        if self.store_id != origin.store_id {
            return Err(ResumeError::Store { expected: self.store_id, found: origin.store_id });
        }
        if self.incarnation != origin.incarnation {
            return Err(ResumeError::Incarnation { expected: self.incarnation, found: origin.incarnation });
        }
        if self.seq != origin.seq {
            return Err(ResumeError::Seq { expected: self.seq, found: origin.seq });
        }
        Ok(())
    }
}

/// `value` as indented JSON with a line end: files that people look at.
pub(crate) fn json_file(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    // Numbers, texts and lists: it cannot fail.
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Error::Thread(error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// The program, as records and manifests name it.
pub(crate) const WRITER: &str = concat!("headcount ", env!("CARGO_PKG_VERSION"));

/// Ids as 32 hexadecimal digits.
pub(crate) mod hex_id {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{id:032x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
        id.ok_or_else(|| de::Error::custom(format!("{text:?} is no id: expected 32 hexadecimal digits")))
    }
}
