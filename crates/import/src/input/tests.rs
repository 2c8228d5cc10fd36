use std::io::Write;

use flate2::write::GzEncoder;

use super::*;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn content(raw: Vec<u8>) -> (Compression, io::Result<Vec<u8>>) {
    let mut content = Content::of("x", Cursor::new(raw), None, u64::MAX).unwrap();
    let mut out = Vec::new();
    (content.compression, content.reader.read_to_end(&mut out).map(|_| out))
}

#[test]
fn compression_is_told_by_content() {
    let (kind, plain) = content(b"abc".to_vec());
    assert_eq!((kind, plain.unwrap()), (Compression::None, b"abc".to_vec()));
    let two = [gzip(b"abc"), gzip(b"def")].concat();
    let (kind, plain) = content(two);
    assert_eq!((kind, plain.unwrap()), (Compression::Gzip, b"abcdef".to_vec()));
    let two = [zstd::encode_all(&b"abc"[..], 1).unwrap(), zstd::encode_all(&b"def"[..], 1).unwrap()].concat();
    let (kind, plain) = content(two);
    assert_eq!((kind, plain.unwrap()), (Compression::Zstd, b"abcdef".to_vec()));
    assert_eq!(content(Vec::new()).1.unwrap(), b"");
    assert_eq!(content(vec![0x1f]).1.unwrap(), [0x1f]);
}

#[test]
fn every_truncation_of_compressed_data_is_an_error() {
    let text = b"some text that compresses, some text that compresses".repeat(20);
    for whole in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
        for len in 4..whole.len() {
            assert!(content(whole[..len].to_vec()).1.is_err(), "{len} of {}", whole.len());
        }
    }
}

#[test]
fn errors_of_the_system_are_not_taken_for_damage() {
    let system = || io::Error::from_raw_os_error(5);
    assert!(matches!(read_error("f", Compression::Gzip, 0, system()), ImportError::Io { .. }));
    let damage = io::Error::new(io::ErrorKind::InvalidInput, "corrupt deflate stream");
    let error = read_error("f", Compression::Gzip, 7, damage);
    assert_eq!(
        error.to_string(),
        "f: damaged or truncated gzip data after 7 decompressed bytes: corrupt deflate stream"
    );
}
