//! What the messages of a log say of pages, before sled believes it.
//!
//! sled makes a table as long as the greatest page id that it meets, and reads what lies beside its file: a few bytes with
//! the right checksum have it ask for more memory than there is, which ends the process. So its messages are walked first:
//! ```text
//! segment: 20 bytes of header, messages
//! message: CRC-32 u32 | kind u8 | length | segment number | page id | body; numbers take 1 to 9 bytes
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use headcount_block::checksum;

use super::SEGMENT;

/// Bytes of a segment's header.
const SEGMENT_HEAD: usize = 20;
/// sled begins no message in the last bytes of a segment.
const RED_ZONE: usize = 32;
/// Fewest bytes that messages take for each page: a page is for eight values or more.
const PAGE_BYTES: u64 = 128;
/// Pages that a log may have in any case.
const PAGES_MIN: u64 = 1024;

/// A message of a segment.
#[derive(Debug, Clone, Copy)]
struct Message<'a> {
    sum: u32,
    kind: u8,
    page: u64,
    /// What its checksum covers: body and then head.
    head: &'a [u8],
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message that `bytes` begin with; `None` where there is none.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (sum, covered) = bytes.split_first_chunk()?;
        let (&kind, rest) = covered.split_first()?;
        let (len, rest) = number(rest)?;
        let (_, rest) = number(rest)?;
        let (page, rest) = number(rest)?;
        let head = covered.get(..covered.len() - rest.len())?;
        let body = rest.get(..usize::try_from(len).ok()?)?;
        Some(Self { sum: u32::from_le_bytes(*sum), kind, page, head, body })
    }

    const fn len(&self) -> usize {
        4 + self.head.len() + self.body.len()
    }

    /// Whether sled takes it for one.
    fn is_whole(&self) -> bool {
        let covered = [self.body, self.head].concat();
        // It keeps the complement of the CRC-32.
        checksum(&covered) == u64::from(!self.sum)
    }

    /// Whether it stands for a page, or part of one.
    const fn is_of_page(&self) -> bool {
        matches!(self.kind, 4..=11)
    }

    /// Whether its body lies in a file of its own, as that of no message of ours.
    const fn is_apart(&self) -> bool {
        matches!(self.kind, 7 | 9 | 11)
    }
}

/// A number and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let byte = |at: usize| rest.get(at).map(|b| u64::from(*b));
    Some(match first {
        0..=240 => (u64::from(first), rest),
        241..=248 => (240 + 256 * (u64::from(first) - 241) + byte(0)?, rest.get(1..)?),
        249 => (2288 + 256 * byte(0)? + byte(1)?, rest.get(2..)?),
        _ => {
            let (low, rest) = rest.split_at_checked(usize::from(first) - 247)?;
            (low.iter().rev().fold(0, |number, b| number << 8 | u64::from(*b)), rest)
        }
    })
}

/// Shows the messages of `file` with their places, of each segment up to its end or what is none: not fewer than sled reads.
fn walk(file: &File, each: &mut dyn FnMut(u64, &Message<'_>)) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut segment = Vec::new();
    for base in (0..len).step_by(SEGMENT) {
        let size = |most: usize| usize::try_from(len - base).map_or(most, |rest| rest.min(most));
        // A segment that was never written to is not read.
        segment.resize(size(RED_ZONE), 0);
        file.read_exact_at(&mut segment, base)?;
        if segment.iter().all(|byte| *byte == 0) {
            continue;
        }
        segment.resize(size(SEGMENT), 0);
        file.read_exact_at(&mut segment, base)?;
        let mut at = SEGMENT_HEAD;
        while at <= SEGMENT - RED_ZONE
            && let Some(message) = segment.get(at..).and_then(Message::read)
            // What is no message, and what fills a segment up.
            && matches!(message.kind, 1 | 3..=11)
        {
            each(base + at as u64, &message);
            at += message.len();
        }
    }
    Ok(())
}

/// A message that sled must not see: where it is, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) offset: u64,
    pub(super) expected: String,
    pub(super) found: String,
}

/// Looks through the messages of a log: none stands for more pages than the log has bytes for, or for another file.
pub(super) fn look(file: &File) -> io::Result<Option<Refused>> {
    let mut bytes = 0;
    walk(file, &mut |_, message| bytes += message.len() as u64)?;
    let most = PAGES_MIN + bytes / PAGE_BYTES;
    let mut refused = None;
    walk(file, &mut |offset, message| {
        let wrong = message.is_of_page() && (message.page > most || message.is_apart());
        // Bytes that are left over from something else have no checksum: sled does not go on behind them either.
        if refused.is_none() && wrong && message.is_whole() {
            let found =
                format!("page {}{}", message.page, if message.is_apart() { " in a file of its own" } else { "" });
            refused = Some(Refused { offset, expected: format!("pages up to {most} in this file"), found });
        }
    })?;
    Ok(refused)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message as sled writes it.
    pub(in crate::delta) fn message(kind: u8, segment: u8, page: u64, body: &[u8]) -> Vec<u8> {
        let mut head = vec![0, 0, 0, 0, kind, u8::try_from(body.len()).unwrap(), segment, 255];
        head.extend(page.to_le_bytes());
        let mut bytes = [&head, body].concat();
        let sum = {
            let read = Message::read(&bytes).unwrap();
            read.body.iter().chain(read.head).fold(u32::MAX, |bits, byte| {
                (0..8).fold(bits ^ u32::from(*byte), |b, _| if b & 1 == 0 { b >> 1 } else { b >> 1 ^ 0xedb8_8320 })
            })
        };
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Messages of a log, their bytes, the greatest page, and where the last segment ends.
    pub(in crate::delta) fn measure(file: &File) -> (u64, u64, u64, u64) {
        let (mut messages, mut bytes, mut page, mut end) = (0, 0, 0, 0);
        walk(file, &mut |offset, message| {
            messages += 1;
            assert!(message.is_whole(), "{offset}: {message:?}");
            bytes += message.len() as u64;
            page = page.max(if message.is_of_page() { message.page } else { 0 });
            end = end.max(offset + message.len() as u64);
        })
        .unwrap();
        (messages, bytes, page, end)
    }
}
