//! Answers on their way to standard output or a file: checked as they come, and gone on from when they break off.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Duration;

use crate::client::{Answer, Ask, Download, Envelope, HttpError, Kind, Tail, is_passing, refusal};
use crate::failure::Failure;
use crate::output::Target;
use crate::ui;

/// Before the first further try; twice as long before each other one.
const WAIT: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: u64,
    /// Of JSON.
    pub(crate) envelope: Option<Envelope>,
    /// Seq of the snapshot that was exported.
    pub(crate) seq: Option<String>,
}

/// Where the pieces of a body go.
trait Sink {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure>;
}

impl Sink for Target {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        io::Write::write_all(self, bytes).map_err(Failure::failed)
    }
}

impl Sink for Download<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.append(bytes)
    }
}

/// Writes the answer to standard output, also one that is an error, unless users alone were asked for.
///
/// # Errors
/// When it is an error, or not whole.
pub(crate) fn to_stdout(ask: &mut Ask<'_>) -> Result<Received, Failure> {
    let is_for_users = ask.request.asks_for_users_alone();
    let mut answer = ask.ask(None)?;
    if is_for_users && let Some(refusal) = answer.refusal.take() {
        return Err(refusal);
    }
    let mut target = Target::open(None)?;
    let received = pass_on(ask, &mut answer, &mut target);
    // JSON has no line end; what is said of a failure gets a line of its own.
    let is_read_together = io::stdout().is_terminal() || (received.is_err() && ui::is_one_place());
    if answer.kind == Kind::Json && is_read_together {
        ui::print_line("")?;
    }
    received
}

/// Writes the answer to `path`, with up to `retries` more tries when it breaks off and can be gone on from.
///
/// # Errors
/// When it is an error, or not whole: what stood at `path` is as it was.
pub(crate) fn to_file(ask: &mut Ask<'_>, path: &Path, retries: u32) -> Result<Received, Failure> {
    let request = ask.request.clone();
    let Some(mut download) = Download::open(path, &request)? else {
        return to_device(ask, path);
    };
    if let Some((have, _)) = download.resume_point() {
        ask.ui.note(&format!("going on from byte {have} of {}.partial", path.display()));
        ask.progress.add_bytes(have);
    }
    let mut tries = 0;
    loop {
        let failure = match attempt(ask, &mut download) {
            Ok(Some(received)) => {
                download.finish()?;
                return Ok(received);
            }
            // What is here is of no use any more; the next request is for all of it.
            Ok(None) => continue,
            Err(failure) => failure,
        };
        let goes_on = is_passing(&failure) && download.resume_point().is_some();
        if !goes_on || tries == retries {
            return Err(ended(failure, download));
        }
        let wait = WAIT.saturating_mul(1 << tries.min(16)).min(WAIT_MAX);
        ask.ui.note(&format!("{failure}; going on from byte {} in {:.1} s", download.have(), wait.as_secs_f64()));
        if let Err(error) = ask.sleep(wait) {
            return Err(ended(error.into(), download));
        }
        tries += 1;
    }
}

/// A failure that nothing more is tried after.
fn ended(failure: Failure, download: Download<'_>) -> Failure {
    if !download.give_up() {
        return failure;
    }
    let left = "what came is in FILE.partial: the same command goes on from there";
    let hint = failure.hint.as_ref().map_or_else(|| left.to_owned(), |hint| format!("{hint}; {left}"));
    failure.hint(hint)
}

/// A device or a pipe cannot be gone on from.
fn to_device(ask: &mut Ask<'_>, path: &Path) -> Result<Received, Failure> {
    let mut answer = ask.ask(None)?;
    if let Some(refusal) = answer.refusal.take() {
        return Err(refusal);
    }
    let mut target = Target::open(Some(path))?;
    let received = pass_on(ask, &mut answer, &mut target)?;
    target.finish()?;
    Ok(received)
}

/// Asks for what is missing, and takes it. `None` when the server cannot go on from what is here.
fn attempt(ask: &mut Ask<'_>, download: &mut Download<'_>) -> Result<Option<Received>, Failure> {
    if download.length() == Some(download.have()) && download.resume_point().is_some() {
        // It came whole, and was stopped just before it got its name.
        return Ok(Some(Received { bytes: download.have(), envelope: None, seq: None }));
    }
    let asked_for_part = download.resume_point().is_some();
    let mut answer = ask.ask(download.resume_point())?;
    if let Some(refusal) = answer.refusal.take() {
        return Err(refusal);
    }
    let (etag, length) = (answer.reply.header("etag").map(str::to_owned), answer.reply.length());
    match (answer.kind, answer.reply.status) {
        (Kind::Users, 206) if goes_on(&answer, download) => {}
        (Kind::Users, 206 | 416) if asked_for_part => {
            download.forget()?;
            return Ok(None);
        }
        (_, status @ (206 | 416)) => {
            return Err(Failure::failed(format!(
                "HTTP {status} to a request for all of it: the server is none of ours"
            )));
        }
        (Kind::Users, _) => {
            if download.have() > 0 {
                ask.ui.note("the server has another snapshot by now: beginning anew");
            }
            download.restart(etag.as_deref(), length)?;
        }
        // JSON cannot be gone on from: it is another one each time.
        (Kind::Json, _) => download.restart(None, None)?,
    }
    if let Some(length) = length {
        ask.progress.set_total_bytes(download.have() + length);
    }
    let received = pass_on(ask, &mut answer, download)?;
    match download.length() {
        Some(whole) if whole != download.have() => {
            let text = format!("{} bytes came, and {whole} were promised", download.have());
            Err(HttpError::Broken { source: io::Error::new(io::ErrorKind::UnexpectedEof, text) }.into())
        }
        _ => Ok(Some(Received { bytes: download.have(), ..received })),
    }
}

/// Whether a part is the one that was asked for: `Content-Range: bytes from-to/whole`, and the same entity tag.
fn goes_on(answer: &Answer, download: &Download<'_>) -> bool {
    let header = |name| answer.reply.header(name);
    let Some((have, tag)) = download.resume_point() else { return false };
    let range = header("content-range").and_then(|range| range.strip_prefix("bytes "));
    let Some((part, whole)) = range.and_then(|range| range.split_once('/')) else { return false };
    part.split_once('-').is_some_and(|(from, _)| from == have.to_string())
        && download.length().is_none_or(|length| whole == length.to_string())
        && header("etag").is_none_or(|etag| etag == tag)
}

/// Passes the body on, and checks what JSON says of itself.
fn pass_on(ask: &Ask<'_>, answer: &mut Answer, sink: &mut dyn Sink) -> Result<Received, Failure> {
    let mut tail = Tail::new(ask.request.tail_length());
    let broken = loop {
        match answer.next() {
            Ok(Some(piece)) => {
                tail.push(&piece);
                sink.take(&piece)?;
                ask.progress.add_bytes(piece.len() as u64);
            }
            Ok(None) => break None,
            Err(HttpError::Cancelled) => return Err(HttpError::Cancelled.into()),
            Err(error) => break Some(error),
        }
    };
    let seq = answer.reply.header("x-headcount-seq").map(str::to_owned);
    let envelope = if answer.kind == Kind::Json { tail.envelope() } else { None };
    // Why it broke off is in its trailer, where it got that far.
    match (envelope.as_ref().and_then(|e| Some((e.error()?, e))), broken) {
        (Some((code, envelope)), _) => return Err(refusal(code, envelope)),
        (None, Some(error)) => return Err(error.into()),
        (None, None) => {}
    }
    if answer.kind == Kind::Json && envelope.is_none() {
        let text = format!("the answer is not whole: after {} bytes there is no end with an errorCode", tail.total());
        return Err(Failure::failed(text));
    }
    Ok(Received { bytes: tail.total(), envelope, seq })
}
