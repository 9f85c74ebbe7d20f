// SPDX-License-Identifier: MIT OR Apache-2.0

//! The topology of a device: lines that behave as the kernel's, and a hypervisor that has their routes.

use super::super::{Message, Route, device::Lines};
use crate::{Error, LineSet, MaskReasons, Operation};
use std::{cell::RefCell, io, rc::Rc};

/// The number of the line of vector 0.
pub(super) const FIRST_LINE: u32 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) vector: u16,
    pub(super) message: Message,
}

#[derive(Clone, Debug, Default)]
struct Line {
    reasons: MaskReasons,
    pending: bool,
    /// A delivery that has read its route and not sent its message yet.
    in_flight: Option<Message>,
    /// The route that is effective, and the one that waits for the commit.
    route: Option<Message>,
    staged: Option<Message>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    lines: Vec<Line>,
    pub(super) sent: Vec<Sent>,
    /// The device's violations of the contract of [`Route`].
    pub(super) faults: Vec<String>,
    pub(super) routes: usize,
    pub(super) commits: usize,
    pub(super) calls: usize,
    /// The number of calls until one fails, if any does: of the lines, of routes, of commits.
    pub(super) lines_fail: Option<u32>,
    pub(super) route_fails: Option<u32>,
    pub(super) commit_fails: Option<u32>,
    /// The data of messages that the hypervisor refuses. A commit with one of them fails, each time.
    pub(super) invalid: Option<u32>,
}

/// Counts down to a failure.
fn fails(countdown: &mut Option<u32>) -> bool {
    match countdown {
        Some(0) => {
            *countdown = None;
            true
        }
        Some(n) => {
            *n -= 1;
            false
        }
        None => false,
    }
}

impl State {
    fn send(&mut self, at: usize, message: Message) {
        let vector = at as u16;
        self.sent.push(Sent { vector, message });
    }

    /// Starts a delivery of a line that has something to deliver.
    fn deliver(&mut self, at: usize) {
        let line = &mut self.lines[at];
        if !line.reasons.is_empty() || line.in_flight.is_some() || !line.pending {
            return;
        }
        line.pending = false;
        match line.route {
            Some(message) => line.in_flight = Some(message),
            None => self.faults.push(format!("vector {at} has no route")),
        }
    }

    /// Ends a delivery, and starts another one if the line was rung meanwhile.
    fn finish(&mut self, at: usize) {
        if let Some(message) = self.lines[at].in_flight.take() {
            self.send(at, message);
        }
        self.deliver(at);
        if let Some(message) = self.lines[at].in_flight.take() {
            self.send(at, message);
        }
    }

    fn index(&self, lines: &LineSet) -> Vec<usize> {
        let end = FIRST_LINE + self.lines.len() as u32;
        assert!(lines.iter().all(|line| (FIRST_LINE..end).contains(&line)));
        lines
            .iter()
            .map(|line| (line - FIRST_LINE) as usize)
            .collect()
    }
}

/// A handle to the topology. The device has one, and the test.
#[derive(Clone, Debug)]
pub(super) struct Topology(Rc<RefCell<State>>);

impl Topology {
    /// Returns a topology of lines that are not masked.
    pub(super) fn new(vectors: u16) -> Self {
        Self(Rc::new(RefCell::new(State {
            lines: vec![Line::default(); vectors.into()],
            ..Default::default()
        })))
    }

    pub(super) fn state(&self) -> std::cell::RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Rings the line. If it delivers, the delivery ends at once, or stays in flight.
    pub(super) fn ring(&self, vector: u16, ends: bool) {
        let mut state = self.state();
        let at = usize::from(vector);
        let was_in_flight = state.lines[at].in_flight.is_some();
        state.lines[at].pending = true;
        state.deliver(at);
        if ends && !was_in_flight {
            state.finish(at);
        }
    }

    pub(super) fn finish(&self, vector: u16) {
        self.state().finish(vector.into());
    }

    pub(super) fn in_flight(&self, vector: u16) -> Option<Message> {
        self.state().lines[usize::from(vector)].in_flight
    }

    pub(super) fn reasons(&self, vector: u16) -> MaskReasons {
        self.state().lines[usize::from(vector)].reasons
    }

    pub(super) fn pending(&self, vector: u16) -> bool {
        self.state().lines[usize::from(vector)].pending
    }

    pub(super) fn all(&self) -> LineSet {
        LineSet::range(FIRST_LINE..FIRST_LINE + self.state().lines.len() as u32)
    }

    /// Takes all routes away, as a hypervisor may in a reset. What is in flight has read its route.
    pub(super) fn lose_routes(&self) {
        let mut state = self.state();
        // Lines that cannot be masked go on sending.
        if state.lines_fail.is_none() {
            state.lines.iter_mut().for_each(|line| line.route = None);
        }
    }

    /// Returns a topology whose lines go on from these, as after a snapshot, in another process.
    pub(super) fn migrate(&self) -> Self {
        let next = Self::new(self.state().lines.len() as u16);
        self.mask(&self.all(), MaskReasons::PAUSE).expect("masked");
        {
            let (mut next, mut state) = (next.state(), self.state());
            for (next, line) in next.lines.iter_mut().zip(&state.lines) {
                (next.reasons, next.pending) = (line.reasons, line.pending);
            }
            // What was sent before is not lost.
            next.sent = std::mem::take(&mut state.sent);
            next.faults = std::mem::take(&mut state.faults);
            (next.route_fails, next.commit_fails) = (state.route_fails, state.commit_fails);
            next.invalid = state.invalid;
        }
        next
    }
}

fn injected(operation: Operation, lines: &LineSet) -> Error {
    Error::Lines {
        operation,
        lines: lines.bounds(),
        source: io::Error::from_raw_os_error(libc::ENOMEM),
    }
}

impl Lines for Topology {
    fn mask(&self, lines: &LineSet, reasons: MaskReasons) -> crate::Result {
        let mut state = self.state();
        state.calls += 1;
        if fails(&mut state.lines_fail) {
            return Err(injected(Operation::Mask, lines));
        }
        for at in state.index(lines) {
            let line = &mut state.lines[at];
            line.reasons = line.reasons | reasons;
            if let Some(message) = line.in_flight.take() {
                state.send(at, message);
            }
        }
        Ok(())
    }

    fn unmask(&self, lines: &LineSet, reasons: MaskReasons) -> crate::Result {
        let mut state = self.state();
        state.calls += 1;
        if fails(&mut state.lines_fail) {
            return Err(injected(Operation::Unmask, lines));
        }
        for at in state.index(lines) {
            state.lines[at].reasons = state.lines[at].reasons.without(reasons);
            if state.lines[at].pending && state.lines[at].in_flight.is_none() {
                state.finish(at);
            }
        }
        Ok(())
    }

    fn clear(&self, lines: &LineSet) -> crate::Result {
        let mut state = self.state();
        state.calls += 1;
        if fails(&mut state.lines_fail) {
            return Err(injected(Operation::Clear, lines));
        }
        for at in state.index(lines) {
            state.lines[at].pending = false;
        }
        Ok(())
    }

    fn is_pending(&self, line: u32) -> bool {
        self.pending((line - FIRST_LINE) as u16)
    }
}

impl Route for Topology {
    fn route(&mut self, vector: u16, message: Message) -> io::Result<()> {
        let mut state = self.state();
        state.routes += 1;
        let line = &mut state.lines[usize::from(vector)];
        let masked = !line.reasons.is_empty() && line.in_flight.is_none();
        // A failure leaves no route.
        (line.route, line.staged) = (None, None);
        if !masked {
            let fault = format!("vector {vector} is routed while it may send");
            state.faults.push(fault);
        }
        if fails(&mut state.route_fails) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        state.lines[usize::from(vector)].staged = Some(message);
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.commits += 1;
        let invalid = state.invalid;
        let is_invalid = |message: Message| Some(message.data) == invalid;
        let mut staged = state.lines.iter().filter_map(|line| line.staged);
        let refused = staged.any(is_invalid);
        let failed = fails(&mut state.commit_fails) || refused;
        for line in &mut state.lines {
            match line.staged.take() {
                Some(_) if failed => line.route = None,
                Some(message) => line.route = Some(message),
                None => {}
            }
        }
        if failed {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}
