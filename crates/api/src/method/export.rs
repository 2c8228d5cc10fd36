//! `socialize.exportUsers`: the snapshot that it is of, what of it a client wants, and the answer.

use std::ops::Range;
use std::sync::Arc;

use headcount_block::Source as _;
use headcount_export::{Compression, Error, Prepared};
use headcount_store::Snapshot;

use crate::method::api::Api;
use crate::method::auth::Caller;
use crate::method::body::{ExportBody, Hold, called};
use crate::method::call::{Call, JAVASCRIPT};
use crate::method::conditional::{Wanted, coding, names, seq_of, wanted};
use crate::method::error::{Code, Failure};
use crate::method::pins::Pins;
use crate::method::response::{Body, Response};
use crate::method::site::Site;
use crate::method::wish::Wish;

/// Exports that are shorter are not compressed: it would take longer than to send them.
const COMPRESS_MIN: u64 = 1024;
/// Exports up to this length are rendered at once, and not streamed.
const LIGHT_MAX: u64 = 64 << 10;

/// What failed before the first byte. Nothing of this machine is told.
fn failed(error: &Error) -> Failure {
    match error {
        Error::Source(headcount_block::Error::TooOld { since, floor }) => too_old(*since, *floor),
        _ if error.is_damage() => Failure::new(Code::DatabaseError, "the stored users are damaged"),
        _ => Failure::new(Code::ServerError, "the export could not be made; try again"),
    }
}

fn too_old(since: u64, floor: u64) -> Failure {
    let allowed = format!("known any more: the least seq that is known is {floor}; do a full export");
    Failure::value("since", &since.to_string(), &allowed)
}

/// The snapshot to export: the current one, or the one of an earlier page.
fn snapshot(api: &Api, call: &Call, caller: &Caller, wish: &Wish) -> Result<Snapshot, Failure> {
    let current = caller.site.store.snapshot();
    let site = &caller.site;
    let snapshot = match wish.at_seq {
        Some(seq) if seq != current.seq() => {
            let found = api.pins.find(site, seq, &current.origin(), call.request.now_ms());
            let gone = "the seq of a snapshot that is still there: begin again with the first page";
            found.ok_or_else(|| Failure::value("atSeq", &seq.to_string(), gone))?
        }
        _ => current,
    };
    if let Some(since) = wish.since.filter(|since| *since > 0) {
        let floor = snapshot.stats().changes_floor;
        if since < floor {
            return Err(too_old(since, floor));
        }
        if since > snapshot.seq() {
            let allowed = format!("a seq that this store has reached: it stands at {}", snapshot.seq());
            return Err(Failure::value("since", &since.to_string(), &allowed));
        }
    }
    Ok(snapshot)
}

/// How this client wants an export of that length to be compressed.
fn compression(api: &Api, call: &Call, length: Option<u64>) -> Option<Compression> {
    let short = length.is_some_and(|length| length < COMPRESS_MIN);
    if short || !api.settings.compress || call.request.http_1_0 || call.callback.is_some() {
        return None;
    }
    let accepted: Vec<&str> = call.request.all("accept-encoding").collect();
    match coding(&accepted.join(",")) {
        Some("zstd") => Some(Compression::ZSTD),
        other => other.map(|_| Compression::GZIP),
    }
}

/// A snapshot, and what an export of it looks like to this client.
#[derive(Debug)]
struct Target {
    snapshot: Snapshot,
    prepared: Prepared<Snapshot>,
    compression: Option<Compression>,
    tag: Option<String>,
    /// Whether a part of it can be sent: not of what has no tag, of changes, and of what is compressed as it goes, whose
    /// length nobody knows.
    has_ranges: bool,
}

impl Target {
    fn new(api: &Api, call: &Call, wish: &Wish, snapshot: Snapshot) -> Result<Self, Failure> {
        let export = wish.export(call, api.settings.export_threads, &snapshot);
        let prepared = export.prepare().map_err(|e| failed(&e))?;
        let compression = compression(api, call, prepared.plain_len().exact());
        let tag = wish.entity_tag(&snapshot, compression);
        let has_ranges = tag.is_some() && wish.since.is_none() && compression.is_none();
        Ok(Self { prepared: prepared.compress(compression), snapshot, compression, tag, has_ranges })
    }

    /// The target of a transfer that broke off, where `If-Range` names one whose snapshot is still there.
    fn earlier(&self, api: &Api, call: &Call, caller: &Caller, wish: &Wish) -> Result<Option<Self>, Failure> {
        let Some(condition) = call.request.header("if-range") else { return Ok(None) };
        let Some(seq) = seq_of(condition) else { return Ok(None) };
        let site = &caller.site;
        let Some(snapshot) = api.pins.find(site, seq, &self.snapshot.origin(), call.request.now_ms()) else {
            return Ok(None);
        };
        let earlier = Self::new(api, call, wish, snapshot)?;
        Ok(Some(earlier).filter(|earlier| earlier.tag.as_deref() == Some(condition)))
    }
}

/// What of the bytes is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    All,
    /// Nothing: a HEAD.
    Head,
    /// Nothing: the client has them.
    Known,
    /// Nothing: there are only so many.
    Beyond(u64),
    /// These, of so many.
    Range(Range<u64>, u64),
    /// A range of how many is not known yet.
    Unmeasured,
}

impl Part {
    /// What the headers ask for of a target; `if_range` says whether a condition on the range is met.
    fn of(call: &Call, target: &Target, if_range: bool) -> Self {
        let request = &call.request;
        if let (Some(header), Some(tag)) = (request.header("if-none-match"), &target.tag)
            && names(header, tag)
        {
            return Self::Known;
        }
        if request.method == "HEAD" {
            return Self::Head;
        }
        let Some(range) = request.header("range").filter(|_| if_range && target.has_ranges) else { return Self::All };
        let Some(total) = target.prepared.len().exact() else { return Self::Unmeasured };
        match wanted(range, total) {
            Wanted::Part(part) => Self::Range(part, total),
            Wanted::Whole => Self::All,
            Wanted::Unsatisfiable => Self::Beyond(total),
        }
    }
}

/// Users of a page that nobody has to wait for.
const PAGE_MAX: u64 = 1000;

/// An export, settled and not begun.
#[derive(Debug)]
pub(crate) struct Task {
    wish: Wish,
    pins: Arc<Pins>,
    site: Arc<Site>,
    target: Target,
    part: Part,
    /// Whether it is rendered at once.
    short: bool,
}

impl Task {
    /// Reads what is asked for, and settles as much of it as takes no pass over the users.
    pub(crate) fn new(api: &Api, call: &Call, caller: &Caller) -> Result<Self, Failure> {
        let wish = Wish::read(call)?;
        let mut target = Target::new(api, call, &wish, snapshot(api, call, caller, &wish)?)?;
        let mut if_range =
            call.request.header("if-range").is_none_or(|condition| target.tag.as_deref() == Some(condition));
        let ranged = call.request.method != "HEAD" && call.request.header("range").is_some();
        // The bytes of a snapshot that is still there are taken instead of the current ones.
        if ranged
            && !if_range
            && let Some(earlier) = target.earlier(api, call, caller, &wish)?
        {
            (target, if_range) = (earlier, true);
        }
        let part = Part::of(call, &target, if_range);
        let short = target.prepared.is_short(LIGHT_MAX).map_err(|e| failed(&e))?;
        Ok(Self { wish, pins: Arc::clone(&api.pins), site: Arc::clone(&caller.site), target, part, short })
    }

    /// Whether the answer takes some CPU time and nothing else.
    pub(crate) const fn is_light(&self) -> bool {
        self.short || matches!(self.part, Part::Head | Part::Known | Part::Beyond(_))
    }

    /// Whether it holds few users, however long it takes to find them and however long they are.
    pub(crate) fn is_page(&self) -> bool {
        self.wish.limit.is_some_and(|limit| limit <= PAGE_MAX)
    }

    /// Answers; waits for the first bytes of an export that is not light.
    pub(crate) fn answer(mut self, call: &Call) -> Result<Response, Failure> {
        // A range is of so many bytes, and a client of HTTP/1.0 has to be told how many come.
        let unmeasured = self.part == Part::Unmeasured;
        if unmeasured || (self.part == Part::All && call.request.http_1_0) {
            self.target.prepared = self.target.prepared.measure().map_err(|e| failed(&e))?;
        }
        if unmeasured {
            self.part = Part::of(call, &self.target, true);
        }
        if self.wish.is_page() {
            let site = &self.site;
            self.pins.keep(&site.api_key, &site.store, &self.target.snapshot, call.request.now_ms());
        }
        let nothing = || Body::Bytes(Vec::new());
        match &self.part {
            Part::Known => Ok(self.response(call, 304, None, nothing())),
            Part::Head => Ok(self.response(call, 200, self.length(), nothing())),
            Part::Beyond(total) => {
                let mut response = self.response(call, 416, Some(0), nothing());
                response.headers.push(("content-range", format!("bytes */{total}")));
                Ok(response)
            }
            _ if self.short => self.rendered(call),
            _ => self.streamed(call),
        }
    }

    /// The length of the body, where it is known.
    fn length(&self) -> Option<u64> {
        self.target.prepared.len().exact().filter(|_| self.wish.callback.is_none())
    }

    /// A short one: rendered here and now.
    fn rendered(&self, call: &Call) -> Result<Response, Failure> {
        let (mut bytes, summary) = self.target.prepared.to_bytes().map_err(|e| failed(&e))?;
        if let Part::Range(part, _) = &self.part {
            let range = usize::try_from(part.start).ok().zip(usize::try_from(part.end).ok());
            bytes = range.and_then(|(start, end)| bytes.get(start..end)).unwrap_or_default().to_vec();
        }
        if let Some(callback) = &self.wish.callback {
            bytes = called(callback, &bytes);
        }
        let mut response = self.partial(call, Some(bytes.len() as u64), Body::Bytes(bytes));
        response.outcome.users = Some(summary.users);
        response.outcome.identities = Some(summary.identities);
        Ok(response)
    }

    /// A long one: rendered as it is sent.
    fn streamed(&self, call: &Call) -> Result<Response, Failure> {
        let mut length = self.length();
        if length.is_none() && call.request.http_1_0 {
            length = Some(self.counted()?);
        }
        let mut body = match &self.part {
            Part::Range(part, total) => {
                let (chunks, first) = self.target.prepared.chunks_from(part.start).map_err(|e| failed(&e))?;
                let (skip, len) = (part.start.saturating_sub(first), part.end - part.start);
                length = Some(len);
                ExportBody::new(chunks, None).map_err(|e| failed(&e))?.part(skip, len, part.end == *total)
            }
            _ => self.body(length)?,
        };
        body = body.of(&self.site.store);
        if self.target.tag.is_some() {
            let now_ms = call.request.now_ms();
            body = body.hold(Hold::new(&self.pins, &self.site, &self.target.snapshot, now_ms));
        }
        Ok(self.partial(call, length, Body::Export(Box::new(body))))
    }

    fn body(&self, length: Option<u64>) -> Result<ExportBody, Failure> {
        let chunks = self.target.prepared.chunks();
        let body = chunks.and_then(|chunks| ExportBody::new(chunks, length)).map_err(|e| failed(&e))?;
        Ok(match &self.wish.callback {
            Some(callback) => body.jsonp(callback),
            None => body,
        })
    }

    /// The length by rendering it all, where no sums tell it.
    fn counted(&self) -> Result<u64, Failure> {
        self.body(None)?.try_fold(0, |length, piece| Ok(length + piece.map_err(|e| failed(&e))?.len() as u64))
    }

    /// All of the bytes, or the part that is asked for.
    fn partial(&self, call: &Call, length: Option<u64>, body: Body) -> Response {
        let Part::Range(part, total) = &self.part else { return self.response(call, 200, length, body) };
        let mut response = self.response(call, 206, length, body);
        response.headers.push(("content-range", format!("bytes {}-{}/{total}", part.start, part.end - 1)));
        response
    }

    fn response(&self, call: &Call, status: u16, length: Option<u64>, body: Body) -> Response {
        let target = &self.target;
        let media_type = if self.wish.callback.is_some() { JAVASCRIPT } else { self.wish.format.media_type() };
        let cache = if target.tag.is_some() { "private, no-cache" } else { "private, no-store" };
        let mut response = call.response(status, media_type, cache, length, body);
        response.headers.push(("x-headcount-seq", target.snapshot.seq().to_string()));
        if let Some(tag) = &target.tag {
            response.headers.push(("etag", tag.clone()));
            let ranges = if target.has_ranges { "bytes" } else { "none" };
            response.headers.push(("accept-ranges", ranges.to_owned()));
        }
        if let Some(compression) = target.compression {
            response.headers.push(("content-encoding", compression.name().to_owned()));
        }
        response.outcome.seq = Some(target.snapshot.seq());
        response
    }
}
