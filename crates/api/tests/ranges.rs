//! Parts of exports: the bytes of the whole, rendered from near their first byte on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::sync::{Arc, Mutex};

use headcount::method::Settings;
use headcount::{Batch, Export, ExportError, Format, Identity, Origin, Snapshot, Source, Status, Store, Totals, User};
use headcount_block::{Change, Cut, Error, Measured, Part, RowRef, Scan, Select, Span, UidRange, Visitor};
use support::*;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn user(n: u64, rng: &mut Rng) -> User {
    let mut user = User::new(match n % 97 {
        0 => format!("u{n:07},\"x\""),
        1 => format!("u{n:07}{}", "é".repeat(20)),
        _ => format!("u{n:07}-that-takes-some-room-in-its-block"),
    });
    if rng.below(10) == 0 {
        user = user.with_status(Status::Pending);
    }
    for i in 0..rng.below(4) {
        user = user.with_identity(format!("provider{}", rng.below(9)), format!("{n}-{i}"));
    }
    user
}

/// A store of one segment, with enough blocks for several checkpoints of its sums.
fn clean(users: u64) -> Arc<Store> {
    let store = Store::temporary().unwrap();
    let mut rng = Rng(0x5eed);
    store.load((0..users).map(|n| user(n, &mut rng))).unwrap();
    Arc::new(store)
}

/// The same with changes on top: new users, other identities, other statuses, deletions.
fn dirty(users: u64) -> Arc<Store> {
    let store = clean(users);
    let mut rng = Rng(77);
    for _ in 0..40 {
        let mut batch = Batch::new();
        for _ in 0..rng.below(30) {
            // Two thirds of the blocks stay whole.
            let uid = format!("u{:07}-that-takes-some-room-in-its-block", rng.below(users / 3));
            let identity = Identity::new("late", format!("{}", rng.below(u64::MAX)));
            match rng.below(4) {
                0 => batch.put(User::new(format!("{uid}-new")).with_identity("late", identity.provider_uid)),
                1 => batch.put(User::new(uid).with_status(Status::Pending)),
                2 => batch.delete(uid),
                _ => batch.put(User::new(uid).with_identity("late", identity.provider_uid)),
            };
        }
        store.commit(batch).unwrap();
    }
    store
}

/// What happened to a snapshot.
#[derive(Debug, Default)]
struct Seen {
    /// Where it was cut.
    cut: Option<Vec<u8>>,
    /// The least UID that was handed out to be rendered, and how many users.
    least: Option<Vec<u8>>,
    users: usize,
}

/// A snapshot that is watched.
#[derive(Debug, Clone)]
struct Watched(Snapshot, Arc<Mutex<Seen>>);

impl Watched {
    fn new(snapshot: &Snapshot) -> Self {
        Self(snapshot.clone(), Arc::default())
    }

    fn seen(&self) -> Seen {
        std::mem::take(&mut *self.1.lock().unwrap())
    }
}

struct Watcher<'a>(&'a mut dyn Visitor, &'a Mutex<Seen>);

impl Watcher<'_> {
    fn saw(&self, uid: &[u8], users: usize) {
        let mut seen = self.1.lock().unwrap();
        seen.users += users;
        if seen.least.as_deref().is_none_or(|least| uid < least) {
            seen.least = Some(uid.to_vec());
        }
    }
}

impl Visitor for Watcher<'_> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), Error> {
        let first = span.rows()?.next().transpose()?;
        self.saw(first.unwrap().uid(), span.users());
        self.0.span(span)
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), Error> {
        self.saw(row.uid(), 1);
        self.0.row(row)
    }
}

impl Source for Watched {
    fn origin(&self) -> Origin {
        self.0.origin()
    }

    fn totals(&self) -> Totals {
        self.0.totals()
    }

    fn measure(&self, select: &Select, scan: Scan) -> Result<Option<Measured>, Error> {
        self.0.measure(select, scan)
    }

    fn parts<'s>(
        &'s self,
        range: &UidRange,
    ) -> Result<Box<dyn Iterator<Item = Result<Part, Error>> + Send + 's>, Error> {
        self.0.parts(range)
    }

    fn visit(&self, part: &Part, visitor: &mut dyn Visitor) -> Result<(), Error> {
        self.0.visit(part, &mut Watcher(visitor, &self.1))
    }

    fn cut(&self, after: Option<&[u8]>, fits: &dyn Fn(&Totals) -> bool) -> Result<Option<Cut>, Error> {
        let cut = self.0.cut(after, fits)?;
        self.1.lock().unwrap().cut = cut.as_ref().map(|cut| cut.uid.clone());
        Ok(cut)
    }

    fn changes(&self, since: u64, each: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.0.changes(since, each)
    }
}

/// What is selected, and how.
#[derive(Debug, Clone, Default)]
struct Case {
    csv: bool,
    fields: &'static str,
    pending: bool,
    limit: Option<u64>,
    after: Option<String>,
}

impl Case {
    fn random(rng: &mut Rng, users: u64) -> Self {
        let fields = ["uid,provider,providerUID", "uid", "providerUID,uid", "status,uid,provider", "provider"];
        Self {
            csv: rng.below(2) == 0,
            fields: fields[usize::try_from(rng.below(5)).unwrap()],
            pending: rng.below(2) == 0,
            limit: (rng.below(3) == 0).then(|| rng.below(users)),
            after: (rng.below(3) == 0).then(|| format!("u{:07}", rng.below(users))),
        }
    }

    fn export<S: Source + Clone + 'static>(&self, source: &S) -> Export<S> {
        Export::new(source)
            .format(if self.csv { Format::Csv } else { Format::Ndjson })
            .fields(self.fields.parse().unwrap())
            .include_pending(self.pending)
            .limit(self.limit)
            .after(self.after.as_deref())
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        let mut params = vec![
            ("format", if self.csv { "csv" } else { "ndjson" }.to_owned()),
            ("fields", self.fields.to_owned()),
            ("includPendingUsers", self.pending.to_string()),
        ];
        params.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        params.extend(self.after.clone().map(|after| ("after", after)));
        params
    }
}

/// Bytes that a block renders to, at most.
const BLOCK: u64 = 400 << 10;

fn joined(chunks: headcount::Chunks) -> Vec<u8> {
    let chunks: Result<Vec<Vec<u8>>, ExportError> = chunks.map(|chunk| Ok(chunk?.to_vec())).collect();
    chunks.unwrap().concat()
}

#[test]
fn the_rest_of_an_export_is_rendered_from_near_its_byte() {
    const USERS: u64 = 100_000;
    let mut rng = Rng(42);
    for (name, store) in [("clean", clean(USERS)), ("dirty", dirty(USERS))] {
        let snapshot = Watched::new(&store.snapshot());
        for _ in 0..12 {
            let case = Case::random(&mut rng, USERS);
            let prepared = case.export(&snapshot).prepare().unwrap().measure().unwrap();
            let whole = joined(prepared.chunks().unwrap());
            let all = snapshot.seen();
            let len = whole.len() as u64;
            assert_eq!(prepared.len().exact(), Some(len), "{name} {case:?}");
            let mut bytes = vec![0, 1, 25, 40, len / 2, len.saturating_sub(1), len, len + 1];
            bytes.extend((0..6).map(|_| rng.below(len + 1)));
            for byte in bytes {
                let (chunks, first) = prepared.chunks_from(byte).unwrap();
                let rest = joined(chunks);
                let what = format!("{name} {case:?} from {byte} of {len}: from {first}");
                assert!(rest == whole[usize::try_from(first).unwrap()..], "{what}");
                let seen = snapshot.seen();
                if byte >= len {
                    assert_eq!(first, 0, "{what}");
                    continue;
                }
                assert!(first <= byte && byte - first < BLOCK, "{what}");
                if let Some(cut) = seen.cut {
                    assert!(seen.least.unwrap() >= cut, "{what}: what lies before the cut was rendered");
                    // Besides the rest: the parts at its ends, where the first and the last UID are looked up.
                    let share = (len - first) as f64 / len as f64 + 0.05;
                    let most = all.users as f64 * share + 20_000.0;
                    assert!(seen.users as f64 <= most, "{what}: {} users of {}", seen.users, all.users);
                }
            }
        }
    }
}

#[test]
fn ranges_are_slices_of_the_whole() {
    const USERS: u64 = 30_000;
    let mut rng = Rng(4711);
    for (name, store) in [("clean", clean(USERS)), ("dirty", dirty(USERS))] {
        let api = headcount::method::Api::new(sites(&store), Settings::default(), at(NOW - 10_000));
        let f = Fixture { api, store };
        for round in 0..24 {
            let case = Case::random(&mut rng, USERS);
            let params = case.params();
            let params: Vec<(&str, &str)> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut request = f.asked(&params);
            request.http_1_0 = round % 4 == 0;
            let response = f.api.handle(&request);
            let tag = response.header("etag").unwrap().to_owned();
            assert_eq!(response.header("accept-ranges"), Some("bytes"));
            let whole = response.body.read().unwrap();
            let len = whole.len() as u64;
            for _ in 0..8 {
                let (a, b) = (rng.below(len + 1), rng.below(len + 1));
                let range = match rng.below(3) {
                    0 => format!("bytes={a}-"),
                    1 => format!("bytes=-{a}"),
                    _ => format!("bytes={}-{}", a.min(b), a.max(b)),
                };
                let mut request = request.clone();
                request.headers = vec![("Range".to_owned(), range.clone()), ("If-Range".to_owned(), tag.clone())];
                let response = f.api.handle(&request);
                let what = format!("{name} {case:?} {range} of {len}");
                if response.status == 416 {
                    assert!(range == format!("bytes={len}-") || range.ends_with("=-0") || a.min(b) == len, "{what}");
                    assert_eq!(response.header("content-range"), Some(&*format!("bytes */{len}")), "{what}");
                    continue;
                }
                assert_eq!(response.status, 206, "{what}");
                let (start, end) = match range.strip_prefix("bytes=").unwrap().split_once('-').unwrap() {
                    ("", _) => (len - a.min(len), len),
                    (_, "") => (a, len),
                    _ => (a.min(b), (a.max(b) + 1).min(len)),
                };
                let content_range = format!("bytes {start}-{}/{len}", end - 1);
                assert_eq!(response.header("content-range"), Some(&*content_range), "{what}");
                assert_eq!(response.length, Some(end - start), "{what}");
                let part = response.body.read().unwrap();
                assert!(part == whole[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()], "{what}");
            }
        }
    }
}
