use std::path::PathBuf;
use std::sync::Arc;

use headcount_block::{Dictionary, DictionaryBuilder, Origin, Progress, RowBuf, Status, Totals, User};

use super::footer::{Footer, Section};
use super::tombstones::Tombstone;
use super::*;
use crate::backing::Backend;
use crate::error::{Error, Result};
use crate::files::Names;
use crate::layer::Delta;
use crate::snapshot::Snapshot;
use crate::verify::verify_segment;
use crate::version::Version;

const BACKENDS: [Backend; 2] = [Backend::Mmap, Backend::Pread];

fn dictionary(names: &[&str]) -> Arc<Dictionary> {
    let mut builder = DictionaryBuilder::new();
    for (n, name) in (1..).zip(names.iter().rev()) {
        builder.add(name.as_bytes(), n).unwrap();
    }
    Arc::new(builder.finish().unwrap())
}

fn user(n: u64) -> User {
    let user = User::new(format!("user{n:06}")).with_identity("facebook", format!("f{n}"));
    match n % 50 {
        0 => user.with_identity("site", format!("\"{n}\"")),
        1 => user.with_status(Status::Pending),
        _ => user,
    }
}

/// A directory with a segment writer in it.
struct Place {
    dir: tempfile::TempDir,
    row: RowBuf,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), row: RowBuf::new() }
    }

    fn writer(&self, base_seq: Option<u64>) -> SegmentWriter {
        self.writer_with(&["facebook", "site"], base_seq)
    }

    fn writer_with(&self, providers: &[&str], base_seq: Option<u64>) -> SegmentWriter {
        let mut writer = SegmentWriter::create(self.dir.path(), dictionary(providers), 1 << 20).unwrap();
        writer.set_paced(true);
        if let Some(base) = base_seq {
            writer.set_base(base);
        }
        writer
    }

    fn push(&mut self, writer: &mut SegmentWriter, n: u64, seq: u64) -> Result<()> {
        writer.push(&self.row.encode(&user(n)).unwrap().into(), seq)
    }

    fn publish(&self, writer: SegmentWriter, seq: u64) -> (PathBuf, u128) {
        let finished = writer.finish().unwrap();
        let id = finished.id();
        (finished.publish(seq, self.dir.path(), &Names::default()).unwrap(), id)
    }
}

fn damages(segment: &Segment) -> Vec<String> {
    let mut found = Vec::new();
    verify_segment(segment, &Progress::default(), &mut |damage| found.push(damage.what.clone())).unwrap();
    found
}

fn what(error: Error) -> String {
    match error {
        Error::Damage(damage) => damage.what,
        other => panic!("{other}"),
    }
}

#[test]
fn rows_and_tombstones_keep_their_seqs() {
    let mut place = Place::new();
    let mut writer = place.writer(Some(1000));
    for n in 0..5000 {
        if n % 3 == 0 {
            writer.push_tombstone(format!("user{n:06}").as_bytes(), 1000 + n, 7000 + n).unwrap();
        } else {
            place.push(&mut writer, n, n % 700).unwrap();
        }
    }
    assert_eq!((writer.users(), writer.tombstones()), (3333, 1667));
    let (path, id) = place.publish(writer, 1);
    for backend in BACKENDS {
        let segment = Segment::open(&path, id, backend).unwrap();
        assert_eq!(segment.seq_range(), (1000, 5998));
        let tombstones = segment.tombstones();
        assert_eq!(tombstones.len(), 1667);
        for n in 0..5000 {
            let uid = format!("user{n:06}");
            let found = segment.find_uid(uid.as_bytes()).unwrap();
            let seq = found.as_ref().map(|guard| guard.seq().unwrap());
            assert_eq!(found.map(|guard| guard.user().to_user().unwrap()), (n % 3 != 0).then(|| user(n)), "{uid}");
            assert_eq!(seq, (n % 3 != 0).then_some(1000 + n % 700), "{uid}");
            let deleted = (n % 3 == 0).then_some(Tombstone { seq: 1000 + n, time_ms: 7000 + n });
            assert_eq!(tombstones.get(uid.as_bytes()), deleted, "{uid}");
        }
        assert_eq!(damages(&segment), Vec::<String>::new());
    }
}

#[test]
fn without_a_base_the_publication_sets_it() {
    let mut place = Place::new();
    let mut writer = place.writer(None);
    place.push(&mut writer, 1, 0).unwrap();
    let (path, id) = place.publish(writer, 42);
    let segment = Segment::open(&path, id, Backend::Auto).unwrap();
    assert_eq!(segment.seq_range(), (42, 42));
    assert_eq!(segment.find_uid(b"user000001").unwrap().unwrap().seq().unwrap(), 42);
}

#[test]
fn no_tombstone_is_older_than_the_base() {
    let place = Place::new();
    for base in [Some(10), None] {
        let mut writer = place.writer(base);
        writer.push_tombstone(b"gone", 9, 1).unwrap();
        let finished = writer.finish().unwrap();
        let refused = finished.publish(10, place.dir.path(), &Names::default()).unwrap_err();
        assert_eq!(what(refused), "seq of a tombstone before the segment's base");
    }
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 0, "drafts go");
}

#[test]
fn a_row_in_memory_has_the_seq_that_it_is_given() {
    let mut row = RowBuf::new();
    let guard = UserGuard::of_row(row.encode(&user(3)).unwrap(), 77);
    assert_eq!((guard.user().uid(), guard.seq().unwrap()), (&b"user000003"[..], 77));
}

#[test]
fn a_segment_may_hold_tombstones_alone() {
    let place = Place::new();
    let mut writer = place.writer(Some(5));
    for n in 0..100 {
        writer.push_tombstone(format!("gone{n:03}").as_bytes(), 5 + n, 1).unwrap();
    }
    let (path, id) = place.publish(writer, 0);
    for backend in BACKENDS {
        let segment = Segment::open(&path, id, backend).unwrap();
        assert_eq!((segment.index().len(), segment.bounds(), segment.seq_range()), (0, (&[][..], &[][..]), (5, 104)));
        assert_eq!(segment.index().first_uid(0), b"");
        for uid in ["", "gone001", "zzz"] {
            assert!(!segment.may_hold(uid.as_bytes()) || uid.is_empty());
            assert!(segment.find_uid(uid.as_bytes()).unwrap().is_none());
        }
        assert!(segment.find_identity(b"facebook", b"1").unwrap().is_none());
        assert_eq!(segment.sums_up_to(b"zzz").unwrap(), Totals::default());
        assert_eq!(segment.sums_before_block(0).unwrap(), Totals::default());
        if segment.is_mapped() {
            let mut none = 0;
            segment.find_batch(&["a", "gone001"], |_, user| none += usize::from(user.is_none())).unwrap();
            assert_eq!(none, 2);
        }
        assert_eq!(segment.tombstones().lower_bound(b"gone050"), 50);
        assert_eq!(damages(&segment), Vec::<String>::new());
    }
}

#[test]
fn damaged_tombstones_are_found_when_the_segment_is_opened() {
    let place = Place::new();
    let mut writer = place.writer(Some(5));
    writer.push_tombstone(b"gone", 5, 1).unwrap();
    let (path, id) = place.publish(writer, 0);
    let at = usize::try_from(Segment::open(&path, id, Backend::Auto).unwrap().footer().tombstones.offset).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at + 36] ^= 1;
    let damaged = place.dir.path().join("damaged");
    std::fs::write(&damaged, &bytes).unwrap();
    for backend in BACKENDS {
        assert_eq!(what(Segment::open(&damaged, id, backend).unwrap_err()), "tombstones checksum");
    }
}

#[test]
fn verification_finds_a_tombstone_beside_a_row() {
    let mut place = Place::new();
    let mut writer = place.writer(Some(5));
    place.push(&mut writer, 1, 0).unwrap();
    writer.push_tombstone(user(1).uid.as_bytes(), 6, 1).unwrap();
    let (path, id) = place.publish(writer, 0);
    let segment = Segment::open(&path, id, Backend::Auto).unwrap();
    assert_eq!(damages(&segment), ["row of a user that the same segment says is deleted"]);
}

#[test]
fn verification_finds_text_and_seqs_that_are_wrong() {
    for (uid, wrong, expected) in [
        (&b"\xff"[..], 0, "UID of a tombstone"),
        (b"a\0", 0, "UID of a tombstone"),
        (b"a", 1, "greatest seq of the block against the footer"),
        (b"a", 7, "seq of a tombstone"),
    ] {
        let mut place = Place::new();
        let mut writer = place.writer(Some(5));
        writer.push_tombstone(uid, 20, 1).unwrap();
        place.push(&mut writer, 1, if wrong == 1 { 16 } else { 0 }).unwrap();
        let mut finished = writer.finish().unwrap();
        finished.forget_seqs(wrong);
        let id = finished.id();
        let path = finished.publish(0, place.dir.path(), &Names::default()).unwrap();
        let segment = Segment::open(&path, id, Backend::Auto).unwrap();
        assert_eq!(damages(&segment), [expected]);
    }
}

/// Lookups found one of the two, and verification neither.
#[test]
fn verification_finds_an_identity_that_two_rows_of_a_segment_carry() {
    let mut place = Place::new();
    let mut writer = place.writer(Some(5));
    for n in 0..3_000 {
        place.push(&mut writer, n, 0).unwrap();
    }
    let second = User::new("user1000000").with_identity("site", "own").with_identity("facebook", "f2000");
    writer.push(&place.row.encode(&second).unwrap().into(), 0).unwrap();
    let (path, id) = place.publish(writer, 0);
    let segment = Segment::open(&path, id, Backend::Auto).unwrap();
    assert_eq!(damages(&segment), ["owners of an identity in one segment"]);
}

/// Lengths of exports and places of pages come from them.
#[test]
fn verification_compares_the_sums_of_the_block_index() {
    let mut place = Place::new();
    let mut writer = place.writer(Some(5));
    place.push(&mut writer, 1, 0).unwrap();
    let (path, id) = place.publish(writer, 0);
    let forged = forged(&path, |f| &mut f.block_index, |bytes| bytes[8 + 24] = 1);
    let segment = Segment::open(&forged, id, Backend::Auto).unwrap();
    assert_eq!(damages(&segment), ["sums of blocks in the block index"]);
}

#[test]
fn verification_compares_the_seqs_of_segments_with_their_order() {
    let mut place = Place::new();
    let mut segment = |n: u64, seqs: [u64; 2]| {
        let mut writer = place.writer(Some(seqs[0]));
        place.push(&mut writer, n, seqs[1] - seqs[0]).unwrap();
        let (path, id) = place.publish(writer, 0);
        Arc::new(Segment::open(&path, id, Backend::Auto).unwrap())
    };
    let (old, new, beside) = (segment(1, [5, 6]), segment(1, [7, 8]), segment(2, [7, 9]));
    let verify = |segments: &[&Arc<Segment>], users: &[u64], seq: u64| {
        let mut totals = Totals::default();
        users.iter().for_each(|n| totals.add_user(&RowBuf::new().encode(&user(*n)).unwrap().into()));
        let segments: Vec<Arc<Segment>> = segments.iter().map(|s| Arc::clone(s)).collect();
        let origin = Origin { store_id: 1, incarnation: 2, seq, time_ms: 0 };
        let active = Delta::new([1, 2]);
        let version = Version { origin, active, frozen: None, segments, totals, changes_floor: 0 };
        let mut found = Vec::new();
        let report = Snapshot(Arc::new(version)).verify(&Progress::default(), &mut |d| found.push(d.what.clone()));
        assert_eq!(report.unwrap().damages, found.len() as u64);
        found
    };
    assert_eq!(verify(&[&new, &old], &[1], 8), [""; 0]);
    assert_eq!(verify(&[&old, &new], &[1], 8), ["seq of a user against that in an older segment"]);
    assert_eq!(verify(&[&beside, &new, &old], &[1, 2], 9), [""; 0], "parts of one delta");
    assert_eq!(verify(&[&beside, &new, &old], &[1, 2], 8), ["greatest seq of a segment against the manifest"]);
}

/// A search among them did not find every one: users that were deleted came back.
#[test]
fn tombstones_out_of_order_are_damage() {
    let place = Place::new();
    let mut writer = place.writer(Some(5));
    for uid in [b"a", b"b"] {
        writer.push_tombstone(uid, 5, 1).unwrap();
    }
    let (path, id) = place.publish(writer, 0);
    let forged = forged(&path, |f| &mut f.tombstones, |bytes| *bytes.last_mut().unwrap() = b'a');
    for backend in BACKENDS {
        assert_eq!(what(Segment::open(&forged, id, backend).unwrap_err()), "UID order of the tombstones");
    }
    let remains = Remains::open(&forged, id, None).unwrap();
    assert_eq!((remains.damages[0].what.as_str(), remains.tombstone(0)), ("UID order of the tombstones", None));
}

/// The segment at `path` with a section that somebody else wrote, and checksums that are right.
fn forged(path: &std::path::Path, of: fn(&mut Footer) -> &mut Section, change: impl FnOnce(&mut [u8])) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - footer::FOOTER_LEN;
    let mut footer = Footer::decode(&bytes[at..], path, 0).unwrap();
    let section = of(&mut footer);
    let start = usize::try_from(section.offset).unwrap();
    let content = &mut bytes[start..][..usize::try_from(section.len).unwrap()];
    change(content);
    section.checksum = headcount_block::checksum(content);
    bytes.truncate(at);
    bytes.extend(footer.encode());
    let forged = path.with_extension("forged");
    std::fs::write(&forged, &bytes).unwrap();
    forged
}

/// A section of zeros that take no room on disk was read whole.
#[test]
fn a_dictionary_that_is_longer_than_one_gets_is_not_read() {
    let mut place = Place::new();
    let from = source(&mut place, 10);
    let (path, id) = (from.path().to_path_buf(), from.footer().file_id);
    let forged = forged(&path, |f| &mut f.dictionary, |_| {});
    let file = std::fs::OpenOptions::new().write(true).open(&forged).unwrap();
    let (at, len) = (from.bytes().next_multiple_of(4096), 1 << 33);
    file.set_len(at + len).unwrap();
    let footer = Footer { dictionary: Section { offset: at, len, checksum: 0 }, ..from.footer().clone() };
    std::os::unix::fs::FileExt::write_all_at(&file, &footer.encode(), at + len).unwrap();
    for backend in BACKENDS {
        assert_eq!(what(Segment::open(&forged, id, backend).unwrap_err()), "provider dictionary length");
    }
    assert_eq!(Remains::open(&forged, id, None).unwrap().damages[0].what, "provider dictionary length");
}

/// Every block was as long as the index says: 4 GiB of memory for a look at one row, and verification saw nothing.
#[test]
fn a_block_index_of_blocks_that_are_too_long_or_overlap_is_refused() {
    let mut place = Place::new();
    let from = source(&mut place, 20_000);
    let (blocks, path, id) = (from.footer().blocks as usize, from.path().to_path_buf(), from.footer().file_id);
    let len = |entry: usize| 8 + 24 * entry + 8;
    let set = |bytes: &mut [u8], at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let length = from.entry(0).unwrap().len;
    for (entry, value, expected) in [
        (0, u32::MAX, "length of a block in the block index"),
        (1, (4 << 20) + 64, "length of a block in the block index"),
        (1, 0, "length of a block in the block index"),
        (0, length + 64, "place of a block in the block index"),
    ] {
        let forged = forged(&path, |f| &mut f.block_index, |bytes| set(bytes, len(entry), value));
        for backend in BACKENDS {
            assert_eq!(what(Segment::open(&forged, id, backend).unwrap_err()), expected);
        }
        let remains = Remains::open(&forged, id, None).unwrap();
        assert_eq!(
            (remains.found.len(), remains.damages[0].what.as_str()),
            (blocks, expected),
            "found by their headers"
        );
    }
    let last = from.entry(u32::try_from(blocks - 1).unwrap()).unwrap().len;
    let forged = forged(&path, |f| &mut f.block_index, |bytes| set(bytes, len(blocks - 1), last + 64));
    for backend in BACKENDS {
        let segment = Segment::open(&forged, id, backend).unwrap();
        let expected = "length of the block against the block index";
        assert_eq!(what(segment.block(u32::try_from(blocks - 1).unwrap(), false).unwrap_err()), expected);
        assert_eq!(damages(&segment), [expected]);
    }
}

/// A segment of `users` with base seq 100, every third with a seq of its own.
fn source(place: &mut Place, users: u64) -> Segment {
    let mut writer = place.writer(Some(100));
    for n in 0..users {
        place.push(&mut writer, n, if n % 3 == 0 { n } else { 0 }).unwrap();
    }
    let (path, id) = place.publish(writer, 0);
    Segment::open(&path, id, Backend::Auto).unwrap()
}

#[test]
fn blocks_are_copied_whole_between_rows() {
    let mut place = Place::new();
    let from = source(&mut place, 20_000);
    let blocks = from.footer().blocks;
    assert!(blocks > 4, "{blocks}");
    assert_eq!(from.seq_range(), (100, 100 + 19_998));
    let mut writer = place.writer(Some(100));
    writer.push_block(&from, blocks - 1).unwrap();
    let (path, id) = place.publish(writer, 0);
    assert_eq!(Segment::open(&path, id, Backend::Auto).unwrap().seq_range(), from.seq_range());
    let mut writer = place.writer(Some(100));
    for number in 0..blocks {
        if number != 2 {
            writer.push_block(&from, number).unwrap();
            continue;
        }
        // One block is taken apart, and loses a user.
        let (bytes, offset) = from.block(number, true).unwrap();
        let block = from.parse(&bytes, offset).unwrap();
        for (ordinal, user) in block.rows().enumerate().skip(1) {
            writer.push(&user.unwrap(), block.seq(ordinal).unwrap()).unwrap();
        }
    }
    let gone = from.index().first_uid(2).to_vec();
    writer.push_tombstone(&gone, 30_000, 1).unwrap();
    assert_eq!(writer.users(), 19_999);
    let (path, id) = place.publish(writer, 0);
    let copy = Segment::open(&path, id, Backend::Auto).unwrap();
    assert_eq!((copy.seq_range(), copy.footer().blocks), ((100, 30_000), blocks));
    assert_eq!(copy.bounds(), from.bounds());
    for n in 0..20_000 {
        let uid = user(n).uid;
        let found = copy.find_uid(uid.as_bytes()).unwrap();
        if uid.as_bytes() == gone {
            assert!(found.is_none());
            continue;
        }
        let found = found.unwrap();
        assert_eq!(found.user().to_user().unwrap(), user(n));
        assert_eq!(found.seq().unwrap(), 100 + if n % 3 == 0 { n } else { 0 });
        let owner = copy.find_identity(b"facebook", format!("f{n}").as_bytes()).unwrap().unwrap();
        assert_eq!(owner.user().uid(), uid.as_bytes());
    }
    assert_eq!(copy.footer().totals.users(), from.footer().totals.users() - 1);
    assert_eq!(damages(&copy), Vec::<String>::new());
}

#[test]
fn blocks_that_do_not_fit_are_not_copied() {
    let mut place = Place::new();
    let from = source(&mut place, 8000);
    let refused = |writer: &mut SegmentWriter, number| what(writer.push_block(&from, number).unwrap_err());
    for base in [None, Some(99)] {
        assert_eq!(refused(&mut place.writer(base), 0), "base seq of a block to copy");
    }
    for names in [&["site", "facebook"][..], &["facebook"], &["facebook", "site", "x"]] {
        let mut writer = place.writer_with(names, Some(100));
        assert_eq!(refused(&mut writer, 0), "providers of a block to copy");
    }
    let mut writer = place.writer(Some(100));
    writer.push_block(&from, 1).unwrap();
    for number in [0, 1] {
        assert_eq!(refused(&mut writer, number), "UID order of blocks for a segment");
    }
    assert_eq!(refused(&mut writer, 99), "block number");
    place.push(&mut writer, 9000, 0).unwrap();
    assert_eq!(refused(&mut writer, 2), "UID order of blocks for a segment");
    // A row that follows a copied block has to come after its last user.
    let mut writer = place.writer(Some(100));
    writer.push_block(&from, 1).unwrap();
    assert_eq!(what(place.push(&mut writer, 1, 0).unwrap_err()), "UID order of blocks for a segment");
}

#[test]
fn a_damaged_block_is_not_copied() {
    let mut place = Place::new();
    let from = source(&mut place, 3000);
    let entry = from.entry(0).unwrap();
    let mut bytes = std::fs::read(from.path()).unwrap();
    bytes[usize::try_from(entry.offset).unwrap() + 2000] ^= 1;
    let damaged = place.dir.path().join("damaged");
    std::fs::write(&damaged, &bytes).unwrap();
    let from = Segment::open(&damaged, from.footer().file_id, Backend::Auto).unwrap();
    let mut writer = place.writer(Some(100));
    assert_eq!(what(writer.push_block(&from, 0).unwrap_err()), "block body checksum");
}

#[test]
fn a_doomed_segment_goes_with_its_last_reader() {
    let mut place = Place::new();
    let segment = Arc::new(source(&mut place, 10));
    let (path, id) = (segment.path().to_path_buf(), segment.footer().file_id);
    let reader = Arc::clone(&segment);
    let store = Arc::<Tenure>::default();
    segment.doom(&store);
    drop(segment);
    assert!(path.exists());
    assert_eq!(reader.find_uid(b"user000003").unwrap().unwrap().user().to_user().unwrap(), user(3));
    drop(reader);
    assert!(!path.exists());
    assert!(Segment::open(&path, id, Backend::Auto).is_err());
    // Others stay, and so do all once the store is closed.
    for doomed in [false, true] {
        let segment = source(&mut place, 10);
        let path = segment.path().to_path_buf();
        if doomed {
            segment.doom(&store);
            store.end();
        }
        drop(segment);
        assert!(path.exists());
    }
}
