//! Values of parameters: numbers, Booleans, and which parameters there are.

use crate::method::Verb;
use crate::method::error::Failure;
use crate::method::params::Params;

/// What every method takes.
const CONTROL: [&str; 17] = [
    "apiKey",
    "secret",
    "userKey",
    "timestamp",
    "nonce",
    "sig",
    "oauth_token",
    "format",
    "httpStatusCodes",
    "context",
    "callback",
    "checkParams",
    "sdk",
    "cid",
    "lang",
    "pageURL",
    "authMode",
];

/// Whether `name` is a parameter of `verb`.
pub(crate) fn is_known(verb: Verb, name: &str) -> bool {
    let own: &[&str] = match verb {
        Verb::ExportUsers => &["fields", "limit", "includPendingUsers", "after", "atSeq", "since"],
        Verb::GetToken => &["grant_type", "client_id", "client_secret", "x_sessionExpiration"],
        Verb::ImportIdentities => &["UID", "identities", "handleIdentityConflicts", "allowNewUser"],
        Verb::NotifyRegistration | Verb::SetUid => &["UID", "siteUID"],
        Verb::GetUserInfo | Verb::DeleteAccount => &["UID"],
    };
    name == "ctag" || CONTROL.contains(&name) || own.contains(&name)
}

/// A Boolean: true, false, 1 or 0, in any case.
pub(crate) fn boolean(params: &Params, name: &str) -> Result<Option<bool>, Failure> {
    let Some(value) = params.get(name) else { return Ok(None) };
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ => Err(Failure::value(name, value, "one of true, false, 1, 0")),
    }
}

/// A number from 0 to the greatest of 64 bits.
pub(crate) fn number(params: &Params, name: &str) -> Result<Option<u64>, Failure> {
    let Some(value) = params.get(name) else { return Ok(None) };
    let text = value.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Failure::format(name, value, "a number"));
    }
    match digits.parse() {
        Ok(number) if !negative => Ok(Some(number)),
        _ => Err(Failure::value(name, value, "a number from 0 to 18446744073709551615")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::error::Code;

    #[test]
    fn numbers() {
        let read = |text| number(&Params::of(&[("limit", text)]), "limit").map_err(|f| f.code);
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("0"), Ok(Some(0)));
        assert_eq!(read(" 007 "), Ok(Some(7)));
        assert_eq!(read("18446744073709551615"), Ok(Some(u64::MAX)));
        for text in ["18446744073709551616", "-1", "-0", "99999999999999999999999"] {
            assert_eq!(read(text), Err(Code::InvalidParameterValue), "{text}");
        }
        for text in ["ten", "1.5", "0x1", "-", "1 2", "1e3", "٣"] {
            assert_eq!(read(text), Err(Code::InvalidParameterFormat), "{text}");
        }
    }

    #[test]
    fn booleans() {
        let read = |text| boolean(&Params::of(&[("x", text)]), "x").map_err(|f| f.code);
        for (text, value) in [("TRUE", Some(true)), ("1", Some(true)), ("False", Some(false)), ("0", Some(false))] {
            assert_eq!(read(text), Ok(value));
        }
        assert_eq!(read(""), Ok(None));
        for text in ["yes", "2", "truee", "-1"] {
            assert_eq!(read(text), Err(Code::InvalidParameterValue), "{text}");
        }
    }
}
