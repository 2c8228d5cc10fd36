//! What an import did.

use std::collections::BTreeMap;

use headcount_store::LoadReport;
use serde::Serialize;

use crate::error::Position;
use crate::format::Format;
use crate::input::Compression;

/// The outcome of an import.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// The inputs, in the order given.
    pub files: Vec<FileReport>,
    /// Records read: user objects, or CSV rows.
    pub records: u64,
    /// Records that were given to the loader.
    pub accepted: u64,
    /// Records that were left out as their source says: deleted users, say.
    pub skipped: u64,
    /// The skipped by reason.
    pub skipped_by_reason: BTreeMap<String, u64>,
    /// Records that the readers refused, and users that the loader refused.
    pub rejected: u64,
    /// The rejected by reason.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// The first of them, in the order of the inputs: at most 20 from the readers and 20 from the loader.
    pub rejected_examples: Vec<RejectedExample>,
    /// Users written; those left as they were not counted.
    pub users: u64,
    /// Pending users among them.
    pub pending: u64,
    /// Accepted users that came without identities; of our own CSV, UIDs with a row of their own that names no identity.
    /// Of other systems' files with parts of users ([`parts`](Self::parts)) none is counted: no part shows it.
    pub without_identities: u64,
    /// Users among those that got a local identity: see [`Import::local_identity`](crate::Import::local_identity).
    pub local_identities: u64,
    /// Accepted records that are parts of users, united by UID: rows of CSV, or links in a list of their own; rows of one
    /// UID that follow each other are one part. With some, a user can be loaded though another part of it was rejected.
    pub parts: u64,
    /// Accepted users that the source says are disabled; they are loaded like others.
    pub disabled: u64,
    /// Identities that two users claim: users rejected for it, and identities left with their first owner.
    pub conflicts: u64,
    /// Identities written.
    pub identities: u64,
    /// Identities that a user had twice and that were dropped.
    pub repeated_identities: u64,
    /// Identities by provider, most frequent first.
    pub providers: Vec<ProviderCount>,
    /// What the caller should know though it stopped nothing.
    pub warnings: Vec<String>,
    /// The loader's account.
    #[serde(serialize_with = "LoadFields::serialize")]
    pub load: LoadReport,
}

/// One input of an import.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Its format, given or told by the content.
    pub format: Format,
    /// How it was compressed.
    pub compression: Compression,
    /// Bytes of it, decompressed.
    pub bytes: u64,
    /// Records read from it.
    pub records: u64,
    /// Records that the reader refused.
    pub rejected: u64,
}

/// A rejected record.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RejectedExample {
    /// Where it is.
    pub at: Position,
    /// Its UID, when the record was whole and the loader refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Short name of the reason, as in [`Report::rejected_by_reason`].
    pub reason: String,
    /// What is wrong.
    pub message: String,
}

/// How many identities a provider has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderCount {
    /// Name of the provider.
    pub provider: String,
    /// Identities written.
    pub identities: u64,
}

/// The fields of the loader's report that [`Report`] does not have under a name of its own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoadFields {
    seq: u64,
    replaced: u64,
    merged: u64,
    superseded: u64,
    unchanged: u64,
    rejected: u64,
    identities_ignored: u64,
    bytes_written: u64,
}

impl LoadFields {
    fn serialize<S: serde::Serializer>(load: &LoadReport, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = Self {
            seq: load.seq,
            replaced: load.replaced,
            merged: load.merged,
            superseded: load.superseded,
            unchanged: load.unchanged,
            rejected: load.rejected,
            identities_ignored: load.identities_ignored,
            bytes_written: load.bytes_written,
        };
        Serialize::serialize(&fields, serializer)
    }
}
