//! From values to places on a chart, and the numbers that are written beside its axes.

/// Numbers beside an axis, at most.
const MOST_TICKS: usize = 6;

/// A scale of one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    /// Where the lowest and the highest value lie.
    span: (f64, f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Logarithmic,
}

impl Scale {
    /// From zero to the largest value; `None` where there is no value.
    pub fn from_zero(values: impl Iterator<Item = f64>, span: (f64, f64)) -> Option<Self> {
        let high = values.filter(|value| value.is_finite()).reduce(f64::max)?;
        Some(Self { kind: Kind::Linear, low: 0.0, high: if high > 0.0 { high * 1.05 } else { 1.0 }, span })
    }

    /// From zero to one.
    pub fn share(span: (f64, f64)) -> Self {
        Self { kind: Kind::Linear, low: 0.0, high: 1.0, span }
    }

    /// Around the values that are above zero, equal ratios being equally far apart; `None` where there are none.
    pub fn ratios(values: impl Iterator<Item = f64>, span: (f64, f64)) -> Option<Self> {
        let values = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = values.fold(None, |range: Option<(f64, f64)>, value| {
            Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        })?;
        let margin = (high / low).powf(0.04).max(1.05);
        Some(Self { kind: Kind::Logarithmic, low: low / margin, high: high * margin, span })
    }

    /// Where a value lies; beyond an end, at that end.
    pub fn at(&self, value: f64) -> f64 {
        let part = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Logarithmic => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        self.span.0 + (self.span.1 - self.span.0) * part.clamp(0.0, 1.0)
    }

    /// A few round values within the scale, ascending.
    pub fn ticks(&self) -> Vec<f64> {
        match self.kind {
            Kind::Linear => self.even_ticks(),
            Kind::Logarithmic => {
                let inside = |steps: &[f64]| self.decimal_ticks(steps);
                let decades = inside(&[1.0]);
                if decades.len() > MOST_TICKS {
                    return decades.iter().copied().step_by(decades.len().div_ceil(MOST_TICKS)).collect();
                }
                let choices = [inside(&[1.0, 2.0, 5.0]), inside(&[1.0, 3.0]), decades];
                let fits = |ticks: &Vec<f64>| (2..=MOST_TICKS).contains(&ticks.len());
                choices.into_iter().find(fits).unwrap_or_else(|| self.even_ticks())
            }
        }
    }

    fn even_ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 4.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|step| step * unit)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|count| count as f64 * step).collect()
    }

    fn decimal_ticks(&self, steps: &[f64]) -> Vec<f64> {
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// A number in few characters: three digits, thousands as `k`.
pub fn brief(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 999_500.0 => (value / 1e6, "M"),
        size if size >= 9_995.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    three_digits(value) + unit
}

/// A number to three digits, or to the unit where it has more.
pub fn three_digits(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size => (2 - size.log10().floor() as i32).clamp(0, 6) as usize,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_ends() {
        let scale = Scale::ratios([1.0, 100.0].into_iter(), (0.0, 100.0)).unwrap();
        assert!((scale.at(10.0) - 50.0).abs() < 1e-9);
        assert_eq!((scale.at(0.0), scale.at(1e9)), (0.0, 100.0));
        assert_eq!(Scale::ratios([0.0, f64::NAN].into_iter(), (0.0, 1.0)), None);
        assert_eq!(Scale::from_zero([0.0].into_iter(), (10.0, 0.0)).unwrap().at(0.0), 10.0);
    }

    #[test]
    fn ticks_are_round_and_few() {
        let ratios = |low, high| {
            let ticks = Scale::ratios([low, high].into_iter(), (0.0, 1.0)).unwrap().ticks();
            ticks.into_iter().map(brief).collect::<Vec<_>>().join(" ")
        };
        let table = [((1.0, 100.0), "1 3 10 30 100"), ((1.0, 1e6), "1 100 10k 1M"), ((7.0, 7.0), "6.8 7 7.2")];
        for ((low, high), ticks) in table {
            assert_eq!(ratios(low, high), ticks);
        }
    }

    #[test]
    fn numbers_are_brief() {
        let table = [
            (0.0, "0"),
            (0.0312, "0.0312"),
            (1.0, "1"),
            (12.34, "12.3"),
            (1234.0, "1234"),
            (400_000.0, "400k"),
            (2.5e6, "2.5M"),
        ];
        for (value, text) in table {
            assert_eq!(brief(value), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn there_are_always_ticks_and_never_many(low in 1e-6f64..1e6, ratio in 1.0f64..1e6) {
            let scale = Scale::ratios([low, low * ratio].into_iter(), (0.0, 1.0)).unwrap();
            proptest::prop_assert!((1..=MOST_TICKS + 2).contains(&scale.ticks().len()), "{:?}", scale.ticks());
        }
    }
}
