//! Arbitrary bytes read by an arbitrary mapping, whose pairs stand in the first line with blanks between them: errors,
//! never a panic; and what was accepted survives an export and a second import.
#![no_main]

use headcount_import::Mapping;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|b| *b == b'\n') else { return };
    let Ok(pairs) = std::str::from_utf8(&data[..end]) else { return };
    if let Ok(mapping) = Mapping::parse(pairs.split(' ')) {
        headcount_fuzz::import_by(&data[end + 1..], &mapping);
    }
});
