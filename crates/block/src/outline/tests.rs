//! The outline against the plain cursor over rows, and over bytes that lie.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{BlockBuilder, BlockId, Dictionary, DictionaryBuilder, RowBuf, User};

const ID: BlockId = BlockId { file: 1, number: 0 };

fn build(users: &BTreeMap<String, User>) -> (Vec<u8>, Dictionary) {
    let mut names = DictionaryBuilder::new();
    for identity in users.values().flat_map(|u| &u.identities) {
        names.add(identity.provider.as_bytes(), 1).unwrap();
    }
    let dict = names.finish().unwrap();
    let mut builder = BlockBuilder::new();
    let mut row = RowBuf::new();
    for user in users.values() {
        builder.push(&row.encode(user).unwrap().into(), &dict, 1).unwrap();
    }
    let mut out = Vec::new();
    builder.finish(ID, &mut out);
    (out, dict)
}

/// Users whose UIDs begin alike, some of them with text that stands beside the compact rows.
fn population() -> impl Strategy<Value = (String, BTreeMap<String, User>)> {
    let tail = prop_oneof![6 => "[a-c0-9]{0,12}", 1 => "[a\"\\\\é]{1,9}", 1 => "[a-b]{120,200}"];
    let identity = prop_oneof![6 => "[0-9]{1,21}", 1 => "[a\n]{1,9}", 1 => "[a-z]{250,300}"];
    let users = prop::collection::vec((tail, prop::collection::vec(identity, 0..4)), 0..90);
    (prop_oneof!["", "[x-z]{1,30}"], users).prop_map(|(head, users)| {
        let users = users.into_iter().filter(|(tail, _)| !head.is_empty() || !tail.is_empty()).map(|(tail, ids)| {
            let uid = format!("{head}{tail}");
            let user = ids.into_iter().fold(User::new(uid.clone()), |user, id| user.with_identity("site", id));
            (uid, user)
        });
        let users = users.collect();
        (head, users)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_finds_what_the_cursor_finds((head, users) in population(), less in 0usize..8, from in 0usize..90) {
        let (bytes, dict) = build(&users);
        let block = Block::parse(&bytes, &dict).unwrap();
        let mut outline = Outline::default();
        // Any part of what the UIDs have in common may be left out of the keys.
        outline.read(&block, head.len().saturating_sub(less)).unwrap();
        for ordinal in 0..=users.len() {
            prop_assert_eq!(outline.mark(ordinal), block.rows_from(ordinal).unwrap().mark());
        }
        for (ordinal, uid) in users.keys().enumerate() {
            prop_assert_eq!(outline.uid(&block, ordinal).unwrap(), uid.as_bytes());
            prop_assert_eq!(outline.key_at(ordinal), outline.key(uid.as_bytes()));
        }
        prop_assert!(outline.uid(&block, users.len()).unwrap().is_empty());
        let from = from.min(users.len());
        for uid in users.keys().cloned().chain([format!("{head}b"), format!("{head}zz"), head.clone()]) {
            let uid = uid.as_bytes();
            let found = outline.seek(&block, from, users.len(), uid, outline.key(uid)).unwrap();
            prop_assert_eq!(found, block.lower_bound(uid).unwrap().max(from));
            let near = (from + 3).min(users.len());
            let found = outline.seek(&block, from, near, uid, outline.key(uid)).unwrap();
            prop_assert_eq!(found, block.lower_bound(uid).unwrap().clamp(from, near));
        }
    }

    #[test]
    fn bytes_that_lie_give_rows_or_faults(
        (_, users) in population(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        skip in 0usize..40,
    ) {
        let (mut bytes, dict) = build(&users);
        let whole = bytes.clone();
        // The header says how many there are: it stays.
        let at = crate::HEADER_LEN + at.index(bytes.len() - crate::HEADER_LEN);
        bytes[at] = value;
        for bytes in [&bytes, &whole] {
            let block = Block::parse(bytes, &dict).unwrap();
            let mut outline = Outline::default();
            let read = outline.read(&block, skip);
            prop_assert!(read.is_ok() || *bytes != whole);
            // Also with what is left of an outline that was not finished.
            for ordinal in 0..users.len() + 2 {
                let _ = outline.uid(&block, ordinal);
                let _ = block.row_at(outline.mark(ordinal));
                let _ = outline.seek(&block, ordinal, users.len(), b"m", outline.key(b"m"));
            }
        }
    }
}

#[test]
fn what_does_not_fit_together_is_a_fault_by_its_name() {
    let user = |uid: &str| (uid.to_owned(), User::new(uid).with_identity("site", "7"));
    let (whole, dict) = build(&["a", "b\"", "c"].map(user).into());
    let sections = Block::parse(&whole, &dict).unwrap().header.sections();
    let fault = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        Outline::default().read(&Block::parse(&bytes, &dict).unwrap(), 0).err().map(|fault| fault.what)
    };
    assert_eq!(fault(sections.control, 1), None);
    assert_eq!(fault(sections.control, 0), Some("a user begins without a UID"));
    // Ordinal, control position and text position of the one that is an exception.
    assert_eq!(fault(sections.exceptions, 1), None);
    assert_eq!(fault(sections.exceptions, 2), Some("exception order"));
    assert_eq!(fault(sections.exceptions + 8, 1), Some("exception order"));
}
