// SPDX-License-Identifier: MIT OR Apache-2.0

//! Brings lines and routes into the state that the registers ask for, in an order that sends no message to
//! an old address.

use super::{Error, Message, Route, error::Result, registers::Registers};
use crate::{Context, LineSet, MaskReasons, StatusPages};
use std::{io, ops::Range, sync::Arc};

/// The number of vectors that are refused alone in one operation before the others are not tried.
///
/// The guest chooses the messages, and waits in one exit for all commits. Each may replace the routes of the
/// whole VM.
pub(super) const MAX_REFUSED: usize = 8;

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
    pub(super) status: Arc<StatusPages>,
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
    masked: Vec<bool>,
    /// The lines are masked for the function.
    function_masked: bool,
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
            masked: vec![false; vectors.into()],
            function_masked: false,
        };
        device.mask_all()?;
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
    fn mask_all(&mut self) -> Result {
        self.routed.fill(None);
        let both = MaskReasons::VECTOR | MaskReasons::FUNCTION;
        self.lines.mask(&self.all(), both)?;
        self.masked.fill(true);
        self.function_masked = true;
        Ok(())
    }

    pub(super) fn write_table(&mut self, offset: u64, data: &[u8]) -> Result {
        match self.registers.write_table(offset, data) {
            // The function's mask is not that of its register, because a call has failed.
            Some(_) if self.function_masked == self.registers.is_open() => self.apply_all(),
            Some(vector) => self.apply(vector..vector + 1),
            None => Ok(()),
        }
    }

    pub(super) fn write_control(&mut self, value: u16) -> Result {
        self.registers.set_control(value);
        self.apply_all()
    }

    /// Writes to the capability in the configuration space. Only the upper byte of Message Control, at offset 3,
    /// has bits that can be written.
    pub(super) fn write_capability(&mut self, offset: u64, data: &[u8]) -> Result {
        let at = 3_u64.checked_sub(offset).map(|at| at as usize);
        match at.and_then(|at| data.get(at)) {
            Some(&upper) => self.write_control(u16::from(upper) << 8),
            None => Ok(()),
        }
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
        self.mask_all()?;
        Ok(self.lines.clear(&self.all())?)
    }

    pub(super) fn withdraw(&self, vector: u16) -> Result {
        let vectors = self.registers.vectors();
        if vector >= vectors {
            return Err(Error::NoVector { vector, vectors });
        }
        Ok(self.lines.clear(&self.lines_of(&[vector]))?)
    }

    pub(super) fn restore(&mut self, registers: Registers) -> Result {
        self.registers = registers;
        self.mask_all()?;
        self.apply_all()
    }

    pub(super) fn reroute(&mut self) -> Result {
        self.routed.fill(None);
        self.apply_all()
    }

    fn is_masked_by_guest(&self, vector: u16) -> bool {
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
    fn apply_all(&mut self) -> Result {
        let open = self.registers.is_open();
        if !open && !self.function_masked {
            self.lines.mask(&self.all(), MaskReasons::FUNCTION)?;
            self.function_masked = true;
        }
        let routed = match self.apply(0..self.registers.vectors()) {
            Err(error) if !error.is_route() => return Err(error),
            // The vectors that have no route are masked by themselves.
            routed => routed,
        };
        if open && self.function_masked {
            self.lines.unmask(&self.all(), MaskReasons::FUNCTION)?;
            self.function_masked = false;
        }
        routed
    }

    /// Brings `vectors` into the state of the registers: masks, routes, and then unmasks.
    fn apply(&mut self, vectors: Range<u16>) -> Result {
        // The function's mask covers a route as well as the vector's own does.
        self.mask_where(vectors.clone(), |device, vector| {
            device.is_masked_by_guest(vector)
                || (!device.function_masked && device.is_stale(vector))
        })?;
        let routed = self.route_stale(vectors.clone());
        self.mask_where(vectors.clone(), Self::is_stale)?;
        self.unmask_ready(vectors)?;
        routed
    }

    /// Masks the lines of those `vectors` that `which` chooses and that are not masked yet.
    fn mask_where(&mut self, vectors: Range<u16>, which: impl Fn(&Self, u16) -> bool) -> Result {
        let mask: Vec<u16> = vectors
            .filter(|&vector| !self.masked[usize::from(vector)] && which(self, vector))
            .collect();
        if mask.is_empty() {
            return Ok(());
        }
        self.lines
            .mask(&self.lines_of(&mask), MaskReasons::VECTOR)?;
        for vector in mask {
            self.masked[usize::from(vector)] = true;
        }
        Ok(())
    }

    /// Unmasks the lines of those `vectors` that are not masked by the guest and have their route.
    fn unmask_ready(&mut self, vectors: Range<u16>) -> Result {
        let ready: Vec<u16> = vectors
            .filter(|&vector| self.masked[usize::from(vector)])
            .filter(|&vector| !self.is_masked_by_guest(vector) && !self.is_stale(vector))
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        self.lines
            .unmask(&self.lines_of(&ready), MaskReasons::VECTOR)?;
        for vector in ready {
            self.masked[usize::from(vector)] = false;
        }
        Ok(())
    }

    /// Routes those of `vectors` that are stale. Returns the first error; the vectors that have failed are
    /// still stale.
    fn route_stale(&mut self, vectors: Range<u16>) -> Result {
        let stale: Vec<u16> = vectors.filter(|&vector| self.is_stale(vector)).collect();
        let mut errors = RouteErrors::default();
        self.route_all(&stale, &mut errors);
        errors.into_result()
    }

    /// Routes `vectors` with one commit. If it fails, routes each half by itself, so that only those vectors
    /// fail that are refused alone, up to [`MAX_REFUSED`]. All later ones fail then.
    fn route_all(&mut self, vectors: &[u16], errors: &mut RouteErrors) {
        let mut routed = Vec::new();
        for &vector in vectors {
            let at = usize::from(vector);
            let message = self.registers.entries[at].message;
            // The old route may be gone, also if the call fails.
            self.routed[at] = None;
            match self.route.route(vector, message) {
                Ok(()) => routed.push(vector),
                Err(source) => {
                    errors.route.get_or_insert(Error::Route {
                        vector,
                        message,
                        source,
                    });
                }
            }
        }
        if routed.is_empty() {
            return;
        }
        match self.route.commit() {
            Ok(()) => {
                for vector in routed {
                    let at = usize::from(vector);
                    self.routed[at] = Some(self.registers.entries[at].message);
                }
            }
            Err(source) if routed.len() == 1 => errors.add_refused(routed[0], source),
            Err(_) => {
                let (first, second) = routed.split_at(routed.len() / 2);
                for half in [first, second] {
                    match errors.refused.len() < MAX_REFUSED {
                        true => self.route_all(half, errors),
                        false => errors.refused.extend(half),
                    }
                }
            }
        }
    }
}

/// The failures of one operation on routes.
#[derive(Default)]
struct RouteErrors {
    /// The first vector that could not be routed.
    route: Option<Error>,
    /// The vectors whose commit failed or was not tried, and the first cause.
    refused: Vec<u16>,
    cause: Option<io::Error>,
}

impl RouteErrors {
    fn add_refused(&mut self, vector: u16, source: io::Error) {
        self.refused.push(vector);
        self.cause.get_or_insert(source);
    }

    fn into_result(self) -> Result {
        let vectors = self.refused;
        let commit = self.cause.map(|source| Error::Commit { vectors, source });
        self.route.or(commit).map_or(Ok(()), Err)
    }
}
