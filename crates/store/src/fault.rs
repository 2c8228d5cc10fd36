//! Numbered steps at which tests break off: what is on disk then has to be a store that opens.

#[cfg(not(test))]
use crate::error::Result;

/// A step between two changes on disk. Does nothing outside tests.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, clippy::missing_const_for_fn, reason = "the test form fails")]
#[inline]
pub(crate) fn point(_: &'static str) -> Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use tests::point;

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use crate::error::{Error, Result};

    thread_local! {
        static PLAN: RefCell<Plan> = const { RefCell::new(Plan { after: None, seen: Vec::new() }) };
        static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
    }

    struct Plan {
        after: Option<usize>,
        seen: Vec<&'static str>,
    }

    /// A step, and what is done at it.
    type Meanwhile = (&'static str, Box<dyn FnOnce()>);

    /// Fails on this thread from the step on that was asked for.
    pub(crate) fn point(name: &'static str) -> Result<()> {
        // Between two changes on disk lie waits for it, in which others run.
        #[cfg(shuttle)]
        crate::sync::turn();
        let passed = PLAN.with_borrow_mut(|plan| {
            plan.seen.push(name);
            match plan.after {
                Some(after) if plan.seen.len() > after => Err(Error::Io {
                    op: "pass the step",
                    path: name.into(),
                    source: std::io::Error::other("broken off by a test"),
                }),
                _ => Ok(()),
            }
        });
        // What is done may come to steps of its own.
        if let Some((_, work)) = MEANWHILE.with_borrow_mut(|planned| planned.take_if(|(step, _)| *step == name)) {
            work();
        }
        passed
    }

    /// Does `work` when this thread comes to the step `name` the next time: what others do at the worst moment.
    pub(crate) fn meanwhile(name: &'static str, work: impl FnOnce() + 'static) {
        MEANWHILE.set(Some((name, Box::new(work))));
    }

    /// Lets `after` steps of this thread pass, and fails every later one; `None` lets all pass.
    pub(crate) fn plan(after: Option<usize>) {
        PLAN.with_borrow_mut(|plan| *plan = Plan { after, seen: Vec::new() });
    }

    /// The steps since [`plan`].
    pub(crate) fn seen() -> Vec<&'static str> {
        PLAN.with_borrow(|plan| plan.seen.clone())
    }
}
