//! One call: a request, decoded; and the envelopes of its answers.

use headcount_export::{Format, iso8601};

use crate::method::auth::Caller;
use crate::method::body::called;
use crate::method::date::http_date;
use crate::method::error::{Code, Failure, clipped, reason};
use crate::method::json::{Object, list};
use crate::method::params::Params;
use crate::method::request::Request;
use crate::method::response::{Body, Outcome, Response};
use crate::method::values::{boolean, is_known};
use crate::method::verb::Verb;

/// Unknown parameters that are named in an answer.
const IGNORED_MAX: usize = 16;

/// Longest `context`, in bytes, that comes back to whoever asks: in JSON it may be six times as long. A longer one comes
/// back to callers that are known.
const CONTEXT_MAX: usize = 8 << 10;

/// A request, decoded as far as it could be.
#[derive(Debug)]
pub(crate) struct Call {
    /// What was asked, but for its body, which is decoded.
    pub(crate) request: Request,
    pub(crate) verb: Option<Verb>,
    pub(crate) params: Params,
    /// What is wrong with the body or the encoding.
    fault: Option<Failure>,
    /// Whether the HTTP status is that of the code.
    http_status: bool,
    /// The function that a JSONP answer calls.
    pub(crate) callback: Option<String>,
    outcome: Outcome,
}

/// Whether `name` may stand before a parenthesis in a script of somebody else.
pub(crate) fn is_callback(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$' | b'[' | b']'))
}

/// The form in the body of a request.
fn form(request: &Request, max_body: usize) -> Result<&[u8], Failure> {
    if request.body.len() > max_body {
        let details = format!("a body of {} bytes: expected at most {max_body}", request.body.len());
        return Err(Failure::new(Code::EntityTooLarge, details));
    }
    let refused = |details: String| Err(Failure::new(Code::InvalidRequestFormat, details));
    if request.method != "POST" {
        let details = || format!("a {} with a body: only POST takes one", clipped(&request.method));
        return if request.body.is_empty() { Ok(&[]) } else { refused(details()) };
    }
    let not_a_form = |found: &str| {
        let expected = "expected application/x-www-form-urlencoded, in UTF-8";
        refused(format!("Content-Type: {expected}; found {}", clipped(found)))
    };
    let Some(content_type) = request.header("content-type") else {
        return if request.body.is_empty() { Ok(&[]) } else { not_a_form("none") };
    };
    let mut parts = content_type.split(';').map(str::trim);
    let is_form = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let utf8 = |part: &str| match part.split_once('=') {
        Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
            let charset = charset.trim().trim_matches('"');
            ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
        }
        _ => true,
    };
    if is_form && parts.all(utf8) { Ok(&request.body) } else { not_a_form(content_type) }
}

impl Call {
    /// Decodes a request. What is wrong with it is said by [`check`](Self::check): how a refusal looks depends on it.
    pub(crate) fn new(mut request: Request, max_body: usize) -> Self {
        let (form, refused) = match form(&request, max_body) {
            Ok(form) => (form, None),
            Err(failure) => (&[][..], Some(failure)),
        };
        let (params, fault) = Params::decode(request.query.as_bytes(), form);
        let verb = Verb::of_path(&request.path);
        let format = params.get("format").filter(|_| verb == Some(Verb::ExportUsers));
        let is = |name: &str| format.is_some_and(|format| format.trim().eq_ignore_ascii_case(name));
        let callback = params.get("callback").filter(|name| is("jsonp") && is_callback(name)).map(str::to_owned);
        // The first two cannot say in their body that they failed. And 200 to CONNECT would mean that there is a tunnel.
        let forced = is(Format::Csv.as_str()) || is(Format::Ndjson.as_str()) || request.method == "CONNECT";
        let http_status = forced || boolean(&params, "httpStatusCodes").ok().flatten().unwrap_or(false);
        let outcome = Outcome { verb, call_id: format!("{:032x}", request.call_id), ..Outcome::default() };
        request.body = Vec::new();
        Self { request, verb, params, fault: refused.or(fault), http_status, callback, outcome }
    }

    /// The checks that need to know nobody: HTTP method, body, duplicates.
    pub(crate) fn check(&mut self) -> Result<Verb, Failure> {
        if self.request.method == "CONNECT" {
            let failure = Failure::new(Code::InvalidMethod, "no tunnels are made: expected GET, HEAD or POST");
            return Err(Failure { allow: Some("GET, HEAD, POST"), ..failure });
        }
        let Some(verb) = self.verb else {
            let known = Verb::ALL.map(Verb::as_str).join(", ");
            return Err(Failure::new(Code::NotFound, format!("there is no such method: expected one of {known}")));
        };
        let methods = verb.http_methods();
        if !methods.split(", ").any(|method| method == self.request.method) {
            let details = format!("{} takes {methods}, not {}", verb.as_str(), clipped(&self.request.method));
            return Err(Failure { allow: Some(methods), ..Failure::new(Code::InvalidMethod, details) });
        }
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => self.params.check_duplicates().map(|()| verb),
        }
    }

    /// The caller is known from now on.
    pub(crate) fn know(&mut self, caller: &Caller) {
        self.outcome.api_key = Some(caller.site.api_key.clone());
        self.outcome.user_key.clone_from(&caller.user_key);
    }

    /// The control parameters that are no credentials.
    pub(crate) fn check_params(&self, verb: Verb) -> Result<(), Failure> {
        boolean(&self.params, "httpStatusCodes")?;
        let strict = boolean(&self.params, "checkParams")?.unwrap_or(false);
        if let Some(name) = self.unknown().next().filter(|_| strict) {
            let details = format!("{}: there is no such parameter, and checkParams is true", clipped(name));
            return Err(Failure::permission(&details));
        }
        match self.params.get("format") {
            Some(format) if verb != Verb::ExportUsers && !format.trim().eq_ignore_ascii_case("json") => {
                Err(Failure::value("format", format, "json, the only format of this method"))
            }
            _ => Ok(()),
        }
    }

    fn unknown(&self) -> impl Iterator<Item = &str> {
        let verb = self.verb;
        self.params.unknown(move |name| verb.is_none_or(|verb| is_known(verb, name)))
    }

    /// `ignoredParams`, when there are any.
    pub(crate) fn ignored(&self) -> Option<String> {
        let items = self.unknown().take(IGNORED_MAX).map(|name| {
            let item = Object::new().text("paramName", clipped(name));
            item.number("warningCode", 403_007).text("message", "Unknown parameter, ignored").finish()
        });
        let items: Vec<String> = items.collect();
        (!items.is_empty()).then(|| list(items))
    }

    /// What is known of it for logs.
    pub(crate) const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    pub(crate) fn call_id(&self) -> &str {
        &self.outcome.call_id
    }

    pub(crate) fn time(&self) -> String {
        iso8601(self.request.now_ms())
    }

    /// What stands after `time`.
    pub(crate) fn extras(&self, mut object: Object) -> Object {
        let known = self.outcome.api_key.is_some();
        if let Some(context) = self.params.get("context").filter(|context| known || context.len() <= CONTEXT_MAX) {
            object = object.text("context", context);
        }
        match self.ignored() {
            Some(ignored) => object.raw("ignoredParams", &ignored),
            None => object,
        }
    }

    /// The envelope of a verb that succeeded, after its own members.
    pub(crate) fn succeed(&self, members: Object) -> Response {
        let object = members.number("statusCode", 200).number("errorCode", 0).text("statusReason", "OK");
        let object = object.text("callId", self.call_id()).text("time", &self.time());
        self.json(200, self.extras(object))
    }

    /// The envelope of a refusal.
    pub(crate) fn refuse(&self, failure: &Failure) -> Response {
        let code = failure.code;
        let object = Object::new()
            .text("errorMessage", code.message())
            .text("errorDetails", &failure.details)
            .number("statusCode", u64::from(code.status()))
            .number("errorCode", u64::from(code.number()))
            .text("statusReason", reason(code.status()))
            .text("callId", self.call_id())
            .text("time", &self.time());
        let object = if self.verb == Some(Verb::GetToken) {
            let description = format!("{} - {}", code.number(), code.message());
            object.text("error", code.oauth()).text("error_description", &description)
        } else {
            object
        };
        let is_token = code == Code::InvalidToken;
        let status = match failure.challenge {
            Some(_) => 401,
            None if self.http_status && is_token => 401,
            None if self.http_status => code.status(),
            None => 200,
        };
        let mut response = self.json(status, self.extras(object));
        if status == 401 {
            let scheme = failure.challenge.unwrap_or("OAuth");
            let value = format!("{scheme} realm=\"headcount\", error=\"invalid_token\"");
            response.headers.push(("www-authenticate", value));
        }
        response.headers.extend(failure.retry_after.map(|seconds| ("retry-after", seconds.to_string())));
        response.headers.extend(failure.allow.map(|methods| ("allow", methods.to_owned())));
        response.outcome.error = Some(code);
        response
    }

    pub(crate) fn json(&self, status: u16, object: Object) -> Response {
        let json = object.finish();
        let (text, media_type) = match &self.callback {
            Some(name) => (called(name, json.as_bytes()), JAVASCRIPT),
            None => (json.into_bytes(), Format::Json.media_type()),
        };
        self.response(status, media_type, "private, no-store", Some(text.len() as u64), Body::Bytes(text))
    }

    pub(crate) fn response(
        &self,
        status: u16,
        media_type: &str,
        cache: &str,
        length: Option<u64>,
        body: Body,
    ) -> Response {
        // To HEAD the length is said, and nothing is sent.
        let body = if self.request.method == "HEAD" { Body::Bytes(Vec::new()) } else { body };
        let headers = vec![
            ("date", http_date(self.request.now_ms())),
            ("content-type", media_type.to_owned()),
            ("cache-control", cache.to_owned()),
            ("vary", "Authorization, Accept-Encoding".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
        ];
        Response { status, headers, length, body, outcome: self.outcome.clone() }
    }
}

/// Media type of JSONP.
pub(crate) const JAVASCRIPT: &str = "application/javascript; charset=utf-8";
