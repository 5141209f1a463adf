//! Requests as a journal keeps them: in columns, each value once for as long as it repeats.
//!
//! A probe has hundreds of requests that are much alike: what arrives in one step of the engine has one time, and most
//! of them end the same way. A tenth of the bytes of a list of objects, and nothing is left out.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::protocol::{HarnessSeen, Measured, SchedulerSeen};
use crate::request::{RequestEnd, RequestRecord};
use crate::units::Seconds;

/// [`Measured`], with its requests in columns.
#[derive(Serialize, Deserialize)]
struct Kept {
    requests: Columns,
    seconds: Seconds,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    load_ended_s: Option<Seconds>,
    output_tokens: u64,
    output_seconds: Seconds,
    scheduler: SchedulerSeen,
    harness: HarnessSeen,
}

/// For `#[serde(with = "…")]`.
pub fn serialize<S: Serializer>(measured: &Measured, serializer: S) -> Result<S::Ok, S::Error> {
    Kept {
        requests: Columns::of(&measured.requests),
        seconds: measured.seconds,
        load_ended_s: measured.load_ended_s,
        output_tokens: measured.output_tokens,
        output_seconds: measured.output_seconds,
        scheduler: measured.scheduler,
        harness: measured.harness,
    }
    .serialize(serializer)
}

/// For `#[serde(with = "…")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Measured, D::Error> {
    let Kept { requests, seconds, load_ended_s, output_tokens, output_seconds, scheduler, harness } =
        Kept::deserialize(deserializer)?;
    let requests = requests.into_requests().ok_or_else(|| serde::de::Error::custom("columns of different lengths"))?;
    Ok(Measured { requests, seconds, load_ended_s, output_tokens, output_seconds, scheduler, harness })
}

/// One column: each value, and how often it comes in a row.
#[derive(Serialize, Deserialize)]
struct Column<T> {
    values: Vec<T>,
    /// Left out where each comes once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    runs: Vec<u32>,
}

impl<T: PartialEq> Column<T> {
    fn of(all: impl Iterator<Item = T>) -> Self {
        let (mut values, mut runs): (Vec<T>, Vec<u32>) = (Vec::new(), Vec::new());
        for value in all {
            match runs.last_mut() {
                Some(run) if values.last() == Some(&value) => *run += 1,
                _ => {
                    values.push(value);
                    runs.push(1);
                }
            }
        }
        if runs.iter().all(|run| *run == 1) {
            runs.clear();
        }
        Self { values, runs }
    }

    fn len(&self) -> usize {
        if self.runs.is_empty() { self.values.len() } else { self.runs.iter().map(|run| *run as usize).sum() }
    }
}

impl<T: Clone> Column<T> {
    fn into_values(self) -> impl Iterator<Item = T> {
        let runs = self.runs.into_iter().chain(std::iter::repeat(1));
        self.values.into_iter().zip(runs).flat_map(|(value, run)| std::iter::repeat_n(value, run as usize))
    }
}

macro_rules! columns {
    ($($field:ident: $type:ty),* $(,)?) => {
        /// One column for each field of a [`RequestRecord`].
        #[derive(Serialize, Deserialize)]
        struct Columns {
            $($field: Column<$type>,)*
        }

        impl Columns {
            fn of(requests: &[RequestRecord]) -> Self {
                Self { $($field: Column::of(requests.iter().map(|request| request.$field.clone())),)* }
            }

            /// `None` where the columns are of different lengths.
            fn into_requests(self) -> Option<Vec<RequestRecord>> {
                let count = self.index.len();
                if [$(self.$field.len()),*].iter().any(|length| *length != count) {
                    return None;
                }
                $(let mut $field = self.$field.into_values();)*
                let mut requests = Vec::with_capacity(count);
                for _ in 0..count {
                    requests.push(RequestRecord { $($field: $field.next()?),* });
                }
                Some(requests)
            }
        }
    };
}

columns! {
    index: u32,
    judged: bool,
    planned_s: Seconds,
    submitted_s: Seconds,
    first_s: Option<Seconds>,
    last_s: Option<Seconds>,
    tokens: u32,
    itl_max_s: Option<Seconds>,
    ended_s: Seconds,
    end: RequestEnd,
    prompt_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    queued_s: Option<Seconds>,
    preemptions: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Line(#[serde(with = "super")] Measured);

    fn request() -> impl Strategy<Value = RequestRecord> {
        let seconds =
            || (0..3u8, 0.0..9.0).prop_map(|(few, any)| Seconds::new(if few < 2 { few.into() } else { any }).unwrap());
        let end = prop_oneof![
            Just(RequestEnd::Finished),
            Just(RequestEnd::Held),
            Just(RequestEnd::Stopped),
            "[a-z\"\n]{0,3}".prop_map(|reason| RequestEnd::Failed { reason }),
        ];
        let moments = (seconds(), seconds(), prop::option::of(seconds()), prop::option::of(seconds()), seconds());
        let rest = (prop::option::of(seconds()), prop::option::of(seconds()), prop::option::of(0..3u32), 0..3u32);
        (any::<(u32, bool)>(), moments, rest, end).prop_map(|((index, judged), moments, rest, end)| RequestRecord {
            index,
            judged,
            planned_s: moments.0,
            submitted_s: moments.1,
            first_s: moments.2,
            last_s: moments.3,
            tokens: rest.3,
            itl_max_s: rest.0,
            ended_s: moments.4,
            end,
            prompt_tokens: rest.2,
            cached_tokens: rest.2,
            queued_s: rest.1,
            preemptions: rest.3,
        })
    }

    fn measured(requests: Vec<RequestRecord>, load_ended_s: Option<Seconds>) -> Line {
        Line(Measured {
            requests,
            seconds: Seconds::ZERO,
            load_ended_s,
            output_tokens: 3,
            output_seconds: Seconds::ZERO,
            scheduler: SchedulerSeen::default(),
            harness: HarnessSeen::default(),
        })
    }

    proptest! {
        #[test]
        fn nothing_is_lost(requests in prop::collection::vec(request(), 0..20), ended in prop::option::of(0.0..9.0)) {
            let line = measured(requests, ended.and_then(Seconds::new));
            let text = serde_json::to_string(&line).unwrap();
            prop_assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        }
    }

    #[test]
    fn columns_of_different_lengths_are_refused() {
        let text = serde_json::to_string(&measured(Vec::new(), None)).unwrap();
        let torn = text.replacen("\"values\":[]", "\"values\":[0]", 1);
        assert!(serde_json::from_str::<Line>(&torn).unwrap_err().to_string().contains("different lengths"));
    }
}
