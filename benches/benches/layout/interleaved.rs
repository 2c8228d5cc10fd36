//! The interleaved layout: `[uid_len u8][count u8]{provider u8, len u8} x count [uid][providerUIDs...]`, row after row,
//! with the offset of every sixteenth row in a table. Just enough of it to be measured.

#![expect(clippy::indexing_slicing, reason = "tables of 2 and 256 entries, indexed by a bool and a byte")]

use headcount_block::limits::BLOCK_TARGET;
use headcount_block::{Dictionary, ROWS_PER_GROUP, User, checksum};

use crate::copy::{self, AFTER_UID, BETWEEN, IDENTITIES, OPEN, OUT_WINDOW, TEXT_WINDOW, Templates};
use crate::{Layout, Slot};

/// Bytes in front of the identities of a row: lengths of UID and identity list.
const HEAD: usize = 2;

/// UID, identities, and where the next row begins.
type Row<'a> = (&'a [u8], &'a [[u8; 2]], usize);

#[derive(Debug, Default)]
struct Block {
    /// Rows, and a window of padding.
    rows: Vec<u8>,
    len: usize,
    users: usize,
    groups: Vec<u32>,
    sum: u64,
}

#[derive(Debug)]
pub(crate) struct Blocks<'d> {
    blocks: Vec<Block>,
    dictionary: &'d Dictionary,
}

impl Block {
    fn push(&mut self, user: &User, dictionary: &Dictionary) {
        let byte = |n: usize| u8::try_from(n).unwrap_or_default();
        if self.users.is_multiple_of(ROWS_PER_GROUP) {
            self.groups.push(u32::try_from(self.rows.len()).unwrap_or_default());
        }
        self.rows.extend([byte(user.uid.len()), byte(user.identities.len())]);
        for identity in &user.identities {
            let provider = dictionary.id_of(identity.provider.as_bytes()).unwrap_or_default();
            self.rows.extend([byte(usize::from(provider) + 1), byte(identity.provider_uid.len())]);
        }
        self.rows.extend(user.uid.bytes().chain(user.identities.iter().flat_map(|i| i.provider_uid.bytes())));
        self.users += 1;
    }

    fn finish(&mut self) {
        self.len = self.rows.len();
        self.sum = checksum(&self.rows);
        self.rows.resize(self.len + TEXT_WINDOW + 1, 0);
    }

    /// The row that begins at `at`: UID, identities and text, and where the next one begins.
    fn row(&self, at: usize) -> Option<Row<'_>> {
        let &[uid_len, count] = self.rows.get(at..)?.first_chunk::<HEAD>()?;
        let text = at + HEAD + 2 * usize::from(count);
        let identities = self.rows.get(at + HEAD..text)?.as_chunks::<2>().0;
        let uid = self.rows.get(text..text + usize::from(uid_len))?;
        let values: usize = identities.iter().map(|[_, len]| usize::from(*len)).sum();
        Some((uid, identities, text + uid.len() + values))
    }
}

impl<'d> Blocks<'d> {
    pub(crate) fn build(users: &[User], dictionary: &'d Dictionary) -> Self {
        let mut blocks = vec![Block::default()];
        for user in users {
            if blocks.last().is_some_and(|b| b.rows.len() >= BLOCK_TARGET) {
                blocks.push(Block::default());
            }
            if let Some(block) = blocks.last_mut() {
                block.push(user, dictionary);
            }
        }
        blocks.iter_mut().for_each(Block::finish);
        Self { blocks, dictionary }
    }
}

impl Layout for Blocks<'_> {
    fn bytes(&self) -> usize {
        self.blocks.iter().map(|b| b.len + 4 * b.groups.len()).sum()
    }

    fn blocks(&self) -> usize {
        self.blocks.len()
    }

    fn render(&self, number: usize, templates: &Templates, out: &mut [u8], at: usize) -> usize {
        let Some(block) = self.blocks.get(number) else { return at };
        assert!(block.rows.get(..block.len).map(checksum) == Some(block.sum), "the block is whole");
        kernel(&block.rows, block.users, templates, out, at)
    }

    fn get(&self, slot: Slot) -> u64 {
        let found = self.blocks.get(slot.block).and_then(|block| {
            let mut at = *block.groups.get(slot.group)? as usize;
            for _ in 0..slot.row {
                at = block.row(at)?.2;
            }
            block.row(at)
        });
        let Some((uid, identities, _)) = found else { unreachable!("the slot is that of a user") };
        let lens = identities.iter().map(|&[provider, len]| {
            let name = self.dictionary.name(u16::from(provider).saturating_sub(1));
            name.map_or(0, <[u8]>::len) + usize::from(len)
        });
        copy::mix(uid, lens.sum())
    }

    fn slots(&self) -> Vec<Slot> {
        let of_block = |(block, b): (usize, &Block)| {
            (0..b.users).map(move |n| Slot { block, group: n / ROWS_PER_GROUP, row: n % ROWS_PER_GROUP })
        };
        self.blocks.iter().enumerate().flat_map(of_block).collect()
    }
}

fn kernel(rows: &[u8], users: usize, templates: &Templates, out: &mut [u8], at: usize) -> usize {
    let all_out = out.len();
    let (mut rows, mut out) = (rows, out.get_mut(at..).unwrap_or_default());
    for _ in 0..users {
        let Some((&[uid_len, count], rest)) = rows.split_first_chunk::<HEAD>() else { break };
        let Some((identities, mut text)) = rest.split_at_checked(2 * usize::from(count)) else { break };
        let (Some(source), Some(window)) = (text.first_chunk::<TEXT_WINDOW>(), out.first_chunk_mut::<OUT_WINDOW>())
        else {
            break;
        };
        let uid_len = usize::from(uid_len & 0x7f);
        copy::fixed::<16, 16>(window, 0, &BETWEEN[1].0, 0);
        let o = BETWEEN[1].1 + uid_len;
        copy::uid(window, BETWEEN[1].1, source, 0, uid_len);
        copy::fixed::<16, 16>(window, o, &IDENTITIES, 0);
        out = out.get_mut(o + AFTER_UID[1]..).unwrap_or_default();
        text = text.get(uid_len..).unwrap_or_default();
        let mut comma = 0;
        for &[provider, len] in identities.as_chunks::<2>().0 {
            let (Some(source), Some(window)) = (text.first_chunk::<TEXT_WINDOW>(), out.first_chunk_mut::<OUT_WINDOW>())
            else {
                break;
            };
            let template = &templates.0[usize::from(provider)];
            window[0] = b',';
            copy::fixed::<OPEN, OPEN>(window, comma, &template.open, 0);
            let mut o = comma + usize::from(template.open_len & 63);
            let len = usize::from(len);
            copy::provider_uid(window, o, source, 0, len);
            o += len;
            copy::fixed::<2, 2>(window, o, b"\"}", 0);
            text = text.get(len..).unwrap_or_default();
            out = out.get_mut(o + 2..).unwrap_or_default();
            comma = 1;
        }
        rows = text;
    }
    all_out - out.len()
}
