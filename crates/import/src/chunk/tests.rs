use super::*;

/// A reader that gives at most `step` bytes at a time.
struct Dripping<'a>(&'a [u8], usize);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(buffer.len());
        self.0.take(n as u64).read(buffer).inspect(|&n| self.0 = &self.0[n..])
    }
}

/// All chunks of `content`: number, offset and bytes of each.
fn chunks(content: &[u8], step: usize, cutter: &mut dyn Cutter) -> Result<Vec<(u64, u64, Vec<u8>)>, Broken> {
    let mut reader = Dripping(content, step);
    let mut chunker = Chunker::new(&mut reader, cutter, 0);
    let mut found = Vec::new();
    while let Some(piece) = chunker.next(&mut Vec::new)? {
        let chunk = piece.into_chunk(0, 0);
        found.push((chunk.number, chunk.offset, chunk.bytes().to_vec()));
    }
    assert_eq!(chunker.offset(), content.len() as u64);
    Ok(found)
}

fn joined(chunks: &[(u64, u64, Vec<u8>)]) -> Vec<u8> {
    chunks.iter().flat_map(|c| c.2.clone()).collect()
}

#[test]
fn lines_are_cut_at_newlines_and_counted() {
    let line = format!("{}\n", "x".repeat(998));
    let content = format!("{}last", line.repeat(3000));
    let found = chunks(content.as_bytes(), 70_000, &mut LineCutter::new(Layout::Lines)).unwrap();
    assert!(found.len() >= 5, "{}", found.len());
    assert_eq!(joined(&found), content.as_bytes());
    let mut offset = 0;
    for (number, at, bytes) in &found {
        assert_eq!((*number, *at), (offset / 999 + 1, offset));
        offset += bytes.len() as u64;
    }
}

#[test]
fn rows_are_cut_outside_of_quotes() {
    let header = Header::parse(b"uid,provider,providerUID").unwrap();
    let row = "u,p,\"a\n\"\"\nb,\n\"\r\n";
    let content = row.repeat(100_000);
    let mut cutter = RowCutter::new(Layout::Rows(header), 2);
    let found = chunks(content.as_bytes(), 1 << 20, &mut cutter).unwrap();
    assert!(found.len() >= 3, "{}", found.len());
    assert_eq!(joined(&found), content.as_bytes());
    for (number, at, bytes) in &found {
        assert_eq!(bytes.len() % row.len(), 0);
        assert_eq!(*number, at / row.len() as u64 * 4 + 2);
    }
}

#[test]
fn a_long_record_grows_the_buffer_up_to_the_limit() {
    let content = format!("a\n{}\nb\n", "x".repeat(RECORD_MAX - 1));
    let found = chunks(content.as_bytes(), 1 << 20, &mut LineCutter::new(Layout::Lines)).unwrap();
    assert_eq!(joined(&found), content.as_bytes());
    let content = format!("a\n{}\nb\n", "x".repeat(RECORD_MAX));
    let Err(Broken::Document(reason, at)) = chunks(content.as_bytes(), 1 << 20, &mut LineCutter::new(Layout::Lines))
    else {
        panic!("a line over the limit was taken")
    };
    assert_eq!(at, 2);
    assert_eq!(reason.to_string(), "a line is longer than 8388608 bytes: is this file of the format ndjson?");
}

#[test]
fn an_open_quote_at_the_end_is_an_error_at_its_record() {
    let header = Header::parse(b"uid,provider,providerUID").unwrap();
    let mut cutter = RowCutter::new(Layout::Rows(header), 2);
    let Err(Broken::Document(reason, at)) = chunks(b"u,p,1\nv,p,\"2\n", 5, &mut cutter) else {
        panic!("an open quote was taken")
    };
    assert_eq!(at, 6);
    assert!(reason.to_string().contains("quoted CSV field"), "{reason}");
}

#[test]
fn an_empty_input_has_no_chunks() {
    assert_eq!(chunks(b"", 5, &mut LineCutter::new(Layout::Lines)).unwrap(), []);
}
