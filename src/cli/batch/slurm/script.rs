//! The script of an array as `sbatch` takes it.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use ceiling_core::experiment::Slurm as Settings;
use ceiling_core::units::Seconds;

use super::super::submit::utf8;
use super::super::system::Job;

/// How long before its time limit ends an element is told, in seconds. Slurm may be as much earlier.
const WARNING: u32 = 60;

/// Writes the script of an array.
pub fn render(settings: &Settings, job: &Job<'_>) -> Result<String> {
    let mut options = vec![format!("--job-name=ceiling-{}", job.experiment), elements(settings, job.labels.len())];
    options.extend(["--nodes=1", "--ntasks=1"].map(str::to_owned));
    if job.gpus > 0 {
        options.push(format!("--gres={}:{}", settings.gres, job.gpus));
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
    options.push(format!("--chdir={}", quoted(&utf8(job.directory)?)));
    let output = match job.output {
        Some(directory) => literal(directory)? + "/%A_%a.out",
        None => "ceiling-%A_%a.out".to_owned(),
    };
    options.push(format!("--output={}", quoted(&output)));
    options.extend(["--open-mode=append", "--requeue"].map(str::to_owned));
    options.push(format!("--signal=B:USR1@{WARNING}"));
    options.extend(settings.extra.iter().cloned());

    let mut script = String::from("#!/bin/bash\n");
    options.iter().for_each(|option| _ = writeln!(script, "#SBATCH {option}"));
    settings.setup.iter().for_each(|line| _ = writeln!(script, "{line}"));
    script.push_str("\ngroups=(\n");
    for label in job.labels {
        _ = writeln!(script, "  {}", word(label)?);
    }
    let command = job.command.iter().map(|word| self::word(word)).collect::<Result<Vec<_>>>()?;
    // The shell makes way, so that Slurm's signals reach ceiling.
    _ = writeln!(script, ")\nexec {} --group \"${{groups[$SLURM_ARRAY_TASK_ID]}}\"", command.join(" "));
    Ok(script)
}

fn elements(settings: &Settings, count: usize) -> String {
    let most = settings.max_parallel.map_or_else(String::new, |most| format!("%{most}"));
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

/// A path in which Slurm replaces nothing.
fn literal(path: &Path) -> Result<String> {
    Ok(utf8(path)?.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job<'a>(gpus: u32, labels: &'a [&'a str], command: &'a [String]) -> Job<'a> {
        let (directory, output) = (Path::new("/home/me/my work"), Some(Path::new("out")));
        Job { experiment: "night", gpus, labels, directory, output, command }
    }

    #[test]
    fn a_script_asks_for_all_that_an_experiment_says() {
        let settings = Settings {
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
        let command = ["/opt/my bin/ceiling", "run", "it's.toml"].map(str::to_owned);
        insta::assert_snapshot!(render(&settings, &job(4, &["a,b=1", "c d"], &command)).unwrap());
    }

    #[test]
    fn a_script_without_settings_asks_for_little() {
        let command = ["ceiling", "run"].map(str::to_owned);
        insta::assert_snapshot!(render(&Settings::default(), &job(0, &["sim"], &command)).unwrap());
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
