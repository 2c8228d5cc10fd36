//! An export in steps: a part is rendered when its bytes are asked for, by whoever asks.
//!
//! Nothing is handed from thread to thread, so what is rendered is in the cache of the core that sends it.

use std::collections::VecDeque;
use std::mem;
use std::ops::Bound;

use headcount_block::{Source, UidRange};

use crate::body::{Body, Done};
use crate::buffer::Buffer;
use crate::envelope::Trailer;
use crate::error::Error;
use crate::export::{Export, Summary};
use crate::layout::Layout;
use crate::pipeline::{Ends, PartOutlet, Receiver};
use crate::plan::Plan;
use crate::render::Renderer;
use crate::sink::Sink;
use crate::template::Cache;

/// An export, a step at a time.
pub(crate) trait Steps: Send {
    /// Renders some more, into buffers that `spare` has or new ones. Returns what the export held when that was the
    /// last of it; after an error there is nothing more to do. What was put into `out` counts in any case.
    fn step(&mut self, spare: &Receiver<Buffer>, out: &mut VecDeque<Buffer>) -> Result<Option<Summary>, Error>;
}

/// The steps of an export of users.
pub(crate) struct Stepper<S> {
    export: Export<S>,
    plan: Plan,
    layout: Layout,
    trailer: Trailer,
    /// Users to come; none after the last part.
    rest: Option<UidRange>,
    done: Done,
    ends: Ends,
    /// What the renderer of a part leaves to the next.
    templates: Cache,
    buffer: Buffer,
}

impl<S: Source + Clone + 'static> Stepper<S> {
    pub(crate) fn new(export: Export<S>, plan: Plan) -> Self {
        let (layout, trailer, rest) = (export.effective(), export.trailer(&plan), plan.range.clone());
        let (done, ends) = (Done::default(), Ends::default());
        let (templates, buffer) = (Cache::default(), Buffer::new());
        Self { export, plan, layout, trailer, rest, done, ends, templates, buffer }
    }

    fn part(&mut self, body: &mut Body<'_>) -> Result<(), Error> {
        let Some(range) = self.rest.take() else { return Ok(()) };
        let source = &self.export.source;
        let Some(part) = source.parts(&range)?.next().transpose()? else { return Ok(()) };
        let mut outlet = PartOutlet(body);
        let mut renderer = Renderer::new(&self.layout, None, &mut outlet, mem::take(&mut self.buffer));
        renderer.remember(mem::take(&mut self.templates));
        let rendered = renderer.part(source, &part);
        (self.templates, self.buffer) = renderer.leave();
        self.buffer.clear();
        let counts = rendered?;
        self.rest = after(&part.range.end, &range);
        self.ends.add(part, counts);
        Ok(())
    }

    fn advance(&mut self, body: &mut Body<'_>) -> Result<Option<Summary>, Error> {
        if self.rest.is_some() {
            return self.part(body).map(|()| None);
        }
        let summary = self.export.conclude(&self.plan, &self.layout, body, &self.ends)?;
        body.succeed(&self.trailer)?;
        Ok(Some(Summary { bytes: body.done.bytes, content_bytes: body.done.bytes, ..summary }))
    }
}

/// What of `range` lies after a part that ends at `end`.
fn after(end: &Bound<Vec<u8>>, range: &UidRange) -> Option<UidRange> {
    let start = match end {
        Bound::Unbounded => return None,
        _ if *end == range.end => return None,
        Bound::Included(uid) => Bound::Excluded(uid.clone()),
        Bound::Excluded(uid) => Bound::Included(uid.clone()),
    };
    Some(UidRange { start, end: range.end.clone() })
}

struct Collect<'a> {
    spare: &'a Receiver<Buffer>,
    out: &'a mut VecDeque<Buffer>,
}

impl Sink for Collect<'_> {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let mut free = self.spare.try_recv().unwrap_or_default();
        free.clear();
        self.out.push_back(mem::replace(buffer, free));
        Ok(())
    }
}

impl<S: Source + Clone + 'static> Steps for Stepper<S> {
    fn step(&mut self, spare: &Receiver<Buffer>, out: &mut VecDeque<Buffer>) -> Result<Option<Summary>, Error> {
        let (layout, trailer) = (self.layout, self.trailer.clone());
        let mut sink = Collect { spare, out };
        let mut body = Body::new(&layout, &mut sink, None).after(mem::take(&mut self.done));
        let outcome = self.advance(&mut body).map_err(|error| body.fail(&trailer, error));
        self.done = body.done;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_goes_on_where_a_part_ends() {
        let all = UidRange { start: Bound::Unbounded, end: Bound::Included(b"z".to_vec()) };
        let from = |start| Some(UidRange { start, end: all.end.clone() });
        assert_eq!(after(&Bound::Excluded(b"m".to_vec()), &all), from(Bound::Included(b"m".to_vec())));
        assert_eq!(after(&Bound::Included(b"m".to_vec()), &all), from(Bound::Excluded(b"m".to_vec())));
        assert_eq!(after(&Bound::Included(b"z".to_vec()), &all), None);
        assert_eq!(after(&Bound::Unbounded, &all), None);
    }
}
