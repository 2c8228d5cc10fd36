//! What the fuzz targets share: users out of arbitrary bytes, and blocks built from them.

mod forge;
mod messages;
/// A store against a model of it, shared with the test of random histories.
#[path = "../../benches/tests/model/mod.rs"]
#[allow(dead_code, reason = "histories out of seeds")]
mod model;
/// The slow way to export, shared with the oracle test.
#[path = "../../benches/src/oracle.rs"]
pub mod oracle;
mod records;
mod salvage;
mod stores;

pub use messages::retold;
pub use records::logged;
pub use salvage::salvaged;
pub use stores::{import, import_by, load, mutate};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use headcount_block::{
    Block, BlockBuilder, BlockId, Dictionary, DictionaryBuilder, RowBuf, Status, User, UserRef, limits,
};

/// Id of every block that is built here.
pub const ID: BlockId = BlockId { file: 0x4865_6164_636f_756e_74, number: 3 };

/// A path of that name in a directory of this process.
///
/// # Panics
/// When there is no room for temporary files.
#[must_use]
pub fn scratch(name: &str) -> PathBuf {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| tempfile::tempdir().expect("a directory can be made")).path().join(name)
}

/// Steps of a history at most: each takes a millisecond or so.
const STEPS: usize = 200;

/// Does to a store and to its model what `bytes` say, and compares them.
pub fn history(bytes: &[u8]) {
    model::run::Run::new(model::dice::Dice::Bytes(bytes)).go(STEPS);
}

/// A user within the limits, biased towards what is special: long values, repeats, characters to escape.
#[derive(Debug)]
pub struct AnyUser(pub User);

impl<'a> Arbitrary<'a> for AnyUser {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut user = User::new(value(u, limits::UID_MAX)?);
        if u.ratio(1, 4)? {
            user.status = Status::Pending;
        }
        for _ in 0..u.int_in_range(0..=6)? {
            let provider = if u.ratio(3, 4)? {
                (*u.choose(&["facebook", "googleplus", "site", "a,b", "\"q\"", "\u{e9}"])?).to_owned()
            } else {
                value(u, limits::PROVIDER_MAX)?
            };
            user = user.with_identity(provider, value(u, limits::PROVIDER_UID_MAX)?);
        }
        Ok(Self(user))
    }
}

/// Text of 1 to `max` bytes without NUL.
fn value(u: &mut Unstructured<'_>, max: usize) -> arbitrary::Result<String> {
    let piece = <&str>::arbitrary(u)?;
    let mut text: String = piece.chars().filter(|c| *c != '\0').collect();
    match u.int_in_range(0..=15u8)? {
        0 => text = text.repeat(u.int_in_range(1..=300)?),
        1 => text.push(*u.choose(&['"', '\\', ',', '\n', '\r', '\u{1}', '\u{7f}', '\u{2028}', '\u{1f600}'])?),
        _ => {}
    }
    if text.is_empty() {
        text.push('u');
    }
    while text.len() > max {
        text.pop();
    }
    Ok(text)
}

/// The users as a store would hold them: by UID, the last of a UID wins, repeated identities of a user dropped.
#[must_use]
pub fn in_order(users: Vec<AnyUser>) -> Vec<User> {
    let mut by_uid = BTreeMap::new();
    let mut row = RowBuf::new();
    for AnyUser(user) in users {
        // Users that are too long when encoded are refused, and that is all that may be wrong with them.
        if let Ok(row) = row.encode(&user) {
            by_uid.insert(user.uid.clone(), row.to_user().expect("a row that was encoded"));
        }
    }
    by_uid.into_values().collect()
}

/// The providers of `users`.
#[must_use]
pub fn dictionary(users: &[User]) -> Dictionary {
    let mut builder = DictionaryBuilder::new();
    for identity in users.iter().flat_map(|u| &u.identities) {
        builder.add(identity.provider.as_bytes(), 1).expect("few providers");
    }
    builder.finish().expect("providers within the limits")
}

/// One block of as many of the users as fit; their seqs are `seq * i`.
#[must_use]
pub fn block_of(users: &[User], dictionary: &Dictionary, seq: u64) -> (Vec<u8>, usize) {
    let (mut builder, mut row) = (BlockBuilder::new(), RowBuf::new());
    for (i, user) in users.iter().enumerate() {
        if builder.is_full() {
            break;
        }
        let row = row.encode(user).expect("within the limits");
        builder.push(&UserRef::from(row), dictionary, seq.wrapping_mul(i as u64)).expect("in order");
    }
    let mut bytes = Vec::new();
    let built = builder.finish(ID, &mut bytes);
    assert_eq!(built.len, bytes.len());
    (bytes, built.users)
}

/// Calls every reading function of a block; whatever the bytes are, each must return.
pub fn read_all(block: &Block<'_>) {
    let _ = (block.verify(ID), block.verify_rows(None), block.totals(), block.seq_range());
    for row in block.rows() {
        let Ok(user) = row else { break };
        let _ = user.to_user();
        let _ = block.find(user.uid());
    }
    for group in 0..=block.groups() {
        for row in [0, 1, 15, 16] {
            let _ = block.user_in_group(group, row).map(|u| u.to_user());
        }
        let _ = block.rows_from_group(group).map(Iterator::count);
    }
    for ordinal in [0, 1, block.users() / 2, block.users(), usize::MAX] {
        let _ = (block.seq(ordinal), block.user(ordinal).map(|u| u.to_user()));
    }
    let _ = (block.find(b""), block.find(b"\xff\xff"), block.lower_bound(b"m"));
}
