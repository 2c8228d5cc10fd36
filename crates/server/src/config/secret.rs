//! Secrets: files that nobody else can read, and variables of the environment.

use std::env::{self, VarError};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use headcount::method::Secret;
use serde::{Deserialize, Deserializer, de};

use crate::config::error::{ConfigError, printable, shell_quoted};

/// Longest file of a secret, in bytes.
const LENGTH_MAX: u64 = 4096;

/// Where a secret is: never in the configuration itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum SecretSource {
    /// A file that holds nothing else, and that nobody else can read.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl SecretSource {
    /// Reads the secret.
    ///
    /// # Errors
    /// When it is not there, not base64, or a file that is not regular, belongs to someone else than this process or
    /// root, or gives its group or others any permission. The error says what to do, and nothing of the secret.
    pub fn read(&self) -> Result<Secret, ConfigError> {
        let (text, place) = match self {
            Self::File(path) => (private_text(path)?, format!("the file {}", shown(path))),
            Self::Env(name) => (variable(name)?, format!("the variable {}", printable(name))),
        };
        Secret::new(&text).map_err(|_| {
            let problem = format!(
                "{place} does not hold a secret: expected base64 of at least one byte, and nothing else; put the \
                 secret there as it was given to you"
            );
            ConfigError::secret(problem, None)
        })
    }
}

/// A list of them. The error says nothing of what is there: it may be a secret.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretSource>, D::Error> {
    Vec::deserialize(deserializer).map_err(|_| {
        de::Error::custom(
            "secrets is a list of { file = \"FILE\" } and { env = \"VARIABLE\" }; a secret itself does not stand in this \
             file",
        )
    })
}

fn variable(name: &str) -> Result<String, ConfigError> {
    env::var(name).map_err(|error| {
        let what = match error {
            VarError::NotPresent => "is not set",
            // The error would show the value.
            VarError::NotUnicode(_) => "is not UTF-8",
        };
        let problem = format!("the variable {} {what}; put the secret, in base64, into it", printable(name));
        ConfigError::secret(problem, None)
    })
}

/// The text of a file that holds a secret or token: at most 4 KiB of UTF-8 in a regular file that belongs to this process's
/// user or root, and that its group and others can neither read nor write.
///
/// # Errors
/// When it is not that. The error says what to do, and nothing of the text.
pub fn private_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::secret(format!("cannot read the secret file {}", shown(path)), Some(source));
    let refused =
        |problem: String| Err(ConfigError::secret(format!("the secret file {} {problem}", shown(path)), None));
    let file = open(path).map_err(failed)?;
    // Of the file that is open, so that nobody can put another in its place between look and read.
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return refused("is not a regular file; put the secret, and nothing else, into one".to_owned());
    }
    let quoted = shell_quoted(path);
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own && found.uid() != 0 {
        return refused(format!(
            "belongs to user {}, who could change it; expected user {own} or root: `chown {own} {quoted}`",
            found.uid()
        ));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return refused(format!("has mode {mode:04o}, so that others can use it; expected 0600: `chmod 600 {quoted}`"));
    }
    let mut bytes = Vec::new();
    file.take(LENGTH_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LENGTH_MAX {
        return refused(format!("is longer than {LENGTH_MAX} bytes; expected a secret and nothing else"));
    }
    String::from_utf8(bytes).or_else(|_| refused("is not UTF-8; expected a secret and nothing else".to_owned()))
}

/// Without waiting for the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TEXT: &str = "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=";

    fn file(text: impl AsRef<[u8]>, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn refusal(source: SecretSource) -> String {
        let error = source.read().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("c2Vj"), "{error:?}");
        error.to_string()
    }

    #[test]
    fn a_private_file_is_read() {
        for mode in [0o600, 0o400] {
            let (_dir, path) = file(format!("{TEXT}\n"), mode);
            assert_eq!(format!("{:?}", SecretSource::File(path).read().unwrap()), "Secret(…)");
        }
    }

    #[test]
    fn others_must_not_read_it() {
        for mode in [0o640, 0o604, 0o610, 0o602] {
            let (_dir, path) = file(TEXT, mode);
            let shown = path.display().to_string();
            assert_eq!(
                refusal(SecretSource::File(path)),
                format!(
                    "the secret file {shown} has mode {mode:04o}, so that others can use it; expected 0600: `chmod \
                     600 {shown}`"
                )
            );
        }
    }

    #[test]
    fn others_must_not_own_it() {
        let (_dir, path) = file(TEXT, 0o600);
        let own = rustix::process::geteuid().as_raw();
        if std::os::unix::fs::chown(&path, Some(own + 1), None).is_err() {
            eprintln!("SKIPPED: only root can give files away");
            return;
        }
        let text = refusal(SecretSource::File(path.clone()));
        let shown = path.display();
        assert_eq!(
            text,
            format!(
                "the secret file {shown} belongs to user {}, who could change it; expected user {own} or root: `chown \
                 {own} {shown}`",
                own + 1
            )
        );
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [pipe, dir.path().to_path_buf(), "/dev/null".into()] {
            let text = refusal(SecretSource::File(path));
            assert!(text.ends_with("is not a regular file; put the secret, and nothing else, into one"), "{text}");
        }
        let text = refusal(SecretSource::File("/nowhere/a\u{1b}".into()));
        assert_eq!(text, "cannot read the secret file /nowhere/a\\u{1b}");
    }

    #[test]
    fn content_is_checked_and_not_shown() {
        for (content, problem) in [
            (&b"c2Vj not base64"[..], "does not hold a secret: expected base64 of at least one byte"),
            (b" \n", "does not hold a secret"),
            (b"c2Vj\xff", "is not UTF-8"),
            (&[b'A'; 4097], "is longer than 4096 bytes"),
        ] {
            let (_dir, path) = file(content, 0o600);
            let text = refusal(SecretSource::File(path));
            assert!(text.contains(problem), "{text}");
        }
    }

    #[test]
    fn variables() {
        let name = "HEADCOUNT_TEST_THAT_NOBODY_SETS";
        assert_eq!(
            refusal(SecretSource::Env(name.to_owned())),
            format!("the variable {name} is not set; put the secret, in base64, into it")
        );
        // One that is there, and no secret.
        let text = refusal(SecretSource::Env("CARGO_PKG_VERSION".to_owned()));
        assert!(text.starts_with("the variable CARGO_PKG_VERSION does not hold a secret"), "{text}");
        assert!(!text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
}
