//! Measures a probe of a ladder as the executor would have it measured.

use super::SimSession;
use crate::experiment::Workload;
use crate::load::LoadPlan;
use crate::protocol::{Measured, ProbeAsk, PromptAsk};
use crate::sla::Sla;
use crate::units::{Concurrency, Seconds};
use crate::watch::{Advice, Until, Watch};

/// One probe of a ladder.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// What its requests are like, and how they arrive.
    pub workload: &'a Workload,
    /// What they are judged under.
    pub slas: &'a [Sla],
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// What it is measured for.
    pub until: &'a Until,
    /// The stream of its prompts, and its number in that: probes of the same number meet the same luck.
    pub number: (u64, u32),
}

impl Trial<'_> {
    /// Makes it, and leaves it once it can tell nothing more.
    pub fn measure(&self, session: SimSession) -> Measured {
        let mut watch = Watch::new(&self.load(), self.slas, self.until);
        session.probe(&self.ask(), &mut |event| {
            watch.observe(event);
            watch.advice()
        })
    }

    /// Makes it to the end.
    pub fn measure_to_the_end(&self, session: SimSession) -> Measured {
        session.probe(&self.ask(), &mut |_| Advice::GoOn)
    }

    /// The load that it puts on the engine.
    fn load(&self) -> LoadPlan {
        LoadPlan::new(self.workload, self.slas, self.concurrency, self.until)
    }

    fn ask(&self) -> ProbeAsk {
        let Workload { input_tokens, output_tokens, shared_prefix, ref prompt, .. } = *self.workload;
        let (stream, probe) = self.number;
        let prompts = PromptAsk { source: prompt.clone(), input_tokens, shared_prefix, stream, probe };
        ProbeAsk { load: self.load(), prompts, output_tokens, silence: Seconds::ZERO }
    }
}
