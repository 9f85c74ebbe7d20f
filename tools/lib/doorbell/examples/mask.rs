// SPDX-License-Identifier: MIT OR Apache-2.0

//! Masks lines as an MSI-X table does: a masked line holds one message, and the function mask is
//! one call that keeps the masks of the vectors.

use doorbell::{Context, EventFd, LineSet, MaskReasons, Notify, RingOutcome};
use std::{error::Error, time::Duration};

const VECTORS: u32 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let context = Context::open()?;
    // As the vectors of MSI-X, all lines begin masked.
    context.set_lines_masked(VECTORS)?;
    let all = LineSet::range(0..VECTORS);
    let calls: Vec<EventFd> = (0..VECTORS)
        .map(|_| EventFd::new(0))
        .collect::<Result<_, _>>()?;
    for (line, call) in (0..).zip(&calls) {
        context.assign_trigger(call, line)?;
    }

    assert_eq!(context.ring(3)?, RingOutcome::Masked);
    assert_eq!(context.ring(3)?, RingOutcome::Coalesced);
    assert_eq!(context.ring(5)?, RingOutcome::Masked);
    assert_eq!(context.pending_lines(&all)?, LineSet::from_iter([3, 5]));
    println!("masked: lines 3 and 5 hold a message each, as the pending bits of MSI-X show");

    assert!(context.clear(5)?);
    assert_eq!(context.unmask_lines(&all)?, LineSet::from_iter([3]));
    assert_eq!(calls[3].read()?, 1);
    assert!(!calls[5].wait(Duration::ZERO)?);
    println!("cleared and unmasked: line 3 delivered once, line 5 did not");

    // A device model learns of masks by a notifier.
    let notifier = EventFd::new(0)?;
    context.assign_notifier(&notifier, 3, Notify::MASK | Notify::UNMASK)?;
    assert_eq!(context.mask_lines(&all)?.count(), VECTORS as usize);
    assert!(!context.mask(3)?, "the line is masked already");
    context.unmask(3)?;
    assert_eq!(notifier.read()?, 2);
    println!("the notifier of line 3 was signalled for one mask and one unmask");
    assert_eq!(context.deassign_all_notifiers(3)?, 1);

    // All vectors but the third are masked by themselves. The function mask covers all of them.
    let masked = context.mask_lines_for(&all, MaskReasons::FUNCTION)?;
    assert_eq!(masked, LineSet::from_iter([3]));
    context.ring(3)?;
    context.ring(5)?;
    let delivered = context.unmask_lines_for(&all, MaskReasons::FUNCTION)?;
    assert_eq!(delivered, LineSet::from_iter([3]));
    assert_eq!(calls[3].read()?, 1);
    assert_eq!(context.query(5)?.reasons, MaskReasons::VECTOR);
    println!("the end of the function mask delivered line 3; line 5 is masked by itself");
    Ok(())
}
