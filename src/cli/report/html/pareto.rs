//! Throughput against first tokens: what a faster answer costs.

use ceiling_core::record::{LadderRecord, Run};
use maud::{Markup, html};

use super::chart::{ACROSS, Frame, HEIGHT, UP, chart, place};
use super::ladders;
use super::levels::levels;
use super::scale::{Scale, brief};

/// Colours that a reader can tell apart; further engines share the last.
const COLOURS: usize = 8;

/// A level that was measured to its end.
struct Point<'a> {
    engine: &'a str,
    colour: usize,
    n: u32,
    ttft_p99_s: f64,
    tokens_per_s: f64,
}

/// One chart for each workload: engines are comparable only on the same. `None` where no level was measured to its end.
pub fn pareto(run: &Run) -> Option<Markup> {
    let charts: Vec<Markup> =
        by_workload(run).into_iter().filter_map(|(name, ladders)| workload(&name, &ladders)).collect();
    if charts.is_empty() {
        return None;
    }
    Some(html! {
        section #throughput {
            h2 { "Throughput against first tokens" }
            p.note {
                "Each dot is a level that was measured to its end, medians over its probes. On the line are those that nothing beats: "
                "every other level has a later first token or fewer tokens."
            }
            div.charts { @for chart in &charts { (chart) } }
        }
    })
}

fn by_workload(run: &Run) -> Vec<(String, Vec<&LadderRecord>)> {
    let mut groups: Vec<(String, Vec<&LadderRecord>)> = Vec::new();
    for ladder in &run.ladders {
        match groups.iter_mut().find(|(_, others)| others[0].workload == ladder.workload) {
            Some((_, others)) => others.push(ladder),
            None => groups.push((ladders::workload(ladder), vec![ladder])),
        }
    }
    groups
}

fn workload(name: &str, ladders: &[&LadderRecord]) -> Option<Markup> {
    let mut engines: Vec<&str> = Vec::new();
    let mut points = Vec::new();
    for ladder in ladders {
        let colour = engines.iter().position(|engine| *engine == ladder.engine).unwrap_or(engines.len());
        if colour == engines.len() {
            engines.push(&ladder.engine);
        }
        points.extend(points_of(ladder, colour.min(COLOURS - 1)));
    }
    let x = Scale::ratios(points.iter().map(|point| point.ttft_p99_s), ACROSS)?;
    let y = Scale::from_zero(points.iter().map(|point| point.tokens_per_s), UP)?;
    let frame = Frame { x, y };
    let front = front(&points);
    let drawing = html! {
        (frame.axes(brief))
        (frame.line("front", front.iter().map(|point| (point.ttft_p99_s, Some(point.tokens_per_s)))))
        @for colour in 0..engines.len().min(COLOURS) {
            @let points = points.iter().filter(|point| point.colour == colour);
            (frame.dots(&format!("series-{colour}"), points.map(|point| (point.ttft_p99_s, point.tokens_per_s))))
        }
        @for point in &front {
            circle class={ "series-" (point.colour) } cx=(place(x.at(point.ttft_p99_s))) cy=(place(y.at(point.tokens_per_s)))
                r="4" data-tip=(tip(point)) {}
        }
    };
    let words = format!("{} levels of {} engines, {} of them on the front.", points.len(), engines.len(), front.len());
    let drawing =
        chart("Output tokens per second over the 99th percentile of time to first token", &words, HEIGHT, &drawing);
    Some(html! {
        figure {
            figcaption {
                (name) ": tokens/s over TTFT p99 (s)"
                @for (index, engine) in engines.iter().enumerate().take(COLOURS) { span class={ "key series-" (index) } { (engine) } }
                @if engines.len() > COLOURS { span.key.series-7 { "and " (engines.len() - COLOURS) " more" } }
            }
            div.plot { (drawing) }
            (table(&front))
        }
    })
}

fn tip(point: &Point<'_>) -> String {
    let (ttft, tokens) = (brief(point.ttft_p99_s), brief(point.tokens_per_s));
    format!("{}\n{} in flight\nTTFT p99 {ttft} s\n{tokens} tokens/s", point.engine, point.n)
}

fn points_of(ladder: &LadderRecord, colour: usize) -> impl Iterator<Item = Point<'_>> {
    levels(ladder).into_iter().filter_map(move |level| {
        let tokens_per_s = level.median(|probe| probe.output_tokens_per_s)?;
        let ttft_p99_s = level.median(|probe| probe.output_tokens_per_s.and(probe.ttft?.p99_s))?;
        (ttft_p99_s > 0.0).then_some(Point { engine: &ladder.engine, colour, n: level.n, ttft_p99_s, tokens_per_s })
    })
}

/// The points that no other beats in both, from the earliest first token to the most tokens.
fn front<'a, 'b>(points: &'a [Point<'b>]) -> Vec<&'a Point<'b>> {
    let mut sorted: Vec<&Point<'_>> = points.iter().collect();
    sorted.sort_by(|a, b| a.ttft_p99_s.total_cmp(&b.ttft_p99_s).then(b.tokens_per_s.total_cmp(&a.tokens_per_s)));
    let mut front: Vec<&Point<'_>> = Vec::new();
    for point in sorted {
        if front.last().is_none_or(|best| point.tokens_per_s > best.tokens_per_s) {
            front.push(point);
        }
    }
    front
}

fn table(front: &[&Point<'_>]) -> Markup {
    html! {
        details.data {
            summary { "The front as a table" }
            div.scroll { table {
                thead { tr { th { "engine" } th { "in flight" } th { "TTFT p99 (s)" } th { "tokens/s" } } }
                tbody { @for point in front { tr {
                    td.text { (point.engine) } td { (point.n) } td { (brief(point.ttft_p99_s)) } td { (brief(point.tokens_per_s)) }
                } } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_what_nothing_beats() {
        let point = |ttft_p99_s, tokens_per_s| Point { engine: "e", colour: 0, n: 1, ttft_p99_s, tokens_per_s };
        let points = [
            point(2.0, 50.0),
            point(1.0, 40.0),
            point(1.0, 30.0),
            point(3.0, 45.0),
            point(4.0, 60.0),
            point(4.0, 60.0),
        ];
        let found: Vec<_> = front(&points).iter().map(|point| (point.ttft_p99_s, point.tokens_per_s)).collect();
        assert_eq!(found, [(1.0, 40.0), (2.0, 50.0), (4.0, 60.0)]);
    }
}
