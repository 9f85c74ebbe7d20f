// SPDX-License-Identifier: GPL-2.0-only

//! The standard error, whose reader may end first.

use std::{
    fmt,
    io::{self, Write},
};

/// Writes `text` as a line to the standard error.
///
/// An error is ignored, where `eprintln!` would panic: there is no other place to report it.
pub fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a line of `doorbell` to the standard error. The arguments are those of `format!`.
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => {
        $crate::stderr::line(format_args!("doorbell: {}", format_args!($($text)*)))
    };
}
