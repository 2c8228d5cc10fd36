//! How users travel: rows in blocks that are read without copying or decoding.
//!
//! A [`Block`] is bytes that were mapped from a file, built in memory, or received from elsewhere. It holds users in
//! UID order in the *split* layout: a control array of three bytes an identity, and the text in output order. Users
//! that do not fit the compact form, or that need escaping, stand beside it as self-contained rows ([`RowRef`]).
//! The byte-by-byte specification is `docs/FORMAT.md`.
//!
//! A [`Source`] hands out the users of one snapshot as [`Span`]s of blocks and single rows; everything that exports,
//! serves or merges users is written against it and never against a file.
//!
//! Reading is total: any bytes give values or an error, never a panic, and nothing here is `unsafe`.

mod build;
mod bytes;
mod checksum;
mod dictionary;
mod error;
mod find;
mod header;
pub mod limits;
mod outline;
mod progress;
mod read;
mod row;
mod source;
mod span;
mod sums;
pub mod text;
mod user;
mod view;

pub use build::{BlockBuilder, Built};
pub use checksum::{CHECKSUM_ALGORITHM, checksum};
pub use dictionary::{Dictionary, DictionaryBuilder};
pub use error::{Damage, Error, Fault, LimitError};
pub use find::uid_prefix;
pub use header::{BlockId, HEADER_LEN, LAYOUT_VERSION, PADDING, ROWS_PER_GROUP, identify};
pub use outline::Outline;
pub use progress::{Cancelled, Progress};
pub use read::{Block, Mark, Rows};
pub use row::{RowBuf, RowIdentities, RowRef};
pub use source::{Change, Cut, Measured, Origin, Part, Scan, Select, Source, UidRange, Visitor};
pub use span::{Clean, Piece, Pieces, Span, SpanRows};
pub use sums::{ClassSums, Totals};
pub use user::{Identity, Status, User};
pub use view::{Identities, IdentityRef, UserRef};
