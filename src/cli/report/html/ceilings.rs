//! The ceilings over the axes: a heat map of all, and lines along each axis of numbers.

use std::collections::HashMap;

use ceiling_core::record::{CellRecord, Run};
use ceiling_core::search::Status;
use maud::{Markup, html};

use super::chart::{ACROSS, Frame, HEIGHT, UP, chart, place};
use super::ladders::anchor;
use super::scale::{Scale, brief};
use crate::report::pivot::{Dimension, Pivot, dimensions};
use crate::report::table;

/// Columns of the heat map, at most: more are folded into rows.
const WIDEST: usize = 24;

/// Lines that a reader can tell apart in one chart.
const MOST_LINES: usize = 8;

/// Where the ladder of each cell is shown, by the ladder's id.
type Anchors<'a> = HashMap<&'a str, String>;

/// The ceilings of a run.
pub fn ceilings(run: &Run) -> Markup {
    let pivot = Pivot::new(run, WIDEST);
    let anchors: Anchors<'_> =
        run.ladders.iter().enumerate().map(|(index, l)| (l.id.as_str(), anchor(index))).collect();
    html! {
        section #ceilings {
            h2 { "Ceilings" }
            p.note { "The most requests in flight at which the SLA holds; below it the bracket, from the highest level known to pass to the lowest known to fail. In the long run, that is: the probe made at a bound may have been unlucky, or lucky, by itself." }
            (heat_map(run, &pivot, &anchors))
            (lines(run))
        }
    }
}

fn heat_map(run: &Run, pivot: &Pivot<'_>, anchors: &Anchors<'_>) -> Markup {
    let heat = Heat::of(run);
    html! {
        div.scroll { table.heat {
            thead {
                @for (level, dimension) in pivot.across.iter().enumerate() {
                    tr {
                        @if level == 0 { @for down in &pivot.down { th rowspan=(pivot.across.len()) scope="col" { (down.name) } } }
                        @for (value, span) in spans(&pivot.columns, level) {
                            th colspan=(span) scope="col" { (dimension.says(&value)) }
                        }
                    }
                }
                @if pivot.across.is_empty() {
                    tr { @for down in &pivot.down { th scope="col" { (down.name) } } th scope="col" { "ceiling" } }
                }
            }
            tbody { @for (row, values) in pivot.rows.iter().enumerate() { tr {
                @for value in values { th scope="row" { (value) } }
                @for column in 0..pivot.columns.len() { (heat_cell(pivot.at(row, column), &heat, anchors)) }
            } } }
        } }
    }
}

/// The values of one dimension over neighbouring columns, with how many columns share each.
fn spans(columns: &[Vec<String>], level: usize) -> Vec<(String, usize)> {
    let mut spans: Vec<(String, usize)> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let same = index > 0 && columns[index - 1][..=level] == column[..=level];
        match spans.last_mut() {
            Some((_, count)) if same => *count += 1,
            _ => spans.push((column[level].clone(), 1)),
        }
    }
    spans
}

fn heat_cell(cells: &[&CellRecord], heat: &Heat, anchors: &Anchors<'_>) -> Markup {
    let Some(cell) = cells.first() else { return html! { td.left-out { "–" } } };
    let part = heat.part(cell);
    let tips: Vec<String> = cells.iter().map(|cell| tip(cell)).collect();
    let anchor = anchors.get(cell.ladder.as_str());
    html! {
        td.none[part.is_none()] style=[part.map(|part| format!("--heat:{part:.0}%"))] data-tip=(tips.join("\n")) {
            @for cell in cells {
                @let (ceiling, below) = in_short(cell);
                a href=[anchor.map(|anchor| format!("#{anchor}"))] { (ceiling) }
                small { (below) }
            }
        }
    }
}

/// A ceiling and its bracket in few characters.
fn in_short(cell: &CellRecord) -> (String, String) {
    let range = || match (cell.highest_pass, cell.lowest_fail) {
        (Some(pass), Some(fail)) => format!("{pass}…{fail}"),
        _ => String::new(),
    };
    match (cell.status, cell.highest_pass) {
        (Some(Status::AboveCap), Some(pass)) => (format!("≥ {pass}"), "above cap".to_owned()),
        (Some(Status::BelowOne), _) => ("< 1".to_owned(), "below one".to_owned()),
        _ => (table::ceiling(cell), range()),
    }
}

fn tip(cell: &CellRecord) -> String {
    let mut tip = format!("{}\nceiling {}", cell.id, table::ceiling(cell));
    let bracket = table::bracket(cell);
    if !bracket.is_empty() {
        tip += &format!("\nbracket {bracket}");
    }
    if let Some(limit) = &cell.limit {
        tip += &format!("\nlimited by {}: {}", limit.limit, table::figures(limit));
    }
    if let Some(failure) = &cell.failure {
        tip += &format!("\n{}", failure.reason);
    }
    tip
}

/// How warm a ceiling is among all of a run, equal ratios being equally far apart.
struct Heat(Option<(f64, f64)>);

impl Heat {
    fn of(run: &Run) -> Self {
        let known = run.cells.iter().filter_map(known).map(f64::ln);
        Self(known.fold(None, |range, value| {
            Some(range.map_or((value, value), |(low, high): (f64, f64)| (low.min(value), high.max(value))))
        }))
    }

    /// In percent; `None` where the ceiling is not known.
    fn part(&self, cell: &CellRecord) -> Option<f64> {
        let (low, high) = self.0?;
        let value = known(cell)?.ln();
        Some(if high > low { 10.0 + 90.0 * (value - low) / (high - low) } else { 50.0 })
    }
}

/// The ceiling, or where everything passed, what it is at least.
fn known(cell: &CellRecord) -> Option<f64> {
    let is_known = matches!(cell.status, Some(Status::Found | Status::AboveCap));
    cell.highest_pass.filter(|_| is_known).map(|level| f64::from(level.get()))
}

/// For each axis of three numbers or more, the ceilings along it: one line for all else that is equal.
fn lines(run: &Run) -> Markup {
    let dimensions = dimensions(run);
    let charts: Vec<Markup> = dimensions.iter().filter_map(|along| line_chart(run, along, &dimensions)).collect();
    html! { @if !charts.is_empty() { div.charts { @for chart in &charts { (chart) } } } }
}

fn line_chart(run: &Run, along: &Dimension, dimensions: &[Dimension]) -> Option<Markup> {
    let numbers: Vec<f64> = along.values.iter().map(|value| number(value)).collect::<Option<_>>()?;
    let lines = group(run, along, dimensions);
    let worth_it = numbers.len() > 2 && lines.len() <= MOST_LINES;
    let x = Scale::ratios(numbers.iter().copied().filter(|_| worth_it), ACROSS)?;
    let y = Scale::ratios(run.cells.iter().flat_map(|cell| known(cell).into_iter().chain(upper(cell))), UP)?;
    let frame = Frame { x, y };
    let drawing = html! {
        (frame.axes(brief))
        @for (index, (_, cells)) in lines.iter().enumerate() {
            @let points = sorted(cells, &numbers);
            g class={ "series-" (index) } {
                (frame.line("", points.iter().map(|(x, cell)| (*x, known(cell)))))
                @for (x, cell) in points { (interval(&frame, x, cell)) }
            }
        }
    };
    let words = format!("{} lines; the numbers are in the table above.", lines.len());
    let drawing = chart(&format!("Ceilings over {}", along.name), &words, HEIGHT, &drawing);
    Some(html! {
        figure {
            figcaption {
                "Ceiling over " (along.name)
                @for (index, (name, _)) in lines.iter().enumerate() { @if !name.is_empty() { span class={ "key series-" (index) } { (name) } } }
            }
            div.plot { (drawing) }
        }
    })
}

fn sorted<'a>(cells: &[(usize, &'a CellRecord)], numbers: &[f64]) -> Vec<(f64, &'a CellRecord)> {
    let mut points: Vec<_> = cells.iter().map(|(value, cell)| (numbers[*value], *cell)).collect();
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    points
}

/// A ceiling with its bracket.
fn interval(frame: &Frame, x: f64, cell: &CellRecord) -> Markup {
    let Some(value) = known(cell) else { return html! {} };
    let (x, y) = (place(frame.x.at(x)), frame.y.at(value));
    html! {
        @if let Some(upper) = upper(cell) { path.interval d={ "M" (x) " " (place(y)) "V" (place(frame.y.at(upper))) } {} }
        circle cx=(x) cy=(place(y)) r="3.5" data-tip=(tip(cell)) {}
    }
}

fn upper(cell: &CellRecord) -> Option<f64> {
    known(cell).and(cell.lowest_fail).map(|level| f64::from(level.get()))
}

/// The cells that are equal in all but one dimension, with what they are equal in, in the order of the experiment.
fn group<'a>(run: &'a Run, along: &Dimension, dimensions: &[Dimension]) -> Vec<(String, Vec<(usize, &'a CellRecord)>)> {
    let others: Vec<&Dimension> = dimensions.iter().filter(|dimension| *dimension != along).collect();
    let mut index: HashMap<Vec<usize>, usize> = HashMap::new();
    let mut groups: Vec<(String, Vec<(usize, &CellRecord)>)> = Vec::new();
    for (number, cell) in run.cells.iter().enumerate() {
        let place: Vec<usize> = others.iter().map(|dimension| dimension.value_of(number)).collect();
        let group = *index.entry(place).or_insert_with(|| {
            let name: Vec<String> = others.iter().map(|d| d.says(&d.values[d.value_of(number)])).collect();
            groups.push((name.join(", "), Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push((along.value_of(number), cell));
    }
    groups
}

/// A value as a number above zero: `5000`, `99%`, `1s`.
fn number(value: &str) -> Option<f64> {
    let plain = value.strip_suffix('%').unwrap_or(value).parse().ok();
    let length = || value.parse::<ceiling_core::units::Seconds>().ok().map(ceiling_core::units::Seconds::get);
    plain.or_else(length).filter(|number| *number > 0.0)
}
