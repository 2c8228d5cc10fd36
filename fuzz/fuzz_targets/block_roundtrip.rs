//! Arbitrary users built into a block and read back: the same users, sums and seqs, by every way of reading.
#![no_main]

use std::path::Path;

use headcount_block::{Block, Piece, Span, Totals, UserRef};
use headcount_fuzz::{AnyUser, ID, block_of, dictionary, in_order};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<AnyUser>, u64)| {
    let (users, seq) = (in_order(input.0), input.1 >> 16);
    let dictionary = dictionary(&users);
    let (bytes, count) = block_of(&users, &dictionary, seq);
    let users = &users[..count];
    let block = Block::parse(&bytes, &dictionary).expect("a block that was built");
    block.verify(ID).expect("a block that was built");
    block.verify_rows(None).expect("a block that was built");
    let read: Vec<_> = block.rows().map(|r| r.and_then(|u| u.to_user()).expect("a row that was built")).collect();
    assert_eq!(read, users);
    let mut totals = Totals::default();
    for (i, user) in users.iter().enumerate() {
        let found = block.find(user.uid.as_bytes()).expect("whole").expect("present");
        assert_eq!((found.0, found.1.to_user().expect("text")), (i, user.clone()));
        assert_eq!(block.user_in_group(i / 16, i % 16).expect("whole").uid(), user.uid.as_bytes());
        assert_eq!(block.seq(i).expect("whole"), seq * i as u64);
        totals.add_user(&found.1);
        let absent = format!("{}\u{1}", user.uid);
        let known = users.iter().any(|u| u.uid == absent);
        assert_eq!(block.find(absent.as_bytes()).expect("whole").is_some(), known);
    }
    assert_eq!(totals, block.totals());
    let from = seq as usize % (count + 1);
    let span = Span::new(&block, from..count, Path::new("fuzz"), 0);
    let mut pieces = 0;
    for piece in span.pieces().expect("whole") {
        match piece.expect("whole") {
            Piece::Clean(clean) => pieces += clean.users,
            Piece::Row(row) => {
                assert_eq!(UserRef::from(row).to_user().expect("text"), users[from + pieces]);
                pieces += 1;
            }
        }
    }
    assert_eq!(pieces, count - from);
});
