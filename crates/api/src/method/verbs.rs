//! The verbs that keep a served store alive: each one commit.

use std::collections::HashSet;

use headcount_block::{Identity, Status, User};
use headcount_store::{Batch, Error, Precondition, RefuseReason, Snapshot, Store};
use serde::Deserialize;

use crate::method::call::Call;
use crate::method::error::{Code, Failure};
use crate::method::json::{Object, list};
use crate::method::response::Response;
use crate::method::values::boolean;
use crate::method::verb::Verb;

/// Times that a change is decided anew because somebody else changed the same.
const ATTEMPTS: usize = 32;
/// Longest siteUID.
const SITE_UID_MAX: usize = 252;

/// What a verb is asked to do, with the values of its parameters.
#[derive(Debug)]
pub(crate) enum Change {
    /// getUserInfo.
    Nothing {
        uid: String,
    },
    Import(Import),
    /// Registers a user, under a new UID where one is given.
    Register {
        uid: String,
        site_uid: Option<String>,
    },
    Rename {
        uid: String,
        site_uid: String,
    },
    Delete {
        uid: String,
    },
}

impl Change {
    /// Reads the parameters of `verb`.
    pub(crate) fn read(call: &Call, verb: Verb) -> Result<Self, Failure> {
        let uid = call.params.required("UID")?.to_owned();
        Ok(match verb {
            Verb::ImportIdentities => Self::Import(Import::read(call, uid)?),
            Verb::NotifyRegistration => Self::Register { uid, site_uid: site_uid(call)? },
            Verb::SetUid => {
                let site_uid = site_uid(call)?.ok_or_else(|| Failure::missing("siteUID"))?;
                Self::Rename { uid, site_uid }
            }
            Verb::DeleteAccount => Self::Delete { uid },
            _ => Self::Nothing { uid },
        })
    }

    /// Does it: returns when it is on disk.
    pub(crate) fn make(self, call: &Call, store: &Store) -> Result<Response, Failure> {
        let mut batch = Batch::new();
        let members = match self {
            Self::Nothing { uid } => user_info(&store.snapshot(), &uid)?,
            Self::Import(import) => import.make(store)?,
            Self::Register { uid, site_uid: Some(site_uid) } => rename(store, &uid, &site_uid, true)?,
            Self::Register { uid, site_uid: None } => {
                batch.set_status(&uid, Status::Registered);
                commit(store, batch)?
            }
            Self::Rename { uid, site_uid } => rename(store, &uid, &site_uid, false)?,
            Self::Delete { uid } => {
                batch.require(&uid, Precondition::Exists).delete(&uid);
                commit(store, batch)?
            }
        };
        Ok(call.succeed(members))
    }
}

fn no_such_user() -> Failure {
    Failure::new(Code::UidNotFound, "UID: there is no such user")
}

/// What a store's error is to a client. Nothing of this machine, and of other users, is told.
fn refused(error: &Error) -> Failure {
    match error {
        Error::Refused(refusal) => match &refusal.reason {
            RefuseReason::NoSuchUser => no_such_user(),
            RefuseReason::UidTaken => taken("siteUID: another user has this UID"),
            RefuseReason::IdentityTaken { provider, .. } => {
                let provider = crate::method::error::clipped(provider);
                taken(&format!("an identity of provider \"{provider}\" belongs to another user"))
            }
            RefuseReason::Limit(limit) => Failure::new(Code::InvalidParameterValue, limit.to_string()),
            _ => Failure::new(Code::ServerError, "the user is being changed by others; try again"),
        },
        Error::Limit(limit) => Failure::new(Code::InvalidParameterValue, limit.to_string()),
        Error::TooLarge { .. } => Failure::new(Code::InvalidParameterValue, "the change is too large for one commit"),
        Error::ReadOnly { .. } => Failure::permission("the store is served for reading only"),
        Error::Damage(_) | Error::Poisoned { .. } => Failure::new(Code::DatabaseError, "the store takes no changes"),
        _ => Failure::new(Code::ServerError, "the change could not be made; try again"),
    }
}

fn taken(details: &str) -> Failure {
    Failure::new(Code::UniqueIdentifierExists, details)
}

fn commit(store: &Store, batch: Batch) -> Result<Object, Failure> {
    store.commit(batch).map(|_| Object::new()).map_err(|e| refused(&e))
}

/// Makes a change that was decided by looking at a user, anew when the user changed meanwhile.
fn commit_looking(
    store: &Store,
    mut decide: impl FnMut(&Snapshot) -> Result<Batch, Failure>,
) -> Result<Object, Failure> {
    for _ in 0..ATTEMPTS {
        let batch = decide(&store.snapshot())?;
        match store.commit(batch) {
            Err(Error::Refused(refusal)) if matches!(refusal.reason, RefuseReason::Changed { .. }) => {}
            other => return other.map(|_| Object::new()).map_err(|e| refused(&e)),
        }
    }
    Err(Failure::new(Code::ServerError, "the user is being changed by others; try again"))
}

fn site_uid(call: &Call) -> Result<Option<String>, Failure> {
    let Some(site_uid) = call.params.get("siteUID") else { return Ok(None) };
    if site_uid.len() > SITE_UID_MAX || !site_uid.is_ascii() {
        return Err(Failure::value("siteUID", site_uid, "1 to 252 ASCII characters"));
    }
    Ok(Some(site_uid.to_owned()))
}

/// Gives a user another UID, and the identity of that name at the site as the first.
fn rename(store: &Store, uid: &str, site_uid: &str, register: bool) -> Result<Object, Failure> {
    commit_looking(store, |snapshot| {
        let found = snapshot.get_user(uid).map_err(|e| refused(&e))?;
        let mut user: User = found.ok_or_else(no_such_user)?;
        site_uid.clone_into(&mut user.uid);
        user.identities.retain(|identity| identity.provider != "site");
        user.identities.insert(0, Identity::new("site", site_uid));
        if register {
            user.status = Status::Registered;
        }
        let mut batch = Batch::new();
        batch.require(uid, Precondition::UnchangedSince(snapshot.seq()));
        batch.rename(uid, site_uid).put(user);
        Ok(batch)
    })
}

/// An identity as clients send it; other members are theirs.
#[derive(Deserialize)]
struct Sent {
    provider: String,
    #[serde(rename = "providerUID")]
    provider_uid: String,
}

/// Identities for a user.
#[derive(Debug)]
pub(crate) struct Import {
    uid: String,
    identities: Vec<Identity>,
    /// Whether an identity of another user is left out, instead of refusing all of them.
    ignore: bool,
    allow_new: bool,
}

impl Import {
    fn read(call: &Call, uid: String) -> Result<Self, Failure> {
        let json = call.params.required("identities")?;
        let expected = "a JSON array of {\"provider\":…,\"providerUID\":…}";
        let sent: Vec<Sent> = serde_json::from_str(json).map_err(|_| Failure::format("identities", json, expected))?;
        let ignore = match call.params.get("handleIdentityConflicts") {
            None => false,
            Some(how) if how.eq_ignore_ascii_case("Error") => false,
            Some(how) if how.eq_ignore_ascii_case("Ignore") => true,
            Some(how) => return Err(Failure::value("handleIdentityConflicts", how, "one of Error, Ignore")),
        };
        let allow_new = boolean(&call.params, "allowNewUser")?.unwrap_or(false);
        let identities = sent.into_iter().map(|s| Identity::new(s.provider, s.provider_uid)).collect();
        Ok(Self { uid, identities, ignore, allow_new })
    }

    fn make(&self, store: &Store) -> Result<Object, Failure> {
        let Self { uid, identities, ignore, allow_new } = self;
        let mut skip: HashSet<Identity> = HashSet::new();
        for _ in 0..ATTEMPTS {
            let snapshot = store.snapshot();
            let mut batch = Batch::new();
            if *allow_new && snapshot.get(uid).map_err(|e| refused(&e))?.is_none() {
                batch.require(uid, Precondition::Absent).put(User::new(uid));
            } else {
                batch.require(uid, Precondition::Exists);
            }
            for identity in identities {
                if *ignore && !skip.contains(identity) && is_of_another(&snapshot, uid, identity)? {
                    skip.insert(identity.clone());
                }
                if !skip.contains(identity) {
                    batch.link(uid, identity.clone());
                }
            }
            match store.commit(batch) {
                Err(Error::Refused(refusal)) => match &refusal.reason {
                    // Somebody came before us: look again.
                    RefuseReason::IdentityTaken { provider, provider_uid, .. } if *ignore => {
                        skip.insert(Identity::new(provider.clone(), provider_uid.clone()));
                    }
                    RefuseReason::UidTaken | RefuseReason::NoSuchUser if *allow_new => {}
                    _ => return Err(refused(&Error::Refused(refusal))),
                },
                other => return other.map(|_| Object::new()).map_err(|e| refused(&e)),
            }
        }
        Err(Failure::new(Code::ServerError, "the user is being changed by others; try again"))
    }
}

fn is_of_another(snapshot: &Snapshot, uid: &str, identity: &Identity) -> Result<bool, Failure> {
    let found = snapshot.find(&identity.provider, &identity.provider_uid).map_err(|e| refused(&e))?;
    Ok(found.is_some_and(|owner| owner.user().uid() != uid.as_bytes()))
}

fn user_info(snapshot: &Snapshot, uid: &str) -> Result<Object, Failure> {
    let user = snapshot.get_user(uid).map_err(|error| match error {
        Error::Damage(_) => Failure::new(Code::DatabaseError, "the stored user is damaged"),
        other => refused(&other),
    })?;
    let user = user.ok_or_else(no_such_user)?;
    let identities = user.identities.iter().map(|identity| {
        Object::new().text("provider", &identity.provider).text("providerUID", &identity.provider_uid).finish()
    });
    let registered = if user.status == Status::Registered { "true" } else { "false" };
    Ok(Object::new().text("UID", &user.uid).raw("identities", &list(identities)).raw("isRegistered", registered))
}
