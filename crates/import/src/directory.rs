//! Directories: what Keycloak writes into one, as the files that hold users.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{BadDocument, ImportError};
use crate::format::Format;
use crate::input::Input;

/// What the files with users are called, between the realm and their number.
const PARTS: [&str; 2] = ["-users-", "-federated-users-"];

/// What their names end in; what is compressed is told by content, when it is read.
const ENDS: [&str; 3] = [".json", ".json.gz", ".json.zst"];

/// The files of a directory.
#[derive(Debug, Default)]
struct Files {
    /// By what stands before the number; with what stands behind it.
    numbered: BTreeMap<String, Vec<(u64, &'static str)>>,
    realms: Vec<(String, &'static str)>,
}

/// The inputs that a directory stands for, and what is missing among them.
pub(crate) fn expand(directory: &Path) -> Result<(Vec<Input>, Option<String>), ImportError> {
    let shown = directory.display().to_string();
    let entries = fs::read_dir(directory).map_err(|e| ImportError::io("read", &shown, e))?;
    let mut files = Files::default();
    for entry in entries {
        let entry = entry.map_err(|e| ImportError::io("read", &shown, e))?;
        files.add(&entry.file_name().to_string_lossy());
    }
    files.realms.sort_unstable();
    let mut parts = files.realms;
    let mut missing = None;
    for (prefix, mut numbers) in files.numbered {
        numbers.sort_unstable();
        missing = missing.or_else(|| gap(&numbers).map(|n| format!("{shown}: {prefix}{n}.json is missing")));
        parts.extend(numbers.into_iter().map(|(n, end)| (format!("{prefix}{n}"), end)));
    }
    if let Some((stem, first, second)) = twice(&parts) {
        return Err(ImportError::Usage(format!(
            "{shown}: {stem}{first} and {stem}{second} are one part of the export twice: leave one of them there"
        )));
    }
    let names: Vec<_> = parts.into_iter().map(|(stem, end)| stem + end).collect();
    if names.is_empty() {
        let reason = BadDocument::OtherFormat {
            format: Format::Keycloak,
            expected: "a directory that Keycloak wrote, with REALM-realm.json and REALM-users-0.json".to_owned(),
            found: "none of them".to_owned(),
        };
        return Err(ImportError::Document { file: shown, offset: None, reason });
    }
    let inputs = names.iter().map(|name| Input::path(directory.join(name)).known(Format::Keycloak));
    Ok((inputs.collect(), missing))
}

impl Files {
    fn add(&mut self, name: &str) {
        let Some((stem, end)) = ENDS.iter().find_map(|end| name.strip_suffix(end).map(|stem| (stem, *end))) else {
            return;
        };
        if stem.ends_with("-realm") {
            self.realms.push((stem.to_owned(), end));
        }
        let Some((prefix, number)) = stem.rsplit_once('-') else { return };
        let prefix = format!("{prefix}-");
        // Only what is written as a number is one: `007` is another file.
        let number = number.parse::<u64>().ok().filter(|n| n.to_string() == number);
        if let Some(number) = number.filter(|_| PARTS.iter().any(|part| prefix.ends_with(part))) {
            self.numbered.entry(prefix).or_default().push((number, end));
        }
    }
}

/// The first number that is not there; a number may be there twice.
fn gap(numbers: &[(u64, &str)]) -> Option<u64> {
    let mut expected = 0;
    for (number, _) in numbers {
        if *number > expected {
            return Some(expected);
        }
        expected = number.saturating_add(1);
    }
    None
}

/// A part that is there under two names, and what they end in; what is called the same stands side by side.
fn twice(parts: &[(String, &'static str)]) -> Option<(String, &'static str, &'static str)> {
    let pairs = parts.iter().zip(parts.iter().skip(1));
    pairs.filter(|(a, b)| a.0 == b.0).map(|(a, b)| (a.0.clone(), a.1, b.1)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_names() {
        let mut files = Files::default();
        for name in ["r-realm.json", "r-users-10.json", "r-users-9.json", "r-users-x.json", "a-b.json", "r-users-1.txt"]
        {
            files.add(name);
        }
        assert_eq!(files.realms, [("r-realm".to_owned(), ".json")]);
        let plain = |numbers: &[u64]| numbers.iter().map(|n| (*n, ".json")).collect::<Vec<_>>();
        assert_eq!(files.numbered.into_iter().collect::<Vec<_>>(), [("r-users-".to_owned(), plain(&[10, 9]))]);
        let gap = |numbers: &[u64]| gap(&plain(numbers));
        assert_eq!((gap(&[0, 1, 3]), gap(&[1]), gap(&[0, 1]), gap(&[])), (Some(2), Some(0), None, None));
        assert_eq!((gap(&[0, 0, 1, 1]), gap(&[0, 0, 2])), (None, Some(1)));
    }
}
