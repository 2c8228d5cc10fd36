use std::io::{self, Read as _};

use super::*;

/// Takes what comes, and fails after so many calls.
struct Taker {
    taken: Vec<u8>,
    calls: usize,
    most: usize,
    resumable: bool,
}

impl Taker {
    const fn new(most: usize) -> Self {
        Self { taken: Vec::new(), calls: 0, most, resumable: false }
    }
}

impl Sink for Taker {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        self.calls += 1;
        if self.calls > self.most {
            let source = io::ErrorKind::BrokenPipe.into();
            return Err(Error::Write { destination: "taker".to_owned(), source });
        }
        self.taken.extend_from_slice(buffer.as_slice());
        Ok(())
    }

    fn is_resumable(&self) -> bool {
        self.resumable
    }
}

fn unpacked(compression: Compression, packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match compression.name() {
        "gzip" => flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut plain).unwrap(),
        _ => zstd::stream::read::Decoder::new(packed).unwrap().read_to_end(&mut plain).unwrap(),
    };
    plain
}

fn packed(compression: Compression, threads: usize, pieces: &[&[u8]]) -> Vec<u8> {
    let mut taker = Taker::new(usize::MAX);
    let mut stage = Stage::new(compression, threads, &mut taker);
    for piece in pieces {
        let mut buffer = Buffer::new();
        buffer.extend(piece);
        stage.put(&mut buffer).unwrap();
    }
    stage.finish().unwrap();
    let bytes = stage.bytes;
    drop(stage);
    assert_eq!(bytes, taker.taken.len() as u64);
    taker.taken
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(((i * 7) ^ (i >> 9)) % 61).unwrap() + b'!').collect()
}

#[test]
fn the_same_bytes_for_any_threads_and_pieces_which_unpack_to_what_came() {
    for compression in [Compression::GZIP, Compression::ZSTD, "gzip:6".parse().unwrap(), "zstd:-3".parse().unwrap()] {
        for len in [0, 1, CUT - 1, CUT, CUT + 1, 5 * CUT + 77] {
            let text = text(len);
            let whole = packed(compression, 1, &[&text]);
            assert!(unpacked(compression, &whole) == text, "{compression} {len}");
            assert!(!whole.is_empty(), "nothing is a member too");
            for threads in [1, 2, 3, 8] {
                let pieces: Vec<&[u8]> = text.chunks(300_001).collect();
                assert!(packed(compression, threads, &pieces) == whole, "{compression} {len} {threads}");
            }
        }
    }
}

#[test]
fn a_destination_that_fails_is_the_error_and_nothing_hangs() {
    for threads in [1, 2, 5] {
        for most in 0..4 {
            let mut taker = Taker::new(most);
            let mut stage = Stage::new(Compression::GZIP, threads, &mut taker);
            let mut buffer = Buffer::new();
            buffer.extend(&text(20 * CUT));
            let error = stage.put(&mut buffer).and_then(|()| stage.finish()).unwrap_err();
            assert!(error.is_destination(), "{error}");
        }
    }
}

#[test]
fn a_thread_that_panics_or_fails_is_an_error_at_its_place() {
    for (treat, message) in [
        ((|_, piece| if piece.plain.first() == Some(&3) { panic!("third") } else { Ok(()) }) as pool::Treat, "third"),
        (
            |_, piece| if piece.plain.first() == Some(&3) { Err(io::Error::other("no memory")) } else { Ok(()) },
            "no memory",
        ),
    ] {
        let mut pool = Pool::start_with(Compression::ZSTD, 2, treat).unwrap();
        for i in 0..5 {
            pool.give(&mut vec![i; 10]).unwrap();
        }
        for i in 0..3 {
            assert_eq!(pool.next().unwrap().unwrap().plain, vec![i; 10]);
        }
        let error = pool.next().unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(pool.next().unwrap().unwrap().plain, vec![4; 10], "the thread goes on");
        assert!(pool.next().unwrap().is_none());
    }
}

#[test]
fn names_levels_and_extensions() {
    for text in ["gzip:1", "gzip:9", "zstd:1", "zstd:19", "zstd:-7"] {
        assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
    }
    assert_eq!("GZIP".parse(), Ok(Compression::GZIP));
    assert_eq!("zstd".parse(), Ok(Compression::ZSTD));
    for text in ["", "gz", "gzip:0", "gzip:10", "gzip:", "gzip:1:1", "gzip:-1", "zstd:0", "zstd:20", "zstd:-8", "none"]
    {
        let error = text.parse::<Compression>().unwrap_err().to_string();
        assert!(error.contains("expected gzip") && error.contains(&format!("{text:?}")), "{error}");
    }
    assert_eq!(Compression::of_path(Path::new("a/users.json.GZ")), Some(Compression::GZIP));
    assert_eq!(Compression::of_path(Path::new("users.zst")), Some(Compression::ZSTD));
    assert_eq!(Compression::of_path(Path::new("users.json")), None);
}
