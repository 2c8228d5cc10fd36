//! A server that does what a test tells it to, connection by connection.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "these functions are of tests, which clippy cannot see in a program of tests")]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a client sent.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub form: String,
}

impl Seen {
    pub fn read(stream: impl Read) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let split = |line: &String| line.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
        let mut seen =
            Self { line: lines.remove(0), headers: lines.iter().filter_map(split).collect(), form: String::new() };
        let mut form = vec![0; seen.header("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut form).ok()?;
        seen.form = String::from_utf8(form).unwrap();
        Some(seen)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The decoded parameters, in the order in which they came.
    pub fn params(&self) -> Vec<(String, String)> {
        let decoded = |text: &str| {
            let mut bytes = Vec::new();
            let mut rest = text.bytes();
            while let Some(b) = rest.next() {
                bytes.push(if b == b'%' {
                    let digits: Vec<u8> = rest.by_ref().take(2).collect();
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                } else {
                    b
                });
            }
            String::from_utf8(bytes).unwrap()
        };
        let pairs = self.form.split('&').map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
    }

    pub fn param(&self, name: &str) -> Option<String> {
        self.params().into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// An answer: its bytes as they go onto the wire. Then the connection is closed.
pub type Script = Box<dyn FnOnce(&Seen, &mut dyn Write) + Send>;

/// A head with these lines and a body, whole.
pub fn answer(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Script {
    let length = body.as_ref().len();
    cut(status, headers, body, length)
}

/// The same, which promises `length` bytes and breaks off after those of `body`.
pub fn cut(status: u16, headers: &[&str], body: impl AsRef<[u8]>, length: usize) -> Script {
    let mut bytes =
        format!("HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(format!("{header}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_ref());
    raw(bytes)
}

/// These bytes.
pub fn raw(bytes: impl Into<Vec<u8>>) -> Script {
    let bytes = bytes.into();
    // A client that is gone is what some tests are about.
    Box::new(move |_, stream| drop(stream.write_all(&bytes)))
}

pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers one connection after another with `scripts`, and none after the last.
    pub fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self::with(scripts, |stream, script, seen| {
            let mut stream = stream;
            if let Some(request) = Seen::read(&stream) {
                seen.lock().unwrap().push(request.clone());
                script(&request, &mut stream);
            }
        })
    }

    /// The same, with what a connection is served by.
    pub fn with(
        scripts: impl IntoIterator<Item = Script>,
        serve: impl Fn(TcpStream, Script, &Mutex<Vec<Seen>>) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut scripts: VecDeque<Script> = scripts.into_iter().collect();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            while let Some(script) = scripts.pop_front() {
                serve(listener.accept().unwrap().0, script, &shared);
            }
        });
        Self { url, seen }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}
