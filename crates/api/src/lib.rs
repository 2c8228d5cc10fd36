//! Headcount stores users and the identities linked to them, and exports all of them: counted, checked, from one point
//! in time, at the speed of the disk. It is embedded: a store is a directory, and this crate is all a program links.
//!
//! ```
//! use headcount::{Batch, Export, Format, Identity, Precondition, Store, User};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let store = Store::temporary()?; // or Store::create(path, &Options::default()), Store::open(path)
//!     store.load([
//!         User::new("6625ID").with_identity("site", "6625ID").with_identity("google", "115480002607925776950"),
//!         User::new("_gid_UnXMjySuZJwyz654w==").with_identity("facebook", "622098199"),
//!     ])?;
//!
//!     let mut batch = Batch::new(); // all of it or nothing
//!     batch.require("6625ID", Precondition::Exists).link("6625ID", Identity::new("twitter", "415"));
//!     let commit = store.commit(batch)?; // on the disk, unless another Durability is asked for
//!     assert_eq!(commit.changed, 1);
//!
//!     let snapshot = store.snapshot(); // one point in time; later commits and loads do not change it
//!     let user = snapshot.get_user("6625ID")?.ok_or("no such user")?;
//!     assert_eq!(user.identities.len(), 3);
//!     let owner = snapshot.find_user("facebook", "622098199")?.ok_or("nobody")?;
//!     assert_eq!(owner.uid, "_gid_UnXMjySuZJwyz654w==");
//!
//!     let mut csv = Vec::new(); // or any io::Write; write_file(path) for files
//!     let summary = Export::new(&snapshot).format(Format::Csv).write_to(&mut csv)?;
//!     assert_eq!((summary.users, summary.identities), (2, 4));
//!     store.close()?; // so that the next open has nothing to recover
//!     Ok(())
//! }
//! ```
//!
//! # Where to go from here
//!
//! - [`Store`]: create, open, load, commit, erase, compaction, statistics, verification; its docs state what mapped
//!   files ask of the caller.
//! - [`Batch`]: what a commit can do, and [`Precondition`]s; [`Durability`]: when it answers.
//! - [`Snapshot`]: lookups by UID and by identity, ranges and prefixes of UIDs, changes since a seq, backups.
//! - [`Export`]: formats, fields, `limit`, `after`, exact lengths, files that can be resumed, writers and chunks.
//! - [`Destination`]: where an export goes that somebody else renders, with the same care for files and compression.
//! - [`salvage`]: everything intact of a damaged store in a new one, and a list of what is not.
//! - [`check_file`]: whether an exported file is whole and unchanged, by its [`Manifest`] or by what it shows.
//! - [`method`]: `socialize.exportUsers` as its clients know it, for an HTTP server to put on a socket.
//! - [`Source`]: what an export reads. Implement it to export users that live elsewhere.
//!
//! Files of users in other systems' formats are read by the `headcount-import` crate and by the `headcount` command.
//!
//! # Errors
//!
//! An error's variant answers "what should the caller do", its message "what happened, and where". Reading never
//! panics on damaged files: it ends with an error that names the file and the offset.

pub mod method;

pub use headcount_block::{
    Damage, Identity, IdentityRef, LimitError, Origin, Progress, Source, Status, Totals, UidRange, User, UserRef,
    limits,
};
pub use headcount_export::{
    CheckError, CheckReport, Chunk, Chunks, Compression, CompressionError, Destination, Digest, DigestAlgorithm,
    Envelope, Error as ExportError, Export, Field, Fields, FieldsError, Format, Length, Manifest, ManifestError,
    ManifestFile, Prepared, Problem, ResumeError, ResumeRecord, Summary, Unchecked, Written, check_file, follow_links,
    iso8601,
};

pub use headcount_store::{
    Backend, BackupReport, Batch, BulkLoad, Changed, Commit, CompactReport, Compaction, Durability, EraseReport, Error,
    Existing, LoadOptions, LoadReport, Loss, OnConflict, OnDuplicate, Options, Place, Precondition, Recovery, Refusal,
    RefuseReason, RejectReason, Rejection, RowKind, SalvageReport, SalvagedBy, SegmentStats, Shard, Snapshot, Stats,
    Store, UserGuard, Users, VerifyReport, Work, salvage, store_around,
};

/// The README's examples are compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
