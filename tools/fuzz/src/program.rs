// SPDX-License-Identifier: GPL-2.0-only

//! Programs, and their text: one call per line, `THREAD NAME FIELD=VALUE...`. A field that is not named
//! is zero.

use crate::{
    arena::THREADS,
    calls::{form, Form, FORMS, MAX_FIELDS},
};
use anyhow::{bail, Context};
use std::fmt;

/// The maximum number of calls of a program.
pub const MAX_CALLS: usize = 48;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The thread that makes it.
    pub thread: usize,
    /// The index of the form.
    pub form: usize,
    /// The values of the fields.
    pub values: [u64; MAX_FIELDS],
}

impl Call {
    /// Returns the form.
    pub fn form(&self) -> &'static Form {
        &FORMS[self.form]
    }

    /// Returns the value of the field `name`; zero if there is none.
    pub fn get(&self, name: &str) -> u64 {
        self.form().field(name).map_or(0, |at| self.values[at])
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.thread, self.form().name)?;
        for (field, value) in self.form().fields.iter().zip(self.values) {
            match value {
                0 => {}
                1..10 => write!(f, " {}={value}", field.name)?,
                _ => write!(f, " {}={value:#x}", field.name)?,
            }
        }
        Ok(())
    }
}

/// A sequence of calls. Each thread makes its own in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The calls.
    pub calls: Vec<Call>,
}

impl Program {
    /// Returns true if one thread makes all calls.
    pub fn is_sequential(&self) -> bool {
        self.calls.iter().all(|call| call.thread == 0)
    }

    /// Parses the text of a program.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut program = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let call = parse_call(line).with_context(|| format!("line {}", number + 1))?;
                program.calls.push(call);
            }
        }
        Ok(program)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.calls.iter().try_for_each(|call| writeln!(f, "{call}"))
    }
}

fn number(text: &str) -> anyhow::Result<u64> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.with_context(|| format!("'{text}' is no number"))
}

fn parse_call(line: &str) -> anyhow::Result<Call> {
    let mut words = line.split_whitespace();
    let thread = number(words.next().unwrap_or_default())? as usize;
    if thread >= THREADS {
        bail!("there is no thread {thread}");
    }
    let name = words.next().unwrap_or_default();
    let form = form(name).with_context(|| format!("there is no call '{name}'"))?;
    let mut values = [0; MAX_FIELDS];
    for word in words {
        let (name, value) = word
            .split_once('=')
            .with_context(|| format!("'{word}' has no '='"))?;
        let field = FORMS[form].field(name);
        values[field.with_context(|| format!("there is no field '{name}'"))?] = number(value)?;
    }
    Ok(Call {
        thread,
        form,
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::generate;

    #[test]
    fn a_text_is_its_program() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let program = generate(&mut random);
            assert_eq!(Program::parse(&program.to_string()).unwrap(), program);
        }
    }

    #[test]
    fn mistakes_are_found() {
        for text in [
            "3 ring",
            "0 rong",
            "0 ring lin=1",
            "0 ring line=x",
            "0 ring line",
        ] {
            assert!(Program::parse(text).is_err(), "{text}");
        }
    }
}
