//! `ceiling completions SHELL`

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Exit;

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> Result<Exit> {
    clap_complete::generate(shell, &mut Cli::command(), "ceiling", &mut std::io::stdout());
    Ok(Exit::Done)
}
