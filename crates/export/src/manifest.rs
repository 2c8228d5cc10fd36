//! The manifest of an export: a sidecar file by which it can be told whole and unchanged.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::DigestAlgorithm;
use crate::error::Error;
use crate::fields::Fields;
use crate::file;
use crate::format::Format;
use crate::resume::{hex_id, json_file};

/// The version of manifests that this program writes, and the highest that it reads.
pub const MANIFEST_VERSION: u32 = 1;

/// What an export is of and what it holds: `NAME.manifest.json` beside `NAME`.
///
/// Its JSON names are those of the fields in camel case, ids are 32 hexadecimal digits. Fields that this program does
/// not know are ignored when it is read; a version that it does not know is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub format_version: u32,
    /// The program that wrote it, such as `headcount 0.1.0`.
    pub writer: String,
    /// Id of the store.
    #[serde(with = "hex_id")]
    pub store_id: u128,
    /// The store's incarnation.
    #[serde(with = "hex_id")]
    pub incarnation: u128,
    /// The last seq of the snapshot: where changes go on from.
    pub seq: u64,
    /// `callId` of the export, which JSON names too.
    pub call_id: String,
    /// `time` of the export, which JSON names too.
    pub time: String,
    /// The format.
    pub format: Format,
    /// The fields, in order.
    pub fields: Fields,
    /// Whether pending users are in it.
    pub include_pending: bool,
    /// Whether CSV values that look like formulas are guarded.
    #[serde(default)]
    pub formula_guard: bool,
    /// It holds at most so many users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// It holds users after this UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// It holds what changed after this seq.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Users in it.
    pub users: u64,
    /// UIDs in it of users who are gone; with `since` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Identities in it.
    pub identities: u64,
    /// UID of its first user; `None` when there is none, or UIDs are not exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_uid: Option<String>,
    /// UID of its last user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_uid: Option<String>,
    /// How the files are compressed, `gzip` or `zstd`; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Bytes before compression; with `compression` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_bytes: Option<u64>,
    /// Bytes of all files.
    pub bytes: u64,
    /// How the digests of the files are computed.
    pub digest_algorithm: DigestAlgorithm,
    /// The files.
    pub files: Vec<ManifestFile>,
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ManifestFile {
    /// Its name, without a directory: it lies beside the manifest.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest: hexadecimal digits in lower case.
    pub digest: String,
}

impl ManifestFile {
    /// The file `name` of this length and digest.
    #[must_use]
    pub const fn new(name: String, bytes: u64, digest: String) -> Self {
        Self { name, bytes, digest }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The manifest.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// It is no manifest, or damaged.
    #[error("{} is no manifest of an export, or damaged: {reason}", path.display())]
    Invalid {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is of a version that this program does not know.
    #[error("{} is a manifest of version {found}, this program reads version {expected}", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// [`MANIFEST_VERSION`].
        expected: u32,
        /// The manifest's.
        found: u64,
    },
}

/// What is looked at first: the rest may mean something else in another version.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    format_version: u64,
}

impl Manifest {
    /// Where the manifest of the export `file` lies: beside it, with `.manifest.json` added to its name. A symbolic
    /// link is followed to the file that it names.
    ///
    /// # Errors
    /// When `file` has no name, or is a loop of links.
    pub fn path_of(file: impl AsRef<Path>) -> Result<PathBuf, Error> {
        file::beside(&file::resolve(file.as_ref())?, file::MANIFEST)
    }

    /// Reads the manifest at `path`.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ManifestError> {
        let path = path.as_ref();
        let io = |source| ManifestError::Io { path: path.to_path_buf(), source };
        let text = match file::read_small(path) {
            Ok(Some(text)) => text,
            Ok(None) => return Err(io(io::ErrorKind::NotFound.into())),
            Err(Error::File { source, .. }) => return Err(io(source)),
            Err(other) => return Err(io(io::Error::other(other.to_string()))),
        };
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, ManifestError> {
        let invalid = |reason: String| ManifestError::Invalid { path: path.to_path_buf(), reason };
        let version: Version = serde_json::from_slice(text).map_err(|e| invalid(e.to_string()))?;
        if version.format_version != u64::from(MANIFEST_VERSION) {
            let (expected, found) = (MANIFEST_VERSION, version.format_version);
            return Err(ManifestError::Version { path: path.to_path_buf(), expected, found });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|e| invalid(e.to_string()))?;
        if manifest.files.is_empty() {
            return Err(invalid("it names no file".to_owned()));
        }
        let sum = manifest.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.bytes));
        if sum != Some(manifest.bytes) {
            return Err(invalid(format!("its files do not have the {} bytes that it states", manifest.bytes)));
        }
        Ok(manifest)
    }

    /// Writes the manifest to `path`, which is replaced at once or not at all; with `sync`, it survives a power cut.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>, sync: bool) -> Result<(), Error> {
        file::replace(path.as_ref(), &json_file(self)?, sync)
    }

    /// Whether the file at `path` is a manifest, of whatever version: nothing else is ever removed.
    pub(crate) fn is_one(path: &Path) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Mark {
            #[serde(rename = "formatVersion")]
            _format_version: u64,
            writer: String,
        }
        let text = file::read_small(path).ok().flatten().unwrap_or_default();
        serde_json::from_slice::<Mark>(&text).is_ok_and(|mark| mark.writer.starts_with("headcount "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format_version: MANIFEST_VERSION,
            writer: "headcount 0".to_owned(),
            store_id: 0xabc,
            incarnation: u128::MAX,
            seq: 7,
            call_id: "C".to_owned(),
            time: "T".to_owned(),
            format: Format::Csv,
            fields: "providerUID,uid".parse().unwrap(),
            include_pending: true,
            formula_guard: false,
            limit: Some(3),
            after: Some("é\"".to_owned()),
            since: None,
            users: 2,
            deleted: None,
            identities: 4,
            first_uid: Some("f".to_owned()),
            last_uid: None,
            compression: None,
            content_bytes: None,
            bytes: 10,
            digest_algorithm: DigestAlgorithm::Sha256,
            files: vec![ManifestFile::new("users.csv".to_owned(), 10, "00".to_owned())],
        }
    }

    #[test]
    fn it_reads_what_it_writes_and_ignores_what_it_does_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        manifest().write(&path, true).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest());
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"storeId\": \"00000000000000000000000000000abc\""), "{text}");
        std::fs::write(&path, text.replacen('{', "{\"later\":[1],", 1)).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest());
        assert!(Manifest::is_one(&path));
    }

    #[test]
    fn what_is_no_manifest_is_refused_by_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        assert!(matches!(Manifest::read(&path), Err(ManifestError::Io { .. })));
        manifest().write(&path, false).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for len in 0..text.len() - 2 {
            std::fs::write(&path, &text.as_bytes()[..len]).unwrap();
            assert!(matches!(Manifest::read(&path), Err(ManifestError::Invalid { .. })), "{len}");
        }
        for (from, to) in [
            ("\"bytes\": 10,\n  \"d", "\"bytes\": 11,\n  \"d"),
            ("\"csv\"", "\"xml\""),
            ("abc\"", "abx\""),
            ("\"users\": 2", "\"users\": -2"),
        ] {
            assert!(text.contains(from), "{from}");
            std::fs::write(&path, text.replace(from, to)).unwrap();
            assert!(matches!(Manifest::read(&path), Err(ManifestError::Invalid { .. })), "{from}");
        }
        std::fs::write(&path, "{\"formatVersion\":2}").unwrap();
        assert!(matches!(Manifest::read(&path), Err(ManifestError::Version { expected: 1, found: 2, .. })));
        std::fs::write(&path, "{\"formatVersion\":1,\"manifest_version\":3,\"name\":\"a web app\"}").unwrap();
        assert!(!Manifest::is_one(&path));
    }
}
