//! What the tables of targets are made of: how a user is written for another system, and what has no place there.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::format::Format;
use crate::names::OwnNames;

/// One system whose own importer takes what is written.
#[derive(Debug)]
pub(crate) struct Back {
    pub(crate) format: Format,
    /// Name of the system, for messages.
    pub(crate) system: &'static str,
    /// What stands around the users: they lie in an array.
    pub(crate) head: &'static str,
    pub(crate) tail: &'static str,
    /// Whether users may also stand one a line, without anything around them.
    pub(crate) lines: bool,
    pub(crate) room: Room,
    /// Names of providers where the system has its own.
    pub(crate) names: OwnNames,
    pub(crate) write: fn(&Leaving<'_>, &mut Vec<u8>) -> serde_json::Result<()>,
    /// What its importer needs besides.
    pub(crate) needs: &'static str,
}

/// What a system has room for.
#[derive(Debug)]
pub(crate) struct Room {
    /// Longest UID, in UTF-16 code units.
    pub(crate) uid: usize,
    pub(crate) identity: Longest,
    /// The providers that it takes; none: any.
    pub(crate) providers: &'static [&'static str],
    /// Providers that are no identities there but members of the user.
    pub(crate) members: &'static [Member],
    /// Whether a user has at most one identity of each provider.
    pub(crate) one_each: bool,
    /// Whether pending users can be told from others: they are written as disabled.
    pub(crate) pending: bool,
}

/// How long an identity may be, in UTF-16 code units.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Longest {
    /// As long as a store takes it.
    Any,
    /// The providerUID at most so long.
    ProviderUid(usize),
    /// Provider, a colon and providerUID together.
    Both(usize),
}

/// A provider whose providerUID is a member of the user.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) provider: &'static str,
    pub(crate) name: &'static str,
    /// Whether the member can hold this.
    pub(crate) holds: fn(&str) -> bool,
}

/// A user as it is written.
#[derive(Debug)]
pub(crate) struct Leaving<'a> {
    pub(crate) uid: &'a str,
    pub(crate) disabled: bool,
    pub(crate) links: Vec<Link<'a>>,
    /// Values of [`Room::members`] by their names.
    pub(crate) members: Vec<(&'static str, &'a str)>,
}

/// One identity as it is written: the name of the provider there, and the providerUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link<'a> {
    pub(crate) provider: &'a str,
    pub(crate) provider_uid: &'a str,
}

/// What a member of an identity holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Provider,
    ProviderUid,
}

/// Identities as an array of objects.
#[derive(Debug)]
pub(crate) struct Links<'a> {
    links: &'a [Link<'a>],
    members: &'static [(&'static str, Part)],
}

impl<'a> Leaving<'a> {
    /// The identities as objects with these members.
    pub(crate) fn links(&'a self, members: &'static [(&'static str, Part)]) -> Links<'a> {
        Links { links: &self.links, members }
    }
}

impl Serialize for Links<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.links.iter().map(|link| Members { link, members: self.members }))
    }
}

struct Members<'a> {
    link: &'a Link<'a>,
    members: &'static [(&'static str, Part)],
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.members.len()))?;
        for (name, part) in self.members {
            let value = match part {
                Part::Provider => self.link.provider,
                Part::ProviderUid => self.link.provider_uid,
            };
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The system with this format.
pub(crate) fn back_of(format: Format) -> Option<&'static Back> {
    crate::systems::BACK.into_iter().find(|back| back.format == format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ProviderNames;
    use crate::spec::spec_of;

    #[test]
    fn every_target_can_be_read_and_its_names_are_those_of_the_import() {
        for back in crate::systems::BACK {
            assert_eq!(spec_of(back.format).map(|spec| spec.system), Some(back.system));
            assert_eq!(back_of(back.format).map(|b| b.system), Some(back.system));
            for (gigya, own) in back.names.0 {
                assert!(!own.is_empty(), "{gigya}");
                for name in *own {
                    assert_eq!(ProviderNames::Gigya.of(name), *gigya, "{}: {name}", back.format);
                }
            }
            for provider in back.room.providers {
                assert_eq!(back.names.of(provider), *provider, "{}: a name of its own changes", back.format);
            }
        }
        assert!(back_of(Format::Okta).is_none());
    }
}
