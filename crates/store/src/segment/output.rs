//! The file that a segment is written to, at the pace that the disk keeps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::error::{Error, Result};

/// Bytes that a paced file may have ahead of the disk.
const AHEAD: u64 = 8 << 20;

/// A file in the making.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Whether every [`AHEAD`] bytes are made durable at once. An fsync of any other file of the same file system may
    /// have to wait for all that is still to be written: a commit would wait for a compaction.
    paced: Arc<AtomicBool>,
    /// Bytes written since they were last made durable.
    ahead: u64,
}

impl Output {
    pub(super) const fn new(file: File, path: PathBuf, paced: Arc<AtomicBool>) -> Self {
        Self { file, path, paced, ahead: 0 }
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|e| Error::io("write", &self.path, e))?;
        self.ahead += bytes.len() as u64;
        if self.ahead >= AHEAD && self.paced.load(Relaxed) {
            self.file.sync_data().map_err(|e| Error::io("fsync", &self.path, e))?;
            self.ahead = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_paced_file_stays_close_to_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        for (paced, ahead) in [(true, 2 << 20), (false, 18 << 20)] {
            let path = dir.path().join(format!("{paced}"));
            let file = File::create(&path).unwrap();
            let mut out = Output::new(file, path.clone(), Arc::new(AtomicBool::new(paced)));
            for i in 0..18 {
                out.write(i << 20, &vec![1; 1 << 20]).unwrap();
            }
            assert_eq!(out.ahead, ahead, "{paced}");
            assert_eq!(path.metadata().unwrap().len(), 18 << 20);
        }
    }
}
