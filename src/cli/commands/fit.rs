//! `ceiling fit RUN`

use anyhow::{Context, Result};
use ceiling_core::experiment::{Resolution, Workload};
use ceiling_core::fit::{Fit, Quality, fit as fit_ladder, ladder_to_fit};
use ceiling_core::record::{LadderRecord, Run};
use ceiling_core::sim::SimEngine;
use ceiling_core::units::Seconds;
use toml::{Table, Value};

use crate::args::FitArgs;
use crate::exit::Exit;
use crate::output;
use crate::store::Finder;

/// Prints an experiment whose simulated engine stands in for the measured one, and on stderr how far off it is.
pub fn fit(args: &FitArgs) -> Result<Exit> {
    let run: Run = Finder::new(&args.results.results, None).find(&args.run)?.read()?;
    let ladder = ladder_to_fit(&run, args.ladder.as_deref())?;
    let Fit { engine, quality, error_rate_is_unknown } = fit_ladder(&run, ladder)?;
    output::text(&toml::to_string(&experiment(&run, ladder, engine)?).context("cannot write TOML")?);
    print_quality(&quality);
    tell!(
        "note: step noise and stalls are not fitted: they are in probe_drift where whole probes differ by them, else left out"
    );
    tell!(
        "note: decode_step and decode_step_per_sequence are told apart badly where runs are noisy: trust their sum at the levels measured"
    );
    if error_rate_is_unknown {
        tell!("note: the engine failed requests, and the run does not say how many: set error_rate yourself");
    }
    if ladder.workload.shared_prefix > 0 {
        tell!(
            "note: prompts shared {} tokens, which the simulator has no cache for: it is fitted as if it computed them too",
            ladder.workload.shared_prefix
        );
    }
    Ok(Exit::Done)
}

/// A part of the whole in words; not a number where no probe tells.
fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.1}%", part * 100.0) } else { "an unknown part".to_owned() }
}

fn print_quality(quality: &Quality) {
    tell!(
        "fitted to {} probes: median TTFT off by {}, 99th percentile by {}; median TPOT off by {} (medians over the probes)",
        quality.probes,
        percent(quality.ttft_p50_error),
        percent(quality.ttft_p99_error),
        percent(quality.tpot_p50_error)
    );
    if !quality.ceilings.is_empty() {
        tell!("the simulated ceilings leave drift out, which lowers measured ones, most at high ok rates:");
    }
    for (cell, (pass, fail), simulated) in &quality.ceilings {
        let simulated = simulated.map_or_else(|| "below one".to_owned(), |level| level.to_string());
        tell!("{cell}: measured {pass} … {fail}, simulated {simulated}");
    }
}

/// The question of the ladder, put to the stand-in.
fn experiment(run: &Run, ladder: &LadderRecord, engine: SimEngine) -> Result<Table> {
    let mut file = Table::new();
    file.insert("schema".into(), Value::Integer(1));
    file.insert("name".into(), Value::String(format!("{}-simulated", run.experiment.name)));
    let source = format!("{}, ladder {}", run.run_id, ladder.id);
    file.insert("description".into(), Value::String(format!("A simulated engine, fitted to run {source}")));
    file.insert("engine".into(), Value::Table(engine_table(engine)?));
    file.insert("workload".into(), Value::Table(workload_table(&ladder.workload)?));
    file.insert("sla".into(), Value::Table(sla_table(ladder)));
    file.insert("search".into(), Value::Table(search_table(ladder)));
    Ok(file)
}

fn engine_table(engine: SimEngine) -> Result<Table> {
    let failures =
        (engine.error_rate.get() > 0.0).then(|| ("error_rate".to_owned(), Value::Float(engine.error_rate.get())));
    let fitted = [
        ("kind".to_owned(), Value::String("sim".into())),
        ("prefill_tokens_per_second".to_owned(), Value::Float(engine.prefill_tokens_per_second)),
        ("decode_step".to_owned(), length(engine.decode_step)),
        ("decode_step_per_sequence".to_owned(), length(engine.decode_step_per_sequence)),
        ("request_time".to_owned(), length(engine.request_time)),
        ("max_num_seqs".to_owned(), Value::Integer(engine.max_num_seqs.into())),
        ("max_num_batched_tokens".to_owned(), Value::Integer(engine.max_num_batched_tokens.into())),
        ("kv_cache_tokens".to_owned(), whole(engine.kv_cache_tokens)?),
        ("load_time".to_owned(), length(engine.load_time)),
        ("probe_drift".to_owned(), Value::Float(engine.probe_drift)),
    ];
    Ok(fitted.into_iter().chain(failures).collect())
}

fn workload_table(workload: &Workload) -> Result<Table> {
    Ok(Table::from_iter([
        ("input_tokens".to_owned(), Value::Integer(workload.input_tokens.into())),
        ("output_tokens".to_owned(), Value::Integer(workload.output_tokens.into())),
        ("load".to_owned(), Value::String(workload.load.to_string())),
        ("hold".to_owned(), length(workload.hold.laid_down())),
        ("seed".to_owned(), whole(workload.seed)?),
    ]))
}

/// The grid that holds the ladder's SLAs on TTFT.
fn sla_table(ladder: &LadderRecord) -> Table {
    let mut rates: Vec<f64> = ladder.slas.iter().map(|sla| sla.ok_rate.get()).collect();
    let mut limits: Vec<Seconds> = ladder.slas.iter().map(|sla| sla.ttft).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    limits.sort();
    limits.dedup();
    Table::from_iter([
        ("ok_rate".to_owned(), Value::Array(rates.into_iter().map(Value::Float).collect())),
        ("ttft".to_owned(), Value::Array(limits.into_iter().map(length).collect())),
    ])
}

fn search_table(ladder: &LadderRecord) -> Table {
    let resolution = match ladder.search.resolution {
        Resolution::Requests(width) => Value::Integer(width.into()),
        Resolution::Relative(share) => Value::String(format!("{}%", share.get() * 100.0)),
    };
    Table::from_iter([
        ("max_concurrency".to_owned(), Value::Integer(ladder.search.max_concurrency.get().into())),
        ("start_concurrency".to_owned(), Value::Integer(ladder.search.start_concurrency.get().into())),
        ("resolution".to_owned(), resolution),
        ("confidence".to_owned(), Value::Float(ladder.search.confidence.get())),
        ("strategy".to_owned(), Value::String(ladder.search.strategy.to_string())),
        ("budget".to_owned(), length(ladder.search.budget)),
    ])
}

fn whole(value: u64) -> Result<Value> {
    i64::try_from(value).context("a number is too large for TOML").map(Value::Integer)
}

/// A length of time with its unit, to the nanosecond.
fn length(time: Seconds) -> Value {
    Value::String(time.to_string())
}
