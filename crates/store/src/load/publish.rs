//! Publication of a load: the one moment at which it becomes visible.
//!
//! | step | after a crash here |
//! | --- | --- |
//! | 1 the segment's bytes are fsynced under a temporary name | leftover in `tmp/`, removed at the next open |
//! | 2 footer with the seq, fsync, read-only, rename, fsync of the directory | a segment that no manifest names, removed |
//! | 3 the manifest is replaced | the load is there, whole |
//! | 4 the version is swapped | as 3 |

use std::sync::Arc;

use headcount_block::Totals;

use crate::clock;
use crate::error::{Error, Result};
use crate::files;
use crate::manifest::SegmentEntry;
use crate::segment::{Finished, Segment};
use crate::store::Inner;
use crate::version::Version;

/// Makes `finished` part of the store. `hidden` are the sums of the rows that it replaces. Returns its seq.
pub(super) fn publish(store: &Inner, finished: Finished, hidden: &Totals) -> Result<u64> {
    finished.sync()?;
    let mut current = store.manifest.lock().map_err(|_| Error::Panicked("publishing"))?;
    let mut manifest = current.clone();
    let mut totals = manifest.totals();
    totals += finished.totals();
    totals -= *hidden;
    manifest.seq += 1;
    manifest.time_ms = clock::now_ms().max(manifest.time_ms);
    manifest.set_totals(&totals);
    let (id, bytes) = (finished.id(), finished.len());
    manifest.segments.insert(0, SegmentEntry { id, base_seq: manifest.seq, bytes });
    let path = finished.publish(manifest.seq, &store.dir)?;
    let published = Segment::open(&path, id, store.backend).and_then(|segment| {
        manifest.write(&store.dir)?;
        Ok(segment)
    });
    let segment = match published {
        Ok(segment) => segment,
        Err(error) => {
            // The manifest does not name it. Should this fail too, the next open for writing removes the file.
            let _ = files::remove_if_there(&path);
            return Err(error);
        }
    };
    let mut segments = vec![Arc::new(segment)];
    segments.extend(store.version.load().segments.iter().cloned());
    store.version.store(Arc::new(Version { origin: store.origin(&manifest), segments, totals }));
    let seq = manifest.seq;
    *current = manifest;
    Ok(seq)
}
