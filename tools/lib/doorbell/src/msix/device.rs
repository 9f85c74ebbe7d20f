// SPDX-License-Identifier: MIT OR Apache-2.0

//! Brings lines and routes into the state that the registers ask for, in an order that sends no message to
//! an old address.

use super::{Error, Message, Route, error::Result, registers::Registers};
use crate::{Context, LineSet, MaskReasons, StatusPages};
use std::{ops::Range, sync::Arc};

/// The calls of a context that the device needs.
pub(super) trait Lines {
    /// Masks `lines`. When this returns, no delivery of theirs is in flight.
    fn mask(&self, lines: &LineSet, reasons: MaskReasons) -> crate::Result;

    /// Ends `reasons` of `lines`. A line without another reason delivers the message that it holds.
    fn unmask(&self, lines: &LineSet, reasons: MaskReasons) -> crate::Result;

    /// Drops the messages that `lines` hold.
    fn clear(&self, lines: &LineSet) -> crate::Result;

    /// Returns true if `line` holds a message.
    fn is_pending(&self, line: u32) -> bool;
}

/// The lines of the kernel.
#[derive(Debug)]
pub(super) struct KernelLines {
    pub(super) context: Arc<Context>,
    pub(super) status: StatusPages,
}

impl Lines for KernelLines {
    fn mask(&self, lines: &LineSet, reasons: MaskReasons) -> crate::Result {
        self.context.mask_lines_for(lines, reasons).map(drop)
    }

    fn unmask(&self, lines: &LineSet, reasons: MaskReasons) -> crate::Result {
        self.context.unmask_lines_for(lines, reasons).map(drop)
    }

    fn clear(&self, lines: &LineSet) -> crate::Result {
        self.context.clear_lines(lines).map(drop)
    }

    fn is_pending(&self, line: u32) -> bool {
        self.status.is_pending(line)
    }
}

/// The registers, and the masks and routes that are in effect.
#[derive(Debug)]
pub(super) struct Device<L, R> {
    pub(super) lines: L,
    pub(super) route: R,
    pub(super) registers: Registers,
    first_line: u32,
    /// The message that each vector was routed to.
    routed: Vec<Option<Message>>,
    /// The vectors whose line is masked for the vector's own reason.
    held: Vec<bool>,
    /// The lines are masked for the function.
    function_held: bool,
}

impl<L, R> Device<L, R> {
    pub(super) fn first_line(&self) -> u32 {
        self.first_line
    }
}

impl<L: Lines, R: Route> Device<L, R> {
    /// Masks all lines.
    pub(super) fn new(lines: L, first_line: u32, vectors: u16, route: R) -> Result<Self> {
        let mut device = Self {
            lines,
            route,
            registers: Registers::new(vectors),
            first_line,
            routed: vec![None; vectors.into()],
            held: vec![false; vectors.into()],
            function_held: false,
        };
        device.hold_all()?;
        Ok(device)
    }

    pub(super) fn line(&self, vector: u16) -> u32 {
        self.first_line + u32::from(vector)
    }

    fn all(&self) -> LineSet {
        LineSet::range(self.first_line..self.line(self.registers.vectors()))
    }

    fn lines_of(&self, vectors: &[u16]) -> LineSet {
        vectors.iter().map(|&vector| self.line(vector)).collect()
    }

    /// Masks all lines for both reasons, whatever they were masked for, and forgets the routes.
    fn hold_all(&mut self) -> Result {
        self.routed.fill(None);
        let both = MaskReasons::VECTOR | MaskReasons::FUNCTION;
        self.lines.mask(&self.all(), both)?;
        self.held.fill(true);
        self.function_held = true;
        Ok(())
    }

    pub(super) fn write_table(&mut self, offset: u64, data: &[u8]) -> Result {
        match self.registers.write_table(offset, data) {
            // The function's mask is not that of its register, because a call has failed.
            Some(_) if self.function_held == self.registers.is_open() => self.settle_all(),
            Some(vector) => self.settle(vector..vector + 1),
            None => Ok(()),
        }
    }

    pub(super) fn write_control(&mut self, value: u16) -> Result {
        self.registers.set_control(value);
        self.settle_all()
    }

    pub(super) fn read_pba(&self, offset: u64, data: &mut [u8]) {
        self.registers
            .read_pba(offset, data, |vector| self.is_pending(vector));
    }

    pub(super) fn is_pending(&self, vector: u16) -> bool {
        self.lines.is_pending(self.line(vector))
    }

    pub(super) fn reset(&mut self) -> Result {
        self.registers = Registers::new(self.registers.vectors());
        self.hold_all()?;
        Ok(self.lines.clear(&self.all())?)
    }

    pub(super) fn restore(&mut self, registers: Registers) -> Result {
        self.registers = registers;
        self.hold_all()?;
        self.settle_all()
    }

    pub(super) fn reroute(&mut self) -> Result {
        self.routed.fill(None);
        self.settle_all()
    }

    fn is_masked(&self, vector: u16) -> bool {
        self.registers.entries[usize::from(vector)].masked
    }

    /// Returns true if the vector may send its message, and is not routed to it.
    fn is_stale(&self, vector: u16) -> bool {
        let entry = &self.registers.entries[usize::from(vector)];
        self.registers.is_open()
            && !entry.masked
            && self.routed[usize::from(vector)] != Some(entry.message)
    }

    /// Brings all vectors and the function into the state of the registers.
    fn settle_all(&mut self) -> Result {
        let open = self.registers.is_open();
        if !open && !self.function_held {
            self.lines.mask(&self.all(), MaskReasons::FUNCTION)?;
            self.function_held = true;
        }
        let routed = match self.settle(0..self.registers.vectors()) {
            Err(error) if !error.is_route() => return Err(error),
            // The vectors that have no route are masked by themselves.
            routed => routed,
        };
        if open && self.function_held {
            self.lines.unmask(&self.all(), MaskReasons::FUNCTION)?;
            self.function_held = false;
        }
        routed
    }

    /// Brings `vectors` into the state of the registers: masks, routes, and then unmasks.
    fn settle(&mut self, vectors: Range<u16>) -> Result {
        // The function's mask covers a route as well as the vector's own does.
        self.hold(vectors.clone(), |device, vector| {
            device.is_masked(vector) || (!device.function_held && device.is_stale(vector))
        })?;
        let routed = self.route_stale(vectors.clone());
        self.hold(vectors.clone(), Self::is_stale)?;
        self.release(vectors)?;
        routed
    }

    /// Masks the lines of those `vectors` that `which` chooses and that are not masked yet.
    fn hold(&mut self, vectors: Range<u16>, which: impl Fn(&Self, u16) -> bool) -> Result {
        let hold: Vec<u16> = vectors
            .filter(|&vector| !self.held[usize::from(vector)] && which(self, vector))
            .collect();
        if hold.is_empty() {
            return Ok(());
        }
        self.lines
            .mask(&self.lines_of(&hold), MaskReasons::VECTOR)?;
        for vector in hold {
            self.held[usize::from(vector)] = true;
        }
        Ok(())
    }

    /// Unmasks the lines of those `vectors` that are not masked by the guest and have their route.
    fn release(&mut self, vectors: Range<u16>) -> Result {
        let release: Vec<u16> = vectors
            .filter(|&vector| self.held[usize::from(vector)])
            .filter(|&vector| !self.is_masked(vector) && !self.is_stale(vector))
            .collect();
        if release.is_empty() {
            return Ok(());
        }
        self.lines
            .unmask(&self.lines_of(&release), MaskReasons::VECTOR)?;
        for vector in release {
            self.held[usize::from(vector)] = false;
        }
        Ok(())
    }

    /// Routes those of `vectors` that are stale. Returns the first error; the vectors that have failed are
    /// still stale.
    fn route_stale(&mut self, vectors: Range<u16>) -> Result {
        let mut result = Ok(());
        let mut routed = Vec::new();
        for vector in vectors {
            if !self.is_stale(vector) {
                continue;
            }
            let at = usize::from(vector);
            let message = self.registers.entries[at].message;
            // The old route may be gone, also if the call fails.
            self.routed[at] = None;
            match self.route.route(vector, message) {
                Ok(()) => {
                    self.routed[at] = Some(message);
                    routed.push(vector);
                }
                Err(source) => {
                    result = result.and(Err(Error::Route {
                        vector,
                        message,
                        source,
                    }));
                }
            }
        }
        if routed.is_empty() {
            return result;
        }
        if let Err(source) = self.route.commit() {
            for &vector in &routed {
                self.routed[usize::from(vector)] = None;
            }
            result = result.and(Err(Error::Commit {
                vectors: routed.len(),
                source,
            }));
        }
        result
    }
}
