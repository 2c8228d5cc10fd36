//! Messages of a log that have right checksums and say anything: the store opens or says why not, its answers agree, and so do
//! those after a recovery.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headcount_fuzz::retold(data));
