//! Settings of the benchmarks, by environment variables.

use std::str::FromStr;
use std::time::Duration;

use criterion::Criterion;

/// The value of the environment variable `name`, or `default` where it is not set or does not parse.
#[must_use]
pub fn env_or<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.replace('_', "").parse().ok()).unwrap_or(default)
}

/// How many synthetic users the benchmarks work on: `HEADCOUNT_BENCH_USERS`, 200,000 by default.
#[must_use]
pub fn users() -> u64 {
    env_or("HEADCOUNT_BENCH_USERS", 200_000)
}

/// Criterion with short measurements, so that all benchmarks end within about two minutes at the default size.
#[must_use]
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
        .configure_from_args()
}
