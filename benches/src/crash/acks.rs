//! What the hammer said, line by line.

use std::collections::BTreeMap;

/// UID of the user that is put after an error, to see what the store says.
pub(super) const LATER: &str = "later";

/// How far each thread is known to have come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acks {
    threads: BTreeMap<u64, Thread>,
    /// Whether the store was there.
    pub created: bool,
    /// Whether the hammer came to its end and closed the store.
    pub closed: bool,
    /// Whether the commit after an error was carried out: user `later` is there.
    pub later: bool,
    /// Commits after an error that may be there, since they were begun and not refused: the power may fail before an answer.
    pub begun_later: u64,
    /// What went wrong, in order: lines that begin with `error`, `after`, `read` or `panic`.
    pub failures: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Thread {
    /// Steps that are durable.
    durable: u64,
    /// Steps that were begun.
    begun: u64,
    /// Seqs of steps that were answered, by step.
    seqs: BTreeMap<u64, u64>,
}

impl Acks {
    /// Nothing was said yet, of a store that stands after `done` steps of each thread.
    #[must_use]
    pub fn from_steps(done: &[u64]) -> Self {
        let thread = |steps: u64| Thread { durable: steps, begun: steps, seqs: BTreeMap::new() };
        Self {
            threads: (0..).zip(done.iter().map(|steps| thread(*steps))).collect(),
            created: done.iter().any(|steps| *steps > 0),
            ..Self::default()
        }
    }

    /// Takes in one line, which a kill may have cut short.
    pub fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|w| w.parse::<u64>().ok());
        match word {
            "created" => self.created = true,
            "closed" => self.closed = true,
            "begin" => {
                if let (Some(thread), Some(step)) = (number(), number()) {
                    self.threads.entry(thread).or_default().begun = step + 1;
                }
            }
            "ack" | "seen" => {
                if let (Some(thread), Some(step), Some(seq)) = (number(), number(), number()) {
                    let thread = self.threads.entry(thread).or_default();
                    thread.seqs.insert(step, seq);
                    if word == "ack" {
                        thread.durable = step + 1;
                    }
                }
            }
            "after" if line == "after Committed" => self.later = true,
            "error" | "after" | "read" | "panic" => {
                match word {
                    "error" => self.begun_later += 1,
                    // What was stopped before writes nothing.
                    "after" if line.starts_with("after Poisoned") => {
                        self.begun_later = self.begun_later.saturating_sub(1);
                    }
                    _ => {}
                }
                self.failures.push(line.to_owned());
            }
            _ => {}
        }
    }

    /// Takes in many lines.
    #[must_use]
    pub fn lines<'a>(mut self, lines: impl IntoIterator<Item = &'a str>) -> Self {
        lines.into_iter().for_each(|line| self.line(line));
        self
    }

    /// Steps of a thread that are certainly there.
    #[must_use]
    pub fn durable(&self, thread: u64) -> u64 {
        self.threads.get(&thread).map_or(0, |t| t.durable)
    }

    /// Steps of a thread that may be there.
    #[must_use]
    pub fn begun(&self, thread: u64) -> u64 {
        self.threads.get(&thread).map_or(0, |t| t.begun.max(t.durable))
    }

    /// Whether a step was answered in so many words.
    #[must_use]
    pub fn answered(&self, thread: u64, step: u64) -> bool {
        self.threads.get(&thread).is_some_and(|t| t.seqs.contains_key(&step))
    }

    /// Steps that are durable, of all threads.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.threads.values().map(|t| t.durable).sum()
    }

    /// Checks that what is lost of the answered steps is a suffix in seq order, and returns the greatest seq that must
    /// be there. `steps`: how many of each thread are there.
    ///
    /// # Errors
    /// The two seqs that stand the wrong way round.
    pub fn check_order(&self, steps: &[u64]) -> Result<u64, String> {
        let all = || {
            let of =
                |thread: u64| steps.get(usize::try_from(thread).unwrap_or(usize::MAX)).copied().unwrap_or_default();
            let seqs =
                self.threads.iter().flat_map(|(number, t)| t.seqs.iter().map(move |(s, seq)| (*number, *s, *seq)));
            // 0: a step that takes none.
            seqs.filter(|(_, _, seq)| *seq > 0).map(move |(thread, step, seq)| (step < of(thread), seq))
        };
        let kept = all().filter(|(there, _)| *there).map(|(_, seq)| seq).max().unwrap_or_default();
        let lost = all().filter(|(there, _)| !*there).map(|(_, seq)| seq).min();
        match lost {
            Some(lost) if lost < kept => Err(format!("seq {lost} is lost though seq {kept} is there")),
            _ => Ok(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let text = "created\nbegin 0 0 commit\nack 0 0 1\nbegin 1 0 commit\nbegin 0 1 load\nseen 1 0 3\nack 0";
        let acks = Acks::default().lines(text.lines());
        assert!(acks.created && !acks.closed);
        assert_eq!((acks.durable(0), acks.begun(0), acks.durable(1), acks.begun(1)), (1, 2, 0, 1));
        assert_eq!(acks.check_order(&[1, 0]), Ok(1));
        let more = acks.clone().lines(["seen 0 1 4"]);
        assert!(more.check_order(&[2, 0]).is_err());
        assert_eq!(more.check_order(&[2, 1]), Ok(4));
        let failed = acks.lines(["error 0 1 Io: full"]);
        assert_eq!((failed.begun_later, failed.later), (1, false));
        assert_eq!(failed.clone().lines(["after Poisoned: full"]).begun_later, 0);
        assert!(failed.lines(["after Committed"]).later);
    }
}
