//! `ceiling doctor`

use std::path::Path;

use anyhow::Result;

use crate::args::DoctorArgs;
use crate::executor::{Environment, WorkerLibrary, ask, callers_devices, installed};
use crate::exit::Exit;
use crate::report::printable;
use crate::store::{Repository, machine};

/// One thing that was looked for.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    state: State,
    /// What there is, or what is wrong and what to do about it.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fine,
    /// One can do without it.
    Absent,
    /// No real engine runs without it.
    Missing,
}

/// Says what of Python, vLLM, GPU, driver and git is there, and what to do about what is not.
pub fn doctor(args: &DoctorArgs) -> Result<Exit> {
    let from = machine();
    let mut findings = environment(&args.python, ask(&args.python));
    findings.push(worker(WorkerLibrary::find()));
    findings.push(driver(from.nvidia_driver.as_deref()));
    findings.push(gpus(installed(), callers_devices().as_deref(), from.nvidia_driver.is_some()));
    findings.push(git(&args.results.results));
    for Finding { what, state, text } in &findings {
        let mark = match state {
            State::Fine => "ok     ",
            State::Absent => "absent ",
            State::Missing => "MISSING",
        };
        say!("{mark}  {what:<7}  {}", printable(text));
    }
    let is_fit = findings.iter().all(|finding| finding.state != State::Missing);
    if !is_fit {
        say!(
            "\nsimulated engines (`kind = \"sim\"`), `plan`, `rehearse`, `diff` and `report` need none of what is missing"
        );
    }
    Ok(if is_fit { Exit::Done } else { Exit::Failed })
}

fn fine(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, state: State::Fine, text: text.into() }
}

fn absent(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, state: State::Absent, text: text.into() }
}

fn missing(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, state: State::Missing, text: text.into() }
}

fn environment(python: &Path, answer: Result<Environment, String>) -> Vec<Finding> {
    let name = python.display();
    match answer {
        Err(error) => {
            let remedy = "run `make setup`, or name another with --python (and as engine.python)";
            vec![missing("python", format!("{name}: {error}; {remedy}"))]
        }
        Ok(Environment { python: version, vllm }) => {
            let vllm = match vllm {
                Some(vllm) => fine("vllm", vllm),
                None => missing("vllm", format!("{name} has none: uv pip install --python {name} vllm")),
            };
            vec![interpreter(python, &version), vllm]
        }
    }
}

/// The worker is built for the stable interface of Python 3.10.
fn interpreter(python: &Path, version: &str) -> Finding {
    let text = format!("{version} ({})", python.display());
    let minor = version.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if minor.is_some_and(|minor| minor >= 10) {
        fine("python", text)
    } else {
        missing("python", format!("{text}: workers need 3.10 or newer; make the environment with another Python"))
    }
}

fn worker(found: Result<WorkerLibrary>) -> Finding {
    match found {
        Ok(library) => fine("worker", library.path().display().to_string()),
        Err(error) => missing("worker", format!("{error:#}")),
    }
}

fn driver(version: Option<&str>) -> Finding {
    match version {
        Some(version) => fine("driver", format!("NVIDIA {version}")),
        None => {
            absent("driver", "no NVIDIA driver: engines run on the CPU; on a machine with a GPU, install the driver")
        }
    }
}

fn gpus(count: u32, visible: Option<&str>, has_driver: bool) -> Finding {
    let narrowed = visible.map_or_else(String::new, |names| format!(", CUDA_VISIBLE_DEVICES={names}"));
    match (count, has_driver) {
        (0, true) => missing(
            "gpu",
            "the driver is there and NVML finds no GPU: is libnvidia-ml.so.1 installed, and does `nvidia-smi` work?",
        ),
        (0, false) => absent("gpu", format!("none{narrowed}")),
        (count, _) => fine("gpu", format!("{count}{narrowed}")),
    }
}

fn git(results: &Path) -> Finding {
    const SILENT: &str = "runs will not say at which commit they were made";
    let state = Repository::around(Path::new(".")).and_then(|found| match found {
        Some(repository) => Ok(Some(repository.state(results, &[])?)),
        None => Ok(None),
    });
    match state {
        Ok(Some(Some(git))) => {
            let dirty = if git.dirty { ", with changes that are not committed" } else { "" };
            fine("git", format!("commit {}{dirty}", git.commit.get(..7).unwrap_or(&git.commit)))
        }
        Ok(Some(None)) => absent("git", format!("a repository without a commit: {SILENT}; `git commit` something")),
        Ok(None) => absent("git", format!("no repository here: {SILENT}; `git init` it")),
        Err(error) => absent("git", format!("{error:#}; until then {SILENT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_there_or_comes_with_a_remedy() {
        let python = Path::new("x/python");
        let holds = |version: &str, vllm: Option<&str>| {
            environment(python, Ok(Environment { python: version.into(), vllm: vllm.map(str::to_owned) }))
        };
        let table = [
            (holds("3.11.4", Some("0.32.0")).remove(0), State::Fine, "3.11.4"),
            (holds("3.11.4", Some("0.32.0")).remove(1), State::Fine, "0.32.0"),
            (holds("3.11.4", None).remove(1), State::Missing, "uv pip install --python x/python vllm"),
            (holds("3.9.1", None).remove(0), State::Missing, "3.10 or newer"),
            (environment(python, Err("gone".into())).remove(0), State::Missing, "make setup"),
            (worker(Err(anyhow::anyhow!("build it"))), State::Missing, "build it"),
            (driver(Some("550.54")), State::Fine, "550.54"),
            (driver(None), State::Absent, "on the CPU"),
            (gpus(2, Some("0"), true), State::Fine, "2, CUDA_VISIBLE_DEVICES=0"),
            (gpus(0, None, true), State::Missing, "nvidia-smi"),
            (gpus(0, None, false), State::Absent, "none"),
        ];
        for (finding, state, text) in table {
            assert!(finding.state == state && finding.text.contains(text), "{finding:?}");
        }
    }
}
