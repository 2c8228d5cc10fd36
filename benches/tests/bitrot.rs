//! Bit rot: bytes of a store's files are flipped, zeroed, swapped, copied over each other, cut off and appended. Whatever
//! then opens the store, reads it, exports it or verifies it gets what is true or an error that names the place; `verify`
//! finds every change but those in the places listed here as harmless; nothing panics, hangs or takes memory without end;
//! and `salvage` brings out nothing that never was.
//!
//! Footers, headers of blocks, dictionaries and manifests are gone through byte by byte, the rest by samples:
//! `BITROT_TRIALS` (60) of them, and with 20,000 or more every bit of the former. `CRASH_SEED` decides which.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

#[path = "bitrot/fixture.rs"]
mod fixture;
#[path = "bitrot/look.rs"]
mod look;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fixture::{Fixture, Region, regions};
use headcount_block::{Progress, UidRange, checksum};
use headcount_store::{Backend, Options, Store, salvage};
use look::{Seen, below, keep_panics, look};
use peak_alloc::PeakAlloc;
use support::{Random, env, seed};

/// Counts what is allocated.
#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

/// Longest time for one look, in pieces: a machine that sleeps meanwhile, or stops the process, takes one of them.
const LIMIT: (Duration, u32) = (Duration::from_secs(5), 12);

/// One test at a time: what is allocated is counted for the process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    keep_panics();
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Trials, each named before it begins, with a thread that ends the process when one does not end.
struct Trials {
    done: Arc<AtomicU64>,
    name: Arc<Mutex<String>>,
    /// How each kind of change in each kind of place was found out.
    table: BTreeMap<(String, &'static str), u64>,
}

impl Trials {
    fn new() -> Self {
        let (done, name) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(String::new())));
        let (watched, named) = (Arc::downgrade(&done), Arc::clone(&name));
        thread::spawn(move || {
            let (mut last, mut idle) = (u64::MAX, 0);
            while let Some(done) = watched.upgrade() {
                let now = done.load(Relaxed);
                drop(done);
                idle = if now == last { idle + 1 } else { 0 };
                if idle > LIMIT.1 {
                    eprintln!("hangs: {}", named.lock().unwrap_or_else(PoisonError::into_inner));
                    std::process::abort();
                }
                last = now;
                thread::sleep(LIMIT.0);
            }
        });
        Self { done, name, table: BTreeMap::new() }
    }

    /// Looks at the store with `bytes` in the place of `file`, and puts that back.
    fn look(&mut self, fixture: &Fixture, file: &Path, bytes: &[u8], name: String, place: &str) -> Seen {
        let turn = self.done.fetch_add(1, Relaxed) as usize;
        self.name.lock().unwrap().clone_from(&name);
        fixture.put(file, bytes);
        let backend = if turn.is_multiple_of(3) { Backend::Pread } else { Backend::Mmap };
        let seen = look(fixture, backend, turn);
        fixture.restore(file);
        let seen = seen.unwrap_or_else(|error| fail(&format!("{name} of {}: {error}", file.display())));
        let way = seen.damages.first().map(|d| d.0).or(seen.errors.first().map(|e| e.0)).unwrap_or("not");
        *self.table.entry((place.to_owned(), way)).or_default() += 1;
        seen
    }

    fn print(&self) {
        println!("{} trials", self.done.load(Relaxed));
        for ((place, way), times) in &self.table {
            println!("{times:8}  {place}: found by {way}");
        }
    }
}

/// Ends a test with a message: the hook keeps those of panics.
fn fail(text: &str) -> ! {
    eprintln!("{text}");
    let _ = std::panic::take_hook();
    panic!("{text}");
}

fn check(what: bool, text: impl FnOnce() -> String) {
    if !what {
        fail(&text());
    }
}

/// Whether a change in this part of a segment need not be found: nothing is.
const HARMLESS: [&str; 0] = [];

/// That damage in `region` of `file` was found by `verify` or before, and that its place was named.
fn expect_found(fixture: &Fixture, file: &Path, region: &Region, seen: &Seen, name: &str) {
    if HARMLESS.contains(&region.name) && seen.is_clean() {
        return;
    }
    check(!seen.damages.is_empty(), || {
        format!("{name} of {} ({}) is not found: {:?}", file.display(), region.name, seen.errors)
    });
    let ours: Vec<_> =
        seen.damages.iter().filter(|(_, d)| below(&fixture.store(), d).as_deref() == Some(file)).collect();
    check(!ours.is_empty(), || format!("{name}: another file is named than {}: {:?}", file.display(), seen.damages));
    let inside = ours.iter().any(|(_, d)| (region.start..region.end).contains(&(d.offset as usize)));
    check(inside, || format!("{name} in {region:?} of {}: another place is named: {ours:?}", file.display()));
}

fn region_at(regions: &[Region], at: usize) -> Region {
    regions.iter().find(|r| (r.start..r.end).contains(&at)).unwrap().clone()
}

/// With so many samples every bit is flipped where otherwise one bit of every byte is.
const FULL: u64 = 20_000;

fn trials() -> u64 {
    env("BITROT_TRIALS", 60)
}

/// Bits of each byte that are flipped where every byte is: all, or one that moves from byte to byte.
fn bits(at: usize) -> Vec<u8> {
    if trials() >= FULL { (0..8).map(|bit| 1 << bit).collect() } else { vec![1 << (at * 5 % 8)] }
}

#[test]
fn every_flip_in_headers_footers_dictionaries_and_tombstones_is_found() {
    let _one = alone();
    let fixture = Fixture::new(false);
    let mut done = Trials::new();
    let every = ["file header", "block header", "dictionary", "tombstones", "block index", "gap", "footer"];
    for file in fixture.segments() {
        let whole = &fixture.files[file];
        for region in regions(whole).iter().filter(|r| every.contains(&r.name)) {
            // Between the parts there are zeros alone, and many: one is as good as another.
            let (step, most) = if region.name == "gap" { (if trials() >= FULL { 1 } else { 97 }, 1) } else { (1, 8) };
            for at in (region.start..region.end).step_by(step) {
                for bit in bits(at).into_iter().take(most) {
                    let mut bytes = whole.clone();
                    bytes[at] ^= bit;
                    let name = format!("byte {at} ^ {bit:#x}");
                    let seen = done.look(&fixture, file, &bytes, name.clone(), region.name);
                    expect_found(&fixture, file, region, &seen, &name);
                }
            }
        }
    }
    done.print();
}

#[test]
fn every_flip_in_the_manifest_is_found() {
    let _one = alone();
    let fixture = Fixture::new(false);
    let mut trials = Trials::new();
    let file = Path::new("MANIFEST");
    let whole = &fixture.files[file];
    for at in 0..whole.len() {
        for bit in bits(at) {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            let seen = trials.look(&fixture, file, &bytes, format!("byte {at} ^ {bit:#x}"), "manifest");
            let found = seen.damages.iter().any(|(way, d)| *way == "open" && d.file == fixture.store().join(file));
            check(found, || format!("byte {at} ^ {bit:#x} of the manifest: {seen:?}"));
        }
    }
    for len in 0..whole.len() {
        let seen = trials.look(&fixture, file, &whole[..len], format!("cut at {len}"), "manifest");
        check(!seen.damages.is_empty(), || format!("the manifest cut at {len} is not found: {seen:?}"));
    }
    trials.print();
}

/// What may happen to a stretch of a file.
fn change(random: &mut Random, whole: &[u8], others: &[&Vec<u8>]) -> (String, Vec<u8>) {
    let len = whole.len();
    let mut bytes = whole.to_vec();
    let page = [512, 4096, 65_536][random.below(3) as usize].min(len);
    let pages = len.div_ceil(page) as u64;
    let start = |random: &mut Random| random.below(pages) as usize * page;
    let range = |at: usize| at..(at + page).min(len);
    let name = match random.below(9) {
        0..3 => {
            let (at, bit) = (random.below(len as u64) as usize, 1 << random.below(8));
            bytes[at] ^= bit;
            format!("byte {at} ^ {bit:#x}")
        }
        3 => {
            let at = start(random);
            bytes[range(at)].fill(0);
            format!("{page} zeros at {at}")
        }
        4 => {
            let (from, to) = (start(random), start(random));
            let copied = whole[range(from)].to_vec();
            let to_end = (to + copied.len()).min(len);
            bytes[to..to_end].copy_from_slice(&copied[..to_end - to]);
            format!("{page} bytes at {to} as at {from}")
        }
        5 => {
            let (a, b) = (start(random), start(random));
            let n = page.min(len - a).min(len - b);
            bytes[a..a + n].copy_from_slice(&whole[b..b + n]);
            bytes[b..b + n].copy_from_slice(&whole[a..a + n]);
            format!("{page} bytes at {a} and {b} exchanged")
        }
        6 => {
            let keep = random.below(len as u64) as usize;
            bytes.truncate(keep);
            format!("cut at {keep}")
        }
        7 => {
            let more = 1 + random.below(9000) as usize;
            let fill = [0, 0xff][random.below(2) as usize];
            bytes.resize(len + more, fill);
            format!("{more} bytes of {fill:#x} appended")
        }
        _ => {
            let other = others[random.below(others.len() as u64) as usize];
            let at = start(random);
            let from = other.get(at..(at + page).min(other.len()).min(len)).unwrap_or_default();
            bytes[at..at + from.len()].copy_from_slice(from);
            format!("{} bytes at {at} of another segment", from.len())
        }
    };
    (name, bytes)
}

#[test]
fn samples_of_changes_to_segments_are_found_and_salvaged() {
    let _one = alone();
    let fixture = Fixture::new(false);
    let mut trials_done = Trials::new();
    let seed = seed();
    let files = fixture.segments();
    let all: Vec<&Vec<u8>> = files.iter().map(|f| &fixture.files[*f]).collect();
    for n in 0..trials() {
        let mut random = Random(seed ^ n << 20);
        // The larger ones have more to lose.
        let file = files[[0, 0, 0, 1, 1, 2, 3][random.below(7) as usize]];
        let whole = &fixture.files[file];
        let (name, bytes) = change(&mut random, whole, &all);
        if bytes == *whole {
            continue;
        }
        let name = format!("CRASH_SEED={seed}, trial {n}: {name}");
        let first = whole.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(whole.len().min(bytes.len()));
        let region = if whole.len() == bytes.len() {
            Region { start: 0, end: whole.len(), ..region_at(&regions(whole), first) }
        } else {
            Region { name: "file", start: 0, end: whole.len().max(bytes.len()) }
        };
        let seen = trials_done.look(&fixture, file, &bytes, name.clone(), region.name);
        expect_found(&fixture, file, &region, &seen, &name);
        if n % 10 == 0 {
            fixture.put(file, &bytes);
            salvaged(&fixture, &name);
            let compacted = fixture::compacted(&fixture);
            check(compacted.as_ref().is_ok_and(|users| users == fixture.truth()) || compacted.is_err(), || {
                format!("{name}: compacted it holds something else")
            });
            fixture.restore(file);
        }
    }
    trials_done.print();
}

/// Salvages the store as it is: nothing comes out that never was, and what is missing or older is spoken of.
fn salvaged(fixture: &Fixture, name: &str) {
    let to = fixture.beside("rescued");
    let report = salvage(fixture.store(), &to, &Arc::new(Progress::default()))
        .unwrap_or_else(|error| fail(&format!("{name}: salvage: {error}")));
    let store = Store::open_read_only(&to, &Options::default()).unwrap();
    let mut same = 0;
    for user in store.snapshot().users(UidRange::all()) {
        let user = user.unwrap();
        let known = fixture.forms.get(&user.uid).is_some_and(|forms| forms.contains(&user));
        check(known, || format!("{name}: salvage brought out {user:?}"));
        if fixture.truth().get(&user.uid) == Some(&user) {
            same += 1;
        } else {
            let told = report.losses.iter().any(|l| l.older || l.deleted);
            check(told, || format!("{name}: nothing is said of {:?}: {report:#?}", user.uid));
        }
    }
    check(same == fixture.truth().len() || !report.is_whole(), || format!("{name}: salvage says that all is there"));
    check(same + (report.lost + report.older + report.returned) as usize >= report.users as usize, || {
        format!("{name}: more users differ than the report says: {report:#?}")
    });
    store.close().unwrap();
    std::fs::remove_dir_all(&to).unwrap();
}

/// Bytes that lie with right checksums: nothing tells them from true ones but what they say. Then answers may be wrong, but
/// nothing panics, hangs, or takes memory without end.
#[test]
fn lies_with_right_checksums_do_no_harm() {
    let _one = alone();
    let fixture = Fixture::new(false);
    let seed = seed();
    let files = fixture.segments();
    let (mut done, mut found) = (0, 0);
    for n in 0..trials().div_ceil(4) {
        let (file, part) = lie(&fixture, &files, seed, n);
        let seen = liars(&fixture, n as usize);
        let name = || format!("CRASH_SEED={seed}, lie {n} in {part:?} of {}", file.display());
        match seen {
            Ok(damages) => found += u64::from(damages > 0),
            Err(error) => fail(&format!("{}: {error}", name())),
        }
        if n % 20 == 0 {
            let to = fixture.beside("rescued");
            let salvaged =
                std::panic::catch_unwind(|| salvage(fixture.store(), &to, &Arc::new(Progress::default())).map(drop));
            check(salvaged.is_ok(), || format!("{}: salvage panics: {:?}", name(), look::PANICS.lock().unwrap()));
            let _ = std::fs::remove_dir_all(&to);
        }
        fixture.restore(file);
        done += 1;
    }
    println!("{done} lies, {found} of them found out");
    check(found > done / 3, || format!("only {found} of {done} lies were found out"));
}

/// Puts lie `n` of a seed into a segment; returns which, and the part of it.
fn lie<'f>(fixture: &Fixture, files: &[&'f PathBuf], seed: u64, n: u64) -> (&'f PathBuf, Region) {
    let mut random = Random(seed ^ n << 24);
    let file = files[random.below(4) as usize];
    let mut bytes = fixture.files[file].clone();
    let parts = regions(&bytes);
    let part = parts[random.below(parts.len() as u64) as usize].clone();
    for _ in 0..=random.below(3) {
        let at = part.start + random.below((part.end - part.start) as u64) as usize;
        bytes[at] = [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1 << random.below(8)][random.below(6) as usize];
    }
    seal(&mut bytes, &parts);
    fixture.put(file, &bytes);
    (file, part)
}

/// A block whose UIDs were not in order was gone through for ever.
#[test]
fn users_end_whatever_a_block_says_of_their_order() {
    let _one = alone();
    let fixture = Fixture::new(false);
    lie(&fixture, &fixture.segments(), 991_349_467, 346);
    let found = liars(&fixture, 346).unwrap_or_else(|error| fail(&error));
    check(found > 0, || "nothing is found".to_owned());
}

/// Makes every checksum right again.
fn seal(bytes: &mut [u8], parts: &[Region]) {
    let put = |bytes: &mut [u8], at: usize, sum: u64| bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
    let footer = bytes.len() - 512;
    for (i, part) in parts.iter().enumerate() {
        match part.name {
            "block header" => {
                let body = checksum(&bytes[part.end..parts[i + 1].end]);
                put(bytes, part.start + 232, body);
                let head = checksum(&bytes[part.start..part.start + 240]);
                put(bytes, part.start + 240, head);
            }
            "UID index" | "identity index" => {
                let sum = checksum(&bytes[part.start + 8..part.end]);
                put(bytes, part.start, sum);
            }
            "block index" | "dictionary" | "tombstones" => {
                let number = ["block index", "dictionary", "tombstones"].iter().position(|n| *n == part.name).unwrap();
                let sum = checksum(&bytes[part.start..part.end]);
                put(bytes, footer + 96 + 24 * number + 16, sum);
            }
            _ => {}
        }
    }
    let sum = checksum(&bytes[footer..footer + 504]);
    put(bytes, footer + 504, sum);
}

/// Reads a store that lies; returns how many damages were found.
fn liars(fixture: &Fixture, turn: usize) -> Result<usize, String> {
    let backend = if turn.is_multiple_of(3) { Backend::Pread } else { Backend::Mmap };
    let before = PEAK.current_usage();
    PEAK.reset_peak_usage();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let options = Options { backend, ..Options::default() };
        let Ok(store) = Store::open_read_only(fixture.store(), &options) else { return 1 };
        let snapshot = store.snapshot();
        let _ = snapshot.stats();
        let mut found = 0;
        for user in fixture.truth().values().skip(turn % 3).step_by(3) {
            found += usize::from(snapshot.get_user(&user.uid).is_err());
            if let Ok(Some(guard)) = snapshot.get(&user.uid) {
                found += usize::from(guard.seq().is_err() || guard.user().to_user().is_err());
            }
            found +=
                user.identities.iter().filter(|i| snapshot.find_user(&i.provider, &i.provider_uid).is_err()).count();
        }
        let uids: Vec<&str> = fixture.truth().keys().map(String::as_str).collect();
        found += usize::from(snapshot.get_many(&uids, |_, user| drop(user.map(|u| u.to_user()))).is_err());
        // However the UIDs lie of their order (`users_end_whatever_a_block_says_of_their_order`), nobody is met for ever.
        let most = 20 * fixture.truth().len();
        let (mut met, mut wrong) = (0, 0);
        for user in snapshot.users(UidRange::all()).take(most) {
            (met, wrong) = (met + 1, wrong + usize::from(user.is_err()));
        }
        assert!(met < most, "the users have no end");
        found += wrong;
        found += snapshot.users(UidRange::after("u00500")).take(10).filter(Result::is_err).count();
        found += usize::from(snapshot.changes_since(1, &mut |_| std::ops::ControlFlow::Continue(())).is_err());
        found += usize::from(fixture::export(&snapshot).is_err());
        found += usize::from(snapshot.providers().is_err());
        let mut damages = 0;
        let _ = store.verify(&Progress::default(), &mut |_| damages += 1);
        found + damages
    }));
    let panics = std::mem::take(&mut *look::PANICS.lock().unwrap());
    let taken = PEAK.peak_usage().saturating_sub(before);
    match outcome {
        Ok(found) if panics.is_empty() && taken < 256 << 20 => Ok(found),
        _ => Err(format!("{taken} bytes allocated, panics: {panics:?}")),
    }
}

/// Files that hold nothing that a store is read by.
#[test]
fn what_is_not_read_does_no_harm() {
    let _one = alone();
    let fixture = Fixture::new(false);
    for (file, bytes) in [("LOCK", &b"no number"[..]), ("MANIFEST.prev", b"not one")] {
        let file = PathBuf::from(file);
        check(fixture.files.contains_key(&file), || format!("there is no {}", file.display()));
        fixture.put(&file, bytes);
        let seen = look(&fixture, Backend::Auto, 0).unwrap_or_else(|error| fail(&error));
        check(seen.is_clean(), || format!("{}: {seen:?}", file.display()));
        salvaged(&fixture, "what is not read");
        fixture.restore(&file);
    }
}

/// The log of a store that was not closed, which sled takes for shorter than it is when it is damaged. A change in what was
/// written last looks like a write that a crash broke off, and so does an end that is cut off; all else is found.
#[test]
fn changes_to_the_log_are_found_but_for_its_end() {
    let _one = alone();
    let fixture = Fixture::new(true);
    let mut done = Trials::new();
    let seed = seed();
    let files: Vec<&PathBuf> = fixture.files.keys().filter(|f| f.starts_with(fixture.log())).collect();
    check(files.iter().any(|f| f.ends_with("db")), || format!("no log among {:?}", fixture.files.keys()));
    let last = fixture.states.len() - 1;
    let mut shorter = 0;
    for file in files {
        let whole = &fixture.files[file];
        let used = whole.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        let tail = if file.ends_with("db") { fixture.last_group(whole) } else { used };
        for n in 0..trials() / 8 {
            let mut random = Random(seed ^ n << 20);
            let Some(at) = Some(used as u64).filter(|used| *used > 0).map(|used| random.below(used) as usize) else {
                break;
            };
            let mut bytes = whole.clone();
            let name = match random.below(8) {
                0 => {
                    bytes[at..(at + 64).min(used)].fill(0);
                    format!("CRASH_SEED={seed}: zeros at {at}")
                }
                _ => {
                    bytes[at] ^= 1 << random.below(8);
                    format!("CRASH_SEED={seed}: byte {at} from {} to {}", whole[at], bytes[at])
                }
            };
            if bytes == *whole {
                continue;
            }
            let seen = done.look(&fixture, file, &bytes, name.clone(), "log");
            let named = seen.damages.iter().any(|(_, d)| d.file.starts_with(fixture.store().join(fixture.log())));
            shorter += u64::from(seen.state.is_some_and(|state| state < last));
            // Zeros from the end of one group to the beginning of the last one leave nothing that shows either.
            let most = if name.contains("zeros") { 2 } else { 1 };
            let at_the_end = at + 64 > tail && seen.state.is_some_and(|state| state < last && state + most >= last);
            check(named || seen.state == Some(last) || at_the_end, || format!("{name} of {used}, {tail}: {seen:?}"));
            if n % 10 == 0 && !at_the_end {
                fixture.put(file, &bytes);
                salvaged(&fixture, &name);
                fixture.restore(file);
            }
        }
        for _ in 0..if file.ends_with("db") { 8 } else { 0 } {
            let keep = Random(seed ^ done.done.load(Relaxed)).below(used as u64) as usize;
            let seen = done.look(&fixture, file, &whole[..keep], format!("cut at {keep}"), "log");
            check(seen.state.is_some() || !seen.damages.is_empty(), || format!("cut at {keep}: {seen:?}"));
        }
    }
    done.print();
    println!("{shorter} looked like a last commit that was not written to its end");
}
