use super::*;

fn user() -> User {
    User::new("u1").with_identity("a", "1").with_identity("b", "2\n").with_status(Status::Pending)
}

#[test]
fn a_row_reads_back() {
    let mut buf = RowBuf::new();
    let row = buf.encode(&user()).unwrap();
    assert_eq!(row.identity_count(), 2);
    let mut identities = row.identities();
    for left in [2, 1, 0] {
        assert_eq!(identities.size_hint(), (left, Some(left)));
        assert_eq!(identities.next().is_some(), left > 0);
    }
    let bytes = row.as_bytes().to_vec();
    assert_eq!(RowRef::parse(&bytes).unwrap().to_user().unwrap(), user());
    let mut longer = bytes.clone();
    longer.push(7);
    assert!(RowRef::parse(&longer).is_err());
    assert_eq!(RowRef::parse_prefix(&longer).unwrap().as_bytes(), &bytes[..]);
}

#[test]
fn every_cut_of_a_row_is_an_error() {
    let mut buf = RowBuf::new();
    let bytes = buf.encode(&user()).unwrap().as_bytes().to_vec();
    for cut in 0..bytes.len() {
        assert!(RowRef::parse(&bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn repeats_are_dropped_short_and_long() {
    let mut buf = RowBuf::new();
    buf.set_uid("u").unwrap();
    for round in 0..2 {
        for i in 0..100 {
            assert_eq!(buf.push_identity("p", &format!("{i}")).unwrap(), round == 0, "{i}");
        }
    }
    assert_eq!(buf.finish().unwrap().identity_count(), 100);
}

#[test]
fn limits_are_typed() {
    let mut buf = RowBuf::new();
    assert_eq!(buf.set_uid(""), Err(LimitError::Empty { what: "UID", max: 1024 }));
    assert!(buf.set_uid(&"x".repeat(1024)).is_ok());
    assert_eq!(buf.set_uid(&"x".repeat(1025)), Err(LimitError::TooLong { what: "UID", max: 1024, found: 1025 }));
    assert_eq!(buf.set_uid("a\0"), Err(LimitError::Nul { what: "UID", at: 1 }));
    assert!(matches!(buf.push_identity(&"p".repeat(129), "x"), Err(LimitError::TooLong { what: "provider", .. })));
    assert!(matches!(buf.push_identity("p", &"x".repeat(4097)), Err(LimitError::TooLong { .. })));
    assert!(matches!(buf.push_identity("p", ""), Err(LimitError::Empty { what: "providerUID", .. })));
    for i in 0..4096 {
        assert!(buf.push_identity("p", &format!("{i}")).unwrap());
    }
    assert_eq!(buf.push_identity("p", "more"), Err(LimitError::TooManyIdentities { max: 4096 }));
    buf.clear();
    buf.set_uid("u").unwrap();
    for i in 0..300 {
        buf.push_identity("p", &format!("{i:04096}")).unwrap();
    }
    assert!(matches!(buf.finish(), Err(LimitError::UserTooLong { .. })));
    buf.clear();
    assert!(matches!(buf.finish(), Err(LimitError::Empty { what: "UID", .. })));
}

#[test]
fn lengths_beyond_the_limits_are_refused_by_name() {
    let row = |uid: u16, count: u16, lens: [u8; 3]| {
        let mut bytes = vec![0];
        bytes.extend(uid.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        (0..count).for_each(|_| bytes.extend(lens));
        bytes.resize(bytes.len() + 2000 + usize::from(count) * 9000, b'x');
        RowRef::parse_prefix(&bytes).map(|row| row.uid().len()).map_err(|fault| (fault.what, fault.offset, fault.found))
    };
    assert_eq!(row(1024, 0, [0; 3]), Ok(1024));
    assert_eq!(row(1025, 0, [0; 3]), Err(("row UID length", 1, 1025)));
    assert_eq!(row(1, 4096, [1, 1, 0]), Ok(1));
    assert_eq!(row(1, 4097, [1, 1, 0]), Err(("row identity count", 3, 4097)));
    assert_eq!(row(1, 1, [128, 0, 16]), Ok(1));
    for (lens, found) in
        [([0, 1, 0], 1), ([129, 1, 0], 129 << 16 | 1), ([7, 0, 0], 7 << 16), ([7, 1, 16], 7 << 16 | 4097)]
    {
        assert_eq!(row(1, 1, lens), Err(("row identity lengths", FIXED, found)));
    }
}

#[test]
fn text_to_escape_is_seen() {
    let mut buf = RowBuf::new();
    assert!(!buf.encode(&user()).unwrap().is_plain());
    assert!(buf.encode(&User::new("u1").with_identity("a", "1")).unwrap().is_plain());
}

/// Nothing of a row is left out of its length, and the longest one reads back.
#[test]
fn a_row_may_be_as_long_as_the_limit_says() {
    let mut buf = RowBuf::new();
    (0..4001).for_each(|i| assert!(buf.push_identity("p", &format!("{i:0258}")).unwrap()));
    for longer in [0, 1] {
        let uid = "u".repeat(309 + longer);
        buf.set_uid(&uid).unwrap();
        match buf.finish() {
            Ok(row) => assert_eq!((longer, row.as_bytes().len()), (0, limits::USER_MAX)),
            Err(error) => {
                let too_long = LimitError::UserTooLong { max: limits::USER_MAX, found: limits::USER_MAX + 1 };
                assert_eq!((longer, error), (1, too_long));
            }
        }
    }
}
