//! Imports through the public interface, into real stores.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; clippy knows only test functions themselves"
)]

mod bad_input;
mod dry_run;
mod formats;
mod handover;
mod left_out;
mod mapping;
mod options;
mod rejects;
mod skip_invalid;
mod systems;
mod tables;
mod variants;

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};

use headcount_block::{UidRange, User};
use headcount_import::{Format, Import, ImportError, Input, Report};
use headcount_store::{LoadOptions, Store};

const SEVEN: &[u8] = include_bytes!("data/seven-users.json");

/// An empty store that goes away.
fn store() -> Store {
    Store::temporary().unwrap()
}

/// All users of a store, in UID order.
fn users(store: &Store) -> Vec<User> {
    store.snapshot().users(UidRange::all()).map(|user| user.unwrap()).collect()
}

/// Imports one input named `in`.
fn load(store: &Store, format: Format, content: impl AsRef<[u8]>) -> Result<Report, ImportError> {
    load_with(store, format, &[content.as_ref()], LoadOptions::default())
}

/// Imports inputs; the first is named `in`, the others `in2`, `in3` and so on.
fn load_with(store: &Store, format: Format, contents: &[&[u8]], options: LoadOptions) -> Result<Report, ImportError> {
    inputs(Import::new(store).format(format).options(options), contents).run()
}

fn inputs<'s>(import: Import<'s>, contents: &[&[u8]]) -> Import<'s> {
    contents.iter().enumerate().fold(import, |import, (i, content)| {
        let name = if i == 0 { "in".to_owned() } else { format!("in{}", i + 1) };
        import.input(Input::reader(name, Box::new(Cursor::new(content.to_vec()))))
    })
}

/// A writer whose bytes can be read afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
