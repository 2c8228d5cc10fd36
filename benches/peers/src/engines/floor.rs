//! What the disk and the file system ask for, without an engine.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use headcount_block::User;

use super::Engine;
use crate::Outcome;

const PAGE: [u8; 4096] = [0x5a; 4096];

/// How many pages the overwritten file has.
const RING: u64 = 1024;

/// A file that is written page by page.
struct Floor {
    file: File,
    written: AtomicU64,
    /// Pages after which it starts again at the front.
    pages: u64,
}

/// Every commit makes the file longer, as a log that is not preallocated.
pub(super) fn append(dir: &Path) -> Outcome<Box<dyn Engine>> {
    let file = File::create(dir.join("floor"))?;
    file.sync_all()?;
    Ok(Box::new(Floor { file, written: AtomicU64::new(0), pages: u64::MAX }))
}

/// Every commit writes over a page that is there: no metadata changes with it.
pub(super) fn overwrite(dir: &Path) -> Outcome<Box<dyn Engine>> {
    let file = File::create(dir.join("floor"))?;
    for page in 0..RING {
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
    }
    file.sync_all()?;
    Ok(Box::new(Floor { file, written: AtomicU64::new(0), pages: RING }))
}

impl Engine for Floor {
    fn commit(&self, _: &[User]) -> Outcome {
        let page = self.written.fetch_add(1, Ordering::Relaxed) % self.pages;
        self.file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
        Ok(self.file.sync_data()?)
    }

    fn check(&self, _: &mut dyn Iterator<Item = User>) -> Outcome {
        let pages = self.written.load(Ordering::Relaxed);
        let least = if self.pages == RING { RING } else { pages };
        let found = self.file.metadata()?.len() / PAGE.len() as u64;
        if found == least { Ok(()) } else { Err(format!("{found} pages where {least} were written").into()) }
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(())
    }
}
