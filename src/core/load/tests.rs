use std::collections::VecDeque;

use super::*;

fn seconds(value: f64) -> Seconds {
    Seconds::new(value).unwrap()
}

fn driver(load: Load, concurrency: u32) -> LoadDriver {
    LoadDriver::new(LoadPlan {
        load,
        concurrency: Concurrency::new(concurrency).unwrap(),
        hold: Hold::For(seconds(5.0)),
        window: seconds(5.0),
        patience: seconds(10.0),
    })
}

/// Begins and hands every request over at once.
fn begin(driver: &mut LoadDriver) -> Vec<Act> {
    let acts = driver.begin();
    for index in 0..acts.len() {
        driver.submitted(index as u32, Seconds::ZERO);
    }
    acts
}

#[test]
fn a_burst_holds_each_request_past_its_first_token() {
    let mut burst = driver(Load::Burst, 2);
    assert_eq!(begin(&mut burst), [Act::Submit { judged: true }; 2]);
    assert_eq!(burst.first_token(0, seconds(1.0)), []);
    assert_eq!(burst.first_token(1, seconds(2.0)), []);
    assert_eq!(burst.next_due(), Some(seconds(6.0)));
    assert_eq!(burst.tick(seconds(6.0)), [Act::Abort(0)]);
    assert_eq!(burst.ended(0, seconds(6.0)), []);
    assert_eq!(burst.tick(seconds(7.0)), [Act::Abort(1)]);
    assert_eq!(burst.ended(1, seconds(7.0)), [Act::End]);
}

#[test]
fn a_burst_does_not_wait_for_what_is_overdue() {
    let mut burst = driver(Load::Burst, 2);
    begin(&mut burst);
    assert_eq!(burst.first_token(0, seconds(1.0)), []);
    assert_eq!(burst.ended(0, seconds(3.0)), []);
    assert_eq!(burst.tick(seconds(9.9)), []);
    assert_eq!(burst.tick(seconds(10.0)), [Act::End]);
}

#[test]
fn a_burst_of_which_nothing_has_come_is_waited_for_once_more() {
    let mut burst = driver(Load::Burst, 2);
    begin(&mut burst);
    assert_eq!(burst.tick(seconds(10.0)), []);
    assert_eq!(burst.next_due(), Some(seconds(20.0)));
    assert_eq!(burst.tick(seconds(20.0)), [Act::End]);
}

#[test]
fn a_burst_that_goes_on_is_waited_for_a_little_beyond_the_limit() {
    // First tokens so far, and until when the next is waited for: for two steps, and a tenth of the limit at most.
    for (first, until) in [(vec![9.6, 9.9], 11.0), (vec![9.0, 9.6, 9.9], 11.0), (vec![0.2, 0.4, 0.6], 10.0)] {
        let mut burst = driver(Load::Burst, 4);
        begin(&mut burst);
        (0..).zip(&first).for_each(|(index, at)| assert_eq!(burst.first_token(index, seconds(*at)), []));
        (0..).zip(&first).for_each(|(index, _)| assert_eq!(burst.ended(index, seconds(9.95)), []));
        let acts = burst.tick(seconds(10.0));
        assert_eq!(acts.is_empty(), until > 10.0, "{first:?}");
        if until > 10.0 {
            assert_eq!(burst.next_due(), Some(seconds(until)), "{first:?}");
            assert_eq!(burst.tick(seconds(until)), [Act::End]);
        }
    }
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 8.6];
    let mut burst = driver(Load::Burst, 10);
    begin(&mut burst);
    (0..).zip(steps).for_each(|(index, at)| assert_eq!(burst.first_token(index, seconds(at)), []));
    assert!(!burst.tick(seconds(10.0)).contains(&Act::End));
    assert_eq!(burst.next_due(), Some(seconds(10.6)));
}

#[test]
fn a_request_that_finished_is_not_aborted() {
    let mut burst = driver(Load::Burst, 2);
    begin(&mut burst);
    assert_eq!(burst.first_token(0, seconds(1.0)), []);
    assert_eq!(burst.ended(0, seconds(3.0)), []);
    assert_eq!(burst.tick(seconds(6.0)), []);
}

#[test]
fn a_sustained_load_judges_after_one_turnover_and_is_not_drained() {
    let mut load = driver(Load::Sustained, 2);
    assert_eq!(begin(&mut load), [Act::Submit { judged: false }; 2]);
    let mut next = 2;
    let mut step = |load: &mut LoadDriver, index: u32, at: f64| {
        let acts = load.ended(index, seconds(at));
        for act in &acts {
            if matches!(act, Act::Submit { .. }) {
                load.submitted(next, seconds(at));
                assert_eq!(load.first_token(next, seconds(at)), []);
                next += 1;
            }
        }
        acts
    };
    // The first slot turns over twice before the second does: not yet open.
    assert_eq!(step(&mut load, 0, 1.0), [Act::Submit { judged: false }]);
    assert_eq!(step(&mut load, 2, 2.0), [Act::Submit { judged: false }]);
    // Opens at 3 s; requests 4, 5, … are judged until 8 s.
    assert_eq!(step(&mut load, 1, 3.0), [Act::Submit { judged: true }]);
    assert_eq!(step(&mut load, 3, 4.0), [Act::Submit { judged: true }]);
    assert_eq!(step(&mut load, 4, 7.9), [Act::Submit { judged: true }]);
    // Closed: the load goes on unjudged until the judged ones have ended.
    assert_eq!(step(&mut load, 5, 8.0), [Act::CloseWindow(3), Act::Submit { judged: false }]);
    assert_eq!(step(&mut load, 7, 8.5), [Act::Submit { judged: false }]);
    assert_eq!(step(&mut load, 6, 9.0), [Act::End]);
}

#[test]
fn those_that_began_together_leave_one_by_one_once_all_have_begun() {
    let mut load = driver(Load::Sustained, 5);
    begin(&mut load);
    for index in [0, 1, 3] {
        assert_eq!(load.first_token(index, seconds(1.0)), []);
    }
    // One that has ended is another's beginning: there are four left.
    assert_eq!(load.ended(1, seconds(1.5)), [Act::Submit { judged: false }]);
    assert_eq!(load.first_token(2, seconds(2.0)), []);
    let part = |part| Share::new(part).unwrap();
    let shorten = [(0, 0.0), (2, 0.25), (3, 0.5), (4, 0.75)].map(|(index, of)| Act::Shorten { index, part: part(of) });
    assert_eq!(load.first_token(4, seconds(3.0)), shorten);
    assert_eq!(load.first_token(5, seconds(4.0)), [], "once");
    let mut alone = driver(Load::Sustained, 1);
    begin(&mut alone);
    assert_eq!(alone.first_token(0, seconds(1.0)), []);
    let table = [(0.25, 100, 25), (0.25, 10, 3), (0.001, 10, 1), (0.0, 10, 1), (0.75, 1, 1)];
    for (of, output_tokens, more) in table {
        assert_eq!(more_tokens(part(of), output_tokens), more, "{of} of {output_tokens}");
    }
}

#[test]
fn a_window_is_open_for_the_hold_also_where_requests_are_watched_to_their_end() {
    let workload = crate::testing::workload(Load::Sustained, 100, 10, 60.0);
    let sla = Sla {
        ok_rate: Share::ALL,
        ttft: seconds(1.0),
        tpot: None,
        e2e: Some(seconds(50.0)),
        min_tokens_per_second: None,
    };
    let plan = |until: &Until| LoadPlan::new(&workload, &[sla], Concurrency::ONE, until);
    let sustained = plan(&Until::Decided(vec![0]));
    assert_eq!((sustained.hold, sustained.window), (Hold::UntilFinished, seconds(60.0)));
    assert_eq!(plan(&Until::FirstTokens).window, Seconds::ZERO, "a burst has none");
}

#[test]
fn an_engine_that_refuses_everything_at_once_is_asked_ever_less_often() {
    let mut load = driver(Load::Sustained, 2);
    let mut acts = VecDeque::from(load.begin());
    let (mut now, mut submitted) = (0.0, Vec::new());
    loop {
        match acts.pop_front() {
            Some(Act::Submit { .. }) => {
                let index = submitted.len() as u32;
                submitted.push(now);
                assert!(submitted.len() < 100, "{now} s");
                load.submitted(index, seconds(now));
                acts.extend(load.ended(index, seconds(now)));
            }
            Some(Act::End) => break,
            Some(Act::CloseWindow(_) | Act::Abort(_) | Act::Shorten { .. }) => {}
            None => {
                now = load.next_due().unwrap().get();
                acts.extend(load.tick(seconds(now)));
            }
        }
    }
    let of_one: Vec<f64> = submitted.into_iter().step_by(2).collect();
    let pauses: Vec<f64> = of_one.windows(2).map(|pair| ((pair[1] - pair[0]) * 100.0).round() / 100.0).collect();
    assert_eq!(pauses, [0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0]);
}

#[test]
fn a_slot_pauses_from_the_second_request_on_that_fails_in_a_row_until_one_has_a_token() {
    let mut load = driver(Load::Sustained, 1);
    load.begin();
    let mut now = 0.0;
    let fates = [
        (false, 0.0),
        (true, 0.0),
        (false, 0.0),
        (false, 0.01),
        (false, 0.02),
        (true, 0.0),
        (false, 0.0),
        (false, 0.01),
    ];
    for (index, (has_token, pause)) in (0..).zip(fates) {
        load.submitted(index, seconds(now));
        if has_token {
            assert_eq!(load.first_token(index, seconds(now)), []);
        }
        let mut acts = load.ended(index, seconds(now));
        if pause > 0.0 {
            assert_eq!(acts, [], "{index}");
            let due = load.next_due().unwrap();
            assert!((due.get() - now - pause).abs() < 1e-9, "{index}: {due}");
            (now, acts) = (due.get(), load.tick(due));
        }
        assert!(matches!(acts[..], [Act::Submit { .. }]), "{index}: {acts:?}");
    }
}
