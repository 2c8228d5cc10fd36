//! JSON and NDJSON exports, record by record.

use std::io::Read;

use serde::Deserialize;

use super::content::Content;
use super::error::{Halt, Problem};
use super::object::{Scan, Shape, object};
use super::tally::Tally;
use super::window::{Stop, Window};
use crate::fields::{Field, Fields};
use crate::simple::json_member;

/// What a JSON export begins with.
pub(crate) const HEAD: &[u8] = b"{\"users\":[";
/// What stands between its users and the UIDs that are gone.
const DELETED: &[u8] = b",\"deletedUIDs\":[";
/// Its end is shorter, for all members that a caller may add.
const TRAILER_MAX: usize = 1 << 20;

/// The members after the users; others are the caller's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trailer {
    pub(crate) users_count: u64,
    pub(crate) identities_count: u64,
    pub(crate) status_code: i64,
    pub(crate) error_code: i64,
    pub(crate) call_id: String,
    pub(crate) time: String,
    #[serde(default)]
    pub(crate) seq: Option<u64>,
    #[serde(default)]
    next_after: Option<String>,
}

/// Goes through users, each with `before` it but the first.
struct Users<'w, R> {
    window: &'w mut Window<R>,
    tally: Tally,
    shape: Option<Shape>,
    changes: bool,
}

/// What stands after a user.
enum Next {
    User,
    End,
}

impl<R: Read> Users<'_, R> {
    /// Takes all users that are whole in the window. `after` looks at what stands behind a user.
    fn take(&mut self, mut after: impl FnMut(&mut Scan<'_>) -> Result<Next, Stop>) -> Result<(), Halt> {
        loop {
            let mut passed = 0;
            let stop = loop {
                let bytes = self.window.bytes().get(passed..).unwrap_or_default();
                let offset = self.window.offset() + passed as u64;
                let taken = user(bytes, &mut self.shape, &mut after);
                let (read, len, next) = match taken {
                    Ok(taken) => taken,
                    Err(stop) => break stop,
                };
                self.changes |= read.deleted;
                count(&mut self.tally, &read, offset)?;
                passed += len;
                if matches!(next, Next::End) {
                    return Ok(self.window.consume(passed)?);
                }
            };
            self.window.consume(passed)?;
            match stop {
                Stop::Bad { at, expected } => return Err(self.window.bad(at, expected).into()),
                Stop::More if self.window.more()? => {}
                Stop::More => return Err(self.window.cut_short("a user").into()),
            }
        }
    }

    fn finish(self, trailer: Option<Trailer>) -> Content {
        let shape = self.shape.unwrap_or_default();
        let fields = [
            (shape.uid, Field::Uid),
            (shape.status, Field::Status),
            (shape.identity.is_some_and(|i| i.provider), Field::Provider),
            (shape.identity.is_some_and(|i| i.provider_uid), Field::ProviderUid),
        ];
        let fields = fields.into_iter().filter_map(|(has, field)| has.then_some(field));
        // Without any identity it is not known which of its fields were asked for.
        let is_known = self.shape.is_some() && (shape.identity.is_some() || !shape.identities);
        Content {
            fields: Fields::new(fields).filter(|_| is_known),
            has_uids: self.shape.is_none_or(|shape| shape.uid),
            counts_users: true,
            changes: self.changes,
            trailer,
            tally: self.tally,
        }
    }
}

/// A user and what stands behind it.
fn user<'b>(
    bytes: &'b [u8],
    shape: &mut Option<Shape>,
    after: &mut impl FnMut(&mut Scan<'_>) -> Result<Next, Stop>,
) -> Result<(super::object::Object<'b>, usize, Next), Stop> {
    let read = object(bytes)?;
    let mut scan = Scan::new(bytes);
    scan.at = read.len;
    let next = after(&mut scan)?;
    if !read.deleted && !shape.get_or_insert(read.shape).agrees(&read.shape) {
        return Err(Stop::Bad { at: 0, expected: "a user with the members of the one before" });
    }
    Ok((read, scan.at, next))
}

fn count(tally: &mut Tally, read: &super::object::Object<'_>, offset: u64) -> Result<(), Halt> {
    let Some(uid) = read.uid else {
        tally.count(read.identities);
        return Ok(());
    };
    let counted =
        uid.with(|uid| if read.deleted { tally.gone(uid, offset) } else { tally.user(uid, read.identities, offset) });
    match counted {
        Ok(counted) => Ok(counted?),
        Err(_) => {
            Err(Problem::Content { offset, expected: "UTF-8 text".to_owned(), found: "other bytes".to_owned() }.into())
        }
    }
}

/// NDJSON: a user a line, and every line whole.
pub(crate) fn lines(window: &mut Window<impl Read>) -> Result<Content, Halt> {
    let mut users = Users { window, tally: Tally::default(), shape: None, changes: false };
    let outcome = users.take(|scan| {
        scan.expect(b"\n", "the end of the line")?;
        Ok(Next::User)
    });
    match outcome {
        // Nothing after the end of a line: that is the end of the file.
        Err(Halt::Found(Problem::CutShort { .. })) if users.window.bytes().is_empty() => Ok(users.finish(None)),
        other => other.map(|()| users.finish(None)),
    }
}

/// The JSON document, whose head is in the window.
pub(crate) fn document(window: &mut Window<impl Read>) -> Result<Content, Halt> {
    window.consume(HEAD.len())?;
    let mut users = Users { window, tally: Tally::default(), shape: None, changes: false };
    users.window.fill(1)?;
    if users.window.bytes().first() == Some(&b']') {
        users.window.consume(1)?;
    } else {
        users.take(|scan| {
            if scan.option(b"]")? {
                return Ok(Next::End);
            }
            scan.expect(b",", "a comma or the end of the users")?;
            Ok(Next::User)
        })?;
    }
    users.window.fill(DELETED.len())?;
    if users.window.bytes().starts_with(DELETED) {
        users.window.consume(DELETED.len())?;
        users.changes = true;
        users.tally.begin_list();
        deleted_uids(users.window, &mut users.tally)?;
    }
    let trailer = trailer(users.window, users.changes)?;
    Ok(users.finish(Some(trailer)))
}

fn deleted_uids(window: &mut Window<impl Read>, tally: &mut Tally) -> Result<(), Halt> {
    window.fill(1)?;
    if window.bytes().first() == Some(&b']') {
        return Ok(window.consume(1)?);
    }
    loop {
        let mut scan = Scan::new(window.bytes());
        let taken = scan.expect(b"\"", "a UID").and_then(|()| {
            let uid = scan.string()?;
            let is_last = scan.option(b"]")?;
            if !is_last {
                scan.expect(b",", "a comma or the end of the UIDs")?;
            }
            let counted = uid.with(|uid| tally.gone(uid, window.offset()))?;
            Ok((scan.at, is_last, counted))
        });
        match taken {
            Ok((len, is_last, counted)) => {
                counted?;
                window.consume(len)?;
                if is_last {
                    return Ok(());
                }
            }
            Err(Stop::Bad { at, expected }) => return Err(window.bad(at, expected).into()),
            Err(Stop::More) if window.more()? => {}
            Err(Stop::More) => return Err(window.cut_short("deletedUIDs").into()),
        }
    }
}

fn trailer(window: &mut Window<impl Read>, changes: bool) -> Result<Trailer, Halt> {
    while window.bytes().len() <= TRAILER_MAX && window.more()? {}
    let bytes = window.bytes();
    let Some(rest) = bytes.strip_prefix(b",").filter(|_| bytes.len() <= TRAILER_MAX) else {
        if bytes.is_empty() {
            return Err(window.cut_short("the JSON document").into());
        }
        return Err(window.bad(0, "the counts after the users").into());
    };
    let text = [b"{", rest].concat();
    let trailer: Trailer = match serde_json::from_slice(&text) {
        Ok(trailer) => trailer,
        Err(error) if error.is_eof() => return Err(window.cut_short("the JSON document").into()),
        Err(error) => {
            let expected = format!("the members after the users ({error}, counted from there)");
            return Err(window.bad(0, &expected).into());
        }
    };
    if (trailer.status_code, trailer.error_code) == (200, 0)
        && let Err((at, expected)) = trailer.as_written(bytes, changes)
    {
        return Err(window.bad(at, expected).into());
    }
    let len = bytes.len();
    window.consume(len)?;
    Ok(trailer)
}

impl Trailer {
    /// Whether `bytes`, which it was read from, are as a whole export has them; else where they are not, and what is
    /// expected there. Members between `time` and the last ones are the caller's, and stand as the caller wrote them.
    fn as_written(&self, bytes: &[u8], changes: bool) -> Result<(), (usize, &'static str)> {
        let mut first = format!(
            ",\"usersCount\":{},\"identitiesCount\":{},\"statusCode\":200,\"errorCode\":0,\"statusReason\":\"OK\",",
            self.users_count, self.identities_count
        )
        .into_bytes();
        json_member("callId", self.call_id.as_bytes(), &mut first);
        first.push(b',');
        json_member("time", self.time.as_bytes(), &mut first);
        let same = first.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        if same < first.len() {
            return Err((same, "the members after the users as exports write them"));
        }
        let mut last = match self.seq.filter(|_| changes) {
            Some(seq) => format!(",\"seq\":{seq}").into_bytes(),
            None if changes => return Err((first.len(), "the member seq of changes")),
            None => Vec::new(),
        };
        if let Some(uid) = &self.next_after {
            last.push(b',');
            json_member("nextAfter", uid.as_bytes(), &mut last);
        }
        last.push(b'}');
        // A line end that a program put after it changes nothing.
        let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let others = whole.get(first.len()..).and_then(|rest| rest.strip_suffix(last.as_slice()));
        match others {
            Some([]) => Ok(()),
            Some([b',', b'"', .., end]) if !end.is_ascii_whitespace() => Ok(()),
            _ => Err((first.len(), "members and the end of the document as exports write them")),
        }
    }
}
