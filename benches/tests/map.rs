//! The map in the architecture page lists every source file with the first sentence of its own documentation.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 7] = ["block", "store", "export", "import", "api", "server", "cli"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// First sentence, or first line that ends in a colon, of a file's documentation; links as plain code.
fn sentence(text: &str) -> String {
    let lines = text.lines().map_while(|l| l.strip_prefix("//! "));
    let mut joined = String::new();
    for line in lines {
        joined.push_str(if joined.is_empty() { "" } else { " " });
        joined.push_str(line.trim());
        if line.ends_with(['.', ':']) {
            break;
        }
    }
    let first = joined.split(". ").next().unwrap_or_default().trim_end_matches(['.', ':']);
    first.replace("[`", "`").replace("`]", "`")
}

#[test]
fn the_map_lists_every_file() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let map = page.split("<!-- map:begin -->").nth(1).unwrap().split("<!-- map:end -->").next().unwrap();
    let mut listed = 0;
    let mut missing = Vec::new();
    for name in CRATES {
        let section = map.split(&format!("**crates/{name}**")).nth(1).unwrap().split("**crates/").next().unwrap();
        let src = root().join("crates").join(name).join("src");
        let mut files = Vec::new();
        sources(&src, &mut files);
        listed += files.len();
        for file in files {
            let row = format!(
                "| `{}` | {}",
                file.strip_prefix(&src).unwrap().display(),
                sentence(&fs::read_to_string(&file).unwrap())
            );
            if !section.contains(&row) {
                missing.push(row);
            }
        }
    }
    assert!(missing.is_empty(), "rows that the map should have:\n{}", missing.join("\n"));
    assert_eq!(map.lines().filter(|l| l.starts_with("| `")).count(), listed, "the map names files that are not there");
}
