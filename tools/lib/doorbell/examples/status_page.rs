// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads state and counters of lines from mapped pages, without system calls.

use doorbell::{Context, LineStatus, MaskReasons};
use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const LINES: u32 = 256;
const RINGS: u64 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let context = Context::open()?;
    context.set_lines(LINES)?;
    let status = context.map_status()?;
    assert_eq!(status.nr_lines(), LINES);

    // Another thread watches the counter of line 7 while it is rung.
    let done = AtomicBool::new(false);
    let reads = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut reads, mut last) = (0u64, 0);
            while last < RINGS && !done.load(Ordering::Acquire) {
                let now = status.deliveries(7);
                assert!(now >= last, "the counter went back");
                last = now;
                reads += 1;
            }
            reads
        });
        let rung = (0..RINGS).try_for_each(|_| context.ring(7).map(drop));
        done.store(true, Ordering::Release);
        let reads = watcher.join().expect("the watcher ends");
        rung.map(|()| reads)
    })?;
    assert_eq!(status.deliveries(7), RINGS);
    println!("{RINGS} rings of line 7; the pages were read {reads} times meanwhile");

    context.mask(200)?;
    context.ring(200)?;
    let expected = LineStatus {
        pending: true,
        masked: true,
        reasons: MaskReasons::VECTOR,
        ..Default::default()
    };
    assert_eq!(status.line(200), expected);
    let query = context.query(200)?;
    assert_eq!((query.pending, query.masked), (true, true));
    let pending: Vec<u32> = (0..LINES)
        .filter(|&line| status.line(line).pending)
        .collect();
    assert_eq!(pending, [200]);
    println!("a scan of {LINES} lines finds the one that is pending: {pending:?}");
    Ok(())
}
