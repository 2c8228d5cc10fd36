//! What an exportUsers asks for: the values of its parameters.

use headcount_block::{Source as _, limits};
use headcount_export::{Compression, Envelope, Export, Field, Fields, Format};
use headcount_store::Snapshot;

use crate::method::call::{Call, is_callback};
use crate::method::conditional::entity_tag;
use crate::method::error::Failure;
use crate::method::values::{boolean, number};

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) format: Format,
    pub(crate) callback: Option<String>,
    pub(crate) fields: Fields,
    pub(crate) limit: Option<u64>,
    pub(crate) pending: bool,
    pub(crate) after: Option<String>,
    pub(crate) at_seq: Option<u64>,
    pub(crate) since: Option<u64>,
}

impl Wish {
    /// Reads the parameters.
    pub(crate) fn read(call: &Call) -> Result<Self, Failure> {
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
            if !fields.has(Field::Uid) {
                return Err(Failure::value("since", &value, "allowed without uid in fields"));
            }
        }
        Ok(Self { format, callback, fields, limit, pending, after, at_seq, since })
    }

    /// All that the bytes depend on, besides the state of the store; none where they differ from call to call.
    pub(crate) fn entity_tag(&self, snapshot: &Snapshot, compression: Option<Compression>) -> Option<String> {
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
    pub(crate) const fn is_page(&self) -> bool {
        self.limit.is_some() || self.after.is_some() || self.at_seq.is_some()
    }

    /// The export of `snapshot` that is asked for.
    pub(crate) fn export(&self, call: &Call, threads: Option<usize>, snapshot: &Snapshot) -> Export<Snapshot> {
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
            .threads(threads)
    }
}

fn format(call: &Call) -> Result<(Format, Option<String>), Failure> {
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
