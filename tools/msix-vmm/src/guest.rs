// SPDX-License-Identifier: GPL-2.0-only

//! The code of the guest.
//!
//! As in kvm-rtt, the assembler places it in this crate's constants, and the VMM copies it to the guest's
//! memory. To disassemble it, use `objdump -d -j .rodata.msix_vmm -M intel` on the built library.
//!
//! Before each run the VMM sets the instruction pointer, the arguments of the entry, and:
//!
//! | register | |
//! |---|---|
//! | r13 | the counts of this vCPU ([`layout::counts`]) |
//! | r14 | the shared words ([`layout::SHARED`]) |
//! | r15 | the counts of the vCPU that the vector interrupts |
//! | rsp | stack |
//! | rflags | interrupts disabled |
//!
//! The handlers change no register. Interrupts are enabled while an entry runs. So an interrupt that is
//! in this vCPU's APIC when an access returns is taken before the next instruction.

use crate::layout::{self, result, shared};
use kvm_bindings::kvm_regs;
use kvm_rtt::Program;

std::arch::global_asm!(
    r#"
	.pushsection .rodata.msix_vmm, "a", @progbits
# Visible in the whole crate, which may be compiled as several units.
	.irp	name, code, wait, script, storm, retarget, pairs, handlers, code_end
	.globl	msix_vmm_\name
	.hidden	msix_vmm_\name
	.endr

msix_vmm_code:
# The end of a run. The VMM sets all registers before the next run.
msix_vmm_done:
	cli
	mov	edx, {done}
	out	dx, al
	jmp	msix_vmm_done

# Waits until the word at rdi is at least rsi, as an idle CPU does: an interrupt after the comparison
# ends the hlt, as sti enables interrupts only after the next instruction.
msix_vmm_wait:
1:	cli
	cmp	[rdi], rsi
	jae	msix_vmm_done
	sti
	hlt
	jmp	1b

# Executes the script at rdi: steps of four words. The first is the operation: 0 end, 1 write 32 bits,
# 2 read 32 bits. The second is the address, the third the value. The fourth becomes the count at r11 after
# the step.
msix_vmm_script:
	sti
1:	mov	eax, [rdi]
	mov	rsi, [rdi + 8]
	mov	rdx, [rdi + 16]
	cmp	eax, 1
	je	11f
	cmp	eax, 2
	je	12f
	jmp	msix_vmm_done
11:	mov	[rsi], edx
	jmp	2f
12:	mov	edx, [rsi]
2:	mov	[rdi + 16], rdx
	mov	rcx, [r11]
	mov	[rdi + 24], rcx
	add	rdi, 32
	jmp	1b

# Masks and unmasks until it is stopped. Arguments: r8, r9: addresses of the vector control and of the
# 32 bits of the PBA with the pending bit; r10d: that bit; r11: the address of the count; rdi: the
# interrupt vector. In rbx: the number of rounds. In rbp: the pending bit, as last read. In rsi: the
# count of the last round. In r12: the last signal that had begun before the mask was complete. If a later
# one is complete, it was sent to the masked vector, so its bit is one.
msix_vmm_storm:
	sti
	xor	ebx, ebx
	xor	ebp, ebp
1:	mov	dword ptr [r8], 1
	call	msix_vmm_sync
# Nothing is in flight. A message that was pending in the last round has arrived.
	mov	rcx, [r11]
	test	ebp, ebp
	jz	2f
	cmp	rcx, rsi
	jne	2f
	inc	qword ptr [r13 + {lost}]
2:	mov	rsi, rcx
	mov	[r14 + {quiet}], rdi
	mov	r12, [r14 + {begun}]
	mov	ebp, [r9]
	and	ebp, r10d
	mov	edx, 16
3:	pause
	dec	edx
	jnz	3b
	mov	rdx, [r14 + {complete}]
	mov	eax, [r9]
	and	eax, r10d
	cmp	rdx, r12
	jbe	7f
	inc	qword ptr [r13 + {decided}]
	test	eax, eax
	jnz	7f
	inc	qword ptr [r13 + {unseen}]
7:	test	eax, eax
	jnz	4f
	test	ebp, ebp
	jz	5f
	inc	qword ptr [r13 + {vanished}]
	jmp	5f
4:	inc	qword ptr [r13 + {pending}]
5:	mov	ebp, eax
	mov	qword ptr [r14 + {quiet}], 0
# The handlers compare with the quiet word, too. This also covers the time before it was set.
	cmp	rsi, [r11]
	je	6f
	inc	qword ptr [r13 + {spurious}]
6:	mov	dword ptr [r8], 0
	inc	rbx
	mov	[r13 + {rounds}], rbx
	cmp	qword ptr [r14 + {stop}], 0
	je	1b
	jmp	msix_vmm_done

# Moves the vector from target to target until it is stopped. Arguments: rdi: address of the table entry;
# rsi, r9: begin and end of the targets, of which the first is the target now; r8d: not zero to mask the
# vector meanwhile. In rbx: the target; in rbp: the next one. A target has eight words: address, data, the
# address of its count, the counts of its vCPU, and the count when the vector left it.
msix_vmm_retarget:
	sti
	mov	rbx, rsi
1:	lea	rbp, [rbx + 64]
	cmp	rbp, r9
	jb	2f
	mov	rbp, rsi
# Interrupts of the next target since the vector left it.
2:	mov	rax, [rbp + 16]
	mov	rax, [rax]
	sub	rax, [rbp + 32]
	add	[r13 + {spurious}], rax
# When the mask returns, or else the last of the writes, nothing is in flight. An earlier message may be in
# the APIC of the old target, and interrupts now. From then on no other one may.
	mov	r15, [rbx + 24]
	test	r8d, r8d
	jz	3f
	mov	dword ptr [rdi + 12], 1
	call	msix_vmm_sync
	mov	rax, [rbx + 16]
	mov	rax, [rax]
	mov	[rbx + 32], rax
3:	mov	rax, [rbp]
	mov	[rdi], eax
	shr	rax, 32
	mov	[rdi + 4], eax
	mov	eax, [rbp + 8]
	mov	[rdi + 8], eax
	test	r8d, r8d
	jz	4f
	mov	dword ptr [rdi + 12], 0
	jmp	5f
4:	call	msix_vmm_sync
	mov	rax, [rbx + 16]
	mov	rax, [rax]
	mov	[rbx + 32], rax
5:	mov	rbx, rbp
	inc	qword ptr [r13 + {rounds}]
	cmp	qword ptr [r14 + {stop}], 0
	je	1b
	jmp	msix_vmm_done

# Masks and unmasks rdi times. Argument: r8: address of the vector control.
msix_vmm_pairs:
	sti
1:	mov	dword ptr [r8], 1
	mov	dword ptr [r8], 0
	dec	rdi
	jnz	1b
	jmp	msix_vmm_done

# Waits until the interrupts in the APIC of the vCPU with the counts at r15 have been taken: those of this
# vCPU have been; the other one is sent an interrupt of lower priority. Changes no register.
msix_vmm_sync:
	cmp	r15, r13
	je	2f
	push	rax
	push	rcx
	push	rdx
	push	rbx
	mov	rbx, [r15 + 8 * {sync}]
	mov	rdx, r15
	sub	rdx, {counts}
	shr	rdx, 12
	mov	eax, 0x4000 + {sync}
	mov	ecx, 0x830
	wrmsr
1:	pause
	cmp	rbx, [r15 + 8 * {sync}]
	je	1b
	pop	rbx
	pop	rdx
	pop	rcx
	pop	rax
2:	ret

# The handlers, 16 bytes each. First those of the fence and of the other vCPU's messages.
	.balign	16
msix_vmm_handlers:
	.irp	vector, {fence}, {sync}, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f
	.balign	16
	push	\vector
	jmp	msix_vmm_interrupt
	.endr

# Counts, stores the sequence number, ends the automask, and writes x2APIC's EOI, whose value is zero.
msix_vmm_interrupt:
	push	rax
	push	rcx
	push	rdx
	mov	rax, [rsp + 24]
	inc	qword ptr [r13 + 8 * rax]
	cmp	eax, {first}
	jb	3f
	cmp	[r14 + {quiet}], rax
	jne	1f
	inc	qword ptr [r13 + {spurious}]
1:	mov	rcx, [r14 + {begun}]
	mov	[r13 + {seen}], rcx
	mov	rcx, [r14 + {unmask}]
	test	rcx, rcx
	jz	3f
	mov	[rcx], eax
3:	mov	ecx, 0x80b
	xor	eax, eax
	xor	edx, edx
	wrmsr
	pop	rdx
	pop	rcx
	pop	rax
	add	rsp, 8
	iretq
msix_vmm_code_end:
	.popsection
"#,
    done = const kvm_rtt::layout::DONE,
    counts = const layout::counts(0),
    fence = const layout::FENCE,
    sync = const layout::SYNC,
    first = const layout::FIRST,
    seen = const result::SEEN,
    spurious = const result::SPURIOUS,
    lost = const result::LOST,
    vanished = const result::VANISHED,
    rounds = const result::ROUNDS,
    pending = const result::PENDING,
    unseen = const result::UNSEEN,
    decided = const result::DECIDED,
    quiet = const shared::QUIET,
    begun = const shared::BEGUN,
    complete = const shared::DONE,
    unmask = const shared::UNMASK,
    stop = const shared::STOP,
);

extern "C" {
    static msix_vmm_code: u8;
    static msix_vmm_code_end: u8;
    static msix_vmm_wait: u8;
    static msix_vmm_script: u8;
    static msix_vmm_storm: u8;
    static msix_vmm_retarget: u8;
    static msix_vmm_pairs: u8;
    static msix_vmm_handlers: u8;
}

/// An entry point of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Waits until a word has a value: rdi, rsi.
    Wait,
    /// Executes a script: rdi, r11.
    Script,
    /// Masks and unmasks a vector until it is stopped: rdi, r8, r9, r10, r11.
    Storm,
    /// Moves a vector from target to target until it is stopped: rdi, rsi, r8, r9.
    Retarget,
    /// Masks and unmasks a vector a number of times: rdi, r8.
    Pairs,
}

impl Entry {
    fn offset(self) -> u64 {
        offset(match self {
            Entry::Wait => &raw const msix_vmm_wait,
            Entry::Script => &raw const msix_vmm_script,
            Entry::Storm => &raw const msix_vmm_storm,
            Entry::Retarget => &raw const msix_vmm_retarget,
            Entry::Pairs => &raw const msix_vmm_pairs,
        })
    }

    /// Returns the registers of `vcpu` at this entry, for a vector that interrupts the vCPU `target`. The
    /// arguments are zero.
    pub(crate) fn registers(self, vcpu: u64, target: u64) -> kvm_regs {
        kvm_regs {
            r13: layout::counts(vcpu),
            r14: layout::SHARED,
            r15: layout::counts(target),
            ..kvm_rtt::registers(self.offset(), vcpu)
        }
    }
}

fn offset(label: *const u8) -> u64 {
    (label.addr() - (&raw const msix_vmm_code).addr()) as u64
}

/// Returns the program: the code, with a handler for each vector.
pub(crate) fn program() -> Program {
    let start = &raw const msix_vmm_code;
    let len = offset(&raw const msix_vmm_code_end) as usize;
    let vectors = [layout::FENCE, layout::SYNC]
        .into_iter()
        .chain(layout::FIRST..layout::FIRST + layout::VECTORS);
    let first = offset(&raw const msix_vmm_handlers);
    Program {
        // SAFETY: The assembler places the labels in this order in one section, with constants between.
        code: unsafe { std::slice::from_raw_parts(start, len) },
        handlers: vectors.zip((first..).step_by(16)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_fits_its_page() {
        let len = program().code.len();
        assert!((400..0x1000).contains(&len), "{len}");
    }

    #[test]
    fn each_handler_pushes_its_vector() {
        let program = program();
        assert_eq!(program.handlers.len(), 2 + usize::from(layout::VECTORS));
        for &(vector, at) in &program.handlers {
            // push imm8
            assert_eq!(program.code[at as usize..][..2], [0x6a, vector]);
        }
    }

    #[test]
    fn entries_begin_as_they_should() {
        let code = program().code;
        // cli; mov edx, DONE; out dx, al
        assert!(code.starts_with(&[0xfa, 0xba, 0x00, 0x05, 0x00, 0x00, 0xee]));
        // iretq
        assert!(code.ends_with(&[0x48, 0xcf]));
        let first = |entry: Entry| code[entry.offset() as usize];
        assert_eq!(first(Entry::Wait), 0xfa);
        for entry in [Entry::Script, Entry::Storm, Entry::Retarget, Entry::Pairs] {
            // sti
            assert_eq!(first(entry), 0xfb, "{entry:?}");
        }
    }
}
