use super::*;
use crate::header::{EXCEPTION_LEN, HEADER_SUM_AT};
use crate::{DictionaryBuilder, Error, Piece, RowBuf, Span, User};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

const ID: BlockId = BlockId { file: 0x1234_5678_9abc_def0_1122_3344_5566_7788, number: 7 };

fn dictionary(users: &BTreeMap<String, User>) -> Dictionary {
    let mut builder = DictionaryBuilder::new();
    for identity in users.values().flat_map(|u| &u.identities) {
        builder.add(identity.provider.as_bytes(), 1).unwrap();
    }
    builder.finish().unwrap()
}

fn build(users: &BTreeMap<String, User>, dict: &Dictionary) -> (Vec<u8>, Built) {
    let mut builder = BlockBuilder::new();
    let mut row = RowBuf::new();
    for (i, user) in users.values().enumerate() {
        builder.push(&row.encode(user).unwrap().into(), dict, i as u64 % 3).unwrap();
        assert_eq!((builder.users(), builder.is_empty()), (i + 1, false));
        assert_eq!(builder.last_uid(), user.uid.as_bytes());
    }
    let mut out = vec![9; 64];
    let built = builder.finish(ID, &mut out);
    assert!(builder.is_empty() && builder.last_uid().is_empty());
    (out.split_off(64), built)
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-zA-Z0-9_+=/-]{1,40}",
        1 => "[a-z\",\\\\\n\u{7f}é€😀]{1,20}",
        1 => "[a-z]{120,300}",
    ]
}

fn population() -> impl Strategy<Value = BTreeMap<String, User>> {
    let identity =
        (prop_oneof![5 => Just("facebook".to_owned()), 3 => Just("a\"b".to_owned()), 2 => "[a-z]{1,9}"], word());
    let user = (word(), any::<bool>(), prop::collection::btree_set(identity, 0..5));
    prop::collection::vec(user, 0..120).prop_map(|users| {
        let users = users.into_iter().map(|(uid, pending, ids)| {
            let mut user = User::new(uid.clone());
            user.status = if pending { Status::Pending } else { Status::Registered };
            user.identities = ids.into_iter().map(|(p, u)| crate::Identity::new(p, u)).collect();
            (uid, user)
        });
        users.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn seeking_finds_what_a_search_of_the_whole_block_finds(users in population(), uid in word(), from in 0..120_usize) {
        let dict = dictionary(&users);
        let (bytes, _) = build(&users, &dict);
        let block = Block::parse(&bytes, &dict).unwrap();
        for uid in users.keys().chain([&uid]) {
            let uid = uid.as_bytes();
            let start = block.rows_from(from).unwrap().mark();
            let end = block.seek(start, uid).unwrap();
            prop_assert_eq!(end.ordinal(), block.lower_bound(uid).unwrap().max(start.ordinal()));
            let rest = users.keys().skip(start.ordinal()).map(|own| own.as_bytes());
            let shared = |own: &[u8]| own.iter().zip(uid).take_while(|(a, b)| a == b).count();
            let skip = rest.map(shared).min().unwrap_or_default();
            prop_assert_eq!(block.seek_past(start, uid, skip).unwrap(), end);
            prop_assert_eq!(end, block.rows_from(end.ordinal()).unwrap().mark());
            let (path, ordinals) = (Path::new("x"), start.ordinal()..end.ordinal());
            let users = |span: Span<'_>| span.rows().unwrap().map(|u| u.unwrap().uid().to_vec()).collect::<Vec<_>>();
            let texts = |span: Span<'_>| {
                let text = |piece| match piece {
                    Ok(Piece::Clean(clean)) => clean.text[..clean.text_len].to_vec(),
                    Ok(Piece::Row(row)) => row.as_bytes().to_vec(),
                    Err(error) => panic!("{error}"),
                };
                span.pieces().unwrap().map(text).collect::<Vec<_>>()
            };
            let between = Span::between(&block, start, end, path, 0);
            let new = Span::new(&block, ordinals, path, 0);
            prop_assert_eq!(users(between.clone()), users(new.clone()));
            prop_assert_eq!(texts(between), texts(new));
        }
    }

    #[test]
    fn what_goes_in_comes_out(users in population()) {
        let dict = dictionary(&users);
        let (bytes, built) = build(&users, &dict);
        prop_assert_eq!(bytes.len() % 64, 0);
        let block = Block::parse(&bytes, &dict).unwrap();
        block.verify(ID).unwrap();
        let last = block.verify_rows(None).unwrap();
        prop_assert_eq!(last, users.keys().next_back().map(|u| u.as_bytes()));
        let read: Vec<User> = block.rows().map(|r| r.unwrap().to_user().unwrap()).collect();
        prop_assert!(read.iter().eq(users.values()));
        let mut totals = Totals::default();
        for (i, user) in users.values().enumerate() {
            totals.add_user(&RowBuf::new().encode(user).unwrap().into());
            prop_assert_eq!(&block.user(i).unwrap().to_user().unwrap(), user);
            prop_assert_eq!(&block.user_in_group(i / 16, i % 16).unwrap().to_user().unwrap(), user);
            prop_assert_eq!(block.seq(i).unwrap(), i as u64 % 3);
            prop_assert_eq!(block.find(user.uid.as_bytes()).unwrap().unwrap().0, i);
            let next = format!("{}\u{1}", user.uid);
            prop_assert_eq!(block.lower_bound(next.as_bytes()).unwrap(), i + 1);
        }
        prop_assert_eq!(totals, built.totals);
        prop_assert_eq!(totals, block.totals());
    }

    #[test]
    fn pieces_of_any_span_hold_its_rows(users in population(), a in 0usize..130, b in 0usize..130) {
        let dict = dictionary(&users);
        let (bytes, _) = build(&users, &dict);
        let block = Block::parse(&bytes, &dict).unwrap();
        let span = Span::new(&block, a.min(b)..a.max(b), Path::new("f"), 0);
        let mut seen = 0;
        for piece in span.pieces().unwrap() {
            seen += match piece.unwrap() {
                Piece::Row(row) => { prop_assert_eq!(Some(row.uid()), users.keys().nth(span.ordinals().start + seen).map(|u| u.as_bytes())); 1 }
                Piece::Clean(clean) => {
                    let heads = clean.ctl.as_chunks::<3>().0[..clean.entries].iter().filter(|e| e[0] & 0x7f != 0).count();
                    prop_assert_eq!(heads, clean.users);
                    prop_assert!(clean.text.len() >= clean.text_len + crate::PADDING);
                    prop_assert!(clean.ctl.len() > clean.entries * 3);
                    clean.users
                }
            };
        }
        prop_assert_eq!(seen, span.users());
        prop_assert_eq!(span.rows().unwrap().count(), span.users());
    }

    #[test]
    fn any_damage_is_an_error_and_never_a_panic(users in population(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let dict = dictionary(&users);
        let (mut bytes, _) = build(&users, &dict);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let verdict = Block::parse(&bytes, &dict).and_then(|b| b.verify(ID));
        prop_assert!(verdict.is_err(), "flip of byte {}", at);
        // Even unverified, reading ends with values or an error.
        if let Ok(block) = Block::parse(&bytes, &dict) {
            let _ = block.verify_rows(None);
            let _ = block.find(b"m");
            for group in 0..block.groups() { for row in 0..16 { let _ = block.user_in_group(group, row).map(|u| u.identities().count()); } }
            let span = Span::new(&block, 0..block.users(), Path::new("f"), 0);
            let _ = span.pieces().map(|p| p.collect::<Vec<_>>());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 256..2000)) {
        let dict = DictionaryBuilder::new().finish().unwrap();
        prop_assert!(Block::parse(&bytes, &dict).is_err());
        bytes[..8].copy_from_slice(&[b'H', b'C', b'B', b'K', 1, crate::CHECKSUM_ALGORITHM, 0, 4]);
        let _ = Block::parse(&bytes, &dict).map(|b| b.rows().count());
    }
}

#[test]
fn a_block_elsewhere_is_damage() {
    let users: BTreeMap<_, _> = [("a".to_owned(), User::new("a").with_identity("p", "1"))].into();
    let dict = dictionary(&users);
    let (bytes, _) = build(&users, &dict);
    let block = Block::parse(&bytes, &dict).unwrap();
    assert!(block.verify(ID).is_ok());
    let moved = block.verify(BlockId { number: 8, ..ID }).unwrap_err();
    assert!(moved.what.contains("misplaced"), "{moved}");
    let Error::Damage(damage) = moved.at(Path::new("seg"), 1000) else { panic!() };
    assert_eq!(damage.offset, 1024);
    assert!(block.verify(BlockId { file: 1, ..ID }).is_err());
}

#[test]
fn rows_must_ascend_and_know_their_providers() {
    let dict = DictionaryBuilder::new().finish().unwrap();
    let mut builder = BlockBuilder::new();
    let mut row = RowBuf::new();
    builder.push(&row.encode(&User::new("b")).unwrap().into(), &dict, 0).unwrap();
    assert!(builder.push(&row.encode(&User::new("b")).unwrap().into(), &dict, 0).is_err());
    assert!(builder.push(&row.encode(&User::new("a")).unwrap().into(), &dict, 0).is_err());
    let unknown = User::new("c").with_identity("p", "1");
    assert!(builder.push(&row.encode(&unknown).unwrap().into(), &dict, 0).is_err());
}

#[test]
fn every_seq_width_reads_back() {
    let dict = DictionaryBuilder::new().finish().unwrap();
    for top in [0, 1, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX - 5] {
        let mut builder = BlockBuilder::new();
        let mut row = RowBuf::new();
        let seqs = [5, 5 + top, 5 + top / 2];
        for (i, seq) in seqs.iter().enumerate() {
            builder.push(&row.encode(&User::new(format!("u{i}"))).unwrap().into(), &dict, *seq).unwrap();
        }
        let mut out = Vec::new();
        builder.finish(ID, &mut out);
        let block = Block::parse(&out, &dict).unwrap();
        block.verify(ID).unwrap();
        assert_eq!([0, 1, 2].map(|i| block.seq(i).unwrap()), seqs, "{top}");
        assert!(block.seq(3).is_err());
    }
}

#[test]
fn a_copied_block_is_the_same_block_elsewhere() {
    let users: BTreeMap<String, User> = (0..40)
        .map(|n| User::new(format!("u{n:02}")).with_identity("facebook", format!("\"{}", n % 3)))
        .map(|user| (user.uid.clone(), user))
        .collect();
    let dict = dictionary(&users);
    let (bytes, built) = build(&users, &dict);
    let id = BlockId { file: 77, number: 5 };
    let mut copy = vec![1; 64];
    assert_eq!(Block::parse(&bytes, &dict).unwrap().copy_as(id, &mut copy), built);
    let copy = copy.split_off(64);
    let copied = Block::parse(&copy, &dict).unwrap();
    copied.verify(id).unwrap();
    assert_eq!(copied.verify(ID).unwrap_err().what, "file id of the block (misplaced block)");
    copied.verify_rows(None).unwrap();
    let changed: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != copy[*at]).collect();
    assert!(changed.iter().all(|at| matches!(at, 8..28 | 240..248)), "{changed:?}");
}

#[test]
fn a_copy_does_not_make_a_damaged_block_whole() {
    let users = BTreeMap::from([("a".to_owned(), User::new("a").with_identity("facebook", "1"))]);
    let dict = dictionary(&users);
    let (mut bytes, _) = build(&users, &dict);
    let text = bytes.windows(2).rposition(|w| w == b"a1").unwrap();
    bytes[text] = b'b';
    let id = BlockId { file: 77, number: 5 };
    let mut copy = Vec::new();
    Block::parse(&bytes, &dict).unwrap().copy_as(id, &mut copy);
    assert_eq!(Block::parse(&copy, &dict).unwrap().verify(id).unwrap_err().what, "block body checksum");
}

fn numbered(i: usize, value: &str) -> User {
    User::new(format!("{i:08}")).with_identity("p", value)
}

#[test]
fn a_block_is_full_at_its_target() {
    let dict = dictionary(&BTreeMap::from([(String::new(), numbered(0, "1"))]));
    let mut row = RowBuf::new();
    // The header and what brings sections to multiples of 64 do not count.
    let slack = 64 * 10;
    // Compact rows alone, some that are none, and so short ones that there are too many before there are enough bytes.
    for (every, value, by_users) in
        [(usize::MAX, "123456789012", false), (3, "123456789012", false), (usize::MAX, "1", true)]
    {
        let (mut builder, mut users) = (BlockBuilder::new(), 0);
        while !builder.is_full() {
            let user = numbered(users, if users % every == every - 1 { "\"" } else { value });
            builder.push(&row.encode(&user).unwrap().into(), &dict, 0).unwrap();
            users += 1;
        }
        let len = builder.finish(ID, &mut Vec::new()).len;
        let bytes = (BLOCK_TARGET..BLOCK_TARGET + slack).contains(&len);
        assert!(
            if by_users { users == BLOCK_USERS_MAX && len < BLOCK_TARGET } else { bytes },
            "{users} users, {len} bytes"
        );
    }
}

#[test]
fn seqs_take_the_bytes_that_their_range_needs() {
    const USERS: usize = 640;
    let dict = dictionary(&BTreeMap::from([(String::new(), numbered(0, "1"))]));
    let mut row = RowBuf::new();
    let mut lengths = Vec::new();
    let ranges = [0, 1, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX - 7];
    for range in ranges {
        let mut builder = BlockBuilder::new();
        let seq = |i| if i == 5 { 7 + range } else { 7 };
        for i in 0..USERS {
            builder.push(&row.encode(&numbered(i, "1")).unwrap().into(), &dict, seq(i)).unwrap();
        }
        let mut out = Vec::new();
        lengths.push(builder.finish(ID, &mut out).len);
        let block = Block::parse(&out, &dict).unwrap();
        assert!((0..USERS).all(|i| block.seq(i).unwrap() == seq(i)), "{range}");
    }
    let bytes: Vec<usize> = lengths.iter().map(|len| (len - lengths[0]) / USERS).collect();
    assert_eq!(bytes, [0, 1, 1, 2, 2, 4, 4, 8, 8]);
}

/// Identities whose provider the dictionary does not have were left out without a word, and a compaction made it final.
#[test]
fn a_user_with_a_provider_that_nobody_can_name_is_not_read_without_it() {
    let dict = |names: &[&str]| {
        let bytes: Vec<u8> =
            names.iter().flat_map(|n| [&[u8::try_from(n.len()).unwrap()], n.as_bytes()].concat()).collect();
        Dictionary::decode(&bytes).unwrap()
    };
    let (whole, short) = (dict(&["p", "q"]), dict(&["p"]));
    let users = [
        User::new("a"),
        User::new("b").with_identity("p", "1").with_identity("q", "2"),
        User::new("c").with_identity("q", "3"),
        User::new("d").with_identity("p", "4").with_identity("p", "5"),
        User::new("e").with_identity("p", "6"),
    ];
    let (mut builder, mut row, mut bytes) = (BlockBuilder::new(), RowBuf::new(), Vec::new());
    for user in &users {
        builder.push(&row.encode(user).unwrap().into(), &whole, 0).unwrap();
    }
    builder.finish(BlockId { file: 1, number: 0 }, &mut bytes);
    let read = |dict| Block::parse(&bytes, dict).unwrap().rows().map(|u| u.unwrap().to_user()).collect::<Vec<_>>();
    assert!(read(&whole).into_iter().map(Result::unwrap).eq(users.iter().cloned()));
    let found = read(&short);
    for (user, found) in users.iter().zip(&found) {
        match (user.uid.as_str(), found) {
            ("b" | "c", Err(fault)) => assert_eq!(fault.what, "identity of a row"),
            (_, found) => assert_eq!(found.as_ref().unwrap(), user),
        }
    }
    for (user, found) in Block::parse(&bytes, &short).unwrap().rows().zip(&found) {
        assert_eq!(BlockBuilder::new().push(&user.unwrap(), &short, 0).err(), found.as_ref().err().copied());
    }
    assert!(Block::parse(&bytes, &short).unwrap().verify_rows(None).is_err());
}

/// One block rendered to more than a gigabyte: what it could hold was bounded by its length alone.
#[test]
fn a_block_has_not_more_control_entries_than_writers_make() {
    let dict = Dictionary::decode(b"\x01p").unwrap();
    let user = |uid: &str, identities: usize| {
        let user = User::new(uid);
        (0..identities).fold(user, |user, i| user.with_identity("p", format!("{i}")))
    };
    let (mut builder, mut row) = (BlockBuilder::new(), RowBuf::new());
    let mut block = |users: &[User]| {
        for user in users {
            builder.push(&row.encode(user).unwrap().into(), &dict, 0).unwrap();
        }
        let (full, mut bytes) = (builder.is_full(), Vec::new());
        builder.finish(ID, &mut bytes);
        (full, bytes)
    };
    let most: Vec<User> = (0..21_845).step_by(4096).map(|i| user(&format!("{i:05}"), 4096.min(21_845 - i))).collect();
    // The texts alone would have filled it: writers come nowhere near.
    let (_, bytes) = block(&[&most[..], &[user("x", 4096)]].concat());
    Block::parse(&bytes, &dict).unwrap().verify_rows(None).unwrap();
    let (full, bytes) = block(&[&most[..], &[user("x", 4096), user("y", 1)]].concat());
    assert!(full);
    let fault = Block::parse(&bytes, &dict).unwrap_err();
    assert_eq!((fault.what, fault.expected, fault.found), ("block control entries", 25_941, 25_942));
    // A user with one identity more than users have: the head of the next one is made an entry of its own.
    let (_, mut bytes) = block(&[user("a", 4096), user("b", 1)]);
    let at = Block::parse(&bytes, &dict).unwrap().header.sections().control + 3 * 4096;
    bytes[at] = 0;
    bytes[28] = 1;
    let fault = Block::parse(&bytes, &dict).unwrap().verify_rows(None).unwrap_err();
    assert_eq!((fault.what, fault.expected, fault.found), ("identities of a row", 4096, 4097));
}

#[test]
fn every_row_is_found_by_stepping_from_mark_to_mark() {
    let dict = Dictionary::decode(b"\x01p").unwrap();
    for (width, escape) in [(1, false), (3, false), (3, true)] {
        // Short ones, of which many are rows before a text that is long.
        let users: BTreeMap<String, User> = (0..100)
            .map(|i| {
                let uid = format!("{i:0width$}{}", if escape && i % 23 == 7 { "\"" } else { "" });
                (uid.clone(), (0..i % 4).fold(User::new(uid), |user, n| user.with_identity("p", format!("{i}.{n}"))))
            })
            .collect();
        let (bytes, _) = build(&users, &dict);
        let block = Block::parse(&bytes, &dict).unwrap();
        let mut mark = block.rows_from_group(0).unwrap().mark();
        let mut found = Vec::new();
        while let Some((uid, next)) = block.row_at(mark).unwrap() {
            found.push(String::from_utf8(uid.to_vec()).unwrap());
            mark = next;
        }
        assert!(found.iter().eq(users.keys()));
    }
}

#[test]
fn control_entries_that_no_writer_makes_are_found_one_by_one() {
    let dict = Dictionary::decode(b"\x01p\x01q").unwrap();
    let users = [User::new("a").with_identity("p", "12").with_identity("q", "345"), User::new("b"), User::new("c")];
    let users: BTreeMap<String, User> = users.into_iter().map(|user| (user.uid.clone(), user)).collect();
    let (whole, _) = build(&users, &dict);
    let at = Block::parse(&whole, &dict).unwrap().header.sections().control;
    assert_eq!(&whole[at..at + 12], [1, 1, 2, 0, 2, 3, 1, 0, 0, 1, 0, 0]);
    let fault = |change: &[(usize, u8)]| {
        let mut bytes = whole.clone();
        change.iter().for_each(|(place, byte)| bytes[at + place] = *byte);
        Block::parse(&bytes, &dict).unwrap().verify_compact().err().map(|fault| fault.what)
    };
    assert_eq!(fault(&[]), None);
    let changes: [&[(usize, u8)]; 6] = [
        // A provider that is not known.
        &[(1, 3)],
        // No identity, in an entry of its own, and with a length.
        &[(4, 0), (5, 0)],
        &[(4, 0)],
        &[(8, 1)],
        // An identity without one.
        &[(2, 0)],
        // Half a user is pending.
        &[(3, PENDING_BIT)],
    ];
    for change in changes {
        assert_eq!(fault(change), Some("control entry"), "{change:?}");
    }
}

#[test]
fn headers_are_checked_by_themselves() {
    let users: BTreeMap<String, User> = [("a".to_owned(), User::new("a"))].into();
    let dict = dictionary(&users);
    let (mut bytes, _) = build(&users, &dict);
    Block::parse(&bytes, &dict).unwrap().verify_header(ID).unwrap();
    let elsewhere = BlockId { number: ID.number + 1, ..ID };
    assert!(Block::parse(&bytes, &dict).unwrap().verify_header(elsewhere).is_err());
    // Of another file, of whose id the low half is told; and bytes behind the checksum.
    let other = BlockId { file: ID.file ^ 1 << 100 ^ 2, ..ID };
    let fault = Block::parse(&bytes, &dict).unwrap().verify_header(other).unwrap_err();
    assert_eq!((fault.expected, fault.found), (0x1122_3344_5566_778a, 0x1122_3344_5566_7788));
    bytes[HEADER_SUM_AT + 8] = 1;
    let fault = Block::parse(&bytes, &dict).unwrap().verify_header(ID).unwrap_err();
    assert_eq!((fault.what, fault.offset), ("block header padding", HEADER_SUM_AT + 8));
    bytes[HEADER_SUM_AT + 8] = 0;
    // A sum in it.
    bytes[80] ^= 1;
    assert!(Block::parse(&bytes, &dict).unwrap().verify_header(ID).is_err());
}

/// Restart points, wide rows and control entries beyond what there is are named with what is found there, and where.
#[test]
fn places_outside_the_block_are_told() {
    let users: BTreeMap<String, User> =
        ["a\"", "b", "c\""].map(|uid| (uid.to_owned(), User::new(uid).with_identity("p", "1"))).into();
    let dict = dictionary(&users);
    let (whole, _) = build(&users, &dict);
    let header = Block::parse(&whole, &dict).unwrap().header;
    let sections = header.sections();
    let told = |change: &[(usize, u8)], of: &dyn Fn(&Block<'_>) -> Option<Fault>| {
        let mut bytes = whole.clone();
        change.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        of(&Block::parse(&bytes, &dict).unwrap()).map(|fault| (fault.what, fault.offset, fault.found))
    };
    let restart = |block: &Block<'_>| block.restart(0).err();
    assert_eq!(told(&[], &restart), None);
    assert_eq!(told(&[(sections.restarts, 9)], &restart), Some(("restart point", sections.restarts, 9 << 32)));
    assert_eq!(told(&[(sections.restarts + 4, 99)], &restart), Some(("restart point", sections.restarts, 99)));
    // The second exception's row, whose UID has no length any more.
    let wide = |block: &Block<'_>| block.wide_row(&block.exception(1).unwrap()).err();
    let at = sections.wide + Block::parse(&whole, &dict).unwrap().exception(1).unwrap().wide;
    assert_eq!(told(&[], &wide), None);
    assert_eq!(told(&[(at + 1, 0)], &wide), Some(("row UID length", at + 1, 0)));
    assert_eq!(told(&[(sections.exceptions + 16 + 14, 9)], &wide).unwrap().0, "wide row offset");
    let entry = Block::parse(&whole, &dict).unwrap().ctl_fault("an entry", 0);
    assert_eq!((entry.offset, entry.expected, entry.found), (sections.control, 1, 0x01_01_01));
    assert_eq!(Block::parse(&whole, &dict).unwrap().ctl_fault("an entry", 1).offset, sections.control + 3);
}

/// What is right row by row, and wrong all the same.
#[test]
fn what_only_a_verification_sees_is_told_by_its_name() {
    let uid = |i: usize| format!("u{i:03}{}", if [1, 3].contains(&i) { "\"" } else { "" });
    let users: BTreeMap<String, User> =
        (0..2 * ROWS_PER_GROUP + 3).map(|i| (uid(i), User::new(uid(i)).with_identity("site", "77"))).collect();
    let dict = dictionary(&users);
    let (whole, _) = build(&users, &dict);
    let header = Block::parse(&whole, &dict).unwrap().header;
    let sections = header.sections();
    let verify = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        Block::parse(&bytes, &dict).unwrap().verify_rows(None).err().map(|fault| fault.what)
    };
    assert_eq!(verify(&|_| {}), None);
    let restart = sections.restarts + RESTART_LEN;
    assert_eq!(verify(&|bytes| bytes[restart + 4] ^= 1), Some("restart point"));
    assert_eq!(verify(&|bytes| bytes[restart + 3] ^= 0x80), Some("restart point"), "the mark of exceptions");
    let last = sections.control + (header.entries - 1) * ENTRY_LEN;
    assert_eq!(verify(&|bytes| bytes[last + 2] -= 1), Some("unused control entries or text"));
    // Both wide rows are as long, and each is found where its exception says: but the second one comes first.
    let half = header.wide_len / 2;
    let swap = |bytes: &mut [u8]| {
        bytes[sections.wide..sections.wide + 2 * half].rotate_left(half);
        let [first, second] = [0, 1].map(|i| sections.exceptions + i * EXCEPTION_LEN + 12);
        (0..4).for_each(|i| bytes.swap(first + i, second + i));
    };
    assert_eq!(verify(&swap), Some("exception order"));
}
