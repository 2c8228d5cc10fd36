//! Figures of many measurements, and their text.

use std::time::Duration;

/// Microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The arithmetic mean; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The least value that at least `percent` of the values do not exceed; 0 of nothing.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    // Counting is exact where a product of lengths may be rounded.
    let reached = |n: usize| n as f64 * 100.0 >= percent * sorted.len() as f64;
    let rank = (1..=sorted.len()).find(|n| reached(*n)).unwrap_or_default();
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The middle value; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// Quotients of two series, pair by pair.
pub(crate) fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(a, b)| a / b).collect()
}

/// The median, and the quartiles: of a disk's hundreds of rounds the extremes say nothing.
pub(crate) fn spread(values: &[f64]) -> String {
    format!("{:.2} ({:.2} to {:.2})", median(values), percentile(values, 25.0), percentile(values, 75.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found = [0.0, 50.0, 99.0, 99.9, 100.0].map(|p| percentile(&values, p));
        assert_eq!(found, [1.0, 50.0, 99.0, 100.0, 100.0]);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(percentile(&[], 99.0), 0.0);
        assert_eq!(spread(&ratios(&[2.0, 6.0, 4.0, 8.0], &[2.0, 2.0, 2.0, 2.0])), "2.00 (1.00 to 3.00)");
    }
}
