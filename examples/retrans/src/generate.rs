// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shell completions and manual pages, generated from the command line's own definition.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;
use retrans_sdk::format::Escaped;

use crate::{CANNOT_START, Cli, fail, fail_to_write};

/// Prints a shell completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 success; 1 stdout cannot be written; 2 usage error.

Examples:
  retrans completions bash | sudo tee /etc/bash_completion.d/retrans > /dev/null
  retrans completions zsh > ~/.zfunc/_retrans")]
pub(crate) struct Completions {
    /// Shell to generate the script for
    shell: Shell,
}

/// Prints a manual page
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 success; 1 stdout cannot be written; 2 usage error.

Examples:
  retrans man | sudo tee /usr/local/share/man/man1/retrans.1 > /dev/null
  retrans man watch | man -l -")]
pub(crate) struct Man {
    /// Subcommand (default: the page of `retrans` itself)
    subcommand: Option<String>,
}

pub(crate) fn completions(arguments: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "retrans", &mut script);
    print(&script)
}

pub(crate) fn man(arguments: &Man) -> ExitCode {
    let mut command = Cli::command();
    command.build();
    let page = match &arguments.subcommand {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone().name(format!("retrans-{name}")).bin_name(format!("retrans {name}")),
            None => {
                return fail(
                    CANNOT_START,
                    &format!("no manual page: `{}` is not a subcommand (see --help)", Escaped::value(name)),
                );
            }
        },
    };
    let mut text = Vec::new();
    match clap_mangen::Man::new(page).render(&mut text) {
        Ok(()) => print(&text),
        Err(error) => fail_to_write(&error),
    }
}

fn print(text: &[u8]) -> ExitCode {
    crate::print(text).err().unwrap_or(ExitCode::SUCCESS)
}
