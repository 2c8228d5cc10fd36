//! JSON and CSV by hand, for every peer: values are copied in one piece unless they need care, and a thread writes.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{CALL_ID, TIME, Text};
use crate::Outcome;

/// Bytes of a buffer: a few fit into a core's cache.
const BUFFER: usize = 256 << 10;

/// A file that another thread writes.
struct Sink {
    buffer: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    writer: JoinHandle<std::io::Result<()>>,
}

impl Sink {
    fn create(path: &Path) -> Outcome<Self> {
        let mut file = File::create(path)?;
        let (full, to_write) = sync_channel::<Vec<u8>>(2);
        let (written, empty) = sync_channel::<Vec<u8>>(4);
        for _ in 0..2 {
            written.send(Vec::with_capacity(BUFFER * 2)).map_err(|_| "no room for a buffer")?;
        }
        let writer = std::thread::spawn(move || {
            for mut buffer in to_write {
                file.write_all(&buffer)?;
                buffer.clear();
                // The last ones go nowhere.
                written.send(buffer).ok();
            }
            Ok(())
        });
        Ok(Self { buffer: Vec::with_capacity(BUFFER * 2), full, empty, writer })
    }

    fn turn(&mut self) -> Outcome {
        let next = self.empty.recv().map_err(|_| "the writing thread ended")?;
        let buffer = std::mem::replace(&mut self.buffer, next);
        self.full.send(buffer).map_err(|_| "the writing thread ended".into())
    }

    fn finish(self) -> Outcome {
        self.full.send(self.buffer).map_err(|_| "the writing thread ended")?;
        drop(self.full);
        Ok(self.writer.join().map_err(|_| "the writing thread panicked")??)
    }
}

/// An export on its way.
pub(crate) struct Output {
    sink: Sink,
    text: Text,
    users: u64,
    identities: u64,
    /// The user's UID as CSV has it, and whether it has had a row.
    uid: Vec<u8>,
    first: bool,
}

impl Output {
    /// A new file with the head of the format.
    pub(crate) fn create(path: &Path, text: Text) -> Outcome<Self> {
        let mut sink = Sink::create(path)?;
        sink.buffer.extend_from_slice(match text {
            Text::Json => b"{\"users\":[",
            Text::Csv => b"uid,provider,providerUID\r\n",
            Text::Ndjson => b"",
        });
        Ok(Self { sink, text, users: 0, identities: 0, uid: Vec::new(), first: true })
    }

    /// A whole user.
    #[inline]
    pub(crate) fn user<'a>(&mut self, uid: &[u8], links: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Outcome {
        self.begin(uid);
        for (provider, provider_uid) in links {
            self.link(provider, provider_uid);
        }
        self.end()
    }

    /// Begins a user.
    #[inline]
    pub(crate) fn begin(&mut self, uid: &[u8]) {
        self.first = true;
        if self.text == Text::Csv {
            self.uid.clear();
            csv(uid, &mut self.uid);
            return;
        }
        let out = &mut self.sink.buffer;
        if self.users > 0 && self.text == Text::Json {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"UID\":\"");
        json(uid, out);
        out.extend_from_slice(b"\",\"identities\":[");
    }

    /// An identity of the user that was begun.
    #[inline]
    pub(crate) fn link(&mut self, provider: &[u8], provider_uid: &[u8]) {
        let out = &mut self.sink.buffer;
        self.identities += 1;
        if self.text == Text::Csv {
            out.extend_from_slice(&self.uid);
            out.push(b',');
            csv(provider, out);
            out.push(b',');
            csv(provider_uid, out);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(if self.first { b"{\"provider\":\"" } else { b",{\"provider\":\"" });
            json(provider, out);
            out.extend_from_slice(b"\",\"providerUID\":\"");
            json(provider_uid, out);
            out.extend_from_slice(b"\"}");
        }
        self.first = false;
    }

    /// Ends a user.
    #[inline]
    pub(crate) fn end(&mut self) -> Outcome {
        let out = &mut self.sink.buffer;
        match self.text {
            Text::Json => out.extend_from_slice(b"]}"),
            Text::Ndjson => out.extend_from_slice(b"]}\n"),
            Text::Csv if self.first => {
                out.extend_from_slice(&self.uid);
                out.extend_from_slice(b",,\r\n");
            }
            Text::Csv => {}
        }
        self.ended()
    }

    /// A user whose JSON is there already.
    #[inline]
    pub(crate) fn finished(&mut self, json: &[u8], identities: u64) -> Outcome {
        if self.users > 0 {
            self.sink.buffer.push(b',');
        }
        self.sink.buffer.extend_from_slice(json);
        self.identities += identities;
        self.ended()
    }

    /// A user whose JSON somebody appends.
    pub(crate) fn by(&mut self, identities: u64, write: impl FnOnce(&mut Vec<u8>) -> Outcome) -> Outcome {
        if self.users > 0 {
            self.sink.buffer.push(b',');
        }
        write(&mut self.sink.buffer)?;
        self.identities += identities;
        self.ended()
    }

    #[inline]
    fn ended(&mut self) -> Outcome {
        self.users += 1;
        if self.sink.buffer.len() >= BUFFER { self.sink.turn() } else { Ok(()) }
    }

    /// The end of the format, and of the file.
    pub(crate) fn finish(mut self) -> Outcome {
        if self.text == Text::Json {
            let (users, identities) = (self.users, self.identities);
            write!(
                self.sink.buffer,
                "],\"usersCount\":{users},\"identitiesCount\":{identities},\"statusCode\":200,\"errorCode\":0,\
                 \"statusReason\":\"OK\",\"callId\":\"{CALL_ID}\",\"time\":\"{TIME}\"}}"
            )?;
        }
        self.sink.finish()
    }
}

/// Whether any byte is one that `special` names; all of them are looked at, which compilers make vectors of.
#[inline]
fn has(text: &[u8], special: impl Fn(u8) -> bool) -> bool {
    text.iter().fold(false, |found, b| found | special(*b))
}

/// Appends the inside of a JSON string.
#[inline]
fn json(text: &[u8], out: &mut Vec<u8>) {
    if !has(text, |b| (b < 0x20) | (b == b'"') | (b == b'\\')) {
        out.extend_from_slice(text);
        return;
    }
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            0x08 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0..0x20 => out.extend(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
}

/// Appends a CSV field.
#[inline]
fn csv(text: &[u8], out: &mut Vec<u8>) {
    if !has(text, |b| (b == b',') | (b == b'"') | (b == b'\n') | (b == b'\r')) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
