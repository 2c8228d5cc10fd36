//! Errors of an import. The kind answers "what should the caller do"; the message "what happened, and where".

use std::borrow::Cow;
use std::fmt;
use std::io;

use headcount_block::LimitError;
use headcount_store::RejectReason;

use crate::format::Format;

/// What a caller can do about an [`ImportError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Call again with other options.
    Usage,
    /// Mend the input, or skip its invalid records.
    Input,
    /// Look at the store: see [`headcount_store::Error`].
    Store,
    /// Look at the file, pipe or disk that failed.
    Io,
    /// Nothing: the caller asked for it.
    Cancelled,
}

/// Where in the inputs something is, for messages and reports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// Name of the input.
    pub file: String,
    /// Whether `number` counts lines or records.
    pub unit: Unit,
    /// Line on which the record begins, or number of the record; from 1.
    pub number: u64,
    /// Byte offset in the decompressed input, from 0.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}, byte {}", self.file, self.unit, self.number, self.offset)
    }
}

/// How a format counts its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Lines of the file.
    Line,
    /// Users of the document.
    Record,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "line",
            Self::Record => "record",
        })
    }
}

/// Why one record cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRecord {
    /// Bytes that are not UTF-8.
    #[error("not UTF-8: convert the file to UTF-8")]
    Utf8,
    /// Bytes that are not JSON.
    #[error("invalid JSON: {0}")]
    Json(String),
    /// JSON of another shape than a user's.
    #[error("not a user object: {0}")]
    Shape(String),
    /// JSON of another shape than an operation's.
    #[error("not an operation: {0}")]
    Operation(String),
    /// A quote where CSV allows none.
    #[error("invalid CSV: {0}")]
    Quotes(&'static str),
    /// A CSV row with more or fewer fields than the header.
    #[error("invalid CSV: expected {expected} fields as in the header, found {found}")]
    Fields {
        /// Columns of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
    },
    /// A CSV row with only one half of an identity.
    #[error("{empty} is empty but {given} is not: give both, or none for a user without identities")]
    HalfIdentity {
        /// The empty column.
        empty: &'static str,
        /// The other column.
        given: &'static str,
    },
    /// A row whose UID is what databases write where there is none.
    #[error("the UID is {0}, which is how databases write that there is no value: give the row a UID, or leave it out")]
    NoUid(String),
    /// A status that does not exist.
    #[error("status is {0:?}: expected \"registered\" or \"pending\"")]
    Status(String),
    /// A record of what changed that says that its user is gone.
    #[error(
        "{0} says that this user is gone, which is a change and no user: import an export that was made without --since, \
         and delete users with `headcount delete`"
    )]
    Deleted(String),
    /// An operation where a user was expected.
    #[error("\"op\" makes this an operation, which is no user: `headcount apply` carries operations out")]
    IsOperation,
    /// A column of our own changes that says something unknown.
    #[error("{column} is {found:?}: expected {expected}")]
    Change {
        /// The column.
        column: &'static str,
        /// What it can say.
        expected: &'static str,
        /// What it says.
        found: String,
    },
    /// A row of Firebase's CSV that is not one: a comma or a line break in a text that is not quoted.
    #[error(
        "expected {expected} fields as most rows have, the third of them true or false and the 24th a time in digits; \
         found {found} fields: line breaks in names and commas in addresses of pictures shift them, and commas in names \
         that older versions of the command do not quote; export as JSON (--format=json)"
    )]
    FirebaseRow {
        /// Fields of most rows.
        expected: usize,
        /// Fields of this row.
        found: usize,
    },
    /// An entry of LDIF that cannot be read, or is no user.
    #[error("invalid LDIF: {0}")]
    Ldif(String),
    /// A value outside the limits of a store.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl BadRecord {
    /// A short name of the reason, to count by.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Utf8 => "invalid-utf8",
            Self::Json(_) => "invalid-json",
            Self::Shape(_) | Self::Operation(_) => "wrong-shape",
            Self::Deleted(_) => "deleted",
            Self::IsOperation => "operation",
            Self::Change { .. } => "unknown-change",
            Self::Quotes(_) => "invalid-csv",
            Self::Fields { .. } | Self::FirebaseRow { .. } => "field-count",
            Self::Ldif(_) => "invalid-ldif",
            Self::HalfIdentity { .. } => "half-identity",
            Self::NoUid(_) => "no-uid",
            Self::Status(_) => "unknown-status",
            Self::Limit(_) => "limit",
        }
    }
}

/// Another user has the identity.
pub(crate) const IDENTITY_TAKEN: &str = "identity-taken";

/// A short name of the loader's reason, to count by.
pub(crate) const fn reject_name(reason: &RejectReason) -> &'static str {
    match reason {
        RejectReason::DuplicateUid { .. } => "duplicate-uid",
        RejectReason::IdentityTaken { .. } => IDENTITY_TAKEN,
        RejectReason::AlreadyExists => "already-exists",
        RejectReason::StatusDiffers { .. } => "status-differs",
        RejectReason::Limit(_) => "limit",
        _ => "other",
    }
}

/// What is wrong with a whole document; never skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadDocument {
    /// The input ends too early.
    #[error("the input ends inside {0}: it is truncated, nothing was loaded; get it again")]
    Truncated(&'static str),
    /// Something else than expected.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What was expected.
        expected: Cow<'static, str>,
        /// What was found.
        found: String,
    },
    /// A record, or the rest of a document, that is too long to be one.
    #[error("{what} is longer than {max} bytes: is this file of the format {format}?")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Greatest length in bytes.
        max: usize,
        /// The format it was read as.
        format: Format,
    },
    /// The envelope around the users is not valid.
    #[error("invalid JSON around the users: {0}")]
    Envelope(String),
    /// `users` is not there.
    #[error("\"users\" is missing: expected a document {{\"users\": [...], \"usersCount\": n, ...}}")]
    NoUsers,
    /// The document is the report of a failed export.
    #[error("the document reports a failed export{0}: nothing was loaded; export again")]
    FailedExport(String),
    /// The document is of what changed, and names users who are gone.
    #[error(
        "\"deletedUIDs\" names {0} users who are gone: the document is of changes, and no list of users; nothing was loaded; \
         import an export that was made without --since, or one as NDJSON or CSV, of which --skip-invalid loads the users"
    )]
    DeletedUsers(u64),
    /// A declared count that is not what was read.
    #[error(
        "the document declares {what} {declared}, but {found} were read: it is incomplete or was edited; \
         nothing was loaded"
    )]
    Count {
        /// `usersCount` or `identitiesCount`.
        what: &'static str,
        /// The declared number.
        declared: u64,
        /// The number read.
        found: u64,
    },
    /// A CSV header without the needed columns, or with one twice.
    #[error(
        "the CSV header {problem}; found: {found}; expected uid, provider, providerUID and optionally status, {hint}"
    )]
    Header {
        /// What is wrong with it.
        problem: String,
        /// The columns found.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// A CSV header of another system without a needed column, or with one twice.
    #[error("the CSV header {problem}; found: {found} (format {format})")]
    Columns {
        /// The format it was read as.
        format: Format,
        /// What is wrong with it.
        problem: String,
        /// The columns found.
        found: String,
    },
    /// A file of another format than the one that was given.
    #[error(
        "expected {expected}; found {found}: is this file of the format {format}? (--format auto tells it by content)"
    )]
    OtherFormat {
        /// The format that was given.
        format: Format,
        /// What a file of this format has.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Pages without the last one, or fewer users than the source says there are.
    #[error(
        "the source is not complete: {0}; nothing was loaded; get the rest, and give all files in one command, or load \
         what there is with --allow-partial"
    )]
    Partial(String),
    /// A setting that stands behind what it applies to.
    #[error(
        "{setting} is {value}, and stands behind the accounts that it applies to: write \"settings\" in front of \
         \"accounts\" (jq '{{settings, accounts}}' does), in one document a file"
    )]
    LateSetting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
    },
}

/// Why an import failed. Nothing was loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The format cannot be told from the content.
    #[error("{file}: {found}; {}", candidates_note(candidates))]
    UnknownFormat {
        /// Name of the input.
        file: String,
        /// What was found at its beginning.
        found: String,
        /// Formats that it may be; empty when it looks like none.
        candidates: Vec<Format>,
    },
    /// Options that contradict each other or the inputs.
    #[error("{0}")]
    Usage(String),
    /// An input cannot be opened or read.
    #[error("cannot {op} {file}: {source}")]
    Io {
        /// What was attempted, such as `open`.
        op: &'static str,
        /// Name of the file.
        file: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A compressed input is damaged or ends too early.
    #[error("{file}: damaged or truncated {compression} data after {offset} decompressed bytes: {source}")]
    Compressed {
        /// Name of the input.
        file: String,
        /// `gzip` or `zstd`.
        compression: &'static str,
        /// Decompressed bytes before the damage.
        offset: u64,
        /// The decoder's error.
        source: io::Error,
    },
    /// A record that cannot be loaded.
    #[error("{at}: {reason}")]
    Record {
        /// The record, with the byte of the problem where known.
        at: Position,
        /// What is wrong.
        reason: BadRecord,
    },
    /// A whole input that cannot be loaded.
    #[error("{file}: {}{reason}", byte_note(*offset))]
    Document {
        /// Name of the input.
        file: String,
        /// Byte offset of the problem in the decompressed input, where there is one.
        offset: Option<u64>,
        /// What is wrong.
        reason: BadDocument,
    },
    /// A user that the loader refused.
    #[error("{at}: user {uid:?}: {reason}")]
    Rejected {
        /// The refused record.
        at: Position,
        /// Its user.
        uid: String,
        /// Why, with the place of the other record where there is one.
        reason: String,
    },
    /// The store refused the load.
    #[error(transparent)]
    Store(headcount_store::Error),
    /// Cancelled through the [`Progress`](headcount_block::Progress).
    #[error("cancelled: nothing was loaded")]
    Cancelled,
}

impl ImportError {
    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownFormat { .. } | Self::Usage(_) => ErrorKind::Usage,
            Self::Io { .. } => ErrorKind::Io,
            Self::Compressed { .. } | Self::Record { .. } | Self::Document { .. } | Self::Rejected { .. } => {
                ErrorKind::Input
            }
            Self::Store(_) => ErrorKind::Store,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    pub(crate) fn io(op: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        Self::Io { op, file: file.into(), source }
    }
}

impl From<headcount_block::Cancelled> for ImportError {
    fn from(_: headcount_block::Cancelled) -> Self {
        Self::Cancelled
    }
}

fn candidates_note(candidates: &[Format]) -> String {
    let flag = |f: &Format| format!("--format {f}");
    match candidates {
        [] => "give --format gigya-json, --format ndjson, --format csv or the system that it comes from (--help lists \
               them), or say with --map where UIDs and identities are"
            .to_owned(),
        [one] => format!("give {} if that is what it is", flag(one)),
        many => {
            let flags = many.iter().map(flag).collect::<Vec<_>>().join(" or ");
            format!("it may be any of several formats: give {flags}, or say with --map where UIDs and identities are")
        }
    }
}

fn byte_note(offset: Option<u64>) -> String {
    offset.map(|at| format!("byte {at}: ")).unwrap_or_default()
}
