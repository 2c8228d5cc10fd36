//! Signed requests: the text that is signed, and whether a signature is of it.
//!
//! `base64(HMAC-SHA1(secret, METHOD "&" enc(url) "&" enc(parameters)))`, as in OAuth 1 (RFC 5849, section 3.4.1) with the
//! parameters of query and form alike, sorted by name. The test vectors are those of `docs/API.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use crate::method::params::Params;
use crate::method::percent::encode_into;
use crate::method::request::Request;
use crate::method::site::{BASE64, Secret};

/// A signature as sent; `None` when it is no base64.
pub(crate) fn decode(sig: &str) -> Option<Vec<u8>> {
    BASE64.decode(sig).ok()
}

/// The URLs that a client may have signed: each authority by both schemes, since what stands in front may have taken
/// TLS off or put it on.
pub(crate) fn urls(request: &Request, public_urls: &[String]) -> Vec<String> {
    let mut bases: Vec<(&str, &str)> = Vec::new();
    if public_urls.is_empty() {
        // The authority of an absolute-form target goes before Host (RFC 9112, section 3.2.2).
        bases.extend(request.authority.as_deref().or(request.host.as_deref()).map(|authority| (authority, "")));
    }
    for public in public_urls {
        let rest = public.split_once("://").map_or(public.as_str(), |(_, rest)| rest);
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, prefix) = rest.split_at_checked(end).unwrap_or((rest, ""));
        bases.push((authority, prefix.trim_end_matches('/')));
    }
    let schemes = [("http", "80"), ("https", "443")];
    let both = |(authority, prefix)| schemes.map(|(scheme, port)| url(scheme, port, authority, prefix, &request.path));
    bases.into_iter().flat_map(both).collect()
}

fn url(scheme: &str, default_port: &str, authority: &str, prefix: &str, path: &str) -> String {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A colon inside the brackets of an IPv6 address begins no port.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (authority, ""),
    };
    let colon = if port.is_empty() || port == default_port { "" } else { ":" };
    let port = if colon.is_empty() { "" } else { port };
    format!("{scheme}://{}{colon}{port}{prefix}{path}", host.to_ascii_lowercase())
}

/// `enc(k1=enc(v1)&k2=enc(v2)…)`, with the names encoded too or as they are.
fn encoded_params<'p>(params: impl Iterator<Item = (&'p str, &'p str)>, encode_names: bool) -> String {
    let mut joined = String::new();
    for (name, value) in params.filter(|(name, _)| *name != "sig") {
        if !joined.is_empty() {
            joined.push('&');
        }
        if encode_names {
            encode_into(name, &mut joined);
        } else {
            joined.push_str(name);
        }
        joined.push('=');
        encode_into(value, &mut joined);
    }
    let mut encoded = String::with_capacity(joined.len() * 3 / 2);
    encode_into(&joined, &mut encoded);
    encoded
}

fn mac(method: &str, url: &str, params: &str, secret: &Secret) -> Option<Hmac<Sha1>> {
    let mut text = String::new();
    encode_into(url, &mut text);
    // A key of any length will do, so that this is never an error.
    let mut mac = <Hmac<Sha1> as hmac::Mac>::new_from_slice(secret.bytes()).ok()?;
    for part in [method, "&", &text, "&", params] {
        mac.update(part.as_bytes());
    }
    Some(mac)
}

/// The texts of the parameters that a client may have signed. Names are encoded by some and not by others, which is the
/// same for all names of ours. A name with `=`, `&` or `%` is taken encoded alone: as it is it could be several
/// parameters, or another's encoding.
fn texts(params: &Params) -> Vec<String> {
    let mut texts = vec![encoded_params(params.iter(), true)];
    if params.iter().all(|(name, _)| !name.contains(['=', '&', '%'])) {
        let plain = encoded_params(params.iter(), false);
        if !texts.contains(&plain) {
            texts.push(plain);
        }
    }
    texts
}

/// Which of `secrets` signed the request, by one of `urls`. All of them are tried, in constant time, whatever fits.
pub(crate) fn signer(method: &str, urls: &[String], params: &Params, secrets: &[Secret], sig: &[u8]) -> Option<usize> {
    let texts = texts(params);
    let mut found = None;
    for (url, text) in urls.iter().flat_map(|url| texts.iter().map(move |text| (url, text))) {
        for (i, secret) in secrets.iter().enumerate() {
            let Some(mac) = mac(method, url, text, secret) else { continue };
            if bool::from(mac.finalize().into_bytes().as_slice().ct_eq(sig)) {
                found = Some(i);
            }
        }
    }
    found
}

/// Signs a request as a client does: the value of `sig` for these parameters, query and form together, to `url` (scheme,
/// host, port where it is not the scheme's own, path; no query).
#[must_use]
pub fn sign(method: &str, url: &str, params: &[(&str, &str)], secret: &Secret) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, ""));
    let scheme = scheme.to_ascii_lowercase();
    let default_port = if scheme == "https" { "443" } else { "80" };
    let url = self::url(&scheme, default_port, authority, "", if path.is_empty() { "/" } else { path });
    let mut sorted = params.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mac = mac(method, &url, &encoded_params(sorted.into_iter(), true), secret);
    mac.map(|mac| STANDARD.encode(mac.finalize().into_bytes())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const SECRET: &str = "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=";

    fn urls_of(authority: &str) -> Vec<String> {
        let mut request = Request::new("GET", "/p", UNIX_EPOCH);
        request.host = Some(authority.to_owned());
        urls(&request, &[])
    }

    #[test]
    fn ports_and_hosts() {
        assert_eq!(urls_of("Host"), ["http://host/p", "https://host/p"]);
        assert_eq!(urls_of("host:80"), ["http://host/p", "https://host:80/p"]);
        assert_eq!(urls_of("host:443"), ["http://host:443/p", "https://host/p"]);
        assert_eq!(urls_of("host:8443"), ["http://host:8443/p", "https://host:8443/p"]);
        assert_eq!(urls_of("[::1]"), ["http://[::1]/p", "https://[::1]/p"]);
        assert_eq!(urls_of("[::1]:8080"), ["http://[::1]:8080/p", "https://[::1]:8080/p"]);
        assert_eq!(urls_of("host:"), ["http://host/p", "https://host/p"]);
    }

    #[test]
    fn the_target_goes_before_the_host_and_public_urls_before_both() {
        let mut request = Request::new("GET", "http://A.example:81/p?q=1", UNIX_EPOCH);
        request.host = Some("b.example".to_owned());
        assert_eq!(urls(&request, &[]), ["http://a.example:81/p", "https://a.example:81/p"]);
        let public = ["https://users.example".to_owned(), "http://c.example:8080/base/".to_owned()];
        assert_eq!(
            urls(&request, &public),
            [
                "http://users.example/p",
                "https://users.example/p",
                "http://c.example:8080/base/p",
                "https://c.example:8080/base/p"
            ]
        );
        assert!(urls(&Request::new("GET", "/p", UNIX_EPOCH), &[]).is_empty());
    }

    #[test]
    fn signing_normalizes_the_url() {
        let secret = Secret::new(SECRET).unwrap();
        let sig = |url| sign("GET", url, &[("b", "2"), ("a", "1"), ("a", "1")], &secret);
        assert_eq!(sig("HTTPS://Host:443"), sig("https://host/"));
        assert_ne!(sig("https://host/"), sig("http://host/"));
    }

    #[test]
    fn names_are_signed_as_they_are_or_encoded() {
        let secrets = [Secret::new(SECRET).unwrap()];
        let urls = ["https://host/p".to_owned()];
        let signed = |joined: &str| {
            let mut encoded = String::new();
            encode_into(joined, &mut encoded);
            mac("GET", "https://host/p", &encoded, &secrets[0]).unwrap().finalize().into_bytes()
        };
        let by = |params: &[(&str, &str)], joined: &str| {
            signer("GET", &urls, &Params::of(params), &secrets, &signed(joined)).is_some()
        };
        assert!(by(&[("a[b]", "1 2"), ("c", "d")], "a%5Bb%5D=1%202&c=d"));
        assert!(by(&[("a[b]", "1 2"), ("c", "d"), ("é", "")], "a[b]=1%202&c=d&é="));
        assert!(!by(&[("a[b]", "1 2"), ("c", "d")], "a[b]=1 2&c=d"), "values are encoded");
        // Of other parameters than were sent: a name that could be taken apart in two ways is encoded.
        assert!(!by(&[("a%5Bb%5D", "1")], "a%5Bb%5D=1"));
        assert!(!by(&[("a=1&b", "2")], "a=1&b=2"));
        assert!(!by(&[("a&b", "2"), ("c[]", "3")], "a&b=2&c[]=3"));
        assert!(by(&[("a%5Bb%5D", "1")], "a%255Bb%255D=1"));
    }
}
