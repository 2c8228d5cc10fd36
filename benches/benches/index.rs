//! Finding a user by UID: the store's hash index against other structures over the same keys, all in memory.
//! The measurement behind `docs/decisions/003-index.md`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Throughput};
use headcount_benches::{Mix, Synth, users};
use headcount_block::{Progress, RowBuf};
use headcount_store::{LoadOptions, Place, RowKind, Store};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// How many keys one measurement asks for.
const LOOKUPS: usize = 100_000;

fn main() -> Outcome {
    let mut c = headcount_benches::criterion();
    let n = users();
    let synth = Synth::new(1, Mix { awkward: 0, ..Mix::USUAL });
    let uids: Vec<String> = (0..n).map(|i| synth.uid(i)).collect();
    let asked: Vec<String> =
        (0..LOOKUPS).map(|i| synth.uid((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % n)).collect();

    let store = Store::temporary()?;
    let load = store.bulk_load(LoadOptions { threads: 1, ..LoadOptions::default() }, &Arc::new(Progress::default()))?;
    let (mut shard, mut row) = (load.shard(), RowBuf::new());
    for i in 0..n {
        shard.push(row.encode(&synth.user(i))?, Place { file: 0, line: i + 1, offset: i }, RowKind::User)?;
    }
    load.finish(vec![shard], &mut |_| Ok(()))?;
    let stats = store.stats();
    let (index, blocks) = stats.segments.iter().fold((0, 0), |(i, b), s| (i + s.uid_index_bytes, b + s.blocks));
    eprintln!("{n} users in {blocks} blocks: {:.2} bytes a key in the UID index", index as f64 / n as f64);
    let snapshot = store.snapshot();

    // A sorted array of (hash, position): 12 bytes a key, log2(n) dependent reads.
    let state = RandomState::new();
    let mut hashes: Vec<(u64, u32)> = (0..).zip(&uids).map(|(i, uid)| (state.hash_one(uid), i)).collect();
    hashes.sort_unstable();
    let by_hash = |uid: &String| hashes.binary_search_by_key(&state.hash_one(uid), |h| h.0).is_ok();
    // A hash map that owns its keys, as an in-memory cache would.
    let map: HashMap<&str, u32> = uids.iter().map(String::as_str).zip(0..).collect();
    // Binary search by UID, as a block index without a hash index would have to; keys in memory flatter it.
    let mut sorted = uids.clone();
    sorted.sort_unstable();

    let mut group = c.benchmark_group("index");
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    let mut case = |name: &str, find: &dyn Fn(&String) -> bool| {
        assert!(asked.iter().all(find), "{name} finds every key");
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| asked.iter().filter(|uid| find(black_box(uid))).count());
        });
    };
    case("store-get", &|uid| matches!(snapshot.get(uid), Ok(Some(_))));
    case("sorted-hashes", &by_hash);
    case("hash-map", &|uid| map.contains_key(uid.as_str()));
    case("binary-search-by-uid", &|uid| sorted.binary_search(uid).is_ok());
    group.finish();
    let absent: Vec<String> = asked.iter().map(|uid| format!("{uid}-")).collect();
    let mut group = c.benchmark_group("index");
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    group.bench_function("store-get-absent", |b| {
        b.iter(|| absent.iter().filter(|uid| matches!(snapshot.get(black_box(uid)), Ok(Some(_)))).count());
    });
    group.finish();
    drop(snapshot);
    store.close()?;
    c.final_summary();
    Ok(())
}
