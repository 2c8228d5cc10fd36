//! Chunks that are polled: the same as those that are waited for, no wake-up lost, and nothing kept after a drop.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use common::{Fail, Memory, Recipe, Rng, population};
use headcount_export::{Chunk, Chunks, Error, Export, Format};

/// Wakes a thread, and counts how often.
struct Alarm {
    thread: Thread,
    wakes: AtomicUsize,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, SeqCst);
        self.thread.unpark();
    }
}

fn alarm() -> Arc<Alarm> {
    Arc::new(Alarm { thread: std::thread::current(), wakes: AtomicUsize::new(0) })
}

/// The next chunk; between polls nothing happens but a wake-up. A wake-up that was lost ends the test.
fn next(chunks: &mut Chunks, alarm: &Arc<Alarm>) -> Option<Result<Chunk, Error>> {
    let waker = Waker::from(Arc::clone(alarm));
    loop {
        let before = alarm.wakes.load(SeqCst);
        match chunks.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(item) => return item,
            Poll::Pending => {
                let deadline = Instant::now() + Duration::from_secs(20);
                while alarm.wakes.load(SeqCst) == before {
                    assert!(Instant::now() < deadline, "nobody woke the task");
                    std::thread::park_timeout(Duration::from_millis(100));
                }
            }
        }
    }
}

const RECIPE: Recipe =
    Recipe { users: 2000, pending: 10, bare: 5, escapes: 2, long: 0, unicode: 0, providers: 6, nasty_providers: false };

fn export(source: &Memory, format: Format, threads: usize) -> Export<Memory> {
    Export::new(source).format(format).threads(threads).call_id("C").time("T")
}

/// Waits until no thread has the source, and nobody the waker.
fn wait_for_threads(source: &Memory, alarm: &Arc<Alarm>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while source.handles() > 1 || Arc::strong_count(alarm) > 1 {
        assert!(Instant::now() < deadline, "a thread keeps the source or the waker");
        std::thread::yield_now();
    }
}

#[test]
fn polled_chunks_are_those_that_are_waited_for() {
    let source = Memory::new(&population(RECIPE, 31), 20);
    let mut wakes = 0;
    for round in 0..400 {
        let format = Format::ALL[round % 3];
        let threads = 1 + round % 4;
        let mut whole = Vec::new();
        let summary = export(&source, format, threads).write_to(&mut whole).unwrap();
        let (mut chunks, alarm) = (export(&source, format, threads).chunks().unwrap().detach(), alarm());
        let mut joined = Vec::new();
        while let Some(chunk) = next(&mut chunks, &alarm) {
            joined.extend_from_slice(&chunk.unwrap());
        }
        assert!(joined == whole, "{format} {threads}");
        assert_eq!(chunks.summary(), Some(&summary));
        assert!(next(&mut chunks, &alarm).is_none());
        wakes += alarm.wakes.load(SeqCst);
        drop(chunks);
        wait_for_threads(&source, &alarm);
    }
    assert!(wakes > 100, "only {wakes} wake-ups: it was not polled before its time");
}

#[test]
fn drops_at_any_point_let_go_of_the_source() {
    let users = population(RECIPE, 32);
    let mut rng = Rng(7);
    for round in 0..200 {
        let fail = (round % 2 == 0).then_some(Fail::Slow { ms: 1 });
        let source = Memory::with(&users, 20, 0, fail);
        let (mut chunks, alarm) = (export(&source, Format::Json, 1 + round % 4).chunks().unwrap().detach(), alarm());
        for _ in 0..rng.below(6) {
            drop(next(&mut chunks, &alarm));
        }
        if rng.chance(50) {
            let waker = Waker::from(Arc::clone(&alarm));
            let _: Poll<_> = chunks.poll_next(&mut Context::from_waker(&waker));
        }
        let begun = Instant::now();
        drop(chunks);
        assert!(begun.elapsed() < Duration::from_secs(1), "a drop does not wait for the export");
        wait_for_threads(&source, &alarm);
        assert!(source.visits() < 52, "the export went on to its end");
    }
}

#[test]
fn an_export_without_output_ends_when_nobody_wants_it() {
    // Nobody is selected, so that no buffer is ever filled.
    let users = population(Recipe { pending: 100, users: 1000, ..RECIPE }, 33);
    let source = Memory::with(&users, 10, 0, Some(Fail::Slow { ms: 2 }));
    for threads in [1, 3] {
        let before = source.visits();
        let chunks = export(&source, Format::Csv, threads).chunks().unwrap().detach();
        std::thread::sleep(Duration::from_millis(5));
        drop(chunks);
        wait_for_threads(&source, &alarm());
        assert!(source.visits() - before < 40, "the export went on to its end");
    }
}

#[test]
fn errors_and_panics_are_polled_as_they_are_waited_for() {
    let users = population(RECIPE, 34);
    let mut rng = Rng(9);
    for round in 0..120 {
        let block = rng.below(90);
        let fail = if round % 3 == 0 { Fail::Panic { block } } else { Fail::Flip { block, at: 300 } };
        let source = Memory::with(&users, 20, 0, Some(fail));
        let format = Format::ALL[round % 3];
        let threads = 1 + round % 4;
        let mut waited = Vec::new();
        let (mut chunks, alarm) = (export(&source, format, threads).chunks().unwrap().detach(), alarm());
        let mut polled = Vec::new();
        let found = loop {
            match next(&mut chunks, &alarm) {
                Some(Ok(chunk)) => polled.extend_from_slice(&chunk),
                Some(Err(error)) => break error,
                None => panic!("it looks whole"),
            }
        };
        assert!(next(&mut chunks, &alarm).is_none() && chunks.summary().is_none(), "an error is the last item");
        match fail {
            Fail::Panic { .. } => assert!(matches!(found, Error::Thread(text) if text == "the source panics")),
            _ => {
                let error = export(&source, format, threads).write_to(&mut waited);
                assert_eq!(found.to_string(), error.unwrap_err().to_string());
                assert!(polled == waited, "{format} {threads}");
            }
        }
        drop(chunks);
        wait_for_threads(&source, &alarm);
    }
}
