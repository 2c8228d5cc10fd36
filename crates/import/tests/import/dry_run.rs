//! Dry runs of every format: they find what the real run finds, and change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use headcount_block::User;
use headcount_import::{Format, Import, Input, Mapping};
use headcount_store::{LoadOptions, Options, Store};
use serde_json::{Value, json};

use super::systems::{CASES, data};
use super::{SEVEN, Shared, users};

/// Inputs of one import, and what tells how they are read.
struct Sample {
    files: Vec<(String, Vec<u8>)>,
    format: Format,
    mapping: &'static [&'static str],
}

fn samples() -> Vec<Sample> {
    let of_case = |files: &[&str]| files.iter().map(|name| ((*name).to_owned(), data(name))).collect();
    let mut all: Vec<Sample> =
        CASES.iter().map(|case| Sample { files: of_case(case.files), format: case.format, mapping: &[] }).collect();
    let own = |name: &str, format, content: &[u8]| Sample {
        files: vec![(name.to_owned(), content.to_vec())],
        format,
        mapping: &[],
    };
    all.push(own("seven.json", Format::GigyaJson, SEVEN));
    all.push(own(
        "a.ndjson",
        Format::Ndjson,
        b"{\"UID\":\"a\",\"identities\":[{\"provider\":\"p\",\"providerUID\":\"1\"}]}\n{\"UID\":\"b\"}\n",
    ));
    all.push(own(
        "a.csv",
        Format::Csv,
        b"uid,provider,providerUID,status\na,p,1,registered\nb,,,pending\na,q,2,registered\n",
    ));
    let mapping = &["uid=/user/id", "provider=/idp", "providerUID=/sub"];
    all.push(Sample { files: of_case(&["mapped.ndjson"]), format: Format::Map, mapping });
    let mapping = &["uid=who", "provider=where", "providerUID=What"];
    all.push(Sample { files: of_case(&["mapped.csv"]), format: Format::Map, mapping });
    all
}

/// A store without threads of its own, in which `prior` has an identity that the sample has too.
fn prepared(at: &Path, prior: Option<&User>) -> Store {
    let store = Store::create(at, &Options { maintenance: false, ..Options::default() }).unwrap();
    if let Some(prior) = prior {
        store.load([prior.clone()]).unwrap();
    }
    store
}

/// The report without what only a load has, or the error; and the rejects by the input that they are of.
fn outcome(store: &Store, dir: &Path, sample: &Sample, dry_run: bool) -> (Value, BTreeMap<String, String>) {
    let sheets: Arc<Mutex<BTreeMap<String, Shared>>> = Arc::default();
    let opened = Arc::clone(&sheets);
    let first = Shared::default();
    sheets.lock().unwrap().insert(String::new(), first.clone());
    let options = LoadOptions { skip_rejected: true, dry_run, threads: 2, ..LoadOptions::default() };
    let format = if sample.mapping.is_empty() { sample.format } else { Format::Auto };
    let mapping = (!sample.mapping.is_empty()).then(|| Mapping::parse(sample.mapping.iter().copied()).unwrap());
    let import = Import::new(store).format(format).mapping(mapping).options(options).rejects(Some(Box::new(first)));
    let import = import.rejects_apart(move |name| {
        let sheet = Shared::default();
        opened.lock().unwrap().insert(name.to_owned(), sheet.clone());
        Ok(Box::new(sheet))
    });
    let run = sample.files.iter().fold(import, |import, (name, _)| import.input(Input::path(dir.join(name)))).run();
    let report = match run {
        Ok(report) => {
            let mut report = serde_json::to_value(report).unwrap();
            let load = report["load"].as_object_mut().unwrap();
            assert!(load.remove("seq").is_some() && load.remove("bytesWritten").is_some());
            report
        }
        Err(error) => json!(error.to_string()),
    };
    let sheets = sheets.lock().unwrap().iter().map(|(name, sheet)| (name.clone(), sheet.text())).collect();
    (report, sheets)
}

/// Bytes of everything in the store's directory.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(content(&path)) } else { found.push((path.clone(), fs::read(&path).unwrap())) }
    }
    found.sort();
    found
}

/// Every file whole, and with one byte damaged in each of half a dozen places, which makes bad records and bad documents of it.
#[test]
fn a_dry_run_finds_what_the_real_one_finds() {
    let (mut rejected, mut refused, mut conflicts, mut whole) = (0, 0, 0, 0);
    for sample in samples() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &[u8]| fs::write(dir.path().join(name), content).unwrap();
        sample.files.iter().for_each(|(name, content)| put(name, content));
        let plain = prepared(&dir.path().join("plain"), None);
        outcome(&plain, dir.path(), &sample, false);
        let claimed = users(&plain).into_iter().find_map(|user| user.identities.into_iter().next());
        let prior = claimed.map(|i| User::new("prior").with_identity(i.provider, i.provider_uid));

        let dry = prepared(&dir.path().join("dry"), prior.as_ref());
        let before = content(&dir.path().join("dry"));
        let mut compare = |what: &str| {
            let real = tempfile::tempdir().unwrap();
            let real = prepared(&real.path().join("real"), prior.as_ref());
            let (expected, kept) = outcome(&real, dir.path(), &sample, false);
            assert_eq!(outcome(&dry, dir.path(), &sample, true), (expected.clone(), kept), "{what}");
            assert!(content(&dir.path().join("dry")) == before, "{what}: a dry run changed the store");
            rejected += usize::from(expected["rejected"].as_u64() > Some(0));
            refused += usize::from(expected.is_string());
            conflicts += usize::from(expected["conflicts"].as_u64() > Some(0));
            whole += usize::from(expected["rejected"] == 0);
        };
        compare(&format!("{:?}", sample.files[0].0));
        for (name, content) in &sample.files {
            for (i, at) in (3..content.len()).step_by(content.len() / 6 + 1).enumerate() {
                let mut damaged = content.clone();
                damaged[at] = u8::from(i % 2 == 0);
                put(name, &damaged);
                compare(&format!("{name}: byte {at} is {}", damaged[at]));
            }
            put(name, content);
        }
    }
    // The damage reaches all that there is to find.
    assert!(rejected > 50 && refused > 50 && conflicts > 50 && whole > 10, "{rejected} {refused} {conflicts} {whole}");
}
