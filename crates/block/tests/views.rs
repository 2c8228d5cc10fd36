//! What users, spans, ranges and sources say of themselves.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::ops::Bound;
use std::path::Path;

use headcount_block::{
    Block, BlockBuilder, BlockId, Change, DictionaryBuilder, Error, Mark, Measured, Origin, Part, RowBuf, Scan, Select,
    Source, Span, Status, Totals, UidRange, User, Visitor,
};

fn with_block(users: &[User], look: impl FnOnce(&Block<'_>)) {
    let mut providers = DictionaryBuilder::new();
    users.iter().flat_map(|u| &u.identities).for_each(|i| providers.add(i.provider.as_bytes(), 1).unwrap());
    let dict = providers.finish().unwrap();
    let (mut builder, mut row, mut bytes) = (BlockBuilder::new(), RowBuf::new(), Vec::new());
    for user in users {
        builder.push(&row.encode(user).unwrap().into(), &dict, 1).unwrap();
    }
    builder.finish(BlockId { file: 1, number: 1 }, &mut bytes);
    look(&Block::parse(&bytes, &dict).unwrap());
}

#[test]
fn ranges_begin_and_end_as_they_say() {
    let at = |bound: fn(Vec<u8>) -> Bound<Vec<u8>>, uid: &str| bound(uid.as_bytes().to_vec());
    let of = |start, end| UidRange { start, end };
    for (range, inside) in [
        (UidRange::all(), "abcd"),
        (of(at(Bound::Included, "b"), at(Bound::Included, "c")), "bc"),
        (of(at(Bound::Excluded, "b"), at(Bound::Excluded, "d")), "c"),
        (of(at(Bound::Excluded, "b"), Bound::Unbounded), "cd"),
        (of(Bound::Unbounded, at(Bound::Excluded, "b")), "a"),
        (UidRange::after("a"), "bcd"),
        (UidRange::prefix("c"), "c"),
    ] {
        let found: String = "abcd".chars().filter(|uid| range.contains(uid.to_string().as_bytes())).collect();
        assert_eq!(found, inside, "{range:?}");
        for uid in ["a", "b", "c", "d"].map(str::as_bytes) {
            assert!(!(range.is_before(uid) && range.is_after(uid)), "{range:?}");
            assert_eq!(range.contains(uid), !range.is_before(uid) && !range.is_after(uid), "{range:?}");
        }
    }
}

#[test]
fn users_are_told_apart_by_all_they_hold() {
    let ana = User::new("ana").with_identity("site", "1").with_identity("google", "2");
    let users = [
        ana.clone(),
        User { uid: "ana2".to_owned(), ..ana.clone() },
        User { uid: "ana3".to_owned(), ..ana.clone().with_status(Status::Pending) },
    ];
    with_block(&users, |block| {
        let mut row = RowBuf::new();
        for (i, user) in users.iter().enumerate() {
            let found = block.user(i).unwrap();
            assert_eq!((found.uid_str(), found.status().as_str()), (Some(user.uid.as_str()), user.status.as_str()));
            assert!(found.has_identity(b"site", b"1") && found.has_identity(b"google", b"2"));
            assert!(!found.has_identity(b"site", b"2") && !found.has_identity(b"apple", b"1"));
            assert!(found.same(&row.encode(user).unwrap().into()), "however they are stored");
            let uid = user.uid.clone();
            let status = if user.status == Status::Pending { Status::Registered } else { Status::Pending };
            for other in [
                User { uid: "other".to_owned(), ..user.clone() },
                user.clone().with_status(status),
                user.clone().with_identity("apple", "3"),
                User { identities: user.identities.iter().rev().cloned().collect(), ..user.clone() },
                User::new(uid).with_status(user.status),
            ] {
                assert!(!found.same(&row.encode(&other).unwrap().into()), "{other:?}");
            }
        }
    });
    assert_eq!((Status::Registered.to_string(), Status::Pending.to_string()), ("registered".into(), "pending".into()));
}

#[test]
fn a_span_knows_what_it_is_made_of() {
    let users: Vec<User> = (0..100).map(|i| User::new(format!("u{i:02}")).with_identity("site", "7")).collect();
    with_block(&users, |block| {
        let whole = Span::new(block, 0..100, Path::new("f"), 64);
        assert_eq!(whole.whole_totals(), Some(block.totals()));
        assert_eq!((block.totals().users(), block.totals().identities()), (100, 100));
        assert_eq!(Span::new(block, 0..99, Path::new("f"), 64).whole_totals(), None);
        let (from, to) = (block.seek(Mark::default(), b"u10").unwrap(), block.seek(Mark::default(), b"u90").unwrap());
        let between = Span::between(block, from, to, Path::new("f"), 64);
        let clean = between.as_clean().unwrap();
        assert_eq!((clean.users, clean.entries, clean.text_len), (80, 80, 80 * 4));
        assert_eq!((between.users(), between.ordinals().clone()), (80, 10..90));
        let uids: Vec<_> = between.rows().unwrap().map(|user| user.unwrap().uid().to_vec()).collect();
        assert_eq!((uids.len(), uids[0].as_slice(), uids[79].as_slice()), (80, &b"u10"[..], &b"u89"[..]));
    });
}

/// A source that does not know better, of nobody.
struct Nobody;

impl Source for Nobody {
    fn origin(&self) -> Origin {
        Origin { store_id: 1, incarnation: 2, seq: 3, time_ms: 4 }
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn measure(&self, _: &Select, _: Scan) -> Result<Option<Measured>, Error> {
        Ok(Some(Measured { totals: Totals::default(), end: None }))
    }

    fn parts<'s>(&'s self, _: &UidRange) -> Result<Box<dyn Iterator<Item = Result<Part, Error>> + Send + 's>, Error> {
        Ok(Box::new(std::iter::empty()))
    }

    fn visit(&self, _: &Part, _: &mut dyn Visitor) -> Result<(), Error> {
        Ok(())
    }

    fn changes(&self, _: u64, each: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error> {
        each(Change::Deleted(b"gone"))
    }
}

#[test]
fn a_source_that_does_not_know_better_asks_once() {
    let (select, scan) = (Select::default(), Scan::Never);
    let (go_on, stop) = (|| Ok(()), || Err(Error::Stopped));
    assert_eq!(Nobody.measure_while(&select, scan, &go_on).unwrap(), Nobody.measure(&select, scan).unwrap());
    assert!(matches!(Nobody.measure_while(&select, scan, &stop), Err(Error::Stopped)));
    let mut seen = 0;
    let mut count = |_: Change<'_>| {
        seen += 1;
        Ok(())
    };
    Nobody.changes_while(0, &go_on, &mut count).unwrap();
    assert!(matches!(Nobody.changes_while(0, &stop, &mut count), Err(Error::Stopped)));
    assert_eq!(seen, 1);
    assert_eq!(Nobody.cut(None, &|_| true).unwrap(), None);
}
