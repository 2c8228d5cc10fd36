//! What `SECURITY.md` lists of the source: every `unsafe` with its reason, and how many packages each crate brings along.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates that are delivered.
const CRATES: [&str; 7] = ["block", "store", "export", "import", "api", "server", "cli"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The rows of a table of `SECURITY.md`, without its head.
fn listed(name: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let part = page.split(&format!("<!-- {name}:begin -->")).nth(1).unwrap();
    let part = part.split(&format!("<!-- {name}:end -->")).next().unwrap();
    part.lines().filter(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect()
}

#[track_caller]
fn compare(name: &str, expected: &[String]) {
    let found = listed(name);
    assert!(found == expected, "rows that `{name}` of SECURITY.md should have:\n{}", expected.join("\n"));
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// How an exception of the lint begins; in two pieces, for the house rules look for it.
const EXCEPTION: &str = concat!("unsafe", "_code, reason = \"");

/// Line numbers of `unsafe` in code.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let is_unsafe = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
    };
    text.lines().enumerate().filter(|(_, line)| is_unsafe(line)).map(|(at, _)| at).collect()
}

/// The comment that stands before line `at` and begins with `SAFETY:`, as one line.
fn safety(text: &str, at: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let comment: Vec<&str> = lines[..at].iter().rev().map_while(|line| line.trim().strip_prefix("// ")).collect();
    let joined = comment.into_iter().rev().collect::<Vec<_>>().join(" ");
    joined.strip_prefix("SAFETY: ").map(str::to_owned)
}

/// The reason of the lint's exception that stands before line `at`.
fn reason(text: &str, at: usize) -> Option<String> {
    let before: Vec<&str> = text.lines().take(at).map(str::trim).collect();
    let before = before.join(" ");
    let exception = before.rsplit(EXCEPTION).next().filter(|rest| rest.len() < before.len())?;
    exception.split('"').next().map(str::to_owned)
}

#[test]
fn every_unsafe_is_listed_with_its_reason() {
    let mut rows = Vec::new();
    for name in CRATES {
        let mut files = Vec::new();
        sources(&root().join("crates").join(name), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(root()).unwrap().display().to_string();
            for at in unsafe_lines(&text) {
                let (why, holds) = (reason(&text, at), safety(&text, at));
                let place = format!("{path}:{}", at + 1);
                let why = why.unwrap_or_else(|| panic_with(&place, "an exception of the lint with a reason"));
                let holds = holds.unwrap_or_else(|| panic_with(&place, "a comment that begins with SAFETY:"));
                rows.push(format!("| `{path}` | {why} | {holds} |"));
            }
        }
    }
    assert!(!rows.is_empty());
    compare("unsafe", &rows);
}

#[expect(clippy::panic, reason = "a helper of a test")]
fn panic_with(place: &str, what: &str) -> ! {
    panic!("the unsafe in {place} lacks {what}")
}

/// Packages of `Cargo.lock`: what each needs.
fn locked() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut packages = BTreeMap::new();
    for package in text.split("[[package]]\n").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
            line.map(|rest| rest.trim_end_matches('"').to_owned())
        };
        let needs = package.split("dependencies = [").nth(1).unwrap_or_default().split(']').next().unwrap();
        let needs = needs.lines().filter_map(|line| line.trim().strip_prefix('"')).map(|line| {
            let words: Vec<&str> = line.trim_end_matches([',', '"']).split(' ').collect();
            words.into_iter().take(2).collect::<Vec<_>>().join(" ")
        });
        packages.insert(format!("{} {}", value("name").unwrap(), value("version").unwrap()), needs.collect());
    }
    packages
}

/// Names in a crate's `[dependencies]`.
fn dependencies(name: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split(['.', ' ', '=']).next())
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect()
}

/// All packages that a crate of ours brings along, its own kind aside, by the lockfile, which has our crates too. Of those
/// only what they name under `[dependencies]` counts: the lockfile does not tell what only tests need.
fn closure(name: &str, packages: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut open = vec![package(name)];
    while let Some(name) = open.pop() {
        // The lockfile names the version only where there are several.
        let full = packages.keys().find(|key| **key == name || key.split(' ').next() == Some(name.as_str()));
        let full = full.unwrap_or_else(|| panic_with("Cargo.lock", &name)).clone();
        if !all.insert(full.clone()) {
            continue;
        }
        let own = CRATES.iter().find(|own| full.split(' ').next() == Some(package(own).as_str()));
        let named = own.map(|own| dependencies(own));
        let is_named = |need: &&String| {
            named.as_ref().is_none_or(|named| named.iter().any(|n| need.split(' ').next() == Some(n.as_str())))
        };
        open.extend(packages[&full].iter().filter(is_named).cloned());
    }
    all.retain(|name| !CRATES.iter().any(|own| name.split(' ').next() == Some(package(own).as_str())));
    all
}

/// The package of a crate.
fn package(name: &str) -> String {
    if name == "api" { "headcount".to_owned() } else { format!("headcount-{name}") }
}

#[test]
fn dependencies_are_counted() {
    let packages = locked();
    let rows: Vec<String> = CRATES
        .iter()
        .map(|name| {
            let names = dependencies(name);
            let direct = names.iter().filter(|n| *n != "headcount" && !n.starts_with("headcount-")).count();
            format!("| `{name}` | {direct} | {} |", closure(name, &packages).len())
        })
        .collect();
    compare("dependencies", &rows);
}

#[test]
fn the_checks_can_fail() {
    let text = format!(
        "// unsafe\nfn a() {{}}\n#[expect({EXCEPTION}why\")]\n// SAFETY: because\n// it is.\nunsafe\n{{\n}}\nunsafely();\n"
    );
    assert_eq!(unsafe_lines(&text), [5]);
    assert_eq!(safety(&text, 5).as_deref(), Some("because it is."));
    assert_eq!(reason(&text, 5).as_deref(), Some("why"));
    assert_eq!((safety(&text, 1), reason(&text, 1)), (None, None));
    let needs = |needs: &[&str]| needs.iter().map(|n| (*n).to_owned()).collect::<Vec<String>>();
    let lock = [
        ("headcount-block 0", needs(&["crc32fast 2", "proptest"])),
        ("crc32fast 1", needs(&["x"])),
        ("crc32fast 2", needs(&[])),
    ];
    let packages = lock.into_iter().map(|(name, needs)| (name.to_owned(), needs)).collect();
    assert!(closure("block", &packages).into_iter().eq(["crc32fast 2"]), "tests of ours do not count");
}
