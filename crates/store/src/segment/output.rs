//! The file that a segment is written to, at the pace that the disk keeps.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};

/// Bytes that a paced file may have ahead of the disk.
const AHEAD: u64 = 8 << 20;
/// Bytes that another file has ahead before the disk begins to take them, behind the back of the writer. Left to its last
/// fsync they would cost a load a sixth of its time.
const BEHIND: u64 = 32 << 20;

/// A file in the making.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    pub(super) path: PathBuf,
    /// Whether every [`AHEAD`] bytes are made durable at once. An fsync of any other file of the same file system may
    /// have to wait for all that is still to be written: a commit would wait for a compaction.
    paced: Arc<AtomicBool>,
    /// Bytes written since they were last made durable, or began to be.
    ahead: u64,
    syncer: Option<Syncer>,
}

/// A thread that makes durable what was written so far, whenever it is told to.
#[derive(Debug)]
struct Syncer {
    wanted: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Syncer {
    fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (wanted, told) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("headcount-sync".into())
            .spawn(move || told.iter().try_for_each(|()| file.sync_data()))?;
        Ok(Self { wanted, thread })
    }

    /// Waits for it. Its error is the file's: a later fsync would not tell it again.
    fn join(self) -> io::Result<()> {
        drop(self.wanted);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs it ended")))
    }
}

impl Output {
    pub(super) const fn new(file: File, path: PathBuf, paced: Arc<AtomicBool>) -> Self {
        Self { file, path, paced, ahead: 0, syncer: None }
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|e| Error::io("write", &self.path, e))?;
        self.ahead += bytes.len() as u64;
        let paced = self.paced.load(Relaxed);
        if self.ahead < if paced { AHEAD } else { BEHIND } {
            return Ok(());
        }
        let synced = if paced { self.file.sync_data().map(|()| true) } else { self.sync_behind() };
        if synced.map_err(|e| Error::io("fsync", &self.path, e))? {
            self.ahead = 0;
        }
        Ok(())
    }

    /// Has the syncer make durable what there is; `false` when it has enough to do.
    fn sync_behind(&mut self) -> io::Result<bool> {
        let syncer = match self.syncer.take() {
            Some(syncer) => syncer,
            None => Syncer::start(&self.file)?,
        };
        match syncer.wanted.try_send(()) {
            Err(TrySendError::Disconnected(())) => syncer.join().map(|()| false),
            sent => {
                self.syncer = Some(syncer);
                Ok(sent.is_ok())
            }
        }
    }

    /// The file, when nothing was wrong with it so far.
    pub(super) fn finish(self) -> Result<File> {
        let ended = self.syncer.map_or(Ok(()), Syncer::join);
        ended.map_err(|e| Error::io("fsync", &self.path, e))?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_paced_file_stays_close_to_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        for (paced, ahead) in [(true, 4 << 20), (false, 12 << 20)] {
            let path = dir.path().join(format!("{paced}"));
            let file = File::create(&path).unwrap();
            let mut out = Output::new(file, path.clone(), Arc::new(AtomicBool::new(paced)));
            for i in 0..44 {
                out.write(i << 20, &vec![1; 1 << 20]).unwrap();
            }
            assert_eq!((out.ahead, out.syncer.is_some()), (ahead, !paced), "{paced}");
            assert_eq!(out.finish().unwrap().metadata().unwrap().len(), 44 << 20);
        }
    }

    #[test]
    fn the_error_of_a_sync_behind_the_back_is_told() {
        // A pipe cannot be synced.
        let (_, pipe) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(pipe));
        let mut out = Output::new(file, PathBuf::from("x"), Arc::new(AtomicBool::new(false)));
        assert!(out.sync_behind().unwrap());
        let error = out.finish().unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}
