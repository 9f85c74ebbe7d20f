// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell generate`: man pages and shell completions.

use anyhow::Context as _;
use clap::{Command, Subcommand};
use clap_complete::Shell;
use clap_mangen::{
    roff::{roman, Roff},
    Man,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub const HELP: &str = "\
Examples:
  doorbell generate man /usr/local/share/man/man1
  doorbell generate completions ~/.local/share/doorbell";

#[derive(Subcommand)]
pub enum Generate {
    /// Write a man page per command to DIR
    #[command(after_help = "\
Examples:
  doorbell generate man /usr/local/share/man/man1
  doorbell generate man . && man -l ./doorbell-bus-assign.1")]
    Man {
        /// Create the pages in DIR
        dir: PathBuf,
    },
    /// Write completions for bash, zsh and fish to DIR
    #[command(after_help = "\
Example:
  doorbell generate completions . && . ./doorbell.bash")]
    Completions {
        /// Create the files in DIR
        dir: PathBuf,
    },
}

pub fn generate(mut command: Command, args: &Generate) -> anyhow::Result<()> {
    let (Generate::Man { dir } | Generate::Completions { dir }) = args;
    let written = fs::create_dir_all(dir).and_then(|()| match args {
        Generate::Man { .. } => {
            command = command.clone().disable_help_subcommand(true);
            command.build();
            pages(&command, dir)
        }
        Generate::Completions { .. } => [Shell::Bash, Shell::Zsh, Shell::Fish]
            .into_iter()
            .try_for_each(|shell| {
                clap_complete::generate_to(shell, &mut command, "doorbell", dir).map(drop)
            }),
    });
    written.with_context(|| format!("write to {}", dir.display()))
}

/// Writes the man pages of `command` and of its subcommands.
fn pages(command: &Command, dir: &Path) -> io::Result<()> {
    let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    for subcommand in visible {
        pages(subcommand, dir)?;
    }
    let source = concat!("doorbell ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source);
    fs::write(dir.join(man.get_filename()), page(&man, command)?)
}

/// Renders a page.
///
/// Unlike [`Man::render`] it keeps the line breaks of tables and examples after the options, and
/// makes each of the headings there a section.
fn page(man: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let text = command.get_after_help().map(ToString::to_string);
    notes(&text.unwrap_or_default()).to_writer(&mut page)?;
    Ok(page)
}

/// Converts the text after the options: headings end with a colon, and indented lines are
/// preformatted.
fn notes(text: &str) -> Roff {
    let mut roff = Roff::new();
    if !is_heading(text.lines().next().unwrap_or(":")) {
        roff.control("SH", ["NOTES"]);
    }
    let mut preformatted = false;
    for line in text.lines() {
        let indented = line.starts_with(' ');
        if indented != preformatted {
            roff.control(if indented { "nf" } else { "fi" }, []);
            preformatted = indented;
        }
        match line.strip_suffix(':') {
            _ if line.is_empty() => roff.control("PP", []),
            Some(heading) if is_heading(line) => {
                roff.control("SH", [heading.to_uppercase().as_str()])
            }
            _ => roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]),
        };
    }
    if preformatted {
        roff.control("fi", []);
    }
    roff
}

fn is_heading(line: &str) -> bool {
    line.ends_with(':') && !line.starts_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_sections_and_preformatted_lines() {
        let roff = notes("Changes nothing.\n\nExamples:\n  doorbell x\n    -y").to_roff();
        let lines: Vec<&str> = roff.lines().collect();
        let expected = [
            ".SH NOTES",
            "Changes nothing.",
            ".PP",
            ".SH EXAMPLES",
            ".nf",
            "doorbell x",
            "  \\-y",
            ".fi",
        ];
        assert!(lines.ends_with(&expected), "{roff}");
        assert!(!notes("").to_roff().contains(".SH"));
    }
}
