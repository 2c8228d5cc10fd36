//! Tokens in a file, so that they survive a restart: replaced as a whole, for the owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::method::token::{Table, TokenError, TokenRecord, TokenStore};

/// Tokens in a file of JSON. It holds their hashes: who reads it learns who has tokens, and none of them.
#[derive(Debug)]
pub struct FileTokens {
    path: PathBuf,
    table: RwLock<Table>,
    /// In the hand of whoever replaces the file: readers of the table do not wait for the disk.
    writing: Mutex<()>,
}

impl FileTokens {
    /// The tokens of the file at `path`, which need not exist.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let records: Vec<TokenRecord> = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let table = Table(records.into_iter().map(|record| (record.hash.clone(), record)).collect());
        Ok(Self { path, table: RwLock::new(table), writing: Mutex::new(()) })
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries whether the file can be replaced, by making another beside it, which goes again: a place that cannot be written
    /// is found before somebody asks for a token. The disk may be full all the same later on.
    ///
    /// # Errors
    /// Those of making and removing it. Nothing else depends on it: tokens that are there are found.
    pub fn probe(&self) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another server may be writing where no lock keeps it out: its file has another name.
        let (new, _) = self.create(".probe")?;
        fs::remove_file(new)
    }

    /// An empty file beside the one that is there, whose name ends in `suffix`.
    fn create(&self, suffix: &str) -> io::Result<(PathBuf, File)> {
        let mut new = self.path.clone().into_os_string();
        new.push(suffix);
        let new = PathBuf::from(new);
        // What a crash left is ours, and may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        Ok((new, file))
    }

    fn write(&self, table: &Table) -> io::Result<()> {
        let records: Vec<&TokenRecord> = table.0.values().collect();
        let (new, mut file) = self.create(".new")?;
        file.write_all(&serde_json::to_vec(&records)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl TokenStore for FileTokens {
    fn insert(&self, record: TokenRecord, now: u64) -> Result<(), TokenError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = self.table().clone();
        new.insert(record, now)?;
        self.write(&new)?;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn find(&self, hash: &str) -> Option<TokenRecord> {
        self.table().0.get(hash).cloned()
    }
}
