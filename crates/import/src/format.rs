//! The formats that can be read, by name.

use std::fmt;
use std::str::FromStr;

/// The format of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Told by the content.
    Auto,
    /// One document `{"users": [...], "usersCount": n, ...}`: the response of Gigya's `exportUsers`, and our own.
    GigyaJson,
    /// One user object a line.
    Ndjson,
    /// CSV with a header that names `uid`, `provider`, `providerUID` and perhaps `status`.
    Csv,
    /// Any JSON, NDJSON or CSV, by a [`Mapping`](crate::Mapping).
    Map,
    /// Gigya's import files: `{"settings": {...}, "accounts": [...]}`.
    GigyaImport,
    /// Pages of Gigya's `accounts.search`.
    GigyaSearch,
    /// Auth0: NDJSON and CSV of user export jobs, and its Management API.
    Auth0,
    /// Firebase Authentication: `auth:export` as JSON and CSV, and the Admin SDK.
    Firebase,
    /// Keycloak: realm files, arrays of realms, and directories of them.
    Keycloak,
    /// AWS Cognito: `ListUsers`, and its CSV.
    Cognito,
    /// Ory Kratos: lists of identities.
    Kratos,
    /// Supabase: its Admin API, and the tables `auth.users` and `auth.identities` as CSV.
    Supabase,
    /// Microsoft Graph: lists and deltas of users.
    Graph,
    /// Zitadel: its export, and lists of users.
    Zitadel,
    /// Logto: lists of users.
    Logto,
    /// Casdoor: lists of users.
    Casdoor,
    /// Clerk: lists of users.
    Clerk,
    /// WorkOS: lists of users with their identities.
    WorkOs,
    /// Okta: lists of users.
    Okta,
    /// authentik: lists of users and of their source connections.
    Authentik,
    /// FusionAuth: search results and identity provider links.
    FusionAuth,
    /// CSV of the table `Account` of NextAuth (Auth.js).
    NextAuth,
    /// CSV of the link tables of OmniAuth and allauth.
    OmniAuth,
    /// CSV of the table `AspNetUserLogins`.
    AspNet,
    /// CSV of the table `account` of Better Auth.
    BetterAuth,
    /// SCIM 2.0 list responses.
    Scim,
    /// LDIF, as `slapcat` and `ldapsearch` write it.
    Ldif,
}

impl Format {
    /// All formats, in the order in which they are listed.
    pub const ALL: [Self; 28] = [
        Self::Auto,
        Self::GigyaJson,
        Self::Ndjson,
        Self::Csv,
        Self::Map,
        Self::GigyaImport,
        Self::GigyaSearch,
        Self::Auth0,
        Self::Firebase,
        Self::Keycloak,
        Self::Cognito,
        Self::Kratos,
        Self::Supabase,
        Self::Graph,
        Self::Zitadel,
        Self::Logto,
        Self::Casdoor,
        Self::Clerk,
        Self::WorkOs,
        Self::Okta,
        Self::Authentik,
        Self::FusionAuth,
        Self::NextAuth,
        Self::OmniAuth,
        Self::AspNet,
        Self::BetterAuth,
        Self::Scim,
        Self::Ldif,
    ];

    /// The name used on command lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::GigyaJson => "gigya-json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Map => "map",
            Self::GigyaImport => "gigya-import",
            Self::GigyaSearch => "gigya-search",
            Self::Auth0 => "auth0",
            Self::Firebase => "firebase",
            Self::Keycloak => "keycloak",
            Self::Cognito => "cognito",
            Self::Kratos => "kratos",
            Self::Supabase => "supabase",
            Self::Graph => "graph",
            Self::Zitadel => "zitadel",
            Self::Logto => "logto",
            Self::Casdoor => "casdoor",
            Self::Clerk => "clerk",
            Self::WorkOs => "workos",
            Self::Okta => "okta",
            Self::Authentik => "authentik",
            Self::FusionAuth => "fusionauth",
            Self::NextAuth => "nextauth",
            Self::OmniAuth => "omniauth",
            Self::AspNet => "aspnet",
            Self::BetterAuth => "better-auth",
            Self::Scim => "scim",
            Self::Ldif => "ldif",
        }
    }

    /// Whether it is one of our own: `gigya-json`, `ndjson` and `csv`.
    pub(crate) const fn is_native(self) -> bool {
        matches!(self, Self::GigyaJson | Self::Ndjson | Self::Csv)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Format {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A format name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}: expected {expected}", expected = names())]
pub struct UnknownFormatName(String);

/// The names of all formats.
fn names() -> String {
    let names: Vec<_> = Format::ALL.iter().map(|f| f.as_str()).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl FromStr for Format {
    type Err = UnknownFormatName;

    fn from_str(name: &str) -> Result<Self, UnknownFormatName> {
        Self::ALL.into_iter().find(|f| f.as_str() == name).ok_or_else(|| UnknownFormatName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("gigya-json"));
    }
}
