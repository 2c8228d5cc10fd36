//! The parameters of a request, out of its query and its form.

use crate::method::error::{Code, Failure, clipped};
use crate::method::percent::decode;

/// The decoded parameters, sorted by name in byte order; the same name and value once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params {
    sorted: Vec<(String, String)>,
}

/// Parameters of a request, at most: a body of a megabyte could have half a million, before anybody is known.
const MOST: usize = 1000;

/// The name that a spelling stands for.
fn canonical(name: &str) -> &str {
    if name.eq_ignore_ascii_case("apiKey") {
        "apiKey"
    } else if name == "includePendingUsers" {
        "includPendingUsers"
    } else {
        name
    }
}

impl Params {
    /// Decodes a query and a form. What cannot be decoded is left out, and said: an answer depends on the rest too.
    pub(crate) fn decode(query: &[u8], form: &[u8]) -> (Self, Option<Failure>) {
        let (mut sorted, mut fault) = (Vec::new(), None);
        let pieces = [query, form].into_iter().flat_map(|part| part.split(|b| *b == b'&'));
        for (number, piece) in pieces.filter(|piece| !piece.is_empty()).enumerate() {
            if number >= MOST {
                let details = format!("more than {MOST} parameters");
                fault = fault.or(Some(Failure::new(Code::InvalidRequestFormat, details)));
                break;
            }
            let (name, value) = match piece.iter().position(|b| *b == b'=') {
                Some(at) => (piece.get(..at).unwrap_or_default(), piece.get(at + 1..).unwrap_or_default()),
                None => (piece, &b""[..]),
            };
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) => sorted.push((name, value)),
                (Some(name), None) => {
                    let details = format!("{}: the value is not percent-encoded UTF-8", clipped(&name));
                    fault = fault.or(Some(Failure::new(Code::InvalidRequestFormat, details)));
                }
                (None, _) => {
                    let details = "the name of a parameter is not percent-encoded UTF-8";
                    fault = fault.or(Some(Failure::new(Code::InvalidRequestFormat, details)));
                }
            }
        }
        sorted.sort_unstable();
        sorted.dedup();
        (Self { sorted }, fault)
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let mut sorted: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self { sorted }
    }

    /// Refuses a name with two values. The values stay unsaid: they may be secrets.
    pub(crate) fn check_duplicates(&self) -> Result<(), Failure> {
        let mut seen: Vec<(&str, &str)> = self.iter().map(|(name, value)| (canonical(name), value)).collect();
        seen.sort_unstable();
        seen.dedup();
        let twice = seen.windows(2).find_map(|pair| match pair {
            [(a, _), (b, _)] if a == b => Some(*a),
            _ => None,
        });
        match twice {
            Some(name) => Err(Failure::new(
                Code::InvalidParameterValue,
                format!("{}: given more than once, with different values", clipped(name)),
            )),
            None => Ok(()),
        }
    }

    /// The value of a parameter; an empty one means not given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, value)| canonical(n) == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// The value of a parameter that has to be there.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| Failure::missing(name))
    }

    /// Names and values as sent, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sorted.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Names that are not among `known`.
    pub(crate) fn unknown<'p>(&'p self, known: impl Fn(&str) -> bool + 'p) -> impl Iterator<Item = &'p str> {
        let mut last = None;
        let names = self.iter().map(|(name, _)| name).filter(move |name| last.replace(*name) != Some(*name));
        names.filter(move |name| !known(canonical(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(query: &str, form: &str) -> Params {
        let (params, fault) = Params::decode(query.as_bytes(), form.as_bytes());
        assert_eq!(fault, None);
        params
    }

    #[test]
    fn names_sort_by_bytes_and_repeats_count_once() {
        let params = decoded("apiKey=1&UID=2&&a=%2b+&a=%2B+", "UID=2&b");
        let all: Vec<_> = params.iter().collect();
        assert_eq!(all, [("UID", "2"), ("a", "+ "), ("apiKey", "1"), ("b", "")]);
        assert_eq!(params.check_duplicates(), Ok(()));
        assert_eq!(params.get("b"), None);
    }

    #[test]
    fn spellings_are_one_name() {
        for (query, name) in [
            ("apikey=1&APIKEY=2", "apiKey"),
            ("includPendingUsers=true&includePendingUsers=false", "includPendingUsers"),
            ("limit=&limit=5", "limit"),
        ] {
            let failure = decoded(query, "").check_duplicates().unwrap_err();
            assert_eq!(failure.code, Code::InvalidParameterValue);
            assert!(failure.details.starts_with(name), "{}", failure.details);
        }
        let same = decoded("apikey=1&APIKEY=1", "");
        assert_eq!((same.check_duplicates(), same.get("apiKey"), same.iter().count()), (Ok(()), Some("1"), 2));
        assert!(decoded("uid=1&UID=2", "").check_duplicates().is_ok(), "other names are as they are written");
    }

    #[test]
    fn what_cannot_be_decoded_is_said_and_the_rest_is_there() {
        let (params, fault) = Params::decode(b"format=csv&context=%zz", b"");
        assert_eq!((params.get("format"), fault.unwrap().code), (Some("csv"), Code::InvalidRequestFormat));
        let (params, fault) = Params::decode("a=1&".repeat(MOST).as_bytes(), b"");
        assert_eq!((params.iter().count(), fault), (1, None));
        let (_, fault) = Params::decode("a=1&".repeat(MOST).as_bytes(), b"a=1");
        assert!(fault.unwrap().details.starts_with("more than 1000"));
        let (_, fault) = Params::decode(b"%ff=1", b"");
        assert_eq!(fault.unwrap().code, Code::InvalidRequestFormat);
    }
}
