//! What an answer of the method says of itself: codes and counts at its end, found without keeping the rest.

use serde::Deserialize;
use serde_json::Value;

/// The members that are looked at; others are skipped.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    /// 0 when all went well. An answer without it is none of the method's.
    error_code: i64,
    #[serde(default)]
    error_message: Option<String>,
    #[serde(default)]
    error_details: Option<Value>,
    /// Users that were returned.
    #[serde(default)]
    pub(crate) users_count: Option<u64>,
    /// Identities that were returned.
    #[serde(default)]
    pub(crate) identities_count: Option<u64>,
}

impl Envelope {
    /// The error, when there is one.
    pub(crate) const fn error(&self) -> Option<i64> {
        if self.error_code == 0 { None } else { Some(self.error_code) }
    }

    /// `403003 Invalid request signature: sig: …`, as the server has it.
    pub(crate) fn text(&self) -> String {
        let mut text = self.error_code.to_string();
        if let Some(message) = &self.error_message {
            text.push_str(&format!(" {message}"));
        }
        match &self.error_details {
            None | Some(Value::Null) => {}
            Some(Value::String(details)) => text.push_str(&format!(": {details}")),
            Some(other) => text.push_str(&format!(": {other}")),
        }
        text
    }
}

/// The end of an answer, however long it is.
#[derive(Debug)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    /// Bytes that are kept at least; twice as many at most.
    keep: usize,
    total: u64,
}

impl Tail {
    /// Keeps the last `keep` bytes.
    pub(crate) const fn new(keep: usize) -> Self {
        Self { bytes: Vec::new(), keep, total: 0 }
    }

    /// Takes what comes next.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let surplus = bytes.len().saturating_sub(self.keep);
        self.bytes.extend_from_slice(bytes.get(surplus..).unwrap_or_default());
        if self.bytes.len() > 2 * self.keep {
            self.bytes.drain(..self.bytes.len() - self.keep);
        }
    }

    /// Bytes that came.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// What the answer says of itself; `None` when it is no whole answer of the method.
    ///
    /// Of a long one the members at the end are enough: from a comma on that stands between two members of the object
    /// itself, the rest is an object, too, and from any other comma on it is not, since braces or quotes do not match then.
    pub(crate) fn envelope(&self) -> Option<Envelope> {
        let mut text = unwrapped(&self.bytes).to_vec();
        if self.total == self.bytes.len() as u64 {
            let start = text.iter().position(|b| *b == b'{')?;
            return serde_json::from_slice(text.get(start..)?).ok();
        }
        let members = |pair: &[u8]| pair == b",\"" || pair == b",\n" || pair == b", ";
        let commas: Vec<usize> =
            text.windows(2).enumerate().filter(|(_, pair)| members(pair)).map(|(place, _)| place).collect();
        for comma in commas {
            *text.get_mut(comma)? = b'{';
            if let Ok(envelope) = serde_json::from_slice(text.get(comma..)?) {
                return Some(envelope);
            }
            *text.get_mut(comma)? = b',';
        }
        None
    }
}

/// Without white space and what JSONP puts behind.
fn unwrapped(bytes: &[u8]) -> &[u8] {
    let trimmed = bytes.trim_ascii_end();
    trimmed.strip_suffix(b");").unwrap_or(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "],\"usersCount\":7,\"identitiesCount\":9,\"statusCode\":200,\"errorCode\":0,\"statusReason\":\"OK\",\
                       \"callId\":\"00\",\"time\":\"2015-03-22T11:42:25.943Z\",\"context\":\"],\\\"errorCode\\\":1,\"}";
    const USER: &str = r#"{"UID":"a,\"errorCode\":9","identities":[{"provider":"site","providerUID":"1"}]}"#;

    fn tail(keep: usize, text: &str) -> Tail {
        let mut tail = Tail::new(keep);
        for piece in text.as_bytes().chunks(7) {
            tail.push(piece);
        }
        tail
    }

    #[test]
    fn the_end_of_a_long_answer_is_enough() {
        for users in [0, 1, 3, 1000] {
            let text = format!("{{\"users\":[{}{END}\n", vec![USER; users].join(","));
            for keep in [300, 512, 100_000] {
                let tail = tail(keep, &text);
                assert!(tail.bytes.len() <= 2 * keep, "memory is bounded");
                assert_eq!(tail.total(), text.len() as u64);
                let envelope = tail.envelope().unwrap();
                assert_eq!(
                    (envelope.error(), envelope.users_count, envelope.identities_count),
                    (None, Some(7), Some(9))
                );
            }
        }
        let mut whole = Tail::new(300);
        whole.push(format!("{{\"users\":[{}{END}", vec![USER; 100].join(",")).as_bytes());
        assert_eq!(whole.envelope().unwrap().users_count, Some(7), "in one piece");
    }

    #[test]
    fn what_is_not_whole_says_nothing() {
        let text = format!("{{\"users\":[{}{END}", vec![USER; 100].join(","));
        for keep in [300, 100_000] {
            for cut in 1..END.len() + USER.len() {
                assert!(tail(keep, &text[..text.len() - cut]).envelope().is_none(), "{keep} {cut}");
            }
        }
        for other in ["", "[]", "{}", "<html>", "{\"errorCode\":\"0\"}", "7"] {
            assert!(tail(300, other).envelope().is_none(), "{other}");
        }
    }

    #[test]
    fn errors_are_told_as_the_server_has_them() {
        let text = |text: &str| tail(1000, text).envelope().unwrap().text();
        let error = r#"{"errorMessage":"Invalid parameter value","errorDetails":"limit: \"x\"","statusCode":400,"errorCode":400006}"#;
        assert_eq!(text(error), "400006 Invalid parameter value: limit: \"x\"");
        assert_eq!(text(&format!("cb({error});")), "400006 Invalid parameter value: limit: \"x\"");
        assert_eq!(text(r#"{"errorCode":500001,"errorDetails":null}"#), "500001");
        assert_eq!(text(r#"{"errorCode":500001,"errorDetails":["a"]}"#), "500001: [\"a\"]");
    }
}
