//! Compressed exports: what they unpack to, broken ones, resumed ones, their manifests and checks.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Fail, Memory, Recipe, Rng, population};
use headcount_block::HEADER_LEN;
use headcount_export::{
    CheckError, Compression, DigestAlgorithm, Export, Format, Length, Manifest, Problem, check_file,
};

const RECIPE: Recipe = Recipe {
    users: 30_000,
    pending: 10,
    bare: 10,
    escapes: 5,
    long: 2,
    unicode: 5,
    providers: 8,
    nasty_providers: true,
};

const BOTH: [Compression; 2] = [Compression::GZIP, Compression::ZSTD];

fn unpacked(compression: Compression, packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match compression.name() {
        "gzip" => flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut plain).unwrap(),
        _ => zstd::stream::read::Decoder::new(packed).unwrap().read_to_end(&mut plain).unwrap(),
    };
    plain
}

fn written(export: &Export<Memory>) -> Vec<u8> {
    let mut out = Vec::new();
    let summary = export.write_to(&mut out).unwrap();
    assert_eq!(summary.bytes, out.len() as u64);
    out
}

#[test]
fn unpacked_they_are_the_plain_export() {
    for users in [0, 1, RECIPE.users] {
        let source = Memory::with(&population(Recipe { users, ..RECIPE }, 31), 200, 7, None);
        for format in Format::ALL {
            let plain = written(&Export::new(&source).format(format));
            assert!(users < 2 || plain.len() > 1 << 20, "more than one member");
            for compression in BOTH {
                let export = Export::new(&source).format(format).compress(compression);
                assert_eq!(export.len().unwrap(), Length::Unknown);
                let packed = written(&export.clone().threads(1));
                assert!(unpacked(compression, &packed) == plain, "{format} {compression} {users}");
                for threads in [2, 3, 8] {
                    assert!(written(&export.clone().threads(threads)) == packed, "{threads} threads");
                }
                let mut summary = export.write_to(&mut Vec::new()).unwrap();
                assert_eq!(summary.content_bytes, plain.len() as u64);
                summary.bytes = summary.content_bytes;
                assert_eq!(summary, Export::new(&source).format(format).write_to(&mut Vec::new()).unwrap());
                let chunks = export.chunks().unwrap().flat_map(|chunk| chunk.unwrap().to_vec());
                assert!(chunks.collect::<Vec<u8>>() == packed, "in chunks");
            }
        }
    }
}

#[test]
fn the_standard_tools_read_them() {
    let source = Memory::new(&population(RECIPE, 31), 200);
    let plain = written(&Export::new(&source));
    for (compression, tool) in BOTH.into_iter().zip(["gzip", "zstd"]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("packed");
        Export::new(&source).compress(compression).write_file(&path).unwrap();
        let mut tool = Command::new(tool);
        let child = tool.args(["-d", "-c"]).stdin(fs::File::open(&path).unwrap()).stdout(Stdio::piped()).output();
        match child {
            Ok(output) => assert!(output.status.success() && output.stdout == plain, "{tool:?}"),
            Err(error) => writeln!(std::io::stderr(), "SKIPPED: {tool:?} is not there ({error})").unwrap(),
        }
    }
}

#[test]
fn a_failed_export_ends_inside_a_whole_stream() {
    let users = population(RECIPE, 31);
    let source = Memory::with(&users, 200, 0, Some(Fail::Flip { block: 60, at: HEADER_LEN + 9 }));
    for compression in BOTH {
        for threads in [1, 3] {
            let mut packed = Vec::new();
            let export = Export::new(&source).compress(compression).threads(threads);
            assert!(export.write_to(&mut packed).unwrap_err().is_damage());
            let json: serde_json::Value = serde_json::from_slice(&unpacked(compression, &packed)).unwrap();
            assert_eq!(json["errorCode"], 500_028);
            assert_eq!(json["usersCount"], json["users"].as_array().unwrap().len());
        }
    }
    // Before the first byte nothing is written.
    let source = Memory::with(&users, 200, 0, Some(Fail::Flip { block: 0, at: HEADER_LEN + 9 }));
    let mut packed = Vec::new();
    assert!(Export::new(&source).compress(Compression::GZIP).write_to(&mut packed).is_err());
    assert!(packed.is_empty());
}

fn checked(path: &Path) -> Result<headcount_export::CheckReport, CheckError> {
    let manifest = Manifest::read(Manifest::path_of(path).unwrap()).unwrap();
    check_file(path, Some(&manifest), None)
}

#[test]
fn resumed_anywhere_the_file_is_the_same_and_its_manifest_holds() {
    let users = population(RECIPE, 31);
    let source = Memory::new(&users, 200);
    let broken = Memory::with(&users, 200, 0, Some(Fail::Flip { block: 140, at: HEADER_LEN + 9 }));
    for compression in BOTH {
        for format in Format::ALL {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out");
            let export = |source| Export::new(source).format(format).compress(compression);
            let whole = written(&export(&source));
            export(&broken).manifest(DigestAlgorithm::Sha256).write_file(&path).unwrap_err();
            let [partial, record] = ["out.partial", "out.partial.json"].map(|name| dir.path().join(name));
            let left = fs::read(&partial).unwrap();
            assert!(!left.is_empty() && whole.starts_with(&left), "whole members before the failure");
            let text = fs::read(&record).unwrap();
            let mut rng = Rng(0x9e37_79b9);
            for round in 0..40 {
                let cut = if round == 0 { left.len() } else { rng.below(whole.len()) };
                fs::write(&partial, &whole[..cut]).unwrap();
                fs::write(&record, &text).unwrap();
                let summary = Export::new(&source).threads(1 + round % 3).resume_file(&path).unwrap();
                assert!(fs::read(&path).unwrap() == whole, "{compression} {format} cut at {cut}");
                assert_eq!(summary.bytes, whole.len() as u64);
            }
            let manifest = Manifest::read(Manifest::path_of(&path).unwrap()).unwrap();
            assert_eq!(manifest.compression.as_deref(), Some(compression.name()));
            assert_eq!(manifest.bytes, whole.len() as u64);
            let report = checked(&path).unwrap();
            assert_eq!(
                (report.compression, report.content_bytes),
                (Some(compression.name()), manifest.content_bytes.unwrap())
            );
            for _ in 0..60 {
                fs::write(&path, &whole[..rng.below(whole.len())]).unwrap();
                assert!(matches!(checked(&path), Err(CheckError::Problem { .. })), "cut");
                let mut flipped = whole.clone();
                let at = rng.below(whole.len());
                flipped[at] ^= 1 << rng.below(8);
                fs::write(&path, &flipped).unwrap();
                assert!(matches!(checked(&path), Err(CheckError::Problem { .. })), "flipped at {at}");
            }
            fs::write(&path, &whole).unwrap();
            let mut other = manifest;
            other.content_bytes = Some(1);
            match check_file(&path, Some(&other), None) {
                Err(CheckError::Problem { problem, .. }) => assert!(matches!(*problem, Problem::Count { .. })),
                other => panic!("{other:?}"),
            }
        }
    }
}
