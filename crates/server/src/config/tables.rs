//! Lists of tables in a TOML document, written as `[[name]]` sections or as arrays of inline tables, changed with their
//! comments and layout kept.

use toml_edit::{Array, ArrayOfTables, Decor, InlineTable, Item, RawString, Table, TableLike, Value};

/// A table in either form. An inline one cannot hold sections.
pub(super) enum AnyTable<'d> {
    Section(&'d mut Table),
    Inline(&'d mut InlineTable),
}

impl<'d> AnyTable<'d> {
    fn like(self) -> &'d mut dyn TableLike {
        match self {
            Self::Section(table) => table,
            Self::Inline(table) => table,
        }
    }

    /// The value of `key`, where it is a text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self {
            Self::Section(table) => table.get(key).and_then(Item::as_str),
            Self::Inline(table) => table.get(key).and_then(Value::as_str),
        }
    }

    /// The array `key`.
    pub(super) fn array(self, key: &str) -> Option<&'d mut Array> {
        self.like().get_mut(key).and_then(Item::as_array_mut)
    }

    /// The table of the list `name` whose `key` is `value`.
    pub(super) fn find(self, name: &str, key: &str, value: &str) -> Option<Self> {
        let is_it = |table: &Self| table.text(key) == Some(value);
        match self.like().get_mut(name)? {
            Item::ArrayOfTables(tables) => tables.iter_mut().map(Self::Section).find(is_it),
            Item::Value(Value::Array(values)) => {
                values.iter_mut().filter_map(Value::as_inline_table_mut).map(Self::Inline).find(is_it)
            }
            _ => None,
        }
    }

    /// Adds `table` to the list `name`, in the form in which the list is written; as a section where there is none.
    pub(super) fn push(self, name: &str, mut table: Table) {
        let inline = matches!(self, Self::Inline(_));
        let new = if inline { Item::Value(Array::new().into()) } else { Item::ArrayOfTables(ArrayOfTables::new()) };
        match self.like().entry(name).or_insert(new) {
            Item::ArrayOfTables(tables) => {
                table.decor_mut().set_prefix("\n");
                tables.push(table);
            }
            Item::Value(Value::Array(values)) => push_value(values, table.into_inline_table()),
            _ => {}
        }
    }

    /// Removes the table of the list `name` whose `key` is `value`, with the comments in front of it.
    pub(super) fn remove(self, name: &str, key: &str, value: &str) {
        match self.like().get_mut(name) {
            Some(Item::ArrayOfTables(tables)) => {
                tables.retain(|table| table.get(key).and_then(Item::as_str) != Some(value));
            }
            Some(Item::Value(Value::Array(values))) => {
                let text = |v: &Value| v.as_inline_table()?.get(key)?.as_str().map(|text| text == value);
                let index = values.iter().position(|v| text(v) == Some(true));
                if let Some(index) = index {
                    remove_value(values, index);
                }
            }
            _ => {}
        }
    }
}

/// Adds an inline table to an array, laid out as its last element is.
pub(super) fn push_value(list: &mut Array, table: InlineTable) {
    let mut value = Value::InlineTable(table);
    // What stands behind the last comma, a comment on what is before it mostly.
    let behind = list.trailing().as_str().unwrap_or_default().to_owned();
    if let Some(last) = list.len().checked_sub(1).and_then(|index| list.get_mut(index)) {
        let text = |raw: Option<&RawString>| raw.and_then(RawString::as_str).unwrap_or_default().to_owned();
        let (prefix, suffix) = (text(last.decor().prefix()), text(last.decor().suffix()));
        // One line an element, or all in one line.
        let mut prefix = match prefix.rsplit_once('\n') {
            Some((_, indent)) => format!("\n{indent}"),
            None => " ".to_owned(),
        };
        // A comment stays with what it is of.
        let moves = suffix.chars().all(char::is_whitespace);
        if moves {
            last.decor_mut().set_suffix("");
        }
        if let Some((comment, rest)) = behind.rsplit_once('\n').filter(|(comment, _)| comment.contains('#')) {
            prefix =
                if prefix.starts_with('\n') { format!("{comment}{prefix}") } else { format!("{comment}\n{prefix}") };
            list.set_trailing(format!("\n{rest}"));
        }
        *value.decor_mut() = Decor::new(prefix, if moves { suffix } else { String::new() });
    }
    list.push_formatted(value);
}

/// Removes an element of an array; the second takes the place of the first in its line.
pub(super) fn remove_value(list: &mut Array, index: usize) {
    let removed = list.remove(index);
    if index == 0
        && let Some(first) = list.get_mut(0)
        && let Some(prefix) = removed.decor().prefix()
    {
        first.decor_mut().set_prefix(prefix.clone());
    }
}
