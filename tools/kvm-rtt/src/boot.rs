// SPDX-License-Identifier: GPL-2.0-only

//! Set-up of an x86-64 vCPU in long mode, with its interrupt controller enabled.
//!
//! A vCPU comes out of reset in real mode. KVM lets the VMM set another state, so the guest needs
//! no code for the transition.

use crate::{layout, memory};
use anyhow::{ensure, Context, Result};
use kvm_bindings::{
    kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_segment, Msrs,
    KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_RUNNABLE,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::GuestMemoryMmap;

const MSR_TSC: u32 = 0x10;

const CODE_SELECTOR: u16 = 8;
const DATA_SELECTOR: u16 = 16;
/// Flat segments: none; 64-bit code, readable; data, writable. Present, accessed, granularity 4
/// KiB.
const DESCRIPTORS: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

const CR0_PE: u64 = 1 << 0;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// This bit is always set.
const RFLAGS: u64 = 1 << 1;

/// Flags of page table entries: present, writable, accessed; for a large page also dirty and large.
const TABLE: u64 = 0x23;
const LARGE: u64 = 0xe3;

const APIC_BASE_ENABLE: u64 = 1 << 11;
const APIC_BASE_X2APIC: u64 = 1 << 10;
/// The spurious interrupt vector register. Its value is vector 0xff and bit 8, which enables the
/// APIC.
const APIC_SPIV: usize = 0xf0;
const APIC_SPIV_ON: u32 = 0x1ff;

/// The program of a guest. All vCPUs run the same one.
#[derive(Clone, Debug)]
pub struct Program {
    /// The code, which is copied to [`layout::CODE`]: position-independent, at most a page.
    pub code: &'static [u8],
    /// The interrupt handlers: vectors, and the offsets of the handlers in the code.
    pub handlers: Vec<(u8, u64)>,
}

/// Loads the memory that all vCPUs share: descriptors, page tables, the program.
///
/// # Errors
///
/// The code is larger than its page, or the memory is smaller than [`layout::MEMORY`].
pub fn load(memory: &GuestMemoryMmap, program: &Program) -> Result<()> {
    let tables = [
        (layout::GDT, DESCRIPTORS.to_vec()),
        (layout::PML4, vec![layout::PDPT | TABLE]),
        (layout::PDPT, vec![layout::PD | TABLE]),
        // An identity mapping of the first gigabyte, most of which has no memory.
        (
            layout::PD,
            (0..512).map(|page| (page << 21) | LARGE).collect(),
        ),
    ];
    let gates = program.handlers.iter().map(|&(vector, offset)| {
        let at = layout::IDT + 16 * u64::from(vector);
        (at, gate(layout::CODE + offset).to_vec())
    });
    memory::write(memory, program.code, tables.into_iter().chain(gates))
}

/// Returns the descriptor of an interrupt handler: present, 64-bit interrupt gate.
fn gate(handler: u64) -> [u64; 2] {
    let low = (handler & 0xffff) | (u64::from(CODE_SELECTOR) << 16);
    let middle = (handler >> 16) & 0xffff;
    [low | (0x8e << 40) | (middle << 48), handler >> 32]
}

/// Makes `vcpu` ready to run. [`load`] must have been called.
pub(crate) fn prepare(kvm: &Kvm, _: &VmFd, vcpu: &VcpuFd) -> Result<()> {
    // All features that KVM supports; x2APIC is one of them.
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
    vcpu.set_cpuid2(&cpuid).context("set the vCPU's CPUID")?;

    let mut sregs = vcpu.get_sregs()?;
    sregs.cr0 = CR0_PE | CR0_NE | CR0_PG;
    sregs.cr3 = layout::PML4;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME | EFER_LMA;
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = (8 * DESCRIPTORS.len() - 1) as u16;
    sregs.idt.base = layout::IDT;
    sregs.idt.limit = 0xfff;
    sregs.cs = segment(CODE_SELECTOR);
    let data = segment(DATA_SELECTOR);
    (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
    (sregs.fs, sregs.gs) = (data, data);
    sregs.apic_base |= APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    vcpu.set_sregs(&sregs).context("set the vCPU's state")?;

    let mut lapic = vcpu.get_lapic()?;
    set_register(&mut lapic, APIC_SPIV, APIC_SPIV_ON);
    vcpu.set_lapic(&lapic)
        .context("switch the vCPU's APIC on")?;

    // All vCPUs but the first would wait for a start-up message.
    let runnable = kvm_mp_state {
        mp_state: KVM_MP_STATE_RUNNABLE,
    };
    vcpu.set_mp_state(runnable).context("start the vCPU")?;
    Ok(())
}

fn segment(selector: u16) -> kvm_segment {
    let is_code = selector == CODE_SELECTOR;
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: if is_code { 0xb } else { 0x3 },
        present: 1,
        dpl: 0,
        db: (!is_code).into(),
        s: 1,
        l: is_code.into(),
        g: 1,
        ..Default::default()
    }
}

fn set_register(lapic: &mut kvm_lapic_state, at: usize, value: u32) {
    for (register, byte) in lapic.regs[at..].iter_mut().zip(value.to_le_bytes()) {
        *register = byte as _;
    }
}

/// The registers of a vCPU.
pub type Registers = kvm_regs;

/// Sets the registers of a vCPU.
pub(crate) fn set_registers(vcpu: &VcpuFd, registers: &Registers) -> Result<()> {
    Ok(vcpu.set_regs(registers)?)
}

/// Returns the address of the vCPU's next instruction.
pub(crate) fn position(vcpu: &VcpuFd) -> Result<u64> {
    Ok(vcpu.get_regs()?.rip)
}

/// Returns the TSC of the vCPU, which the guest's time stamps are from.
pub(crate) fn counter(vcpu: &VcpuFd) -> Result<u64> {
    let entry = kvm_msr_entry {
        index: MSR_TSC,
        ..Default::default()
    };
    let mut msrs = Msrs::from_entries(&[entry])?;
    let got = vcpu.get_msrs(&mut msrs).context("read the guest's TSC")?;
    ensure!(got == 1, "KVM does not let the guest's TSC be read");
    Ok(msrs.as_slice()[0].data)
}

/// Returns true if this exit is the guest's write to [`layout::DONE`].
pub(crate) fn is_done(exit: &VcpuExit<'_>) -> Result<bool> {
    Ok(matches!(exit, VcpuExit::IoOut(layout::DONE, _)))
}

/// Returns the registers of the vCPU `id` at `offset` of the code: its stack, interrupts disabled. The
/// others are zero.
pub fn registers(offset: u64, id: u64) -> Registers {
    Registers {
        rip: layout::CODE + offset,
        rsp: layout::stack(id),
        rflags: RFLAGS,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest;

    #[test]
    fn gate_has_the_address_in_three_parts() {
        let [low, high] = gate(0x1234_5678_9abc_def0);
        assert_eq!(low, 0x9abc_8e00_0008_def0);
        assert_eq!(high, 0x1234_5678);
    }

    #[test]
    fn spurious_vector_register_is_little_endian() {
        let mut lapic = kvm_lapic_state::default();
        set_register(&mut lapic, APIC_SPIV, APIC_SPIV_ON);
        let bytes: Vec<u8> = lapic.regs[0xf0..0xf4].iter().map(|&b| b as u8).collect();
        assert_eq!(bytes, [0xff, 1, 0, 0]);
    }

    #[test]
    fn nothing_overlaps() {
        let mut ends = vec![
            (layout::GDT, layout::GDT + 24),
            (layout::IDT, layout::IDT + 0x1000),
            (layout::PML4, layout::PML4 + 0x1000),
            (layout::PDPT, layout::PDPT + 0x1000),
            (layout::PD, layout::PD + 0x1000),
            (layout::CODE, layout::CODE + memory::code().len() as u64),
            (layout::COUNT, layout::COUNT + 4),
        ];
        for id in 0..2 {
            ends.push((layout::stack(id) - 0x1000, layout::stack(id)));
            let most = guest::Entry::Circle.stamps(layout::MOST_WRITES) as u64;
            ends.push((layout::stamps(id), layout::stamps(id) + 8 * most));
        }
        ends.sort_unstable();
        for pair in ends.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{pair:x?}");
        }
        assert!(ends.last().unwrap().1 <= layout::MEMORY);
        assert!(
            layout::mmio(0) >= layout::MEMORY && layout::mmio(99) < 1 << 30,
            "mapped, and no memory"
        );
    }
}
