//! What a configuration has to keep to beyond its types.

use std::collections::HashMap;
use std::net::SocketAddr;

use hyper::Uri;

use crate::config::load::Places;
use crate::config::{Config, ConfigError, Limits, SecretSource};

/// Longest time, in seconds: a year. Anything longer is a slip of the hand, and would overflow clocks.
const SECONDS_MAX: u64 = 366 * 86_400;
/// Most of anything that is counted.
const COUNT_MAX: u64 = 1_000_000;
/// Longest name of a key, in bytes.
const NAME_MAX: usize = 256;

pub(super) fn check(config: &Config, places: &Places<'_>) -> Result<(), ConfigError> {
    listeners(config, places)?;
    for (i, url) in config.public_urls.iter().enumerate() {
        public_url(url).map_err(|problem| places.error(&format!("public_urls.{i}"), &problem))?;
    }
    ranges(config, places)?;
    names(config, places)?;
    for (i, site) in config.sites.iter().enumerate() {
        secrets(&site.secrets, &format!("site.{i}"), &format!("the site {:?}", site.api_key), places)?;
        for (j, key) in site.user_keys.iter().enumerate() {
            let (place, what) = (format!("site.{i}.user_key.{j}"), format!("the user key {:?}", key.key));
            secrets(&key.secrets, &place, &what, places)?;
            if key.permissions.is_empty() {
                let problem = format!("{what} may do nothing; give it permissions = [\"export\"], or remove it");
                return Err(places.error(&format!("{place}.permissions"), &problem));
            }
        }
    }
    Ok(())
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn listeners(config: &Config, places: &Places<'_>) -> Result<(), ConfigError> {
    if config.listen.is_empty() {
        let problem = "there is no listener; add a section [[listen]] with address = \"127.0.0.1:8080\"";
        return Err(places.error("listen", problem));
    }
    let mut seen: HashMap<SocketAddr, String> = HashMap::new();
    for (i, listen) in config.listen.iter().enumerate() {
        let (place, address) = (format!("listen.{i}"), listen.address);
        let refused = |key: &str, problem: String| Err(places.error(&format!("{place}.{key}"), &problem));
        if listen.tls.is_none() && !listen.plain_http && !is_loopback(address) {
            return refused(
                "address",
                format!(
                    "others can reach {address}, and could read along; add tls = {{ cert = \"FILE\", key = \"FILE\" }}, \
                     or plain_http = true if that is meant, as behind a proxy that has TLS"
                ),
            );
        }
        if listen.tls.is_some() && listen.plain_http {
            return refused("plain_http", "plain_http contradicts tls; remove one of them".to_owned());
        }
        if listen.insecure_loopback && !is_loopback(address) && !address.ip().is_unspecified() {
            return refused(
                "insecure_loopback",
                format!("insecure_loopback is for this machine's own clients, who do not reach {address}; remove it"),
            );
        }
        once(&mut seen, address, &format!("{place}.address"), places)?;
    }
    match config.metrics {
        Some(address) => once(&mut seen, address, "metrics", places),
        None => Ok(()),
    }
}

/// Port 0 is another port each time.
fn once(
    seen: &mut HashMap<SocketAddr, String>,
    address: SocketAddr,
    place: &str,
    places: &Places<'_>,
) -> Result<(), ConfigError> {
    match seen.insert(address, place.to_owned()) {
        Some(first) if address.port() != 0 => {
            let problem = format!("{address} is taken by line {}; give another port", places.line(&first));
            Err(places.error(place, &problem))
        }
        _ => Ok(()),
    }
}

fn public_url(url: &str) -> Result<(), String> {
    const FORM: &str = "write scheme and host, as in https://users.example.com";
    let parsed: Uri = url.parse().map_err(|_| format!("{url:?} is no URL; {FORM}"))?;
    let scheme = parsed.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(format!("{url:?} does not begin with http:// or https://; {FORM}"));
    }
    let authority = parsed.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if parsed.host().is_none_or(str::is_empty) || authority.contains('@') {
        return Err(format!("{url:?} does not name a host alone; {FORM}"));
    }
    // A port that is no number is none to the parser, and stays in the text.
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!("{url:?} has a port that is none; {FORM}"));
    }
    if parsed.query().is_some() || url.contains('#') {
        return Err(format!("{url:?} has more than scheme, host, port and path; {FORM}"));
    }
    Ok(())
}

/// Every number: its name, its value, the least and the greatest that make sense.
fn ranges(config: &Config, places: &Places<'_>) -> Result<(), ConfigError> {
    let limits = &config.limits;
    let size = |n: usize| n as u64;
    let Limits {
        connections,
        connections_per_address,
        handshake_seconds,
        request_seconds,
        idle_seconds,
        body_bytes,
        exports,
        transfers,
        transfers_per_key,
        queue,
        queue_seconds,
        slow_seconds,
        slow_bytes,
        requests_per_second,
        drain_seconds,
    } = *limits;
    let table = [
        ("token_lifetime", config.token_lifetime, 1, SECONDS_MAX),
        ("limits.connections", size(connections), 1, COUNT_MAX),
        ("limits.connections_per_address", size(connections_per_address), 1, COUNT_MAX),
        ("limits.handshake_seconds", handshake_seconds, 1, SECONDS_MAX),
        ("limits.request_seconds", request_seconds, 1, SECONDS_MAX),
        ("limits.idle_seconds", idle_seconds, 1, SECONDS_MAX),
        ("limits.body_bytes", size(body_bytes), 1, 1 << 30),
        ("limits.exports", size(exports), 1, COUNT_MAX),
        ("limits.transfers", size(transfers), 1, COUNT_MAX),
        ("limits.transfers_per_key", size(transfers_per_key), 1, COUNT_MAX),
        ("limits.queue", size(queue), 0, COUNT_MAX),
        ("limits.queue_seconds", queue_seconds, 0, SECONDS_MAX),
        ("limits.slow_seconds", slow_seconds, 1, SECONDS_MAX),
        ("limits.slow_bytes", slow_bytes, 1, 1 << 40),
        ("limits.requests_per_second", requests_per_second, 0, COUNT_MAX),
        ("limits.drain_seconds", drain_seconds, 0, SECONDS_MAX),
    ];
    for (place, value, least, greatest) in table {
        if !(least..=greatest).contains(&value) {
            let name = place.trim_start_matches("limits.");
            let problem = format!("{name} is {value}; expected {least} to {greatest}");
            return Err(places.error(place, &problem));
        }
    }
    Ok(())
}

/// apiKeys are unique, and so are user keys: getToken takes either alone.
fn names(config: &Config, places: &Places<'_>) -> Result<(), ConfigError> {
    let mut seen: HashMap<&str, String> = HashMap::new();
    let mut all = Vec::new();
    for (i, site) in config.sites.iter().enumerate() {
        all.push((format!("site.{i}.api_key"), "api_key", site.api_key.as_str()));
        let keys = site.user_keys.iter().enumerate();
        all.extend(keys.map(|(j, key)| (format!("site.{i}.user_key.{j}.key"), "key", key.key.as_str())));
    }
    for (place, what, name) in all {
        if let Some(problem) = name_problem(name) {
            return Err(places.error(&place, &format!("{what} {name:?} {problem}")));
        }
        if let Some(first) = seen.insert(name, place.clone()) {
            let problem = format!("{what} {name:?} is taken by line {}; give another name", places.line(&first));
            return Err(places.error(&place, &problem));
        }
    }
    Ok(())
}

/// What is wrong with the name of a key.
pub(super) fn name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty; give it a name".to_owned());
    }
    if name.len() > NAME_MAX {
        return Some(format!("is longer than {NAME_MAX} bytes; give it a shorter name"));
    }
    let is_plain = |c: char| c.is_ascii_graphic();
    (!name.chars().all(is_plain)).then(|| "is not of printable ASCII without spaces; give it another name".to_owned())
}

fn secrets(sources: &[SecretSource], key: &str, what: &str, places: &Places<'_>) -> Result<(), ConfigError> {
    let place = format!("{key}.secrets");
    match sources {
        [] => {
            let problem = format!("{what} has no secret; add secrets = [{{ file = \"FILE\" }}]");
            return Err(places.error(&place, &problem));
        }
        [_, _, third @ ..] if !third.is_empty() => {
            let problem = format!(
                "{what} has {} secrets; at most two are active at a time: remove the ones that no client uses any more",
                sources.len()
            );
            return Err(places.error(&place, &problem));
        }
        [one, other] if one == other => {
            return Err(places.error(&place, &format!("{what} has the same secret twice; remove one of them")));
        }
        _ => {}
    }
    for (i, source) in sources.iter().enumerate() {
        let problem = match source {
            SecretSource::File(path) if path.as_os_str().is_empty() => "the path of the secret file is empty",
            SecretSource::Env(name) if name.is_empty() || name.contains(['=', '\0']) => {
                "a variable of the environment has a name without = and NUL, such as SITE_SECRET"
            }
            _ => continue,
        };
        return Err(places.error(&format!("{place}.{i}"), problem));
    }
    Ok(())
}
