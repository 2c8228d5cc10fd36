//! The row layouts of a block against each other: *interleaved* (a reference implementation in this benchmark) and
//! *split* (through the public API of `headcount-block`). The measurement behind `docs/decisions/001-layout.md`.
//!
//! Both hold the same users, without exceptions. Measured: rendering JSON into a reused buffer with the checksum
//! verified, and reading a user at random by (block, group, row), which is what an index slot names.

mod copy;
mod interleaved;
mod split;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use headcount_benches::{Mix, Synth, users};
use headcount_block::{Dictionary, DictionaryBuilder, User};

use crate::copy::{SLACK, Templates};

/// Where a user lies.
#[derive(Debug, Clone, Copy)]
struct Slot {
    block: usize,
    group: usize,
    row: usize,
}

/// What both layouts can do.
trait Layout {
    /// Bytes of all blocks.
    fn bytes(&self) -> usize;
    /// Number of blocks.
    fn blocks(&self) -> usize;
    /// Verifies one block and renders its users from `at` on; returns the end.
    fn render(&self, block: usize, templates: &Templates, out: &mut [u8], at: usize) -> usize;
    /// Reads one user; returns its UID's first eight bytes mixed with the lengths of all its values.
    fn get(&self, slot: Slot) -> u64;
    /// The slots of all users, in order.
    fn slots(&self) -> Vec<Slot>;
}

fn synthetic(n: u64, mix: Mix) -> (Vec<User>, Dictionary) {
    let mut users: Vec<User> = Synth::new(1, mix).take(usize::try_from(n).unwrap_or(usize::MAX)).collect();
    users.sort_by(|a, b| a.uid.cmp(&b.uid));
    let mut dictionary = DictionaryBuilder::new();
    for identity in users.iter().flat_map(|u| &u.identities) {
        dictionary.add(identity.provider.as_bytes(), 1).unwrap_or_default();
    }
    let Ok(dictionary) = dictionary.finish() else { unreachable!("synthetic providers are valid") };
    (users, dictionary)
}

/// Renders everything, one block after the other into the same buffer; returns the bytes rendered.
fn render_all(layout: &dyn Layout, templates: &Templates, out: &mut [u8]) -> usize {
    (0..layout.blocks()).map(|block| layout.render(block, templates, black_box(out), 0)).sum()
}

/// The concatenated rendering, for comparison.
fn rendered(layout: &dyn Layout, templates: &Templates) -> Vec<u8> {
    let mut out = vec![0; 1 << 20];
    let mut all = Vec::new();
    for block in 0..layout.blocks() {
        let end = layout.render(block, templates, &mut out, 0);
        all.extend(out.iter().take(end));
    }
    all
}

fn shuffled(mut slots: Vec<Slot>) -> Vec<Slot> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    for i in (1..slots.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        slots.swap(i, usize::try_from(state % (i as u64 + 1)).unwrap_or_default());
    }
    slots.truncate(200_000);
    slots
}

fn main() {
    let mut c = headcount_benches::criterion();
    let (users, dictionary) = synthetic(users(), Mix { awkward: 0, ..Mix::USUAL });
    let templates = Templates::new(&dictionary);
    let interleaved = interleaved::Blocks::build(&users, &dictionary);
    let split = split::Blocks::build(&users, &dictionary);
    let layouts: [(&str, &dyn Layout); 2] = [("interleaved", &interleaved), ("split", &split)];
    let expected = rendered(&split, &templates);
    assert!(expected == rendered(&interleaved, &templates), "both layouts render the same bytes");
    for (name, layout) in layouts {
        eprintln!("{name}: {:.2} bytes a user in blocks", layout.bytes() as f64 / users.len() as f64);
        let sum = |slots: &[Slot]| slots.iter().fold(0, |all, slot| all ^ layout.get(*slot));
        assert_eq!(sum(&layout.slots()), users.iter().fold(0, |all, u| all ^ fingerprint(u)), "{name} reads all users");
        let mut out = vec![0; (1 << 20) + SLACK];
        let mut group = c.benchmark_group("layout/render");
        group.throughput(Throughput::Bytes(expected.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| render_all(layout, &templates, &mut out));
        });
        group.finish();
        let slots = shuffled(layout.slots());
        let mut group = c.benchmark_group("layout/get");
        group.throughput(Throughput::Elements(slots.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| sum(black_box(&slots))));
        group.finish();
    }
    with_exceptions(&mut c);
    c.final_summary();
}

/// Point reads where nearly every block has a few rows that stand beside the compact ones, as real data has.
fn with_exceptions(c: &mut Criterion) {
    let (users, dictionary) = synthetic(users(), Mix::USUAL);
    let layout = split::Blocks::build(&users, &dictionary);
    let slots = shuffled(layout.slots());
    let mut group = c.benchmark_group("layout/get");
    group.throughput(Throughput::Elements(slots.len() as u64));
    group.bench_function("split-with-exceptions", |b| {
        b.iter(|| black_box(&slots).iter().fold(0, |all, slot| all ^ layout.get(*slot)));
    });
    group.finish();
}

/// What [`Layout::get`] returns for this user.
fn fingerprint(user: &User) -> u64 {
    let lens: usize = user.identities.iter().map(|i| i.provider.len() + i.provider_uid.len()).sum();
    copy::mix(user.uid.as_bytes(), lens)
}
