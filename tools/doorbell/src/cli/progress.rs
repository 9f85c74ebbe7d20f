// SPDX-License-Identifier: GPL-2.0-only

//! A progress bar for measurements.

use doorbell_tools::rtt::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Calls `work` with a function that reports progress.
///
/// On a terminal a bar appears if `work` takes longer than two seconds.
pub fn with_progress<T>(work: impl FnOnce(Progress<'_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let style =
        ProgressStyle::with_template("{msg} [{bar:40}] {percent}%").expect("the template is right");
    bar.set_style(style.progress_chars("=> "));
    let start = Instant::now();
    let mut last = start;
    let mut shown = false;
    let result = work(&mut |what, done, of| {
        // Measurements call this between two batches: it draws five times a second at most.
        if last.elapsed() < Duration::from_millis(200) {
            return;
        }
        last = Instant::now();
        if !shown && start.elapsed() > Duration::from_secs(2) {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
            shown = true;
        }
        bar.set_message(what.to_owned());
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reports_do_not_change_the_result() {
        let result = with_progress(|progress| {
            progress("working", 1, 2);
            progress("working", 2, 2);
            Ok(42)
        });
        assert_eq!(result.unwrap(), 42);
    }
}
