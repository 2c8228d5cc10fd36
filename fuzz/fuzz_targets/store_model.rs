//! A history out of arbitrary bytes, of commits, loads, compactions, erasures and reopenings, against a sorted map.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headcount_fuzz::history(bytes));
