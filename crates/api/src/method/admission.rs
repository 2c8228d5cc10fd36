//! The two phases of an answer: what a request may do is decided by what it says; only then is something done for it.

use std::sync::Arc;

use crate::method::api::Api;
use crate::method::auth::{self, Caller};
use crate::method::call::Call;
use crate::method::error::{Code, Failure};
use crate::method::export::Task;
use crate::method::request::Request;
use crate::method::response::{Outcome, Response};
use crate::method::token::{Grant, TokenStore};
use crate::method::verb::Verb;
use crate::method::verbs::Change;

/// What became of a request.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// It is refused, and this is the answer.
    Refused(Response),
    /// It may do what it asks for.
    Admitted(Admitted),
}

/// What answering takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Some CPU time: microseconds, and less than a millisecond at worst. It may be done anywhere.
    Light,
    /// A commit, or a token that goes to disk: an fsync.
    Write,
    /// A body that is streamed, of at most a thousand users: as [`Export`](Self::Export), and soon over.
    Page,
    /// A body that is streamed: waits for its first bytes, and renders in threads of its own.
    Export,
}

/// A request that may do what it asks for, before it is done.
#[derive(Debug)]
pub struct Admitted(Box<Permit>);

#[derive(Debug)]
struct Permit {
    call: Call,
    verb: Verb,
    caller: Caller,
    deed: Deed,
}

#[derive(Debug)]
enum Deed {
    Export(Box<Task>),
    Grant(Grant, Arc<dyn TokenStore>),
    Change(Change),
}

/// Decides about a request. The order is that of the contract: HTTP method, body, duplicates, credentials, limit,
/// permission, values.
pub(crate) fn admit(api: &Api, request: Request) -> Admission {
    let mut call = Call::new(request, api.settings.max_body);
    match decide(api, &mut call) {
        Ok((verb, caller, deed)) => Admission::Admitted(Admitted(Box::new(Permit { call, verb, caller, deed }))),
        Err(failure) => Admission::Refused(call.refuse(&failure)),
    }
}

fn decide(api: &Api, call: &mut Call) -> Result<(Verb, Caller, Deed), Failure> {
    let verb = call.check()?;
    let caller = match verb {
        Verb::GetToken => auth::client(api, call)?,
        _ => auth::caller(api, call)?,
    };
    call.know(&caller);
    limit(api, call, &caller)?;
    caller.require(verb)?;
    call.check_params(verb)?;
    let deed = match verb {
        Verb::ExportUsers => Deed::Export(Box::new(Task::new(api, call, &caller)?)),
        Verb::GetToken => Deed::Grant(Grant::read(api, call)?, Arc::clone(&api.tokens)),
        _ => Deed::Change(Change::read(call, verb)?),
    };
    Ok((verb, caller, deed))
}

impl Admitted {
    /// The method that is called.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        self.0.verb
    }

    /// What is known of the call so far: the method, the site and the key.
    #[must_use]
    pub const fn outcome(&self) -> &Outcome {
        self.0.call.outcome()
    }

    /// What [`answer`](Self::answer) will take.
    #[must_use]
    pub fn work(&self) -> Work {
        match &self.0.deed {
            Deed::Export(task) if task.is_light() => Work::Light,
            Deed::Export(task) if task.is_page() => Work::Page,
            Deed::Export(_) => Work::Export,
            Deed::Grant(_, tokens) if !tokens.waits() => Work::Light,
            Deed::Change(Change::Nothing { .. }) => Work::Light,
            Deed::Grant(..) | Deed::Change(_) => Work::Write,
        }
    }

    /// Does what was asked for, and answers. It blocks as long as [`work`](Self::work) says: until the commit is on disk, or
    /// the first bytes of an export are rendered.
    #[must_use]
    pub fn answer(self) -> Response {
        let Permit { call, caller, deed, .. } = *self.0;
        let answer = match deed {
            Deed::Export(task) => task.answer(&call),
            Deed::Grant(grant, tokens) => grant.give(&*tokens, &call, &caller),
            Deed::Change(change) => change.make(&call, &caller.site.store),
        };
        answer.unwrap_or_else(|failure| call.refuse(&failure))
    }

    /// What [`answer`](Self::answer) would be if it failed so: to be kept by who has it called elsewhere, where it may not
    /// return.
    #[must_use]
    pub fn refusal(&self, failure: &Failure) -> Response {
        self.0.call.refuse(failure)
    }

    /// Does nothing, and says why: a queue that is full, a deadline.
    #[must_use]
    pub fn refuse(self, failure: &Failure) -> Response {
        self.0.call.refuse(failure)
    }
}

fn limit(api: &Api, call: &Call, caller: &Caller) -> Result<(), Failure> {
    let Some(limiter) = &api.limiter else { return Ok(()) };
    let admitted = limiter.admit(&caller.site.api_key, caller.user_key.as_deref(), call.request.now);
    admitted.map_err(|wait| {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Failure::new(Code::RateLimit, "too many requests of this key").retry_after(seconds.max(1))
    })
}
