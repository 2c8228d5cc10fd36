//! Whether sources are complete, and what they are known to lose: what is looked at once all inputs are read.

use std::collections::BTreeMap;
use std::ptr;

use crate::choose::Reading;
use crate::error::{BadDocument, ImportError};
use crate::format::Format;
use crate::input::Prepared;
use crate::mapped::Settings;
use crate::parse::Counts;
use crate::read::FileRead;
use crate::spec::{Document, spec_of};
use crate::systems::FINALIZE;

/// The inputs of one shape: they are pages of one list.
struct Source<'i> {
    document: &'static Document,
    format: Format,
    files: Vec<(&'i Prepared, &'i FileRead)>,
}

/// Checks what was read; the warnings.
///
/// # Errors
/// A source that is not complete, unless that is allowed.
pub(crate) fn check(inputs: &[Prepared], files: &[FileRead], settings: &Settings) -> Result<Vec<String>, ImportError> {
    let mut warnings = Vec::new();
    for source in sources(inputs, files) {
        source.check_settings()?;
        for problem in source.next_page().into_iter().chain(source.too_few()) {
            let (file, problem) = problem;
            if !settings.allow_partial {
                return Err(document(&file, BadDocument::Partial(problem)));
            }
            warnings.push(format!("{file}: the source is not complete: {problem}"));
        }
        warnings.extend(source.too_many());
        warnings.extend(source.nobody());
    }
    for (input, _) in inputs.iter().zip(files).filter(|(input, file)| file.open && !input.format.is_native()) {
        warnings.push(format!("{}: the last row has no line end: is the file whole?", input.name));
    }
    warnings.extend(losses(inputs));
    warnings.extend(without_identities(inputs, files));
    Ok(warnings)
}

fn document(file: &str, reason: BadDocument) -> ImportError {
    ImportError::Document { file: file.to_owned(), offset: None, reason }
}

fn sources<'i>(inputs: &'i [Prepared], files: &'i [FileRead]) -> Vec<Source<'i>> {
    let mut sources: Vec<Source<'i>> = Vec::new();
    for (input, file) in inputs.iter().zip(files) {
        let Reading::Documents(job) = &input.reading else { continue };
        let Some(document) = job.document else { continue };
        match sources.iter_mut().find(|source| ptr::eq(source.document, document)) {
            Some(source) => source.files.push((input, file)),
            None => sources.push(Source { document, format: input.format, files: vec![(input, file)] }),
        }
    }
    sources
}

/// Whether the value of a member says that there is more.
fn says_more(value: &str) -> bool {
    !matches!(value, "null" | "\"\"" | "0" | "false")
}

impl Source<'_> {
    fn declared(&self) -> impl Iterator<Item = u64> + '_ {
        let number = |file: &FileRead| {
            let pages = file.pages.as_ref()?;
            if self.format == Format::GigyaImport {
                return pages.total;
            }
            let (_, value, _) = pages.first.iter().find(|(note, ..)| Some(*note) == self.document.total)?;
            value.trim_matches('"').parse().ok()
        };
        self.files.iter().filter_map(move |(_, file)| number(file))
    }

    /// How many records there should be, and how many there are.
    fn counts(&self) -> Option<(u64, u64)> {
        let declared = match self.format {
            // Each document has a number of its own; pages all have the one of the list.
            Format::GigyaImport => self.declared().reduce(|a, b| a + b),
            _ => self.declared().max(),
        };
        Some((declared?, self.files.iter().map(|(_, file)| file.counts.records).sum()))
    }

    /// The last page says that another follows: in every file, if there are several.
    fn next_page(&self) -> Option<(String, String)> {
        let mut last = None;
        for (input, file) in &self.files {
            let pages = file.pages.as_ref()?;
            let (note, _) =
                pages.last.iter().find(|(note, value)| self.document.next.contains(note) && says_more(value))?;
            last = Some((input.name.clone(), format!("its last page says in {note:?} that another follows")));
        }
        last
    }

    fn too_few(&self) -> Option<(String, String)> {
        let (declared, found) = self.counts().filter(|(declared, found)| declared > found)?;
        let file = self.files.first()?.0.name.clone();
        Some((file, format!("{} says {declared}, but {found} were read", self.document.total?)))
    }

    fn too_many(&self) -> Option<String> {
        let (declared, found) = self.counts().filter(|(declared, found)| declared < found)?;
        let file = &self.files.first()?.0.name;
        Some(format!("{file}: {} says {declared}, but {found} were read", self.document.total?))
    }

    /// Documents that may lack the users did, all of them.
    fn nobody(&self) -> Option<String> {
        let nobody = self.document.may_lack && self.files.iter().all(|(_, file)| file.counts.records == 0);
        let (spec, (first, _)) = (spec_of(self.format)?, self.files.first().filter(|_| nobody)?);
        Some(format!("{}: no user of {} was read: was it written without users?", first.name, spec.system))
    }

    /// A setting that applies to records before it was read too late.
    fn check_settings(&self) -> Result<(), ImportError> {
        for (input, file) in &self.files {
            let (Reading::Documents(job), Some(pages)) = (&input.reading, &file.pages) else { continue };
            let Some((setting, value, _)) = pages.first.iter().find(|(note, ..)| *note == FINALIZE) else { continue };
            let pending = match value.trim_matches('"') {
                "false" => true,
                "true" => false,
                _ => {
                    let expected = format!("true or false for {setting}").into();
                    return Err(document(&input.name, BadDocument::Unexpected { expected, found: value.clone() }));
                }
            };
            // In several documents the first one's would apply to all.
            if pages.count > 1 || pending != job.pending {
                let reason = BadDocument::LateSetting { setting, value: value.clone() };
                return Err(document(&input.name, reason));
            }
        }
        Ok(())
    }
}

/// What the inputs' formats are known to lose, each once.
fn losses(inputs: &[Prepared]) -> Vec<String> {
    let mut known: Vec<&str> = Vec::new();
    for input in inputs {
        let loses = match &input.reading {
            Reading::Lines(job) | Reading::Documents(job) => job.document.map_or(&[][..], |d| d.loses),
            Reading::Rows(job) => job.columns.loses,
            Reading::Native | Reading::Entries(_) => &[],
        };
        for loses in loses {
            if !known.contains(loses) {
                known.push(loses);
            }
        }
    }
    known.into_iter().map(str::to_owned).collect()
}

/// Sources of which no user has an identity, with what to do about it.
fn without_identities(inputs: &[Prepared], files: &[FileRead]) -> Vec<String> {
    let mut by_format: BTreeMap<&str, (Format, Counts)> = BTreeMap::new();
    for (input, file) in inputs.iter().zip(files).filter(|(input, _)| !input.format.is_native()) {
        let (_, counts) = by_format.entry(input.format.as_str()).or_insert((input.format, Counts::default()));
        counts.add(&file.counts);
    }
    let bare = by_format.into_values().filter(|(_, counts)| counts.rows > 0 && counts.identities == 0);
    bare.filter_map(|(format, _)| spec_of(format))
        .map(|spec| format!("no user of {} came with identities: {}", spec.system, spec.ask))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_mean_no_more_are_known() {
        for value in ["null", "\"\"", "0", "false"] {
            assert!(!says_more(value), "{value}");
        }
        assert!(says_more("\"token\"") && says_more("2"));
    }
}
