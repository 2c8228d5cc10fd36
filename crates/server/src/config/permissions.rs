//! What a user key may do, as it is written.

use headcount::method::Permission;
use serde::{Deserialize as _, Deserializer, de};

const NAMES: [(Permission, &str); 2] = [(Permission::Export, "export"), (Permission::Write, "write")];

/// How a permission is written.
#[must_use]
pub fn permission_name(permission: Permission) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == permission).map_or("", |(_, name)| name)
}

/// The permission that is written so.
///
/// # Errors
/// What is known, when it is none.
pub fn permission_named(name: &str) -> Result<Permission, String> {
    let found = NAMES.iter().find(|(_, known)| *known == name).map(|(permission, _)| *permission);
    found.ok_or_else(|| format!("{name:?} is no permission; there are export (read) and write (change users)"))
}

/// A list of them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Permission>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| permission_named(name).map_err(de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        for (permission, name) in [(Permission::Export, "export"), (Permission::Write, "write")] {
            assert_eq!((permission_name(permission), permission_named(name)), (name, Ok(permission)));
        }
        assert!(permission_named("Export").unwrap_err().starts_with("\"Export\" is no permission"));
    }
}
