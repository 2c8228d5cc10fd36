//! House rules that no compiler checks: links resolve, files stay short, nothing half-done is left in the source.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines that are not tests.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

/// Files of the repository whose name ends in one of `endings`, build output left out.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !matches!(name, ".git" | "target" | "artifacts" | "corpus" | "headcount-quickstart") {
                    dirs.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{endings:?}");
    found
}

/// Every file with its text and its path from the root.
fn sources(endings: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    files(endings).iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn report(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Targets of `[text](target)` outside code fences and inline code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let mut rest = prose.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            if let Some(end) = rest.find(')') {
                found.push(rest[..end].split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

/// The anchors that headings of a page have.
fn anchors(text: &str) -> Vec<String> {
    let slug = |heading: &str| -> String {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|l| l.starts_with('#')).map(|l| slug(l.trim_start_matches('#'))).collect()
}

#[test]
fn relative_links_resolve() {
    let root = root();
    let mut broken = Vec::new();
    for (name, text) in sources(&[".md"]) {
        let page = root.join(&name);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let resolves = match fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&text).iter().any(|a| a == anchor),
                Err(_) => target.is_dir() && anchor.is_empty(),
            };
            if !resolves {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    report("links that lead nowhere", &broken);
}

/// Paths that a text names in backticks, such as `crates/block/src/read.rs`.
#[test]
fn named_paths_exist() {
    let root = root();
    let mut missing = Vec::new();
    for (name, text) in sources(&[".md", ".rs", ".toml", "justfile", "ci/run"]) {
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = ["crates/", "docs/", "benches/", "fuzz/", ".ci/"].iter().any(|p| word.starts_with(p))
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            // What other places bring into being: build output, and what later issues will add.
            let later = ["benches/peers", "crates/server"].iter().any(|p| word.starts_with(p));
            if is_path && !later && !root.join(word).exists() {
                missing.push(format!("{name}: {word}"));
            }
        }
    }
    report("paths that do not exist", &missing);
}

#[test]
fn nothing_half_done_is_left() {
    // In two pieces, so that this file does not find itself.
    let markers =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["unimpl", "emented!"], ["HA", "CK:"]].map(|m| m.concat());
    let mut found = Vec::new();
    for (name, text) in sources(&[".rs", ".md", ".toml", ".sh", "justfile", "ci/run"]) {
        for (number, line) in (1..).zip(text.lines()) {
            if markers.iter().any(|marker| line.contains(marker.as_str())) {
                found.push(format!("{name}:{number}: {line}"));
            }
        }
    }
    report("open work belongs in the issue list", &found);
}

/// Lines before the test module, which by convention comes last.
fn lines_without_tests(text: &str) -> usize {
    text.lines().take_while(|line| *line != "mod tests {").count()
}

#[test]
fn files_stay_short() {
    let is_test = |name: &str| name.contains("/tests/") || name.ends_with("tests.rs");
    let long: Vec<String> = sources(&[".rs"])
        .iter()
        .filter(|(name, _)| !is_test(name))
        .map(|(name, text)| (name, lines_without_tests(text)))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    report("files to split", &long);
}

/// The places of `unsafe`, and crates that are used in one file each.
#[test]
fn unsafe_and_third_parties_stay_in_their_files() {
    let rules: [(&[&str], &[&str]); 5] = [
        (
            &["unsafe {", "unsafe fn", "unsafe impl", "unsafe_code, reason", "allow(unsafe_code"],
            &["crates/store/src/mmap.rs", "crates/export/src/kernel/fetch.rs"],
        ),
        (&["memmap2::"], &["crates/store/src/mmap.rs", "crates/export/src/memory.rs"]),
        // The fuzzer writes logs of its own, with records that the store would never write.
        (&["sled::"], &["crates/store/src/delta.rs", "fuzz/src/records.rs"]),
        (&["bincode::"], &["crates/store/src/delta.rs", "crates/store/src/manifest.rs"]),
        (
            &["SystemTime::now()"],
            &["crates/store/src/clock.rs", "crates/server/src/clock.rs", "crates/cli/src/client/clock.rs"],
        ),
    ];
    let mut found = Vec::new();
    for (name, text) in sources(&[".rs"]) {
        if name == "benches/tests/tidy.rs" {
            continue;
        }
        for (words, homes) in rules {
            let used = text
                .lines()
                .filter(|l| !l.trim_start().starts_with("//"))
                .find(|l| words.iter().any(|w| l.contains(w)));
            // There other engines are measured as their own users would use them.
            let is_peer = name.starts_with("benches/peers/") && words.contains(&"sled::");
            if let Some(line) = used.filter(|_| !is_peer && !homes.contains(&name.as_str())) {
                found.push(format!("{name}: {} (its place is {})", line.trim(), homes.join(", ")));
            }
        }
    }
    report("used outside of its file", &found);
}

/// `matches!` as a statement checks nothing, and no lint says so.
#[test]
fn no_check_is_dropped() {
    let mut found = Vec::new();
    for (name, text) in sources(&[".rs"]) {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.starts_with("matches!(") && line.ends_with(';') {
                found.push(format!("{name}:{number}: {line}"));
            }
        }
    }
    report("checks whose result is dropped", &found);
}

/// export is written against `block::Source` and must not know the store; block knows nobody.
#[test]
fn dependencies_point_one_way() {
    let allowed = [
        ("block", &[][..]),
        ("store", &["block"][..]),
        ("export", &["block"][..]),
        ("import", &["block", "store"][..]),
        ("api", &["block", "store", "export"][..]),
    ];
    for (package, may) in allowed {
        let manifest = fs::read_to_string(root().join(format!("crates/{package}/Cargo.toml"))).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for line in dependencies.lines().filter_map(|l| l.strip_prefix("headcount-")) {
            let name = line.split(['.', ' ']).next().unwrap();
            assert!(may.contains(&name), "{package} depends on {name}");
        }
    }
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(links("a [b](c.md#d) `[x](y)` [e](http://f)\n```\n[g](h)\n```"), ["c.md#d", "http://f"]);
    assert_eq!(anchors("# Two Words, `code`\ntext"), ["two-words-code"]);
    assert_eq!(lines_without_tests("a\nb\nmod tests {\nc\n}"), 2);
}
