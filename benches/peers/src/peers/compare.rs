//! Whether two exports are the same bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::Outcome;

const BUFFER: usize = 1 << 20;

/// Fills as much of the buffer as there is.
fn fill(file: &mut File, buffer: &mut Vec<u8>) -> Outcome {
    buffer.clear();
    file.take(BUFFER as u64).read_to_end(buffer)?;
    Ok(())
}

/// # Errors
/// Where they differ first.
pub(super) fn same(expected: &Path, found: &Path) -> Outcome {
    let (mut left, mut right) = (File::open(expected)?, File::open(found)?);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        fill(&mut left, &mut a)?;
        fill(&mut right, &mut b)?;
        if a != b {
            let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            let show = |bytes: &[u8]| {
                let from = same.saturating_sub(60);
                String::from_utf8_lossy(bytes.get(from..bytes.len().min(same + 60)).unwrap_or_default()).into_owned()
            };
            let at = at + same as u64;
            return Err(
                format!("not the same bytes, from {at} on: {:?} where {:?} is right", show(&b), show(&a)).into()
            );
        }
        if a.is_empty() {
            return Ok(());
        }
        at += a.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_more_or_less_or_another_one_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let bytes: Vec<u8> = (0..BUFFER * 2 + 5).map(|i| (i % 251) as u8).collect();
        let mut other = bytes.clone();
        other[BUFFER + 1] ^= 1;
        let left = write("a", &bytes);
        assert!(same(&left, &write("b", &bytes)).is_ok());
        let error = same(&left, &write("c", &other)).unwrap_err().to_string();
        assert!(error.contains(&format!("from {} on", BUFFER + 1)), "{error}");
        assert!(same(&left, &write("d", &bytes[..BUFFER])).is_err());
        assert!(same(&write("e", &bytes[..BUFFER]), &left).is_err());
    }
}
