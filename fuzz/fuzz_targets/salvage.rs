//! Damaged manifests and segments, and one of them lost: salvage brings out users as they once were, and tells of what is not there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headcount_fuzz::salvaged(data));
