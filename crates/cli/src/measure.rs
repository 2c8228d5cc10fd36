//! What this machine and a disk do with Headcount: the figures of `headcount bench`.

mod machine;
mod steps;

pub(crate) use machine::Machine;
pub(crate) use steps::{Plan, run};

/// One figure: the median of its rounds, the least and the greatest.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: &'static str,
    /// Of the numbers; `×` is a ratio of times.
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Figure {
    /// The figure of these rounds.
    pub(crate) fn of(what: &'static str, unit: &'static str, rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
        Self { what, unit, median: at(sorted.len() / 2), least: at(0), greatest: at(sorted.len().saturating_sub(1)) }
    }

    /// The numbers with their unit, as text.
    pub(crate) fn text(&self) -> String {
        let digits = match self.median {
            n if n >= 100.0 => 0,
            n if n >= 10.0 => 1,
            _ => 2,
        };
        let Self { unit, median, least, greatest, .. } = self;
        if least == greatest {
            return format!("{median:.digits$} {unit}");
        }
        format!("{median:.digits$} {unit} ({least:.digits$} to {greatest:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_medians_with_their_ends() {
        let figure = Figure::of("x", "ms", &[3.0, 1.0, 20.0]);
        assert_eq!(figure.text(), "3.00 ms (1.00 to 20.00)");
        assert_eq!(Figure::of("x", "M/s", &[123.4]).text(), "123 M/s");
        assert_eq!(Figure::of("x", "ms", &[]).median, 0.0);
    }
}
