//! Counts and length sums of a stretch of a segment, out of the block index's checkpoints and block headers.

use headcount_block::{Select, Totals};

use super::block_index::CHECKPOINT;
use super::read::Segment;
use crate::error::Result;

impl Segment {
    /// Sums of the blocks before block `number`: a checkpoint and at most 63 headers.
    pub(crate) fn sums_before_block(&self, number: usize) -> Result<Totals> {
        if number >= self.index().len() {
            return Ok(self.footer().totals);
        }
        let mut totals = self.index().checkpoint(number / CHECKPOINT).unwrap_or_default();
        for block in (number / CHECKPOINT * CHECKPOINT)..number {
            totals += self.block_sums(u32::try_from(block).unwrap_or(u32::MAX))?;
        }
        Ok(totals)
    }

    /// Sums of one block, as its verified header states them.
    fn block_sums(&self, number: u32) -> Result<Totals> {
        let (bytes, offset) = self.raw_block(number)?;
        let block = self.parse_first(&bytes, offset)?;
        block.verify_header(self.block_id(number)).map_err(|f| self.block_fault(f, number))?;
        Ok(block.totals())
    }

    /// Sums of the users whose UID is not greater than `uid`.
    pub(crate) fn sums_up_to(&self, uid: &[u8]) -> Result<Totals> {
        let Some(last) = self.index().blocks_up_to(uid).checked_sub(1) else { return Ok(Totals::default()) };
        let mut totals = self.sums_before_block(last)?;
        let number = u32::try_from(last).unwrap_or(u32::MAX);
        let (bytes, offset) = self.block(number, false)?;
        for user in self.parse(&bytes, offset)?.rows() {
            let user = user.map_err(|f| self.block_fault(f, number))?;
            if user.uid() > uid {
                break;
            }
            totals.add_user(&user);
        }
        Ok(totals)
    }

    /// The last block from block `first` on such that `fits` accepts the sums of what lies between `base` and it; and these
    /// sums.
    pub(crate) fn last_fitting(
        &self,
        first: usize,
        base: Totals,
        fits: &dyn Fn(&Totals) -> bool,
    ) -> Result<Option<(usize, Totals)>> {
        let since = |mut totals: Totals| {
            totals -= base;
            totals
        };
        let blocks = self.index().len();
        // The first checkpoint that is too far; then the blocks from the one before it on.
        let (mut low, mut high) = (first.div_ceil(CHECKPOINT), blocks.div_ceil(CHECKPOINT));
        while low < high {
            let middle = usize::midpoint(low, high);
            if fits(&since(self.index().checkpoint(middle).unwrap_or_default())) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut number = (low.saturating_sub(1) * CHECKPOINT).max(first);
        let mut totals = self.sums_before_block(number)?;
        let mut found = None;
        while number < blocks && fits(&since(totals)) {
            found = Some((number, since(totals)));
            totals += self.block_sums(u32::try_from(number).unwrap_or(u32::MAX))?;
            number += 1;
        }
        Ok(found)
    }

    /// UID of the selected user number `nth` (from 1), counted from the start of the segment, and the sums up to it.
    /// `nth` is at most the number of selected users.
    pub(crate) fn nth_selected(&self, nth: u64, select: &Select) -> Result<(Vec<u8>, Totals)> {
        let count = |totals: &Totals| totals.selected(select.include_pending).users();
        // The last checkpoint with fewer than `nth` users before it, then the last such block, then the row.
        let checkpoints = self.index().len().div_ceil(CHECKPOINT);
        let (mut low, mut high) = (0, checkpoints);
        while low < high {
            let middle = usize::midpoint(low, high);
            if count(&self.index().checkpoint(middle).unwrap_or_default()) < nth {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let checkpoint = low.saturating_sub(1);
        let mut totals = self.index().checkpoint(checkpoint).unwrap_or_default();
        for number in (checkpoint * CHECKPOINT)..self.index().len() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let mut after = totals;
            after += self.block_sums(number)?;
            if count(&after) < nth {
                totals = after;
                continue;
            }
            let (bytes, offset) = self.block(number, false)?;
            for user in self.parse(&bytes, offset)?.rows() {
                let user = user.map_err(|f| self.block_fault(f, number))?;
                totals.add_user(&user);
                if count(&totals) >= nth {
                    return Ok((user.uid().to_vec(), totals));
                }
            }
        }
        Ok((self.index().last_uid().to_vec(), totals))
    }
}
