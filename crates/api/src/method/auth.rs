//! Who asks: by a signature, a secret, or a token; one of them.

use std::sync::Arc;

use base64::Engine as _;

use crate::method::api::Api;
use crate::method::call::Call;
use crate::method::error::{Code, Failure, clipped};
use crate::method::nonce::Stamp;
use crate::method::params::Params;
use crate::method::percent::decode;
use crate::method::request::Request;
use crate::method::signature;
use crate::method::site::{BASE64, Permission, Secret, Site, Sites};
use crate::method::token;
use crate::method::verb::Verb;

/// Names of parameters that a refused signature is explained with, at most.
const NAMED_MAX: usize = 32;

/// Who asks.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) site: Arc<Site>,
    pub(crate) user_key: Option<String>,
    /// Of the secret that showed it: what a token depends on.
    pub(crate) fingerprint: String,
}

impl Caller {
    /// Refuses what the key may not do.
    pub(crate) fn require(&self, verb: Verb) -> Result<(), Failure> {
        let needed = match verb {
            // A token may do what its key may.
            Verb::GetToken => return Ok(()),
            Verb::ExportUsers | Verb::GetUserInfo => Permission::Export,
            _ => Permission::Write,
        };
        let Some(key) = &self.user_key else { return Ok(()) };
        let may = self.site.user_key(key).is_some_and(|key| key.permissions.contains(&needed));
        if may { Ok(()) } else { Err(Failure::permission("this userKey may not call this method")) }
    }
}

/// An `Authorization` header.
enum Authorization {
    Token { scheme: &'static str, token: String },
    Basic { id: String, secret: String },
}

fn authorization(request: &Request) -> Result<Option<Authorization>, Failure> {
    let malformed =
        || Failure::new(Code::InvalidAuthenticationHeader, "Authorization: expected one of: OAuth token, Bearer token");
    let mut all = request.all("authorization");
    let Some(value) = all.next() else { return Ok(None) };
    let (scheme, rest) = value.split_once(' ').ok_or_else(malformed)?;
    let rest = rest.trim();
    if all.next().is_some() || rest.is_empty() || rest.contains([' ', ',']) {
        return Err(malformed());
    }
    for known in ["OAuth", "Bearer"] {
        if scheme.eq_ignore_ascii_case(known) {
            return Ok(Some(Authorization::Token { scheme: known, token: rest.to_owned() }));
        }
    }
    let basic = if scheme.eq_ignore_ascii_case("Basic") { BASE64.decode(rest).ok() } else { None };
    let text = basic.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(malformed)?;
    let (id, secret) =
        text.split_once(':').filter(|(id, secret)| !id.is_empty() && !secret.is_empty()).ok_or_else(malformed)?;
    let id = form_encoded(id).ok_or_else(malformed)?;
    Ok(Some(Authorization::Basic { id, secret: form_encoded(secret).ok_or_else(malformed)? }))
}

/// A part of HTTP Basic, which clients of OAuth2 encode (RFC 6749, section 2.3.1) and others do not: no secret has a percent
/// sign of its own.
fn form_encoded(text: &str) -> Option<String> {
    if text.contains('%') { decode(text.as_bytes()) } else { Some(text.to_owned()) }
}

/// What a request proves itself with.
enum Credential<'c> {
    Signature(&'c str),
    Secret(&'c str),
    Token { scheme: Option<&'static str>, token: String },
}

fn contradiction() -> Failure {
    Failure::new(
        Code::InvalidRequestFormat,
        "more than one way of authorization: expected a signature, a secret, or a token",
    )
}

fn credential<'c>(call: &'c Call) -> Result<Credential<'c>, Failure> {
    let params = &call.params;
    let header = match authorization(&call.request)? {
        Some(Authorization::Token { scheme, token }) => Some((scheme, token)),
        Some(Authorization::Basic { .. }) => {
            let details = "Authorization: Basic is for socialize.getToken; expected OAuth or Bearer and a token";
            return Err(Failure::new(Code::InvalidAuthenticationHeader, details));
        }
        None => None,
    };
    let secret = params.get("secret");
    // Clients send the apiKey as a token beside a secret, and mean the secret.
    let token = params.get("oauth_token").filter(|token| secret.is_none() || Some(*token) != params.get("apiKey"));
    match (params.get("sig"), secret, token, header) {
        (Some(sig), None, None, None) => Ok(Credential::Signature(sig)),
        (None, Some(secret), None, None) => Ok(Credential::Secret(secret)),
        (None, None, Some(token), None) => Ok(Credential::Token { scheme: None, token: token.to_owned() }),
        (None, None, None, Some((scheme, token))) => Ok(Credential::Token { scheme: Some(scheme), token }),
        (None, None, None, None) if params.get("apiKey").is_none() => {
            Err(Failure::missing("apiKey; and sig, secret or oauth_token"))
        }
        (None, None, None, None) => Err(Failure::missing("sig, secret or oauth_token")),
        _ => Err(contradiction()),
    }
}

/// Whether nobody on the way can read the request, or that does not matter.
fn is_private(api: &Api, request: &Request) -> bool {
    request.secure || (api.settings.insecure_loopback && request.is_local())
}

fn site_of(sites: &Sites, api_key: &str) -> Result<Arc<Site>, Failure> {
    sites.get(api_key).cloned().ok_or_else(|| Failure::new(Code::InvalidApiKey, "apiKey: there is no such site"))
}

/// Who asks for anything but a token.
pub(crate) fn caller(api: &Api, call: &Call) -> Result<Caller, Failure> {
    let params = &call.params;
    let credential = credential(call)?;
    if matches!(credential, Credential::Signature(_)) {
        params.required("timestamp").and(params.required("nonce"))?;
    }
    let sites = api.sites();
    let site = match params.get("apiKey") {
        Some(api_key) => Some(site_of(&sites, api_key)?),
        None => None,
    };
    let private = is_private(api, &call.request);
    let user_key = params.get("userKey");
    let of_site = || site.clone().ok_or_else(|| Failure::missing("apiKey"));
    match credential {
        Credential::Signature(sig) => signed(api, call, of_site()?, user_key, sig),
        Credential::Secret(_) if !private => of_site().and(Err(secret_over_http())),
        Credential::Secret(text) => with_secret(of_site()?, user_key, text),
        Credential::Token { .. } if !private => {
            Err(Failure::new(Code::InvalidRequestFormat, "a token is taken over HTTPS only"))
        }
        Credential::Token { scheme, token } => {
            let caller = token::caller(api, &sites, &token, call.request.now_ms());
            let caller = caller.map_err(|failure| Failure { challenge: scheme, ..failure })?;
            if site.is_some_and(|site| site.api_key != caller.site.api_key) {
                return Err(Failure::permission("apiKey: not the site of this token"));
            }
            if user_key.is_some() && user_key != caller.user_key.as_deref() {
                return Err(Failure::permission("userKey: not the key of this token"));
            }
            Ok(caller)
        }
    }
}

fn secret_over_http() -> Failure {
    Failure::new(Code::SecretOverHttp, "a secret is taken over HTTPS only; consider it known to others and replace it")
}

/// The client that asks for a token: one of several ways to give an id and a secret, or a signature.
pub(crate) fn client(api: &Api, call: &Call) -> Result<Caller, Failure> {
    let params = &call.params;
    let basic = match authorization(&call.request)? {
        Some(Authorization::Basic { id, secret }) => Some((id, secret)),
        Some(Authorization::Token { .. }) => return Err(contradiction()),
        None => None,
    };
    let (basic_id, basic_secret) = basic.unzip();
    let secrets = [basic_secret.as_deref(), params.get("client_secret"), params.get("secret")];
    let sig = params.get("sig");
    if secrets.iter().flatten().count() + usize::from(sig.is_some()) > 1 {
        return Err(contradiction());
    }
    let secret = secrets.into_iter().flatten().next();
    let stray = params.get("oauth_token").is_some_and(|token| secret.is_none() || Some(token) != params.get("apiKey"));
    if stray {
        return Err(contradiction());
    }
    if secret.is_none() && sig.is_none() {
        return Err(Failure::missing("client_secret, secret or sig"));
    }
    if sig.is_some() {
        params.required("timestamp").and(params.required("nonce"))?;
    }
    if basic_id.is_some() && params.get("client_id").is_some_and(|id| Some(id) != basic_id.as_deref()) {
        return Err(contradiction());
    }
    let (site, user_key) = identify(&api.sites(), call, basic_id.as_deref().or(params.get("client_id")))?;
    let private = is_private(api, &call.request);
    match (secret, sig) {
        (Some(_), _) if !private => Err(secret_over_http()),
        (_, Some(_)) if !private => Err(Failure::new(Code::InvalidRequestFormat, "a token is given over HTTPS only")),
        (Some(text), _) => with_secret(site, user_key.as_deref(), text),
        (None, sig) => signed(api, call, site, user_key.as_deref(), sig.unwrap_or_default()),
    }
}

/// The site and user key that a client names, by `client_id`, which may be either, and by `apiKey` and `userKey`.
fn identify(sites: &Sites, call: &Call, id: Option<&str>) -> Result<(Arc<Site>, Option<String>), Failure> {
    let (api_key, user_key) = (call.params.get("apiKey"), call.params.get("userKey").map(str::to_owned));
    let Some(id) = id else {
        return Ok((site_of(sites, call.params.required("apiKey")?)?, user_key));
    };
    let (site, own) = match (sites.get(id), sites.of_user_key(id)) {
        (Some(site), _) => (site, None),
        (None, Some(site)) => (site, Some(id.to_owned())),
        (None, None) => return Err(Failure::new(Code::InvalidApiKey, "client_id: neither a site nor a userKey")),
    };
    let fits = api_key.is_none_or(|api_key| api_key == site.api_key);
    match (own, user_key) {
        _ if !fits => Err(Failure::permission("apiKey: not the site of this client_id")),
        (Some(own), Some(user)) if own != user => Err(Failure::permission("userKey: not this client_id")),
        (own, user) => Ok((Arc::clone(site), own.or(user))),
    }
}

/// The secrets to compare with; for a key that is not there one that takes as long.
fn secrets_of<'s>(site: &'s Site, user_key: Option<&str>, decoy: &'s [Secret]) -> (&'s [Secret], bool) {
    let known = site.secrets(user_key);
    (known.unwrap_or(decoy), known.is_some())
}

fn unknown_user_key() -> Failure {
    Failure::permission("userKey: there is no such key of this site")
}

fn with_secret(site: Arc<Site>, user_key: Option<&str>, text: &str) -> Result<Caller, Failure> {
    // What is sent out of a file ends with the file's line end.
    let text = text.trim();
    let decoy = [Secret::decoy()];
    let (secrets, known) = secrets_of(&site, user_key, &decoy);
    // All of them are compared, whichever fits.
    let fitting =
        secrets.iter().fold(None, |found, secret| if secret.is(text) { Some(secret.fingerprint()) } else { found });
    match fitting {
        _ if !known => Err(unknown_user_key()),
        Some(fingerprint) => Ok(Caller { site, user_key: user_key.map(str::to_owned), fingerprint }),
        None => Err(Failure::new(Code::InvalidSecret, "the secret is not that of this key")),
    }
}

fn signed(api: &Api, call: &Call, site: Arc<Site>, user_key: Option<&str>, sig: &str) -> Result<Caller, Failure> {
    let decoy = [Secret::decoy()];
    let (secrets, known) = secrets_of(&site, user_key, &decoy);
    let urls = signature::urls(&call.request, &api.settings.public_urls);
    let mac = signature::decode(sig);
    let signer =
        signature::signer(&call.request.method, &urls, &call.params, secrets, mac.as_deref().unwrap_or_default());
    if !known {
        return Err(unknown_user_key());
    }
    let Some(secret) = signer.and_then(|i| secrets.get(i)) else {
        let details = match mac {
            Some(_) => unsigned(&call.request.method, &urls, &call.params),
            None => "sig: not base64".to_owned(),
        };
        return Err(Failure::new(Code::InvalidSignature, details));
    };
    let fingerprint = secret.fingerprint();
    let (timestamp_ms, seconds) = timestamp(call.params.required("timestamp")?)?;
    let nonce = call.params.required("nonce")?;
    let stamp = Stamp { api_key: &site.api_key, user_key, nonce, timestamp_ms, seconds };
    api.nonces.admit(stamp, call.request.now_ms())?;
    Ok(Caller { user_key: user_key.map(str::to_owned), site, fingerprint })
}

/// What should have been signed, but for the values.
fn unsigned(method: &str, urls: &[String], params: &Params) -> String {
    let Some(url) = urls.first() else { return "sig: a request without a Host cannot be signed".to_owned() };
    let mut names: Vec<&str> = params.iter().map(|(name, _)| clipped(name)).filter(|name| *name != "sig").collect();
    names.dedup();
    names.truncate(NAMED_MAX);
    let others = if urls.len() > 2 { " or another URL of this server" } else { "" };
    let (url, names) = (clipped(url), names.join(", "));
    format!("sig: not this key's signature of {method} {url}{others}, by http or https, with the parameters {names}")
}

/// A timestamp in milliseconds, and whether it was in seconds.
fn timestamp(text: &str) -> Result<(u64, bool), Failure> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Failure::format("timestamp", text, "a number of seconds or milliseconds since 1970"));
    }
    let number: u64 = digits.parse().unwrap_or(u64::MAX);
    let seconds = number <= 100_000_000_000;
    Ok((if seconds { number * 1000 } else { number }, seconds))
}
