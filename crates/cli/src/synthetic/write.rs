//! Writes synthetic users as files that `headcount import` reads.

use std::io::{self, Write};

use super::Draft;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One user object a line.
    Ndjson,
    /// One row an identity: `uid,provider,providerUID,status`.
    Csv,
    /// The documented response of exportUsers, with its counts.
    GigyaJson,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Users.
    pub users: u64,
    /// Identities.
    pub identities: u64,
    /// Users whose registration is not finalized.
    pub pending: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Bytes gathered before they are handed on.
const BUFFER: usize = 256 << 10;

/// Writes users to `out` in a format, through a buffer of its own.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    format: Format,
    buffer: Vec<u8>,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    /// A writer of `format` to `out`, which needs no buffer.
    pub fn new(out: W, format: Format) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER + (BUFFER >> 2));
        buffer.extend_from_slice(match format {
            Format::Ndjson => b"",
            Format::Csv => b"uid,provider,providerUID,status\r\n",
            Format::GigyaJson => b"{\"users\":[",
        });
        Self { out, format, buffer, counts: Counts::default() }
    }

    /// Writes one user.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn user(&mut self, user: &Draft) -> io::Result<()> {
        if self.format == Format::GigyaJson && self.counts.users > 0 {
            self.buffer.push(b',');
        }
        match self.format {
            Format::Csv => csv_rows(&mut self.buffer, user)?,
            Format::Ndjson | Format::GigyaJson => json_object(&mut self.buffer, user)?,
        }
        if self.format == Format::Ndjson {
            self.buffer.push(b'\n');
        }
        self.counts.users += 1;
        self.counts.identities += user.identities().len() as u64;
        self.counts.pending += u64::from(user.is_pending());
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes what ends the file, and returns what was written in all.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<Counts> {
        if self.format == Format::GigyaJson {
            let Counts { users, identities, .. } = self.counts;
            write!(
                self.buffer,
                "],\"usersCount\":{users},\"identitiesCount\":{identities},\"statusCode\":200,\"errorCode\":0,\
                 \"statusReason\":\"OK\",\"callId\":\"00000000000000000000000000000000\",\
                 \"time\":\"2015-03-22T11:42:25.943Z\"}}"
            )?;
        }
        self.flush()?;
        self.out.flush()?;
        Ok(self.counts)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.counts.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// `{"UID":…,"status":"pending","identities":[…]}`; `status` only of a pending user.
fn json_object(out: &mut Vec<u8>, user: &Draft) -> io::Result<()> {
    out.extend_from_slice(b"{\"UID\":");
    json_string(out, user.uid())?;
    if user.is_pending() {
        out.extend_from_slice(b",\"status\":\"pending\"");
    }
    out.extend_from_slice(b",\"identities\":[");
    for (place, (provider, provider_uid)) in user.identities().enumerate() {
        out.extend_from_slice(if place == 0 { b"{\"provider\":" } else { b",{\"provider\":" });
        json_string(out, provider)?;
        out.extend_from_slice(b",\"providerUID\":");
        json_string(out, provider_uid)?;
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

fn json_string(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return Ok(());
    }
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

/// One row an identity; one row for a user without.
fn csv_rows(out: &mut Vec<u8>, user: &Draft) -> io::Result<()> {
    let status = if user.is_pending() { "pending" } else { "registered" };
    let mut row = |provider: &str, provider_uid: &str| -> io::Result<()> {
        csv_field(out, user.uid());
        out.push(b',');
        out.extend_from_slice(provider.as_bytes());
        out.push(b',');
        csv_field(out, provider_uid);
        write!(out, ",{status}\r\n")
    };
    if user.identities().len() == 0 {
        return row("", "");
    }
    user.identities().try_for_each(|(provider, provider_uid)| row(provider, provider_uid))
}

/// One field as RFC 4180 writes it.
fn csv_field(out: &mut Vec<u8>, text: &str) {
    if !text.bytes().any(|b| matches!(b, b',' | b'"' | b'\r' | b'\n')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for b in text.bytes() {
        if b == b'"' {
            out.push(b);
        }
        out.push(b);
    }
    out.push(b'"');
}
