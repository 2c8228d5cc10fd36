//! What the tables of formats are made of: where records lie, by which keys they are known, how they are mapped.

use crate::draft::{Mapper, Table};
use crate::format::Format;

/// One system whose exports can be read.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) format: Format,
    /// Name of the system, for messages.
    pub(crate) system: &'static str,
    /// What can be the UID; the first one is, unless another is chosen.
    pub(crate) uids: &'static [&'static str],
    /// Its JSON, the more special shapes first.
    pub(crate) documents: &'static [Document],
    /// Its CSV.
    pub(crate) tables: &'static [Table],
    /// What to do when no user came with identities: how to get a file that has them.
    pub(crate) ask: &'static str,
}

/// One shape of JSON.
#[derive(Debug)]
pub(crate) struct Document {
    /// Where the records may lie, in the notation of [`steps`](crate::path::steps).
    pub(crate) places: &'static [&'static str],
    pub(crate) map: Mapper,
    /// Arrays beside that of the records, with records of their own.
    pub(crate) beside: &'static [(&'static str, Mapper)],
    /// Which keys every record has.
    pub(crate) record: Rule,
    /// Keys of which a record has one that stands alone on a line, where an `id` says enough among what is around it.
    pub(crate) alone: &'static [&'static str],
    /// Which keys the object around the array has. A document is known by them alone when its records are not among
    /// the bytes that are looked at.
    pub(crate) envelope: Rule,
    /// Members of the object around the array that say that another page follows.
    pub(crate) next: &'static [&'static str],
    /// The member of the object around the array that says how many records there are in all pages.
    pub(crate) total: Option<&'static str>,
    /// Whether a document without the array is one without users, and not an error.
    pub(crate) may_lack: bool,
    /// What this shape is known to lose, and what in it cannot be trusted.
    pub(crate) loses: &'static [&'static str],
    /// Texts of which one is in every record that is left out, where links may name its user elsewhere: none of them may
    /// bring that user back.
    pub(crate) gone: &'static [&'static str],
    /// Whether the records are such links, and no users.
    pub(crate) links: bool,
}

impl Document {
    /// What shapes have in common.
    pub(crate) const fn new(places: &'static [&'static str], map: Mapper, record: Rule) -> Self {
        Self {
            places,
            map,
            beside: &[],
            record,
            alone: &[],
            envelope: Rule::NONE,
            next: &[],
            total: None,
            may_lack: false,
            loses: &[],
            gone: &[],
            links: false,
        }
    }
}

/// Which keys objects have. A key is written as `name`; `name[]`, `name{}` and `name|` ask in addition that its value
/// is an array, an object, or a string with a `|` in it.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Each object has all of these.
    pub(crate) all: &'static [&'static str],
    /// At least one object has one of these, if there are any.
    pub(crate) any: &'static [&'static str],
    /// No object has one of these.
    pub(crate) none: &'static [&'static str],
}

impl Rule {
    /// No rule.
    pub(crate) const NONE: Self = Self { all: &[], any: &[], none: &[] };

    pub(crate) const fn new(
        all: &'static [&'static str],
        any: &'static [&'static str],
        none: &'static [&'static str],
    ) -> Self {
        Self { all, any, none }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.all.is_empty() && self.any.is_empty()
    }

    /// Whether an object can be of this kind, by a test of single keys.
    pub(crate) fn allows(&self, has: impl Fn(&str) -> bool) -> bool {
        self.all.iter().all(|key| has(key)) && !self.none.iter().any(|key| has(key))
    }

    /// Whether an object shows that all are of this kind.
    pub(crate) fn marks(&self, has: impl Fn(&str) -> bool) -> bool {
        self.any.is_empty() || self.any.iter().any(|key| has(key))
    }

    /// The rule in words.
    pub(crate) fn words(&self) -> String {
        let list = |keys: &[&str], join: &str| {
            let quoted = keys.iter().map(|key| format!("{:?}", key.trim_end_matches(['[', ']', '{', '}', '|'])));
            quoted.collect::<Vec<_>>().join(join)
        };
        match (self.all.is_empty(), self.any.is_empty()) {
            (false, true) => list(self.all, ", "),
            (true, false) => list(self.any, " or "),
            _ => format!("{} and ({})", list(self.all, ", "), list(self.any, " or ")),
        }
    }
}

/// The format with this name.
pub(crate) fn spec_of(format: Format) -> Option<&'static Spec> {
    crate::systems::all().find(|spec| spec.format == format)
}
