//! The kernel against the plain renderer, and against control entries that lie.

use std::path::Path;

use headcount_block::{Block, BlockBuilder, BlockId, DictionaryBuilder, Piece, RowBuf, Span, Status, User, UserRef};
use proptest::prelude::*;

use super::*;
use crate::buffer::HEADROOM;
use crate::fields::Fields;
use crate::simple;

const ID: BlockId = BlockId { file: 7, number: 0 };

fn all_fields() -> Vec<Fields> {
    let by_bits = |bits: usize| {
        Fields::new(Field::ALL.into_iter().enumerate().filter_map(move |(i, f)| (bits >> i & 1 != 0).then_some(f)))
    };
    let columns = [
        "status,uid,provider,providerUID",
        "uid,status,provider,providerUID",
        "uid,provider,status,providerUID",
        "uid,provider,providerUID,status",
        "provider,providerUID,status",
        "uid,provider,status",
    ];
    (0..16).filter_map(by_bits).chain(columns.iter().map(|list| list.parse().unwrap())).collect()
}

fn layouts() -> Vec<Layout> {
    let mut all = Vec::new();
    for format in Format::ALL {
        for fields in all_fields() {
            for include_pending in [false, true] {
                all.push(Layout { format, fields, include_pending, formula_guard: false, changes: false });
            }
        }
    }
    all.retain(Layout::is_fast);
    all
}

/// Users that are all compact.
fn users() -> impl Strategy<Value = Vec<User>> {
    let identity = ("p[0-9]{1,2}|[a-z]{60,128}", "[0-9]{1,21}|[a-zé]{30,80}|[A-Z]{200,255}");
    let identities = prop::collection::vec(identity, 0..4);
    let user = ("[a-zA-Z0-9_=+/]{1,40}|[a-z]{45,127}", any::<bool>(), identities);
    prop::collection::vec(user, 1..40).prop_map(|list| {
        let mut users = std::collections::BTreeMap::new();
        for (uid, pending, identities) in list {
            let mut user = User::new(uid.clone());
            if pending {
                user.status = Status::Pending;
            }
            for (provider, id) in identities {
                if !user.identities.iter().any(|i| i.provider == provider && i.provider_uid == id) {
                    user = user.with_identity(provider, id);
                }
            }
            users.insert(uid, user);
        }
        users.into_values().collect()
    })
}

fn with_block(users: &[User], see: impl FnOnce(&Span<'_>)) {
    let mut names = DictionaryBuilder::new();
    for identity in users.iter().flat_map(|u| &u.identities) {
        names.add(identity.provider.as_bytes(), 1).unwrap();
    }
    let dict = names.finish().unwrap();
    let mut builder = BlockBuilder::new();
    let mut row = RowBuf::new();
    for user in users {
        builder.push(&UserRef::from(row.encode(user).unwrap()), &dict, 1).unwrap();
    }
    let mut bytes = Vec::new();
    builder.finish(ID, &mut bytes);
    let block = Block::parse(&bytes, &dict).unwrap();
    see(&Span::new(&block, 0..users.len(), Path::new("memory"), 0));
}

fn by_kernel(layout: &Layout, span: &Span<'_>) -> (Vec<u8>, u64, u64) {
    let templates = Templates::new(layout, span.dictionary());
    let mut out = vec![0; HEADROOM];
    let (mut users, mut identities) = (0, 0);
    let mut end = HEADROOM;
    for piece in span.pieces().unwrap() {
        let Piece::Clean(clean) = piece.unwrap() else { panic!("every user of this test is compact") };
        let bound = bound(&templates, &clean);
        out.resize(end + bound + WINDOW, 0);
        let done = render(layout, &templates, &clean, &mut out, end).unwrap();
        assert!(done.end - end <= bound);
        (end, users, identities) = (done.end, users + done.users, identities + done.identities);
    }
    (out[HEADROOM..end].to_vec(), users, identities)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernel_equals_plain_renderer(users in users()) {
        with_block(&users, |span| {
            for layout in layouts() {
                let (mut plain, mut count, mut identities) = (Vec::new(), 0, 0);
                for user in span.rows().unwrap().map(Result::unwrap).filter(|u| layout.keeps(u.status())) {
                    simple::render_user(&layout, &user, &mut plain);
                    count += 1;
                    identities += user.identities().count() as u64;
                }
                let found = by_kernel(&layout, span);
                assert_eq!(String::from_utf8_lossy(&found.0), String::from_utf8_lossy(&plain), "{layout:?}");
                assert_eq!((found.1, found.2), (count, identities), "{layout:?}");
            }
        });
    }

    #[test]
    fn any_control_entries_give_text_or_a_fault(
        ctl in prop::collection::vec(any::<u8>(), 1..200),
        text_len in 0usize..4000,
        entries in 0usize..70,
        room in 0usize..9000,
    ) {
        let text = vec![b'x'; text_len + PADDING];
        let users = [User::new("u").with_identity("site", "1")];
        with_block(&users, |span| {
            for layout in layouts().into_iter().step_by(5) {
                let templates = Templates::new(&layout, span.dictionary());
                let clean = Clean { ctl: &ctl, entries, text: &text, text_len, users: 1 };
                let mut out = vec![0; HEADROOM + room];
                // Whatever comes of it, it does not panic and stays in bounds.
                if let Ok(done) = render(&layout, &templates, &clean, &mut out, HEADROOM) {
                    assert!(done.end <= out.len());
                }
            }
        });
    }
}

#[test]
fn entries_that_lie_are_faults() {
    let users = [User::new("u").with_identity("site", "1")];
    // Without pending users nothing is known of how many there have to be.
    for include_pending in [false, true] {
        let layout = Layout {
            format: Format::Json,
            fields: Fields::default(),
            include_pending,
            formula_guard: false,
            changes: false,
        };
        with_block(&users, |span| {
            let templates = Templates::new(&layout, span.dictionary());
            let text = [b'x'; 10 + PADDING];
            let run = |ctl: &[u8], text_len, users| {
                let padded = [ctl, &[0]].concat();
                let clean = Clean { ctl: &padded, entries: ctl.len() / 3, text: &text, text_len, users };
                let mut out = vec![0; 2 * WINDOW];
                render(&layout, &templates, &clean, &mut out, HEADROOM).ok()
            };
            let right = run(&[1, 1, 1, 0, 1, 2], 4, 1).unwrap();
            assert_eq!((right.users, right.identities), (1, 2));
            assert_eq!(run(&[], 0, 0), Some(Rendered { end: HEADROOM, users: 0, identities: 0 }), "nobody");
            assert_eq!(run(&[0, 1, 1], 1, 1), None, "begins in the middle of a user");
            assert_eq!(run(&[0, 1, 1, 1, 1, 1], 3, 1), None, "begins in the middle of a user");
            assert_eq!(run(&[1, 2, 1], 2, 1), None, "a provider that is not in the dictionary");
            assert_eq!(run(&[1, 1, 1, 0, 0, 0], 2, 1), None, "goes on without an identity");
            assert_eq!(run(&[1, 1, 1], 3, 1), None, "text that no entry names");
            assert_eq!(run(&[1, 1, 200], 10, 1), None, "text that is not there");
            assert_eq!(run(&[], 0, 1), None, "no entry of a user");
            assert_eq!(run(&[1, 1, 1], 2, 2).is_none(), include_pending, "a user who is not there");
            assert_eq!(run(&[1, 1, 1], 2, 0).is_none(), include_pending, "entries of nobody");
        });
    }
}

/// Their number would pass over into the one of identities.
#[test]
fn more_entries_than_a_counter_holds_are_a_fault() {
    let layout = Layout {
        format: Format::Ndjson,
        fields: "uid".parse().unwrap(),
        include_pending: false,
        formula_guard: false,
        changes: false,
    };
    with_block(&[User::new("u")], |span| {
        let templates = Templates::new(&layout, span.dictionary());
        for (entries, fits) in [((1 << COUNT_BITS) - 1, true), (1 << COUNT_BITS, false)] {
            let mut ctl = [1, 0, 0].repeat(entries);
            ctl.push(0);
            let text = vec![b'x'; entries + PADDING];
            let clean = Clean { ctl: &ctl, entries, text: &text, text_len: entries, users: entries };
            let mut out = vec![0; HEADROOM + entries * 12 + WINDOW];
            let done = render(&layout, &templates, &clean, &mut out, HEADROOM).ok();
            assert_eq!(done.map(|done| (done.users, done.identities)), fits.then_some((entries as u64, 0)));
        }
    });
}
