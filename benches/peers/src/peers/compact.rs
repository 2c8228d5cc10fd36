//! A user as bytes for the key-value stores: as short and as fast to read as a program of one's own would have it.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::Outcome;

/// A user object of the input. Text is borrowed from it unless it has escapes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record<'a> {
    #[serde(rename = "UID", borrow)]
    pub(crate) uid: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing)]
    pub(crate) status: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) identities: Vec<Link<'a>>,
}

/// An identity of the input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Link<'a> {
    #[serde(borrow)]
    pub(crate) provider: Cow<'a, str>,
    #[serde(rename = "providerUID", borrow)]
    pub(crate) provider_uid: Cow<'a, str>,
}

impl<'a> Record<'a> {
    /// The user of a compact row.
    pub(crate) fn of(uid: &'a [u8], links: Row<'a>) -> Outcome<Self> {
        let text = |bytes: &'a [u8]| Ok::<_, std::str::Utf8Error>(Cow::Borrowed(std::str::from_utf8(bytes)?));
        let link = |(provider, uid)| {
            Ok::<_, std::str::Utf8Error>(Link { provider: text(provider)?, provider_uid: text(uid)? })
        };
        let identities = links.map(link).collect::<Result<_, _>>()?;
        Ok(Self { uid: text(uid)?, status: Cow::Borrowed(""), identities })
    }

    /// Whether exports leave this user out.
    pub(crate) fn is_pending(&self) -> bool {
        self.status == "pending"
    }
}

/// Appends a user without its UID: whether it is pending, then each identity behind its two lengths.
pub(crate) fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> Outcome {
    out.push(u8::from(record.is_pending()));
    for link in &record.identities {
        out.extend(u16::try_from(link.provider.len())?.to_le_bytes());
        out.extend(u16::try_from(link.provider_uid.len())?.to_le_bytes());
        out.extend(link.provider.as_bytes());
        out.extend(link.provider_uid.as_bytes());
    }
    Ok(())
}

/// Appends the finished JSON of a user, behind whether it is pending and its number of identities.
pub(crate) fn encode_json(record: &Record<'_>, out: &mut Vec<u8>) -> Outcome {
    out.push(u8::from(record.is_pending()));
    out.extend(u16::try_from(record.identities.len())?.to_le_bytes());
    Ok(serde_json::to_writer(out, record)?)
}

/// Reads what [`encode`] wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    /// The row, and whether the user is pending.
    pub(crate) fn new(bytes: &'a [u8]) -> Outcome<(Self, bool)> {
        let (pending, rest) = bytes.split_first().ok_or("an empty row")?;
        Ok((Self(rest), *pending != 0))
    }
}

impl<'a> Iterator for Row<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let ([a, b, c, d], rest) = self.0.split_first_chunk()?;
        let (provider, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*a, *b])))?;
        let (provider_uid, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*c, *d])))?;
        self.0 = rest;
        Some((provider, provider_uid))
    }
}

/// What [`encode_json`] wrote: whether the user is pending, the number of identities, the JSON.
pub(crate) fn decode_json(bytes: &[u8]) -> Outcome<(bool, u64, &[u8])> {
    let ([pending, a, b], json) = bytes.split_first_chunk().ok_or("an empty row")?;
    Ok((*pending != 0, u64::from(u16::from_le_bytes([*a, *b])), json))
}

/// Appends the key of an identity. Neither part may hold a NUL.
pub(crate) fn key(provider: &str, provider_uid: &str, out: &mut Vec<u8>) {
    out.extend(provider.as_bytes());
    out.push(0);
    out.extend(provider_uid.as_bytes());
}
