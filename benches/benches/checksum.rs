//! Candidates for the block checksum: 64 KiB blocks out of the last-level cache and out of memory.
//!
//! `HEADCOUNT_BENCH_CHECKSUM_MB` sets the working set of the second case (400 MB).

use std::hint::black_box;

use crc_fast::CrcAlgorithm;
use criterion::{BenchmarkId, Criterion, Throughput};
use headcount_benches::env_or;

/// Bytes under one checksum: the target size of a block.
const BLOCK: usize = 64 << 10;

type Candidate = (&'static str, fn(&[u8]) -> u64);

const CANDIDATES: [Candidate; 7] = [
    ("in-use", headcount_block::checksum),
    ("crc32fast", |block| u64::from(crc32fast::hash(block))),
    ("crc32c", |block| u64::from(crc32c::crc32c(block))),
    ("crc-fast-iscsi", |block| crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, block)),
    ("crc-fast-nvme", |block| crc_fast::checksum(CrcAlgorithm::Crc64Nvme, block)),
    ("xxh3", xxhash_rust::xxh3::xxh3_64),
    ("sum-of-words", sum_of_words),
];

/// Not a checksum: what reading the bytes costs at least.
fn sum_of_words(block: &[u8]) -> u64 {
    let mut lanes = [0u64; 8];
    for chunk in block.as_chunks::<64>().0 {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *lane = lane.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    lanes.into_iter().fold(0, u64::wrapping_add)
}

fn compare(c: &mut Criterion, name: &str, working_set: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    let data: Vec<u8> = words.take(working_set / 8).flat_map(u64::to_le_bytes).collect();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(data.len() as u64));
    for (name, sum) in CANDIDATES {
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| data.chunks_exact(BLOCK).fold(0, |all, block| all ^ sum(black_box(block))));
        });
    }
    group.finish();
}

fn main() {
    let mut c = headcount_benches::criterion();
    compare(&mut c, "checksum/cache", BLOCK);
    compare(&mut c, "checksum/memory", env_or("HEADCOUNT_BENCH_CHECKSUM_MB", 400) << 20);
    c.final_summary();
}
