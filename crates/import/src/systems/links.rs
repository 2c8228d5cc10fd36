//! Link tables of web frameworks, as CSV with a header: a row is an identity of a user.

use crate::draft::{Provider, Rows, Table};
use crate::format::Format;
use crate::spec::Spec;

const ASK: &str = "the table has a row for each identity; users without one are in the table of users alone";

const fn spec(format: Format, system: &'static str, tables: &'static [Table]) -> Spec {
    Spec { format, system, uids: &[], documents: &[], tables, ask: ASK }
}

pub(super) static NEXTAUTH: Spec = spec(
    Format::NextAuth,
    "NextAuth",
    &[Table {
        links: &[(Provider::Column("provider"), "provider_account_id")],
        rows: Rows::Parts,
        ..Table::new(&["user_id", "provider", "provider_account_id"], &["user_id"])
    }],
);

pub(super) static OMNIAUTH: Spec = spec(
    Format::OmniAuth,
    "OmniAuth or allauth",
    &[Table {
        links: &[(Provider::Column("provider"), "uid")],
        rows: Rows::Parts,
        ..Table::new(&["user_id", "provider", "uid"], &["user_id"])
    }],
);

pub(super) static ASPNET: Spec = spec(
    Format::AspNet,
    "ASP.NET Identity",
    &[Table {
        links: &[(Provider::Column("login_provider"), "provider_key")],
        rows: Rows::Parts,
        ..Table::new(&["user_id", "login_provider", "provider_key"], &["user_id"])
    }],
);

pub(super) static BETTER_AUTH: Spec = spec(
    Format::BetterAuth,
    "Better Auth",
    &[Table {
        none: &["provider"],
        links: &[(Provider::Column("provider_id"), "account_id")],
        rows: Rows::Parts,
        ..Table::new(&["user_id", "provider_id", "account_id"], &["user_id"])
    }],
);
