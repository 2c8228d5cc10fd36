//! `headcount call`

mod receive;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headcount::{Compression, Format, Progress};
use headcount_server::{SecretSource, private_text};

use crate::cmd::call::receive::{Received, to_file, to_stdout};
use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::output::expect_outside_stores;
use crate::progress::{Rate, watch};
use crate::size::{human_bytes, human_count};
use crate::ui::Ui;

use crate::client::{Ask, Base, Credential, Http, Request};

const EXAMPLES: &str = "\
Calls a method of a served store: exportUsers, unless METHOD names another (getUserInfo, setUID);
`socialize.` in front of it may be left out. Every request is signed with the secret, over http as
over https, or carries the token, over https only. Files of secrets and tokens are for their owner
alone (mode 0600). The apiKey and the userKey are also taken from HEADCOUNT_API_KEY and
HEADCOUNT_USER_KEY.

The answer goes to standard output, or with -o to FILE, whose extension (.csv, .ndjson) is the
format of an export unless one is given. FILE is replaced only by a whole answer without an error; a
JSON answer is checked as it comes. Exit code 1 when the answer is an error or breaks off.

What came of a CSV or NDJSON download that broke off is in FILE.partial. It is gone on from, now and
by the next call with the same parameters, as long as the server has that snapshot, and begun anew
otherwise. Answers are asked for uncompressed, so that they can be gone on from at any byte.

Examples:
  headcount call https://users.example.com --api-key 3_key --secret-file 3_key.secret > users.json
  headcount call http://127.0.0.1:8080 --secret-file 3_key.secret -o users.csv fields=uid,provider
  headcount call http://127.0.0.1:8080 --secret-file a.secret --user-key a getUserInfo UID=6625ID
  headcount call https://users.example.com --token-file token -o changes.ndjson since=4711
  headcount call https://10.0.0.7 --ca-file ca.pem --secret-file 3_key.secret limit=10";

/// Options of `headcount call`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server: http:// or https://, host and port
    url: String,
    /// The method [default: exportUsers], and its parameters
    #[arg(value_name = "METHOD | NAME=VALUE")]
    words: Vec<String>,
    /// The site's public name
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Name of the user key that the secret is of
    #[arg(long, value_name = "KEY")]
    user_key: Option<String>,
    /// The secret of the site or user key: sign with it
    #[arg(long, value_name = "FILE", required_unless_present = "token_file", conflicts_with = "token_file")]
    secret_file: Option<PathBuf>,
    /// A token of getToken: send it along
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Trust the certificates in FILE, PEM, instead of the public authorities
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long to wait without a byte from the server
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// How often a broken download is gone on from, after 0.2 s, 0.4 s, and so on up to 30 s
    #[arg(long, value_name = "N", default_value_t = 8)]
    retries: u32,
}

/// Calls a method.
///
/// # Errors
/// When there is no whole answer without an error; a FILE that stood there before is then as it was.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let base = Base::parse(&args.url).map_err(Failure::usage)?;
    let file = args.output.as_deref().filter(|path| *path != Path::new("-"));
    file.map_or(Ok(()), expect_outside_stores)?;
    let request = request(args, &base, file)?;
    let credential = credential(args, &base)?;
    let progress = Arc::new(Progress::default());
    let http = http(args, &progress)?;
    cancel_on_signals(&progress)?;
    let mut ask = Ask::new(http, base, request, credential, &progress, ui);
    progress.set_phase("receiving");
    let received = watch(ui, &progress, || match file {
        Some(path) => to_file(&mut ask, path, args.retries),
        None => to_stdout(&mut ask),
    })?;
    if file.is_some() {
        ui.note(&summary(&received, started));
    }
    Ok(Outcome::Done)
}

fn summary(received: &Received, started: Instant) -> String {
    let envelope = received.envelope.as_ref();
    let count =
        |number: Option<u64>, what: &str| number.map_or_else(String::new, |n| format!("{} {what}, ", human_count(n)));
    let users = count(envelope.and_then(|e| e.users_count), "users");
    let identities = count(envelope.and_then(|e| e.identities_count), "identities");
    let seq = received.seq.as_ref().map_or_else(String::new, |seq| format!(": seq {seq}"));
    let seconds = Rate::of(0, started).seconds;
    format!("received {users}{identities}{} in {seconds:.2} s{seq}", human_bytes(received.bytes))
}

fn http(args: &Args, progress: &Arc<Progress>) -> Result<Http, Failure> {
    let roots = match &args.ca_file {
        None => None,
        Some(path) => Some(fs::read(path).map_err(|error| ca_file(path, &error.to_string()))?),
    };
    let made = Http::new(Duration::from_secs(args.timeout), roots.as_deref(), Arc::clone(progress));
    made.map_err(|problem| ca_file(args.ca_file.as_deref().unwrap_or(Path::new("")), &problem))
}

fn ca_file(path: &Path, problem: &str) -> Failure {
    Failure::failed(format!("cannot read certificates from {}: {problem}", path.display()))
}

fn credential(args: &Args, base: &Base) -> Result<Credential, Failure> {
    match (&args.secret_file, &args.token_file) {
        (Some(path), _) => Ok(Credential::Secret(SecretSource::File(path.clone()).read()?)),
        (None, Some(path)) => {
            if base.is_open() {
                return Err(Failure::usage("a token is sent over https only: everybody on the way could use it")
                    .hint("give an https URL, or sign with --secret-file"));
            }
            let text = private_text(path)?;
            let token = text.trim();
            if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
                let text = format!("{} holds no token; expected one word, as getToken gave it", path.display());
                return Err(Failure::failed(text));
            }
            Ok(Credential::Token(token.to_owned()))
        }
        (None, None) => Err(Failure::usage("give --secret-file or --token-file")),
    }
}

fn request(args: &Args, base: &Base, file: Option<&Path>) -> Result<Request, Failure> {
    let (dir, last) = base.split();
    // A URL may name the method itself, as in the documentation of clients.
    let of_url = last.starts_with("socialize.").then_some(last);
    if of_url.is_none() && !last.is_empty() {
        return Err(Failure::usage(format!("the URL ends in {last:?}; end it with /, or with a method")));
    }
    let (mut method, mut parameters) = (of_url.map(str::to_owned), Vec::new());
    for word in &args.words {
        match word.split_once('=') {
            Some((name, value)) => parameters.push(parameter(name, value)?),
            None if method.is_none() => method = Some(method_named(word)?),
            None => {
                let text = format!("{word:?} is neither the method, which is given already, nor NAME=VALUE");
                return Err(Failure::usage(text));
            }
        }
    }
    let method = method.unwrap_or_else(|| "socialize.exportUsers".to_owned());
    if let Some(path) = file {
        if Compression::of_path(path).is_some() {
            let text = format!("{} is named as a compressed file, and answers are uncompressed", path.display());
            return Err(Failure::usage(text).hint("leave the last extension out, and compress it afterwards"));
        }
        let is_given = parameters.iter().any(|(name, _)| name == "format");
        if let Some(format) = Format::of_path(path).filter(|_| !is_given && method == "socialize.exportUsers") {
            parameters.push(("format".to_owned(), format.to_string()));
        }
    }
    let from_env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let api_key = args.api_key.clone().or_else(|| from_env("HEADCOUNT_API_KEY"));
    let user_key = args.user_key.clone().or_else(|| from_env("HEADCOUNT_USER_KEY"));
    if api_key.is_none() && args.secret_file.is_some() {
        return Err(Failure::usage("which site? Give --api-key, or set HEADCOUNT_API_KEY"));
    }
    Ok(Request { url: format!("{dir}/{method}"), api_key, user_key, parameters })
}

fn method_named(word: &str) -> Result<String, Failure> {
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_') {
        return Err(Failure::usage(format!("{word:?} is neither a method nor NAME=VALUE")));
    }
    Ok(if word.contains('.') { word.to_owned() } else { format!("socialize.{word}") })
}

/// A parameter that may be given as a word.
fn parameter(name: &str, value: &str) -> Result<(String, String), Failure> {
    let refused = |text: String| Err(Failure::usage(text));
    match name {
        "" => refused(format!("\"={value}\" has no name; expected NAME=VALUE")),
        // Others on this machine see command lines.
        "secret" | "client_secret" | "oauth_token" => refused(format!(
            "{name} is not for the command line, which others can see: use --secret-file or --token-file"
        )),
        "timestamp" | "nonce" | "sig" => refused(format!("{name} is made anew for each request; leave it out")),
        "userKey" => refused("give --user-key instead of userKey".to_owned()),
        _ if name.eq_ignore_ascii_case("apiKey") => refused(format!("give --api-key instead of {name:?}")),
        _ => Ok((name.to_owned(), value.to_owned())),
    }
}
