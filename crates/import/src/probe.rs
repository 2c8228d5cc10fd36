//! The beginning of an input as an outline of its JSON: which keys its first records and the objects around them have.

use crate::csv;
use crate::path::{Step, page_depth};
use crate::scan::{spaces, string_end, value_end};
use crate::spec::Rule;

/// How many records are looked at.
const RECORDS: usize = 100;

/// What lies at a path.
#[derive(Debug, Default)]
pub(crate) struct Found<'h> {
    /// The objects around the arrays of records.
    pub(crate) pages: Vec<Outline<'h>>,
    /// Arrays of records.
    pub(crate) arrays: usize,
    pub(crate) records: Vec<Outline<'h>>,
}

/// An object: its keys, and the text from each value on.
#[derive(Debug)]
pub(crate) struct Outline<'h> {
    members: Vec<(String, &'h [u8])>,
    /// Whether the object goes on behind what is looked at.
    cut: bool,
}

impl<'h> Outline<'h> {
    fn of(object: &'h [u8]) -> Self {
        Self { members: Members::new(object).collect(), cut: value_end(object).is_none() }
    }

    /// Whether it has a key, in the notation of [`Rule`].
    pub(crate) fn has(&self, key: &str) -> bool {
        let (name, kind) = key.split_at(key.find(['[', '{', '|']).unwrap_or(key.len()));
        let Some((_, value)) = self.members.iter().find(|(k, _)| k == name) else { return false };
        match kind {
            "" => true,
            "[]" => value.starts_with(b"["),
            "{}" => value.starts_with(b"{"),
            _ => {
                value.starts_with(b"\"") && string_end(value).is_some_and(|end| value.get(..end).is_some_and(has_pipe))
            }
        }
    }

    /// Whether the value at a path of keys begins with `start`.
    pub(crate) fn starts_with(&self, path: &str, start: &[u8]) -> bool {
        let mut keys = path.split('.');
        let first = keys.next().and_then(|key| self.members.iter().find(|(k, _)| k == key)).map(|(_, value)| *value);
        let inner = |value: &'h [u8], key: &str| Members::new(value).find(|(k, _)| k == key).map(|(_, v)| v);
        keys.fold(first, |value, key| value.and_then(|v| inner(v, key))).is_some_and(|v| v.starts_with(start))
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.members.iter().map(|(key, _)| key.clone()).collect()
    }
}

fn has_pipe(text: &[u8]) -> bool {
    text.contains(&b'|')
}

impl<'h> Found<'h> {
    /// What lies at `path` in the documents that `text` begins with.
    pub(crate) fn at(text: &'h [u8], path: &[Step]) -> Self {
        let mut found = Self::default();
        let mut rest = text;
        // What was found with the first document that does not end.
        let mut unended: Option<(usize, usize, usize)> = None;
        for _ in 0..RECORDS {
            rest = rest.get(spaces(rest)..).unwrap_or_default();
            if !matches!(rest.first(), Some(b'{' | b'[')) {
                // The lines behind it were inside of it, and are no documents.
                if let Some((pages, arrays, records)) = unended.filter(|_| !rest.is_empty()) {
                    found.pages.truncate(pages);
                    found.records.truncate(records);
                    found.arrays = arrays;
                }
                break;
            }
            // A line that is broken does not hide those after it. None of these is looked at further than it goes: if they
            // are all broken, each of them has no end in all the rest.
            let line = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let value = if unended.is_some() { rest.get(..line).unwrap_or_default() } else { rest };
            let end = value_end(value);
            found.descend(value, path, page_depth(path));
            if end.is_none() && unended.is_none() {
                unended = Some((found.pages.len(), found.arrays, found.records.len()));
            }
            if found.records.len() >= RECORDS {
                break;
            }
            rest = rest.get(end.unwrap_or(line)..).unwrap_or_default();
        }
        found
    }

    fn descend(&mut self, value: &'h [u8], path: &[Step], page: usize) {
        if self.records.len() >= RECORDS {
            return;
        }
        if page == 0 && value.starts_with(b"{") && !path.is_empty() && self.pages.len() < RECORDS {
            self.pages.push(Outline::of(value));
        }
        // Pages are at one depth: what is further inside is not asked again.
        let page = page.wrapping_sub(1);
        match path.split_first() {
            None if value.starts_with(b"{") => self.records.push(Outline::of(value)),
            None => {}
            Some((Step::Key(key), inner)) if value.starts_with(b"{") => {
                let member = Members::new(value).find(|(k, _)| k == key);
                if let Some((_, value)) = member {
                    self.descend(value, inner, page);
                }
            }
            Some((Step::Each, inner)) if value.starts_with(b"[") => {
                self.arrays += usize::from(inner.is_empty());
                Elements::new(value).for_each(|element| self.descend(element, inner, page));
            }
            Some(_) => {}
        }
    }

    /// Whether all records, or one when the caller gave the format, are as the rule says.
    pub(crate) fn records_fit(&self, rule: &Rule, given: bool) -> bool {
        if given {
            let fits = |record: &Outline<'_>| rule.allows(|key| record.has(key)) && rule.marks(|key| record.has(key));
            return self.records.iter().any(fits);
        }
        // What is broken, or goes on behind the bytes at hand, may have the keys there: it says neither yes nor no when
        // others are there to decide, and others have to be.
        let alone = self.records.len() == 1;
        let mut judges = self.records.iter().filter(|record| !record.cut || alone).peekable();
        judges.peek().is_some()
            && judges.all(|record| rule.allows(|key| record.has(key)))
            && self.records.iter().any(|record| rule.marks(|key| record.has(key)))
    }

    /// The whole lines behind a first one that is broken.
    pub(crate) fn lines_behind_broken(&self) -> impl Iterator<Item = &Outline<'h>> {
        let broken = self.records.first().is_some_and(|first| first.cut);
        self.records.iter().skip(1).filter(move |record| broken && !record.cut)
    }

    /// Whether the records are users of our own form, one a line: as files of rejected records hold them. So is any with
    /// a UID where that is what the rule of the source's own asks for.
    pub(crate) fn own_form(&self, place: &str, rule: &Rule) -> bool {
        let own = |record: &Outline<'_>| record.has("UID") && (record.has("identities[]") || rule.all == ["UID"]);
        place.is_empty() && self.records.iter().any(own)
    }

    /// Whether the objects around the records are as the rule says; they may be cut, and show what they have.
    pub(crate) fn pages_fit(&self, rule: &Rule, given: bool) -> bool {
        // What is behind the bytes at hand is looked for there when the caller gave the format. A first one that others
        // follow is no such document, but a line that is broken.
        let is_line = matches!(self.pages.as_slice(), [first, _, ..] if first.cut);
        if given && !is_line && self.pages.iter().any(|page| page.cut) {
            return true;
        }
        self.pages.iter().all(|page| rule.allows(|key| page.has(key)))
            && self.pages.iter().any(|page| rule.marks(|key| page.has(key)))
    }
}

/// The members of the object at the start of some text: key, and the text from the value on. Ends where the text, or
/// its being JSON, ends.
pub(crate) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    pub(crate) fn new(object: &'a [u8]) -> Self {
        Self { rest: object.get(1..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (String, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let skip = |text: &'a [u8]| text.get(spaces(text)..);
        let at_key = skip(self.rest)?;
        if at_key.first() != Some(&b'"') {
            return None;
        }
        let (key, rest) = at_key.split_at_checked(string_end(at_key)?)?;
        let value = skip(skip(rest)?.strip_prefix(b":")?)?;
        self.rest = after_value(value).and_then(|rest| skip(rest)?.strip_prefix(b",")).unwrap_or_default();
        Some((serde_json::from_slice(key).ok()?, value))
    }
}

/// The elements of the array at the start of some text, each as the text from there on.
struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    fn new(array: &'a [u8]) -> Self {
        Self { rest: array.get(1..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let skip = |text: &'a [u8]| text.get(spaces(text)..);
        let value = skip(self.rest).filter(|v| !matches!(v.first(), None | Some(b']')))?;
        self.rest = after_value(value).and_then(|rest| skip(rest)?.strip_prefix(b",")).unwrap_or_default();
        Some(value)
    }
}

/// The text behind the value that some text begins with.
pub(crate) fn after_value(value: &[u8]) -> Option<&[u8]> {
    let len = match value.first()? {
        b'"' => string_end(value)?,
        b'{' | b'[' => value_end(value)?,
        _ => value.iter().position(|b| matches!(b, b',' | b'}' | b']'))?,
    };
    value.get(len..)
}

/// Names in quotes, the first of many.
pub(crate) fn quoted(keys: &[String]) -> String {
    const SHOWN: usize = 12;
    if keys.is_empty() {
        return "(none)".to_owned();
    }
    let shown = keys.iter().take(SHOWN).map(|k| format!("{:?}", csv::clipped(k))).collect::<Vec<_>>().join(", ");
    if keys.len() > SHOWN { format!("{shown}, ...") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::steps;

    #[test]
    fn records_and_pages_are_found_at_their_paths() {
        let text = br#"{"x":[1],"users":[{"id":1,"n":{"k":[]}},{"id":"a|b"#;
        let found = Found::at(text, &steps("users[]"));
        assert_eq!((found.records.len(), found.arrays, found.pages.len()), (2, 1, 1));
        assert!(found.pages_fit(&Rule::new(&["x[]", "users[]"], &[], &["y"]), false));
        let id = Rule::new(&["id"], &[], &[]);
        assert!(found.records_fit(&id, false));
        assert!(!found.records_fit(&Rule::new(&["n"], &[], &["id"]), false));
        assert!(found.records[0].has("n{}") && !found.records[0].has("n[]"));
        assert!(found.records[0].starts_with("n.k", b"[") && !found.records[0].starts_with("n.x", b""));
        assert!(found.records[1].cut && !found.records[1].has("id|"));
        assert_eq!(Found::at(text, &steps("")).records.len(), 1);
        assert_eq!(Found::at(b"[{},[{}]]", &steps("[]")).records.len(), 1);
        let pages = br#"[{"u":[{"a":1}],"t":2},{"u":[{"a":2}]}]"#;
        let found = Found::at(pages, &steps("[].u[]"));
        assert_eq!((found.records.len(), found.pages.len()), (2, 2));
        assert!(!found.pages_fit(&Rule::new(&["t"], &[], &[]), false));
    }

    #[test]
    fn a_broken_line_does_not_hide_the_others() {
        let found = Found::at(b"{\"a\":1}\n{\"b\":[\n{\"a\":3}\n", &[]);
        assert_eq!(found.records.len(), 3);
        // Lines inside of a document that goes on are no documents.
        let list = b"{\"u\":[\n{\"a\":1},\n{\"a\":2},\n";
        assert_eq!((Found::at(list, &[]).records.len(), Found::at(list, &steps("u[]")).records.len()), (1, 2));
        // Of broken ones alone nothing is known.
        let broken = Found::at(b"{\"a\":[\n{\"a\":[\n", &[]);
        assert!(broken.records.len() == 2 && !broken.records_fit(&Rule::new(&["a"], &[], &[]), false));
        let many = "{\"a\":1}\n".repeat(500);
        assert_eq!(Found::at(many.as_bytes(), &[]).records.len(), RECORDS);
    }
}
