//! How long an engine takes to take a request in, before it serves any.
//!
//! Requests of a burst arrive together, and vLLM takes them in (presumably what it takes to read them, and to hash the blocks of their prompts)
//! before or beside its first steps: each of N requests waits for all N. All first tokens of a burst are later by that, which is
//! neither drift nor noise: left in, a probe of many requests would look like one of a slower machine.

/// Fewer probes do not tell it.
const PROBES: usize = 6;
/// How many of its standard errors it must be above zero: bad luck of one large probe seldom is.
const CLEAR: f64 = 5.0;
/// Part of the time of the first token that it must make of the difference between the smallest burst and the largest. The first step of a
/// larger burst may hold a part of one more prompt, which is less.
const MATTERS: f64 = 0.03;
/// Part of the time of any first token that it may be.
const MOST: f64 = 0.8;

/// Seconds that each request of a burst adds to all first tokens of it, from sizes of bursts and the times of the first of their first
/// tokens, in seconds; 0 where no such thing shows.
pub(crate) fn arrival(bursts: &[(f64, f64)]) -> f64 {
    let count = bursts.len() as f64;
    if bursts.len() < PROBES {
        return 0.0;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| bursts.iter().map(of).sum::<f64>() / count;
    let (size, time) = (mean(|burst| burst.0), mean(|burst| burst.1));
    let square: f64 = bursts.iter().map(|(n, _)| (n - size).powi(2)).sum();
    let product: f64 = bursts.iter().map(|(n, first)| (n - size) * (first - time)).sum();
    let each = product / square;
    let off: f64 = bursts.iter().map(|(n, first)| (first - time - each * (n - size)).powi(2)).sum();
    let error = (off / (count - 2.0) / square).sqrt();
    let sizes = || bursts.iter().map(|burst| burst.0);
    let range = sizes().fold(0.0, f64::max) - sizes().fold(f64::INFINITY, f64::min);
    // Where all are of one size it is no number, and not clear.
    let is_clear = each > CLEAR * error && each * range > MATTERS * time;
    if is_clear { bursts.iter().map(|(n, first)| MOST * first / n).fold(each, f64::min) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes and first tokens as an H200 showed them, of prompts of 5,000 tokens.
    const H200: [(f64, f64); 12] = [
        (6.0, 0.161),
        (5.0, 0.162),
        (5.0, 0.158),
        (8.0, 0.163),
        (7.0, 0.164),
        (5.0, 0.156),
        (5.0, 0.163),
        (22.0, 0.192),
        (23.0, 0.187),
        (76.0, 0.241),
        (72.0, 0.278),
        (75.0, 0.268),
    ];

    #[test]
    fn what_each_request_adds_shows_in_bursts_of_different_size() {
        let each = arrival(&H200);
        assert!((0.0012..0.0016).contains(&each), "{each}");
        assert!((arrival(&H200[..8]) / each - 1.0).abs() < 0.3, "already when the first burst is larger");
    }

    #[test]
    fn what_is_chance_is_no_arrival() {
        let of_one_size: Vec<(f64, f64)> = (0..9).map(|at| (5.0, 0.16 + f64::from(at) * 1e-3)).collect();
        let slow_once = |slow: f64| {
            let calm = (0..9).map(|at| (5.0, 0.16 * (1.0 + 0.02 * f64::from(at % 3 - 1))));
            calm.chain([(60.0, 0.16 * slow)]).collect::<Vec<_>>()
        };
        let table = [of_one_size, slow_once(1.06), slow_once(0.5), H200[..5].to_vec(), Vec::new()];
        for bursts in table {
            assert_eq!(arrival(&bursts), 0.0, "{bursts:?}");
        }
        assert!(arrival(&slow_once(1.5)) > 0.0);
    }

    #[test]
    fn something_is_left_of_every_first_token() {
        let bursts: Vec<(f64, f64)> = [10.0, 20.0, 40.0, 80.0, 160.0, 320.0].map(|n| (n, 1e-3 * n)).into();
        assert!((arrival(&bursts) - 0.8e-3).abs() < 1e-9);
    }
}
