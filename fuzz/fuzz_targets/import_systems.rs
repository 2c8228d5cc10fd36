//! Arbitrary bytes read as the files of other systems, of the format that the first byte picks, or by content: errors,
//! never a panic; and what was accepted survives an export and a second import.
#![no_main]

use headcount_import::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((pick, content)) = data.split_first() else { return };
    let format = Format::ALL[usize::from(*pick) % Format::ALL.len()];
    if format != Format::Map {
        headcount_fuzz::import(content, format);
    }
});
