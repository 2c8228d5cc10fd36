//! Random histories of a store against a sorted map: counts, lookups, scans, changes and exports at every snapshot.
//!
//! The number of steps and the seed come from the environment: `MODEL_STEPS=1000000 cargo test --release -p
//! headcount-benches --test store_model`. A failure names the seed of its history; `MODEL_SEED` begins with that one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod model;

use std::path::Path;

use headcount_benches::oracle;
use model::dice::Dice;
use model::run::Run;

/// Steps of one history: then it begins anew, with other settings.
const LIFE: usize = 400;
/// Seed of the first history.
const SEED: u64 = 1;

/// Says which history failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "to repeat: MODEL_SEED={seed} MODEL_STEPS={LIFE} cargo test -p headcount-benches --test store_model"
            );
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The fuzzer's seeds: bytes in place of a generator.
#[test]
fn histories_out_of_bytes_equal_the_model() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/store_model");
    for entry in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        Run::new(Dice::Bytes(&bytes)).go(bytes.len());
    }
}

#[test]
fn random_histories_equal_the_model() {
    let steps = setting("MODEL_STEPS", 4_000);
    let first = setting("MODEL_SEED", SEED);
    for seed in first..first + steps.div_ceil(LIFE as u64) {
        let _name = Named(seed);
        Run::new(Dice::Seed(seed)).go(LIFE);
    }
}
