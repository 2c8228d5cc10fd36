//! User objects as `get` and `find` print them: the NDJSON of an export, with `status` when pending.

use headcount::{Status, User};
use serde::Serialize;
use serde_json::Value;

/// `{"UID":…,"status":"pending","identities":[…]}`; without `status` when registered.
#[derive(Debug, Serialize)]
pub(crate) struct UserObject<'a> {
    #[serde(rename = "UID")]
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    identities: Vec<IdentityObject<'a>>,
}

#[derive(Debug, Serialize)]
struct IdentityObject<'a> {
    provider: &'a str,
    #[serde(rename = "providerUID")]
    provider_uid: &'a str,
}

/// An identity as it stands in such an object, and nowhere else: quotes inside of values are escaped.
pub(crate) fn identity_json(provider: &str, provider_uid: &str) -> String {
    format!("{{\"provider\":{},\"providerUID\":{}}}", Value::from(provider), Value::from(provider_uid))
}

impl<'a> From<&'a User> for UserObject<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            uid: &user.uid,
            status: (user.status == Status::Pending).then(|| user.status.as_str()),
            identities: user
                .identities
                .iter()
                .map(|identity| IdentityObject { provider: &identity.provider, provider_uid: &identity.provider_uid })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_documented_keys_in_order() {
        let user = User::new("a\"b").with_identity("site", "1");
        let json = |user: &User| serde_json::to_string(&UserObject::from(user)).unwrap();
        assert_eq!(json(&user), r#"{"UID":"a\"b","identities":[{"provider":"site","providerUID":"1"}]}"#);
        assert!(json(&user).contains(&identity_json("site", "1")));
        let user = User::new("é").with_status(Status::Pending);
        assert_eq!(json(&user), r#"{"UID":"é","status":"pending","identities":[]}"#);
    }
}
