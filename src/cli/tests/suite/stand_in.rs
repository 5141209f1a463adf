//! A stand-in for Slurm: its commands as scripts that behave as told, and keep what they were asked.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Workplace, stderr};

/// Every command notes when and how it was called. `sbatch` and `squeue` take the next line of a file that says how to
/// behave, and the last one for good.
const COMMON: &str = r#"#!/bin/bash
place="PLACE"
name="${0##*/}"
echo "$(date +%s.%N) $name $*" >>"$place/calls"
behave() {
  behaviour="$(head -n 1 "$place/$name.behaviour")"
  if [[ $(wc -l <"$place/$name.behaviour") -gt 1 ]]; then sed -i 1d "$place/$name.behaviour"; fi
}
"#;

const SBATCH: &str = r#"
behave
for argument; do
  case "$argument" in --job-name=*) job="${argument#*=}";; esac
  script="$argument"
done
take() {
  id=$(( $(find "$place" -name '*.state' | wc -l) + 1 ))
  cp "$script" "$place/$id.script"
  echo "$job" >"$place/$id.name"
  echo PENDING >"$place/$id.state"
}
case "$behaviour" in
  well) take; echo "$id";;
  dies-before) kill -KILL $PPID;;
  dies-after) take; kill -KILL $PPID;;
  times-out) take; echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1;;
esac
"#;

const SQUEUE: &str = r#"
for argument; do
  case "$argument" in --jobs=*) jobs="${argument#*=}";; --name=*) names="${argument#*=}";; esac
done
if [[ -n ${names-} ]]; then
  for file in "$place"/*.name; do
    [[ -e $file && ,$names, == *,$(<"$file"),* ]] && id="${file##*/}" && echo "${id%.name}|$(<"$file")"
  done
  exit 0
fi
behave
if [[ $behaviour == down ]]; then
  echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2
  exit 1
fi
for id in ${jobs//,/ }; do
  last="$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*/\1/p' "$place/$id.script")"
  for (( element = 0; element <= last; element++ )); do
    if [[ $behaviour == run && $(<"$place/$id.state") == PENDING ]]; then
      SLURM_ARRAY_TASK_ID=$element bash "$place/$id.script" >>"$place/$id.out" 2>&1
    fi
  done
  if [[ $behaviour == run && $(<"$place/$id.state") == PENDING ]]; then echo COMPLETED >"$place/$id.state"; fi
  for (( element = 0; element <= last; element++ )); do echo "${id}_$element|$(<"$place/$id.state")|None"; done
done
"#;

const SCANCEL: &str = r#"
for id; do echo CANCELLED >"$place/$id.state"; done
"#;

/// A workplace with a Slurm that is none.
pub struct StandIn {
    /// Where the binary runs.
    pub place: Workplace,
}

impl StandIn {
    /// Its `sbatch` and `squeue` behave by these lines, one for each call.
    pub fn new(place: Workplace, sbatch: &[&str], squeue: &[&str]) -> Self {
        let slurm = place.path("slurm").display().to_string();
        for (name, script) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)] {
            let path = place.write(&format!("bin/{name}"), &(COMMON.replace("PLACE", &slurm) + script));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let stand_in = Self { place };
        stand_in.behave("sbatch", sbatch);
        stand_in.behave("squeue", squeue);
        stand_in
    }

    /// Tells a command how to behave from now on.
    pub fn behave(&self, command: &str, lines: &[&str]) {
        self.place.write(&format!("slurm/{command}.behaviour"), &(lines.join("\n") + "\n"));
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The binary, which finds these commands.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let path = format!("{}:{}", self.place.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = self.place.ceiling(arguments);
        command.env("PATH", path);
        command
    }

    /// The same, where it must end with this code; what it said.
    pub fn ends_with(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        stderr(&output)
    }

    /// When a command was called, in seconds of the clock, and with what.
    pub fn calls(&self, command: &str) -> Vec<(f64, String)> {
        let text = std::fs::read_to_string(self.place.path("slurm/calls")).unwrap_or_default();
        let calls = text.lines().map(|line| {
            let mut words = line.splitn(3, ' ');
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default())
        });
        let mine = calls.filter(|(_, name, _)| *name == command);
        mine.map(|(time, _, arguments)| (time.parse().unwrap(), arguments.to_owned())).collect()
    }

    /// What is kept of the only submission of this number.
    pub fn submission(&self, number: u32) -> Value {
        let pattern = self.place.path(&format!("results/*/*/batch/{number}/submission.json"));
        let path: Vec<PathBuf> = glob::glob(pattern.to_str().unwrap()).unwrap().map(Result::unwrap).collect();
        assert_eq!(path.len(), 1);
        serde_json::from_str(&std::fs::read_to_string(&path[0]).unwrap()).unwrap()
    }
}
