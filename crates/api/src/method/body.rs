//! The body of an export: pieces in order, a range of them where one is asked for, and the wrapping of JSONP.
//!
//! It ends as promised or with an error, never short of a promised length and silent: the piece that would complete the
//! length is handed out when the export has ended well, and not before.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::Instant;

use headcount_export::{Chunk, Chunks, Error, Summary};
use headcount_store::Snapshot;

use crate::method::pins::Pins;

/// Some of the bytes of a body.
pub struct Piece(Part);

enum Part {
    Chunk(Chunk, Range<usize>),
    Bytes(Vec<u8>),
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Part::Chunk(chunk, range) => chunk.get(range.clone()).unwrap_or_default(),
            Part::Bytes(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its bytes are personal data.
        f.debug_struct("Piece").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What to do when a transfer breaks off: its snapshot stays for a while, so that it can be resumed.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) pins: Arc<Pins>,
    pub(crate) site: String,
    pub(crate) snapshot: Arc<Snapshot>,
    /// When the request came, and since when its clock has gone on.
    pub(crate) now_ms: u64,
    pub(crate) since: Instant,
}

impl Hold {
    fn keep(&self) {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pins.keep(&self.site, &self.snapshot, self.now_ms.saturating_add(elapsed));
    }
}

/// The body of an export. An `Err` is the last item, and means: break the transfer off. Dropping it ends the export.
#[derive(Debug)]
pub struct ExportBody {
    chunks: Chunks,
    first: Option<Chunk>,
    /// Bytes that the client has already.
    skip: u64,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
    /// Whether the last of them is the last of the export.
    to_end: bool,
    jsonp: Option<Jsonp>,
    hold: Option<Hold>,
    ended: bool,
}

impl ExportBody {
    /// Waits for the first chunk, so that what fails before it can still be said properly.
    pub(crate) fn new(mut chunks: Chunks, length: Option<u64>) -> Result<Self, Error> {
        let first = chunks.next().transpose()?;
        Ok(Self { chunks, first, skip: 0, left: length, to_end: true, jsonp: None, hold: None, ended: false })
    }

    /// Only these bytes, of `total`.
    pub(crate) const fn part(mut self, range: &Range<u64>, total: u64) -> Self {
        self.skip = range.start;
        self.left = Some(range.end.saturating_sub(range.start));
        self.to_end = range.end == total;
        self
    }

    /// As a call of `callback`. The length is no longer known.
    pub(crate) fn jsonp(mut self, callback: &str) -> Self {
        self.jsonp = Some(Jsonp { head: Some(format!("{callback}(")), carry: Vec::new() });
        self.left = None;
        self
    }

    /// Keeps the snapshot when the transfer breaks off.
    pub(crate) fn hold(mut self, hold: Hold) -> Self {
        self.hold = Some(hold);
        self
    }

    /// What the export held; known once all of it was read.
    #[must_use]
    pub const fn summary(&self) -> Option<&Summary> {
        self.chunks.summary()
    }

    fn take(&mut self) -> Option<Result<Chunk, Error>> {
        self.first.take().map(Ok).or_else(|| self.chunks.next())
    }

    fn piece(&mut self) -> Option<Result<Piece, Error>> {
        if let Some(head) = self.jsonp.as_mut().and_then(|jsonp| jsonp.head.take()) {
            return Some(Ok(Piece(Part::Bytes(head.into_bytes()))));
        }
        loop {
            if self.left == Some(0) {
                return None;
            }
            let chunk = match self.take() {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Some(Err(error)),
                None => return self.end(),
            };
            let len = chunk.len() as u64;
            if self.skip >= len {
                self.skip -= len;
                continue;
            }
            let start = usize::try_from(self.skip).unwrap_or(usize::MAX);
            self.skip = 0;
            if let Some(jsonp) = &mut self.jsonp {
                let bytes = jsonp.escape(chunk.get(start..).unwrap_or_default());
                return Some(Ok(Piece(Part::Bytes(bytes))));
            }
            return Some(self.counted(chunk, start));
        }
    }

    /// The end of the chunks: short of a promise it is an error.
    fn end(&mut self) -> Option<Result<Piece, Error>> {
        if let Some(jsonp) = self.jsonp.take() {
            let mut tail = jsonp.carry;
            tail.extend_from_slice(b");");
            return Some(Ok(Piece(Part::Bytes(tail))));
        }
        match self.left {
            Some(left) if left > 0 => {
                Some(Err(Error::Mismatch { what: "bytes still to come", expected: left, found: 0 }))
            }
            _ => None,
        }
    }

    /// The rest of a chunk, within what is left of the length.
    fn counted(&mut self, chunk: Chunk, start: usize) -> Result<Piece, Error> {
        let available = (chunk.len() - start) as u64;
        let Some(left) = self.left else {
            let end = chunk.len();
            return Ok(Piece(Part::Chunk(chunk, start..end)));
        };
        if available < left {
            self.left = Some(left - available);
            let end = chunk.len();
            return Ok(Piece(Part::Chunk(chunk, start..end)));
        }
        // This piece would complete the length. At the end of the export nothing may follow, and nothing have failed.
        if self.to_end && available > left {
            return Err(self.failure(available - left));
        }
        if self.to_end {
            match self.chunks.next() {
                None => {}
                Some(Err(error)) => return Err(error),
                Some(Ok(more)) => return Err(self.failure(more.len() as u64)),
            }
        }
        self.left = Some(0);
        let end = usize::try_from(left).map_or(chunk.len(), |left| start.saturating_add(left).min(chunk.len()));
        Ok(Piece(Part::Chunk(chunk, start..end)))
    }

    /// Why there is more than was promised: the export's own error, if it has one.
    fn failure(&mut self, more: u64) -> Error {
        let own = self.chunks.by_ref().find_map(Result::err);
        own.unwrap_or(Error::Mismatch { what: "bytes after the promised ones", expected: 0, found: more })
    }
}

impl Iterator for ExportBody {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.piece();
        // A server that has sent what was promised does not ask again.
        self.ended = next.as_ref().is_none_or(Result::is_err) || self.left == Some(0);
        if let Some(hold) = self.hold.take_if(|_| self.ended)
            && matches!(next, Some(Err(_)))
        {
            hold.keep();
        }
        next
    }
}

impl Drop for ExportBody {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take().filter(|_| !self.ended) {
            hold.keep();
        }
    }
}

/// U+2028 and U+2029, which end lines in older scripts, are escaped: three bytes that may lie across two chunks.
#[derive(Debug)]
struct Jsonp {
    head: Option<String>,
    /// What may be the beginning of one of them.
    carry: Vec<u8>,
}

impl Jsonp {
    fn escape(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.carry);
        all.extend_from_slice(bytes);
        let kept = if all.ends_with(&[0xe2]) {
            1
        } else if all.ends_with(&[0xe2, 0x80]) {
            2
        } else {
            0
        };
        self.carry = all.split_off(all.len() - kept);
        let mut out = Vec::with_capacity(all.len());
        let mut rest = all.as_slice();
        while let Some((&b, after)) = rest.split_first() {
            rest = match rest {
                [0xe2, 0x80, 0xa8, after @ ..] => {
                    out.extend_from_slice(b"\\u2028");
                    after
                }
                [0xe2, 0x80, 0xa9, after @ ..] => {
                    out.extend_from_slice(b"\\u2029");
                    after
                }
                _ => {
                    out.push(b);
                    after
                }
            };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_separators_are_escaped_wherever_they_are_cut() {
        let text = "a\u{2028}b\u{2029}\u{2027}é\u{2028}".as_bytes();
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let mut jsonp = Jsonp { head: None, carry: Vec::new() };
                let mut out = Vec::new();
                for part in [&text[..cut], &text[cut..second], &text[second..]] {
                    out.extend(jsonp.escape(part));
                }
                out.extend(jsonp.carry);
                assert_eq!(String::from_utf8(out).unwrap(), "a\\u2028b\\u2029\u{2027}é\\u2028");
            }
        }
    }
}
