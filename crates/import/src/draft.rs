//! What mappings write to: one user in the making, and how tables of columns become one.

use headcount_block::{RowBuf, Status};

use crate::deleted::Deleted;
use crate::error::BadRecord;
use crate::json::{self, Refusal, Tally};
use crate::mapped::Job;
use crate::names::ProviderNames;
use crate::object::{Bad, Object, Value};

/// Reads a record into a draft.
pub(crate) type Mapper = for<'a> fn(&Record<'a>, &Job, &mut Draft<'_>) -> Result<Verdict, Bad<'a>>;

/// A record and its text.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) text: &'a str,
    pub(crate) object: Object<'a>,
}

impl<'a> Record<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Bad<'a>> {
        Ok(Self { text, object: Object::parse(text)? })
    }

    /// The value of `key`, which has to be there.
    pub(crate) fn need(&self, key: &str) -> Result<Value<'a>, Bad<'a>> {
        self.object.find(key)?.ok_or_else(|| {
            let found = crate::probe::quoted(&self.object.names());
            Bad::shape(self.text, format!("{key:?} is missing; found: {found}"))
        })
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The draft is a user.
    User,
    /// The draft is a part of a user, to be united with the others of its UID.
    Fragment,
    /// Left out, and counted under this name.
    Skipped(&'static str),
}

/// Soft-deleted users, and those that a delta says are gone.
pub(crate) const DELETED: Verdict = Verdict::Skipped("deleted");

/// One user in the making.
#[derive(Debug)]
pub(crate) struct Draft<'r> {
    row: &'r mut RowBuf,
    names: ProviderNames,
    pub(crate) tally: Tally,
    /// Whether the source says that the user is disabled.
    pub(crate) disabled: bool,
}

impl<'r> Draft<'r> {
    /// An empty draft in `row`.
    pub(crate) fn new(row: &'r mut RowBuf, names: ProviderNames) -> Self {
        row.clear();
        Self { row, names, tally: Tally::default(), disabled: false }
    }

    /// Sets the UID.
    pub(crate) fn uid_text(&mut self, uid: &str) -> Result<(), BadRecord> {
        Ok(self.row.set_uid(uid)?)
    }

    /// Sets the UID from the value of `key`.
    pub(crate) fn uid<'a>(&mut self, key: &str, value: Value<'a>) -> Result<(), Bad<'a>> {
        let uid = value.id(key)?;
        self.uid_text(&uid).map_err(|reason| Bad { reason, near: value.raw() })
    }

    /// Sets the UID from the member of the record that is chosen for it.
    pub(crate) fn chosen_uid<'a>(&mut self, record: &Record<'a>, job: &Job) -> Result<(), Bad<'a>> {
        self.uid(job.uid, record.need(job.uid)?)
    }

    /// Leaves the record out under this name. Its UID is set all the same, if it has one: links may name it.
    pub(crate) fn left_out(&mut self, why: &'static str, record: &Record<'_>, job: &Job) -> Verdict {
        // A bad one is nobody's.
        let _ = self.chosen_uid(record, job);
        Verdict::Skipped(why)
    }

    /// Whether the draft is of a user that was left out.
    pub(crate) fn is_of(&mut self, gone: &Deleted) -> bool {
        uid_of(self.row).is_some_and(|uid| gone.contains(uid))
    }

    /// Appends an identity.
    pub(crate) fn link_text(&mut self, provider: &str, provider_uid: &str) -> Result<(), BadRecord> {
        let new = self.row.push_identity(self.names.of(provider), provider_uid)?;
        self.tally.identities += 1;
        self.tally.repeated += u64::from(!new);
        Ok(())
    }

    /// Appends the identity of `provider` whose providerUID is the value of `key`.
    pub(crate) fn link<'a>(&mut self, provider: &str, key: &str, value: Value<'a>) -> Result<(), Bad<'a>> {
        let provider_uid = value.id(key)?;
        self.link_text(provider, &provider_uid).map_err(|reason| Bad { reason, near: value.raw() })
    }

    /// Appends the identities in the array `list`, whose elements have these two members. No array is no identities.
    pub(crate) fn links<'a>(
        &mut self,
        object: &Object<'a>,
        list: &str,
        provider: &str,
        provider_uid: &str,
    ) -> Result<(), Bad<'a>> {
        let Some(elements) = object.find(list)? else { return Ok(()) };
        for element in elements.array(list)? {
            let identity = element.object(list)?;
            let name = identity.need(provider, element.raw())?.text(provider)?;
            self.link(&name, provider_uid, identity.need(provider_uid, element.raw())?)?;
        }
        Ok(())
    }

    /// Reads a user object of our own form instead.
    pub(crate) fn own(&mut self, text: &str) -> Result<(Verdict, Tally), Refusal> {
        let tally = json::parse(text, self.row, self.names)?;
        Ok((Verdict::User, tally))
    }

    /// Notes that registration is not complete.
    pub(crate) const fn pending(&mut self) {
        self.row.set_status(Status::Pending);
    }
}

/// The UID of a row, once it has one.
pub(crate) fn uid_of(row: &mut RowBuf) -> Option<&str> {
    row.finish().ok().and_then(|row| std::str::from_utf8(row.uid()).ok())
}

/// One shape of CSV.
#[derive(Debug)]
pub(crate) struct Table {
    /// Names of columns that must be there, in any order, case and with or without `_`.
    pub(crate) all: &'static [&'static str],
    /// At least one of these too, if there are any.
    pub(crate) any: &'static [&'static str],
    /// None of these.
    pub(crate) none: &'static [&'static str],
    /// The columns of the UID; the first that is there counts, or the one chosen.
    pub(crate) uids: &'static [&'static str],
    /// Provider and providerUID of each identity.
    pub(crate) links: &'static [(Provider, &'static str)],
    /// A column that is not empty for users that were deleted.
    pub(crate) deleted: Option<&'static str>,
    /// A column and its value for disabled users.
    pub(crate) disabled: Option<(&'static str, &'static str)>,
    /// A column and its value for pending users.
    pub(crate) pending: Option<(&'static str, &'static str)>,
    /// How rows come together.
    pub(crate) rows: Rows,
    /// What this shape is known to lose.
    pub(crate) loses: &'static [&'static str],
}

impl Table {
    /// What shapes have in common.
    pub(crate) const fn new(all: &'static [&'static str], uids: &'static [&'static str]) -> Self {
        Self {
            all,
            any: &[],
            none: &[],
            uids,
            links: &[],
            deleted: None,
            disabled: None,
            pending: None,
            rows: Rows::Users,
            loses: &[],
        }
    }
}

/// Where the provider of an identity comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// A column of this name.
    Column(&'static str),
    /// It is always this one.
    Is(&'static str),
}

/// What the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// A user each.
    Users,
    /// A part of a user each: one of its identities, or that it is there.
    Parts,
    /// A user each, in the flattened form of Auth0: `identities[0].provider`, or the UID split at its first `|`.
    Auth0,
}
