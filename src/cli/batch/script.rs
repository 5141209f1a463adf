//! The batch script of an array: something that a person can read, and submit by hand.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use ceiling_core::units::Seconds;

use super::arrays::Array;

/// How long before its time limit ends an element is told, in seconds. Slurm may be as much earlier.
const WARNING: u32 = 60;

/// What a script says beside what its array asks for.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The experiment.
    pub experiment: &'a str,
    /// The directory in which elements run.
    pub directory: &'a Path,
    /// Where elements print to: a file name in the patterns of Slurm.
    pub output: &'a str,
    /// What elements run; the name of the group follows.
    pub command: &'a [String],
}

/// Writes the script for an array whose elements measure the groups of these names.
pub fn render(array: &Array, labels: &[&str], about: &About<'_>) -> Result<String> {
    let settings = &array.settings;
    let mut options = vec![format!("--job-name=ceiling-{}", about.experiment), elements(array, labels.len())];
    options.extend(["--nodes=1", "--ntasks=1"].map(str::to_owned));
    if array.gpus > 0 {
        options.push(format!("--gres={}:{}", settings.gres, array.gpus));
    }
    let named = [
        ("partition", &settings.partition),
        ("account", &settings.account),
        ("qos", &settings.qos),
        ("constraint", &settings.constraint),
    ];
    options.extend(named.iter().filter_map(|(name, value)| Some(format!("--{name}={}", quoted(value.as_ref()?)))));
    if let Some(time) = settings.time {
        options.push(format!("--time={}", minutes(time)));
    }
    options.push(format!("--chdir={}", quoted(&utf8(about.directory)?)));
    options.push(format!("--output={}", quoted(about.output)));
    options.extend(["--open-mode=append", "--requeue"].map(str::to_owned));
    options.push(format!("--signal=B:USR1@{WARNING}"));
    options.extend(settings.extra.iter().cloned());

    let mut script = String::from("#!/bin/bash\n");
    options.iter().for_each(|option| _ = writeln!(script, "#SBATCH {option}"));
    settings.setup.iter().for_each(|line| _ = writeln!(script, "{line}"));
    script.push_str("\ngroups=(\n");
    for label in labels {
        _ = writeln!(script, "  {}", word(label)?);
    }
    let command = about.command.iter().map(|word| self::word(word)).collect::<Result<Vec<_>>>()?;
    // The shell makes way, so that Slurm's signals reach ceiling.
    _ = writeln!(script, ")\nexec {} --group \"${{groups[$SLURM_ARRAY_TASK_ID]}}\"", command.join(" "));
    Ok(script)
}

fn elements(array: &Array, count: usize) -> String {
    let most = array.settings.max_parallel.map_or_else(String::new, |most| format!("%{most}"));
    format!("--array=0-{}{most}", count.saturating_sub(1))
}

/// Whole minutes, which is what Slurm counts in.
fn minutes(time: Seconds) -> String {
    let minutes = (time.get() / 60.0).ceil().max(1.0) as u64;
    format!("{}-{:02}:{:02}:00", minutes / 1440, minutes / 60 % 24, minutes % 60)
}

/// A value as an option line takes it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A word as the shell takes it.
fn word(text: &str) -> Result<String> {
    let quoted = shlex::try_quote(text).with_context(|| format!("`{text}` cannot stand in a batch script"))?;
    Ok(quoted.into_owned())
}

/// A path as text.
pub fn utf8(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// A path in which Slurm replaces nothing.
pub fn literal(path: &Path) -> Result<String> {
    Ok(utf8(path)?.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ceiling_core::experiment::Slurm;

    fn about<'a>(command: &'a [String]) -> About<'a> {
        About { experiment: "night", directory: Path::new("/home/me/my work"), output: "out/%A_%a.out", command }
    }

    #[test]
    fn a_script_asks_for_all_that_an_experiment_says() {
        let settings = Slurm {
            partition: Some("h100".to_owned()),
            account: Some("lab".to_owned()),
            qos: Some("low".to_owned()),
            time: Seconds::new(5400.5),
            constraint: Some("nvlink|ib".to_owned()),
            gres: "gpu:h100".to_owned(),
            max_parallel: Some(2),
            setup: vec!["module load cuda".to_owned()],
            extra: vec!["--cpus-per-task=8".to_owned()],
        };
        let array = Array { gpus: 4, settings, groups: vec![0, 1] };
        let command = ["/opt/my bin/ceiling", "run", "it's.toml"].map(str::to_owned);
        insta::assert_snapshot!(render(&array, &["a,b=1", "c d"], &about(&command)).unwrap());
    }

    #[test]
    fn a_script_without_settings_asks_for_little() {
        let array = Array { gpus: 0, settings: Slurm::default(), groups: vec![0] };
        let command = ["ceiling", "run"].map(str::to_owned);
        insta::assert_snapshot!(render(&array, &["sim"], &about(&command)).unwrap());
    }

    #[test]
    fn times_are_whole_minutes() {
        for (seconds, wanted) in
            [(1.0, "0-00:01:00"), (60.0, "0-00:01:00"), (61.0, "0-00:02:00"), (90_000.0, "1-01:00:00")]
        {
            assert_eq!(minutes(Seconds::new(seconds).unwrap()), wanted);
        }
    }

    #[test]
    fn nothing_leaves_its_quotes() {
        assert_eq!(quoted("a\\ \"b\""), "\"a\\\\ \\\"b\\\"\"");
        assert_eq!(literal(Path::new("50%/x")).unwrap(), "50%%/x");
        assert!(word("a\0b").is_err());
    }
}
