use std::io::{self, Write as _};
use std::sync::mpsc;

use super::*;

fn lines(bytes: impl Into<Vec<u8>>) -> Lines {
    let reader = Box::new(io::Cursor::new(bytes.into()));
    Lines::open(Input::reader("in", reader), &Arc::default()).unwrap()
}

/// Number, offset and UID of each line.
fn read(mut lines: Lines) -> Vec<(u64, u64, String)> {
    let mut found = Vec::new();
    while let Some(mut line) = lines.next_line().unwrap() {
        let Position { number, offset, .. } = line.position();
        found.push((number, offset, line.user().unwrap().uid));
    }
    found
}

#[test]
fn blank_lines_are_skipped_and_count() {
    let text = "\u{feff}{\"UID\":\"a\"}\r\n \t\r\n\n{\"UID\":\"b\"}";
    let expected = vec![(1, 3, "a".to_owned()), (4, 21, "b".to_owned())];
    assert_eq!(read(lines(text)), expected);
    assert_eq!(read(lines("")), []);
    assert_eq!(read(lines("\n\n")), []);

    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(text.as_bytes()).unwrap();
    let mut gz = gz.finish().unwrap();
    assert_eq!(read(lines(gz.clone())), expected);
    assert_eq!(read(lines(zstd::encode_all(text.as_bytes(), 0).unwrap())), expected);
    gz.truncate(gz.len() - 4);
    let mut cut = lines(gz);
    let error = loop {
        match cut.next_line() {
            Ok(line) => assert!(line.is_some(), "the damage was not seen"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ImportError::Compressed { .. }), "{error}");
}

#[test]
fn a_bad_line_is_named_with_the_byte() {
    for (bytes, expected) in [
        (&b"{\"UID\":\"a\"}\n{\"UID\":\"b\xff\"}\n"[..], "in: line 2, byte 21: not UTF-8"),
        (b"{\"UID\":\"a\"}\n{\"UID\":7}\n", "in: line 2, byte 19: not a user object"),
        (b"{\"UID\":\"a\"}\n{\"UID\":\"b", "in: line 2, byte 20: invalid JSON"),
    ] {
        let mut lines = lines(bytes);
        assert_eq!(lines.next_line().unwrap().unwrap().user().unwrap().uid, "a");
        let error = lines.next_line().unwrap().unwrap().user().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let endless = Box::new(io::repeat(b' '));
    let mut lines = Lines::open(Input::reader("in", endless), &Arc::default()).unwrap();
    let error = lines.next_line().map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("in: byte 0: a line is longer than 8388608 bytes"), "{error}");
}

/// Gives one piece at a time, and waits for each.
struct Pieces(mpsc::Receiver<&'static [u8]>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.0.recv().unwrap_or_default();
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

#[test]
fn a_line_is_there_as_soon_as_it_is_whole() {
    let (send, receive) = mpsc::channel();
    for piece in [&b"{\"U"[..], b"I", b"D\":\"a\"}\n{\"UID", b"\":\"b\"}\n"] {
        send.send(piece).unwrap();
    }
    let mut lines = Lines::open(Input::reader("in", Box::new(Pieces(receive))), &Arc::default()).unwrap();
    // `send` is alive: waiting for more than these lines would never end.
    assert_eq!(lines.next_line().unwrap().unwrap().user().unwrap().uid, "a");
    assert_eq!(lines.next_line().unwrap().unwrap().user().unwrap().uid, "b");
    drop(send);
    assert!(lines.next_line().unwrap().is_none());
}

#[test]
fn cancelling_ends_it() {
    let progress = Arc::new(Progress::default());
    let reader = Box::new(io::Cursor::new("{\"UID\":\"a\"}\n"));
    let mut lines = Lines::open(Input::reader("in", reader), &progress).unwrap();
    progress.cancel();
    assert!(matches!(lines.next_line(), Err(ImportError::Cancelled)));
}
