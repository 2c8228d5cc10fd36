//! What a client is answered, for an HTTP server to send.

use headcount_export::Error as ExportError;

use crate::method::body::ExportBody;
use crate::method::error::Code;
use crate::method::verb::Verb;

/// A response.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Header names, in lower case, and values; in no particular order. `Content-Length` is not among them.
    pub headers: Vec<(&'static str, String)>,
    /// Length of the body, where it is known: a transfer that ends short of it is broken. To HEAD it is the length that
    /// GET would have got, and the body is empty.
    pub length: Option<u64>,
    /// The body.
    pub body: Body,
    /// What it was, for logs.
    pub outcome: Outcome,
}

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// An export, to be streamed.
    Export(Box<ExportBody>),
}

impl Body {
    /// All of it in memory.
    ///
    /// # Errors
    /// What an export reports; a server breaks the transfer off then.
    pub fn read(self) -> Result<Vec<u8>, ExportError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Export(body) => {
                let mut all = Vec::new();
                for piece in *body {
                    all.extend_from_slice(&piece?);
                }
                Ok(all)
            }
        }
    }
}

/// What a response was: for logs, audits and counters. It holds no UID and no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The method, when there is one of that name.
    pub verb: Option<Verb>,
    /// `callId`.
    pub call_id: String,
    /// The site, once the caller is known.
    pub api_key: Option<String>,
    /// The user key, once the caller is known and has one.
    pub user_key: Option<String>,
    /// Why it was refused.
    pub error: Option<Code>,
    /// Seq of what was exported.
    pub seq: Option<u64>,
    /// Users of an export that is in the body whole, or of which a part is; of one that is streamed,
    /// [`ExportBody::summary`] knows at the end.
    pub users: Option<u64>,
    /// Identities of that export.
    pub identities: Option<u64>,
}

impl Response {
    /// The first header of that name, in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }
}
