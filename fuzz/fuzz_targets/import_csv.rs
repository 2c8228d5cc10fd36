//! Arbitrary bytes read as CSV: errors, never a panic; and what was accepted survives an export and a second import.
#![no_main]

use headcount_import::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| headcount_fuzz::import(data, Format::Csv));
