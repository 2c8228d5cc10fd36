//! Tokens of OAuth2: random, stored by their hash, with an end, and dead without the secret that they came from.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::method::api::Api;
use crate::method::auth::Caller;
use crate::method::call::Call;
use crate::method::error::{Code, Failure, clipped};
use crate::method::json::Object;
use crate::method::response::Response;
use crate::method::site::{Sites, hex};

/// Tokens of one key that live at the same time, at most.
const PER_KEY: usize = 1000;
/// All tokens that live at the same time, at most.
const MAX: usize = 10_000;

/// What is known of a token. The token itself is known to its client alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// SHA-256 of the token, in hexadecimal.
    pub hash: String,
    /// Its site.
    pub api_key: String,
    /// Its user key, where it has one.
    pub user_key: Option<String>,
    /// Of the secret that it was given for.
    pub fingerprint: String,
    /// Second since 1970-01-01 UTC at which it ends.
    pub expires: u64,
}

/// Why a token was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// There are too many.
    #[error("too many tokens live at the same time")]
    Full,
    /// The medium failed.
    #[error("cannot store a token: {0}")]
    Io(#[from] io::Error),
}

/// Where tokens are kept.
pub trait TokenStore: fmt::Debug + Send + Sync {
    /// Keeps a token; those that ended before second `now` may be forgotten.
    ///
    /// # Errors
    /// When there are too many, or the medium fails.
    fn insert(&self, record: TokenRecord, now: u64) -> Result<(), TokenError>;

    /// The token with this hash. It waits for no disk: it is asked about every request that has one.
    fn find(&self, hash: &str) -> Option<TokenRecord>;

    /// Whether [`insert`](Self::insert) waits for a disk or a network.
    fn waits(&self) -> bool {
        true
    }
}

/// Tokens by their hash.
#[derive(Debug, Default, Clone)]
pub(crate) struct Table(pub(crate) HashMap<String, TokenRecord>);

impl Table {
    /// Enters a token and drops what has ended.
    pub(crate) fn insert(&mut self, record: TokenRecord, now: u64) -> Result<(), TokenError> {
        self.0.retain(|_, known| known.expires > now);
        let same_key = |known: &&TokenRecord| known.api_key == record.api_key && known.user_key == record.user_key;
        if self.0.len() >= MAX || self.0.values().filter(same_key).count() >= PER_KEY {
            return Err(TokenError::Full);
        }
        self.0.insert(record.hash.clone(), record);
        Ok(())
    }
}

/// Tokens in memory: they end with the process.
#[derive(Debug, Default)]
pub struct MemoryTokens {
    table: Mutex<Table>,
}

impl TokenStore for MemoryTokens {
    fn insert(&self, record: TokenRecord, now: u64) -> Result<(), TokenError> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).insert(record, now)
    }

    fn find(&self, hash: &str) -> Option<TokenRecord> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).0.get(hash).cloned()
    }

    fn waits(&self) -> bool {
        false
    }
}

fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// Whose token it is.
pub(crate) fn caller(api: &Api, sites: &Sites, token: &str, now_ms: u64) -> Result<Caller, Failure> {
    let invalid = || Failure::new(Code::InvalidToken, "the token is unknown, has ended, or its key has");
    // Looked up by hash: the time of it says nothing about tokens. One that is sent out of a file ends with a line end.
    let record =
        api.tokens.find(&hash(token.trim())).filter(|record| record.expires > now_ms / 1000).ok_or_else(invalid)?;
    let site = sites.get(&record.api_key).ok_or_else(invalid)?;
    let secrets = site.secrets(record.user_key.as_deref()).unwrap_or_default();
    if !secrets.iter().any(|secret| secret.fingerprint() == record.fingerprint) {
        return Err(invalid());
    }
    Ok(Caller { site: Arc::clone(site), user_key: record.user_key, fingerprint: record.fingerprint })
}

/// What getToken is asked for.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Seconds that the token will live.
    lifetime: u64,
}

impl Grant {
    /// Reads the parameters of getToken.
    pub(crate) fn read(api: &Api, call: &Call) -> Result<Self, Failure> {
        let grant = call.params.required("grant_type")?;
        if !["none", "client_credentials"].contains(&grant) {
            let details = format!("grant_type: \"{}\" is not one of none, client_credentials", clipped(grant));
            return Err(Failure::new(Code::UnsupportedGrantType, details));
        }
        let longest = api.settings.token_lifetime.as_secs().max(1);
        let lifetime = match call.params.get("x_sessionExpiration") {
            None => longest,
            Some(text) => {
                let wished = text.trim().parse::<i64>();
                let wished = wished.map_err(|_| Failure::format("x_sessionExpiration", text, "a number of seconds"))?;
                // 0 and less mean "as long as may be".
                u64::try_from(wished).ok().filter(|wished| *wished > 0).map_or(longest, |wished| wished.min(longest))
            }
        };
        Ok(Self { lifetime })
    }

    /// Gives a client that is known a token.
    pub(crate) fn give(&self, tokens: &dyn TokenStore, call: &Call, client: &Caller) -> Result<Response, Failure> {
        let failed = |_| Failure::new(Code::ServerError, "no token could be made; try again");
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(failed)?;
        let token = URL_SAFE_NO_PAD.encode(random);
        let now = call.request.now_ms() / 1000;
        let record = TokenRecord {
            hash: hash(&token),
            api_key: client.site.api_key.clone(),
            user_key: client.user_key.clone(),
            fingerprint: client.fingerprint.clone(),
            expires: now.saturating_add(self.lifetime),
        };
        tokens.insert(record, now).map_err(|error| match error {
            TokenError::Full => Failure::new(Code::RateLimit, "too many tokens of this key are alive").retry_after(60),
            TokenError::Io(_) => Failure::new(Code::ServerError, "no token could be kept; try again"),
        })?;
        let object = Object::new()
            .text("access_token", &token)
            .number("expires_in", self.lifetime)
            .text("callId", call.call_id())
            .number("errorCode", 0)
            .number("statusCode", 200)
            .text("statusReason", "OK")
            .text("time", &call.time());
        Ok(call.json(200, call.extras(object)))
    }
}
