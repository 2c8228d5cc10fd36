//! Refused records, written in the format they came in, so that the file can be mended and imported again.

use std::io::{self, BufWriter, Write};
use std::path::Path;
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

/// Opens a destination for records of another layout; the name is that of the first input that has it.
pub(crate) type Open = Box<dyn FnMut(&str) -> io::Result<Box<dyn Write + Send>> + Send>;

/// Writes refused records: those of each layout to a destination of their own.
pub(crate) struct Rejects {
    sheets: Vec<Sheet>,
    /// The sheet of each input.
    of_input: Vec<usize>,
    open: Option<Open>,
    /// Identities that could be written nowhere, and the first of them.
    homeless: (usize, Option<String>),
}

/// The refused records of one layout.
struct Sheet {
    style: Style,
    /// The first input of this layout.
    name: String,
    /// Opened when something is written to it, but for the first.
    out: Option<BufWriter<Box<dyn Write + Send>>>,
    begun: bool,
}

impl Rejects {
    /// A writer for the refused records of these inputs: those of the first and of others with its layout go to `out`.
    ///
    /// # Errors
    /// [`ImportError::Usage`] when there are several layouts, and nothing that opens destinations for them.
    pub(crate) fn new(
        out: Box<dyn Write + Send>,
        open: Option<Open>,
        inputs: &[Prepared],
    ) -> Result<Self, ImportError> {
        let mut sheets: Vec<Sheet> = Vec::new();
        let mut of_input = Vec::with_capacity(inputs.len());
        for input in inputs {
            let style = style(input);
            let known = sheets.iter().position(|sheet| sheet.style == style);
            of_input.push(known.unwrap_or(sheets.len()));
            if known.is_none() {
                sheets.push(Sheet { style, name: input.name.clone(), out: None, begun: false });
            }
        }
        if let ([first, other, ..], None) = (sheets.as_slice(), &open) {
            return Err(ImportError::Usage(format!(
                "the rejected records of {} and {} cannot share one file, since their formats or CSV headers differ: \
                 give a destination for each, or import them one after the other",
                first.name, other.name
            )));
        }
        if let Some(first) = sheets.first_mut() {
            first.out = Some(BufWriter::new(out));
        }
        Ok(Self { sheets, of_input, open, homeless: (0, None) })
    }

    /// Writes records of an input as they were, each with its line end.
    pub(crate) fn raw(&mut self, input: u16, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let sheet = self.sheet_of(input);
        self.begun(sheet)?.1.write_all(lines)
    }

    /// Writes a user that the loader refused, and of which a record was in this input: where its identities can stand.
    pub(crate) fn user(&mut self, input: u16, user: &User) -> io::Result<()> {
        let sheet = self.sheet_for(self.sheet_of(input), user);
        if let Some(Style::Table(columns)) = self.sheets.get(sheet).map(|sheet| &sheet.style)
            && !columns.links.is_empty()
            && let lost = columns.rows_of(user).1
            && let Some(first) = lost.first()
        {
            self.homeless
                .1
                .get_or_insert_with(|| format!("{:?} {:?} of {:?}", first.provider, first.provider_uid, user.uid));
            self.homeless.0 += lost.len();
        }
        let (style, out) = self.begun(sheet)?;
        match style {
            Style::Lines(Some(Format::Map)) => own::write_marked_line(out, user),
            Style::Lines(_) => own::write_line(out, user),
            Style::Rows(header) if user.identities.is_empty() => write_row(out, header, user, None),
            Style::Rows(header) => user.identities.iter().try_for_each(|i| write_row(out, header, user, Some(i))),
            Style::Table(columns) => columns.rows_of(user).0.iter().try_for_each(|row| write_fields(out, columns, row)),
            Style::Entries(uid) => {
                let (dn, value) = (ldif::line("dn", &format!("{uid}={}", user.uid)), ldif::line(uid, &user.uid));
                write!(out, "{dn}objectClass: account\n{value}\n")
            }
        }
    }

    /// Where a refused user of the input with the sheet `own` stands: there, or where all of it can. When none is such, a new
    /// one holds users of our own form, which every format of JSON takes.
    fn sheet_for(&mut self, own: usize, user: &User) -> usize {
        let holds = |sheet: &Sheet| user.identities.is_empty() || sheet.style.holds(user);
        if self.sheets.get(own).is_some_and(holds) {
            return own;
        }
        if let Some(other) = self.sheets.iter().position(holds) {
            return other;
        }
        match self.sheets.get(own).map(|sheet| (&sheet.style, &sheet.name)) {
            // What has no place for identities at all came without.
            Some((Style::Table(columns), name)) if self.open.is_some() && !columns.links.is_empty() => {
                let name = Path::new(name).with_extension("ndjson").display().to_string();
                let style = Style::Lines(Some(columns.format));
                self.sheets.push(Sheet { style, name, out: None, begun: false });
                self.sheets.len() - 1
            }
            _ => own,
        }
    }

    /// What of refused users is in no file, in words.
    pub(crate) fn homeless(&self) -> Option<String> {
        let (count, first) = &self.homeless;
        let first = first.as_ref()?;
        Some(format!(
            "{count} identities of rejected users are not among the rejects, which have no column for them: the first is \
             {first}; --rejects with the name of a file keeps them beside it"
        ))
    }

    /// Writes what is buffered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.sheets.iter_mut().filter_map(|sheet| sheet.out.as_mut()).try_for_each(Write::flush)
    }

    fn sheet_of(&self, input: u16) -> usize {
        self.of_input.get(usize::from(input)).copied().unwrap_or_default()
    }

    /// A sheet that is open and has its header. The first has its header then too, so that it can be read when all
    /// are given to an import.
    fn begun(&mut self, sheet: usize) -> io::Result<(&Style, &mut impl Write)> {
        if sheet > 0 && self.sheets.first().is_some_and(|first| !first.begun) {
            self.begin(0)?;
        }
        self.begin(sheet)
    }

    fn begin(&mut self, sheet: usize) -> io::Result<(&Style, &mut impl Write)> {
        let Self { sheets, open, .. } = self;
        let missing = || io::Error::other("rejected records of an input that was not prepared");
        let Sheet { style, name, out, begun } = sheets.get_mut(sheet).ok_or_else(missing)?;
        let out = match out {
            Some(out) => out,
            none => none.insert(BufWriter::new(open.as_mut().ok_or_else(missing)?(name)?)),
        };
        if !std::mem::replace(begun, true) {
            match &style {
                Style::Rows(header) => write!(out, "{}\r\n", header.raw)?,
                Style::Table(columns) if !columns.header.is_empty() => write!(out, "{}\r\n", columns.header)?,
                _ => {}
            }
        }
        Ok((style, out))
    }
}

impl Style {
    /// Whether all identities of a user that has some can be written in it.
    fn holds(&self, user: &User) -> bool {
        match self {
            Self::Lines(_) | Self::Rows(_) => true,
            Self::Table(columns) => columns.holds(user),
            Self::Entries(_) => false,
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
                Column::Change => "upsert",
                Column::Deleted => "false",
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
