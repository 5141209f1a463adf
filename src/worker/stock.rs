//! The requests of a probe, made before they are due.

use std::collections::VecDeque;

use ceiling_core::load::Load;
use ceiling_core::protocol::{EngineError, ProbeAsk};
use ceiling_core::workload::PromptMaker;

use crate::heard::RequestId;
use crate::interrupted::Interrupted;
use crate::prompts;
use crate::teller::Teller;
use crate::vllm::{Draft, Prepared, Vllm};

/// Requests that are made and not yet sent.
///
/// A long prompt takes longer to make than to send, and under a sustained load many requests may have to be replaced at once. So as many
/// as were sent in the first moment are made again while there is nothing else to do: piece by piece, since an output that comes
/// meanwhile is not stamped before Python's lock is free.
pub struct Stock<'a> {
    maker: &'a PromptMaker,
    vllm: &'a Vllm,
    sampling: pyo3::Py<pyo3::PyAny>,
    run: u32,
    ready: VecDeque<Prepared>,
    /// The one behind them, where a part of it is made.
    draft: Option<Draft>,
    /// Why there is none behind those that are ready.
    failed: Option<EngineError>,
    next: u32,
    /// So many are made before they are due.
    most: usize,
}

impl<'a> Stock<'a> {
    /// The first `count` requests of a probe.
    pub fn new(
        ask: &ProbeAsk,
        run: u32,
        maker: &'a PromptMaker,
        vllm: &'a Vllm,
        count: u32,
        teller: &mut Teller<'_>,
    ) -> Result<Self, Interrupted> {
        let sampling = vllm.sampling(ask.output_tokens).map_err(Interrupted::Refused)?;
        let most = if ask.load.load == Load::Sustained { count as usize } else { 0 };
        let ready = VecDeque::new();
        let mut stock = Self { maker, vllm, sampling, run, ready, draft: None, failed: None, next: 0, most };
        for _ in 0..count {
            let one = stock.make().map_err(Interrupted::Refused)?;
            stock.ready.push_back(one);
            teller.tell_alive();
        }
        Ok(stock)
    }

    /// The next request.
    pub fn take(&mut self) -> Result<Prepared, Interrupted> {
        let ready = self.ready.pop_front().map(Ok);
        ready.or_else(|| self.failed.take().map(Err)).unwrap_or_else(|| self.make()).map_err(Interrupted::Refused)
    }

    /// Makes a piece of a request that is not due yet; says whether there is more to make.
    pub fn refill(&mut self) -> bool {
        let is_full = |stock: &Self| stock.ready.len() >= stock.most || stock.failed.is_some();
        if !is_full(self) {
            // It may never be due.
            self.failed = self.make_a_piece().err();
        }
        !is_full(self)
    }

    fn make_a_piece(&mut self) -> Result<(), EngineError> {
        let mut draft = self.draft()?;
        if self.vllm.advance(&mut draft)? {
            self.ready.push_back(self.vllm.prepare(draft, &self.sampling)?);
        } else {
            self.draft = Some(draft);
        }
        Ok(())
    }

    fn make(&mut self) -> Result<Prepared, EngineError> {
        let draft = self.draft()?;
        self.vllm.prepare(draft, &self.sampling)
    }

    /// The request that comes next, as far as it is made.
    fn draft(&mut self) -> Result<Draft, EngineError> {
        if let Some(draft) = self.draft.take() {
            return Ok(draft);
        }
        let index = self.next;
        let prompt = self.maker.prompt(index).map_err(prompts::refuse)?;
        self.next += 1;
        Ok(Draft::new(RequestId { run: self.run, index }, prompt))
    }
}
