//! Mutations of the manifest of a small store: opening, lookups, scans and verification give errors, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| headcount_fuzz::mutate("MANIFEST", data));
