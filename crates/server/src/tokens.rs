//! Tokens in a file, with a line in the log where they cannot be written: a client is told of none of this machine's files.

use std::io;
use std::path::{Path, PathBuf};

use headcount::method::{FileTokens, TokenError, TokenRecord, TokenStore};

/// The tokens of a server.
#[derive(Debug)]
pub(crate) struct Tokens {
    tokens: FileTokens,
    path: PathBuf,
}

impl Tokens {
    /// The tokens of the file at `path`, which need not exist.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { tokens: FileTokens::open(path)?, path: path.to_path_buf() })
    }

    /// Says so where no token could be kept. A server that nobody asks for a token needs no place for them.
    pub(crate) fn probe(&self) {
        if let Err(error) = self.tokens.probe() {
            tracing::error!(
                path = %self.path.display(),
                %error,
                "no token can be kept here, and getToken will fail: name a file that can be written with tokens = \"FILE\", and \
                 restart"
            );
        }
    }

    /// Where the nonces are kept: beside the tokens.
    pub(crate) fn nonces(path: &Path) -> PathBuf {
        let mut name = path.to_path_buf().into_os_string();
        name.push(".nonces");
        name.into()
    }
}

impl TokenStore for Tokens {
    fn insert(&self, record: TokenRecord, now: u64) -> Result<(), TokenError> {
        self.tokens.insert(record, now).inspect_err(|error| {
            if let TokenError::Io(error) = error {
                tracing::error!(path = %self.path.display(), %error, "a token cannot be kept, and was not given");
            }
        })
    }

    fn find(&self, hash: &str) -> Option<TokenRecord> {
        self.tokens.find(hash)
    }
}
