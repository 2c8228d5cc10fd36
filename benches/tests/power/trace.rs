//! Reads what `strace -f -xx` wrote: system calls with their beginning and their end.

use std::collections::HashMap;

/// A system call, or one half of it: another thread's calls may lie between the two.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) args: Vec<Arg>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arg {
    Text(Vec<u8>),
    /// Numbers, flags, and structures as they are printed.
    Word(String),
}

impl Arg {
    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::Word(word) => word.parse().unwrap_or_else(|_| panic!("{word:?} is no number")),
            Self::Text(_) => panic!("{self:?} is no number"),
        }
    }

    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Text(_) => panic!("{self:?} is no word"),
        }
    }

    pub(crate) fn path(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => bytes,
            Self::Word(_) => panic!("{self:?} is no text"),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Call number so and so began.
    Start(usize),
    /// It ended with this result.
    End(usize, i64),
}

/// All calls, and their beginnings and ends in order.
pub(crate) fn parse(text: &str) -> (Vec<Call>, Vec<Event>) {
    let (mut calls, mut events) = (Vec::new(), Vec::new());
    // Text of calls that have begun, and their number, by thread.
    let mut open: HashMap<&str, usize> = HashMap::new();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") || rest.starts_with("exit") {
            continue;
        }
        if rest.starts_with("<... ") {
            let number = open.remove(thread).unwrap_or_else(|| panic!("ends without a beginning: {rest}"));
            events.push(Event::End(number, result(rest)));
            continue;
        }
        let (name, args) = rest.split_once('(').unwrap_or_else(|| panic!("not understood: {rest}"));
        let number = calls.len();
        events.push(Event::Start(number));
        calls.push(Call { name: name.to_owned(), args: arguments(args) });
        if rest.ends_with("<unfinished ...>") {
            open.insert(thread, number);
        } else {
            events.push(Event::End(number, result(rest)));
        }
    }
    (calls, events)
}

/// The number behind the last `=`.
fn result(line: &str) -> i64 {
    let (_, result) = line.rsplit_once(" = ").unwrap_or_else(|| panic!("no result: {line}"));
    let word = result.split_whitespace().next().unwrap();
    match word.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).unwrap_or(0),
        // `?`: the process ended in it.
        None => word.parse().unwrap_or(-1),
    }
}

/// Arguments up to the closing bracket. Text is `"\x61…"`; brackets of structures stay in their word.
fn arguments(mut rest: &str) -> Vec<Arg> {
    let mut args = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if rest.is_empty() || rest.starts_with(')') || rest.starts_with("<unfinished") {
            return args;
        }
        if let Some(text) = rest.strip_prefix('"') {
            let end = text.find('"').unwrap();
            assert!(!text[end + 1..].starts_with("..."), "strace cut a text short");
            args.push(Arg::Text(unhex(&text[..end])));
            rest = &text[end + 1..];
        } else if let Some(structure) = rest.strip_prefix("[{iov_base=\"") {
            // One buffer, as the hammer has it.
            let end = structure.find('"').unwrap();
            args.push(Arg::Text(unhex(&structure[..end])));
            let close = structure.find(']').unwrap();
            assert!(!structure[end + 1..close].contains("iov_base"), "more than one buffer");
            rest = &structure[close + 1..];
        } else {
            let end = rest.find([',', ')']).unwrap_or(rest.len());
            let word = rest[..end].split(" <unfinished").next().unwrap();
            args.push(Arg::Word(word.trim_end().to_owned()));
            rest = &rest[end..];
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap() as u8;
    let bytes = text.as_bytes();
    assert_eq!(bytes.len() % 4, 0, "not all in hexadecimal digits");
    bytes.chunks(4).map(|c| digit(c[2]) << 4 | digit(c[3])).collect()
}
