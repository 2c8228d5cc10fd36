//! Shows how far a long operation is: users, bytes, rate and time left.

use std::io::{self, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use headcount::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};

use crate::size::{human_bytes, human_count};
use crate::ui::{ProgressStyle, Ui};

/// Between two looks at the counters when a bar is drawn, and when lines are written.
const BAR_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How fast something was done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// How long it took, to the millisecond.
    pub(crate) seconds: f64,
    /// Users in a second.
    pub(crate) users_per_second: u64,
}

impl Rate {
    /// The rate of `users` since `started`.
    #[must_use]
    pub(crate) fn of(users: u64, started: Instant) -> Self {
        let passed = started.elapsed();
        let micros = passed.as_micros().max(1);
        Self {
            seconds: (passed.as_secs_f64() * 1000.0).round() / 1000.0,
            users_per_second: u64::try_from(u128::from(users) * 1_000_000 / micros).unwrap_or(u64::MAX),
        }
    }
}

/// Runs `work`, which counts in `progress`, and shows the counters while it runs.
pub(crate) fn watch<T>(ui: &Ui, progress: &Progress, work: impl FnOnce() -> T) -> T {
    let style = ui.progress_style();
    if style == ProgressStyle::None {
        return work();
    }
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        scope.spawn(move || match style {
            ProgressStyle::Bar => draw_bar(progress, &stopped),
            ProgressStyle::Lines | ProgressStyle::None => write_lines(progress, &stopped),
        });
        let result = work();
        drop(stop);
        result
    })
}

/// Waits for `time`; false when the work has ended.
fn goes_on(stopped: &mpsc::Receiver<()>, time: Duration) -> bool {
    stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

fn draw_bar(progress: &Progress, stopped: &mpsc::Receiver<()>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let mut phase = Phase::begin(progress);
    while goes_on(stopped, BAR_EVERY) {
        phase.update(progress);
        let state = phase.state(progress);
        match state.parts {
            Some((done, total)) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_style(style("{bar:30} {percent:>3}% {msg}"));
            }
            None => bar.set_style(style("{spinner} {msg}")),
        }
        bar.set_message(state.text);
        bar.tick();
    }
    bar.finish_and_clear();
}

/// A bar's layout; the default one if the template were wrong.
fn style(template: &str) -> BarStyle {
    BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar())
}

fn write_lines(progress: &Progress, stopped: &mpsc::Receiver<()>) {
    let mut phase = Phase::begin(progress);
    loop {
        let goes_on = goes_on(stopped, LINE_EVERY);
        phase.update(progress);
        let State { parts, text } = phase.state(progress);
        let percent = parts.map(|(done, total)| format!("{}% ", done.saturating_mul(100) / total.max(1)));
        let _unreportable = writeln!(io::stderr().lock(), "{}{text}", percent.unwrap_or_default());
        if !goes_on {
            return;
        }
    }
}

/// The phase that runs, and since when: rates are of one phase.
struct Phase {
    name: &'static str,
    since: Instant,
}

/// What is shown of a phase.
struct State {
    /// Done and in all, of whatever is known in all.
    parts: Option<(u64, u64)>,
    text: String,
}

impl Phase {
    fn begin(progress: &Progress) -> Self {
        Self { name: progress.phase(), since: Instant::now() }
    }

    fn update(&mut self, progress: &Progress) {
        if progress.phase() != self.name {
            *self = Self::begin(progress);
        }
    }

    fn state(&self, progress: &Progress) -> State {
        let (users, bytes) = (progress.users(), progress.bytes());
        let parts = [(bytes, progress.total_bytes()), (users, progress.total_users())]
            .into_iter()
            .find(|&(_, total)| total > 0)
            .map(|(done, total)| (done.min(total), total));
        let passed = self.since.elapsed();
        let rate = users.saturating_mul(1000) / u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let name = if self.name.is_empty() { "working" } else { self.name };
        let mut text = if users == 0 && bytes == 0 {
            // A phase that does not count, or has not begun to.
            format!("{name}: {} s", passed.as_secs())
        } else if users == 0 {
            let rate = bytes.saturating_mul(1000) / u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
            format!("{name}: {}, {}/s", human_bytes(bytes), human_bytes(rate))
        } else {
            let (users, rate) = (human_count(users), human_count(rate));
            format!("{name}: {users} users, {}, {rate} users/s", human_bytes(bytes))
        };
        if let Some(left) = parts.and_then(|(done, total)| time_left(passed, done, total)) {
            text.push_str(&format!(", {left} s left"));
        }
        State { parts, text }
    }
}

/// Whole seconds until `total`, at the rate so far; not told in the first second or before anything is done.
fn time_left(passed: Duration, done: u64, total: u64) -> Option<u64> {
    if done == 0 || passed < Duration::from_secs(1) {
        return None;
    }
    let left = u128::from(total.saturating_sub(done)) * passed.as_millis() / u128::from(done) / 1000;
    u64::try_from(left).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_the_rate() {
        assert_eq!(time_left(Duration::from_secs(10), 100, 300), Some(20));
        assert_eq!(time_left(Duration::from_secs(10), 0, 300), None);
        assert_eq!(time_left(Duration::from_millis(10), 100, 300), None);
        assert_eq!(time_left(Duration::from_secs(10), 300, 200), Some(0));
    }

    #[test]
    fn a_state_names_phase_and_counts() {
        let progress = Progress::default();
        progress.set_phase("reading");
        progress.set_total_bytes(2000);
        progress.add_users(12_345);
        progress.add_bytes(1000);
        let state = Phase::begin(&progress).state(&progress);
        assert_eq!(state.parts, Some((1000, 2000)));
        assert!(state.text.starts_with("reading: 12,345 users, 1.0 kB, "), "{}", state.text);
    }
}
