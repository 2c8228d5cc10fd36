//! Rows of Firebase's CSV, whose texts are as they are: names with a comma stand in quotes, and in older versions without.
//!
//! Quotes inside of these are not doubled.
//! A comma that is in no quotes shifts what follows it, so that a row has more fields than others. Users choose their names
//! and the addresses of their pictures: nothing in these may come to stand where an identity is. Line breaks in them are as
//! they are too, and what follows one may be a whole row: nothing tells it from others, so that each import of such a file
//! warns.

/// Fields of a row, without the one that a comma at its end makes: fewer in older versions.
pub(crate) const WIDTHS: std::ops::RangeInclusive<usize> = 24..=29;

/// The column of the time that a user was made at, as digits.
pub(crate) const CREATED: usize = 23;

/// The column of the time of the last sign-in, as digits, and those behind it.
const LAST_SIGN_IN: usize = 24;
const PHONE: usize = 25;
const DISABLED: usize = 26;

/// The columns before that of the claims, which is JSON in quotes.
const PLAIN: usize = 27;
/// The column of the user's name; providers' are among theirs.
const NAME: usize = 5;
/// The column of the user's picture.
const PICTURE: usize = 6;
/// Where the four columns of each provider begin: id, e-mail address, name, picture.
const PROVIDERS: [usize; 4] = [7, 11, 15, 19];

/// The fields of a row of this width.
///
/// # Errors
/// How many fields it has instead, or all the same, when it may be shifted.
pub(crate) fn fields_of_row(line: &str, width: usize) -> Result<Vec<&str>, usize> {
    timed_fields(line, |fields| fields == width)
        .or_else(|plain| if plain.len() == width && is_timeless(&plain) { Ok(plain) } else { Err(plain.len()) })
}

/// The fields of a row of such a width, which has its time where it should be.
///
/// # Errors
/// What is between its commas, when it is none.
pub(crate) fn timed_fields(line: &str, is_width: impl Fn(usize) -> bool) -> Result<Vec<&str>, Vec<&str>> {
    let fits = |fields: &[&str]| {
        let is_time = |time: &&str| !time.is_empty() && is_digits(time);
        is_width(fields.len()) && is_verified(fields) && fields.get(CREATED).is_some_and(is_time)
    };
    let plain = plain_fields(line);
    if fits(&plain) {
        return Ok(plain);
    }
    let named = named_fields(line);
    if fits(&named) && has_quotes_in_names_alone(&named) && has_own_providers(&named) { Ok(named) } else { Err(plain) }
}

/// Whether a row without a time looks like one that nothing is shifted in: in one that is, the fields behind a name are those of
/// their neighbours.
fn is_timeless(fields: &[&str]) -> bool {
    let at = |i: usize| fields.get(i).copied().unwrap_or_default();
    let is_address = |i: usize| at(i).is_empty() || at(i).contains("://");
    let is_provider = |id: &usize| !at(*id).contains("://") && is_address(id + 3);
    is_verified(fields)
        && at(CREATED).is_empty()
        && is_digits(at(LAST_SIGN_IN))
        && (at(PHONE).is_empty() || at(PHONE).starts_with('+'))
        && matches!(at(DISABLED), "" | "true" | "false")
        && is_address(PICTURE)
        && has_own_providers(fields)
        && PROVIDERS.iter().all(is_provider)
}

fn is_verified(fields: &[&str]) -> bool {
    matches!(fields.get(2), Some(&("true" | "false")))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether ids and e-mail addresses of providers can be such.
fn has_own_providers(fields: &[&str]) -> bool {
    let at = |i: usize| fields.get(i).copied().unwrap_or_default();
    PROVIDERS.iter().all(|id| !at(*id).contains('@') && (at(id + 1).is_empty() || at(id + 1).contains('@')))
}

fn has_quotes_in_names_alone(fields: &[&str]) -> bool {
    fields.iter().take(PLAIN).enumerate().all(|(i, field)| is_name(i) || !field.contains('"'))
}

fn is_name(column: usize) -> bool {
    column == NAME || PROVIDERS.iter().any(|id| column == id + 2)
}

/// The fields of a row in which quotes are text, but for the claims.
fn plain_fields(line: &str) -> Vec<&str> {
    let mut fields: Vec<&str> = line.splitn(PLAIN + 1, ',').collect();
    if fields.len() > PLAIN
        && let Some(rest) = fields.pop()
    {
        push_claims(rest, &mut fields);
    }
    fields
}

/// The fields of a row in which names may be in quotes too.
fn named_fields(line: &str) -> Vec<&str> {
    let mut fields = Vec::with_capacity(*WIDTHS.end());
    let mut rest = Some(line);
    while let Some(text) = rest {
        if fields.len() == PLAIN {
            push_claims(text, &mut fields);
            break;
        }
        let quoted = is_name(fields.len()).then(|| quoted_name(text)).flatten();
        let (field, after) =
            text.split_at_checked(quoted.or_else(|| text.find(',')).unwrap_or(text.len())).unwrap_or((text, ""));
        fields.push(field);
        rest = after.strip_prefix(',');
    }
    fields
}

/// The length of the quoted name at the start. One quote may be of a name without commas, and the other of a later field: then
/// an id and an e-mail address would lie between them.
fn quoted_name(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('"')?;
    let end = inside.find("\",")?;
    let (_, others) = inside.get(..end)?.split_once(',')?;
    // No digits at all are digits too.
    let is_text = |part: &str| !part.contains('@') && !is_digits(part);
    let spans = others.rsplit_once(',').is_some_and(|(between, _)| !between.split(',').all(is_text));
    (!spans).then_some(end + 2)
}

/// Appends the claims at the start of `rest`, and the fields behind them.
fn push_claims<'r>(rest: &'r str, fields: &mut Vec<&'r str>) {
    let quoted = rest.starts_with('"').then(|| closing(rest)).flatten();
    let end = quoted.unwrap_or_else(|| rest.find(',').unwrap_or(rest.len()));
    let (field, others) = rest.split_at_checked(end).unwrap_or((rest, ""));
    fields.push(field);
    fields.extend(others.split(',').skip(1));
}

/// The index behind the quote that closes the one at the start: the row ends there, or with one comma more. A quote of the
/// user's own may stand where claims would begin, with the fields that are the user's behind it: these are no claims.
fn closing(field: &str) -> Option<usize> {
    let bytes = field.as_bytes();
    let mut at = 1;
    loop {
        at += memchr::memchr(b'"', bytes.get(at..)?)?;
        let run = bytes.get(at..)?.iter().take_while(|b| **b == b'"').count();
        // Inside of texts of the JSON they are not doubled, or are in other versions.
        let is_text = bytes.get(at - 1) == Some(&b'\\') || run.is_multiple_of(2);
        at += run;
        if !is_text {
            return matches!(bytes.get(at..), Some(b"" | b",")).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_at_commas_but_for_the_claims() {
        let row = r#"u,e,true,h,s,A "x" B,,1,,,,,,,,,,,,,,,,1,2,+1,false,"{""a"":1,""b"":2}","#;
        for fields in [plain_fields(row), named_fields(row)] {
            assert_eq!((fields.len(), fields[5], fields[7]), (29, "A \"x\" B", "1"));
            assert_eq!(fields[27], r#""{""a"":1,""b"":2}""#);
        }
        for split in [plain_fields, named_fields] {
            assert_eq!(split("a,b").len(), 2);
            assert_eq!(split(&format!("{},\"", ",".repeat(26))).len(), 28);
        }
    }

    #[test]
    fn claims_end_where_the_row_does() {
        for (text, end) in [
            (r#""{""a"":1}","#, Some(11)),
            (r#""{""a"":1}""#, Some(11)),
            (r#""{""a"":""x\"y, \\""}""#, Some(22)),
            (r#""{""a"":""x\""y""}","#, Some(19)),
            (r#""""#, Some(2)),
            // The quote at the start is not theirs.
            (r#"",,false,"{""a"":1}","#, None),
            (r#"",1,a@x,n",,,1690,,,false,,"#, None),
            (r#""x",y"#, None),
            (r#""x",,"#, None),
            (r#"""#, None),
        ] {
            assert_eq!(closing(text), end, "{text}");
        }
    }

    #[test]
    fn names_end_at_the_first_quote_before_a_comma() {
        for (text, end) in [
            (r#""Roe, Ana",1"#, Some(10)),
            (r#"",",1"#, Some(3)),
            (r#""a, "b"",1"#, Some(8)),
            // Of a name without a comma, up to a quote in another field.
            (r#""a,p,1001,a@x,b",1"#, None),
            (r#""a,p,,,b",1"#, None),
            (r#""a",1"#, None),
            (r#""a, b"#, None),
            ("a, b", None),
        ] {
            assert_eq!(quoted_name(text), end, "{text}");
        }
    }
}
