//! Right checksums over whatever the files of a store say: mutations come to what lies behind them. Where each of them
//! stands is written in docs/FORMAT.md.

use headcount_block::checksum;

/// Bytes of the footer of a segment, of a block's header, and of a page of an index.
const FOOTER: usize = 512;
const BLOCK: usize = 256;
const PAGE: usize = 4096;

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u64::from_le_bytes(*number)).ok()
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number) as usize)
}

/// Writes the checksum of `len` bytes from `from` to `at`; nothing where they are not there.
fn seal(bytes: &mut [u8], from: usize, len: usize, at: usize) {
    let Some(sum) = from.checked_add(len).and_then(|end| bytes.get(from..end)).map(checksum) else { return };
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = sum.to_le_bytes();
    }
}

/// Makes the checksums of a segment right, as far as it still says where they are.
pub(crate) fn segment(bytes: &mut [u8]) {
    let Some(footer) = bytes.len().checked_sub(FOOTER) else { return };
    seal(bytes, 0, 56, 56);
    let section =
        |bytes: &[u8], i: usize| Some((long(bytes, footer + 96 + 24 * i)?, long(bytes, footer + 104 + 24 * i)?));
    if let Some((index, len)) = section(bytes, 0)
        && let Some(blocks) = word(bytes, index)
    {
        for entry in (0..blocks.min(len / 24)).map(|i| index.saturating_add(8 + 24 * i)) {
            let (Some(block), Some(len)) = (long(bytes, entry), word(bytes, entry.saturating_add(8))) else { break };
            if let Some(body) = block.checked_add(BLOCK) {
                seal(bytes, body, len.saturating_sub(BLOCK), body - 24);
                seal(bytes, block, 240, body - 16);
            }
        }
    }
    for i in [3, 4] {
        let Some((from, len)) = section(bytes, i) else { continue };
        for page in (0..len.min(bytes.len()) / PAGE).map_while(|page| from.checked_add(page * PAGE)) {
            seal(bytes, page.saturating_add(8), PAGE - 8, page);
        }
    }
    for i in 0..3 {
        let Some((from, len)) = section(bytes, i) else { continue };
        seal(bytes, from, len, footer + 112 + 24 * i);
    }
    seal(bytes, footer, 504, footer + 504);
}

/// Makes the checksums of a manifest right, and the length of its body what is there.
pub(crate) fn manifest(bytes: &mut [u8]) {
    let Some(body) = bytes.len().checked_sub(64) else { return };
    bytes[40..48].copy_from_slice(&(body as u64).to_le_bytes());
    seal(bytes, 64, body, 48);
    seal(bytes, 0, 56, 56);
}
