use std::collections::HashSet;

use super::*;

fn drafts(seed: u64, shape: Shape, range: Range<u64>) -> Vec<Draft> {
    let users = Users::new(seed, shape);
    range
        .map(|index| {
            let mut draft = Draft::new();
            users.fill(index, &mut draft);
            draft
        })
        .collect()
}

fn written(seed: u64, count: u64, format: Format) -> (String, Counts) {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, format);
    for draft in drafts(seed, Shape::default(), 0..count) {
        writer.user(&draft).unwrap();
    }
    let counts = writer.finish().unwrap();
    (String::from_utf8(bytes).unwrap(), counts)
}

#[test]
fn uids_and_identities_are_unique() {
    let awkward = Shape { pending: 30.0, bare: 30.0, escaped: 30.0, unicode: 30.0 };
    for shape in [Shape::default(), awkward] {
        let all = drafts(42, shape, 0..100_000);
        let uids: HashSet<_> = all.iter().map(Draft::uid).collect();
        assert_eq!(uids.len(), all.len());
        let identities: HashSet<_> = all.iter().flat_map(Draft::identities).collect();
        assert_eq!(identities.len(), all.iter().map(|draft| draft.identities().len()).sum::<usize>());
    }
}

#[test]
fn far_users_are_unique_too() {
    // Where the fixed places of the numbers are full, the texts grow.
    let far = 36_u64.pow(6);
    let mut all = drafts(42, Shape::default(), 0..2000);
    all.extend(drafts(42, Shape::default(), far..far + 2000));
    all.extend(drafts(42, Shape::default(), 100 * far..100 * far + 2000));
    let uids: HashSet<_> = all.iter().map(Draft::uid).collect();
    assert_eq!(uids.len(), all.len());
    let identities: HashSet<_> = all.iter().flat_map(Draft::identities).collect();
    assert_eq!(identities.len(), all.iter().map(|draft| draft.identities().len()).sum::<usize>());
}

#[test]
fn the_mix_is_the_documented_one() {
    let all = drafts(1, Shape::default(), 0..100_000);
    let share = |test: &dyn Fn(&&Draft) -> bool| all.iter().filter(test).count() as f64 / 1000.0;
    let pending = share(&|draft| draft.is_pending());
    let bare = share(&|draft| draft.identities().len() == 0);
    let any = |draft: &Draft, test: fn(char) -> bool| {
        draft.uid().contains(test) || draft.identities().any(|(_, value)| value.contains(test))
    };
    let unicode = share(&|draft| any(draft, |c| !c.is_ascii()));
    let escaped = share(&|draft| any(draft, |c| c < ' ' || matches!(c, '"' | '\\' | ',')));
    assert!((2.8..3.2).contains(&pending), "{pending}");
    assert!((1.8..2.2).contains(&bare), "{bare}");
    assert!((0.9..1.1).contains(&unicode), "{unicode}");
    assert!((0.4..0.6).contains(&escaped), "{escaped}");
    let identities = all.iter().map(|draft| draft.identities().len()).sum::<usize>() as f64 / 100_000.0;
    assert!((1.65..1.75).contains(&identities), "{identities}");
    let providers: HashSet<_> = all.iter().flat_map(Draft::identities).map(|(provider, _)| provider).collect();
    assert_eq!(providers.len(), 12);
    assert!(!all.is_sorted_by_key(Draft::uid));
}

#[test]
fn a_seed_always_gives_the_same_users() {
    let (text, _) = written(1, 4, Format::Ndjson);
    assert_eq!(text, include_str!("seed-1.ndjson"));
    assert_ne!(written(2, 4, Format::Ndjson).0, text);
}

#[test]
fn json_holds_what_ndjson_holds_and_its_counts() {
    let (ndjson, counts) = written(3, 5000, Format::Ndjson);
    let (json, json_counts) = written(3, 5000, Format::GigyaJson);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let lines: Vec<serde_json::Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json["users"].as_array().unwrap(), &lines);
    assert_eq!(json["usersCount"], counts.users);
    assert_eq!(json["identitiesCount"], counts.identities);
    assert_eq!(counts.bytes, ndjson.len() as u64);
    assert_eq!((json_counts.users, json_counts.identities), (counts.users, counts.identities));
}

#[test]
fn csv_is_what_the_csv_crate_reads() {
    let (text, counts) = written(3, 5000, Format::Csv);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap(), vec!["uid", "provider", "providerUID", "status"]);
    let mut expected = drafts(3, Shape::default(), 0..5000).into_iter().flat_map(|draft| {
        let status = if draft.is_pending() { "pending" } else { "registered" };
        let uid = draft.uid().to_owned();
        let mut rows: Vec<_> = draft
            .identities()
            .map(|(provider, value)| vec![uid.clone(), provider.to_owned(), value.to_owned(), status.to_owned()])
            .collect();
        if rows.is_empty() {
            rows.push(vec![uid, String::new(), String::new(), status.to_owned()]);
        }
        rows
    });
    for record in reader.records() {
        assert_eq!(record.unwrap().iter().map(str::to_owned).collect::<Vec<_>>(), expected.next().unwrap());
    }
    assert_eq!(expected.next(), None);
    assert_eq!(counts.users, 5000);
}
