//! What can be wrong with a configuration and its secrets, and names of files and people shown without harm.

use std::io;
use std::path::{Path, PathBuf};

use headcount::method::SitesError;

/// What is wrong with a configuration. No variant holds a secret, and what a file says is shown escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read: give another path, or look at its owner and permissions.
    #[error("cannot read the configuration {}", printable(&path.to_string_lossy()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file says something that cannot be: edit it.
    #[error("{}:{line}: {problem}", printable(&path.to_string_lossy()))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was found, what was expected, and what to do.
        problem: String,
    },
    /// A secret that cannot be had: do what the message says.
    #[error("{problem}")]
    Secret {
        /// Which, what is wrong with it, and what to do.
        problem: String,
        /// The cause, where the system names one.
        #[source]
        source: Option<io::Error>,
    },
    /// The same, of a key.
    #[error("{key}: {source}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// The store of a site cannot be opened.
    #[error("the store {} of the site {api_key:?} cannot be opened", printable(&path.to_string_lossy()))]
    Store {
        /// The site.
        api_key: String,
        /// Its store.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<headcount::Error>,
    },
    /// Two sites or two user keys have one name: give one of them another.
    #[error(transparent)]
    Names(#[from] SitesError),
}

impl ConfigError {
    /// The file at `path` says something wrong in `line`.
    pub(crate) fn invalid(path: &Path, line: usize, problem: &str) -> Self {
        Self::Invalid { path: path.to_path_buf(), line, problem: printable(problem) }
    }

    /// A secret that cannot be had.
    pub(crate) fn secret(problem: String, source: Option<io::Error>) -> Self {
        Self::Secret { problem, source }
    }
}

/// `text` with what a terminal would act on, or not show, as escapes.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            // Behind another character, marks that combine with it are not escaped: in many languages they are letters.
            _ => shown.extend(format!("x{c}").escape_debug().skip(1)),
        }
    }
    shown
}

/// `path` as one word of a shell's command line.
#[must_use]
pub fn shell_quoted(path: &Path) -> String {
    let text = printable(&path.to_string_lossy());
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_it_would_act_on() {
        assert_eq!(printable("plain 'é' \"€\" \\ \u{1b}[2J\n\u{202e}"), r#"plain 'é' "€" \ \u{1b}[2J\n\u{202e}"#);
        assert_eq!(printable("Zoe\u{308} हिन्दी"), "Zoe\u{308} हिन्दी", "marks that combine are part of names");
    }

    #[test]
    fn a_path_is_one_word() {
        let quoted = |text: &str| shell_quoted(Path::new(text));
        assert_eq!(quoted("/etc/hc/3_a-b.secret"), "/etc/hc/3_a-b.secret");
        assert_eq!(quoted("/my dir/$(it's)"), r"'/my dir/$(it'\''s)'");
        assert_eq!(quoted(""), "''");
    }
}
