//! The format's bytes do not change by accident.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use headcount_block::{Block, BlockBuilder, BlockId, DictionaryBuilder, RowBuf, Status, User};

const GOLDEN: &[u8] = include_bytes!("data/block-v1.bin");
const ID: BlockId = BlockId { file: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, number: 42 };

fn users() -> Vec<User> {
    let mut users: Vec<User> = (0..20)
        .map(|i| User::new(format!("plain-{i:02}")).with_identity("facebook", format!("{i}")).with_identity("x", "1"))
        .collect();
    users.push(User::new("q").with_status(Status::Pending));
    users.push(User::new("r\"escaped\"").with_identity("a,b", "c\nd"));
    users.push(User::new("s".repeat(200)).with_identity("facebook", "é".repeat(300)).with_status(Status::Pending));
    users
}

/// The dictionary with its length in front, then the block.
fn built() -> Vec<u8> {
    let mut providers = DictionaryBuilder::new();
    for identity in users().iter().flat_map(|u| &u.identities) {
        providers.add(identity.provider.as_bytes(), 1).unwrap();
    }
    let dict = providers.finish().unwrap();
    let (mut builder, mut row) = (BlockBuilder::new(), RowBuf::new());
    for (seq, user) in (0..).zip(users()) {
        builder.push(&row.encode(&user).unwrap().into(), &dict, seq * 20).unwrap();
    }
    let mut bytes = Vec::new();
    builder.finish(ID, &mut bytes);
    let mut golden = dict.encode();
    golden.insert(0, u8::try_from(golden.len()).unwrap());
    golden.extend_from_slice(&bytes);
    golden
}

#[test]
fn a_block_has_the_bytes_of_version_1() {
    assert!(built() == GOLDEN, "the block layout changed: that takes a new layout version and a reader of the old one");
}

#[test]
fn a_block_of_version_1_is_read() {
    let (len, rest) = GOLDEN.split_first().unwrap();
    let (dict, block) = rest.split_at(usize::from(*len));
    let dict = headcount_block::Dictionary::decode(dict).unwrap();
    let block = Block::parse(block, &dict).unwrap();
    block.verify(ID).unwrap();
    block.verify_rows(None).unwrap();
    let read: Vec<User> = block.rows().map(|r| r.unwrap().to_user().unwrap()).collect();
    assert_eq!(read, users());
    assert_eq!(block.exceptions(), 2);
}
