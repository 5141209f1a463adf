//! What of the wait for a first token others made by being held.
//!
//! Where an engine is full, a request of a burst gets its first token once another has left, and that is held for as long as the workload
//! lays down, however quick the machine is. Only the rest of its wait hangs on the machine's pace.

use crate::load::{Hold, Load, LoadPlan};
use crate::request::{RequestEnd, RequestRecord};

/// A wait for a first token is one for another to leave where it is longer than those before anybody left by this factor.
const LONGER: f64 = 2.0;

/// Somebody who was held and left.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    at: f64,
    /// Seconds until then that others and this one were held, one after the other.
    held: f64,
}

/// Of each request, for how many seconds others had to be held, one after the other, before its first token came, or while it was waited for in
/// vain: that is without end where by then none had left. Requests wait for none that was not held to the end of its hold.
pub(super) fn held_up(plan: &LoadPlan, requests: &[RequestRecord]) -> Vec<f64> {
    let mut held_up = vec![0.0; requests.len()];
    if plan.load != Load::Burst || !matches!(plan.hold, Hold::For(_)) {
        return held_up;
    }
    let mut in_order: Vec<(f64, usize)> =
        (0..requests.len()).filter_map(|index| Some((requests[index].first_s?.get(), index))).collect();
    in_order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let usual = longest_before_any_left(&in_order, requests);
    // Of those who were held, in the order of their first tokens, which is also that in which they leave.
    let mut leavings: Vec<Leaving> = Vec::new();
    let next_to_leave = |leavings: &[Leaving], from: f64, to: f64| {
        let next = leavings.partition_point(|leaving| leaving.at <= from);
        leavings.get(next).filter(|leaving| leaving.at <= to).map(|leaving| leaving.held)
    };
    let (mut before, mut held) = (0.0, 0.0);
    for (at, index) in in_order {
        if at - before > LONGER * usual {
            held = next_to_leave(&leavings, before, at).unwrap_or(held);
        }
        held_up[index] = held;
        let RequestRecord { end, ended_s, .. } = &requests[index];
        if *end == RequestEnd::Held {
            leavings.push(Leaving { at: ended_s.get(), held: held + (ended_s.get() - at) });
        }
        before = at;
    }
    let finishes = |at: f64| {
        let finished = requests.iter().filter(|request| request.end == RequestEnd::Finished);
        finished.map(|request| request.ended_s.get()).any(|ended| (before..at).contains(&ended))
    };
    for (index, request) in requests.iter().enumerate().filter(|(_, request)| request.first_s.is_none()) {
        let at = request.ended_s.get();
        // The engine had served somebody, and let the others wait for longer than prompts take.
        let is_full = usual > 0.0 && at - before > LONGER * usual && !finishes(at);
        held_up[index] = if is_full { next_to_leave(&leavings, before, at).unwrap_or(f64::INFINITY) } else { held };
    }
    held_up
}

/// The longest that was waited for a first token, after the one before it, before anybody had left.
fn longest_before_any_left(in_order: &[(f64, usize)], requests: &[RequestRecord]) -> f64 {
    let left = |request: &&RequestRecord| matches!(request.end, RequestEnd::Held | RequestEnd::Finished);
    let first_left = requests.iter().filter(left).map(|request| request.ended_s.get()).fold(f64::INFINITY, f64::min);
    let begins = std::iter::once(0.0).chain(in_order.iter().map(|(at, _)| *at));
    let waits = begins.zip(in_order).map(|(begin, (at, _))| (at - begin, *at));
    waits.take_while(|(_, at)| *at <= first_left).map(|(wait, _)| wait).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::testing::request;
    use crate::testing::{seconds, sla, workload};
    use crate::units::Concurrency;
    use crate::watch::Until;

    /// Requests that had their first token then, and were held for two seconds.
    fn held_for_two(firsts: &[f64]) -> Vec<RequestRecord> {
        firsts.iter().map(|at| request(Some(*at), 9, Some(at + 1.9), RequestEnd::Held, at + 2.0)).collect()
    }

    fn held_up_in(load: Load, requests: &[RequestRecord]) -> Vec<f64> {
        let (workload, count) = (workload(load, 100, 100, 2.0), Concurrency::new(requests.len() as u32).unwrap());
        let plan = LoadPlan::new(&workload, &[sla(0.9, 3.0)], count, &Until::Decided(vec![0]));
        held_up(&plan, requests).into_iter().map(|held| (held * 1e6).round() / 1e6).collect()
    }

    fn table(requests: &[RequestRecord]) -> Vec<f64> {
        held_up_in(Load::Burst, requests)
    }

    #[test]
    fn whoever_waits_for_others_to_leave_is_held_up_for_as_long_as_they_are_held() {
        // Three have room at once; the fourth to sixth wait for them, and the seventh for the fourth.
        let firsts = [0.1, 0.2, 0.3, 2.2, 2.3, 2.4, 4.3];
        assert_eq!(table(&held_for_two(&firsts)), [0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 4.0]);
    }

    #[test]
    fn whoever_waits_for_the_prompts_before_it_is_not() {
        // Others leave meanwhile, which makes no difference.
        let firsts: Vec<f64> = (1..=30).map(|rank| f64::from(rank) * 0.3).collect();
        assert!(table(&held_for_two(&firsts)).iter().all(|held| *held == 0.0));
    }

    #[test]
    fn whoever_is_left_waiting_was_held_up_until_the_next_left_or_for_ever() {
        let waiting = |firsts: &[f64], left: f64| {
            let mut requests = held_for_two(firsts);
            requests.iter_mut().filter(|request| request.ended_s.get() > left).for_each(|request| {
                (request.end, request.ended_s) = (RequestEnd::Stopped, seconds(left));
            });
            requests.push(request(None, 0, None, RequestEnd::Stopped, left));
            *table(&requests).last().unwrap()
        };
        assert_eq!(waiting(&[0.1, 0.2, 0.3], 2.15), 2.0);
        assert_eq!(waiting(&[0.1, 0.2, 0.3], 1.5), f64::INFINITY);
        // It might have been the next.
        assert_eq!(waiting(&[0.1, 0.2, 0.3], 0.45), 0.0);
        assert_eq!(waiting(&[0.1, 0.2, 0.3, 2.2, 2.3], 2.45), 2.0);
        // Nobody was served yet.
        assert_eq!(waiting(&[], 0.45), 0.0);
    }

    #[test]
    fn a_request_that_finishes_by_itself_holds_nobody_up() {
        let mut requests = held_for_two(&[0.1, 0.2, 2.3]);
        requests[..2].iter_mut().for_each(|request| request.end = RequestEnd::Finished);
        assert_eq!(table(&requests), [0.0; 3]);
        // Nor does any under a sustained load, where it is replaced.
        assert_eq!(held_up_in(Load::Sustained, &held_for_two(&[0.1, 0.2, 2.3])), [0.0; 3]);
        assert_eq!(table(&held_for_two(&[0.1, 0.2, 2.3])), [0.0, 0.0, 2.0]);
    }
}
