// SPDX-License-Identifier: MIT OR Apache-2.0

//! The device side of an MSI-X capability: a table, a PBA and Message Control, whose vectors are lines.
//!
//! A VMM passes the guest's accesses to an [`Msix`], and the device, in this process or another one, signals
//! an irqfd of the line. The lines keep what PCI asks for: a masked vector holds one message, its pending bit
//! is set, and the unmask sends that message once. It does not matter who signals the eventfd, so this also
//! holds for a vhost-user backend, VFIO or another VM.
//!
//! ```no_run
//! use doorbell::{Context, EventFd, msix::{FnRoute, Message, Msix}};
//! use std::sync::Arc;
//!
//! # fn set_gsi_route(_: u16, _: Message) -> std::io::Result<()> { Ok(()) }
//! let context = Arc::new(Context::open()?);
//! context.set_lines_masked(16)?;
//! let (call, irqfd) = (EventFd::new(0)?, EventFd::new(0)?);
//! context.assign_irqfd(&call, 3)?; // for the backend
//! context.assign_trigger(&irqfd, 3)?; // for KVM_IRQFD
//!
//! // Reprograms KVM's routing table.
//! let route = FnRoute(|vector, message| set_gsi_route(vector, message));
//! let mut msix = Msix::new(context, 0, 16, route)?;
//! // A guest programs vector 3, unmasks it, and enables MSI-X.
//! msix.write_table(0x30, &0xfee0_0000_u64.to_le_bytes())?;
//! msix.write_table(0x38, &0x41_u64.to_le_bytes())?;
//! msix.write_control(0x8000)?;
//! // The backend signals an interrupt, which KVM delivers.
//! call.write(1)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Registers
//!
//! The layout is that of the PCI Local Bus Specification 3.0, 6.8.2, and of the PCI Express Base Specification
//! 6.0, 7.7.2. An access is 4 or 8 bytes long, aligned to its length and little-endian. PCI leaves all other
//! accesses undefined. Here they read as all ones and change nothing, and so do accesses beyond the end.
//!
//! | register | reads as | a write |
//! |---|---|---|
//! | Message Address | what was written, with the lower two bits zero | |
//! | Message Upper Address, Message Data | what was written | |
//! | Vector Control, bit 0 | the mask bit, 1 after a reset | masks or unmasks the vector |
//! | Vector Control, other bits | 0 | is ignored: they are reserved without the TPH capability |
//! | PBA | a bit for each vector, 0 beyond the last | is ignored: there is no method for it |
//! | Message Control, bits 15 and 14 | enable, function mask | changes both |
//! | Message Control, other bits | number of vectors - 1 | is ignored |
//!
//! # Masks
//!
//! The line of a vector is masked for [`MaskReasons::VECTOR`] while the guest has masked the vector, and for
//! [`MaskReasons::FUNCTION`] while the guest has masked the function or has not enabled MSI-X. Other reasons
//! are the caller's: a VMM that pauses the VM masks the lines for [`MaskReasons::PAUSE`]. No other code may
//! change the first two for these lines.
//!
//! A write that masks returns when no delivery of the line is in flight. From then on the pending bit is exact:
//! it is set if, and only if, a signal has not been delivered. While MSI-X is not enabled, a signal is held as
//! under a function mask. To drop it, for example when the device uses INTx meanwhile, call
//! [`Context::clear_lines`].
//!
//! If the event of a masked vector is satisfied by other means, the function must clear the pending bit (PCI
//! 3.0, 6.8.3.5). A driver that polls a queue while its vector is masked is the usual case. Only the device
//! can know that. It calls [`Msix::withdraw`].
//!
//! # What KVM still holds
//!
//! The barrier is that of the line: its trigger is not signalled any more. KVM may still have a signal that it
//! took from its irqfd before. If it cannot inject a message at once, it queues a work item, which injects the
//! message a moment later, with the route of that time. So a guest can get one message just after its mask.
//! KVM_IRQFD with KVM_IRQFD_FLAG_DEASSIGN is stronger there: it returns when that work item has ended. A VMM
//! that needs this after a write that masks deassigns the vector's irqfd then, and assigns it again before
//! the unmask. The line holds the signals meanwhile.
//!
//! # Routes
//!
//! Assign the trigger of a line before the guest can unmask its vector: a message of a line without a trigger is
//! lost. The trigger is an eventfd of the hypervisor, for KVM that of KVM_IRQFD.
//!
//! A [`Route`] has the VMM's part: it makes the eventfd that is the line's trigger send another message. It is
//! called only for a vector that is about to be unmasked and whose message is not the one that it is routed to.
//! It is called while the line is masked, so that the line sends nothing to an old address after the write has
//! returned. So the three writes that change a masked entry cost one call, at the unmask, and masking and
//! unmasking cost none. PCI leaves a change of an unmasked entry undefined. Here the line is masked around the
//! call, for each write.
//!
//! # Failures
//!
//! If a route fails, the vector's line stays masked, though the guest sees an unmasked vector, and holds its
//! message. If a commit of several vectors fails, each half of them is routed by itself, and so on, so that
//! only those vectors stay masked that are refused alone. The guest chooses the messages, so this happens: KVM
//! refuses a whole table for one message with an invalid address. After eight vectors that are refused alone, the
//! operation tries no more: a guest with many of them would occupy the VMM. The error names all vectors that
//! stay masked. The next write to a vector's entry, or to Message Control, and [`Msix::reroute`] try again.
//!
//! If a call on the lines fails ([`Error::Lines`]), a line may still be unmasked whose register says masked, and
//! a line whose message has changed may still send the message of before. The causes are a shortage of memory
//! (ENOMEM) and a defect of the VMM. Try the write again. If that fails, stop the device, for example by
//! deassigning its irqfds, and report it as broken. If routes fail in the same operation, this error is the one
//! that is returned.
//!
//! # Save and restore
//!
//! [`Msix::save`] returns the registers. The pending messages are the lines', and belong to a
//! [`Snapshot`](crate::Snapshot) of the context. The order of a migration:
//!
//! 1. Stop the vCPUs, mask all lines for [`MaskReasons::PAUSE`], and stop the backends.
//! 2. [`Context::deassign_irqfd`] for each backend, so that its later signals stay in the eventfd.
//! 3. [`Context::snapshot`] and [`Msix::save`], in any order.
//! 4. KVM_IRQFD with KVM_IRQFD_FLAG_DEASSIGN for each trigger. When it has returned, KVM has no message in its
//!    hands. Only then save the interrupt controllers.
//!
//! To restore, restore the interrupt controllers, and call [`Context::restore`], then [`Msix::new`] and
//! [`Msix::restore`]. Assign KVM's irqfds, the triggers and the irqfds, and call [`Context::resume`] last.
//! `Context::restore` sets the mask reasons of the record. `Msix::restore` sets those of the registers, after
//! it has routed the vectors, so it must be the later one. Nothing is delivered before `Context::resume` ends
//! the pause.
//!
//! If only the process is replaced, the context lives on. `Documentation/vmm.rst` has that order.

mod device;
mod error;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use state::MsixState;

use crate::{Context, StatusPages, uapi};
use device::{Device, KernelLines};
use error::Result;
use std::{fmt, io, sync::Arc};

#[cfg(doc)]
use crate::MaskReasons;

/// The size of an entry of the table, in bytes.
///
/// # Examples
///
/// ```
/// assert_eq!(doorbell::msix::ENTRY_SIZE, 16);
/// ```
pub const ENTRY_SIZE: u64 = 16;

/// The maximum number of vectors of a function.
///
/// # Examples
///
/// ```
/// assert_eq!(doorbell::msix::MAX_VECTORS, 2048);
/// ```
pub const MAX_VECTORS: u16 = 2048;

/// The bit of Message Control that enables MSI-X.
///
/// # Examples
///
/// ```
/// assert_eq!(doorbell::msix::ENABLE, 0x8000);
/// ```
pub const ENABLE: u16 = registers::ENABLE;

/// The bit of Message Control that masks all vectors.
///
/// # Examples
///
/// ```
/// assert_eq!(doorbell::msix::FUNCTION_MASK, 0x4000);
/// ```
pub const FUNCTION_MASK: u16 = registers::FUNCTION_MASK;

/// A message: a write of `data` to `address`.
///
/// # Examples
///
/// ```
/// use doorbell::msix::Message;
///
/// let message = Message { address: 0xfee0_0000, data: 0x41 };
/// assert_eq!(message.to_string(), "address 0xfee00000, data 0x41");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Message {
    /// The address, a multiple of 4.
    pub address: u64,
    /// The data.
    pub data: u32,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {:#x}, data {:#x}", self.address, self.data)
    }
}

/// The VMM's part of a vector: what its line's trigger sends.
///
/// [`FnRoute`] makes a closure a `Route`, without commits.
///
/// With KVM the table belongs to the VM and not to the function: each KVM_SET_GSI_ROUTING replaces the whole
/// table. So all functions, and everything else that has routes, share one table behind one mutex, as below.
/// The lock of an [`Msix`] comes first and that of the table second. Code that has locked the table calls no
/// method of an `Msix`.
///
/// # Examples
///
/// ```
/// use doorbell::msix::{Message, Route};
/// use std::{collections::BTreeMap, io, mem, sync::{Arc, Mutex}};
///
/// type Table = BTreeMap<u32, Message>;
///
/// /// The routes of one function, in the table of the VM.
/// struct KvmRoutes {
///     vm: Arc<Mutex<Table>>,
///     first_gsi: u32,
///     staged: Table,
/// }
///
/// /// Passes the whole table to KVM: KVM_SET_GSI_ROUTING.
/// fn set_gsi_routing(table: &Table) -> io::Result<()> {
///     # let _ = table;
///     Ok(())
/// }
///
/// impl Route for KvmRoutes {
///     fn route(&mut self, vector: u16, message: Message) -> io::Result<()> {
///         self.staged.insert(self.first_gsi + u32::from(vector), message);
///         Ok(())
///     }
///
///     fn commit(&mut self) -> io::Result<()> {
///         let staged = mem::take(&mut self.staged); // dropped if KVM refuses it
///         let mut table = self.vm.lock().expect("no panic");
///         let mut next = table.clone();
///         next.extend(staged);
///         set_gsi_routing(&next)?;
///         *table = next;
///         Ok(())
///     }
/// }
///
/// let vm = Arc::new(Mutex::new(Table::new()));
/// let function = |first_gsi| KvmRoutes { vm: vm.clone(), first_gsi, staged: Table::new() };
/// let (mut net, mut block) = (function(24), function(32));
/// let message = Message { address: 0xfee0_0000, data: 0x41 };
/// net.route(3, message)?;
/// net.commit()?;
/// block.route(0, message)?;
/// block.commit()?;
/// assert_eq!(vm.lock().unwrap().keys().copied().collect::<Vec<_>>(), [27, 32]);
/// # Ok::<(), io::Error>(())
/// ```
pub trait Route {
    /// Makes the trigger of `vector` send `message` from now on, or from [`commit`](Route::commit) on.
    ///
    /// It may be called again for the same message. It may create the vector's GSI and trigger at the first
    /// call: the line is masked, and no message is sent before this returns.
    ///
    /// # Errors
    ///
    /// Any. The vector stays masked then.
    fn route(&mut self, vector: u16, message: Message) -> io::Result<()>;

    /// Makes all routes since the last call effective. It is called once for all vectors that one operation
    /// routes, before any of them is unmasked.
    ///
    /// # Errors
    ///
    /// Any. The routes must then be those after the last commit that succeeded: drop what `route` has changed
    /// since. Otherwise one message that the hypervisor refuses lets each later commit fail. If the commit was
    /// for several vectors, `route` and `commit` are called again for fewer of them. If it was for one, the
    /// vector stays masked.
    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A closure that is a [`Route`]: it takes a vector and a message, and makes the route effective at once.
///
/// # Examples
///
/// ```
/// use doorbell::msix::{FnRoute, Message, Route};
///
/// let mut routed = Vec::new();
/// let mut route = FnRoute(|vector, _message| {
///     routed.push(vector);
///     Ok(())
/// });
/// route.route(3, Message::default())?;
/// assert_eq!(routed, [3]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct FnRoute<F>(pub F);

impl<F> fmt::Debug for FnRoute<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnRoute")
    }
}

impl<F: FnMut(u16, Message) -> io::Result<()>> Route for FnRoute<F> {
    fn route(&mut self, vector: u16, message: Message) -> io::Result<()> {
        self.0(vector, message)
    }
}

impl<R: Route + ?Sized> Route for Box<R> {
    fn route(&mut self, vector: u16, message: Message) -> io::Result<()> {
        (**self).route(vector, message)
    }

    fn commit(&mut self) -> io::Result<()> {
        (**self).commit()
    }
}

impl<R: Route + ?Sized> Route for &mut R {
    fn route(&mut self, vector: u16, message: Message) -> io::Result<()> {
        (**self).route(vector, message)
    }

    fn commit(&mut self) -> io::Result<()> {
        (**self).commit()
    }
}

/// The MSI-X capability of a function, whose vectors are lines of a context.
///
/// The [module](self) describes registers, masks, routes and failures. Methods that write take `&mut self`:
/// a VMM whose vCPUs share an `Msix` puts it into an [`RwLock`](std::sync::RwLock), so that reads do not wait
/// for each other. Dropping it leaves the lines as they are; call [`reset`](Msix::reset) first if the device
/// is removed.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, msix::{FnRoute, Msix}};
/// use std::sync::Arc;
///
/// let context = Arc::new(Context::open()?);
/// context.set_lines_masked(16)?;
/// let mut msix = Msix::new(context.clone(), 0, 16, FnRoute(|_, _| Ok(())))?;
/// context.ring(3)?;
/// let mut pba = [0; 8];
/// msix.read_pba(0, &mut pba);
/// assert_eq!(u64::from_le_bytes(pba), 1 << 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Msix<R> {
    device: Device<KernelLines, R>,
}

impl<R: Route> Msix<R> {
    /// Creates the capability of a function with `vectors` vectors. Vector `v` is line `first_line + v`.
    ///
    /// The registers are those after a reset: MSI-X is not enabled, and all vectors are masked. So are the
    /// lines when this returns. A message that a line holds is kept.
    ///
    /// # Errors
    ///
    /// - [`Error::Vectors`]: `vectors` is 0 or above [`MAX_VECTORS`].
    /// - [`Error::NoLines`]: the context does not have these lines.
    /// - [`Error::NotEdge`]: one of the lines is a level line or masks itself.
    /// - [`Error::Lines`]: a call on the lines failed.
    ///
    /// # Examples
    ///
    /// See [`Msix`].
    pub fn new(context: Arc<Context>, first_line: u32, vectors: u16, route: R) -> Result<Self> {
        Self::check_vectors(vectors)?;
        let status = Arc::new(context.map_status()?);
        Self::with_status(context, status, first_line, vectors, route)
    }

    /// Creates the capability as [`new`](Msix::new) does, with status pages that functions of the context share.
    ///
    /// `status` must be pages of `context`, or pending bits are those of other lines.
    ///
    /// # Errors
    ///
    /// Those of `new`, and [`Error::StatusPages`] if the pages have another number of lines.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, msix::{FnRoute, Msix}};
    /// # use std::sync::Arc;
    /// # let context = Arc::new(Context::open()?);
    /// context.set_lines_masked(24)?;
    /// let status = Arc::new(context.map_status()?);
    /// let route = FnRoute(|_, _| Ok(()));
    /// let net = Msix::with_status(context.clone(), status.clone(), 0, 16, route)?;
    /// let block = Msix::with_status(context, status, 16, 8, route)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_status(
        context: Arc<Context>,
        status: Arc<StatusPages>,
        first_line: u32,
        vectors: u16,
        route: R,
    ) -> Result<Self> {
        Self::check_vectors(vectors)?;
        let nr_lines = context.info()?.nr_lines;
        if status.nr_lines() != nr_lines {
            return Err(Error::StatusPages {
                nr_lines: status.nr_lines(),
                expected: nr_lines,
            });
        }
        let lines = u64::from(first_line)..u64::from(first_line) + u64::from(vectors);
        if lines.end > nr_lines.into() {
            return Err(Error::NoLines { lines, nr_lines });
        }
        let saved = context.save_lines(first_line..first_line + u32::from(vectors))?;
        let is_edge = |state| state & (uapi::LINE_LEVEL | uapi::LINE_AUTOMASK) == 0;
        if let Some(at) = saved.iter().position(|line| !is_edge(line.state)) {
            let line = first_line + at as u32;
            return Err(Error::NotEdge { line });
        }
        let lines = KernelLines { context, status };
        let device = Device::new(lines, first_line, vectors, route)?;
        Ok(Self { device })
    }

    fn check_vectors(vectors: u16) -> Result<()> {
        match vectors {
            1..=MAX_VECTORS => Ok(()),
            _ => Err(Error::Vectors { vectors }),
        }
    }

    /// Reads from the table into `data`, at `offset` bytes from its beginning.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, msix::Msix};
    /// # fn f(msix: &Msix<Box<dyn doorbell::msix::Route>>) {
    /// let mut control = [0; 4];
    /// msix.read_table(0x3c, &mut control);
    /// let vector_3_is_masked = control[0] & 1 != 0;
    /// # }
    /// ```
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        self.device.registers.read_table(offset, data);
    }

    /// Writes `data` to the table, at `offset` bytes from its beginning.
    ///
    /// If the write masks the vector, no delivery of the line is in flight when this returns. If it unmasks the
    /// vector, the message that the line holds has been delivered, unless the line is masked for another
    /// reason (the function's, a pause) or [moderated](Context::moderate).
    ///
    /// # Errors
    ///
    /// [`Error::Route`], [`Error::Commit`] and [`Error::Lines`]. The register has the new value; the
    /// [module](self#failures) describes what happens to the vector.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    pub fn write_table(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.device.write_table(offset, data)
    }

    /// Reads from the PBA into `data`, at `offset` bytes from its beginning. It takes no system call.
    ///
    /// Each bit is the pending message of the vector's line at that moment, whether or not the line is masked.
    /// Signals that have arrived before this call are in it. The bit of a vector that is not masked is set
    /// while a delivery is about to start, or while a [moderated](Context::moderate) line holds it.
    ///
    /// # Examples
    ///
    /// See [`Msix`].
    pub fn read_pba(&self, offset: u64, data: &mut [u8]) {
        self.device.read_pba(offset, data);
    }

    /// Returns Message Control: [`ENABLE`], [`FUNCTION_MASK`], and the number of vectors - 1.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::{ENABLE, Msix};
    /// # fn f(msix: &Msix<Box<dyn doorbell::msix::Route>>) {
    /// let uses_intx = msix.control() & ENABLE == 0;
    /// # }
    /// ```
    pub fn control(&self) -> u16 {
        self.device.registers.control()
    }

    /// Writes Message Control. All vectors are masked, or unmasked if they are not masked by themselves, in
    /// one call.
    ///
    /// # Errors
    ///
    /// Those of [`write_table`](Msix::write_table). The vectors that have their routes are unmasked.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    pub fn write_control(&mut self, value: u16) -> Result<()> {
        self.device.write_control(value)
    }

    /// Writes `data` to the capability in the configuration space, at `offset` bytes from its beginning.
    ///
    /// The write may have any length. Message Control is at offset 2, and a guest may reach it by a byte, a word or
    /// a dword. All else of the capability is read-only.
    ///
    /// # Errors
    ///
    /// Those of [`write_control`](Msix::write_control).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::{ENABLE, Msix, Route};
    /// # fn f<R: Route>(msix: &mut Msix<R>) -> Result<(), doorbell::msix::Error> {
    /// msix.write_capability(0, &0x8000_0000_u32.to_le_bytes())?;
    /// assert_ne!(msix.control() & ENABLE, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_capability(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.device.write_capability(offset, data)
    }

    /// Drops the pending message of `vector`.
    ///
    /// A device calls it if the event of a masked vector has been satisfied by other means. Then PCI asks for
    /// a pending bit of 0 and no message at the unmask. A signal that arrives during the call is dropped or kept.
    /// So the device calls it first, then checks for new events, and signals if it finds one.
    ///
    /// # Errors
    ///
    /// [`Error::NoVector`] and [`Error::Lines`]: the message is kept.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::{Msix, Route};
    /// # fn f<R: Route>(msix: &Msix<R>) -> Result<(), doorbell::msix::Error> {
    /// // The guest has polled the queue of vector 3, and it is empty.
    /// msix.withdraw(3)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn withdraw(&self, vector: u16) -> Result<()> {
        self.device.withdraw(vector)
    }

    /// Resets the function: masks all vectors, drops their messages, and resets the registers.
    ///
    /// Stop the device first, or its later signals are pending after the reset.
    ///
    /// # Errors
    ///
    /// [`Error::Lines`]. The registers have been reset.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::Msix;
    /// # fn f(msix: &mut Msix<Box<dyn doorbell::msix::Route>>) -> Result<(), doorbell::msix::Error> {
    /// msix.reset()?;
    /// assert_eq!(msix.control(), msix.vectors() - 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reset(&mut self) -> Result<()> {
        self.device.reset()
    }

    /// Routes all vectors that may send messages once more, each with its line masked.
    ///
    /// Call it if the VMM has lost its routes, or if an interrupt remapping table has changed.
    ///
    /// # Errors
    ///
    /// Those of [`write_control`](Msix::write_control).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::Msix;
    /// # fn f(msix: &mut Msix<Box<dyn doorbell::msix::Route>>) -> Result<(), doorbell::msix::Error> {
    /// msix.reroute()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reroute(&mut self) -> Result<()> {
        self.device.reroute()
    }

    /// Returns the registers. The pending messages are in a [`Snapshot`](crate::Snapshot) of the context.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::{Error, Msix, Route};
    /// # fn f<R: Route>(msix: Msix<R>, mut next: Msix<R>) -> Result<(), Error> {
    /// let state = msix.save();
    /// next.restore(&state)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn save(&self) -> MsixState {
        MsixState::of(&self.device.registers)
    }

    /// Brings the registers into `state`, routes the vectors, and sets the masks of the lines.
    ///
    /// Call it after [`Context::restore`]; the [module](self#save-and-restore) has the order of all calls. If the
    /// lines are not paused, they deliver what they hold. Then the triggers must be assigned before.
    ///
    /// # Errors
    ///
    /// - [`Error::StateVersion`], [`Error::StateVectors`], [`Error::StateAddress`]: nothing has changed.
    /// - Those of [`write_control`](Msix::write_control): the registers are restored.
    ///
    /// # Examples
    ///
    /// See [`save`](Msix::save).
    pub fn restore(&mut self, state: &MsixState) -> Result<()> {
        let registers = state.to_registers(self.vectors())?;
        self.device.restore(registers)
    }
}

impl<R> Msix<R> {
    /// Returns the number of vectors.
    ///
    /// # Examples
    ///
    /// See [`reset`](Msix::reset).
    pub fn vectors(&self) -> u16 {
        self.device.registers.vectors()
    }

    /// Returns the size of the table, in bytes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::{ENTRY_SIZE, Msix};
    /// # fn f<R>(msix: &Msix<R>) {
    /// assert_eq!(msix.table_size(), u64::from(msix.vectors()) * ENTRY_SIZE);
    /// # }
    /// ```
    pub fn table_size(&self) -> u64 {
        self.device.registers.table_size()
    }

    /// Returns the size of the PBA, in bytes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::Msix;
    /// # fn f<R>(msix: &Msix<R>) {
    /// assert_eq!(msix.pba_size() % 8, 0);
    /// # }
    /// ```
    pub fn pba_size(&self) -> u64 {
        self.device.registers.pba_size()
    }

    /// Returns the context.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::Msix;
    /// # fn f<R>(msix: &Msix<R>) -> doorbell::Result {
    /// msix.context().ring(3)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn context(&self) -> &Arc<Context> {
        &self.device.lines.context
    }

    /// Returns the routes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::Msix;
    /// # struct KvmRoutes { first_gsi: u32 }
    /// # fn f(msix: &Msix<KvmRoutes>) {
    /// let first_gsi = msix.route().first_gsi;
    /// # }
    /// ```
    pub fn route(&self) -> &R {
        &self.device.route
    }

    /// Returns the routes, to change them. Call [`reroute`](Msix::reroute) if they are lost.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::msix::Msix;
    /// # struct KvmRoutes { first_gsi: u32 }
    /// # fn f(msix: &mut Msix<KvmRoutes>) {
    /// msix.route_mut().first_gsi = 24;
    /// # }
    /// ```
    pub fn route_mut(&mut self) -> &mut R {
        &mut self.device.route
    }
}

/// Formats the registers and not the routes, whose type need not be [`Debug`].
impl<R> fmt::Debug for Msix<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Msix")
            .field("first_line", &self.device.first_line())
            .field("registers", &self.device.registers)
            .finish_non_exhaustive()
    }
}
