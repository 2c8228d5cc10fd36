//! Layers in, one segment out: what a flush, a compaction and a backup have in common.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use headcount_block::{DictionaryBuilder, Error as BlockError, Progress, RowRef, Span, UidRange};

use crate::error::{Error, Result};
use crate::layer::{Delta, Stamp};
use crate::merge::{Receiver, walk};
use crate::segment::{Finished, Segment, SegmentWriter};
use crate::version::LayerRef;

/// Bytes for the indexes of a segment that is written.
const FLUSH_MEMORY: usize = 48 << 20;
const COMPACTION_MEMORY: usize = 160 << 20;
/// Users between two looks at the cancellation flag.
const CHECK_EVERY: u64 = 4096;

/// What the segment is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// A delta becomes a segment: everything is kept.
    Flush,
    /// Segments become one. `forget`: nothing lies behind them, and tombstones of a commit before this time go.
    Compaction { forget: Option<u64> },
}

/// What [`rewrite`] wrote.
#[derive(Debug)]
pub(crate) struct Rewritten {
    /// The segment; `None` when there is nothing to write.
    pub(crate) finished: Option<Finished>,
    /// Greatest seq of a tombstone that was left out; 0 when none was.
    pub(crate) forgotten: u64,
}

/// Writes what `layers` show of `range` as one segment in `tmp`.
///
/// # Errors
/// [`Error::Limit`] before anything is written, when that names more providers than one segment does.
pub(crate) fn rewrite(
    tmp: &Path,
    layers: &[LayerRef<'_>],
    range: &UidRange,
    purpose: Purpose,
    progress: &Progress,
) -> Result<Rewritten> {
    let mut providers = Providers::default();
    walk(layers, range, &mut providers)?;
    let dict = providers.counts.finish().map_err(|f| Error::fault(f, tmp, 0))?;
    let base = layers.iter().map(|layer| match layer {
        LayerRef::Delta(delta) => delta.first_seq,
        LayerRef::Segment(segment) => segment.seq_range().0,
    });
    let base = base.min().unwrap_or_default();
    let memory = match purpose {
        Purpose::Flush => FLUSH_MEMORY,
        Purpose::Compaction { .. } => COMPACTION_MEMORY,
    };
    let mut writer = SegmentWriter::create(tmp, Arc::new(dict), memory)?;
    writer.set_base(base);
    writer.set_paced(true);
    let mut copy = Copy { writer, base, purpose, progress, tombstones: 0, forgotten: 0, until_check: CHECK_EVERY };
    walk(layers, range, &mut copy)?;
    if copy.writer.users() == 0 && copy.tombstones == 0 {
        return Ok(Rewritten { finished: None, forgotten: copy.forgotten });
    }
    let finished = finish(copy.writer, tmp)?;
    Ok(Rewritten { forgotten: copy.forgotten, finished: Some(finished) })
}

/// Writes a delta as the segment that it makes, or as several, with disjoint UIDs, when it names more providers than one
/// does.
pub(crate) fn flush(tmp: &Path, delta: &Delta, progress: &Progress) -> Result<Vec<Finished>> {
    let layers = [LayerRef::Delta(delta)];
    let parts = delta.parts().into_iter();
    parts
        .filter_map(|part| rewrite(tmp, &layers, &part, Purpose::Flush, progress).map(|r| r.finished).transpose())
        .collect()
}

/// Finishes a segment in `tmp`, which has an index of all that is in it.
fn finish(writer: SegmentWriter, tmp: &Path) -> Result<Finished> {
    let finished = writer.finish()?;
    finished.expect_indexed(tmp.parent().unwrap_or(tmp))?;
    Ok(finished)
}

/// Counts the identities of each provider.
#[derive(Default)]
struct Providers {
    counts: DictionaryBuilder,
}

impl Receiver for Providers {
    fn rows(&mut self, _: &Segment, span: &Span<'_>, _: u64) -> Result<(), BlockError> {
        for user in span.rows()? {
            for identity in user?.identities() {
                self.counts.add(identity.provider, 1)?;
            }
        }
        Ok(())
    }

    fn row(&mut self, row: RowRef<'_>, _: Stamp) -> Result<(), BlockError> {
        row.identities().try_for_each(|identity| self.counts.add(identity.provider, 1))?;
        Ok(())
    }

    fn tombstone(&mut self, _: &[u8], _: u64, _: u64) -> Result<(), BlockError> {
        Ok(())
    }
}

/// Writes rows and tombstones with the seqs that they have.
struct Copy<'a> {
    writer: SegmentWriter,
    base: u64,
    purpose: Purpose,
    progress: &'a Progress,
    tombstones: u64,
    forgotten: u64,
    until_check: u64,
}

impl Copy<'_> {
    fn count(&mut self, users: u64) -> Result<(), BlockError> {
        self.until_check = self.until_check.saturating_sub(users);
        if self.until_check == 0 {
            self.until_check = CHECK_EVERY;
            self.progress.check()?;
        }
        self.progress.add_users(users);
        Ok(())
    }
}

impl Receiver for Copy<'_> {
    fn rows(&mut self, segment: &Segment, span: &Span<'_>, at: u64) -> Result<(), BlockError> {
        for (ordinal, user) in (span.ordinals().start..).zip(span.rows()?) {
            let seq = segment.seq_at(span.block(), at, ordinal)?;
            self.writer.push(&user?, seq.wrapping_sub(self.base))?;
        }
        self.count(span.users() as u64)
    }

    fn row(&mut self, row: RowRef<'_>, stamp: Stamp) -> Result<(), BlockError> {
        self.writer.push(&row.into(), stamp.seq.wrapping_sub(self.base))?;
        self.count(1)
    }

    fn tombstone(&mut self, uid: &[u8], seq: u64, time_ms: u64) -> Result<(), BlockError> {
        if let Purpose::Compaction { forget: Some(before) } = self.purpose
            && time_ms < before
        {
            self.forgotten = self.forgotten.max(seq);
            return Ok(());
        }
        self.tombstones += 1;
        Ok(self.writer.push_tombstone(uid, seq, time_ms)?)
    }
}

/// Writes `segment` anew without the rows and tombstones of `uids`. Blocks that hold none of them are copied as they are.
pub(crate) fn purge(tmp: &Path, segment: &Segment, uids: &BTreeSet<String>, progress: &Progress) -> Result<Rewritten> {
    let dict = segment.dictionary().names().try_fold(DictionaryBuilder::new(), |mut all, name| {
        // Ids stay as they are: the first name is made the most frequent.
        let rank = segment.dictionary().len() - segment.dictionary().id_of(name).map_or(0, usize::from);
        all.add(name, rank as u64).map(|()| all)
    })?;
    let dict = dict.finish().map_err(|f| Error::fault(f, segment.path(), 0))?;
    let mut writer = SegmentWriter::create(tmp, Arc::new(dict), COMPACTION_MEMORY)?;
    writer.set_base(segment.footer().base_seq);
    writer.set_paced(true);
    let mut forgotten = 0;
    for (uid, tombstone) in segment.tombstones().iter() {
        if std::str::from_utf8(uid).is_ok_and(|uid| uids.contains(uid)) {
            forgotten = forgotten.max(tombstone.seq);
        } else {
            writer.push_tombstone(uid, tombstone.seq, tombstone.time_ms)?;
        }
    }
    for number in 0..segment.footer().blocks {
        progress.check()?;
        let first = String::from_utf8_lossy(segment.index().first_uid(number as usize)).into_owned();
        let after = String::from_utf8_lossy(segment.index().first_uid(number as usize + 1)).into_owned();
        let mut named = uids.range(first..).take_while(|uid| after.is_empty() || **uid < after);
        if named.next().is_none() {
            writer.push_block(segment, number)?;
            continue;
        }
        let (bytes, offset) = segment.block(number, true)?;
        let block = segment.parse(&bytes, offset)?;
        for (ordinal, user) in block.rows().enumerate() {
            let user = user.map_err(|f| segment.block_fault(f, number))?;
            if user.uid_str().is_none_or(|uid| !uids.contains(uid)) {
                let seq = block.seq(ordinal).map_err(|f| segment.block_fault(f, number))?;
                writer.push(&user, seq)?;
            }
        }
    }
    let nothing = writer.users() == 0 && writer.tombstones() == 0;
    Ok(Rewritten { forgotten, finished: if nothing { None } else { Some(finish(writer, tmp)?) } })
}
