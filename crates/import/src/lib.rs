//! Other systems' user files: two dozen formats of JSON, NDJSON, CSV and LDIF in, four of them out.
//!
//! An [`Import`] reads any number of inputs into one bulk load of a store, all or nothing:
//!
//! | format | records | where errors point |
//! | --- | --- | --- |
//! | [`Format::GigyaJson`] | the elements of `users`; counts after or before them are checked | number of the user, byte |
//! | [`Format::Ndjson`] | one user object a line; blank lines are skipped | line, byte |
//! | [`Format::Csv`] | rows under a header with `uid`, `provider`, `providerUID` and perhaps `status`, in any order and case | line, byte |
//! | [`Format::Map`] | any JSON, NDJSON or CSV, by a [`Mapping`] | as in JSON or CSV |
//! | the others | each is a table in `systems`: where records lie, which keys they have, how they are mapped | number of the record or line, byte |
//!
//! gzip (of several members) and Zstandard are told by content, and so is the format: when nothing or more than one
//! thing fits, that is an error that names the candidates. An empty input is one such, unless its format is given:
//! then NDJSON of no lines is no users, while a document and a CSV header are missing.
//!
//! A [`Handover`] writes the users of a snapshot for another system, in the form that its own importer takes and that
//! [`Import`] reads; what has no place there is reported.
//!
//! [`Lines`] reads user objects and [`Operation`]s one by one as they come, for a program that commits them.
//!
//! What is accepted is decided by `serde_json`, and for CSV with quotes by `csv_core` after a check that RFC 4180 is
//! kept. The fast paths in front of them take only records that the parsers would read alike.

mod back;
mod choose;
mod chunk;
mod complete;
mod csv;
mod deleted;
mod detect;
mod directory;
mod draft;
mod error;
mod firebase_row;
mod format;
mod gigya;
mod handover;
mod handover_report;
mod import;
mod input;
mod json;
mod ldif;
mod lines;
mod mapped;
mod mapping;
mod names;
mod object;
mod operation;
mod own;
mod parse;
mod path;
mod probe;
mod read;
mod rejects;
mod report;
mod rows;
mod scan;
mod spec;
mod systems;
mod table;
mod table_rows;
mod walk;

pub use error::{BadDocument, BadRecord, ErrorKind, ImportError, Position, Unit};
pub use format::{Format, UnknownFormatName};
pub use handover::{Handover, HandoverError};
pub use handover_report::{HandoverReport, LeftOut, Misfit, MisfitExample, WrittenProvider};
pub use import::Import;
pub use input::{Compression, Input};
pub use lines::{Line, Lines};
pub use mapping::{BadMapping, Mapping};
pub use names::ProviderNames;
pub use operation::Operation;
pub use report::{FileReport, ProviderCount, RejectedExample, Report};
