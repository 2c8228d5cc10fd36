//! What trusted proxies say of the client: RFC 7239's `Forwarded`, and the `X-Forwarded-*` headers before it.
//!
//! Each proxy appends what it has seen, so the list is read from its right end: what a trusted proxy says of its own
//! peer counts, and the first hop that is not trusted is the client. What stands left of it anybody may have written.

use std::net::{IpAddr, SocketAddr};

/// The client, as far as trusted proxies know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// Whether it speaks TLS, where that was said.
    pub(crate) secure: Option<bool>,
    /// The host that it asked for, where that was said.
    pub(crate) host: Option<String>,
}

/// What one hop says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    secure: Option<bool>,
    host: Option<String>,
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// An address, with a port or without, in brackets or without.
fn address(text: &str) -> Option<IpAddr> {
    let text = unquoted(text);
    let bare = text.strip_prefix('[').and_then(|text| text.split_once(']')).map_or(text, |(inside, _)| inside);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

fn secure(text: &str) -> Option<bool> {
    match unquoted(text).to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

/// The value at the beginning of `text`, without its quotes and escapes, and what stands after it; `None` where a quote has
/// no other, or stands where none may.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.trim_start().strip_prefix('"') else {
        let (value, rest) = text.split_at_checked(text.find([';', ',']).unwrap_or(text.len()))?;
        return (!value.contains('"')).then(|| (value.trim().to_owned(), rest));
    };
    let (mut value, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
    let rest = chars.as_str().trim_start();
    (rest.is_empty() || rest.starts_with([';', ','])).then_some((value, rest))
}

/// The hops of `Forwarded`, in the order in which they were passed; `None` when it is not well formed: a quote that a client
/// leaves open takes in what the proxy adds, and then nothing of it can be believed.
fn standard(text: &str) -> Option<Vec<Hop>> {
    let (mut hops, mut hop, mut rest) = (Vec::new(), Hop::default(), text);
    loop {
        let (name, after) = rest.split_at_checked(rest.find(['=', ';', ',', '"']).unwrap_or(rest.len()))?;
        rest = after;
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after) = value(after)?;
            rest = after;
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => hop.address = address(&value),
                "proto" => hop.secure = secure(&value),
                "host" => hop.host = Some(value),
                _ => {}
            }
        }
        let mut chars = rest.chars();
        let next = chars.next();
        rest = chars.as_str();
        match next {
            Some(';') => {}
            Some(',') => hops.push(std::mem::take(&mut hop)),
            Some(_) => return None,
            None => break,
        }
    }
    hops.push(hop);
    Some(hops)
}

/// The hops of `X-Forwarded-For`, `-Proto` and `-Host`; a list that is shorter belongs to the right end, and a single
/// value of the last two to all hops, since most proxies replace it.
fn common(addresses: &str, schemes: &str, hosts: &str) -> Vec<Hop> {
    fn list(text: &str) -> Vec<&str> {
        text.split(',').map(str::trim).filter(|one| !one.is_empty()).collect()
    }
    fn nth<'t>(list: &[&'t str], from_right: usize) -> Option<&'t str> {
        let at = if list.len() == 1 { 0 } else { list.len().checked_sub(from_right + 1)? };
        list.get(at).copied()
    }
    let (addresses, schemes, hosts) = (list(addresses), list(schemes), list(hosts));
    let hops = addresses.iter().rev().enumerate().map(|(i, text)| Hop {
        address: address(text),
        secure: nth(&schemes, i).and_then(secure),
        host: nth(&hosts, i).map(str::to_owned),
    });
    let mut hops: Vec<Hop> = hops.collect();
    if hops.is_empty() && (!schemes.is_empty() || !hosts.is_empty()) {
        let secure = nth(&schemes, 0).and_then(secure);
        hops.push(Hop { address: None, secure, host: nth(&hosts, 0).map(str::to_owned) });
    }
    hops.reverse();
    hops
}

/// Who is behind a connection from `peer`. `header` gives all values of a header, joined by commas.
pub(crate) fn client(
    peer: IpAddr,
    header: impl Fn(&str) -> Option<String>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Client {
    let mut client = Client { address: peer, secure: None, host: None };
    if !is_trusted(peer) {
        return client;
    }
    let all = |name: &str| header(name).unwrap_or_default();
    let hops = match header("forwarded") {
        Some(value) => standard(&value).unwrap_or_default(),
        None => common(&all("x-forwarded-for"), &all("x-forwarded-proto"), &all("x-forwarded-host")),
    };
    for hop in hops.into_iter().rev() {
        client.secure = hop.secure.or(client.secure);
        client.host = hop.host.or(client.host);
        let Some(address) = hop.address else { break };
        client.address = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, headers: &[(&str, &str)]) -> (String, Option<bool>, Option<String>) {
        let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let client = client(peer.parse().unwrap(), header, trusted);
        (client.address.to_string(), client.secure, client.host)
    }

    #[test]
    fn nobody_is_believed_unasked() {
        let headers = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(of("192.0.2.1", &headers), ("192.0.2.1".to_owned(), None, None));
    }

    #[test]
    fn the_rightmost_untrusted_hop_is_the_client() {
        for (value, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:99", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("10.0.0.2", "10.0.0.2"),
            ("1.2.3.4, nonsense", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(of("10.0.0.1", &[("x-forwarded-for", value)]).0, expected, "{value}");
        }
        let forwarded =
            "for=6.6.6.6;proto=http, for=\"[2001:db8::1]:1\";proto=https;host=\"a.example:8443\", For=10.0.0.3";
        let expected = ("2001:db8::1".to_owned(), Some(true), Some("a.example:8443".to_owned()));
        assert_eq!(of("10.0.0.1", &[("forwarded", forwarded), ("x-forwarded-for", "6.6.6.6")]), expected);
    }

    #[test]
    fn what_cannot_be_taken_apart_is_not_believed() {
        for value in [
            // A client's open quote, before what the proxy appends: it would swallow the proxy's hop.
            "for=6.6.6.6;proto=https;host=a;x=\", for=1.2.3.4;proto=http",
            "for=6.6.6.6;proto=https;x=\"\\\", for=1.2.3.4;proto=http",
            "for=\"6.6.6.6\";proto=https;x=\"\\\"\\, for=1.2.3.4",
            // A quote that nothing is before.
            "for=6.6.6.6;proto=https;x=a\", for=1.2.3.4;y=b\"",
            "for=6.6.6.6;proto=https;x=\"a\"b, for=1.2.3.4",
        ] {
            assert_eq!(of("10.0.0.1", &[("forwarded", value)]), ("10.0.0.1".to_owned(), None, None), "{value}");
            let both = [("forwarded", value), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")];
            assert_eq!(of("10.0.0.1", &both), ("10.0.0.1".to_owned(), None, None), "{value}");
        }
        let value = "for=6.6.6.6;x=\"a\\\\\";y=\", for=7.7.7.7;\\\"\", for=1.2.3.4; proto=https ;host=\"a\\.b\"";
        let expected = ("1.2.3.4".to_owned(), Some(true), Some("a.b".to_owned()));
        assert_eq!(of("10.0.0.1", &[("forwarded", value)]), expected);
    }

    #[test]
    fn scheme_and_host_belong_to_the_clients_hop() {
        let headers = [("x-forwarded-for", "6.6.6.6, 1.2.3.4"), ("x-forwarded-proto", "http, https")];
        assert_eq!(of("10.0.0.1", &headers).1, Some(true));
        let headers = [("x-forwarded-for", "1.2.3.4, 10.0.0.2"), ("x-forwarded-proto", "https, http")];
        assert_eq!(of("10.0.0.1", &headers).1, Some(true));
        let headers = [("x-forwarded-proto", "https"), ("x-forwarded-host", "users.example")];
        assert_eq!(of("10.0.0.1", &headers), ("10.0.0.1".to_owned(), Some(true), Some("users.example".to_owned())));
        assert_eq!(of("10.0.0.1", &[("x-forwarded-proto", "gopher")]).1, None);
    }
}
