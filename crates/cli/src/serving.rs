//! Which server holds a store: a record beside the store, by which commands that find it locked can say how to ask
//! the server instead.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::mem;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use headcount_server::shell_quoted;
use serde::{Deserialize, Serialize};

/// How to ask the server that holds a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Serving {
    /// Its process.
    pub(crate) pid: u32,
    /// Scheme, host and port.
    pub(crate) url: String,
    /// The site that has the store.
    pub(crate) api_key: String,
    /// The file of the site's secret, where it is in one.
    pub(crate) secret_file: Option<PathBuf>,
}

/// `name` with `suffix`, as `site.hc` and `.secret` make `site.hc.secret`.
pub(crate) fn beside(store: &Path, suffix: &str) -> PathBuf {
    // Collected anew, a path has no slash at its end.
    let mut name = store.components().collect::<PathBuf>().into_os_string();
    name.push(suffix);
    name.into()
}

fn record_of(store: &Path) -> PathBuf {
    beside(&fs::canonicalize(store).unwrap_or_else(|_| store.to_path_buf()), ".serving")
}

/// A record, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    /// Whether another record has taken its place.
    replaced: bool,
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.replaced {
            // One that stays names a process that is gone, and is not believed.
            let _: io::Result<()> = fs::remove_file(&self.path);
        }
    }
}

/// The records of a server.
#[derive(Debug, Default)]
pub(crate) struct Records(Mutex<Vec<Record>>);

impl Records {
    /// From now on there are these, and no others.
    pub(crate) fn replace(&self, new: Vec<Record>) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for old in records.iter_mut() {
            old.replaced = new.iter().any(|new| new.path == old.path);
        }
        drop(mem::replace(&mut *records, new));
    }
}

impl Serving {
    /// Writes the record beside `store`.
    ///
    /// # Errors
    /// Those of writing; serving does not depend on it.
    pub(crate) fn publish(&self, store: &Path) -> io::Result<Record> {
        let path = record_of(store);
        let new = beside(&path, ".new");
        // What is left of a server that was killed meanwhile, or a link that somebody else put there.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&new, &path)?;
        Ok(Record { path, replaced: false })
    }

    /// The server that runs as process `pid` and holds `store`.
    pub(crate) fn find(store: &Path, pid: Option<u32>) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(record_of(store)).ok()?).ok()?;
        (Some(record.pid) == pid).then_some(record)
    }

    /// Who has the store, and what to do about it.
    pub(crate) fn hint(&self, to_do: &str) -> String {
        format!("process {} serves it at {}{to_do}", self.pid, self.url)
    }

    /// What remains to do where no call does what is wanted.
    pub(crate) fn stop(&self) -> String {
        format!("to do this, stop it: kill {}", self.pid)
    }

    /// The command line that asks it, with `request`: a method and parameters.
    pub(crate) fn call(&self, request: &str) -> String {
        let secret = self.secret_file.as_deref().map_or_else(|| "FILE".to_owned(), shell_quoted);
        let line = format!("headcount call {} --api-key {} --secret-file {secret} {request}", self.url, self.api_key);
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_believed_of_the_process_that_holds_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("site.hc");
        fs::create_dir(&store).unwrap();
        let serving = Serving {
            pid: 7,
            url: "http://127.0.0.1:8080".to_owned(),
            api_key: "3_a".to_owned(),
            secret_file: Some("/tmp/a b.secret".into()),
        };
        let record = serving.publish(&store).unwrap();
        // However the store is named.
        let named = dir.path().join("./site.hc/");
        assert_eq!(Serving::find(&named, Some(7)), Some(serving.clone()));
        assert_eq!((Serving::find(&named, Some(8)), Serving::find(&named, None)), (None, None));
        assert_eq!(
            serving.call("getUserInfo UID=1"),
            "headcount call http://127.0.0.1:8080 --api-key 3_a --secret-file '/tmp/a b.secret' getUserInfo UID=1"
        );
        drop(record);
        assert_eq!(Serving::find(&store, Some(7)), None);
    }

    /// The directory beside a store may be one that others write to.
    #[test]
    fn a_record_is_written_to_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (store, other) = (dir.path().join("site.hc"), dir.path().join("other"));
        fs::create_dir(&store).unwrap();
        fs::write(&other, "of somebody else").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("site.hc.serving.new")).unwrap();
        let (url, api_key) = ("http://127.0.0.1:8080".to_owned(), "3_a".to_owned());
        let serving = Serving { pid: 7, url, api_key, secret_file: None };
        let record = serving.publish(&store).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "of somebody else");
        assert_eq!(Serving::find(&store, Some(7)), Some(serving));
        assert!(!record.path.is_symlink());
    }

    #[test]
    fn a_record_that_is_replaced_stays_until_the_new_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        let found = |store: &Path| Serving::find(store, Some(7)).map(|serving| serving.api_key);
        let publish = |store: &Path, api_key: &str| {
            let (url, api_key) = ("http://127.0.0.1:8080".to_owned(), api_key.to_owned());
            Serving { pid: 7, url, api_key, secret_file: None }.publish(store).unwrap()
        };
        let records = Records::default();
        records.replace(vec![publish(&one, "3_a"), publish(&two, "3_b")]);
        records.replace(vec![publish(&one, "3_c")]);
        assert_eq!((found(&one).as_deref(), found(&two)), (Some("3_c"), None));
        records.replace(Vec::new());
        assert_eq!(found(&one), None);
    }
}
