//! Directories: what Keycloak writes into one, as the files that hold users.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{BadDocument, ImportError};
use crate::format::Format;
use crate::input::Input;

/// What the files with users are called, between the realm and their number.
const PARTS: [&str; 2] = ["-users-", "-federated-users-"];

/// The files of a directory.
#[derive(Debug, Default)]
struct Files {
    /// By what stands before the number.
    numbered: BTreeMap<String, Vec<u64>>,
    realms: Vec<String>,
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
    let mut names = files.realms;
    let mut missing = None;
    for (prefix, mut numbers) in files.numbered {
        numbers.sort_unstable();
        missing = missing.or_else(|| gap(&numbers).map(|n| format!("{shown}: {prefix}{n}.json is missing")));
        names.extend(numbers.iter().map(|n| format!("{prefix}{n}.json")));
    }
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
        let Some(stem) = name.strip_suffix(".json") else { return };
        if stem.ends_with("-realm") {
            self.realms.push(name.to_owned());
        }
        let Some((prefix, number)) = stem.rsplit_once('-') else { return };
        let prefix = format!("{prefix}-");
        // Only what is written as a number is one: `007` is another file.
        let number = number.parse::<u64>().ok().filter(|n| n.to_string() == number);
        if let Some(number) = number.filter(|_| PARTS.iter().any(|part| prefix.ends_with(part))) {
            self.numbered.entry(prefix).or_default().push(number);
        }
    }
}

/// The first number that is not there.
fn gap(numbers: &[u64]) -> Option<u64> {
    (0..).zip(numbers).find(|(expected, found)| expected != *found).map(|(expected, _)| expected)
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
        assert_eq!(files.realms, ["r-realm.json"]);
        assert_eq!(files.numbered.into_iter().collect::<Vec<_>>(), [("r-users-".to_owned(), vec![10, 9])]);
        assert_eq!((gap(&[0, 1, 3]), gap(&[1]), gap(&[0, 1]), gap(&[])), (Some(2), Some(0), None, None));
    }
}
