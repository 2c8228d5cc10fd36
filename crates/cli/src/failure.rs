//! How a command ends: exit codes, errors with their causes, and hints.

use std::error::Error;
use std::fmt;
use std::io;

use crate::client::HttpError;

/// What a command that ran to its end reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done.
    Done,
    /// Done, but records were rejected.
    Rejected,
    /// Something that was asked for is not there.
    NotFound,
    /// Damage was found, and reported.
    Damaged,
}

impl Outcome {
    /// The process's exit code.
    #[must_use]
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Rejected => 3,
            Self::NotFound => 4,
            Self::Damaged => 5,
        }
    }
}

/// Which kind of failure: it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Failed, nothing changed: 1.
    Failed,
    /// The command line is wrong: 2.
    Usage,
    /// Damage: 5.
    Damage,
    /// The caller cancelled: ends by the signal.
    Cancelled,
}

/// A failed command: what happened, why, and what there is to do.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// What happened; its sources are printed too.
    pub(crate) error: Box<dyn Error + Send + Sync>,
    /// What there is to do, where there is something.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure of `kind`.
    pub(crate) fn new(kind: Kind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: error.into(), hint: None }
    }

    /// A failure with exit code 1.
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Failed, error)
    }

    /// A failure with exit code 2.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Usage, error)
    }

    /// Adds what there is to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says `text` instead; what happened stays its cause.
    #[must_use]
    pub(crate) fn reworded(self, text: String) -> Self {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Reworded {
            text: String,
            source: Box<dyn Error + Send + Sync>,
        }
        Self { error: Box::new(Reworded { text, source: self.error }), ..self }
    }

    /// Of a report that cannot be written: says what is done all the same, in its first line.
    #[must_use]
    pub(crate) fn after(self, done: &str) -> Self {
        let text = format!("{self}; this is done all the same: {}", done.lines().next().unwrap_or_default());
        self.reworded(text)
    }

    /// Whether the reader of our output went away; a connection that is gone is an error like others.
    #[must_use]
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let mut next: Option<&(dyn Error + 'static)> = Some(&*self.error);
        while let Some(error) = next {
            if error.is::<HttpError>() {
                return false;
            }
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return true;
            }
            next = source_of(error);
        }
        false
    }

    /// The process's exit code.
    #[must_use]
    pub(crate) const fn code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Damage => 5,
            Kind::Cancelled => 130,
        }
    }
}

/// The cause of `error`; an `io::Error` that wraps another error hides it from `source`.
fn source_of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

impl fmt::Display for Failure {
    /// What happened and its causes in one line; a cause that its error already quotes is not repeated.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.error.to_string();
        let mut next = self.error.source();
        while let Some(cause) = next {
            let said = cause.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            next = cause.source();
        }
        f.write_str(&text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write users.json")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_are_printed_once() {
        let failure = Failure::failed(Outer(io::Error::other("disk full")));
        assert_eq!(failure.to_string(), "cannot write users.json: disk full");
        assert_eq!(Failure::failed(io::Error::other("disk full")).to_string(), "disk full");
    }

    #[test]
    fn a_broken_pipe_is_found_in_the_chain() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::from(pipe()).is_broken_pipe());
        assert!(Failure::failed(Outer(pipe())).is_broken_pipe());
        assert!(Failure::failed(io::Error::other(Outer(pipe()))).is_broken_pipe());
        assert!(!Failure::failed(Outer(io::Error::other("disk full"))).is_broken_pipe());
        let authority = "127.0.0.1:1".to_owned();
        let unreached = HttpError::Unreached { authority, source: pipe().into(), passing: true };
        for of_connection in [HttpError::Broken { source: pipe() }, unreached] {
            let failure = Failure::from(of_connection);
            assert!(!failure.is_broken_pipe());
            assert!(failure.to_string().ends_with(&pipe().to_string()), "{failure}");
            assert!(!Failure::failed(Outer(io::Error::other(failure.error))).is_broken_pipe());
        }
    }
}
