//! The file into values: parsed, every fault with its line, paths made absolute.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf, absolute};

use serde::{Deserialize as _, Deserializer, de};
use toml_edit::{Document, Item, Value};

use crate::config::{Config, ConfigError, SecretSource, check};

impl Config {
    /// Reads and checks the file at `path`. Paths in the result are absolute. Secrets and stores are looked at by
    /// [`Config::sites`].
    ///
    /// # Errors
    /// When it cannot be read, or says something that cannot be: with the line, and what to do.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let failed = |source| ConfigError::Read { path: path.to_path_buf(), source };
        let text = fs::read(path).map_err(failed)?;
        let text = String::from_utf8(text).map_err(|error| {
            let (valid, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
            let line = 1 + valid.iter().filter(|b| **b == b'\n').count();
            ConfigError::invalid(path, line, "a byte that is not UTF-8; save the file as UTF-8")
        })?;
        Self::parse(&text, path)
    }

    /// As [`load`](Self::load), of a text that stands, or is about to stand, in the file at `path`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let places = Places::new(text, path)?;
        let mut config: Self = toml_edit::de::from_document(places.document.clone())
            .map_err(|error| places.fault(error.span(), &explained(error.message())))?;
        check::check(&config, &places)?;
        config.settle(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        Ok(config)
    }

    /// Makes paths absolute, and names the file of tokens.
    fn settle(&mut self, file: &Path) -> io::Result<()> {
        let file = absolute(file)?;
        let dir = file.parent().unwrap_or(Path::new("/"));
        self.tokens.get_or_insert_with(|| file.with_extension("tokens"));
        let tls = self.listen.iter_mut().filter_map(|listen| listen.tls.as_mut());
        let mut paths: Vec<&mut PathBuf> = tls.flat_map(|tls| [&mut tls.cert, &mut tls.key]).collect();
        paths.extend(&mut self.tokens);
        for site in &mut self.sites {
            paths.push(&mut site.store);
            let secrets = site.user_keys.iter_mut().flat_map(|key| &mut key.secrets).chain(&mut site.secrets);
            paths.extend(secrets.filter_map(|secret| match secret {
                SecretSource::File(path) => Some(path),
                SecretSource::Env(_) => None,
            }));
        }
        for path in paths {
            *path = dir.join(&*path);
        }
        Ok(())
    }
}

/// Where things stand in the file.
pub(super) struct Places<'t> {
    document: Document<String>,
    text: &'t str,
    path: &'t Path,
}

impl<'t> Places<'t> {
    fn new(text: &'t str, path: &'t Path) -> Result<Self, ConfigError> {
        let document = Document::parse(text.to_owned()).map_err(|error| {
            let line = line(text, error.span());
            ConfigError::invalid(path, line, &format!("this is no TOML: {}", error.message()))
        })?;
        Ok(Self { document, text, path })
    }

    /// The error of what stands at `place`, such as `site.0.secrets`; where that is not there, at what would hold it.
    pub(super) fn error(&self, place: &str, problem: &str) -> ConfigError {
        self.fault(self.span(place), problem)
    }

    /// The line of it, from 1.
    pub(super) fn line(&self, place: &str) -> usize {
        line(self.text, self.span(place))
    }

    fn fault(&self, span: Option<Range<usize>>, problem: &str) -> ConfigError {
        ConfigError::invalid(self.path, line(self.text, span), problem)
    }

    fn span(&self, place: &str) -> Option<Range<usize>> {
        let mut steps = place.split('.');
        let mut item = Found::Item(self.document.as_item().get(steps.next()?)?);
        let mut span = item.span();
        for step in steps {
            let Some(next) = item.get(step) else { break };
            item = next;
            span = item.span().or(span);
        }
        span
    }
}

/// Something in the file: a table of an array of tables is no item of its own.
#[derive(Clone, Copy)]
enum Found<'d> {
    Item(&'d Item),
    Table(&'d toml_edit::Table),
    Value(&'d Value),
}

impl<'d> Found<'d> {
    fn get(self, step: &str) -> Option<Self> {
        let index = step.parse::<usize>();
        match (self, index) {
            (Self::Item(Item::ArrayOfTables(tables)), Ok(i)) => tables.get(i).map(Self::Table),
            (Self::Item(Item::Value(Value::Array(values))) | Self::Value(Value::Array(values)), Ok(i)) => {
                values.get(i).map(Self::Value)
            }
            (Self::Item(Item::Table(table)) | Self::Table(table), Err(_)) => table.get(step).map(Self::Item),
            (Self::Item(Item::Value(Value::InlineTable(table))) | Self::Value(Value::InlineTable(table)), Err(_)) => {
                table.get(step).map(Self::Value)
            }
            _ => None,
        }
    }

    fn span(self) -> Option<Range<usize>> {
        match self {
            Self::Item(item) => item.span(),
            Self::Table(table) => table.span(),
            Self::Value(value) => value.span(),
        }
    }
}

/// The line of the beginning of `span`, from 1.
fn line(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    1 + before.matches('\n').count()
}

/// serde's message in the words of the file, with the known name that an unknown one is nearest to. The names are those of
/// the derived code, which has them nowhere else: `` unknown field `a`, expected one of `b`, `c` ``.
fn explained(message: &str) -> String {
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("the key {name:?} is missing; add it");
    }
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, expected "));
    let Some((unknown, expected)) = unknown else {
        return message.replace("expected usize", "expected a number").replace("expected u64", "expected a number");
    };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(unknown, known));
    let remedy = match nearest {
        Some(name) if strsim::jaro_winkler(unknown, name) > 0.7 => format!(", did you mean {name:?}? There are: "),
        _ => "; there are: ".to_owned(),
    };
    format!("there is no key {unknown:?} here{remedy}{}", known.join(", "))
}

const ADDRESS: &str = "is no address; write a number and a port, such as 127.0.0.1:8080 or [::]:443";

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::custom(format!("{text:?} {ADDRESS}")))
}

pub(super) fn some_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}
