//! The split layout, through the public API of `headcount-block`.

#![expect(clippy::indexing_slicing, reason = "tables of 2 and 256 entries, indexed by a bool and a byte")]

use std::path::Path;

use headcount_block::{
    Block, BlockBuilder, BlockId, Dictionary, HEADER_LEN, Piece, ROWS_PER_GROUP, RowBuf, Span, User,
};

use crate::copy::{self, AFTER_UID, BETWEEN, IDENTITIES, OPEN, OUT_WINDOW, TEXT_WINDOW, Templates};
use crate::{Layout, Slot};

#[derive(Debug)]
pub(crate) struct Blocks<'d> {
    bytes: Vec<u8>,
    starts: Vec<(usize, usize)>,
    dictionary: &'d Dictionary,
}

fn id(number: usize) -> BlockId {
    BlockId { file: 7, number: u32::try_from(number).unwrap_or_default() }
}

impl<'d> Blocks<'d> {
    pub(crate) fn build(users: &[User], dictionary: &'d Dictionary) -> Self {
        let mut this = Self { bytes: Vec::new(), starts: Vec::new(), dictionary };
        let (mut builder, mut row) = (BlockBuilder::new(), RowBuf::new());
        for user in users {
            let Ok(row) = row.encode(user) else { unreachable!("synthetic users are within the limits") };
            if let Err(fault) = builder.push(&row.into(), dictionary, 0) {
                unreachable!("users come in order: {fault}");
            }
            if builder.is_full() {
                this.finish(&mut builder);
            }
        }
        if !builder.is_empty() {
            this.finish(&mut builder);
        }
        this
    }

    fn finish(&mut self, builder: &mut BlockBuilder) {
        let built = builder.finish(id(self.starts.len()), &mut self.bytes);
        self.starts.push((self.bytes.len() - built.len, built.users));
    }

    fn block(&self, number: usize) -> Block<'_> {
        let start = self.starts.get(number).map_or(usize::MAX, |s| s.0);
        let block = self.bytes.get(start..).map(|bytes| Block::parse(bytes, self.dictionary));
        let Some(Ok(block)) = block else { unreachable!("the block was just built") };
        block
    }
}

impl Layout for Blocks<'_> {
    fn bytes(&self) -> usize {
        self.bytes.len() - self.starts.len() * HEADER_LEN
    }

    fn blocks(&self) -> usize {
        self.starts.len()
    }

    fn render(&self, number: usize, templates: &Templates, out: &mut [u8], at: usize) -> usize {
        let block = self.block(number);
        assert!(block.verify(id(number)).is_ok(), "the block is whole");
        let span = Span::new(&block, 0..block.users(), Path::new(""), 0);
        let Ok(pieces) = span.pieces() else { unreachable!("the block is whole") };
        let mut at = at;
        for piece in pieces {
            let Ok(Piece::Clean(clean)) = piece else { unreachable!("no exceptions were built") };
            let ctl = clean.ctl.as_chunks::<3>().0.get(..clean.entries).unwrap_or_default();
            let (done, text, end) = kernel(ctl, clean.text, templates, out, at);
            // The last window of text is rendered out of a padded copy.
            let mut tail = [0; 2 * TEXT_WINDOW];
            for (to, from) in tail.iter_mut().zip(clean.text.get(text..).unwrap_or_default()) {
                *to = *from;
            }
            at = kernel(ctl.get(done..).unwrap_or_default(), &tail, templates, out, end).2;
        }
        at
    }

    fn get(&self, slot: Slot) -> u64 {
        let Ok(user) = self.block(slot.block).user_in_group(slot.group, slot.row) else {
            unreachable!("the slot is that of a user")
        };
        copy::mix(user.uid(), user.identities().map(|i| i.provider.len() + i.provider_uid.len()).sum())
    }

    fn slots(&self) -> Vec<Slot> {
        let of_block = |(block, &(_, users)): (usize, &(usize, usize))| {
            (0..users).map(move |n| Slot { block, group: n / ROWS_PER_GROUP, row: n % ROWS_PER_GROUP })
        };
        self.starts.iter().enumerate().flat_map(of_block).collect()
    }
}

/// Renders entries while a whole window of text and of output is left; returns entries and text done, and the end.
fn kernel(ctl: &[[u8; 3]], text: &[u8], templates: &Templates, out: &mut [u8], at: usize) -> (usize, usize, usize) {
    // Slices that shrink from the front: their lengths are the only thing that is compared.
    let (all_text, all_out) = (text.len(), out.len());
    let (mut text, mut out) = (text, out.get_mut(at..).unwrap_or_default());
    let mut entries = ctl.iter();
    let mut left = ctl.len();
    while let (Some(source), Some(window)) = (text.first_chunk::<TEXT_WINDOW>(), out.first_chunk_mut::<OUT_WINDOW>())
        && let Some(&[head, provider, len]) = entries.next()
    {
        let template = &templates.0[usize::from(provider)];
        let uid_len = usize::from(head & 0x7f);
        let first = usize::from(uid_len != 0);
        copy::fixed::<16, 16>(window, 0, &BETWEEN[first].0, 0);
        let mut o = BETWEEN[first].1;
        copy::uid(window, o, source, 0, uid_len);
        o += uid_len;
        copy::fixed::<16, 16>(window, o, &IDENTITIES, 0);
        o += AFTER_UID[first];
        copy::fixed::<OPEN, OPEN>(window, o, &template.open, 0);
        o += usize::from(template.open_len & 63);
        let len = usize::from(len);
        copy::provider_uid(window, o, source, uid_len, len);
        o += len;
        copy::fixed::<2, 2>(window, o, b"\"}", 0);
        o += usize::from(template.close_len & 3);
        text = text.get(uid_len + len..).unwrap_or_default();
        out = out.get_mut(o..).unwrap_or_default();
        left -= 1;
    }
    (ctl.len() - left, all_text - text.len(), all_out - out.len())
}
