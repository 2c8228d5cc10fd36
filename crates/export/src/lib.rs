//! Blocks of users in; JSON, CSV and NDJSON out.
//!
//! An [`Export`] writes the users of one snapshot, in UID order, to a file, any writer, or as an iterator of buffers.
//! Users and identities are counted in the same pass and compared with what the blocks and the snapshot state, so an
//! export is complete or visibly broken. The same snapshot and parameters give the same bytes, whatever the threads.
//!
//! It works on anything that implements [`headcount_block::Source`]; it knows no store and no file format but its own
//! outputs. The way of a byte: [`Source::visit`](headcount_block::Source::visit) hands a span of a block to
//! `render.rs`, which has `kernel.rs` copy text and prerendered templates into a buffer; `pipeline.rs` puts the buffers
//! in order; `body.rs` frames them with the head and the trailer of `envelope.rs`; `compress.rs` packs them where that is asked
//! for; `sink.rs` or `file.rs` writes them.

mod body;
mod buffer;
mod check;
mod chunks;
mod compress;
mod destination;
mod digest;
mod envelope;
mod error;
mod export;
mod fields;
mod file;
mod follow;
mod format;
mod kernel;
mod layout;
mod length;
mod manifest;
mod memory;
mod pipeline;
mod plan;
mod prepared;
mod probe;
mod render;
mod resume;
mod simple;
mod since;
mod sink;
mod template;
mod to_file;

pub use check::{CheckError, CheckReport, Problem, Unchecked, check_file};
pub use chunks::{Chunk, Chunks};
pub use compress::{Compression, CompressionError};
pub use destination::{Destination, Written};
pub use digest::{Digest, DigestAlgorithm, DigestAlgorithmError};
pub use envelope::{Envelope, iso8601};
pub use error::Error;
pub use export::{Export, Summary};
pub use fields::{Field, Fields, FieldsError};
pub use follow::follow_links;
pub use format::{Format, FormatError};
pub use length::Length;
pub use manifest::{MANIFEST_VERSION, Manifest, ManifestError, ManifestFile};
pub use prepared::Prepared;
pub use resume::{RESUME_VERSION, ResumeError, ResumeRecord};
