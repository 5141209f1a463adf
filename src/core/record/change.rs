//! Whether an engine that came up is still the one that was measured before.

use std::collections::BTreeSet;

use crate::protocol::Resolved;

/// vLLM sizes its KV cache by what memory it finds: between two loads of one engine that differs a little.
const SAME_KV_CACHE: f64 = 0.05;

/// What of an engine is not as it was, in words for people; nothing where its numbers can stand beside the earlier ones.
/// How long it took to load is no part of it.
pub fn changes(before: &Resolved, now: &Resolved) -> Vec<String> {
    let mut changes = Vec::new();
    let mut compare = |what: &str, before: Option<String>, now: Option<String>| {
        if before != now {
            let shown = |value: Option<String>| value.unwrap_or_else(|| "not known".to_owned());
            changes.push(format!("{what} was {}, is {}", shown(before), shown(now)));
        }
    };
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    compare("version", Some(before.version.clone()), Some(now.version.clone()));
    let packages: BTreeSet<&String> = before.packages.keys().chain(now.packages.keys()).collect();
    for name in packages {
        compare(name, before.packages.get(name).cloned(), now.packages.get(name).cloned());
    }
    compare("max_num_seqs", number(before.max_num_seqs), number(now.max_num_seqs));
    compare("max_num_batched_tokens", number(before.max_num_batched_tokens), number(now.max_num_batched_tokens));
    compare("block_size", number(before.block_size), number(now.block_size));
    compare("max_model_len", number(before.max_model_len), number(now.max_model_len));
    compare("dtype", before.dtype.clone(), now.dtype.clone());
    compare("devices", Some(before.devices.join(", ")), Some(now.devices.join(", ")));
    // Not known is no change: it was not noted always.
    if before.cpu.is_some() && now.cpu.is_some() {
        compare("processor", before.cpu.clone(), now.cpu.clone());
    }
    compare("model_commit", before.model_commit.clone(), now.model_commit.clone());
    if !is_same_size(before.kv_cache_tokens, now.kv_cache_tokens) {
        let text = |tokens: Option<u64>| tokens.map(|tokens| tokens.to_string());
        compare("kv_cache_tokens", text(before.kv_cache_tokens), text(now.kv_cache_tokens));
    }
    changes
}

fn is_same_size(before: Option<u64>, now: Option<u64>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.abs_diff(now) as f64 <= SAME_KV_CACHE * before.max(now) as f64,
        (before, now) => before == now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seconds;

    #[test]
    fn what_can_change_a_number_is_named_and_nothing_else() {
        let engine = Resolved {
            version: "0.32.0".into(),
            packages: [("torch".to_owned(), "2.13.0".to_owned())].into(),
            kv_cache_tokens: Some(100_000),
            devices: vec!["H100".into()],
            ..Resolved::default()
        };
        let table: [(Resolved, &[&str]); 6] = [
            (Resolved { load_seconds: Seconds::new(9.0), ..engine.clone() }, &[]),
            (Resolved { kv_cache_tokens: Some(99_000), ..engine.clone() }, &[]),
            (Resolved { kv_cache_tokens: Some(90_000), ..engine.clone() }, &["kv_cache_tokens was 100000, is 90000"]),
            (Resolved { version: "0.33.0".into(), ..engine.clone() }, &["version was 0.32.0, is 0.33.0"]),
            (Resolved { devices: vec!["H200".into()], ..engine.clone() }, &["devices was H100, is H200"]),
            (Resolved { packages: [].into(), ..engine.clone() }, &["torch was 2.13.0, is not known"]),
        ];
        for (now, expected) in table {
            assert_eq!(changes(&engine, &now), expected);
        }
    }

    #[test]
    fn another_processor_is_another_engine_where_both_are_known() {
        let on = |cpu: Option<&str>| Resolved {
            devices: vec!["cpu".into()],
            cpu: cpu.map(str::to_owned),
            ..Resolved::default()
        };
        assert_eq!(changes(&on(Some("EPYC")), &on(Some("Xeon"))), ["processor was EPYC, is Xeon"]);
        for (before, now) in [(None, Some("Xeon")), (Some("EPYC"), None), (Some("Xeon"), Some("Xeon"))] {
            assert!(changes(&on(before), &on(now)).is_empty());
        }
    }
}
