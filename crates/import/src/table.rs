//! CSV of other systems: the columns of a file for the shape that it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use headcount_block::{Identity, Status, User};

use crate::csv::{check_header, clipped, fields_of, header_text};
use crate::draft::{Provider, Rows, Table};
use crate::error::BadDocument;
use crate::firebase_row::{CREATED, WIDTHS, timed_fields};
use crate::format::Format;
use crate::mapped::Settings;
use crate::mapping::{At, Mapping};
use crate::names::ProviderNames;
use crate::systems::FIREBASE_COLUMNS;

/// The columns of one file and what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) format: Format,
    /// The header as it was found, without line end; empty when the file has none.
    pub(crate) header: String,
    /// Fields of a row.
    pub(crate) fields: usize,
    pub(crate) uid: usize,
    pub(crate) links: Vec<(Source, usize)>,
    pub(crate) deleted: Option<usize>,
    pub(crate) disabled: Option<(usize, String)>,
    pub(crate) pending: Option<(usize, String)>,
    pub(crate) rows: Rows,
    /// Quotes are text but around names and in the last column: what Firebase writes.
    pub(crate) unquoted: bool,
    /// What the shape is known to lose.
    pub(crate) loses: &'static [&'static str],
}

/// Where the provider of an identity comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Column(usize),
    Is(String),
}

/// Of the names of Cognito's own columns.
const PREFIX: &str = "cognito:";

fn has_prefix(name: &str) -> bool {
    name.trim().get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// A name as it is compared: without case, `_`, `-`, spaces, and the prefix of Cognito's own columns.
fn bare(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix(PREFIX).unwrap_or(&name);
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect()
}

/// Whether two names are those of one column.
pub(crate) fn is_same(name: &str, other: &str) -> bool {
    bare(name) == bare(other)
}

/// The columns of a header.
pub(crate) struct Names {
    raw: String,
    names: Vec<String>,
}

impl Names {
    /// The names in a header record.
    pub(crate) fn of(header: &str) -> Self {
        let raw = header_text(header).to_owned();
        let names = fields_of(&raw);
        Self { raw, names }
    }

    fn find(&self, name: &str) -> Result<Option<usize>, String> {
        let wanted = bare(name);
        let mut found = (0..).zip(&self.names).filter(|(_, n)| bare(n) == wanted);
        let first = found.next();
        match (first, found.next()) {
            (Some(_), Some(_)) => Err(format!("has the column {name} twice")),
            (first, _) => Ok(first.map(|(i, _)| i)),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| is_same(n, name))
    }

    /// Whether it has a column, with its prefix where the name has one: `username` alone is anybody's.
    fn has_whole(&self, name: &str) -> bool {
        self.names.iter().any(|n| is_same(n, name) && (has_prefix(n) || !has_prefix(name)))
    }

    /// The numbers of the columns `identities[n].provider` and `identities[n].user_id`, by n.
    fn flattened(&self) -> Vec<(usize, usize)> {
        let mut pairs: BTreeMap<u32, (Option<usize>, Option<usize>)> = BTreeMap::new();
        for (i, name) in (0..).zip(&self.names) {
            let name = bare(name);
            let Some(rest) = name.strip_prefix("identities") else { continue };
            let rest = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (digits, rest) = rest.split_at(digits);
            let Ok(n) = digits.parse() else { continue };
            let pair = pairs.entry(n).or_default();
            match rest.trim_start_matches(|c: char| !c.is_ascii_alphabetic()) {
                "provider" => pair.0 = Some(i),
                "userid" => pair.1 = Some(i),
                _ => {}
            }
        }
        pairs.into_values().filter_map(|(provider, id)| Some((provider?, id?))).collect()
    }

    /// The names in words.
    pub(crate) fn words(&self) -> String {
        let shown = self.names.iter().take(30).map(|n| format!("{:?}", clipped(n))).collect::<Vec<_>>().join(", ");
        if self.names.len() > 30 { format!("{shown}, ...") } else { shown }
    }
}

impl Table {
    /// Whether a file with these columns is of this shape; `first` is its first row.
    pub(crate) fn fits(&self, names: &Names, first: &str) -> bool {
        let has = |name: &&str| names.has_whole(name);
        let fits = self.all.iter().all(&has)
            && (self.any.is_empty() || self.any.iter().any(&has))
            && !self.none.iter().any(has);
        if !fits || self.rows != Rows::Auth0 {
            return fits;
        }
        // Headers of Auth0 are its user's choice, and `user_id` alone is anybody's.
        let piped = || {
            let uid = names.find("user_id").ok().flatten();
            uid.and_then(|i| fields_of(first).into_iter().nth(i)).is_some_and(|uid| uid.contains('|'))
        };
        !names.flattened().is_empty() || piped()
    }

    /// Whether a file with these columns can be read as this shape when the caller says that it is.
    pub(crate) fn can_be(&self, names: &Names) -> bool {
        let prefixed = self.all.iter().any(|name| has_prefix(name));
        (self.rows == Rows::Auth0 || prefixed) && self.all.iter().all(|name| names.has(name))
    }

    /// The columns that a file of this shape must have, in words.
    pub(crate) fn words(&self) -> String {
        let mut words = self.all.join(", ");
        if !self.any.is_empty() {
            words = format!("{words} and one of {}", self.any.join(", "));
        }
        words
    }

    /// What the columns of a file mean.
    pub(crate) fn columns(
        &self,
        format: Format,
        names: &Names,
        settings: &Settings,
    ) -> Result<Arc<Columns>, BadDocument> {
        let bad = |problem: String| BadDocument::Columns { format, problem, found: names.words() };
        check_header(&names.raw).map_err(bad)?;
        let optional = |name: &str| names.find(name).map_err(bad);
        let needed = |name: &str| optional(name)?.ok_or_else(|| bad(format!("has no column {name}")));
        let links = self.links.iter().map(|(provider, id)| {
            let source = match provider {
                Provider::Column(name) => Source::Column(needed(name)?),
                Provider::Is(name) => Source::Is((*name).to_owned()),
            };
            Ok((source, needed(id)?))
        });
        let mut links = links.collect::<Result<Vec<_>, BadDocument>>()?;
        if self.rows == Rows::Auth0 {
            links.extend(names.flattened().into_iter().map(|(provider, id)| (Source::Column(provider), id)));
        }
        let uid = match &settings.uid {
            Some(chosen) => {
                // Of what the shape can take, what is chosen; of a shape with one UID, that.
                let known = self.uids.iter().find(|name| bare(name) == bare(chosen));
                needed(known.or(self.uids.first().filter(|_| self.uids.len() == 1)).copied().unwrap_or(chosen))?
            }
            None => needed(self.uids.iter().copied().find(|name| names.has(name)).unwrap_or_default())?,
        };
        let valued = |pair: Option<(&str, &str)>| match pair {
            Some((name, value)) => Ok(optional(name)?.map(|i| (i, value.to_owned()))),
            None => Ok(None),
        };
        Ok(Arc::new(Columns {
            format,
            header: names.raw.clone(),
            fields: names.names.len(),
            uid,
            links,
            deleted: self.deleted.map(optional).transpose()?.flatten(),
            disabled: valued(self.disabled)?,
            pending: valued(self.pending)?,
            rows: self.rows,
            unquoted: false,
            loses: self.loses,
        }))
    }
}

impl Columns {
    /// Whether all of a user can be said: in one row, where a row is a user.
    pub(crate) fn holds(&self, user: &User) -> bool {
        let (rows, lost) = self.rows_of(user);
        lost.is_empty() && (rows.len() == 1 || self.rows == Rows::Parts)
    }

    /// The rows of a user, and the identities that no column has room for. Where a row is a user and has no room for all, there
    /// are several of one UID.
    pub(crate) fn rows_of<'u>(&self, user: &'u User) -> (Vec<Vec<String>>, Vec<&'u Identity>) {
        let empty = || {
            let mut row = vec![String::new(); self.fields];
            // Firebase's rows are known by them.
            if self.unquoted {
                put(&mut row, 2, "false");
                put(&mut row, CREATED, "0");
            }
            put(&mut row, self.uid, &user.uid);
            if let Some((i, value)) = self.pending.as_ref().filter(|_| user.status == Status::Pending) {
                put(&mut row, *i, value);
            }
            row
        };
        let (mut rows, mut lost) = (vec![empty()], Vec::new());
        for identity in &user.identities {
            let full = |row: &Vec<String>, id: usize| row.get(id).is_none_or(|field| !field.is_empty());
            let fits = |source: &Source| match source {
                Source::Column(_) => true,
                Source::Is(name) => *name == identity.provider || ProviderNames::Gigya.of(name) == identity.provider,
            };
            let room = |row: &Vec<String>| self.links.iter().find(|(s, id)| fits(s) && !full(row, *id)).cloned();
            let Some((source, id)) = rows.last().and_then(room).or_else(|| room(&empty())) else {
                lost.push(identity);
                continue;
            };
            if rows.last().is_none_or(|row| full(row, id)) {
                rows.push(empty());
            }
            let Some(row) = rows.last_mut() else { continue };
            put(row, id, &identity.provider_uid);
            if let Source::Column(i) = source {
                put(row, i, &identity.provider);
            }
        }
        (rows, lost)
    }
}

fn put(row: &mut [String], i: usize, text: &str) {
    if let Some(field) = row.get_mut(i) {
        text.clone_into(field);
    }
}

impl Mapping {
    /// What the columns of a file mean.
    pub(crate) fn columns(&self, names: &Names) -> Result<Arc<Columns>, BadDocument> {
        let bad = |problem: String| BadDocument::Columns { format: Format::Map, problem, found: names.words() };
        check_header(&names.raw).map_err(bad)?;
        let needed = |at: &At| match at {
            At::Place(name) => names.find(name).map_err(bad)?.ok_or_else(|| bad(format!("has no column {name}"))),
            At::Text(text) => Err(bad(format!("cannot have the text {text:?} as a column"))),
        };
        if self.identities.is_some() || self.records.is_some() {
            return Err(bad("has no nested values: identities and records are for JSON; it".to_owned()));
        }
        let links = match (&self.provider, &self.provider_uid) {
            (Some(At::Text(name)), Some(id)) => vec![(Source::Is(name.clone()), needed(id)?)],
            (Some(provider), Some(id)) => vec![(Source::Column(needed(provider)?), needed(id)?)],
            _ => Vec::new(),
        };
        let rows = if links.is_empty() { Rows::Users } else { Rows::Parts };
        Ok(Arc::new(Columns {
            format: Format::Map,
            header: names.raw.clone(),
            fields: names.names.len(),
            uid: needed(&self.uid)?,
            links,
            deleted: None,
            disabled: None,
            pending: None,
            rows,
            unquoted: false,
            loses: &[],
        }))
    }
}

/// Whether a field holds no value, as databases write it.
pub(crate) fn is_empty_value(field: &[u8]) -> bool {
    matches!(field, b"" | b"NULL" | b"null" | b"\\N")
}

/// The columns of Firebase's CSV, which has no header: by the number of fields that most of its first rows have.
pub(crate) fn firebase(table: &Table, head: &str) -> Option<Arc<Columns>> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    let mut lines = 0_usize;
    // What follows the last line end may be a part of a row.
    let whole = head.rfind('\n').and_then(|end| head.get(..end)).unwrap_or(head);
    for line in whole.lines().filter(|line| !line.is_empty()).take(100) {
        lines += 1;
        if let Ok(fields) = timed_fields(line, |fields| WIDTHS.contains(&fields)) {
            *counts.entry(fields.len()).or_default() += 1;
        }
    }
    let (fields, rows) = counts.into_iter().max_by_key(|(_, rows)| *rows)?;
    if rows * 2 <= lines {
        return None;
    }
    let column = |wanted: &str| FIREBASE_COLUMNS.iter().find(|(_, name)| *name == wanted).map(|(i, _)| *i);
    let links = table.links.iter().filter_map(|(provider, id)| match provider {
        Provider::Is(name) => Some((Source::Is((*name).to_owned()), column(id)?)),
        Provider::Column(_) => None,
    });
    Some(Arc::new(Columns {
        format: Format::Firebase,
        header: String::new(),
        fields,
        uid: 0,
        links: links.collect(),
        deleted: None,
        disabled: table.disabled.and_then(|(name, value)| Some((column(name)?, value.to_owned()))),
        pending: None,
        rows: Rows::Users,
        unquoted: true,
        loses: table.loses,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_whatever_their_case_and_order() {
        let names = Names::of("Provider,X,USER_ID,providerAccountId\r\n");
        assert_eq!(names.find("userId"), Ok(Some(2)));
        assert_eq!(names.find("provider_account_id"), Ok(Some(3)));
        assert_eq!(names.find("y"), Ok(None));
        assert!(Names::of("a,A").find("a").unwrap_err().contains("twice"));
    }

    #[test]
    fn flattened_identities_are_found_in_every_spelling() {
        let names = Names::of(
            "user_id,identities[0].provider,identities[0].user_id,identities.1.user_id,identities_1_provider",
        );
        assert_eq!(names.flattened(), [(1, 2), (4, 3)]);
        assert_eq!(Names::of("identities,identities[0].provider").flattened(), []);
    }
}
