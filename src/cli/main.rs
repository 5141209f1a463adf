//! `ceiling`: the command line.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod output;

mod args;
mod batch;
mod commands;
mod executor;
mod exit;
mod files;
mod progress;
mod report;
mod signals;
mod store;
mod tail;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use exit::Exit;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let measures = matches!(command, Command::Run(_) | Command::Quick(_));
    let outcome = match command {
        Command::Plan(args) => commands::plan::plan(&args),
        Command::Check(args) => commands::check::check(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Quick(args) => commands::quick::quick(&args),
        Command::Fit(args) => commands::fit::fit(&args),
        Command::Rehearse(args) => commands::rehearse::rehearse(&args),
        Command::Cancel(args) => commands::cancel::cancel(&args),
        Command::Report(args) => commands::report::report(&args),
        Command::Diff(args) => commands::diff::diff(&args),
        Command::List(args) => commands::list::list(&args),
        Command::History(args) => commands::history::history(&args),
        Command::Doctor(args) => commands::doctor::doctor(&args),
        Command::Schema(args) => commands::schema::schema(&args),
        Command::Completions { shell } => commands::completions::completions(shell),
    };
    let exit = outcome.unwrap_or_else(|error| {
        tell!("error: {error:#}");
        Exit::of_error(&error)
    });
    match output::failure() {
        None => exit,
        Some(failure) => {
            tell!("error: {failure}");
            // What was measured lies in the results all the same.
            if exit == Exit::Done && !measures { Exit::Usage } else { exit }
        }
    }
    .into()
}
