// SPDX-License-Identifier: GPL-2.0-only

//! A machine: a VM with two vCPUs and one function.

use crate::{
    function::Function,
    guest::{self, Entry},
    layout::{self, result},
    window,
};
use anyhow::{ensure, Result};
use doorbell::msix::Message;
use kvm_bindings::kvm_regs;
use kvm_rtt::{message_to, Access, Vm};
use std::sync::{atomic::Ordering, Arc, Mutex, MutexGuard, PoisonError};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// A step of a script, which the guest executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes 32 bits to an address.
    Write32(u64, u32),
    /// Reads 32 bits of an address.
    Read32(u64),
}

impl Step {
    fn words(self) -> [u64; 4] {
        match self {
            Step::Write32(address, value) => [1, address, value.into(), 0],
            Step::Read32(address) => [2, address, 0, 0],
        }
    }
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The value that was read or written.
    pub value: u64,
    /// The count of the interrupt vector after the step.
    pub count: u64,
}

/// The target of a message: a vCPU and an interrupt vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The vCPU.
    pub vcpu: u64,
    /// The interrupt vector: one of [`layout::FIRST`] and the following [`layout::VECTORS`].
    pub vector: u8,
}

impl Target {
    /// Returns the message that interrupts the target.
    pub fn message(self) -> Message {
        message_to(self.vcpu, self.vector)
    }
}

/// The guest's memory, as other threads see it.
#[derive(Clone)]
pub struct Memory(GuestMemoryMmap);

impl Memory {
    /// Reads a word.
    ///
    /// # Panics
    ///
    /// Panics if there is no word at `address`. So do the other functions.
    pub fn load(&self, address: u64) -> u64 {
        let word = self.0.load(GuestAddress(address), Ordering::SeqCst);
        word.expect("a word of the layout")
    }

    /// Writes a word.
    pub fn store(&self, address: u64, value: u64) {
        let stored = self.0.store(value, GuestAddress(address), Ordering::SeqCst);
        stored.expect("a word of the layout");
    }

    /// Returns the number of interrupts of a target.
    pub fn count(&self, target: Target) -> u64 {
        self.load(layout::count(target.vcpu, target.vector))
    }

    /// Returns the number of interrupts by the device's messages.
    pub fn interrupts(&self) -> u64 {
        let of = |vcpu| {
            let vectors = layout::FIRST..layout::FIRST + layout::VECTORS;
            vectors.map(move |vector| Target { vcpu, vector })
        };
        (0..layout::VCPUS)
            .flat_map(of)
            .map(|target| self.count(target))
            .sum()
    }

    /// Returns the sum of a result over the vCPUs.
    pub fn sum(&self, offset: u64) -> u64 {
        let words = (0..layout::VCPUS).map(|vcpu| self.load(layout::counts(vcpu) + offset));
        words.sum()
    }

    /// Returns the latest sequence number that a handler has read.
    pub fn seen(&self) -> u64 {
        let seen = |vcpu| self.load(layout::counts(vcpu) + result::SEEN);
        (0..layout::VCPUS).map(seen).max().unwrap_or_default()
    }
}

/// A VM with two vCPUs, whose accesses to the window go to a function.
pub struct Machine<F> {
    vm: Vm,
    function: Arc<Mutex<F>>,
    memory: Memory,
}

impl<F: Function + 'static> Machine<F> {
    /// Creates a VM, its function by `make`, and its vCPUs.
    ///
    /// # Errors
    ///
    /// There is no KVM that works, or `make` fails.
    pub fn new(make: impl FnOnce(&Vm) -> Result<F>) -> Result<Self> {
        let mut vm = Vm::new(&guest::program())?;
        let function = Arc::new(Mutex::new(make(&vm)?));
        let memory = Memory(vm.memory().clone());
        let inside = function.clone();
        let on_access =
            Arc::new(move |access: Access<'_>| window::access(&mut *lock(&inside), access));
        for _ in 0..layout::VCPUS {
            vm.add_vcpu(None, on_access.clone())?;
        }
        Ok(Self {
            memory,
            vm,
            function,
        })
    }

    /// Returns the function. A vCPU that accesses it waits until it is given back.
    pub fn function(&self) -> MutexGuard<'_, F> {
        lock(&self.function)
    }

    /// Returns the guest's memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns the VM.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// Starts `vcpu` at `entry`, for a vector that interrupts the vCPU `target`. `set` sets the arguments.
    pub fn start(
        &self,
        vcpu: u64,
        entry: Entry,
        target: u64,
        set: impl FnOnce(&mut kvm_regs),
    ) -> Result<()> {
        let mut regs = entry.registers(vcpu, target);
        set(&mut regs);
        self.vm.vcpu(vcpu).start(regs)
    }

    /// Waits until the run of `vcpu` has ended.
    pub fn finish(&self, vcpu: u64) -> Result<()> {
        self.vm.vcpu(vcpu).wait().map(drop)
    }

    /// Lets the first vCPU execute `steps` for a vector with this target. The other vCPU takes interrupts
    /// meanwhile.
    pub fn execute(&self, target: Target, steps: &[Step]) -> Result<Vec<Stepped>> {
        ensure!(steps.len() <= layout::MOST_STEPS, "the script is too long");
        let base = layout::script(0);
        let words = steps.iter().flat_map(|step| step.words()).chain([0; 4]);
        for (address, word) in (base..).step_by(8).zip(words) {
            self.memory.store(address, word);
        }
        self.serve(1)?;
        self.start(0, Entry::Script, target.vcpu, |regs| {
            regs.rdi = base;
            regs.r11 = layout::count(target.vcpu, target.vector);
        })?;
        self.finish(0)?;
        self.drain(1)?;
        let stepped = |at: u64| Stepped {
            value: self.memory.load(at + 16),
            count: self.memory.load(at + 24),
        };
        Ok((base..)
            .step_by(32)
            .take(steps.len())
            .map(stepped)
            .collect())
    }

    /// Sends a fence to `vcpu`, whose interrupt comes after those of all messages before it. Returns the
    /// count of fences that says that it has arrived.
    fn send_fence(&self, vcpu: u64) -> Result<u64> {
        let fence = Target {
            vcpu,
            vector: layout::FENCE,
        };
        let count = self.memory.count(fence) + 1;
        let sent = self.vm.irqs().send(fence.message())?;
        ensure!(sent, "the vCPU {vcpu} does not take messages");
        Ok(count)
    }

    /// Lets `vcpu` take interrupts until [`drain`](Machine::drain).
    pub fn serve(&self, vcpu: u64) -> Result<()> {
        let fence = layout::count(vcpu, layout::FENCE);
        let count = self.memory.load(fence) + 1;
        self.start(vcpu, Entry::Wait, vcpu, |regs| {
            regs.rdi = fence;
            regs.rsi = count;
        })
    }

    /// Ends what [`serve`](Machine::serve) has begun, after all interrupts in the APIC of `vcpu`.
    pub fn drain(&self, vcpu: u64) -> Result<()> {
        self.send_fence(vcpu)?;
        self.finish(vcpu)
    }

    /// Lets both vCPUs, which are not running, take the interrupts of all signals before.
    pub fn settle(&self) -> Result<()> {
        self.function().settle()?;
        for vcpu in 0..layout::VCPUS {
            self.serve(vcpu)?;
            self.drain(vcpu)?;
        }
        Ok(())
    }
}

fn lock<F>(function: &Mutex<F>) -> MutexGuard<'_, F> {
    function.lock().unwrap_or_else(PoisonError::into_inner)
}
