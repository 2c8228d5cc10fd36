//! Looks at a store of which a file was changed, in every way that a program can.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use headcount_block::{Damage, Progress, UidRange, User};
use headcount_store::{Backend, Error, Options, Store};

use crate::PEAK;
use crate::fixture::{Fixture, Users, export};

/// Bytes that looking at a small store may take, whatever its files say.
const MEMORY: usize = 64 << 20;

/// How a change was found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Damages, each with the way it was found: `open`, `get`, `find`, `scan`, `changes`, `export`, `verify`.
    pub(crate) damages: Vec<(&'static str, Damage)>,
    /// Errors that are not damage, likewise.
    pub(crate) errors: Vec<(&'static str, String)>,
    /// The state of the log that the store is in, of those of the fixture, where it opens.
    pub(crate) state: Option<usize>,
}

impl Seen {
    pub(crate) fn is_clean(&self) -> bool {
        self.damages.is_empty() && self.errors.is_empty()
    }

    /// Notes an error; `None` then.
    fn note<T>(&mut self, way: &'static str, outcome: Result<T, Error>) -> Option<T> {
        match outcome {
            Ok(value) => return Some(value),
            Err(Error::Damage(damage)) => self.damages.push((way, *damage)),
            Err(other) => self.errors.push((way, other.to_string())),
        }
        None
    }
}

/// Messages of panics.
pub(crate) static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps panics in [`PANICS`] instead of printing them.
pub(crate) fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANICS.lock().unwrap().push(format!("{info}"));
    }));
}

/// Looks at the store. `turn` decides which users are looked up.
///
/// # Errors
/// In words: a wrong answer, a panic, more memory than there is reason for.
pub(crate) fn look(fixture: &Fixture, backend: Backend, turn: usize) -> Result<Seen, String> {
    let before = PEAK.current_usage();
    PEAK.reset_peak_usage();
    let mut seen = Seen::default();
    let outcome = catch_unwind(AssertUnwindSafe(|| all(fixture, backend, turn, &mut seen)));
    let panics = std::mem::take(&mut *PANICS.lock().unwrap());
    if !panics.is_empty() || outcome.is_err() {
        return Err(format!("panics: {panics:?}"));
    }
    let taken = PEAK.peak_usage().saturating_sub(before);
    if taken > MEMORY {
        return Err(format!("{taken} bytes were allocated"));
    }
    outcome.unwrap_or(Ok(()))?;
    Ok(seen)
}

fn all(fixture: &Fixture, backend: Backend, turn: usize, seen: &mut Seen) -> Result<(), String> {
    let options = Options { backend, maintenance: false, ..Options::default() };
    let Some(store) = seen.note("open", Store::open_read_only(fixture.store(), &options)) else { return Ok(()) };
    let snapshot = store.snapshot();
    // With damage in the log an earlier state may be what is left of it: which one, the counts say.
    let truth = place(fixture, &store, seen)?;
    lookups(&store, truth, turn, seen)?;
    let scanned: Vec<Result<User, Error>> = snapshot.users(UidRange::all()).collect();
    let mut expected = truth.values();
    for user in scanned {
        match seen.note("scan", user) {
            Some(user) if expected.next() == Some(&user) => {}
            Some(user) => return Err(format!("the scan shows {user:?}")),
            None => expected = truth.values(),
        }
    }
    if seen.damages.is_empty() && expected.next().is_some() {
        return Err("the scan ends early".to_owned());
    }
    let since = snapshot.seq().saturating_sub(3);
    let walked = snapshot.changes_since(since, &mut |_| std::ops::ControlFlow::Continue(()));
    seen.note("changes", walked);
    match export(&snapshot) {
        Ok(bytes) if seen.state == Some(fixture.states.len() - 1) && bytes != fixture.export => {
            return Err("the export is whole and other bytes".to_owned());
        }
        Ok(_) => {}
        Err(error) if error.is_damage() => {}
        Err(error) => return Err(format!("the export fails otherwise: {error}")),
    }
    let mut damages = Vec::new();
    let report = store.verify(&Progress::default(), &mut |damage| damages.push(damage.clone()));
    if let Some(report) = seen.note("verify", report)
        && report.damages != damages.len() as u64
    {
        return Err(format!("verify counts {} damages and shows {}", report.damages, damages.len()));
    }
    if damages.is_empty() && !seen.damages.is_empty() {
        return Err(format!("verify finds nothing, {:?} did", seen.damages[0]));
    }
    seen.damages.extend(damages.into_iter().map(|damage| ("verify", damage)));
    Ok(())
}

/// The state that the store is in.
fn place<'f>(fixture: &'f Fixture, store: &Store, seen: &mut Seen) -> Result<&'f Users, String> {
    let totals = store.stats().totals;
    let seq = store.stats().origin.seq as usize;
    let last = fixture.states.len() - 1;
    let behind = fixture.seq.checked_sub(seq).filter(|behind| *behind <= last);
    let behind = behind.ok_or_else(|| format!("it stands at seq {seq}"))?;
    let state = &fixture.states[last - behind];
    seen.state = Some(last - behind);
    if totals.users() != state.len() as u64 {
        return Err(format!("it counts {} users at seq {seq}, not {}", totals.users(), state.len()));
    }
    Ok(state)
}

fn lookups(store: &Store, truth: &Users, turn: usize, seen: &mut Seen) -> Result<(), String> {
    let snapshot = store.snapshot();
    for user in truth.values().skip(turn % 5).step_by(5) {
        if let Some(found) = seen.note("get", snapshot.get_user(&user.uid))
            && found.as_ref() != Some(user)
        {
            return Err(format!("get {:?} gives {found:?}", user.uid));
        }
        for identity in &user.identities {
            let found = seen.note("find", snapshot.find_user(&identity.provider, &identity.provider_uid));
            if found.as_ref().is_some_and(|found| found.as_ref() != Some(user)) {
                return Err(format!("find {identity:?} gives {found:?}"));
            }
        }
    }
    for i in (0..1300).step_by(13) {
        let absent = format!("u{i:05}absent");
        if let Some(Some(found)) = seen.note("get", snapshot.get_user(&absent)) {
            return Err(format!("get {absent:?} gives {found:?}"));
        }
        if let Some(Some(found)) = seen.note("find", snapshot.find_user("site", &absent)) {
            return Err(format!("find {absent:?} gives {found:?}"));
        }
    }
    let many: Vec<&str> = truth.keys().skip(turn % 7).step_by(7).map(String::as_str).collect();
    let mut wrong = None;
    let batch = snapshot.get_many(&many, |i, user| {
        let user = user.map(|u| u.to_user());
        if !matches!(&user, Some(Ok(user)) if truth.get(many[i]) == Some(user)) {
            wrong.get_or_insert(many[i].to_owned());
        }
    });
    if seen.note("get", batch).is_some()
        && let Some(uid) = wrong
    {
        return Err(format!("get_many gives another {uid:?}"));
    }
    Ok(())
}

/// The path of a damage's file below the store.
pub(crate) fn below(store: &Path, damage: &Damage) -> Option<PathBuf> {
    damage.file.strip_prefix(store).ok().map(Path::to_path_buf)
}
