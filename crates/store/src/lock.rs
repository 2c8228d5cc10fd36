//! The store's lock: one writing process, or any number of reading ones.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};
use crate::fault;
use crate::files::{LOCK, open_file, read_up_to};

/// How often the file of the lock is opened anew: on a file system that numbers its files differently each time it is asked,
/// nobody can know better.
const TRIES: usize = 8;

/// Held for as long as it lives; the operating system lets go when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Option<File>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that another thread is just forking has the file, too: closing ours alone would leave the lock until
        // that one runs its program.
        let _ = self.file.as_ref().map(File::unlock);
    }
}

impl Lock {
    /// Takes the lock of a writer, and writes the process id for those who come second.
    pub(crate) fn exclusive(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK);
        let mut tries = 0;
        let mut file = loop {
            let options =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = options.map_err(|e| Error::io("open", &path, e))?;
            fault::point("lock: opened")?;
            taken(file.try_lock(), dir, &file)?;
            // Whoever held it may have removed the store, with this file: then it keeps nobody out.
            tries += 1;
            if tries == TRIES || is_named(&file, &path) {
                break file;
            }
        };
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|e| Error::io("write", &path, e))?;
        Ok(Self { file: Some(file) })
    }

    /// Takes the lock of a reader; needs no permission to write.
    pub(crate) fn shared(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK);
        let mut tries = 0;
        loop {
            let file = match open_file(&path) {
                Ok(file) => file,
                // A copy of a store on a read-only medium may lack the file, and nobody can write to it.
                Err(e) if e.kind() == ErrorKind::NotFound && tries == 0 => return Ok(Self { file: None }),
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    return Err(Error::NotAStore {
                        path: dir.to_path_buf(),
                        why: "it was removed while it was opened",
                    });
                }
                Err(e) => return Err(Error::io("open", &path, e)),
            };
            fault::point("lock: opened")?;
            taken(file.try_lock_shared(), dir, &file)?;
            tries += 1;
            if tries == TRIES || is_named(&file, &path) {
                return Ok(Self { file: Some(file) });
            }
        }
    }
}

/// Whether `path` still is a name of this file.
fn is_named(file: &File, path: &Path) -> bool {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    matches!((file.metadata().map(id), fs::metadata(path).map(id)), (Ok(ours), Ok(named)) if ours == named)
}

fn taken(attempt: Result<(), TryLockError>, dir: &Path, file: &File) -> Result<()> {
    match attempt {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: dir.to_path_buf(), pid: holder(dir, file) }),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", dir, e)),
    }
}

/// The process that holds the lock: as the kernel lists it, or else as the last writer wrote it.
fn holder(dir: &Path, file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    let listed = fs::read_to_string("/proc/locks").ok().and_then(|locks| parse_locks(&locks, inode));
    listed.or_else(|| std::str::from_utf8(&read_up_to(&dir.join(LOCK), 64).ok()?.0).ok()?.trim().parse().ok())
}

/// The first process in `/proc/locks` (proc(5)) with a lock on this inode.
/// A line is: `1: FLOCK  ADVISORY  WRITE 1234 08:02:5678 0 EOF`.
fn parse_locks(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|w| *w != "FLOCK").skip(3);
        let pid = words.next()?.parse().ok()?;
        let found: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
        (found == inode).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::fault::tests::meanwhile;

    #[test]
    fn a_lock_ends_with_its_holder_though_a_fork_has_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::exclusive(dir.path()).unwrap();
        assert!(matches!(Lock::shared(dir.path()), Err(Error::Locked { .. })));
        let of_the_child = lock.file.as_ref().unwrap().try_clone().unwrap();
        drop(lock);
        let again = Lock::exclusive(dir.path()).unwrap();
        drop((again, of_the_child));
    }

    #[test]
    fn a_lock_whose_file_was_removed_meanwhile_keeps_others_out_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        meanwhile("lock: opened", move || fs::remove_file(path.join(LOCK)).unwrap());
        let _lock = Lock::exclusive(dir.path()).unwrap();
        assert!(matches!(Lock::exclusive(dir.path()), Err(Error::Locked { .. })));
    }

    #[test]
    fn a_reader_of_a_file_that_was_removed_meanwhile_keeps_out_of_the_next_writers_way() {
        let dir = tempfile::tempdir().unwrap();
        drop(Lock::exclusive(dir.path()).unwrap());
        let (path, next) = (dir.path().to_path_buf(), Rc::new(RefCell::new(None)));
        let writer = Rc::clone(&next);
        meanwhile("lock: opened", move || {
            fs::remove_file(path.join(LOCK)).unwrap();
            *writer.borrow_mut() = Some(Lock::exclusive(&path).unwrap());
        });
        let reader = Lock::shared(dir.path());
        assert!(matches!(reader, Err(Error::Locked { .. })), "{reader:?}");
        next.take();
        Lock::shared(dir.path()).unwrap();
        // Nobody has come since: there is no store any more.
        let path = dir.path().to_path_buf();
        meanwhile("lock: opened", move || fs::remove_file(path.join(LOCK)).unwrap());
        let reader = Lock::shared(dir.path());
        assert!(matches!(reader, Err(Error::NotAStore { .. })), "{reader:?}");
    }

    #[test]
    fn the_kernels_list_is_read() {
        let locks = "1: POSIX  ADVISORY  WRITE 9 08:02:77 0 EOF\n2: FLOCK  ADVISORY  READ 1234 08:02:77 0 EOF\n";
        assert_eq!(parse_locks(locks, 77), Some(1234));
        assert_eq!(parse_locks(locks, 78), None);
    }
}
