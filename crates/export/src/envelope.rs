//! What stands around the users of a JSON export: the documented members and their order.

use std::collections::BTreeMap;
use std::hash::Hasher;

use headcount_block::Origin;
use serde::de::{self, IgnoredAny};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::buffer::Counts;
use crate::error::Error;
use crate::layout::Layout;
use crate::simple::{json_member, json_text};

/// Settings of the JSON envelope: `callId`, `time`, and members after `time`.
///
/// By default `callId` is a hash of the snapshot and the parameters, and `time` the commit time of the snapshot, so that
/// the same export has the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    call_id: Option<String>,
    time: Option<String>,
    /// Rendered members, each with a comma before it.
    extra: Vec<u8>,
    next_after: bool,
}

impl Envelope {
    /// The default envelope.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `callId`.
    #[must_use]
    pub fn call_id(mut self, call_id: impl Into<String>) -> Self {
        self.call_id = Some(call_id.into());
        self
    }

    /// Sets `time`.
    #[must_use]
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.time = Some(time.into());
        self
    }

    /// Adds the member `name` with a text value after `time`.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.extra.push(b'"');
        json_text(value.as_bytes(), &mut self.extra);
        self.extra.push(b'"');
        self
    }

    /// Adds the member `name` with a number after `time`.
    #[must_use]
    pub fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        self.extra.extend_from_slice(value.to_string().as_bytes());
        self
    }

    /// Adds the member `name` after `time` with a value that is JSON already.
    #[must_use]
    pub fn raw(mut self, name: &str, json: &str) -> Self {
        self.name(name);
        self.extra.extend_from_slice(json.as_bytes());
        self
    }

    /// Whether a page that `limit` cut ends with `nextAfter`, its last UID, as the last member.
    #[must_use]
    pub const fn next_after(mut self, on: bool) -> Self {
        self.next_after = on;
        self
    }

    /// Sets the members after `time`, as [`members`](Self::members) gives them.
    pub(crate) fn with_members(mut self, members: &str) -> Self {
        self.extra = members.as_bytes().to_vec();
        self
    }

    /// The members after `time`, each with a comma before it.
    pub(crate) fn members(&self) -> String {
        String::from_utf8_lossy(&self.extra).into_owned()
    }

    /// Whether a page that the limit cuts says where the next one begins.
    pub(crate) const fn has_next_after(&self) -> bool {
        self.next_after
    }

    fn name(&mut self, name: &str) {
        self.extra.extend_from_slice(b",\"");
        json_text(name.as_bytes(), &mut self.extra);
        self.extra.extend_from_slice(b"\":");
    }
}

/// The members of an envelope that are not after `time`.
const OTHERS: [&str; 10] = [
    "users",
    "usersCount",
    "identitiesCount",
    "statusCode",
    "errorCode",
    "statusReason",
    "errorMessage",
    "callId",
    "time",
    "nextAfter",
];

/// Checks that `members` are some, each with a comma before it, and that none of them stands elsewhere in the envelope.
pub(crate) fn check_members(members: &str) -> Result<(), serde_json::Error> {
    if members.is_empty() {
        return Ok(());
    }
    let list = members.strip_prefix(',').ok_or_else(|| de::Error::custom("members that do not begin with a comma"))?;
    let list: BTreeMap<String, IgnoredAny> = serde_json::from_str(&format!("{{{list}}}"))?;
    match list.keys().find(|name| OTHERS.contains(&name.as_str())) {
        Some(name) => Err(de::Error::custom(format!("a second {name:?} among its members"))),
        None if list.is_empty() => Err(de::Error::custom("a comma without members")),
        None => Ok(()),
    }
}

/// The envelope of one export, with nothing left open but the counts.
#[derive(Debug, Clone)]
pub(crate) struct Trailer {
    call_id: String,
    time: String,
    /// The seq to go on from, in an export of changes.
    seq: Option<u64>,
    extra: Vec<u8>,
    next_after: Option<Vec<u8>>,
}

impl Trailer {
    /// Settles the envelope of an export of `origin` with the parameters that `call_id` hashes; `end` is the last UID
    /// of a page that the limit cut.
    pub(crate) fn new(
        envelope: &Envelope,
        origin: &Origin,
        call_id: impl FnOnce() -> String,
        end: Option<&[u8]>,
    ) -> Self {
        Self {
            call_id: envelope.call_id.clone().unwrap_or_else(call_id),
            time: envelope.time.clone().unwrap_or_else(|| iso8601(origin.time_ms)),
            seq: None,
            extra: envelope.extra.clone(),
            next_after: end.filter(|_| envelope.next_after).map(<[u8]>::to_vec),
        }
    }

    /// `callId` and `time`.
    pub(crate) fn call(&self) -> (&str, &str) {
        (&self.call_id, &self.time)
    }

    /// Adds the member `seq` after `time`.
    pub(crate) fn with_seq(self, seq: Option<u64>) -> Self {
        Self { seq, ..self }
    }

    /// The end of a whole export.
    pub(crate) fn success(&self, counts: Counts) -> Vec<u8> {
        let mut out = ending(counts);
        out.extend_from_slice(b",\"statusCode\":200,\"errorCode\":0,\"statusReason\":\"OK\"");
        self.finish(out, true)
    }

    /// The end of an export that failed after `counts` were sent. It names no file: it may go to strangers.
    pub(crate) fn failure(&self, counts: Counts, error: &Error) -> Vec<u8> {
        let (code, message) =
            if error.is_damage() { ("500028", "Database error") } else { ("500001", "General server error") };
        let mut out = ending(counts);
        out.extend_from_slice(b",\"statusCode\":500,\"errorCode\":");
        out.extend_from_slice(code.as_bytes());
        out.extend_from_slice(b",\"statusReason\":\"Internal Server Error\",");
        json_member("errorMessage", message.as_bytes(), &mut out);
        self.finish(out, false)
    }

    fn finish(&self, mut out: Vec<u8>, whole: bool) -> Vec<u8> {
        out.push(b',');
        json_member("callId", self.call_id.as_bytes(), &mut out);
        out.push(b',');
        json_member("time", self.time.as_bytes(), &mut out);
        out.extend_from_slice(&self.extra);
        if let Some(seq) = self.seq.filter(|_| whole) {
            out.extend_from_slice(format!(",\"seq\":{seq}").as_bytes());
        }
        if let Some(uid) = self.next_after.as_deref().filter(|_| whole) {
            out.push(b',');
            json_member("nextAfter", uid, &mut out);
        }
        out.push(b'}');
        out
    }
}

fn ending(counts: Counts) -> Vec<u8> {
    format!("],\"usersCount\":{},\"identitiesCount\":{}", counts.users, counts.identities).into_bytes()
}

/// The default `callId`: 32 hexadecimal digits that depend on the snapshot and the parameters alone.
pub(crate) fn default_call_id(
    origin: &Origin,
    layout: &Layout,
    (after, limit, since): (Option<&str>, Option<u64>, Option<u64>),
) -> String {
    let mut hash = SipHasher13::new();
    let mut word = |bytes: &[u8]| {
        hash.write(&(bytes.len() as u64).to_le_bytes());
        hash.write(bytes);
    };
    word(&origin.store_id.to_le_bytes());
    word(&origin.incarnation.to_le_bytes());
    word(&origin.seq.to_le_bytes());
    word(layout.format.as_str().as_bytes());
    word(layout.fields.to_string().as_bytes());
    word(&[u8::from(layout.include_pending), u8::from(layout.formula_guard)]);
    word(&[u8::from(after.is_some()), u8::from(limit.is_some())]);
    word(after.unwrap_or_default().as_bytes());
    word(&limit.unwrap_or_default().to_le_bytes());
    if let Some(since) = since {
        word(b"since");
        word(&since.to_le_bytes());
    }
    format!("{:032x}", hash.finish128().as_u128())
}

/// `time_ms`, milliseconds since 1970-01-01 UTC, as `2015-03-22T11:42:25.943Z`.
#[must_use]
pub fn iso8601(time_ms: u64) -> String {
    let (days, ms) = (time_ms / 86_400_000, time_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000)
}

/// Year, month and day of a day number since 1970-01-01, in the proleptic Gregorian calendar.
const fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of year 0, so that a leap day is the last of its year; an era is 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + (month <= 2) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(1_427_024_545_943), "2015-03-22T11:42:25.943Z");
        assert_eq!(iso8601(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(iso8601(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso8601(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(iso8601(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(iso8601(1_735_689_599_001), "2024-12-31T23:59:59.001Z");
    }

    #[test]
    fn members_come_in_the_documented_order() {
        let envelope =
            Envelope::new().time("T").text("context", "a\"b").number("seq", 7).raw("x", "[1]").next_after(true);
        let origin = Origin { store_id: 1, incarnation: 2, seq: 3, time_ms: 4 };
        let trailer = Trailer::new(&envelope, &origin, || "C".to_owned(), Some(b"last"));
        let counts = Counts { users: 7, identities: 9 };
        assert_eq!(
            String::from_utf8(trailer.success(counts)).unwrap(),
            concat!(
                r#"],"usersCount":7,"identitiesCount":9,"statusCode":200,"errorCode":0,"statusReason":"OK","callId":"C","#,
                r#""time":"T","context":"a\"b","seq":7,"x":[1],"nextAfter":"last"}"#
            )
        );
        let failed = String::from_utf8(trailer.failure(counts, &Error::Cancelled)).unwrap();
        assert!(
            failed.starts_with(r#"],"usersCount":7,"identitiesCount":9,"statusCode":500,"errorCode":500001,"#),
            "{failed}"
        );
        assert!(!failed.contains("nextAfter"), "a page that broke off must not be continued: {failed}");
    }
}
