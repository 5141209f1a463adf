//! Small charts as SVG. Colours and strokes are classes of the page's style sheet, so that a chart follows its theme.
//!
//! Points of a series are one path each: a line of no length with round ends is a dot, and takes eight bytes.

use std::fmt::Write;

use maud::{Markup, html};

use super::scale::{Scale, brief};

/// Units across a chart; on a phone about a pixel each.
pub const WIDTH: f64 = 360.0;
/// The area that values are drawn in, from left to right and from bottom to top.
pub const ACROSS: (f64, f64) = (60.0, 352.0);
/// See [`ACROSS`].
pub const UP: (f64, f64) = (170.0, 10.0);
/// Height of a chart with nothing below its numbers.
pub const HEIGHT: f64 = 192.0;

/// The axes of a chart.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// From left to right.
    pub x: Scale,
    /// From bottom to top.
    pub y: Scale,
}

impl Frame {
    /// Grid and numbers.
    pub fn axes(&self, y_number: impl Fn(f64) -> String) -> Markup {
        let (xs, ys) = (self.x.ticks(), self.y.ticks());
        let mut grid = format!("M{0} {1}H{2}", place(ACROSS.0), place(UP.0), place(ACROSS.1));
        for y in &ys {
            let _ = write!(grid, "M{} {}H{}", place(ACROSS.0), place(self.y.at(*y)), place(ACROSS.1));
        }
        html! {
            path.grid d=(grid) {}
            g.y { @for y in &ys { text x=(place(ACROSS.0 - 5.0)) y=(place(self.y.at(*y) + 3.5)) { (y_number(*y)) } } }
            g.x { @for x in &xs { text x=(place(self.x.at(*x))) y=(place(UP.0 + 15.0)) { (brief(*x)) } } }
        }
    }

    /// One dot for each point.
    pub fn dots(&self, class: &str, points: impl Iterator<Item = (f64, f64)>) -> Markup {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "M{} {}h0", place(self.x.at(x)), place(self.y.at(y)));
        }
        html! { @if !path.is_empty() { path class={ "dots " (class) } d=(path) {} } }
    }

    /// A line through the points; broken where a value is missing.
    pub fn line(&self, class: &str, points: impl Iterator<Item = (f64, Option<f64>)>) -> Markup {
        let mut path = String::new();
        let mut pen = 'M';
        for (x, y) in points {
            match y {
                Some(y) => {
                    let _ = write!(path, "{pen}{} {}", place(self.x.at(x)), place(self.y.at(y)));
                    pen = 'L';
                }
                None => pen = 'M',
            }
        }
        html! { @if !path.is_empty() { path class={ "line " (class) } d=(path) {} } }
    }

    /// What lies between two lines: (x, lower, upper).
    pub fn area(&self, class: &str, points: &[(f64, f64, f64)]) -> Markup {
        let corner = |(x, y): (f64, f64)| format!("{} {}", place(self.x.at(x)), place(self.y.at(y)));
        let upper = points.iter().map(|(x, _, upper)| corner((*x, *upper)));
        let lower = points.iter().rev().map(|(x, lower, _)| corner((*x, *lower)));
        let corners: Vec<String> = upper.chain(lower).collect();
        html! { @if points.len() > 1 { path class={ "area " (class) } d={ "M" (corners.join("L")) "Z" } {} } }
    }

    /// A limit on the values.
    pub fn limit(&self, value: f64, label: &str) -> Markup {
        let y = self.y.at(value);
        html! {
            path.limit d={ "M" (place(ACROSS.0)) " " (place(y)) "H" (place(ACROSS.1)) } {}
            text.limit x=(place(ACROSS.0 + 3.0)) y=(place(y - 3.0)) { (label) }
        }
    }
}

/// A chart with what is said of it for those who do not see it.
pub fn chart(title: &str, description: &str, height: f64, body: &Markup) -> Markup {
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (place(height)) } role="img" {
            title { (title) }
            desc { (description) }
            (body)
        }
    }
}

/// A coordinate, to the tenth of a unit.
pub fn place(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
