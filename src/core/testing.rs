//! What the tests of the simulator and of the search measure, and under which limits.

use crate::experiment::Workload;
use crate::load::{Hold, Load};
use crate::protocol::PromptSource;
use crate::sla::Sla;
use crate::units::{Seconds, Share};

pub(crate) fn seconds(value: f64) -> Seconds {
    Seconds::new(value).unwrap()
}

pub(crate) fn share(value: f64) -> Share {
    Share::new(value).unwrap()
}

pub(crate) fn workload(load: Load, input_tokens: u32, output_tokens: u32, hold: f64) -> Workload {
    Workload {
        input_tokens,
        output_tokens,
        load,
        hold: Hold::For(seconds(hold)),
        prompt: PromptSource::Random,
        shared_prefix: 0,
        seed: 7,
    }
}

pub(crate) fn sla(ok_rate: f64, ttft: f64) -> Sla {
    Sla { ok_rate: share(ok_rate), ttft: seconds(ttft), tpot: None, e2e: None, min_tokens_per_second: None }
}
