//! `socialize.exportUsers` and the methods around it, without a socket: a [`Request`] in, a [`Response`] out.
//!
//! The way of a request through [`Api::admit`]: `call.rs` decodes it with `params.rs`; `auth.rs` finds out who asks, by
//! `signature.rs` and `nonce.rs`, a secret, or `token.rs`; `wish.rs`, `token.rs` or `verbs.rs` reads the values of the
//! parameters. What may be done is an [`Admitted`], and [`answer`](Admitted::answer) does it: `export.rs`, whose body streams out
//! of `body.rs`, or `verbs.rs`. What is refused in either phase becomes an envelope in `call.rs`. `docs/API.md` says what
//! clients may expect.
//!
//! Nothing here opens a socket, reads a clock, or keeps a thread of its own beside those that render an export. The first
//! phase never blocks; [`Work`] says for what the second does.

mod admission;
mod api;
mod auth;
mod body;
mod call;
mod conditional;
mod date;
mod error;
mod export;
mod json;
mod nonce;
mod params;
mod percent;
mod pins;
mod request;
mod response;
mod signature;
mod site;
mod token;
mod token_file;
mod values;
mod verb;
mod verbs;
mod wish;

pub use admission::{Admission, Admitted, Work};
pub use api::{Api, Limiter, Settings};
pub use body::{ExportBody, Hold, Piece};
pub use error::{Code, Failure};
pub use nonce::NoncesInUse;
pub use percent::percent_encode;
pub use request::Request;
pub use response::{Body, Outcome, Response};
pub use signature::sign;
pub use site::{Permission, Secret, SecretError, Site, Sites, SitesError, UserKey};
pub use token::{MemoryTokens, TokenError, TokenRecord, TokenStore};
pub use token_file::FileTokens;
pub use verb::Verb;
