//! Arbitrary bytes through the reader of blocks: errors, never a panic. Checksums are not in the way: structure is
//! checked whatever they say, because safety must not depend on them.
#![no_main]

use std::path::Path;

use headcount_block::{Block, Dictionary, Piece, RowRef, Span};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let dictionary = Dictionary::decode(b"\x08facebook\x0agoogleplus\x04site").expect("valid names");
    let _ = Dictionary::decode(data).map(|d| d.encode());
    let _ = RowRef::parse(data).map(|row| row.to_user());
    let Ok(block) = Block::parse(data, &dictionary) else { return };
    headcount_fuzz::read_all(&block);
    let users = block.users();
    for rows in [0..users, 0..users / 2, users / 3..users, users..users] {
        let span = Span::new(&block, rows, Path::new("fuzz"), 0);
        let Ok(pieces) = span.pieces() else { continue };
        let mut seen = 0;
        for piece in pieces {
            match piece {
                Err(_) => break,
                Ok(Piece::Row(row)) => {
                    seen += 1;
                    let _ = row.to_user();
                }
                Ok(Piece::Clean(clean)) => {
                    seen += clean.users;
                    // What the type promises to renderers.
                    assert!(clean.ctl.len() > 3 * clean.entries);
                    assert!(clean.text.len() >= clean.text_len + headcount_block::PADDING);
                }
            }
        }
        assert!(seen <= span.users());
        let _ = span.rows().map(Iterator::count);
    }
});
