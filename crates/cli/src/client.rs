//! A client of a served store: requests signed, answers checked as they stream, broken downloads resumed.
//!
//! `http.rs` sends and receives; `ask.rs` makes a request of parameters and credentials, and repeats it where the protocol
//! says so; `envelope.rs` reads what the method says of itself; `download.rs` keeps what came of a file.

mod ask;
mod clock;
mod download;
mod envelope;
mod http;

pub(crate) use ask::{Answer, Ask, Credential, Kind, Request, is_passing, refusal};
pub(crate) use download::Download;
pub(crate) use envelope::{Envelope, Tail};
pub(crate) use http::{Base, Http, HttpError};
