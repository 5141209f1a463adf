//! What both layers must do alike.

use std::io::Write;
use std::time::Instant;

use ceiling_core::load::{Hold, Load};
use ceiling_core::protocol::{Command, EngineErrorKind, Event, PromptSource};
use ceiling_core::request::{RequestEnd, RequestRecord};
use ceiling_core::units::Concurrency;
use tempfile::NamedTempFile;

use super::{Probed, Worker, burst, root, seconds};

/// Bytes of a text that takes seconds to be made into tokens.
const LONG_TEXT: usize = 10_000_000;

fn judged_ended(probed: &Probed) -> usize {
    probed.events.iter().filter(|event| matches!(event, Event::Ended(record) if record.judged)).count()
}

fn assert_in_order(record: &RequestRecord) {
    let moments: Vec<_> = [Some(record.planned_s), Some(record.submitted_s), record.first_s, record.last_s]
        .into_iter()
        .flatten()
        .chain([record.ended_s])
        .collect();
    assert!(moments.is_sorted(), "{record:?}");
}

/// Prompts have the length asked for, as the engine counts it, and none is served from the cache, not even where the
/// same prompts come again: the cache is emptied in between.
pub fn prompts_are_exact_and_new(worker: &mut Worker) {
    for input_tokens in [1, 33, 512] {
        let mut ask = burst(8, input_tokens, 5);
        ask.prompts.probe = 1000;
        for _ in 0..2 {
            let probed = worker.probe(ask.clone());
            assert_eq!(probed.measured.requests.len(), 8);
            for record in &probed.measured.requests {
                assert_eq!(record.prompt_tokens, Some(input_tokens));
                assert_eq!(record.cached_tokens, Some(0));
                assert_eq!((record.tokens, &record.end), (5, &RequestEnd::Finished));
                assert!(record.queued_s.is_some());
                assert_in_order(record);
            }
            assert_eq!(probed.measured.output_tokens, 40);
        }
    }
}

/// A shared prefix is served from the cache, to the first as to the others, and is the only thing that is.
pub fn a_shared_prefix_is_cached(worker: &mut Worker, block_size: u32) {
    let mut ask = burst(4, block_size * 4, 2);
    ask.prompts.shared_prefix = block_size * 2;
    ask.load.hold = Hold::UntilFinished;
    let requests = worker.probe(ask).measured.requests;
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|record| record.cached_tokens == Some(block_size * 2)), "{requests:?}");
}

/// Each request of a burst is aborted when it was held long enough, and the tokens so far count.
pub fn a_burst_is_held(worker: &mut Worker) {
    let mut ask = burst(4, 64, 1900);
    ask.load.hold = Hold::For(seconds(0.4));
    let probed = worker.probe(ask);
    for record in &probed.measured.requests {
        assert_eq!(record.end, RequestEnd::Held);
        assert!(record.tokens > 1 && record.tokens < 1900, "{record:?}");
        let held = record.ended_s.get() - record.first_s.unwrap().get();
        assert!((0.4..0.9).contains(&held), "held for {held} s");
        assert_in_order(record);
    }
    let firsts = probed.events.iter().filter(|event| matches!(event, Event::First { .. })).count();
    assert_eq!((firsts, judged_ended(&probed)), (4, 4));
    assert_engine_is_idle(worker);
}

/// What a request is told of its abort is no output that was stamped late, however long ago its newest token came.
pub fn an_abort_is_no_late_output(worker: &mut Worker) {
    // Prompts of others are computed in steps that take much longer than a token is on its way.
    let mut ask = burst(24, 2000, 40);
    ask.load.hold = Hold::For(seconds(0.06));
    let measured = worker.probe(ask).measured;
    let held = measured.requests.iter().filter(|record| record.end == RequestEnd::Held);
    let since = held.filter_map(|record| Some(record.ended_s.get() - record.last_s?.get())).fold(0.0, f64::max);
    let lag = measured.harness.lag_s.unwrap().get();
    println!("aborted {since:.4} s after the newest token, outputs stamped after {lag:.4} s");
    assert!(lag < since, "{lag} s, and the longest wait for a token {since} s");
}

/// A stopped probe ends at once and leaves an idle engine.
pub fn a_probe_can_be_stopped(worker: &mut Worker) {
    let mut asked = None;
    let probed = worker
        .probe_with(burst(4, 64, 1900), |worker, event| {
            if asked.is_none() && matches!(event, Event::First { .. }) {
                worker.send(&Command::Stop);
                asked = Some(Instant::now());
            }
        })
        .unwrap();
    assert!(asked.unwrap().elapsed().as_secs_f64() < 5.0);
    assert_eq!(probed.measured.requests.len(), 4);
    assert!(probed.measured.requests.iter().all(|record| record.end == RequestEnd::Stopped));
    // That the engine has become idle is seen later.
    let ended = probed.measured.load_ended_s.unwrap();
    assert!(probed.measured.requests.iter().all(|record| record.ended_s == ended));
    assert!(probed.measured.seconds > ended, "{}", probed.measured.seconds);
    assert_engine_is_idle(worker);
}

/// Until the first request of a sustained load is judged there is nothing to tell of it but that it goes on.
pub fn a_long_probe_says_that_it_goes_on(worker: &mut Worker) {
    let mut ask = burst(1, 64, 1900);
    ask.load.load = Load::Sustained;
    // It is told twice in that time.
    ask.silence = seconds(2.0);
    let mut ended = 0;
    let probed = worker
        .probe_with(ask, |worker, event| match event {
            Event::Alive => worker.send(&Command::Stop),
            Event::Ended(_) => ended += 1,
            other => panic!("{other:?}"),
        })
        .unwrap();
    assert!(probed.events.contains(&Event::Alive), "{:?}", probed.events);
    assert_eq!(ended, 0, "a request took less than a second: {:?}", probed.measured.requests);
}

/// Before the first request of a probe is sent there is nothing to tell of it either, however long its prompts take to make.
pub fn a_probe_whose_prompts_take_long_says_that_it_goes_on(worker: &mut Worker) {
    let text = std::fs::read_to_string(root().join("experiments/tiny-llama/corpus.txt")).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.repeat(LONG_TEXT / text.len()).as_bytes()).unwrap();
    let mut ask = burst(1, 64, 1);
    ask.prompts.source = PromptSource::Corpus(vec![file.path().to_owned()]);
    // It is told twice in that time.
    ask.silence = seconds(2.0);
    let probed = worker.probe(ask);
    let goes_on = probed.events.iter().take_while(|event| **event == Event::Alive).count();
    println!("told {goes_on} times that the probe goes on");
    // Once may be afterwards.
    assert!(goes_on >= 3, "{:?}", probed.events);
    // What becomes of the warm-up's requests is not told.
    assert_eq!(probed.events.len() - goes_on, 2, "{:?}", probed.events);
}

/// Under a sustained load a request that ends is replaced at once, and the window opens after a turnover.
pub fn a_load_is_sustained(worker: &mut Worker) {
    let mut ask = burst(4, 64, 30);
    ask.load.load = Load::Sustained;
    ask.load.window = seconds(1.0);
    let probed = worker.probe(ask);
    let requests = &probed.measured.requests;
    assert!(requests[..4].iter().all(|record| !record.judged));
    // Those leave one after the other once all have begun, a quarter of their tokens apart, and the last had begun just then.
    assert!(requests[..4].iter().all(|record| record.end == RequestEnd::Held));
    assert!(requests[..4].is_sorted_by_key(|record| record.ended_s));
    assert_eq!(requests[3].tokens, 1 + 23, "three quarters of 30");
    let judged: Vec<_> = requests.iter().filter(|record| record.judged).collect();
    assert!(judged.len() >= 4);
    assert!(judged.iter().all(|record| record.end == RequestEnd::Finished));
    assert_eq!(judged_ended(&probed), judged.len());
    let closed = probed.events.iter().filter_map(|event| match event {
        Event::WindowClosed { judged, at_s } => Some((*judged as usize, *at_s)),
        _ => None,
    });
    let closed: Vec<_> = closed.collect();
    let last = judged.iter().map(|record| record.submitted_s).max().unwrap();
    assert!(matches!(closed[..], [(count, at)] if count == judged.len() && at >= last), "{closed:?}");
    // Everyone after the first four takes the place of one that ended, at that moment.
    let ends: Vec<_> = requests.iter().map(|record| record.ended_s).collect();
    assert!(requests[4..].iter().all(|record| ends.contains(&record.planned_s)));
    let stopped = requests.iter().filter(|record| record.end == RequestEnd::Stopped).count();
    assert!(stopped <= 4, "{stopped} in flight at the end");
    assert_eq!(probed.measured.scheduler.running_peak, Some(4));
    requests.iter().for_each(assert_in_order);
}

/// More requests than fit at once wait, and the scheduler says so.
pub fn waiting_is_seen(worker: &mut Worker, max_num_seqs: u32) {
    let probed = worker.probe(burst(max_num_seqs + 12, 16, 24));
    let scheduler = probed.measured.scheduler;
    assert_eq!(scheduler.running_peak, Some(max_num_seqs));
    assert!(scheduler.waiting_peak >= Some(12), "{scheduler:?}");
    assert!(scheduler.kv_peak.unwrap().get() > 0.0);
    assert!(scheduler.steps >= 48, "{scheduler:?}");
    let requests = &probed.measured.requests;
    let longest = requests.iter().filter_map(|record| record.queued_s).max().unwrap();
    assert!(longest > seconds(0.01), "{longest}");
}

/// A request that cannot fit is refused beforehand, and the engine lives on.
pub fn what_is_too_long_is_refused(worker: &mut Worker) {
    let Err(error) = worker.probe_with(burst(1, 2040, 9), |_, _| {}) else { panic!("was measured") };
    assert_eq!(error.kind, EngineErrorKind::Arguments);
    assert_eq!(error.message, "input_tokens = 2040 and output_tokens = 9 are more than max_model_len = 2048");
    assert_engine_is_idle(worker);
}

/// Real text: as tokens of exact number, and as characters that the engine counts.
pub fn text_can_be_asked(worker: &mut Worker) {
    let files = vec![root().join("experiments/tiny-llama/corpus.txt")];
    let mut ask = burst(6, 300, 2);
    ask.prompts.source = PromptSource::Corpus(files.clone());
    for record in worker.probe(ask.clone()).measured.requests {
        assert_eq!((record.prompt_tokens, record.cached_tokens), (Some(300), Some(0)));
    }
    ask.prompts.source = PromptSource::Characters(files);
    for record in worker.probe(ask.clone()).measured.requests {
        assert_eq!(record.end, RequestEnd::Finished);
        // 1,200 characters of English.
        assert!((200..800).contains(&record.prompt_tokens.unwrap()), "{record:?}");
    }
    ask.prompts.source = PromptSource::Corpus(vec!["/no/such/file.txt".into()]);
    let Err(error) = worker.probe_with(ask, |_, _| {}) else { panic!("was measured") };
    assert_eq!(error.kind, EngineErrorKind::Arguments);
    assert!(error.message.starts_with("/no/such/file.txt: "), "{}", error.message);
}

/// A text that the engine has not made into tokens yet is given up like any other request.
pub fn a_text_that_was_just_sent_can_be_stopped(worker: &mut Worker) {
    let mut ask = burst(1, 1200, 4);
    ask.prompts.source = PromptSource::Characters(vec![root().join("experiments/tiny-llama/corpus.txt")]);
    // What the engine does for the first texts of a length comes first.
    worker.probe(ask.clone());
    // To make tokens of so many takes much longer than to be told to stop.
    ask.load.concurrency = Concurrency::new(64).unwrap();
    ask.output_tokens = 700;
    worker.begin(ask);
    worker.send(&Command::Stop);
    let measured = worker.follow(&mut |_, _| {}).unwrap().measured;
    assert!(measured.requests.iter().all(|record| record.end == RequestEnd::Stopped));
    let left = measured.seconds.get() - measured.load_ended_s.unwrap().get();
    // Its answers to them would take it most of a minute.
    assert!(left < 5.0, "the engine was idle {left} s after the load had ended");
    assert_engine_is_idle(worker);
}

/// A sustained load that runs out of distinct beginnings cannot go on; the engine can.
pub fn a_text_that_runs_out_ends_the_probe(worker: &mut Worker) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"The quick brown fox jumps over the lazy dog, and the dog does not mind at all.").unwrap();
    let mut ask = burst(2, 8, 1);
    ask.prompts.source = PromptSource::Corpus(vec![file.path().to_owned()]);
    ask.load.load = Load::Sustained;
    ask.load.window = seconds(20.0);
    let Err(error) = worker.probe_with(ask, |_, _| {}) else { panic!("was measured") };
    assert_eq!(error.kind, EngineErrorKind::Arguments);
    assert!(error.message.contains("a beginning of its own: add text"), "{}", error.message);
    assert_engine_is_idle(worker);
}

fn assert_engine_is_idle(worker: &mut Worker) {
    let scheduler = worker.probe(burst(1, 16, 4)).measured.scheduler;
    assert_eq!((scheduler.running_peak, scheduler.waiting_peak), (Some(1), Some(0)));
}
