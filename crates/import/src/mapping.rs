//! Mappings: where a caller says that UIDs and identities are, for files that no format fits.

use std::fmt;

use crate::draft::{Draft, Record, Verdict};
use crate::object::{Bad, Object, Value};
use crate::path::Step;

/// Where UIDs and identities are in records of any shape.
///
/// Made of pairs `name=place`. In JSON a place is a JSON Pointer (RFC 6901) into the record; in CSV, the name of a
/// column. `=text` as a place stands for that text itself, so that `provider==site` is the provider `site`.
///
/// | name | place |
/// | --- | --- |
/// | `uid` | the UID: text or a whole number; needed |
/// | `identities` | JSON: an array of objects, or an object whose keys are the providers |
/// | `provider`, `providerUID` | of an identity: in the elements of `identities`, or in the record when it has one |
/// | `records` | JSON: the array of records in a document; none when it is an array, or one object a line |
///
/// Without `identities`, the records of one UID are one user.
///
/// ```
/// # use headcount_import::Mapping;
/// let mapping = Mapping::parse(["uid=/id", "identities=/links", "provider=/idp", "providerUID=/sub"])?;
/// assert!(Mapping::parse(["uid=/id", "colour=/hair"]).unwrap_err().to_string().contains("\"colour\""));
/// # let _ = mapping;
/// # Ok::<(), headcount_import::BadMapping>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub(crate) uid: At,
    pub(crate) identities: Option<At>,
    pub(crate) provider: Option<At>,
    pub(crate) provider_uid: Option<At>,
    pub(crate) records: Option<At>,
}

/// A mapping that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; expected --map uid=PLACE, and where there are identities provider=PLACE and providerUID=PLACE")]
pub struct BadMapping(String);

/// A place in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// The name of a column, or a JSON Pointer as it was written.
    Place(String),
    /// This text.
    Text(String),
}

impl Mapping {
    /// Reads pairs `name=place`.
    ///
    /// # Errors
    /// [`BadMapping`]: an unknown or repeated name, or one that is missing.
    pub fn parse<'p>(pairs: impl IntoIterator<Item = &'p str>) -> Result<Self, BadMapping> {
        let mut found: [(&str, Option<At>); 5] =
            ["uid", "identities", "provider", "providerUID", "records"].map(|name| (name, None));
        for pair in pairs {
            let (name, place) = pair.split_once('=').ok_or_else(|| BadMapping(format!("{pair:?} has no `=`")))?;
            let Some((_, slot)) = found.iter_mut().find(|(known, _)| *known == name) else {
                return Err(BadMapping(format!("there is no {name:?} to map")));
            };
            if place.is_empty() {
                return Err(BadMapping(format!("{name} has no place")));
            }
            if slot.replace(At::of(place)).is_some() {
                return Err(BadMapping(format!("{name} is given twice")));
            }
        }
        let [uid, identities, provider, provider_uid, records] = found.map(|(_, place)| place);
        let uid = uid.ok_or_else(|| BadMapping("uid is missing".to_owned()))?;
        let mapping = Self { uid, identities, provider, provider_uid, records };
        mapping.check()?;
        Ok(mapping)
    }

    fn check(&self) -> Result<(), BadMapping> {
        let bad = |problem: &str| Err(BadMapping(problem.to_owned()));
        // Only a provider can be the same for all.
        let places =
            [("identities", &self.identities), ("providerUID", &self.provider_uid), ("records", &self.records)];
        for (name, at) in places {
            if let Some(At::Text(text)) = at {
                return bad(&format!("{name} is the text {text:?} for all (of two `=` the second makes it one)"));
            }
        }
        match (&self.identities, &self.provider, &self.provider_uid) {
            (_, Some(_), None) => bad("provider is given but providerUID is not"),
            (None, None, Some(_)) => bad("providerUID is given but provider is not"),
            (Some(_), None, None) => bad("identities is given but providerUID is not"),
            _ if matches!(self.uid, At::Text(_)) => bad("uid is the same text for all"),
            _ => Ok(()),
        }
    }

    /// Maps a JSON record.
    pub(crate) fn apply<'a>(&self, record: &Record<'a>, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
        let whole = Value::parse(record.text)?;
        let uid = self.uid.find(whole)?.ok_or_else(|| Bad::shape(record.text, format!("no UID at {}", self.uid)))?;
        draft.uid(&self.uid.to_string(), uid)?;
        let Some(at) = &self.identities else {
            self.identity(whole, None, draft)?;
            return Ok(if self.provider_uid.is_some() { Verdict::Fragment } else { Verdict::User });
        };
        let Some(identities) = at.find(whole)? else { return Ok(Verdict::User) };
        if identities.is_object() {
            let by_key: Object<'a> = identities.object("identities")?;
            by_key.members().try_for_each(|(key, value)| self.identity(value, Some(key), draft))?;
        } else {
            let elements = identities.array("identities")?;
            elements.into_iter().try_for_each(|element| self.identity(element, None, draft))?;
        }
        Ok(Verdict::User)
    }

    /// The identity in `value`, whose key may be its provider; neither half is no identity.
    fn identity<'a>(&self, value: Value<'a>, key: Option<&str>, draft: &mut Draft<'_>) -> Result<(), Bad<'a>> {
        let Some(at) = &self.provider_uid else { return Ok(()) };
        let id = at.find(value)?;
        let named = match &self.provider {
            Some(At::Text(text)) => id.map(|_| text.clone()),
            Some(place) => place.find(value)?.map(|v| v.id("provider").map(|name| name.into_owned())).transpose()?,
            None => key.map(str::to_owned),
        };
        match (named, id) {
            (Some(provider), Some(id)) => draft.link(&provider, "providerUID", id),
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Bad::shape(value.raw(), "an identity without a provider")),
            (Some(_), None) => Err(Bad::shape(value.raw(), format!("an identity with nothing at {at}"))),
        }
    }

    /// Where the records are in a JSON document, if it is said.
    pub(crate) fn record_steps(&self) -> Option<Vec<Step>> {
        let Some(At::Place(pointer)) = &self.records else { return None };
        let mut steps: Vec<_> = keys(pointer).map(Step::Key).collect();
        steps.push(Step::Each);
        Some(steps)
    }
}

impl At {
    fn of(place: &str) -> Self {
        place.strip_prefix('=').map_or_else(|| Self::Place(place.to_owned()), |text| Self::Text(text.to_owned()))
    }

    /// The value at this place of `value`.
    fn find<'a>(&self, value: Value<'a>) -> Result<Option<Value<'a>>, Bad<'a>> {
        let Self::Place(pointer) = self else { return Ok(None) };
        let mut at = value;
        for key in keys(pointer) {
            let next = if at.is_array() {
                let elements = at.array(&key)?;
                key.parse::<usize>().ok().and_then(|i| elements.get(i).copied())
            } else if at.is_object() {
                at.object(&key)?.get(&key)?
            } else {
                None
            };
            match next {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at).filter(|v| !v.is_null()))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => f.write_str(place),
            Self::Text(text) => write!(f, "={text}"),
        }
    }
}

/// The keys of a JSON Pointer; a name without a slash is one key.
fn keys(pointer: &str) -> impl Iterator<Item = String> + '_ {
    let pointer = pointer.strip_prefix('/').unwrap_or(pointer);
    pointer.split('/').map(|key| key.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_make_no_sense_are_refused() {
        for (pairs, part) in [
            (&["provider=/p", "providerUID=/q"][..], "uid is missing"),
            (&["uid"], "no `=`"),
            (&["uid="], "no place"),
            (&["uid=/a", "uid=/b"], "twice"),
            (&["uid=/a", "provider=/p"], "providerUID is not"),
            (&["uid=/a", "providerUID=/p"], "provider is not"),
            (&["uid=/a", "identities=/p"], "providerUID is not"),
            (&["uid==x"], "same text"),
            (&["uid=/a", "identities==/links", "providerUID=/b"], "identities is the text \"/links\""),
            (&["uid=/a", "records==/x"], "records is the text"),
            (&["uid=/a", "provider==p", "providerUID==/x"], "providerUID is the text"),
        ] {
            let error = Mapping::parse(pairs.iter().copied()).unwrap_err().to_string();
            assert!(error.contains(part), "{pairs:?}: {error}");
        }
    }

    #[test]
    fn pointers_lead_into_objects_and_arrays() {
        let value = Value::parse(r#"{"a":{"b/c":[{"d~":7}]},"n":null}"#).unwrap();
        let find = |pointer: &str| At::of(pointer).find(value).unwrap().map(Value::raw);
        assert_eq!(find("/a/b~1c/0/d~0"), Some("7"));
        assert_eq!(find("n"), None);
        assert_eq!(find("/a/x"), None);
        assert_eq!(find("/a/b~1c/1"), None);
    }
}
