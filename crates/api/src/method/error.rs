//! The method's error codes: number, message and HTTP status, and what goes with one refusal.

/// An error code. Its first three digits are its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Code {
    /// Bad encoding or content type, contradicting credentials, a token over HTTP.
    InvalidRequestFormat = 400_001,
    /// A parameter that has to be there is not.
    MissingParameter = 400_002,
    /// A siteUID or an identity is another user's.
    UniqueIdentifierExists = 400_003,
    /// A value that cannot be read.
    InvalidParameterFormat = 400_004,
    /// A value that is not allowed.
    InvalidParameterValue = 400_006,
    /// An `Authorization` header that cannot be read.
    InvalidAuthenticationHeader = 400_008,
    /// A grant type that getToken does not know.
    UnsupportedGrantType = 400_013,
    /// No such site.
    InvalidApiKey = 400_093,
    /// A timestamp too far off.
    RequestExpired = 403_002,
    /// A signature that is not the request's.
    InvalidSignature = 403_003,
    /// A nonce that was used.
    DuplicateNonce = 403_004,
    /// A secret that everybody on the way could read.
    SecretOverHttp = 403_006,
    /// The key may not do this, or there is no such key.
    PermissionDenied = 403_007,
    /// A secret that is not the key's.
    InvalidSecret = 403_010,
    /// A token that is unknown or has ended.
    InvalidToken = 403_025,
    /// Too much at once: again later.
    RateLimit = 403_048,
    /// No such method.
    NotFound = 404_000,
    /// No user with that UID.
    UidNotFound = 404_003,
    /// An HTTP method that this method does not take.
    InvalidMethod = 405_001,
    /// A body that is too long.
    EntityTooLarge = 413_001,
    /// A passing fault of this server.
    ServerError = 500_001,
    /// Damage of the store.
    DatabaseError = 500_028,
    /// It took too long.
    RequestTimeout = 504_002,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 23] = [
        Self::InvalidRequestFormat,
        Self::MissingParameter,
        Self::UniqueIdentifierExists,
        Self::InvalidParameterFormat,
        Self::InvalidParameterValue,
        Self::InvalidAuthenticationHeader,
        Self::UnsupportedGrantType,
        Self::InvalidApiKey,
        Self::RequestExpired,
        Self::InvalidSignature,
        Self::DuplicateNonce,
        Self::SecretOverHttp,
        Self::PermissionDenied,
        Self::InvalidSecret,
        Self::InvalidToken,
        Self::RateLimit,
        Self::NotFound,
        Self::UidNotFound,
        Self::InvalidMethod,
        Self::EntityTooLarge,
        Self::ServerError,
        Self::DatabaseError,
        Self::RequestTimeout,
    ];

    /// The number: `errorCode`.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The first three digits: `statusCode`.
    #[must_use]
    pub fn status(self) -> u16 {
        u16::try_from(self.number() / 1000).unwrap_or(500)
    }

    /// The message: `errorMessage`.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::InvalidRequestFormat => "Invalid request format",
            Self::MissingParameter => "Missing required parameter",
            Self::UniqueIdentifierExists => "Unique identifier exists",
            Self::InvalidParameterFormat => "Invalid parameter format",
            Self::InvalidParameterValue => "Invalid parameter value",
            Self::InvalidAuthenticationHeader => "Invalid authentication header",
            Self::UnsupportedGrantType => "Unsupported grant type",
            Self::InvalidApiKey => "Invalid ApiKey parameter",
            Self::RequestExpired => "Request has expired",
            Self::InvalidSignature => "Invalid request signature",
            Self::DuplicateNonce => "Duplicate nonce",
            Self::SecretOverHttp => "Secret Sent Over HTTP",
            Self::PermissionDenied => "Permission denied",
            Self::InvalidSecret => "Invalid secret",
            Self::InvalidToken => "Invalid token",
            Self::RateLimit => "Api rate limit exceeded",
            Self::NotFound => "Not found",
            Self::UidNotFound => "UID not found",
            Self::InvalidMethod => "Invalid API method",
            Self::EntityTooLarge => "Request entity too large",
            Self::ServerError => "General server error",
            Self::DatabaseError => "Database error",
            Self::RequestTimeout => "Request Timeout",
        }
    }

    /// The OAuth name of it, in the answers of getToken (RFC 6749, section 5.2).
    pub(crate) const fn oauth(self) -> &'static str {
        match self {
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidApiKey
            | Self::RequestExpired
            | Self::InvalidSignature
            | Self::DuplicateNonce
            | Self::PermissionDenied
            | Self::InvalidSecret
            | Self::InvalidToken => "invalid_client",
            Self::RateLimit | Self::RequestTimeout => "temporarily_unavailable",
            Self::ServerError | Self::DatabaseError => "server_error",
            _ => "invalid_request",
        }
    }
}

/// Reason phrase of a status: `statusReason`.
pub(crate) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Request Entity Too Large",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

/// Why a request is refused: a code, what exactly is wrong, and headers that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(crate) code: Code,
    pub(crate) details: String,
    /// Seconds after which it may be tried again.
    pub(crate) retry_after: Option<u64>,
    /// Value of `Allow`.
    pub(crate) allow: Option<&'static str>,
    /// Scheme of the `Authorization` header that was refused: the HTTP status is then 401 in any case.
    pub(crate) challenge: Option<&'static str>,
}

impl Failure {
    /// A refusal. `details` go to the client: never a secret, and no file of this machine.
    #[must_use]
    pub fn new(code: Code, details: impl Into<String>) -> Self {
        Self { code, details: details.into(), retry_after: None, allow: None, challenge: None }
    }

    /// The same, to be tried again after so many seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// A parameter that is missing.
    pub(crate) fn missing(name: &str) -> Self {
        Self::new(Code::MissingParameter, format!("Missing required parameter: {name}"))
    }

    /// A value that cannot be read.
    pub(crate) fn format(name: &str, value: &str, allowed: &str) -> Self {
        Self::new(Code::InvalidParameterFormat, Self::about(name, value, allowed))
    }

    /// A value that is not allowed.
    pub(crate) fn value(name: &str, value: &str, allowed: &str) -> Self {
        Self::new(Code::InvalidParameterValue, Self::about(name, value, allowed))
    }

    /// What is wrong with a value, and what is allowed.
    fn about(name: &str, value: &str, allowed: &str) -> String {
        format!("{name}: \"{}\" is not {allowed}", clipped(value))
    }

    pub(crate) fn permission(details: &str) -> Self {
        Self::new(Code::PermissionDenied, details)
    }
}

/// The first 64 characters.
pub(crate) fn clipped(value: &str) -> &str {
    let end = value.char_indices().nth(64).map_or(value.len(), |(at, _)| at);
    value.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_reasons() {
        for code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code:?}");
            let own = reason(code.status());
            assert_eq!(own == "Internal Server Error", code.status() == 500, "{code:?}");
        }
    }

    #[test]
    fn values_are_cut_at_characters() {
        assert_eq!(clipped(&"é".repeat(65)), "é".repeat(64));
        assert_eq!(clipped("ab"), "ab");
    }
}
