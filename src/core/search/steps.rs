//! The engine's steps, as the times of first tokens show them: the tokens of one step come almost together.

/// The end of a step: first tokens that had come by then, and when the last of them came, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StepEnd {
    pub done: usize,
    pub time: f64,
}

/// First tokens nearer to each other than this part of what lies between two on average are of one step. A harness stamps
/// the tokens of a step one after the other, within a hundred microseconds; a step takes milliseconds.
const SAME_STEP: f64 = 0.1;

/// The steps of these times of first tokens, ascending in seconds.
pub(super) fn steps(times: &[f64]) -> Vec<StepEnd> {
    let Some(last) = times.last() else { return Vec::new() };
    let apart = SAME_STEP * last / times.len() as f64;
    let mut steps: Vec<StepEnd> = Vec::new();
    for (rank, time) in times.iter().enumerate() {
        let end = StepEnd { done: rank + 1, time: *time };
        match steps.last_mut() {
            Some(step) if time - step.time < apart => *step = end,
            _ => steps.push(end),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stamped_one_after_the_other_are_of_one_step() {
        let times = [0.0186, 0.0675, 0.0676, 0.0677, 0.0678, 0.1165, 0.1166, 0.1167, 0.1168];
        let ends: Vec<usize> = steps(&times).iter().map(|step| step.done).collect();
        assert_eq!(ends, [1, 5, 9]);
    }

    #[test]
    fn prompts_of_a_step_each_are_steps_however_many_there_are() {
        let times: Vec<f64> = (1..=1000).map(|rank| f64::from(rank) * 0.03).collect();
        assert_eq!(steps(&times).len(), 1000);
    }
}
