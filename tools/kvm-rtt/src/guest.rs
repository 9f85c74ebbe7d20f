// SPDX-License-Identifier: GPL-2.0-only

//! The code of the guest on x86-64.
//!
//! The assembler places it in this crate's constants, and the VMM copies it to the guest's memory.
//! It is never executed here. It is position-independent. To disassemble it, use
//! `objdump -d -j .rodata.kvm_rtt -M intel` on the built library (`libkvm_rtt.rlib`).
//!
//! It runs at privilege level 0, in 64-bit mode. Before each run the VMM sets the instruction
//! pointer and these registers:
//!
//! | register | |
//! |---|---|
//! | rdi | address of the next time stamp |
//! | rsi, r8w | MMIO address, or I/O port, of the writes |
//! | r9d | number of writes, not zero |
//! | r10d | value of the writes |
//! | r13 | address of the interrupt count, which all vCPUs share |
//! | r14d | number of interrupts to wait for, without writes |
//! | rsp | stack |
//! | rflags | interrupts disabled |
//!
//! The code may change rax, rcx, rdx and r11. The handler may change all of them but r11: where
//! interrupts are enabled, the others hold nothing.

use crate::{
    boot::{self, Program, Registers},
    layout::{self, DONE},
    memory,
    wiring::Address,
};

std::arch::global_asm!(
    r#"
	.pushsection .rodata.kvm_rtt, "a", @progbits
# Visible in the whole crate, which may be compiled as several units.
	.irp	name, code, pio, mmio, vmcall, vmmcall, circle, ping, pong, interrupt, code_end
	.globl	kvm_rtt_\name
	.hidden	kvm_rtt_\name
	.endr

# Stores the time as the next time stamp.
	.macro	stamp
	rdtsc
	shl	rdx, 32
	or	rax, rdx
	mov	[rdi], rax
	add	rdi, 8
	.endm

kvm_rtt_code:
# The end of a run. The VMM sets all registers before the next run.
kvm_rtt_done:
	mov	edx, {done}
	out	dx, al
	jmp	kvm_rtt_done

# Writes to an I/O port. Stamps: one before the first write, and one after each; n + 1.
kvm_rtt_pio:
	stamp
1:	mov	edx, r8d
	mov	eax, r10d
	out	dx, eax
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# The same to an MMIO address.
kvm_rtt_mmio:
	stamp
1:	mov	[rsi], r10d
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# The same with hypercalls: 1 is KVM_HC_VAPIC_POLL_IRQ, which does nothing. Intel's instruction:
kvm_rtt_vmcall:
	stamp
1:	mov	eax, 1
	vmcall
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# AMD's instruction:
kvm_rtt_vmmcall:
	stamp
1:	mov	eax, 1
	vmmcall
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# Writes to an MMIO address, and waits for an interrupt each time. Stamps: one before each write,
# and one by the handler; 2n. The wait is that of an idle CPU: it reads the count with interrupts
# disabled. An interrupt after that ends the hlt, as sti enables interrupts only after the next
# instruction. An interrupt right after the write is taken there.
kvm_rtt_circle:
1:	mov	r11d, [r13]
	stamp
	sti
	mov	[rsi], r10d
2:	cli
	cmp	r11d, [r13]
	jne	3f
	sti
	hlt
	jmp	2b
3:	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# Ping: the same, but another vCPU is interrupted. This one polls the count. It makes both stamps,
# as the clocks of the CPUs may differ; 2n.
kvm_rtt_ping:
1:	mov	r11d, [r13]
	stamp
	mov	[rsi], r10d
2:	pause
	cmp	r11d, [r13]
	je	2b
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# Pong, the other vCPU: waits for n interrupts. Stamps: one by the handler each; n.
kvm_rtt_pong:
1:	cli
	test	r14d, r14d
	jz	kvm_rtt_done
	sti
	hlt
	jmp	1b

# The interrupt handler: counts, stamps, and writes x2APIC's EOI, whose value is zero.
kvm_rtt_interrupt:
	inc	dword ptr [r13]
	stamp
	dec	r14d
	mov	ecx, 0x80b
	xor	eax, eax
	xor	edx, edx
	wrmsr
	iretq
kvm_rtt_code_end:

	.purgem	stamp
	.popsection
"#,
    done = const DONE,
);

extern "C" {
    static kvm_rtt_pio: u8;
    static kvm_rtt_mmio: u8;
    static kvm_rtt_vmcall: u8;
    static kvm_rtt_vmmcall: u8;
    static kvm_rtt_circle: u8;
    static kvm_rtt_ping: u8;
    static kvm_rtt_pong: u8;
    static kvm_rtt_interrupt: u8;
}

/// An entry point of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Pio,
    Mmio,
    Vmcall,
    Vmmcall,
    Circle,
    /// The same code. Measured from one interrupt to the next.
    Whole,
    Ping,
    Pong,
    Interrupt,
}

impl Entry {
    /// Returns the entry of this CPU's hypercall instruction. KVM would replace the wrong one by the
    /// right one.
    pub(crate) fn hypercall() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        match cpuinfo.split_whitespace().any(|flag| flag == "svm") {
            true => Entry::Vmmcall,
            false => Entry::Vmcall,
        }
    }

    /// Returns the offset from the beginning of the code.
    pub(crate) fn offset(self) -> u64 {
        let at = match self {
            Entry::Pio => &raw const kvm_rtt_pio,
            Entry::Mmio => &raw const kvm_rtt_mmio,
            Entry::Vmcall => &raw const kvm_rtt_vmcall,
            Entry::Vmmcall => &raw const kvm_rtt_vmmcall,
            Entry::Circle | Entry::Whole => &raw const kvm_rtt_circle,
            Entry::Ping => &raw const kvm_rtt_ping,
            Entry::Pong => &raw const kvm_rtt_pong,
            Entry::Interrupt => &raw const kvm_rtt_interrupt,
        };
        memory::offset(at)
    }
}

/// Returns the program: one handler for messages and pins.
pub(crate) fn program() -> Program {
    let vectors = (0..layout::PINS).map(layout::pin_vector);
    Program {
        code: memory::code(),
        handlers: vectors
            .chain([layout::VECTOR])
            .map(|vector| (vector, Entry::Interrupt.offset()))
            .collect(),
    }
}

/// Returns the registers of the vCPU `id` at `entry`, for writes to `address`.
pub(crate) fn registers(entry: Entry, id: u64, n: u32, address: Option<Address>) -> Registers {
    let (mut port, mut mmio) = (0, 0);
    match address {
        Some(Address::Pio(at)) => port = at.into(),
        Some(Address::Mmio(at)) => mmio = at,
        None => {}
    }
    Registers {
        rsi: mmio,
        r8: port,
        rdi: layout::stamps(id),
        r9: n.into(),
        r10: layout::VALUE.into(),
        r13: layout::COUNT,
        r14: n.into(),
        ..boot::registers(entry.offset(), id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::code;

    const ALL: [Entry; 9] = [
        Entry::Pio,
        Entry::Mmio,
        Entry::Vmcall,
        Entry::Vmmcall,
        Entry::Circle,
        Entry::Whole,
        Entry::Ping,
        Entry::Pong,
        Entry::Interrupt,
    ];

    #[test]
    fn code_fits_its_page() {
        assert!((100..0x1000).contains(&code().len()), "{}", code().len());
    }

    #[test]
    fn entries_are_in_the_code_and_begin_as_they_should() {
        for entry in ALL {
            let begin = &code()[entry.offset() as usize..];
            let expected: &[u8] = match entry {
                // rdtsc
                Entry::Pio | Entry::Mmio | Entry::Vmcall | Entry::Vmmcall => &[0x0f, 0x31],
                // mov r11d, [r13]
                Entry::Circle | Entry::Whole | Entry::Ping => &[0x45, 0x8b, 0x5d, 0x00],
                // cli
                Entry::Pong => &[0xfa],
                // inc dword ptr [r13]
                Entry::Interrupt => &[0x41, 0xff, 0x45, 0x00],
            };
            assert!(begin.starts_with(expected), "{entry:?}: {begin:x?}");
        }
        // mov edx, DONE; out dx, al
        assert!(code().starts_with(&[0xba, 0x00, 0x05, 0x00, 0x00, 0xee]));
        // iretq
        assert!(code().ends_with(&[0x48, 0xcf]));
    }
}
