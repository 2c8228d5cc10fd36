//! A disk that loses power: what was written, which part of it no fsync covers, and what may be left of it.
//!
//! A file's data is durable by an fsync of that file alone; a name by an fsync of its directory alone. Only what had
//! ended when the fsync began is covered. `sync_file_range` and `close` cover nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use super::trace::{Arg, Call};
use crate::support::Random;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

type Ino = usize;
type Names = BTreeMap<String, Ino>;

#[derive(Debug)]
struct Inode {
    is_dir: bool,
    /// What is durable.
    data: Vec<u8>,
    names: Names,
    /// What is not, in order.
    writes: Vec<Pending<Write>>,
    changes: Vec<Pending<Change>>,
}

#[derive(Debug)]
struct Pending<T> {
    what: T,
    call: usize,
    ended: Option<u64>,
    /// An fsync that should have covered it failed: then no later one does, since the kernel takes the pages for clean.
    refused: bool,
}

#[derive(Debug, Clone)]
enum Write {
    At(usize, Vec<u8>),
    Length(usize),
}

/// Names that come (with their file) and go in one directory by one call.
#[derive(Debug, Clone)]
struct Change {
    /// Place among all changes of names.
    number: usize,
    names: Vec<(String, Option<Ino>)>,
}

/// What an open file descriptor is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Handle {
    File(usize),
    Output,
    Other,
}

/// What is left of that which no fsync covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// No name and no data.
    Nothing,
    /// Names, but not what is in the files.
    Names,
    /// Data, but no names.
    Data,
    /// Everything: as after a kill.
    All,
    /// Names up to some moment, as a journal has them; any part of the data.
    Journal,
    /// Any names, any part of the data.
    Any,
}

/// What a call was, for counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// Nothing that concerns the store.
    Nothing,
    /// A line of the hammer.
    Said(String),
    /// A call, and what it was about: `rename` and `MANIFEST`.
    Did(&'static str, String),
}

pub(crate) struct Disk {
    root: String,
    inodes: Vec<Inode>,
    handles: HashMap<i64, Handle>,
    /// File and position of each `open`.
    files: Vec<(Ino, usize)>,
    clock: u64,
    started: HashMap<usize, u64>,
    changes: usize,
    /// Changes of names that a journal has: every fsync of anything is a commit of it.
    journaled: usize,
}

impl Disk {
    /// A disk with the directory `root`, empty and durable.
    pub(crate) fn new(root: &str) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            inodes: Vec::new(),
            handles: HashMap::from([(1, Handle::Output)]),
            files: Vec::new(),
            clock: 0,
            started: HashMap::new(),
            changes: 0,
            journaled: 0,
        };
        disk.create(true);
        disk
    }

    /// Adds what the directory `from` holds to the directory `to`, durable.
    pub(crate) fn load(&mut self, from: &Path, to: Ino) {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let ino = self.create(path.is_dir());
            self.inodes[to].names.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), ino);
            if path.is_dir() {
                self.load(&path, ino);
            } else {
                self.inodes[ino].data = fs::read(&path).unwrap();
            }
        }
    }

    fn create(&mut self, is_dir: bool) -> Ino {
        let (writes, changes) = (Vec::new(), Vec::new());
        self.inodes.push(Inode { is_dir, data: Vec::new(), names: Names::new(), writes, changes });
        self.inodes.len() - 1
    }

    /// A call begins: from here on what it writes may be on the disk.
    pub(crate) fn start(&mut self, number: usize, call: &Call) -> Done {
        self.clock += 1;
        self.started.insert(number, self.clock);
        let fd = || call.args[0].number();
        match call.name.as_str() {
            "close" => {
                self.handles.remove(&fd());
            }
            "write" | "pwrite64" | "ftruncate" => {
                if let Some(Handle::File(file)) = self.handles.get(&fd()).copied() {
                    let (ino, at) = self.files[file];
                    let write = match call.name.as_str() {
                        "write" => {
                            self.files[file].1 += call.args[1].bytes().len();
                            Write::At(at, call.args[1].bytes().to_vec())
                        }
                        "pwrite64" => Write::At(call.args[3].number() as usize, call.args[1].bytes().to_vec()),
                        _ => Write::Length(call.args[1].number() as usize),
                    };
                    self.inodes[ino].writes.push(Pending { what: write, call: number, ended: None, refused: false });
                }
            }
            "writev" => {
                assert_eq!(self.handles.get(&fd()), Some(&Handle::Output), "only the hammer calls writev");
                return Done::Said(String::from_utf8(call.args[1].bytes().to_vec()).unwrap());
            }
            _ => {}
        }
        Done::Nothing
    }

    /// A call ends. Calls that failed have no effect, nor has what they would have done to anything else.
    pub(crate) fn end(&mut self, number: usize, call: &Call, result: i64) -> Done {
        self.clock += 1;
        let began = self.started.remove(&number).unwrap();
        let name = call.name.as_str();
        if result < 0 {
            self.fail(number, call, began);
            return Done::Nothing;
        }
        match name {
            "openat" => self.open(call, result),
            "fcntl" => {
                if call.args[1].word().starts_with("F_DUPFD")
                    && let Some(handle) = self.handles.get(&call.args[0].number()).copied()
                {
                    self.handles.insert(result, handle);
                }
                Done::Nothing
            }
            "write" | "pwrite64" | "ftruncate" => {
                let Some(Handle::File(file)) = self.handles.get(&call.args[0].number()).copied() else {
                    return Done::Nothing;
                };
                let ino = self.files[file].0;
                let ended = Some(self.clock);
                self.inodes[ino].writes.iter_mut().filter(|w| w.call == number).for_each(|w| w.ended = ended);
                if name != "ftruncate" {
                    assert_eq!(result as usize, call.args[1].bytes().len(), "a short write");
                }
                Done::Did(if name == "ftruncate" { "ftruncate" } else { "write" }, self.label(ino))
            }
            "fsync" | "fdatasync" => match self.handles.get(&call.args[0].number()).copied() {
                Some(Handle::File(file)) => {
                    let ino = self.files[file].0;
                    self.settle(ino, began);
                    Done::Did(if name == "fsync" { "fsync" } else { "fdatasync" }, self.label(ino))
                }
                _ => Done::Nothing,
            },
            "sync_file_range" => match self.handles.get(&call.args[0].number()).copied() {
                Some(Handle::File(file)) => Done::Did("sync_file_range", self.label(self.files[file].0)),
                _ => Done::Nothing,
            },
            "mkdir" | "unlink" | "rmdir" | "unlinkat" | "rename" | "linkat" => self.change(call),
            "chmod" | "fchmod" | "close" | "writev" | "lseek" => Done::Nothing,
            "mmap" => {
                let is_ours = call.args[4]
                    .word()
                    .parse()
                    .is_ok_and(|fd: i64| matches!(self.handles.get(&fd), Some(Handle::File(_))));
                let writes = call.args[2].word().contains("PROT_WRITE") && call.args[3].word().contains("MAP_SHARED");
                assert!(!(is_ours && writes), "writes through a mapping are in no trace: {call:?}");
                Done::Nothing
            }
            other => panic!("{other} is not understood"),
        }
    }

    /// A call failed: nothing was written, or what was written before is as good as lost.
    fn fail(&mut self, number: usize, call: &Call, began: u64) {
        let handle =
            call.args.first().filter(|arg| matches!(arg, Arg::Word(_))).and_then(|arg| arg.word().parse().ok());
        let Some(Handle::File(file)) = handle.and_then(|fd: i64| self.handles.get(&fd)).copied() else { return };
        let (ino, at) = self.files[file];
        match call.name.as_str() {
            "write" => self.files[file].1 = at - call.args[1].bytes().len(),
            "fsync" | "fdatasync" => {
                let covered = |write: &&mut Pending<Write>| write.ended.is_some_and(|ended| ended < began);
                self.inodes[ino].writes.iter_mut().filter(covered).for_each(|write| write.refused = true);
            }
            _ => {}
        }
        self.inodes[ino].writes.retain(|write| write.call != number);
    }

    /// The inode of a directory descriptor or of none, and what follows it in a path below the root.
    fn resolve(&self, dir: Option<&str>, path: &str) -> Option<(Ino, String)> {
        let mut at = 0;
        // There are no links on this disk.
        let path = match path.strip_suffix("/..") {
            Some(below) => below.rsplit_once('/').map_or("", |(parent, _)| parent),
            None => path,
        };
        let relative = if path.starts_with('/') {
            let below = path.strip_prefix(&self.root)?;
            if !below.is_empty() && !below.starts_with('/') {
                return None;
            }
            below.trim_matches('/')
        } else {
            match self.handles.get(&dir?.parse().ok()?)? {
                Handle::File(file) => at = self.files[*file].0,
                _ => return None,
            }
            path
        };
        let (parents, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        for part in parents.split('/').filter(|p| !p.is_empty()) {
            at = self.now(at).get(part).copied().unwrap_or_else(|| panic!("{path}: no directory {part}"));
        }
        Some((at, name.to_owned()))
    }

    /// The names of a directory as a running program sees them.
    fn now(&self, dir: Ino) -> Names {
        let mut names = self.inodes[dir].names.clone();
        self.inodes[dir].changes.iter().for_each(|c| apply(&mut names, &c.what));
        names
    }

    fn open(&mut self, call: &Call, fd: i64) -> Done {
        let flags = call.args[2].word();
        let Some((dir, name)) = self.resolve(Some(call.args[0].word()), &call.args[1].path()) else {
            self.handles.insert(fd, Handle::Other);
            return Done::Nothing;
        };
        let mut done = Done::Nothing;
        let ino = if flags.contains("O_TMPFILE") {
            self.create(false)
        } else if name.is_empty() {
            dir
        } else if let Some(ino) = self.now(dir).get(&name).copied() {
            if flags.contains("O_TRUNC") {
                let ended = Some(self.clock);
                self.inodes[ino].writes.push(Pending {
                    what: Write::Length(0),
                    call: usize::MAX,
                    ended,
                    refused: false,
                });
            }
            ino
        } else {
            assert!(flags.contains("O_CREAT"), "{call:?}: there is no such file");
            let ino = self.create(false);
            self.rename(dir, vec![(name, Some(ino))]);
            done = Done::Did("create", self.label(ino));
            ino
        };
        self.files.push((ino, 0));
        self.handles.insert(fd, Handle::File(self.files.len() - 1));
        done
    }

    fn rename(&mut self, dir: Ino, names: Vec<(String, Option<Ino>)>) {
        let what = Change { number: self.changes, names };
        self.inodes[dir].changes.push(Pending { what, call: usize::MAX, ended: Some(self.clock), refused: false });
    }

    fn change(&mut self, call: &Call) -> Done {
        let args = &call.args;
        let place = |disk: &Self, i: usize| disk.resolve(None, &args[i].path());
        let done = match call.name.as_str() {
            "mkdir" => place(self, 0).map(|(dir, name)| {
                let ino = self.create(true);
                self.rename(dir, vec![(name, Some(ino))]);
                Done::Did("mkdir", self.label(ino))
            }),
            "unlink" | "rmdir" => place(self, 0).map(|(dir, name)| self.remove(dir, name)),
            "unlinkat" => {
                let place = self.resolve(Some(args[0].word()), &args[1].path());
                place.map(|(dir, name)| self.remove(dir, name))
            }
            "linkat" => place(self, 1).map(|(dir, name)| {
                let ino = self.now(dir)[&name];
                let (to, new) = place(self, 3).unwrap();
                self.rename(to, vec![(new.clone(), Some(ino))]);
                Done::Did("link", kind(&new))
            }),
            _ => place(self, 0).map(|(dir, name)| {
                let ino = self.now(dir)[&name];
                let (to, new) = place(self, 1).unwrap();
                if dir == to {
                    self.rename(dir, vec![(name, None), (new, Some(ino))]);
                } else {
                    self.rename(dir, vec![(name, None)]);
                    self.rename(to, vec![(new, Some(ino))]);
                }
                Done::Did("rename", self.label(ino))
            }),
        };
        self.changes += 1;
        done.unwrap_or(Done::Nothing)
    }

    fn remove(&mut self, dir: Ino, name: String) -> Done {
        let ino = self.now(dir)[&name];
        let label = kind(&name);
        self.rename(dir, vec![(name, None)]);
        Done::Did(if self.inodes[ino].is_dir { "rmdir" } else { "unlink" }, label)
    }

    /// An fsync that began at `began` has ended.
    fn settle(&mut self, ino: Ino, began: u64) {
        let covered = |ended: Option<u64>| ended.is_some_and(|ended| ended < began);
        let inode = &mut self.inodes[ino];
        let (durable, rest) =
            std::mem::take(&mut inode.writes).into_iter().partition(|w| covered(w.ended) && !w.refused);
        inode.writes = rest;
        let durable: Vec<Pending<Write>> = durable;
        durable.iter().for_each(|w| write(&mut inode.data, &w.what));
        let (durable, rest) = std::mem::take(&mut inode.changes).into_iter().partition(|c| covered(c.ended));
        inode.changes = rest;
        let durable: Vec<Pending<Change>> = durable;
        durable.iter().for_each(|c| apply(&mut inode.names, &c.what));
        let all = self.inodes.iter().flat_map(|i| &i.changes);
        let open = all.filter(|c| !covered(c.ended)).map(|c| c.what.number).min();
        self.journaled = self.journaled.max(open.unwrap_or(self.changes));
    }

    /// What a file is, by the name that it has now.
    fn label(&self, ino: Ino) -> String {
        let mut dirs = vec![(0, String::new())];
        while let Some((dir, path)) = dirs.pop() {
            if dir == ino {
                return if path.is_empty() { ".".to_owned() } else { path };
            }
            for (name, found) in self.now(dir) {
                if found == ino || self.inodes[found].is_dir {
                    let below = if path.is_empty() { kind(&name) } else { format!("{path}/{}", kind(&name)) };
                    dirs.push((found, below));
                }
            }
        }
        "a file without a name".to_owned()
    }

    /// Writes what is left after the power was lost to the empty directory `to`.
    pub(crate) fn leave(&self, keep: Keep, random: &mut Random, to: &Path) {
        let journal = self.journaled + random.below((self.changes - self.journaled) as u64 + 1) as usize;
        self.leave_dir(0, keep, journal, random, to);
    }

    fn leave_dir(&self, dir: Ino, keep: Keep, journal: usize, random: &mut Random, to: &Path) {
        let mut names = self.inodes[dir].names.clone();
        for change in &self.inodes[dir].changes {
            let stays = match keep {
                Keep::Nothing | Keep::Data => false,
                Keep::Names | Keep::All => true,
                Keep::Journal => change.what.number < journal,
                Keep::Any => random.below(2) == 0,
            };
            if stays {
                apply(&mut names, &change.what);
            }
        }
        for (name, ino) in names {
            let path = to.join(name);
            if self.inodes[ino].is_dir {
                fs::create_dir(&path).unwrap();
                self.leave_dir(ino, keep, journal, random, &path);
            } else {
                // Several names of a file show the same bytes, but here they are different files: nobody writes to one.
                fs::write(&path, self.leave_file(ino, keep, random)).unwrap();
            }
        }
    }

    fn leave_file(&self, ino: Ino, keep: Keep, random: &mut Random) -> Vec<u8> {
        let mut data = self.inodes[ino].data.clone();
        for pending in &self.inodes[ino].writes {
            match keep {
                Keep::Nothing | Keep::Names => {}
                Keep::Data | Keep::All => write(&mut data, &pending.what),
                Keep::Journal | Keep::Any => match (random.below(4), &pending.what) {
                    (0, _) => {}
                    (1, what) => write(&mut data, what),
                    // The file has its new length, but what was written is not there.
                    (2, Write::At(at, bytes)) => {
                        let end = at + bytes.len();
                        if data.len() < end {
                            data.resize(end, 0);
                        }
                    }
                    (_, Write::At(at, bytes)) => {
                        let mut from = *at;
                        while from < at + bytes.len() {
                            let to = ((from / SECTOR + 1) * SECTOR).min(at + bytes.len());
                            if random.below(2) == 0 {
                                write(&mut data, &Write::At(from, bytes[from - at..to - at].to_vec()));
                            }
                            from = to;
                        }
                    }
                    (_, what) => write(&mut data, what),
                },
            }
        }
        data
    }
}

fn apply(names: &mut Names, change: &Change) {
    for (name, ino) in &change.names {
        match ino {
            Some(ino) => names.insert(name.clone(), *ino),
            None => names.remove(name),
        };
    }
}

fn write(data: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(len) => data.resize(*len, 0),
        Write::At(at, bytes) => {
            if data.len() < at + bytes.len() {
                data.resize(at + bytes.len(), 0);
            }
            data[*at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// Names that differ from run to run, as patterns.
fn kind(name: &str) -> String {
    if name.ends_with(".seg") {
        "*.seg".to_owned()
    } else if name.starts_with("delta-") {
        "delta".to_owned()
    } else if name.starts_with("snap.") {
        "snap".to_owned()
    } else {
        name.to_owned()
    }
}
