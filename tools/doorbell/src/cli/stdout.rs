// SPDX-License-Identifier: GPL-2.0-only

//! The standard output, whose reader may end first, as in `doorbell ps | head`.

use doorbell_tools::explain;
use std::io::{self, Write};

/// The reader of the standard output has closed it. This is no fault of the command.
#[derive(Debug)]
pub struct Closed;

impl std::error::Error for Closed {}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the reader of the output has closed it")
    }
}

/// Writes `text` to the standard output.
///
/// # Errors
///
/// [`Closed`], or that of write(2).
pub fn print(text: &str) -> anyhow::Result<()> {
    write(&mut io::stdout(), text)
}

fn write(out: &mut impl Write, text: &str) -> anyhow::Result<()> {
    // Standard output is buffered by lines: the end of `text` may be no line.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        result => Ok(result?),
    }
}

/// Returns `verdict` of a command whose result was `printed`. A script that reads the exit status
/// gets a bad verdict also if nothing reads the text.
pub fn conclude(printed: anyhow::Result<()>, verdict: anyhow::Result<()>) -> anyhow::Result<()> {
    match (printed, verdict) {
        (printed, Ok(())) => printed,
        (Err(error), verdict) if !error.is::<Closed>() => {
            doorbell_tools::note!("{}", explain(error.as_ref()));
            verdict
        }
        (_, verdict) => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_the_output_is_closed() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        write(&mut writer, "text").unwrap();
        drop(reader);
        let error = write(&mut writer, "text").unwrap_err();
        assert!(error.is::<Closed>(), "{error}");
        let full = std::fs::File::options().write(true).open("/dev/full");
        let error = write(&mut full.unwrap(), "text").unwrap_err();
        assert!(!error.is::<Closed>(), "{error}");
    }

    #[test]
    fn verdict_remains_when_the_output_is_closed() {
        let bad = || Err(anyhow!("bad"));
        for printed in [Ok(()), Err(Closed.into()), Err(anyhow!("full"))] {
            let error = conclude(printed, bad()).unwrap_err();
            assert_eq!(error.to_string(), "bad");
        }
        assert!(conclude(Err(Closed.into()), Ok(()))
            .unwrap_err()
            .is::<Closed>());
        conclude(Ok(()), Ok(())).unwrap();
    }
}
