//! What is measured of requests, with the unit and the better direction that belong to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::RequestRecord;

/// A measured quantity of a request. Definitions are those of vLLM's own benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Time to first token, from submission.
    Ttft,
    /// Mean time per output token after the first.
    Tpot,
    /// Time from submission to the last token, of a request that finished.
    E2e,
    /// Time in the engine before it was first scheduled; what then remains of TTFT is prefill.
    Queued,
}

impl Metric {
    /// The value for one request, in seconds; `None` where it has none.
    pub fn of(self, request: &RequestRecord) -> Option<f64> {
        match self {
            Self::Ttft => request.ttft().map(crate::units::Seconds::get),
            Self::Tpot => request.tpot(),
            Self::E2e => (request.end == crate::request::RequestEnd::Finished).then(|| request.age().get()),
            Self::Queued => request.queued_s.map(crate::units::Seconds::get),
        }
    }
}

/// Order statistics of a metric over the judged requests of a probe, in seconds.
///
/// A request without a value (its first token never came) counts as later than all others: a quantile that falls
/// among those is absent, not made up from the fast ones.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Quantiles {
    /// Requests that have a value.
    pub count: u32,
    /// Smallest.
    pub min_s: f64,
    /// Median.
    pub p50_s: Option<f64>,
    /// 90th percentile.
    pub p90_s: Option<f64>,
    /// 99th percentile.
    pub p99_s: Option<f64>,
    /// Largest.
    pub max_s: Option<f64>,
}

impl Quantiles {
    /// Over the judged requests; `None` where not one has a value.
    pub fn of(metric: Metric, requests: &[RequestRecord]) -> Option<Self> {
        let judged = requests.iter().filter(|request| request.judged);
        let (mut values, mut total) = (Vec::new(), 0);
        for request in judged {
            total += 1;
            values.extend(metric.of(request));
        }
        values.sort_by(f64::total_cmp);
        let at = |share| quantile(&values, total, share);
        Some(Self {
            count: u32::try_from(values.len()).unwrap_or(u32::MAX),
            min_s: *values.first()?,
            p50_s: at(0.5),
            p90_s: at(0.9),
            p99_s: at(0.99),
            max_s: at(1.0),
        })
    }
}

/// The quantile of `total` values of which the smallest are given in ascending order, the others being larger than all
/// of them: linear between the two nearest ranks, as numpy's default; `None` where it needs a value that is not given.
pub fn quantile(ascending: &[f64], total: usize, share: f64) -> Option<f64> {
    let rank = share * total.checked_sub(1)? as f64;
    let low = rank.floor();
    let below = *ascending.get(low as usize)?;
    if rank == low {
        return Some(below);
    }
    let above = *ascending.get(low as usize + 1)?;
    Some(below + (above - below) * (rank - low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestEnd;
    use crate::request::testing::request;

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 3, 4, 10], [0, .5, .9, .99, 1]) = [1, 3, 7.6, 9.76, 10]
        let values = [1.0, 2.0, 3.0, 4.0, 10.0];
        for (share, expected) in [(0.0, 1.0), (0.5, 3.0), (0.9, 7.6), (0.99, 9.76), (1.0, 10.0)] {
            let found = quantile(&values, 5, share).unwrap();
            assert!((found - expected).abs() < 1e-12, "{share}: {found}");
        }
        assert_eq!(quantile(&[], 0, 0.5), None);
    }

    #[test]
    fn a_missing_first_token_is_later_than_all_others() {
        let came = |ttft| request(Some(ttft), 2, Some(ttft), RequestEnd::Held, 9.0);
        let missing = request(None, 0, None, RequestEnd::Stopped, 9.0);
        let quantiles = Quantiles::of(Metric::Ttft, &[came(1.0), came(2.0), came(3.0), missing]).unwrap();
        assert_eq!((quantiles.count, quantiles.p50_s, quantiles.p99_s), (3, Some(2.5), None));
    }

    #[test]
    fn what_the_engine_does_not_say_is_absent() {
        let silent = request(Some(1.0), 2, Some(1.0), RequestEnd::Held, 9.0);
        let queued = |s| RequestRecord { queued_s: crate::units::Seconds::new(s), ..silent.clone() };
        assert_eq!(Quantiles::of(Metric::Queued, std::slice::from_ref(&silent)), None);
        let quantiles = Quantiles::of(Metric::Queued, &[queued(0.0), queued(0.5)]).unwrap();
        assert_eq!((quantiles.count, quantiles.p50_s), (2, Some(0.25)));
    }
}
