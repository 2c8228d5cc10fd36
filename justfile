# The recipes are the steps of .ci/run: `just` without a name lists them, `just ci` runs all.

_list:
    @just --list --unsorted

# Every step, as in CI
ci:
    .ci/run

# Formatting, in the workspace and in fuzz/
fmt:
    .ci/run fmt

# Clippy on everything, warnings denied
clippy:
    .ci/run clippy

# All tests
test:
    .ci/run test

# Documentation without broken links
doc:
    .ci/run doc

# The benchmarks compile
bench-build:
    .ci/run bench-build

# Every fuzz target for a short while: `just fuzz 600` for ten minutes each
fuzz SECONDS="10":
    FUZZ_SECONDS={{SECONDS}} .ci/run fuzz

# Orders in which threads of a store can meet: `just schedules 5000` for so many of each test
schedules COUNT="200":
    SCHEDULES={{COUNT}} .ci/run schedules

# The README's first command in a clean copy
quickstart:
    .ci/run quickstart

# Licences, advisories, sources
deny:
    .ci/run deny

# The tests under the address sanitizer
asan:
    .ci/run asan

# Whether tests notice changes of the code: `just mutants -p headcount-block -f crates/block/src/find.rs -- --lib`
mutants *ARGS:
    MUTANTS="{{ARGS}}" .ci/run mutants

# Export, import and the server under hard limits on memory
limits:
    .ci/run limits

# The benchmarks, about two minutes; sizes in benches/README.md
bench *ARGS:
    cargo bench -p headcount-benches {{ARGS}}

# The figures of the README: import, export against cp, lookups, disk, memory
compare USERS="5000000":
    benches/compare.sh {{USERS}}
