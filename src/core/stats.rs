//! The few distributions that the method needs.

use statrs::distribution::{Beta, ChiSquared, ContinuousCDF, Normal};

/// The probability that a standard normal variable is below this value.
pub fn normal_below(value: f64) -> f64 {
    Normal::standard().cdf(value)
}

/// The value that a standard normal variable is below with this probability.
pub fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// What a variance may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VarianceSlice {
    /// Its probability.
    pub weight: f64,
    /// The median, as a factor on the estimate of the variance.
    pub factor: f64,
}

/// What a variance may be that was estimated with this many degrees of freedom, in `count` slices that ascend, each half as likely as
/// the one before it, and the last as likely as its predecessor: it is the high variances that tails are made of. Where the degrees are
/// not above 0 all factors are infinite: one value says nothing of its own spread.
///
/// A normal mean under these variances is what Student's t describes.
pub fn variance_slices(degrees: f64, count: i32) -> Vec<VarianceSlice> {
    let slice = |slice: i32| {
        let (above, weight) = (0.5_f64.powi(slice), 0.5_f64.powi((slice + 1).min(count - 1)));
        let factor = chi_squared_quantile(degrees, above - weight / 2.0).map_or(f64::INFINITY, |chi| degrees / chi);
        VarianceSlice { weight, factor }
    };
    (0..count).map(slice).collect()
}

/// The value that a chi-squared variable is below with this probability; `None` where its degrees of freedom are not above 0.
fn chi_squared_quantile(degrees: f64, probability: f64) -> Option<f64> {
    let chi = ChiSquared::new(degrees).ok()?;
    // Of one degree it is the square of a normal variable, whose low quantiles the search of the library overshoots.
    let square = || normal_quantile((1.0 + probability) / 2.0).powi(2);
    Some(if degrees == 1.0 { square() } else { chi.inverse_cdf(probability) })
}

/// A slice of the standard normal distribution.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// The value that half of it lies above.
    pub z: f64,
    /// Its probability.
    pub weight: f64,
}

/// The slices of the standard normal distribution between these probabilities of a higher value, which ascend from 0 to 1:
/// the highest comes first.
pub fn normal_slices(tails: &[f64]) -> Vec<Slice> {
    let slice = |ends: &[f64]| Slice { z: -normal_quantile((ends[0] + ends[1]) / 2.0), weight: ends[1] - ends[0] };
    tails.windows(2).map(slice).collect()
}

/// Bounds on a share of which `hits` in `trials` were seen, each missed with probability `miss`: Jeffreys' interval,
/// with the bound at 0 or 1 where nothing or everything was a hit. `hits` may be a sum of parts.
///
/// Source: Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", 2001.
pub fn share_bounds(hits: f64, trials: f64, miss: f64) -> (f64, f64) {
    let Ok(beta) = Beta::new(hits + 0.5, (trials - hits).max(0.0) + 0.5) else { return (0.0, 1.0) };
    let low = if hits <= 0.0 { 0.0 } else { beta.inverse_cdf(miss) };
    let high = if hits >= trials { 1.0 } else { beta.inverse_cdf(1.0 - miss) };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_under_all_variances_is_as_far_off_as_the_tables_of_t_say() {
        for (degrees, far) in [(1.0, 12.706), (2.0, 4.303), (3.0, 3.182), (4.0, 2.776), (10.0, 2.228), (100.0, 1.984)] {
            let slices = variance_slices(degrees, 6);
            let beyond: f64 = slices.iter().map(|slice| slice.weight * normal_below(-far / slice.factor.sqrt())).sum();
            assert!((beyond / 0.025 - 1.0).abs() < 0.08, "{degrees}: {beyond}");
            assert!((slices.iter().map(|slice| slice.weight).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert_eq!(variance_slices(0.0, 1), [VarianceSlice { weight: 1.0, factor: f64::INFINITY }]);
    }

    #[test]
    fn slices_are_centred_and_almost_as_wide_as_the_whole() {
        let tails: Vec<f64> = (0..=31).map(|end| f64::from(end) / 31.0).collect();
        let slices = normal_slices(&tails);
        let mean = |of: fn(f64) -> f64| slices.iter().map(|slice| slice.weight * of(slice.z)).sum::<f64>();
        let variance = mean(|z| z * z);
        assert!(mean(|z| z).abs() < 1e-9);
        assert!(slices.windows(2).all(|pair| pair[0].z > pair[1].z));
        assert!((0.93..1.0).contains(&variance), "{variance}");
    }

    #[test]
    fn a_share_is_bounded_from_both_sides() {
        let (low, high) = share_bounds(20.0, 1000.0, 0.025);
        assert!((0.012..0.02).contains(&low) && (0.02..0.031).contains(&high), "{low} {high}");
        assert_eq!(share_bounds(0.0, 10.0, 0.025).0, 0.0);
        assert_eq!(share_bounds(10.0, 10.0, 0.025).1, 1.0);
    }
}
