//! How the part of its limits that a level uses up grows with the level.
//!
//! Where requests queue, the time that each waits grows in proportion to those before it; where they are decoded together,
//! the time of a step grows in proportion to them. So latencies lie on lines, with a bend where the engine becomes full.

/// A level, and the part of its limits that it uses up: 1 is all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub level: f64,
    pub used: f64,
}

impl Point {
    /// Whether it is so far below another level that both tell how latencies grow.
    pub fn is_apart(&self, other: &Self) -> bool {
        self.level * APART <= other.level
    }

    /// Whether both use up just as much.
    fn is_level_with(&self, other: &Self) -> bool {
        (self.used - other.used).abs() < LEVEL * self.used
    }
}

/// Levels nearer to each other than by this factor differ by what is chance.
const APART: f64 = 1.3;
/// Levels that use up no more different parts than this, as a part of them, are alike.
const LEVEL: f64 = 0.01;
/// Below this part latencies say little of where the limit is reached.
const FAR_OFF: f64 = 0.5;
/// Where it is taken for granted how latencies grow, a ceiling is foretold no nearer and no farther than at these parts.
const NEAREST: f64 = 0.86;
const FARTHEST_BEYOND: f64 = 0.25;
const FARTHEST_BELOW: f64 = 4.5;
/// And along a line no farther beyond a level than this multiple of it.
const REACH: f64 = 12.0;
/// A ceiling between two levels is foretold no nearer to either than this part of the way.
const MARGIN: f64 = 0.08;
/// Limits of how steep a line is taken to be.
const LEAST_STEEP: f64 = 0.5;
const MOST_STEEP: f64 = 20.0;

/// How latencies grow from the level on from which the engine is full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WhenFull {
    /// Not at all: it decodes no more requests together than before.
    Flat,
    /// By this part of the limit with each request, which waits for one more to leave.
    Queue(f64),
    /// In a way that is not known yet.
    Unknown,
}

/// The level from which on the engine is full, and what happens then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bend {
    pub full: f64,
    pub then: WhenFull,
}

/// The line from a level to where all of its limits are used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    ceiling: f64,
    per_request: f64,
    /// The factor from the level that it is drawn from, or between those that it is drawn through; infinite where one level is
    /// all that is known.
    reach: f64,
}

impl Line {
    /// Through what these levels use up, ascending; where there are none, at `guess`.
    pub fn through(points: &[Point], bend: Option<Bend>, guess: f64) -> Self {
        let (passing, failing) = points.split_at(points.partition_point(|point| point.used <= 1.0));
        if let (Some(below), Some(above)) = (passing.last(), failing.first()) {
            let before = passing.len().checked_sub(2).map(|before| &passing[before]);
            let flat_below = before
                .is_some_and(|before| before.used > FAR_OFF && !before.is_apart(below) && before.is_level_with(below));
            let flat_above = failing.get(1).is_some_and(|next| next.is_level_with(above));
            if flat_below || flat_above {
                return Self::step(below, above);
            }
        }
        match (passing.last(), failing.first(), bend) {
            (None, None, _) => Self { ceiling: guess, per_request: 1.0 / guess, reach: f64::INFINITY },
            (Some(_), None, Some(bend)) => Self::onwards(passing, bend),
            (_, Some(above), Some(bend)) if above.level >= bend.full => Self::across(passing, above, bend),
            (Some(below), Some(above), _) => Self::between(below, above),
            (None, Some(above), _) => Self::from_nothing(above),
            (Some(below), None, None) => match passing.iter().rfind(|point| point.is_apart(below)) {
                Some(before) => Self::beyond(before, below),
                None => Self::from_nothing(below),
            },
        }
    }

    /// Beyond levels that all pass, on which the engine becomes full.
    fn onwards(passing: &[Point], bend: Bend) -> Self {
        let below = passing[passing.len() - 1];
        let is_full = |point: &Point| point.level >= bend.full;
        let same = |point: &&Point| is_full(point) == is_full(&below) && point.is_apart(&below);
        let line = match (passing.iter().rfind(same), bend.then) {
            (Some(before), _) => Self::beyond(before, &below),
            (None, WhenFull::Queue(per_request)) if is_full(&below) => Self::from(&below, per_request),
            (None, _) => Self::from_nothing(&below),
        };
        if is_full(&below) || line.ceiling <= bend.full {
            return line;
        }
        let used = below.used + (bend.full - below.level) * line.per_request;
        match bend.then {
            WhenFull::Queue(per_request) if line.reach.is_finite() => {
                Self { reach: line.reach, ..Self::from(&Point { level: bend.full, used }, per_request) }
            }
            WhenFull::Flat if line.reach.is_finite() => Self { ceiling: REACH * below.level, ..line },
            _ => Self { ceiling: bend.full, ..line },
        }
    }

    /// Back from a level above the ceiling at which the engine is full, to where it becomes so at the most.
    fn across(passing: &[Point], above: &Point, bend: Bend) -> Self {
        let below = passing.last().copied();
        if let Some(below) = below.filter(|below| below.level >= bend.full) {
            return Self::between(&below, above);
        }
        match (bend.then, below) {
            (WhenFull::Queue(per_request), _) => {
                let line = Self::from(above, per_request);
                if line.ceiling < bend.full { Self { ceiling: bend.full, reach: 1.0, ..line } } else { line }
            }
            (WhenFull::Flat, Some(below)) => match passing.iter().rfind(|point| point.is_apart(&below)) {
                Some(before) => {
                    let line = Self::beyond(before, &below);
                    let used = below.used + (bend.full - below.level) * line.per_request;
                    // It is not as flat as that: something else slows the level above down.
                    if used < 1.0 { Self::between(&Point { level: bend.full, used }, above) } else { line }
                }
                None => Self::between(&below, &Point { level: bend.full, ..*above }),
            },
            (WhenFull::Flat, None) => Self::from_nothing(above),
            (WhenFull::Unknown, _) => Self { ceiling: bend.full, per_request: 1.0 / bend.full, reach: 1.0 },
        }
    }

    /// Between a level below the ceiling and one above it.
    fn between(below: &Point, above: &Point) -> Self {
        let per_request = (above.used - below.used) / (above.level - below.level);
        let part = ((1.0 - below.used) / (above.used - below.used)).clamp(MARGIN, 1.0 - MARGIN);
        let ceiling = below.level + part * (above.level - below.level);
        Self { ceiling, per_request, reach: above.level / below.level }
    }

    /// Between two levels of which one is no different from its other neighbour: latencies go up in a step, anywhere.
    fn step(below: &Point, above: &Point) -> Self {
        let ceiling = ((below.level + above.level) / 2.0).floor();
        Self {
            ceiling,
            per_request: (above.used - below.used) / (above.level - below.level),
            reach: above.level / below.level,
        }
    }

    /// Through two levels below the ceiling, and on.
    fn beyond(lower: &Point, upper: &Point) -> Self {
        Self::from(upper, (upper.used - lower.used) / (upper.level - lower.level))
    }

    /// From one level, using up this part for each request more.
    fn from(level: &Point, per_request: f64) -> Self {
        let far = (REACH - 1.0) * level.level;
        let more = if per_request * far > 1.0 - level.used { (1.0 - level.used) / per_request } else { far };
        let ceiling = level.level + more;
        Self { ceiling, per_request: per_request.max(0.0), reach: (ceiling / level.level).max(level.level / ceiling) }
    }

    /// Where one level is all that is known. Latencies grow no faster than in proportion to the level, so that the ceiling is
    /// at least as far off as that.
    fn from_nothing(level: &Point) -> Self {
        let used =
            if level.used <= 1.0 { level.used.clamp(FARTHEST_BEYOND, NEAREST) } else { level.used.min(FARTHEST_BELOW) };
        let ceiling = level.level / used;
        Self { ceiling, per_request: 1.0 / ceiling.max(1.0), reach: f64::INFINITY }
    }

    /// The level at which all is used up.
    pub fn ceiling(&self) -> f64 {
        self.ceiling
    }

    /// How far apart, as a factor, the levels are that it was drawn from.
    pub fn reach(&self) -> f64 {
        self.reach
    }

    /// By which part latencies grow at the ceiling for each part by which the level does.
    pub fn steepness(&self) -> f64 {
        (self.per_request * self.ceiling).clamp(LEAST_STEEP, MOST_STEEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(level: f64, used: f64) -> Point {
        Point { level, used }
    }

    #[test]
    fn a_ceiling_lies_where_the_line_says() {
        let table = [
            (Line::between(&at(20.0, 0.5), &at(40.0, 1.5)), 30.0, 1.5),
            // No nearer to a level than a part of the way.
            (Line::between(&at(20.0, 0.99), &at(40.0, 3.0)), 21.6, 2.17),
            (Line::beyond(&at(6.0, 0.23), &at(24.0, 0.43)), 75.3, 0.84),
            // Flat as far as it was seen.
            (Line::beyond(&at(6.0, 0.2), &at(24.0, 0.2)), 288.0, 0.5),
            (Line::from(&at(256.0, 0.4), 0.03), 276.0, 8.28),
            (Line::from_nothing(&at(10.0, 0.5)), 20.0, 1.0),
            (Line::from_nothing(&at(10.0, 0.01)), 40.0, 1.0),
            (Line::from_nothing(&at(90.0, 1.8)), 50.0, 1.0),
        ];
        for (line, ceiling, steepness) in table {
            assert!((line.ceiling() - ceiling).abs() < 0.01 * ceiling, "{line:?}: not {ceiling}");
            assert!((line.steepness() - steepness).abs() < 0.01 * steepness, "{line:?}: not {steepness}");
        }
    }

    #[test]
    fn where_the_engine_is_full_requests_queue_or_nothing_grows() {
        let queue = Bend { full: 100.0, then: WhenFull::Queue(0.05) };
        let flat = Bend { full: 100.0, then: WhenFull::Flat };
        let unknown = Bend { full: 100.0, then: WhenFull::Unknown };
        let cheap = [at(6.0, 0.2), at(24.0, 0.2)];
        let growing = [at(6.0, 0.2), at(24.0, 0.32)];
        let far = [at(6.0, 0.2), at(24.0, 0.2), at(200.0, 3.0)];
        let table: [(&[Point], Bend, f64); 10] = [
            // One level alone does not tell how latencies grow.
            (&cheap[..1], queue, 24.0),
            (&cheap, queue, 116.0),
            (&cheap, flat, 288.0),
            (&cheap, unknown, 100.0),
            // 0.83 is used up at 100.
            (&growing, queue, 103.5),
            // Back from a level above.
            (&far, queue, 160.0),
            (&[at(120.0, 3.0)], queue, 100.0),
            (&far, unknown, 100.0),
            (&[at(100.0, 0.5)], queue, 110.0),
            (&[at(100.0, 0.5), at(120.0, 1.5)], queue, 110.0),
        ];
        for (points, bend, ceiling) in table {
            let line = Line::through(points, Some(bend), 10.0);
            assert!((line.ceiling() - ceiling).abs() < 0.01 * ceiling, "{points:?} {bend:?}: {line:?}, not {ceiling}");
        }
    }

    #[test]
    fn where_latencies_do_not_change_before_they_jump_the_middle_is_as_good_as_any_level() {
        let flat = Bend { full: 10.0, then: WhenFull::Flat };
        let table: [(&[Point], f64); 4] = [
            (&[at(20.0, 0.2), at(32.0, 1.25), at(36.0, 1.25)], 26.0),
            (&[at(113.0, 0.99), at(121.0, 0.99), at(130.0, 1.1)], 125.0),
            // Far below the limit it says nothing that two levels are alike.
            (&[at(16.0, 0.2), at(20.0, 0.2), at(30.0, 1.8)], 25.0),
            (&[at(20.0, 0.5), at(40.0, 1.5)], 30.0),
        ];
        for (points, ceiling) in table {
            let line = Line::through(points, Some(flat), 10.0);
            assert!((line.ceiling() - ceiling).abs() < 0.01 * ceiling, "{points:?}: {line:?}, not {ceiling}");
        }
    }

    #[test]
    fn a_level_far_above_is_not_taken_for_one_where_nothing_grows_if_those_below_say_otherwise() {
        let flat = Bend { full: 54.0, then: WhenFull::Flat };
        // Along the line of the first two 0.97 is used up at 54.
        let line = Line::through(&[at(12.0, 0.3), at(25.0, 0.51), at(99.0, 2.52)], Some(flat), 10.0);
        assert!((54.0..60.0).contains(&line.ceiling()), "{line:?}");
    }

    #[test]
    fn without_a_level_it_is_where_it_was_guessed() {
        let bend = Bend { full: 100.0, then: WhenFull::Flat };
        assert!((Line::through(&[], Some(bend), 10.0).ceiling() - 10.0).abs() < 1e-9);
    }
}
