//! What the engine was doing at each level of a ladder.

use ceiling_core::record::{EngineRecord, ProbeRecord};
use ceiling_core::units::Share;
use maud::{Markup, html};

use super::chart::{Frame, HEIGHT, UP, chart};
use super::levels::{Level, across, figure, p50, queued};
use super::scale::{Scale, brief};
use crate::report::table;

/// The median first token's time, split into waiting to be scheduled and the rest.
pub fn where_time_went(levels: &[Level<'_>]) -> Markup {
    let split: Vec<(f64, f64, f64)> = levels
        .iter()
        .filter_map(|level| {
            let (queued, ttft) = (level.median_time(queued)?, level.median_time(p50)?);
            Some((level.x(), queued.min(ttft), ttft))
        })
        .collect();
    let scales = across(levels).zip(Scale::from_zero(split.iter().map(|(_, _, ttft)| *ttft), UP));
    let Some((x, y)) = scales.filter(|_| split.len() > 1) else {
        return html! { p.note.absent { "Where the time of a first token went is not known: the engine did not say how long requests queued." } };
    };
    let frame = Frame { x, y };
    let below: Vec<_> = split.iter().map(|(x, queued, _)| (*x, 0.0, *queued)).collect();
    let drawing = html! {
        (frame.axes(brief))
        (frame.area("queued", &below))
        (frame.area("prefill", &split))
        (frame.line("edge", split.iter().map(|(x, _, ttft)| (*x, Some(*ttft)))))
    };
    let share = split.last().map_or(0.0, |(_, queued, ttft)| queued / ttft);
    let words = format!(
        "At the highest level {} of the median first token's time was spent queued.",
        table::percent((share * 100.0).round() / 100.0)
    );
    let drawing = chart("Where the time of the median first token went", &words, HEIGHT, &drawing);
    figure(
        "Where it went, median (s)",
        &[("queued", "queued"), ("prefill", "prefill")],
        levels,
        &x,
        Some("0 2 5"),
        &drawing,
    )
}

/// How full the KV cache was.
pub fn kv_use(levels: &[Level<'_>]) -> Markup {
    let kv = |probe: &ProbeRecord| probe.scheduler.kv_peak.map(Share::get);
    let points: Vec<(f64, Option<f64>)> = levels.iter().map(|level| (level.x(), level.median(kv))).collect();
    let Some(x) = across(levels).filter(|_| points.iter().any(|(_, share)| share.is_some())) else {
        return html! { p.note.absent { "The engine did not say how full its KV cache was." } };
    };
    let frame = Frame { x, y: Scale::share(UP) };
    let preempted = levels.iter().find(|level| level.probes.iter().any(|probe| probe.scheduler.preemptions > 0));
    let drawing = html! {
        (frame.axes(|share| format!("{:.0}%", share * 100.0)))
        (frame.line("kv", points.iter().copied()))
        (frame.dots("kv", points.iter().filter_map(|(x, y)| Some((*x, (*y)?)))))
    };
    let peak = points.iter().filter_map(|(_, share)| *share).fold(0.0, f64::max);
    let preempted = preempted.map_or_else(
        || "No request was preempted.".to_owned(),
        |level| format!("Requests were preempted from {} in flight on.", level.n),
    );
    let words = format!("Highest use {:.0}%. {preempted}", peak * 100.0);
    figure(
        "KV cache, highest use",
        &[],
        levels,
        &x,
        Some("0 6 9"),
        &chart("Use of the KV cache over requests in flight", &words, HEIGHT, &drawing),
    )
}

/// How many requests ran and waited.
pub fn requests(levels: &[Level<'_>], engine: Option<&EngineRecord>) -> Markup {
    let running = |probe: &ProbeRecord| probe.scheduler.running_peak.map(f64::from);
    let waiting = |probe: &ProbeRecord| probe.scheduler.waiting_peak.map(f64::from);
    let points = |of: &dyn Fn(&ProbeRecord) -> Option<f64>| {
        levels.iter().map(|level| (level.x(), level.median(of))).collect::<Vec<_>>()
    };
    let (running, waiting) = (points(&running), points(&waiting));
    let highest = running.iter().chain(&waiting).filter_map(|(_, count)| *count);
    let Some((x, y)) = across(levels).zip(Scale::from_zero(highest.clone(), UP)) else {
        return html! { p.note.absent { "The engine did not say how many requests ran and waited." } };
    };
    let frame = Frame { x, y };
    let most = engine.and_then(|engine| engine.resolved.as_ref()?.max_num_seqs).map(f64::from);
    let most = most.filter(|most| highest.fold(0.0, f64::max) >= *most);
    let drawing = html! {
        (frame.axes(brief))
        @if let Some(most) = most { (frame.limit(most, "max_num_seqs")) }
        @for (class, points) in [("running", &running), ("waiting", &waiting)] {
            (frame.line(class, points.iter().copied()))
            (frame.dots(class, points.iter().filter_map(|(x, y)| Some((*x, (*y)?)))))
        }
    };
    let last = |points: &[(f64, Option<f64>)]| {
        points.last().and_then(|(_, count)| *count).map_or_else(|| "an unknown number".to_owned(), brief)
    };
    let words = format!("At the highest level {} ran and {} waited at once.", last(&running), last(&waiting));
    let drawing = chart("Most requests running and waiting at once, over requests in flight", &words, HEIGHT, &drawing);
    figure(
        "Requests at once, most",
        &[("running", "running"), ("waiting", "waiting")],
        levels,
        &x,
        Some("0 7 8"),
        &drawing,
    )
}
