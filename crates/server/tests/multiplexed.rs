//! HTTP/2, frame by frame: streams that get no window, and streams that are reset.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::{ClientConnection, StreamOwned};
use support::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// A client that reads and writes frames.
struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    next: u32,
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Client {
    /// Whose streams get `window` bytes to begin with.
    fn new(server: &Running, window: u32) -> Self {
        let mut stream = tls_for(server.https, &server.certificate.der, Some("h2"));
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut client = Self { stream, next: 1 };
        client.send(SETTINGS, 0, 0, &[&[0, 4], &window.to_be_bytes()[..]].concat());
        // The connection's own window is of the greatest size: only streams are short of it.
        client.send(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes());
        client
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).unwrap();
        self.stream.flush().unwrap();
    }

    /// The headers of a POST.
    fn head(method: &str) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", &format!("/socialize.{method}")),
            ("content-type", "application/x-www-form-urlencoded"),
        ] {
            // A literal, not indexed, not compressed (RFC 7541, section 6.2.2).
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        block
    }

    /// Begins a request with these headers and gives the number of its stream.
    fn begin(&mut self, head: &[u8]) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.send(HEADERS, 4, stream, head);
        stream
    }

    /// Sends a POST and gives the number of its stream.
    fn post(&mut self, method: &str, form: &str) -> u32 {
        let stream = self.begin(&Self::head(method));
        let mut pieces = form.as_bytes().chunks(16 << 10).peekable();
        while let Some(piece) = pieces.next() {
            self.send(DATA, u8::from(pieces.peek().is_none()), stream, piece);
        }
        stream
    }

    /// The next frame that is no housekeeping; `None` at the end of the connection, and when none comes for `seconds`.
    fn receive(&mut self, seconds: u64) -> Option<Frame> {
        self.stream.sock.set_read_timeout(Some(std::time::Duration::from_secs(seconds))).unwrap();
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; usize::try_from(len).unwrap()];
            self.stream.read_exact(&mut payload).ok()?;
            let frame = Frame { kind: head[3], flags: head[4], stream, payload };
            match (frame.kind, frame.flags & 1) {
                (SETTINGS | PING, 0) => {
                    self.send(frame.kind, 1, 0, if frame.kind == PING { &frame.payload } else { &[] })
                }
                (SETTINGS | PING, _) | (WINDOW_UPDATE, _) => {}
                _ => return Some(frame),
            }
        }
    }

    /// The body of a stream.
    fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(frame) = self.receive(30).filter(|frame| frame.stream == stream) {
            if frame.kind == DATA {
                body.extend(&frame.payload);
            }
            if frame.flags & 1 == 1 {
                return body;
            }
        }
        panic!("it broke off after {} bytes", body.len());
    }
}

fn given_up(server: &Running) -> f64 {
    server.counted("headcount_connections_given_up_total{reason=\"slow_reader\"}").unwrap_or_default()
}

#[test]
fn an_answer_without_a_window_is_not_kept_for_ever() {
    let server = serve_with(temporary(seven()), "limits = { slow_seconds = 1, idle_seconds = 3600 }");
    let mut client = Client::new(&server, 0);
    let stream = client.post("exportUsers", &format!("context={}", "%00".repeat(2000)));
    let head = client.receive(10).unwrap();
    assert_eq!((head.kind, head.stream), (HEADERS, stream));
    assert!(client.receive(5).is_none());
    eventually("the connection is given up", || given_up(&server) == 1.0);
}

#[test]
fn the_last_piece_of_an_export_without_a_window_holds_no_place_for_ever() {
    let limits = "limits = { slow_seconds = 1, idle_seconds = 3600 }";
    // Rendered at once, so that the first piece is the last.
    let server = serve_with(temporary(many(1500)), limits);
    let mut client = Client::new(&server, 0);
    client.post("exportUsers", &Running::secret_form(&[("format", "csv")]));
    assert_eq!(client.receive(10).unwrap().kind, HEADERS);
    assert!(client.receive(5).is_none());
    eventually("the connection is given up", || given_up(&server) == 1.0);
    eventually("its place is free", || server.metric("headcount_exports_in_flight") == 0.0);
}

#[test]
fn bodies_in_pieces_are_whole() {
    let server = serve(many(20_000));
    let mut client = Client::new(&server, 0x7fff_ffff);
    let stream = client.post("exportUsers", &Running::secret_form(&[("format", "csv")]));
    assert!(client.body(stream) == server.export(&[("format", "csv")]).body);
    // Within the window of a stream, which this client does not look at.
    let context = "c".repeat(60_000);
    let form = Running::secret_form(&[("limit", "1"), ("context", &context)]);
    let stream = client.post("exportUsers", &form);
    let body = String::from_utf8(client.body(stream)).unwrap();
    assert!(body.contains(&format!(",\"context\":\"{context}\",")) && body.ends_with('}'));
}

/// Each is one byte on the wire, and a hundred in memory.
#[test]
fn many_short_headers_are_refused() {
    let server = serve_with(temporary(seven()), "limits = { request_seconds = 60 }");
    let mut client = Client::new(&server, 65_535);
    // `a: b` goes into the table of the connection, where it is number 62 from then on (RFC 7541, section 6.2.1).
    let mut head = [&Client::head("exportUsers")[..], &[0x40, 1, b'a', 1, b'b']].concat();
    head.extend([0xbe; 1800]);
    for sent in 0..32 {
        let stream = client.begin(&head);
        // The first has put it there.
        head = [&Client::head("exportUsers")[..], &[0xbe; 1800]].concat();
        let answer = client.receive(5).expect("an answer, though the body has not come");
        assert_eq!((answer.kind, answer.flags & 1, answer.stream), (HEADERS, 1, stream));
        // `:status: 431`: the name is number 8, the value is compressed.
        assert!(sent > 0 || answer.payload.starts_with(&[0x48, 0x83, 0x69, 0x90, 0xff]), "{:x?}", answer.payload);
        while client.receive(5).is_some_and(|frame| frame.kind != RST_STREAM) {}
    }
    // A few more than others send do no harm.
    head = [&Client::head("exportUsers")[..], &[0xbe; 90]].concat();
    let stream = client.begin(&head);
    client.send(DATA, 1, stream, Running::secret_form(&[("format", "csv")]).as_bytes());
    assert_eq!(client.receive(10).map(|frame| (frame.kind, frame.stream)), Some((HEADERS, stream)));
    assert!(client.body(stream).starts_with(b"uid,provider,providerUID\r\n"));
}

#[test]
#[ignore = "waits for 45 seconds: signs of life were asked for and waited for that long"]
fn a_reader_may_pause_for_as_long_as_the_limits_say() {
    let server = serve_with(temporary(many(200_000)), "limits = { slow_seconds = 120 }");
    let mut client = Client::new(&server, 0x7fff_ffff);
    let stream = client.post("exportUsers", &Running::secret_form(&[("format", "csv")]));
    std::thread::sleep(std::time::Duration::from_secs(45));
    assert!(client.body(stream) == server.export(&[("format", "csv")]).body);
}

/// Also one whose machine lost its power: nothing comes from it, not even the end.
#[test]
fn a_client_that_is_silent_is_dropped() {
    let limits = "limits = { request_seconds = 1, idle_seconds = 2, slow_seconds = 1 }";
    let server = serve_with(temporary(many(200_000)), limits);
    let count = |reason: &str| server.counted(&format!("headcount_connections_given_up_total{{reason=\"{reason}\"}}"));
    let (form, large) = (Running::secret_form(&[("format", "csv")]), 0x7fff_ffff);
    let mut answered = Client::new(&server, large);
    let stream = answered.post("exportUsers", "");
    assert!(!answered.body(stream).is_empty());
    let (mut asking, mut reading) = (Client::new(&server, large), Client::new(&server, large));
    reading.post("exportUsers", &form);
    let without_body = Client::head("exportUsers");
    asking.begin(&without_body);
    let silent = Client::new(&server, large);
    eventually("who reads nothing is dropped", || count("slow_reader") == Some(1.0));
    eventually("who never asked is dropped", || count("slow_request") == Some(1.0));
    eventually("who asks for nothing more is dropped", || count("idle") == Some(2.0));
    drop((answered, asking, reading, silent));
}
