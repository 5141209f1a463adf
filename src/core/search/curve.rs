//! Foretells the ceiling of a burst under a limit on the first token, from the times of the first tokens seen so far.
//!
//! A burst is served in order, so one probe shows when each rank is served, and that hardly depends on how many wait
//! behind. The prediction only chooses the next level: what is published has been probed.

use super::level::Machine;

/// When the engine is done with so many prompts, in the middle of its luck.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// Ends of steps: prompts done (a prompt that is part done counts as a part) and the logarithm of the time.
    steps: Vec<(f64, f64)>,
    /// Logarithm of the time of each first token.
    times: Vec<f64>,
}

impl Curve {
    /// From the first-token times of one probe, ascending, `slower` than the middle by this logarithm.
    ///
    /// `prompts_per_step` is the engine's token budget in prompts, where it is known.
    pub fn new(times: &[f64], slower: f64, complete: bool, prompts_per_step: Option<f64>) -> Self {
        let times: Vec<f64> = times.iter().map(|time| time.ln() - slower).collect();
        let mut steps: Vec<(f64, f64)> = Vec::new();
        for (rank, time) in times.iter().enumerate() {
            let done = (rank + 1) as f64;
            match steps.last_mut() {
                Some(step) if time - step.1 < SAME_STEP => step.0 = done,
                _ => steps.push((done, *time)),
            }
        }
        if let Some(per_step) = prompts_per_step {
            let last = steps.len();
            for (index, step) in steps.iter_mut().enumerate() {
                // The budget may have done a part of the next prompt as well.
                if !(complete && index + 1 == last) {
                    step.0 = ((index + 1) as f64 * per_step).clamp(step.0, step.0 + 0.99);
                }
            }
        }
        Self { steps, times }
    }

    /// The number of prompts that are done within this time, as a logarithm; beyond what was seen by the last slope.
    pub fn done_by(&self, time: f64) -> f64 {
        let next = self.steps.partition_point(|step| step.1 <= time);
        let (from, to) = match next {
            // Within the first step as much as its part of it.
            0 => return self.steps.first().map_or(1.0, |step| step.0 * (time - step.1).exp()),
            _ if next < self.steps.len() => (self.steps[next - 1], self.steps[next]),
            _ => return self.beyond(time),
        };
        let part = (time.exp() - from.1.exp()) / (to.1.exp() - from.1.exp());
        from.0 + part * (to.0 - from.0)
    }

    fn beyond(&self, time: f64) -> f64 {
        let Some(last) = self.steps.last() else { return 0.0 };
        let half = self.steps[(self.steps.len() - 1) / 2];
        let slope = if half.0 < last.0 { (last.1 - half.1) / (last.0 / half.0).ln() } else { 1.0 };
        last.0 * ((time - last.1) / slope.clamp(0.3, 3.0)).exp()
    }

    /// The highest level up to `cap` at which a share of `needed` gets its first token within `limit`, if everything
    /// takes `exp(slower)` times as long and the machine's spread is `wider` than estimated by that factor.
    pub fn ceiling(&self, machine: &Machine, limit: f64, needed: f64, slower: f64, wider: f64, cap: u32) -> u32 {
        let (mut pass, mut fail) = (0, cap.saturating_add(1));
        while fail - pass > 1 {
            let level = pass + (fail - pass) / 2;
            if self.share(machine, level, limit.ln() - slower, wider) >= needed - 1e-9 {
                pass = level;
            } else {
                fail = level;
            }
        }
        pass
    }

    fn share(&self, machine: &Machine, level: u32, limit: f64, wider: f64) -> f64 {
        let wanted = f64::from(level);
        let (mut ok, mut total) = (0.0, 0.0);
        for pace in machine.paces(level, wider) {
            let time = limit - pace + 1e-9;
            let whole = self.times.partition_point(|first| *first <= time);
            let done = self.done_by(time);
            let beyond = whole == self.times.len();
            ok += if done >= wanted {
                wanted
            } else if beyond {
                done.floor()
            } else {
                whole as f64
            } / wanted;
            total += 1.0;
        }
        ok / total
    }
}

/// First tokens whose times differ by less than this part are taken to be of one step.
const SAME_STEP: f64 = 1e-6;
