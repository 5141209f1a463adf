//! The command line.

mod batch;

use std::num::NonZeroU32;
use std::path::PathBuf;

use ceiling_core::units::{Seconds, Share};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use batch::{BatchArgs, CancelArgs, On};

/// Finds how many long prompts a vLLM engine sustains in flight while it meets an SLA.
#[derive(Debug, Parser)]
#[command(name = "ceiling", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One verb each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Expand experiment files and print cells, engine loads and an estimate
    Plan(PlanArgs),
    /// Validate experiment files
    Check(CheckArgs),
    /// Run experiments
    Run(RunArgs),
    /// End a run that was handed to a batch system
    Cancel(CancelArgs),
    /// Run without a file
    Quick(QuickArgs),
    /// Run the plan against the simulator many times: what it would cost, how sure its answers would be
    Rehearse(RehearseArgs),
    /// Print an experiment whose simulated engine is fitted to a run, for rehearsals
    Fit(FitArgs),
    /// Show a run
    Report(ReportArgs),
    /// Compare two runs
    Diff(DiffArgs),
    /// List the runs under the results directory
    List(ListArgs),
    /// Show the ceilings of an experiment over all its runs
    History(HistoryArgs),
    /// Say what of Python, vLLM, GPU, driver and git is there, and what to do about what is not
    Doctor(DoctorArgs),
    /// Write the JSON schemas
    Schema(SchemaArgs),
    /// Print shell completions
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Which experiments.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// Experiment files, or globs of them
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Override a field with a TOML value, as in `--set engine.max_num_seqs=64`; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub overrides: Vec<String>,
}

/// `ceiling plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Which experiments.
    #[command(flatten)]
    pub experiments: ExperimentArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t = PlanFormat::Table)]
    pub format: PlanFormat,
    /// Where earlier runs are kept, which the estimate is taken from.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PlanFormat {
    /// For people
    Table,
    /// For programs
    Json,
    /// For spreadsheets
    Csv,
}

/// `ceiling check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which experiments.
    #[command(flatten)]
    pub experiments: ExperimentArgs,
    /// Also ask the installed vLLM whether it takes the engine args, without loading a model
    #[arg(long)]
    pub engine: bool,
}

/// Where and how a run is kept.
#[derive(Debug, Args)]
pub struct ResultsArgs {
    /// Directory of all results
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RESULTS)]
    pub results: PathBuf,
}

/// Where results are kept unless somebody says so; the first run makes it.
pub const DEFAULT_RESULTS: &str = "results";

/// `ceiling run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which experiments.
    #[command(flatten)]
    pub experiments: ExperimentArgs,
    /// Where it is kept.
    #[command(flatten)]
    pub results: ResultsArgs,
    /// Measure only the cells whose id holds this text or matches this glob
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Go on with a run that has not measured everything: a run directory, a run id, or by default the experiment's newest
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "", value_parser = run_to_resume)]
    pub resume: Option<String>,
    /// Print the plan, or for a batch system the batch scripts, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Where it is carried out.
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Start nothing that would not end within this time, as in `8h`; what is left is said, and for `--resume`
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<Seconds>,
    /// Run a matrix of more than 100,000 cells
    #[arg(long)]
    pub yes: bool,
}

/// A run to go on with. What follows `--resume` is taken for one, also where it was meant to be the experiment file.
fn run_to_resume(text: &str) -> Result<String, String> {
    if text.ends_with(".toml") {
        return Err(format!("this is an experiment file and not a run: name files first, as in `run {text} --resume`"));
    }
    Ok(text.to_owned())
}

/// `ceiling quick`: the flags of a single question. Unset ones take the defaults of an experiment file.
#[derive(Debug, Args)]
pub struct QuickArgs {
    /// Hugging Face id or directory of the model
    #[arg(long)]
    pub model: String,
    /// Prompt tokens of each request
    #[arg(long, value_name = "TOKENS", default_value_t = 5000)]
    pub target_input_tokens: u32,
    /// Output tokens of a request that runs to its end
    #[arg(long, value_name = "TOKENS", default_value_t = 256)]
    pub max_new_tokens: u32,
    /// Longest time to the first token, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub ttft_timeout: f64,
    /// How long each request is held past its first token, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub hold_seconds: f64,
    /// Least share of requests that are ok
    #[arg(long, value_name = "SHARE", default_value_t = 0.99)]
    pub sla_ok_rate: f64,
    /// The first concurrency to try
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub start_concurrency: u32,
    /// The highest concurrency to try
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub max_concurrency_cap: u32,
    /// Number type of the weights
    #[arg(long)]
    pub dtype: Option<String>,
    /// GPUs that share one model
    #[arg(long, value_name = "N")]
    pub tensor_parallel_size: Option<u32>,
    /// Share of GPU memory that vLLM takes
    #[arg(long, value_name = "SHARE")]
    pub gpu_memory_utilization: Option<f64>,
    /// Longest context in tokens
    #[arg(long, value_name = "TOKENS")]
    pub max_model_len: Option<u32>,
    /// Most sequences in one step
    #[arg(long, value_name = "N")]
    pub max_num_seqs: Option<u32>,
    /// The Python of the environment that holds vLLM
    #[arg(long, value_name = "PATH", default_value = ".venv/bin/python")]
    pub python: String,
    /// Further fields with TOML values, as in `--set engine.load_format=dummy`; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub overrides: Vec<String>,
    /// Also write run.json here
    #[arg(long, value_name = "FILE")]
    pub json_out: Option<PathBuf>,
    /// Keep the question as an experiment file
    #[arg(long, value_name = "FILE")]
    pub save_as: Option<PathBuf>,
    /// Where it is kept.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// `ceiling fit`
#[derive(Debug, Args)]
pub struct FitArgs {
    /// A run directory, a run id, or `latest`
    pub run: String,
    /// The ladder to fit to, by its id; the first burst of the run where none is named
    #[arg(long, value_name = "ID")]
    pub ladder: Option<String>,
    /// Where runs are kept.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// `ceiling rehearse`
#[derive(Debug, Args)]
pub struct RehearseArgs {
    /// Which experiments.
    #[command(flatten)]
    pub experiments: ExperimentArgs,
    /// How often to run each ladder
    #[arg(long, value_name = "N", default_value = "200")]
    pub seeds: NonZeroU32,
    /// An experiment file whose simulated engine stands in for every real one
    #[arg(long, value_name = "FILE")]
    pub engine: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = RehearseFormat::Table)]
    pub format: RehearseFormat,
}

/// How a rehearsal is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RehearseFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// `ceiling report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A run directory, a run id, `latest`, or a git revision
    pub run: String,
    /// Only among the runs of this experiment
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = ReportFormat::Markdown)]
    pub format: ReportFormat,
    /// Write to this file instead of the standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Show only the cells whose id holds this text or matches this glob
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Where runs are kept.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// How a run is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ReportFormat {
    /// Tables for people and pull requests
    Markdown,
    /// One row per cell
    Csv,
    /// run.json
    Json,
    /// One file with charts, for a browser
    Html,
}

/// `ceiling diff`
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  nothing that the caller asked to fail on
  1  --fail-on regression, and without --fail-on: a cell regressed; --fail-on change: any cell improved, regressed, \
was added or removed
  3  no cell could be compared; with --fail-on also: for some cell what was asked about can be neither told nor excluded")]
pub struct DiffArgs {
    /// The run to compare with: a run directory, a run id, `latest`, or a git revision
    pub baseline: String,
    /// The run to compare
    pub candidate: String,
    /// How to print
    #[arg(long, value_enum, default_value_t = DiffFormat::Table)]
    pub format: DiffFormat,
    /// What to fail on; where it is given, what cannot be decided ends with code 3
    #[arg(long, value_enum)]
    pub fail_on: Option<FailOn>,
    /// The least relative change of a ceiling that matters
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    pub threshold: Share,
    /// Fields that may differ, as in `engine.max_num_seqs,model.revision`; the interpreter and the search always may
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub across: Vec<String>,
    /// Only among the runs of this experiment; the baseline is looked for among those of the candidate's
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// Where runs are kept.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DiffFormat {
    /// For people
    Table,
    /// For a pull request
    Markdown,
    /// For programs
    Json,
    /// One file for a browser
    Html,
}

/// What a comparison fails on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// A ceiling that dropped
    Regression,
    /// Any ceiling that changed, and any cell that was added or removed
    Change,
    /// Nothing
    Never,
}

/// A share, as a percentage or as a number between 0 and 1.
fn share(text: &str) -> Result<Share, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let value = match text.trim().strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    value.and_then(Share::new).ok_or_else(|| "expected a share such as 5% or 0.05, between 0 and 1".to_owned())
}

/// `ceiling history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Name of the experiment
    pub experiment: String,
    /// Only the cells whose id holds this text or matches this glob
    #[arg(long, value_name = "PATTERN")]
    pub cell: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = HistoryFormat::Table)]
    pub format: HistoryFormat,
    /// The least relative change of a ceiling that is a step
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    pub threshold: Share,
    /// Fields that may differ from run to run; the interpreter and the search always may
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub across: Vec<String>,
    /// Where runs are kept.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// How a history is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum HistoryFormat {
    /// For people
    Table,
    /// For a pull request
    Markdown,
    /// For programs
    Json,
}

/// `ceiling list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where runs are kept.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// `ceiling doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The Python of the environment that holds vLLM
    #[arg(long, value_name = "PATH", default_value = ".venv/bin/python")]
    pub python: PathBuf,
    /// Where runs are kept.
    #[command(flatten)]
    pub results: ResultsArgs,
}

/// `ceiling schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Write nothing; fail where a schema is stale
    #[arg(long)]
    pub check: bool,
    /// Directory of the schemas
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    pub directory: PathBuf,
}
