//! The response of `socialize.exportUsers`, without a socket: status, headers and a body that streams.

use std::fmt;

use headcount_block::Source;
use headcount_export::{Chunks, Error, Export, Length};

/// A response to hand to an HTTP server: nothing of the body is rendered before it is asked for.
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Header names, in lower case, and values; in no particular order.
    pub headers: Vec<(&'static str, String)>,
    /// Length of the body, where it is known without a pass over the users: a transfer that ends short of it is broken.
    pub content_length: Option<u64>,
    /// The body. An `Err` in it means: break the transfer off.
    pub body: Chunks,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, headers, content_length, .. } = self;
        f.debug_struct("Response")
            .field("status", status)
            .field("headers", headers)
            .field("content_length", content_length)
            .finish_non_exhaustive()
    }
}

/// The response that carries `export`: its media type, the snapshot's seq, and that it must not be stored.
///
/// Authorization, parameters and error envelopes of the method are the caller's.
///
/// # Errors
/// What the source reports before the first byte.
///
/// ```
/// use headcount::{Export, Format, Store, User, export_users};
///
/// let store = Store::temporary()?;
/// store.load([User::new("6625ID").with_identity("site", "6625ID")])?;
/// let response = export_users(&Export::new(&store.snapshot()).format(Format::Csv))?;
/// assert!(response.headers.contains(&("x-headcount-seq", "1".to_owned())));
/// let mut body = Vec::new();
/// for chunk in response.body {
///     body.extend_from_slice(&chunk?);
/// }
/// assert_eq!(body, b"uid,provider,providerUID\r\n6625ID,site,6625ID\r\n");
/// assert_eq!(response.content_length, Some(body.len() as u64));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export_users<S: Source + Clone + 'static>(export: &Export<S>) -> Result<Response, Error> {
    let content_length = match export.len()? {
        Length::Exact(length) => Some(length),
        Length::Unknown => None,
    };
    let headers = vec![
        ("content-type", export.output().media_type().to_owned()),
        ("cache-control", "private, no-store".to_owned()),
        ("vary", "Authorization, Accept-Encoding".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("x-headcount-seq", export.source().origin().seq.to_string()),
    ];
    Ok(Response { status: 200, headers, content_length, body: export.chunks()? })
}
