//! One user object as exports write it: no white space, members in their order, escapes in their one form.

use super::window::Stop;
use headcount_block::text::plain_prefix;

/// Members of a user object and of its identities: every user of an export has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    pub(crate) uid: bool,
    pub(crate) status: bool,
    pub(crate) identities: bool,
    /// Those of an identity; unknown without any.
    pub(crate) identity: Option<IdentityShape>,
}

/// Members of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdentityShape {
    pub(crate) provider: bool,
    pub(crate) provider_uid: bool,
}

/// A string: its inside, as it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'b> {
    pub(crate) bytes: &'b [u8],
    pub(crate) escaped: bool,
}

/// An object that was read.
#[derive(Debug)]
pub(crate) struct Object<'b> {
    pub(crate) len: usize,
    pub(crate) uid: Option<Text<'b>>,
    pub(crate) identities: u64,
    pub(crate) shape: Shape,
    /// Whether it says that the user is gone.
    pub(crate) deleted: bool,
}

/// Steps over what has to stand somewhere.
pub(crate) struct Scan<'b> {
    bytes: &'b [u8],
    pub(crate) at: usize,
}

impl<'b> Scan<'b> {
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Steps over `text`, if it is there.
    #[inline(always)]
    pub(crate) fn option<const N: usize>(&mut self, text: &[u8; N]) -> Result<bool, Stop> {
        let rest = self.rest();
        match rest.first_chunk::<N>() {
            Some(found) if found == text => {
                self.at += N;
                Ok(true)
            }
            Some(_) => Ok(false),
            None if text.starts_with(rest) => Err(Stop::More),
            None => Ok(false),
        }
    }

    /// Steps over `text`.
    #[inline(always)]
    pub(crate) fn expect<const N: usize>(&mut self, text: &[u8; N], expected: &'static str) -> Result<(), Stop> {
        if self.option(text)? { Ok(()) } else { Err(Stop::Bad { at: self.at, expected }) }
    }

    /// Steps over the inside of a string and its closing quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text<'b>, Stop> {
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(self.rest());
            match self.rest() {
                [] => return Err(Stop::More),
                [b'"', ..] => {
                    let bytes = self.bytes.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(Text { bytes, escaped });
                }
                [b'\\', after @ ..] => {
                    escaped = true;
                    self.at += 1 + escape(after).map_err(|stop| self.shifted(stop))?;
                }
                _ => return Err(Stop::Bad { at: self.at, expected: "no control byte inside a text" }),
            }
        }
    }

    const fn shifted(&self, stop: Stop) -> Stop {
        match stop {
            Stop::Bad { at, expected } => Stop::Bad { at: self.at + at, expected },
            Stop::More => Stop::More,
        }
    }
}

/// Length of an escape after its backslash.
fn escape(after: &[u8]) -> Result<usize, Stop> {
    let bad = Err(Stop::Bad { at: 0, expected: "an escape as exports write it" });
    match after {
        [] => Err(Stop::More),
        [b'"' | b'\\' | b'n' | b'r' | b't' | b'b' | b'f', ..] => Ok(1),
        [b'u', digits @ ..] => {
            let Some(digits) = digits.first_chunk::<4>() else { return Err(Stop::More) };
            let [b'0', b'0', high @ (b'0' | b'1'), low] = digits else { return bad };
            let low = match low {
                b'0'..=b'9' => low - b'0',
                b'a'..=b'f' => low - b'a' + 10,
                _ => return bad,
            };
            let byte = (high - b'0') * 16 + low;
            // These have a shorter form.
            if matches!(byte, 0x08 | b'\t' | b'\n' | 0x0c | b'\r') { bad } else { Ok(5) }
        }
        _ => bad,
    }
}

/// Reads the user object at the start of `bytes`.
pub(crate) fn object(bytes: &[u8]) -> Result<Object<'_>, Stop> {
    let mut scan = Scan::new(bytes);
    let mut object = Object { len: 0, uid: None, identities: 0, shape: Shape::default(), deleted: false };
    scan.expect(b"{", "a user object")?;
    let mut goes_on = true;
    if scan.option(b"\"UID\":\"")? {
        let uid = scan.string()?;
        if uid.bytes.is_empty() {
            return Err(Stop::Bad { at: scan.at, expected: "a UID that is not empty" });
        }
        object.uid = Some(uid);
        object.shape.uid = true;
        goes_on = scan.option(b",")?;
        if goes_on && scan.option(b"\"deleted\":true}")? {
            object.deleted = true;
            object.len = scan.at;
            return Ok(object);
        }
    }
    if goes_on && scan.option(b"\"status\":\"")? {
        if !scan.option(b"registered\"")? {
            scan.expect(b"pending\"", "registered or pending")?;
        }
        object.shape.status = true;
        goes_on = scan.option(b",")?;
    }
    if goes_on {
        scan.expect(b"\"identities\":[", "a member of a user: UID, status or identities, in this order")?;
        object.shape.identities = true;
        identities(&mut scan, &mut object)?;
    }
    scan.expect(b"}", "a comma or the end of the user object")?;
    object.len = scan.at;
    Ok(object)
}

fn identities(scan: &mut Scan<'_>, object: &mut Object<'_>) -> Result<(), Stop> {
    if scan.option(b"]")? {
        return Ok(());
    }
    loop {
        scan.expect(b"{\"provider", "an identity")?;
        let provider = scan.option(b"\":\"")?;
        let mut goes_on = !provider;
        if provider {
            scan.string()?;
            goes_on = scan.option(b",\"provider")?;
        }
        if goes_on {
            scan.expect(b"UID\":\"", "providerUID")?;
            scan.string()?;
        }
        scan.expect(b"}", "the end of the identity")?;
        let shape = IdentityShape { provider, provider_uid: goes_on };
        if *object.shape.identity.get_or_insert(shape) != shape {
            return Err(Stop::Bad { at: scan.at, expected: "an identity with the members of the one before" });
        }
        object.identities += 1;
        if scan.option(b"]")? {
            return Ok(());
        }
        scan.expect(b",", "a comma or the end of the identities")?;
    }
}

impl Text<'_> {
    /// Calls `then` with the text that it stands for.
    pub(crate) fn with<T>(self, then: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
        if !self.escaped {
            return Ok(then(self.bytes));
        }
        let quoted = [b"\"", self.bytes, b"\""].concat();
        let text: Result<String, _> = serde_json::from_slice(&quoted);
        text.map(|text| then(text.as_bytes())).map_err(|_| Stop::Bad { at: 0, expected: "UTF-8 text" })
    }
}

impl Shape {
    /// Whether a user of `other` can be in the same export; what is not known yet is learnt.
    pub(crate) fn agrees(&mut self, other: &Self) -> bool {
        let same = (self.uid, self.status, self.identities) == (other.uid, other.status, other.identities);
        match (self.identity, other.identity) {
            (None, learnt) => {
                self.identity = learnt;
                same
            }
            (Some(known), Some(found)) => same && known == found,
            (Some(_), None) => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_every_field_set_and_no_other() {
        for (text, identities) in [
            (r#"{"UID":"a"}"#, 0),
            (r#"{"status":"pending"}"#, 0),
            (r#"{"UID":"\"\\\n\u001f\b\f\r\t","status":"registered"}"#, 0),
            (r#"{"identities":[]}"#, 0),
            (r#"{"UID":"a","status":"registered","identities":[{"provider":"p","providerUID":"u"}]}"#, 1),
            (r#"{"UID":"a","identities":[{"provider":"p"},{"provider":""}]}"#, 2),
            (r#"{"identities":[{"providerUID":"é"},{"providerUID":"b"},{"providerUID":"c"}]}"#, 3),
            (r#"{"UID":"a","deleted":true}"#, 0),
        ] {
            let read = object(text.as_bytes()).unwrap();
            assert_eq!((read.len, read.identities), (text.len(), identities), "{text}");
            assert_eq!(read.deleted, text.contains("deleted"));
            for len in 0..text.len() {
                assert_eq!(object(&text.as_bytes()[..len]).unwrap_err(), Stop::More, "{text} {len}");
            }
        }
        for text in [
            "{}",
            "[",
            r#"{"UID":""}"#,
            r#"{"UID":"a",}"#,
            r#"{ "UID":"a"}"#,
            r#"{"uid":"a"}"#,
            r#"{"UID":"a"]"#,
            r#"{"status":"x"}"#,
            r#"{"status":"pending","UID":"a"}"#,
            r#"{"UID":"\/"}"#,
            r#"{"UID":"\u0041"}"#,
            r#"{"UID":"\u001F"}"#,
            r#"{"UID":"\u000a"}"#,
            "{\"UID\":\"\n\"}",
            r#"{"identities":[{}]}"#,
            r#"{"identities":[{"provider":"p"},{"providerUID":"b"}]}"#,
            r#"{"identities":[{"provider":"p"},]}"#,
            r#"{"identities":[{"provider":"p","provider":"b"}]}"#,
            r#"{"UID":"a","deleted":false}"#,
        ] {
            assert!(matches!(object(text.as_bytes()), Err(Stop::Bad { .. })), "{text}");
        }
    }
}
