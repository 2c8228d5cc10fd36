//! Reading all inputs: one thread reads, decompresses and cuts; workers parse; what they find is put in order again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use headcount_block::Progress;
use headcount_store::Place;

use crate::choose::Reading;
use crate::chunk::{Broken, CHUNK, Chunk, Chunker, Cutter, Layout, LineCutter, RowCutter};
use crate::deleted::Deleted;
use crate::error::{BadDocument, BadRecord, ImportError, Position, Unit};
use crate::format::Format;
use crate::gigya::{Envelope, Splitter};
use crate::input::{Prepared, read_error};
use crate::ldif::EntryCutter;
use crate::mapped::Settings;
use crate::parse::{Counts, EXAMPLES, Failed, OnInvalid, Outcome, Parser, Sink};
use crate::rejects::Rejects;
use crate::walk::{Pages, Walker};

/// What was read of one input.
#[derive(Debug, Default)]
pub(crate) struct FileRead {
    /// Decompressed bytes.
    pub(crate) bytes: u64,
    /// Elements and envelope of a document.
    document: Option<(u64, Envelope)>,
    /// What the documents of another system say beside their records.
    pub(crate) pages: Option<Pages>,
    /// Whether the last row of a table has no line end.
    pub(crate) open: bool,
    pub(crate) counts: Counts,
}

/// What was read of all inputs.
pub(crate) struct AllRead<S> {
    /// The sinks, filled.
    pub(crate) sinks: Vec<S>,
    pub(crate) files: Vec<FileRead>,
    pub(crate) by_reason: BTreeMap<&'static str, u64>,
    pub(crate) skipped: BTreeMap<&'static str, u64>,
    pub(crate) examples: Vec<(Place, BadRecord)>,
}

/// Names of the inputs, and how their records are counted, for messages.
#[derive(Debug)]
pub(crate) struct Names(Vec<(String, Unit)>);

impl Names {
    pub(crate) fn of(inputs: &[Prepared]) -> Self {
        let unit = |input: &Prepared| match input.reading {
            Reading::Native if input.format == Format::GigyaJson => Unit::Record,
            Reading::Documents(_) => Unit::Record,
            _ => Unit::Line,
        };
        Self(inputs.iter().map(|i| (i.name.clone(), unit(i))).collect())
    }

    /// A place of the inputs in words.
    pub(crate) fn position(&self, place: Place) -> Position {
        let (file, unit) = self.0.get(usize::from(place.file)).cloned().unwrap_or((String::new(), Unit::Record));
        Position { file, unit, number: place.line, offset: place.offset }
    }
}

/// How to read.
pub(crate) struct Plan<'a> {
    pub(crate) names: &'a Names,
    pub(crate) on_invalid: OnInvalid,
    pub(crate) settings: &'a Settings,
    /// Users that another input leaves out.
    pub(crate) gone: &'a Deleted,
    pub(crate) progress: &'a Arc<Progress>,
    /// Takes the refused records.
    pub(crate) rejects: Option<&'a mut Rejects>,
}

/// No chunk has failed.
const NONE: u64 = u64::MAX;

/// What reader and workers share.
struct Shared<'a> {
    names: &'a Names,
    on_invalid: OnInvalid,
    settings: &'a Settings,
    gone: &'a Deleted,
    progress: &'a Progress,
    /// Number of the first chunk that failed: nothing behind it matters any more.
    failed_at: AtomicU64,
    failure: Mutex<Option<(u64, ImportError)>>,
    collected: Mutex<Collected<'a>>,
    spare: Sender<Vec<u8>>,
}

/// Outcomes, taken in the order of the chunks, so that a report does not depend on the threads.
struct Collected<'a> {
    next: u64,
    waiting: BTreeMap<u64, Parsed>,
    counts: Vec<Counts>,
    by_reason: BTreeMap<&'static str, u64>,
    skipped: BTreeMap<&'static str, u64>,
    examples: Vec<(Place, BadRecord)>,
    rejects: Option<&'a mut Rejects>,
}

struct Parsed {
    file: u16,
    outcome: Outcome,
    buffer: Vec<u8>,
}

/// Reads all inputs into the sinks, one worker a sink.
///
/// # Errors
/// The first failure in the order of the inputs.
pub(crate) fn read_all<S: Sink + Send>(
    inputs: &mut [Prepared],
    sinks: Vec<S>,
    plan: Plan<'_>,
) -> Result<AllRead<S>, ImportError> {
    // As many chunks as may be on their way: the reader waits for a buffer to come back, so the queue needs no bound
    // and a slow chunk holds up the others instead of letting their outcomes pile up.
    let buffers = 2 * sinks.len() + 2;
    let (spare, spares) = mpsc::channel();
    for _ in 0..buffers {
        // The receiver is alive.
        let _ = spare.send(Vec::new());
    }
    let collected = Collected {
        next: 0,
        waiting: BTreeMap::new(),
        counts: vec![Counts::default(); inputs.len()],
        by_reason: BTreeMap::new(),
        skipped: BTreeMap::new(),
        examples: Vec::new(),
        rejects: plan.rejects,
    };
    let shared = Shared {
        names: plan.names,
        on_invalid: plan.on_invalid,
        settings: plan.settings,
        gone: plan.gone,
        progress: plan.progress,
        failed_at: AtomicU64::new(NONE),
        failure: Mutex::new(None),
        collected: Mutex::new(collected),
        spare,
    };
    let (queue, chunks) = mpsc::channel();
    let chunks = Mutex::new(chunks);
    let (sinks, files) = thread::scope(|scope| {
        let workers: Vec<_> = sinks.into_iter().map(|sink| scope.spawn(|| work(&shared, &chunks, sink))).collect();
        let feed = Feed { shared: &shared, progress: plan.progress, queue, spares, seq: 0 };
        let files = feed.run(inputs);
        let join = |worker: thread::ScopedJoinHandle<'_, S>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (workers.into_iter().map(join).collect::<Vec<S>>(), files)
    });
    if let Some((_, error)) = lock(&shared.failure).take() {
        return Err(error);
    }
    let mut collected = shared.collected.into_inner().unwrap_or_else(PoisonError::into_inner);
    let files = files
        .into_iter()
        .zip(std::mem::take(&mut collected.counts))
        .map(|(file, counts)| FileRead { counts, ..file })
        .collect();
    let Collected { by_reason, skipped, examples, .. } = collected;
    Ok(AllRead { sinks, files, by_reason, skipped, examples })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker: parses chunks until there are no more.
fn work<S: Sink>(shared: &Shared<'_>, chunks: &Mutex<Receiver<Chunk>>, mut sink: S) -> S {
    let mut parser = Parser::new(shared.settings, shared.gone);
    let _waker = Waker(shared);
    loop {
        let next = lock(chunks).recv();
        let Ok(chunk) = next else { return sink };
        let (seq, file) = (chunk.seq, chunk.file);
        let mut outcome = Outcome::default();
        if seq < shared.failed_at.load(Ordering::Relaxed) {
            match parser.parse(&chunk, &mut sink, shared.on_invalid) {
                Ok(found) => outcome = found,
                Err(failed) => shared.fail(seq, shared.error_of(failed)),
            }
            shared.progress.add_users(outcome.counts.records - outcome.counts.rejected);
        }
        if let Err(error) = shared.collect(seq, Parsed { file, outcome, buffer: chunk.into_buffer() }) {
            shared.fail(seq, error);
        }
    }
}

/// Wakes the reader when a worker panics with its buffer; the panic goes on when the worker is joined.
struct Waker<'a, 'b>(&'a Shared<'b>);

impl Drop for Waker<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed_at.store(0, Ordering::Relaxed);
            let _ = self.0.spare.send(Vec::new());
        }
    }
}

impl Shared<'_> {
    /// Notes a failure in chunk `seq`; the one of the first chunk stays.
    fn fail(&self, seq: u64, error: ImportError) {
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_none_or(|(first, _)| seq < *first) {
            *failure = Some((seq, error));
            self.failed_at.fetch_min(seq, Ordering::Relaxed);
        }
    }

    fn has_failed(&self) -> bool {
        self.failed_at.load(Ordering::Relaxed) != NONE
    }

    fn error_of(&self, failed: Failed) -> ImportError {
        match failed {
            Failed::Record(place, reason) => ImportError::Record { at: self.names.position(place), reason },
            Failed::Store(headcount_store::Error::Cancelled) => ImportError::Cancelled,
            Failed::Store(e) => ImportError::Store(e),
            Failed::Usage(message) => ImportError::Usage(message.to_owned()),
        }
    }

    /// Takes an outcome, and all that waited for it.
    fn collect(&self, seq: u64, parsed: Parsed) -> Result<(), ImportError> {
        let mut collected = lock(&self.collected);
        collected.waiting.insert(seq, parsed);
        let mut result = Ok(());
        loop {
            let next = collected.next;
            let Some(Parsed { file, outcome, buffer }) = collected.waiting.remove(&next) else { return result };
            collected.next += 1;
            result = result.and(collected.take(file, outcome));
            // A buffer that one long record made large is not kept; nobody waits for one after the last chunk.
            let _ = self.spare.send(if buffer.len() > CHUNK { Vec::new() } else { buffer });
        }
    }
}

impl Collected<'_> {
    fn take(&mut self, file: u16, outcome: Outcome) -> Result<(), ImportError> {
        if let Some(counts) = self.counts.get_mut(usize::from(file)) {
            counts.add(&outcome.counts);
        }
        for (reason, n) in outcome.refused.by_reason {
            *self.by_reason.entry(reason).or_default() += n;
        }
        for (reason, n) in outcome.skipped {
            *self.skipped.entry(reason).or_default() += n;
        }
        let room = EXAMPLES - self.examples.len().min(EXAMPLES);
        self.examples.extend(outcome.refused.examples.into_iter().take(room));
        match &mut self.rejects {
            None => Ok(()),
            Some(rejects) => rejects
                .raw(file, &outcome.refused.raw)
                .map_err(|e| ImportError::io("write", "the file of rejected records", e)),
        }
    }
}

/// The reading side.
struct Feed<'a, 'b> {
    shared: &'a Shared<'b>,
    progress: &'a Arc<Progress>,
    queue: Sender<Chunk>,
    spares: Receiver<Vec<u8>>,
    /// Number of the next chunk.
    seq: u64,
}

impl Feed<'_, '_> {
    /// Reads every input; a failure is noted for the chunk that would have come next. Ends the queue.
    fn run(mut self, inputs: &mut [Prepared]) -> Vec<FileRead> {
        let mut files = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.iter_mut().enumerate() {
            let read = u16::try_from(index)
                .map_err(|_| ImportError::Usage("more than 65,536 inputs: join some of them".to_owned()))
                .and_then(|file| self.read(input, file));
            match read {
                Ok(Some(read)) => files.push(read),
                Ok(None) => break,
                Err(error) => {
                    self.shared.fail(self.seq, error);
                    break;
                }
            }
        }
        files
    }

    /// Reads one input; `None` when a worker has failed.
    fn read(&mut self, input: &mut Prepared, file: u16) -> Result<Option<FileRead>, ImportError> {
        let mut reader = input.records(self.progress)?;
        let mut cut = Cut::of(input);
        let mut chunker = Chunker::new(&mut reader, cut.cutter(), input.skip);
        loop {
            self.progress.check()?;
            if self.shared.has_failed() {
                return Ok(None);
            }
            // The other end lives as long as this function.
            let mut spare = || self.spares.recv().unwrap_or_default();
            let piece = match chunker.next(&mut spare) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(broken) => return Err(error_of(input, broken)),
            };
            if self.queue.send(piece.into_chunk(self.seq, file)).is_err() {
                return Ok(None);
            }
            self.seq += 1;
        }
        let bytes = chunker.offset();
        let mut read = FileRead { bytes, ..FileRead::default() };
        match cut {
            Cut::Document(splitter) => read.document = Some((splitter.elements(), envelope_of(input, &splitter)?)),
            Cut::Pages(walker) => read.pages = Some(walker.into_pages()),
            Cut::Rows(rows) => read.open = rows.is_open(),
            Cut::Lines(_) | Cut::Entries(_) => {}
        }
        Ok(Some(read))
    }
}

/// What cuts an input.
pub(crate) enum Cut {
    Document(Splitter),
    Pages(Walker),
    Lines(LineCutter),
    Rows(RowCutter),
    Entries(EntryCutter),
}

impl Cut {
    pub(crate) fn of(input: &Prepared) -> Self {
        match (&input.reading, &input.header) {
            (Reading::Native, Some((header, line))) => {
                Self::Rows(RowCutter::new(Layout::Rows(Arc::clone(header)), *line))
            }
            (Reading::Native, None) if input.format == Format::GigyaJson => Self::Document(Splitter::new(input.skip)),
            (Reading::Native, None) => Self::Lines(LineCutter::new(Layout::Lines)),
            (Reading::Lines(job), _) => Self::Lines(LineCutter::new(Layout::MappedLines(Arc::clone(job)))),
            (Reading::Documents(job), _) => Self::Pages(Walker::new(Arc::clone(job))),
            (Reading::Rows(job), _) if job.columns.unquoted => {
                Self::Lines(LineCutter::new(Layout::Table(Arc::clone(job))))
            }
            (Reading::Rows(job), _) => Self::Rows(RowCutter::new(Layout::Table(Arc::clone(job)), input.line)),
            (Reading::Entries(job), _) => Self::Entries(EntryCutter::new(Arc::clone(job))),
        }
    }

    pub(crate) fn cutter(&mut self) -> &mut dyn Cutter {
        match self {
            Self::Document(cutter) => cutter,
            Self::Pages(cutter) => cutter,
            Self::Lines(cutter) => cutter,
            Self::Rows(cutter) => cutter,
            Self::Entries(cutter) => cutter,
        }
    }
}

/// The error for an input that could not be read to its end.
pub(crate) fn error_of(input: &Prepared, broken: Broken) -> ImportError {
    match broken {
        Broken::Read(e, offset) => read_error(&input.name, input.compression, offset, e),
        Broken::Document(reason, at) => document_error(&input.name, reason, Some(at)),
    }
}

fn document_error(file: &str, reason: BadDocument, offset: Option<u64>) -> ImportError {
    ImportError::Document { file: file.to_owned(), offset, reason }
}

fn envelope_of(input: &Prepared, splitter: &Splitter) -> Result<Envelope, ImportError> {
    let envelope = splitter.envelope().map_err(|(reason, at)| document_error(&input.name, reason, Some(at)))?;
    envelope.check().map_err(|reason| document_error(&input.name, reason, None))?;
    Ok(envelope)
}

impl FileRead {
    /// Compares the declared counts with what was read: warnings.
    pub(crate) fn check_counts(&self, name: &str) -> Result<Vec<String>, ImportError> {
        let Some((elements, envelope)) = &self.document else { return Ok(Vec::new()) };
        let users = Envelope::check_count("usersCount", envelope.users_count(), *elements);
        // Identities of a refused user cannot be counted.
        let identities = if self.counts.rejected > 0 {
            Ok(Some("identitiesCount was not checked, since users were rejected".to_owned()))
        } else {
            Envelope::check_count("identitiesCount", envelope.identities_count(), self.counts.identities)
        };
        let warnings = users.and_then(|u| Ok([u, identities?])).map_err(|reason| document_error(name, reason, None))?;
        Ok(warnings.into_iter().flatten().map(|w| format!("{name}: {w}")).collect())
    }
}

#[cfg(test)]
mod tests;
