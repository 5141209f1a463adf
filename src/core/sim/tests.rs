//! The simulator against arithmetic, and the laws it must keep.

use proptest::prelude::*;

use super::*;
use crate::load::{Hold, Load, LoadPlan};
use crate::protocol::{Event, Measured, ProbeAsk, PromptAsk, PromptSource};
use crate::request::RequestEnd;
use crate::sla::{Tally, Verdict};
use crate::testing::{seconds, sla, workload};
use crate::units::Concurrency;
use crate::watch::{Advice, Until, Watch};

/// An engine that computes 10,000 prompt tokens a second and decodes for nothing.
fn engine() -> SimEngine {
    SimEngine {
        max_num_seqs: 1000,
        max_num_batched_tokens: 1000,
        kv_cache_tokens: 10_000_000,
        ..SimEngine::unlimited(10_000.0)
    }
}

fn ask(load: Load, concurrency: u32, input_tokens: u32, output_tokens: u32) -> ProbeAsk {
    ProbeAsk {
        load: LoadPlan {
            load,
            concurrency: Concurrency::new(concurrency).unwrap(),
            hold: Hold::For(seconds(5.0)),
            window: seconds(5.0),
            patience: seconds(1000.0),
        },
        prompts: PromptAsk { source: PromptSource::Random, input_tokens, shared_prefix: 0, stream: 1, probe: 0 },
        output_tokens,
        silence: seconds(60.0),
    }
}

fn measure(engine: SimEngine, ask: &ProbeAsk) -> Measured {
    SimSession::new(engine, 7).probe(ask, &mut |_| Advice::GoOn)
}

fn ttfts(measured: &Measured) -> Vec<f64> {
    measured.requests.iter().map(|request| request.ttft().unwrap().get()).collect()
}

#[test]
fn bound_by_prefill_the_first_tokens_come_one_prompt_apart() {
    let measured = measure(engine(), &ask(Load::Burst, 50, 1000, 1));
    for (k, ttft) in ttfts(&measured).iter().enumerate() {
        let expected = (k + 1) as f64 * 1000.0 / 10_000.0;
        assert!((ttft - expected).abs() < 1e-9, "request {k}: {ttft}, not {expected}");
    }
    assert!(measured.requests.iter().all(|request| request.end == RequestEnd::Finished));
}

#[test]
fn a_limit_within_which_nothing_comes_has_no_ceiling() {
    let workload = workload(Load::Burst, 1000, 1, 1.0);
    let cap = Concurrency::new(64).unwrap();
    for (ttft, expected) in [(0.05, None), (0.35, Concurrency::new(3)), (100.0, Some(cap))] {
        assert_eq!(true_ceilings(engine(), &workload, &[sla(0.9, ttft)], cap), [expected], "within {ttft} s");
    }
}

#[test]
fn a_level_that_fails_below_others_that_pass_ends_the_ceiling_where_there_is_noise_too() {
    let noisy = SimEngine {
        prefill_tokens_per_second: 23_000.0,
        decode_step: seconds(0.032),
        decode_step_per_sequence: seconds(61e-6),
        max_num_seqs: 224,
        max_num_batched_tokens: 6000,
        kv_cache_tokens: 661_000,
        step_noise: 0.05,
        probe_drift: 0.03,
        ..SimEngine::unlimited(1.0)
    };
    let workload = workload(Load::Sustained, 800, 10, 1.33);
    // Of fifteen fewer than 99% are ok in the long run; of fourteen more are, and of sixteen.
    let cap = Concurrency::new(16).unwrap();
    assert_eq!(true_ceilings(noisy, &workload, &[sla(0.99, 0.1289)], cap), [Concurrency::new(14)]);
}

#[test]
fn decoding_takes_its_tokens_off_the_prompts_budget() {
    // 999 tokens of the second prompt fit beside the one that decodes; its last one takes a step more.
    let measured = measure(engine(), &ask(Load::Burst, 2, 1000, 100));
    let expected = [0.1, 0.1 + 0.0999 + 0.0001];
    for (ttft, expected) in ttfts(&measured).iter().zip(expected) {
        assert!((ttft - expected).abs() < 1e-9);
    }
    assert_eq!(measured.scheduler.steps, 102);
}

#[test]
fn a_step_costs_its_share_for_each_sequence() {
    let slow = SimEngine { decode_step: seconds(0.01), decode_step_per_sequence: seconds(0.001), ..engine() };
    let measured = measure(slow, &ask(Load::Burst, 1, 1000, 11));
    let request = &measured.requests[0];
    assert!((request.ttft().unwrap().get() - 0.111).abs() < 1e-9);
    assert!((request.tpot().unwrap() - 0.011).abs() < 1e-9);
    assert!((request.itl_max_s.unwrap().get() - 0.011).abs() < 1e-9);
    assert!((measured.seconds.get() - 0.221).abs() < 1e-9);
}

#[test]
fn bound_by_the_kv_cache_as_many_run_as_fit() {
    let small = SimEngine { kv_cache_tokens: 10_500, decode_step: seconds(0.01), ..engine() };
    // 1000 tokens of prompt and 40 of output: floor(10500 / 1040) run to their end together.
    let measured = measure(small, &ask(Load::Burst, 30, 1000, 41));
    assert_eq!(measured.scheduler.running_peak, Some(10_500 / 1_040));
    assert!(measured.scheduler.kv_peak.unwrap().get() > 0.95);
    let tokens: u32 = measured.requests.iter().map(|request| request.tokens).sum();
    assert_eq!(tokens, 30 * 41);
}

#[test]
fn a_full_kv_cache_preempts_the_one_admitted_last() {
    let small = SimEngine { kv_cache_tokens: 2_050, decode_step: seconds(0.01), ..engine() };
    let measured = measure(small, &ask(Load::Burst, 2, 1000, 100));
    let preemptions: Vec<u32> = measured.requests.iter().map(|request| request.preemptions).collect();
    assert_eq!(preemptions, [0, 1]);
    assert_eq!(measured.scheduler.preemptions, 1);
    assert!(measured.requests.iter().all(|request| request.tokens == 100 && request.end == RequestEnd::Finished));
    // The one that made room waited for the other to finish and computed its prompt anew.
    assert!(measured.requests[1].itl_max_s > measured.requests[0].itl_max_s);
}

#[test]
fn a_prompt_larger_than_the_kv_cache_fails_with_its_reason() {
    for load in [Load::Burst, Load::Sustained] {
        let measured = measure(SimEngine { kv_cache_tokens: 999, ..engine() }, &ask(load, 3, 1000, 10));
        for request in measured.requests.iter().filter(|request| request.end != RequestEnd::Stopped) {
            assert!(
                matches!(&request.end, RequestEnd::Failed { reason } if reason.contains("does not fit")),
                "{request:?}"
            );
        }
    }
}

#[test]
fn what_does_not_run_waits() {
    let narrow = SimEngine { max_num_seqs: 4, decode_step: seconds(0.01), ..engine() };
    let measured = measure(narrow, &ask(Load::Burst, 10, 100, 50));
    assert_eq!(measured.scheduler.running_peak, Some(4));
    assert_eq!(measured.scheduler.waiting_peak, Some(6));
    let queued: Vec<bool> = measured.requests.iter().map(|r| r.queued_s.unwrap().get() > 0.1).collect();
    assert_eq!(queued, [false, false, false, false, true, true, true, true, true, true]);
}

#[test]
fn a_held_request_is_aborted_in_time() {
    let slow = SimEngine { decode_step: seconds(0.3), ..engine() };
    let measured = measure(slow, &ask(Load::Burst, 1, 1000, 1_000_000));
    let request = &measured.requests[0];
    assert_eq!(request.end, RequestEnd::Held);
    assert!((request.ended_s.get() - (0.4 + 5.0)).abs() < 1e-9);
    // First token, then one every 0.3 s for 5 s.
    assert_eq!(request.tokens, 17);
    assert!((request.last_s.unwrap().get() - (0.4 + 16.0 * 0.3)).abs() < 1e-9);
}

#[test]
fn a_probe_can_be_stopped_at_any_event() {
    let mut firsts = 0;
    let measured = SimSession::new(engine(), 7).probe(&ask(Load::Burst, 50, 900, 100), &mut |event| {
        firsts += u32::from(matches!(event, Event::First { .. }));
        if firsts == 3 { Advice::Stop } else { Advice::GoOn }
    });
    assert_eq!(measured.requests.iter().filter(|request| request.first_s.is_some()).count(), 3);
    assert!(measured.requests.iter().all(|request| request.end == RequestEnd::Stopped));
    assert!(measured.seconds.get() < 0.31);
    // The step in progress is still carried out, and is no part of the load.
    let ended = measured.load_ended_s.unwrap();
    assert!(measured.requests.iter().all(|request| request.ended_s == ended) && ended <= measured.seconds);
}

#[test]
fn the_step_in_progress_is_paid_for_once_the_load_has_ended() {
    // Two prompts of a tenth of a second each, of which nobody waits for the second.
    let mut ask = ask(Load::Burst, 2, 1000, 1);
    ask.load.patience = seconds(0.15);
    let measured = measure(engine(), &ask);
    let ended = measured.load_ended_s.unwrap().get();
    assert!(ended < 0.17 && measured.seconds.get() > 0.19, "{ended} {}", measured.seconds);
}

#[test]
fn what_begins_together_does_not_wait_for_each_other_ever_after() {
    // Eight prompts fit a step: all sixteen would end in two bunches, and come again in two.
    let engine = SimEngine {
        decode_step: seconds(8e-3),
        max_num_batched_tokens: 8192,
        kv_cache_tokens: 10_000_000,
        ..SimEngine::unlimited(40_000.0)
    };
    let measured = measure(engine, &ask(Load::Sustained, 16, 1000, 256));
    let judged = || measured.requests.iter().filter(|request| request.judged);
    let alone = 8e-3 + 1000.0 / 40_000.0;
    let at_once = judged().filter(|request| request.ttft().unwrap().get() < 2.5 * alone).count();
    assert!(at_once as f64 > 0.9 * judged().count() as f64, "{at_once} of {}", judged().count());
    // Those that left early were no part of what is judged.
    assert!(measured.requests[..16].iter().all(|request| !request.judged));
    assert!(judged().all(|request| request.end != RequestEnd::Finished || request.tokens == 256));
    // Each a sixteenth of 256 tokens after the one before.
    let left: Vec<f64> = measured.requests[..16].iter().map(|request| request.ended_s.get()).collect();
    assert!(left.windows(2).all(|pair| (pair[1] - pair[0]) / (16.0 * alone) < 1.0 && pair[1] > pair[0]), "{left:?}");
}

#[test]
fn a_sustained_load_that_cannot_pass_is_not_drained() {
    // A prompt takes a tenth of a second.
    let sla = sla(0.9, 0.05);
    let ask = ask(Load::Sustained, 40, 1000, 100);
    let mut watch = Watch::new(&ask.load, &[sla], &Until::Decided(vec![0]));
    let mut closed = None;
    let watched = SimSession::new(engine(), 7).probe(&ask, &mut |event| {
        if let Event::WindowClosed { judged, at_s } = event {
            assert_eq!(closed.replace((*judged, *at_s)), None);
        }
        watch.observe(event);
        watch.advice()
    });
    let whole = measure(engine(), &ask);
    let judged = |measured: &Measured| measured.requests.iter().filter(|request| request.judged).count();
    let (count, at) = closed.unwrap();
    assert_eq!((judged(&watched), judged(&whole)), (count as usize, count as usize));
    assert!(watched.seconds >= at && watched.seconds < whole.seconds, "{watched:?}");
    assert_eq!(Tally::of(&sla, &watched.requests).verdict(sla.ok_rate), Verdict::Fail);
}

#[test]
fn a_stall_takes_one_step_longer() {
    let stalling = SimEngine { stall_rate: Share::ALL, stall: seconds(3.0), ..engine() };
    let calm = measure(engine(), &ask(Load::Burst, 20, 1000, 1));
    let stalled = measure(stalling, &ask(Load::Burst, 20, 1000, 1));
    let late: Vec<f64> = ttfts(&stalled).iter().zip(ttfts(&calm)).map(|(late, calm)| late - calm).collect();
    assert!(late.iter().all(|late| late.abs() < 1e-9 || (late - 3.0).abs() < 1e-9), "{late:?}");
    assert!((stalled.seconds.get() - calm.seconds.get() - 3.0).abs() < 1e-9);
}

#[test]
fn noise_has_the_mean_and_the_spread_that_were_asked_for() {
    let noisy = SimEngine { probe_drift: 0.1, ..engine() };
    let session = SimSession::new(noisy, 3);
    let times: Vec<f64> = (0..4000)
        .map(|probe| {
            let mut ask = ask(Load::Burst, 1, 1000, 1);
            ask.prompts.probe = probe;
            session.probe(&ask, &mut |_| Advice::GoOn).seconds.get() / 0.1
        })
        .collect();
    let mean = times.iter().sum::<f64>() / 4000.0;
    let deviation = (times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / 4000.0).sqrt();
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
    assert!((deviation - 0.1).abs() < 0.01, "{deviation}");
}

#[test]
fn failures_come_at_their_rate() {
    let failing = SimEngine { error_rate: Share::new(0.02).unwrap(), ..engine() };
    let measured = measure(failing, &ask(Load::Burst, 5000, 100, 1));
    let failed = measured.requests.iter().filter(|r| matches!(r.end, RequestEnd::Failed { .. })).count();
    assert!((70..=130).contains(&failed), "{failed}");
}

#[test]
fn a_sustained_load_keeps_every_slot_busy() {
    let busy = SimEngine { decode_step: seconds(0.01), ..engine() };
    let measured = measure(busy, &ask(Load::Sustained, 8, 500, 100));
    assert_eq!(measured.scheduler.running_peak, Some(8));
    assert!(measured.requests.iter().filter(|request| request.judged).count() >= 8);
}

/// Any engine that vLLM would take, with noise or without.
fn engines() -> impl Strategy<Value = SimEngine> {
    let noise = prop_oneof![Just(0.0), 0.0..0.5f64];
    let cost = (1_000.0..1e6f64, 0.0..0.02f64, 0.0..1e-3f64);
    (cost, 1..64u32, 64..4096u32, 1_000..50_000u64, (noise.clone(), noise, 0.0..0.2f64)).prop_map(
        |((rate, step, each), seqs, budget, kv, (step_noise, probe_drift, errors))| SimEngine {
            prefill_tokens_per_second: rate,
            decode_step: seconds(step),
            decode_step_per_sequence: seconds(each),
            max_num_seqs: seqs,
            max_num_batched_tokens: budget,
            kv_cache_tokens: kv,
            step_noise,
            probe_drift,
            error_rate: Share::new(errors).unwrap(),
            stall_rate: Share::new(0.3).unwrap(),
            stall: seconds(1.0),
            ..engine()
        },
    )
}

fn asks() -> impl Strategy<Value = ProbeAsk> {
    let load = prop_oneof![Just(Load::Burst), Just(Load::Sustained)];
    let hold = prop_oneof![(0.0..2.0f64).prop_map(|hold| Hold::For(seconds(hold))), Just(Hold::UntilFinished)];
    (load, hold, 1..100u32, 1..2_000u32, 1..200u32, 0.01..20.0f64).prop_map(
        |(load, hold, concurrency, input, output, patience)| {
            let mut ask = ask(load, concurrency, input, output);
            ask.load.hold = hold;
            ask.load.patience = seconds(patience);
            ask
        },
    )
}

proptest! {
    #[test]
    fn the_laws_hold_on_any_engine(engine in engines(), ask in asks()) {
        let measured = measure(engine, &ask);
        prop_assert_eq!(&measured, &measure(engine, &ask), "the same seed gives the same probe");
        prop_assert!(measured.scheduler.running_peak.unwrap() <= engine.max_num_seqs);
        prop_assert!(measured.scheduler.kv_peak.is_some(), "the KV cache was never over its capacity");
        let tokens: u64 = measured.requests.iter().map(|request| u64::from(request.tokens)).sum();
        prop_assert_eq!(tokens, measured.output_tokens);
        for request in &measured.requests {
            prop_assert!(request.tokens <= ask.output_tokens);
            prop_assert_eq!(request.first_s.is_some(), request.tokens > 0);
            if request.end == RequestEnd::Finished {
                prop_assert_eq!(request.tokens, ask.output_tokens);
            }
            let moments = [Some(request.submitted_s), request.first_s, request.last_s, Some(request.ended_s)];
            let moments: Vec<f64> = moments.into_iter().flatten().map(Seconds::get).collect();
            prop_assert!(moments.is_sorted(), "{:?}", request);
            prop_assert!(request.ended_s <= measured.seconds);
        }
    }

    #[test]
    fn skipping_steps_changes_nothing(engine in engines(), ask in asks()) {
        // Noise too small to see makes the engine take every step by itself.
        let steady = SimEngine { step_noise: 0.0, ..engine };
        let stepwise = SimEngine { step_noise: 1e-12, ..engine };
        let (skipped, stepped) = (measure(steady, &ask), measure(stepwise, &ask));
        prop_assert_eq!(skipped.scheduler.steps, stepped.scheduler.steps);
        // A burst that goes on is left two waits after its newest first token. Where all waits are alike another comes in that very moment, and
        // rounding decides whether a step is in progress then, which has to be waited for.
        let ended = |measured: &Measured| measured.load_ended_s.unwrap().get();
        prop_assert!((ended(&skipped) - ended(&stepped)).abs() < 1e-6);
        prop_assert_eq!(skipped.output_tokens, stepped.output_tokens);
    }
}
