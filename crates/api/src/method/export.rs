//! `socialize.exportUsers`: its parameters, and the export that they ask for.

use std::time::Instant;

use headcount_block::{Source as _, limits};
use headcount_export::{Compression, Envelope, Error, Export, Fields, Format};
use headcount_store::Snapshot;

use crate::method::api::Api;
use crate::method::auth::Caller;
use crate::method::body::{ExportBody, Hold};
use crate::method::call::{Call, JAVASCRIPT, is_callback};
use crate::method::conditional::{Wanted, coding, entity_tag, names, seq_of, wanted};
use crate::method::error::{Code, Failure};
use crate::method::response::{Body, Response};
use crate::method::values::{boolean, number};

/// Exports that are shorter are not compressed: it would take longer than to send them.
const COMPRESS_MIN: u64 = 1024;

/// What is asked for.
#[derive(Debug)]
struct Wish {
    format: Format,
    callback: Option<String>,
    fields: Fields,
    limit: Option<u64>,
    pending: bool,
    after: Option<String>,
    at_seq: Option<u64>,
    since: Option<u64>,
}

impl Wish {
    fn read(call: &Call<'_>) -> Result<Self, Failure> {
        let params = &call.params;
        let (format, callback) = format(call)?;
        let fields = match params.get("fields") {
            None => Fields::default(),
            Some(list) => list
                .parse()
                .map_err(|_| Failure::value("fields", list, "a list of uid, provider, providerUID, status"))?,
        };
        let limit = number(params, "limit")?;
        let pending = boolean(params, "includPendingUsers")?.unwrap_or(false);
        let after = params.get("after").map(str::to_owned);
        if let Some(uid) = after.as_ref().filter(|uid| uid.len() > limits::UID_MAX) {
            return Err(Failure::value("after", uid, "a UID, at most 1024 bytes long"));
        }
        let (at_seq, since) = (number(params, "atSeq")?, number(params, "since")?);
        if let Some(seq) = since {
            let value = seq.to_string();
            if limit.is_some() || after.is_some() {
                return Err(Failure::value("since", &value, "allowed with limit or after: it is always whole"));
            }
            if !fields.has(headcount_export::Field::Uid) {
                return Err(Failure::value("since", &value, "allowed without uid in fields"));
            }
        }
        Ok(Self { format, callback, fields, limit, pending, after, at_seq, since })
    }

    /// All that the bytes depend on, besides the state of the store; none where they differ from call to call.
    fn entity_tag(&self, snapshot: &Snapshot, compression: Option<Compression>) -> Option<String> {
        if self.format == Format::Json {
            return None;
        }
        let origin = snapshot.origin();
        let depends_on = format!(
            "{:x} {:x} {} {} {} {:?} {} {:?} {:?} {}",
            origin.store_id,
            origin.incarnation,
            origin.seq,
            self.format,
            self.fields,
            self.limit,
            self.pending,
            self.after,
            self.since,
            compression.map(|c| c.to_string()).unwrap_or_default(),
        );
        Some(entity_tag(origin.seq, &depends_on))
    }

    /// Whether it is a part of the users that others may follow.
    const fn is_page(&self) -> bool {
        self.limit.is_some() || self.after.is_some() || self.at_seq.is_some()
    }

    fn export(&self, call: &Call<'_>, api: &Api, snapshot: &Snapshot) -> Export<Snapshot> {
        let mut envelope = Envelope::new().call_id(call.call_id()).time(call.time()).next_after(true);
        if let Some(context) = call.params.get("context") {
            envelope = envelope.text("context", context);
        }
        if let Some(ignored) = call.ignored() {
            envelope = envelope.raw("ignoredParams", &ignored);
        }
        if self.is_page() && self.since.is_none() {
            envelope = envelope.number("seq", snapshot.seq());
        }
        Export::new(snapshot)
            .format(self.format)
            .fields(self.fields)
            .include_pending(self.pending)
            .limit(self.limit)
            .after(self.after.as_deref())
            .since(self.since)
            .envelope(envelope)
            .threads(api.settings.export_threads)
    }
}

fn format(call: &Call<'_>) -> Result<(Format, Option<String>), Failure> {
    let Some(name) = call.params.get("format") else { return Ok((Format::Json, None)) };
    if !name.trim().eq_ignore_ascii_case("jsonp") {
        let format = name.trim().parse();
        let format = format.map_err(|_| Failure::value("format", name, "one of json, jsonp, csv, ndjson"))?;
        return Ok((format, None));
    }
    let callback = call.params.required("callback")?;
    if !is_callback(callback) {
        return Err(Failure::value("callback", callback, "1 to 128 of the characters A-Z a-z 0-9 _ . $ [ ]"));
    }
    Ok((Format::Json, Some(callback.to_owned())))
}

/// What failed before the first byte. Nothing of this machine is told.
pub(crate) fn failed(error: &Error) -> Failure {
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
fn snapshot(api: &Api, call: &Call<'_>, caller: &Caller, wish: &Wish) -> Result<Snapshot, Failure> {
    let current = caller.site.store.snapshot();
    let site = &caller.site.api_key;
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

/// How the export is compressed for this client.
fn compression(api: &Api, call: &Call<'_>, export: &Export<Snapshot>) -> Result<Option<Compression>, Failure> {
    if !api.settings.compress || call.request.http_1_0 || call.callback.is_some() {
        return Ok(None);
    }
    let accepted: Vec<&str> = call.request.all("accept-encoding").collect();
    let compression = match coding(&accepted.join(",")) {
        Some("zstd") => Compression::ZSTD,
        Some(_) => Compression::GZIP,
        None => return Ok(None),
    };
    let short = export.len().map_err(|e| failed(&e))?.exact().is_some_and(|length| length < COMPRESS_MIN);
    Ok((!short).then_some(compression))
}

/// One answer in the making.
struct Answer<'a> {
    api: &'a Api,
    call: &'a Call<'a>,
    caller: &'a Caller,
    wish: Wish,
    snapshot: Snapshot,
    compression: Option<Compression>,
    tag: Option<String>,
}

/// Answers a caller who may export.
pub(crate) fn export_users(api: &Api, call: &Call<'_>, caller: &Caller) -> Result<Response, Failure> {
    let wish = Wish::read(call)?;
    let snapshot = snapshot(api, call, caller, &wish)?;
    let compression = compression(api, call, &wish.export(call, api, &snapshot))?;
    let tag = wish.entity_tag(&snapshot, compression);
    let mut answer = Answer { api, call, caller, wish, snapshot, compression, tag };
    if let (Some(header), Some(tag)) = (call.request.header("if-none-match"), &answer.tag)
        && names(header, tag)
    {
        return Ok(answer.response(304, None, Body::Bytes(Vec::new())));
    }
    let resumes = answer.resumes();
    if answer.wish.is_page() {
        api.pins.keep(&caller.site.api_key, &answer.snapshot, call.request.now_ms());
    }
    answer.send(resumes)
}

impl Answer<'_> {
    /// Whether `Range` counts: without `If-Range`, or when that names these bytes; those of a snapshot that is still there
    /// are taken instead of the current ones.
    fn resumes(&mut self) -> bool {
        let request = self.call.request;
        if self.tag.is_none() || request.method == "HEAD" || request.header("range").is_none() {
            return false;
        }
        let Some(condition) = request.header("if-range") else { return true };
        if self.tag.as_deref() == Some(condition) {
            return true;
        }
        let Some(seq) = seq_of(condition) else { return false };
        let site = &self.caller.site.api_key;
        let Some(earlier) = self.api.pins.find(site, seq, &self.snapshot.origin(), request.now_ms()) else {
            return false;
        };
        let tag = self.wish.entity_tag(&earlier, self.compression);
        if tag.as_deref() != Some(condition) {
            return false;
        }
        (self.snapshot, self.tag) = (earlier, tag);
        true
    }

    fn export(&self) -> Export<Snapshot> {
        self.wish.export(self.call, self.api, &self.snapshot).compress(self.compression)
    }

    fn body(&self, export: &Export<Snapshot>, length: Option<u64>) -> Result<ExportBody, Failure> {
        let body = export.chunks().and_then(|chunks| ExportBody::new(chunks, length)).map_err(|e| failed(&e))?;
        Ok(match &self.wish.callback {
            Some(callback) => body.jsonp(callback),
            None => body,
        })
    }

    /// The length of the body. A client of HTTP/1.0 has to be told: what is not known is counted by a pass of its own.
    fn length(&self, export: &Export<Snapshot>) -> Result<Option<u64>, Failure> {
        let known = export.len().map_err(|e| failed(&e))?.exact();
        let known = known.filter(|_| self.wish.callback.is_none());
        if known.is_some() || !self.call.request.http_1_0 {
            return Ok(known);
        }
        let mut length = 0;
        for piece in self.body(export, None)? {
            length += piece.map_err(|e| failed(&e))?.len() as u64;
        }
        Ok(Some(length))
    }

    fn send(self, resumes: bool) -> Result<Response, Failure> {
        let export = self.export();
        let length = self.length(&export)?;
        if self.call.request.method == "HEAD" {
            return Ok(self.response(200, length, Body::Bytes(Vec::new())));
        }
        let range = self.call.request.header("range").filter(|_| resumes);
        let part = match (range, length) {
            (Some(range), Some(total)) => match wanted(range, total) {
                Wanted::Part(part) => Some((part, total)),
                Wanted::Whole => None,
                Wanted::Unsatisfiable => {
                    let mut response = self.response(416, Some(0), Body::Bytes(Vec::new()));
                    response.headers.push(("content-range", format!("bytes */{total}")));
                    return Ok(response);
                }
            },
            // What is compressed as it goes has no length yet: it is sent from the beginning.
            _ => None,
        };
        let mut body = self.body(&export, length)?;
        if self.tag.is_some() {
            body = body.hold(Hold {
                pins: self.api.pins.clone(),
                site: self.caller.site.api_key.clone(),
                snapshot: self.api.pins.enter(&self.caller.site.api_key, &self.snapshot),
                now_ms: self.call.request.now_ms(),
                since: Instant::now(),
            });
        }
        let Some((part, total)) = part else {
            return Ok(self.response(200, length, Body::Export(Box::new(body))));
        };
        let body = Body::Export(Box::new(body.part(&part, total)));
        let mut response = self.response(206, Some(part.end - part.start), body);
        response.headers.push(("content-range", format!("bytes {}-{}/{total}", part.start, part.end - 1)));
        Ok(response)
    }

    fn response(&self, status: u16, length: Option<u64>, body: Body) -> Response {
        let media_type = if self.wish.callback.is_some() { JAVASCRIPT } else { self.wish.format.media_type() };
        let cache = if self.tag.is_some() { "private, no-cache" } else { "private, no-store" };
        let mut response = self.call.response(status, media_type, cache, length, body);
        response.headers.push(("x-headcount-seq", self.snapshot.seq().to_string()));
        if let Some(tag) = &self.tag {
            response.headers.push(("etag", tag.clone()));
            let ranges = if self.compression.is_none() { "bytes" } else { "none" };
            response.headers.push(("accept-ranges", ranges.to_owned()));
        }
        if let Some(compression) = self.compression {
            response.headers.push(("content-encoding", compression.name().to_owned()));
        }
        response.outcome.seq = Some(self.snapshot.seq());
        response
    }
}
