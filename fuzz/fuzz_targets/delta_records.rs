//! Arbitrary records in a log whose checksums are right: the store opens or says why not, and its answers agree.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| headcount_fuzz::logged(data));
