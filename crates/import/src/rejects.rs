//! Refused records, written in the format they came in, so that the file can be mended and imported again.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use headcount_block::{Identity, User};

use crate::choose::Reading;
use crate::csv::{Column, Header};
use crate::error::ImportError;
use crate::format::Format;
use crate::input::Prepared;
use crate::ldif;
use crate::own;
use crate::table::Columns;

/// What a file of rejects looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Style {
    /// A user object a line: our own, or one of this system.
    Lines(Option<Format>),
    /// Rows under this header.
    Rows(Arc<Header>),
    /// Rows of another system's table.
    Table(Arc<Columns>),
    /// Entries of LDIF with this attribute as the UID.
    Entries(&'static str),
}

/// Writes refused records.
pub(crate) struct Rejects {
    out: BufWriter<Box<dyn Write + Send>>,
    style: Style,
    begun: bool,
}

impl Rejects {
    /// A writer for the refused records of these inputs.
    ///
    /// # Errors
    /// [`ImportError::Usage`] when their records cannot stand in one file.
    pub(crate) fn new(out: Box<dyn Write + Send>, inputs: &[Prepared]) -> Result<Self, ImportError> {
        let mut styles = inputs.iter().map(|input| (style(input), &input.name));
        let (style, first) = styles.next().ok_or_else(|| ImportError::Usage("no input".to_owned()))?;
        if let Some((_, other)) = styles.find(|(s, _)| *s != style) {
            return Err(ImportError::Usage(format!(
                "the rejected records of {first} and {other} cannot share one file, since their formats or CSV headers \
                 differ: import them one after the other"
            )));
        }
        Ok(Self { out: BufWriter::new(out), style, begun: false })
    }

    /// Writes records as they were, each with its line end.
    pub(crate) fn raw(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.out.write_all(lines)
    }

    /// Writes a user that the loader refused.
    pub(crate) fn user(&mut self, user: &User) -> io::Result<()> {
        self.begin()?;
        let Self { out, style, .. } = self;
        match style {
            Style::Lines(_) => own::write_line(out, user),
            Style::Rows(header) if user.identities.is_empty() => write_row(out, header, user, None),
            Style::Rows(header) => user.identities.iter().try_for_each(|i| write_row(out, header, user, Some(i))),
            Style::Table(columns) => columns.rows_of(user).iter().try_for_each(|row| write_fields(out, columns, row)),
            Style::Entries(uid) => {
                let (dn, value) = (ldif::line("dn", &format!("{uid}={}", user.uid)), ldif::line(uid, &user.uid));
                write!(out, "{dn}objectClass: account\n{value}\n")
            }
        }
    }

    /// Writes what is buffered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn begin(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        match &self.style {
            Style::Rows(header) => write!(self.out, "{}\r\n", header.raw),
            Style::Table(columns) if !columns.header.is_empty() => write!(self.out, "{}\r\n", columns.header),
            _ => Ok(()),
        }
    }
}

fn style(input: &Prepared) -> Style {
    match (&input.reading, &input.header) {
        (Reading::Native, Some((header, _))) => Style::Rows(Arc::clone(header)),
        (Reading::Native, None) => Style::Lines(None),
        (Reading::Lines(_) | Reading::Documents(_), _) => Style::Lines(Some(input.format)),
        (Reading::Rows(job), _) => Style::Table(Arc::clone(&job.columns)),
        (Reading::Entries(job), _) => Style::Entries(job.uid),
    }
}

fn write_fields(out: &mut impl Write, columns: &Columns, row: &[String]) -> io::Result<()> {
    for (i, field) in row.iter().enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        if columns.unquoted { out.write_all(field.as_bytes())? } else { write_field(out, field)? }
    }
    out.write_all(b"\r\n")
}

fn write_row(out: &mut impl Write, header: &Header, user: &User, identity: Option<&Identity>) -> io::Result<()> {
    for (i, column) in header.columns.iter().enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        write_field(
            out,
            match column {
                Column::Uid => &user.uid,
                Column::Provider => identity.map_or("", |i| &i.provider),
                Column::ProviderUid => identity.map_or("", |i| &i.provider_uid),
                Column::Status => user.status.as_str(),
                Column::Ignored => "",
            },
        )?;
    }
    out.write_all(b"\r\n")
}

fn write_field(out: &mut impl Write, field: &str) -> io::Result<()> {
    if headcount_block::text::csv_needs_quotes(field.as_bytes()) {
        write!(out, "\"{}\"", field.replace('"', "\"\""))
    } else {
        out.write_all(field.as_bytes())
    }
}
