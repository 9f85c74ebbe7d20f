# SPDX-License-Identifier: GPL-2.0
#
# doorbell: a software interrupt controller for eventfds. Try "make help".
#
# The module itself is built by the kernel's build system, which reads Kbuild.

KDIR ?= /lib/modules/$(shell uname -r)/build
LAB := tools/lab/lab
ARGS ?=

ifneq ($(FLAVOUR),)
export DOORBELL_FLAVOUR := $(FLAVOUR)
endif

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR)
check-kdir := sh tools/check-kdir.sh

# As in the kernel's Makefile: only the command line changes them.
RUSTC = rustc
BINDGEN = bindgen

default: modules

help:
	@echo 'In the lab: on any Debian 12 or 13; sets up what is missing by itself'
	@echo '  make rtt          - boot a VM, load the module, print the round-trip tables'
	@echo '  make rtt-qemu     - what a write to a doorbell costs a guest of an unmodified QEMU'
	@echo '  make report       - all of that as a page with pictures, doorbell-report.html'
	@echo '  make test         - run all tests; ends with "N passed, N failed"'
	@echo '                      T="mask* relay": those only; T="!model": not that'
	@echo '  make test-debug   - the same with a kernel that checks everything it can: KASAN,'
	@echo '                      lockdep, kmemleak, fault injection, KUnit, ...; the first time'
	@echo '                      builds that kernel'
	@echo '  make model        - every interleaving of what a line does: how many, and what breaks them'
	@echo '  make check        - format, lint and documentation checks'
	@echo '  make torture DURATION=60 - everything at once, at random, for that many seconds'
	@echo '  make samples      - run the samples; each says what it has shown'
	@echo '  make bench        - what assigning costs, and whether size does; ARGS="assign": only that'
	@echo '  make module M=DIR - build the module in DIR, yours, against doorbell; samples/template is'
	@echo '                      one to copy'
	@echo '  make shell        - a shell in the VM, module loaded, tools on the PATH'
	@echo '  make lab          - set up only'
	@echo '  make lab-status   - what is set up, where, and how big'
	@echo '  make lab-clean    - remove it'
	@echo
	@echo 'Natively: for the running kernel, or KDIR=/path/to/its/build/directory'
	@echo '  make              - build the module; CONFIG_SAMPLE_DOORBELL=m: and those of the samples'
	@echo '  make modules_install - install it (as root)'
	@echo '  make clippy       - lint it'
	@echo '  make rustfmtcheck - check its format; rustfmt mends it'
	@echo '  make rust-analyzer - write rust-project.json for an editor'
	@echo '  make clean        - remove what was built'
	@echo
	@echo 'FLAVOUR=rt or FLAVOUR=debug: with another kernel than Debian'"'"'s default one; any of the'
	@echo 'targets for the lab takes it.'
	@echo 'ARGS="..." goes to the command: make rtt ARGS="--json". DOORBELL_LAB, DOORBELL_KERNEL and'
	@echo 'other variables of the lab: see Documentation/lab.rst.'

rtt report:
	@$(LAB) $@ $(ARGS)

rtt-qemu:
	@$(LAB) rtt --qemu $(ARGS)

bench:
ifneq ($(strip $(ARGS)),)
	@$(LAB) bench $(ARGS)
else
	@$(LAB) run /doorbell/tools/lab/guest/with-kvm \
		sh -c 'doorbell bench assign && doorbell bench bus && doorbell bench scale'
endif

module:
	@$(LAB) module '$(M)' $(ARGS)

# T='mask* relay': those tests only.
test:
	@$(LAB) test $(foreach t,$(T),'$(t)') $(ARGS)

check shell model:
	@$(LAB) $@

samples:
	@$(LAB) run /doorbell/samples/run $(ARGS)

test-debug:
	@$(MAKE) --no-print-directory test FLAVOUR=debug

DURATION ?= 60
torture:
	@$(LAB) torture '$(DURATION)' $(ARGS)

lab:
	@$(LAB) setup

lab-status lab-clean:
	@$(LAB) $(@:lab-%=%)

# What Kbuild would not explain.
have-kdir:
	@$(check-kdir) exists $(KDIR)

have-rust:
	@$(check-kdir) build $(KDIR) '$(RUSTC)' '$(BINDGEN)'

# As root: the compilers need not be on root's PATH.
have-module:
	@$(check-kdir) install $(KDIR) $(CURDIR)

modules rust-analyzer: have-rust
modules_install: have-module

modules modules_install rust-analyzer:
	+$(kbuild) $@

clippy: have-rust
	+$(kbuild) CLIPPY=1 KRUSTFLAGS=-Dwarnings CONFIG_SAMPLE_DOORBELL=m modules

rustfmtcheck: RUSTFMT_FLAGS := --check
rustfmt rustfmtcheck: have-kdir
	@conf=$$(readlink -f $(KDIR)/source)/.rustfmt.toml; \
	test -e $$conf || { echo "no .rustfmt.toml of the kernel source at $$conf" >&2; exit 1; }; \
	rustfmt $(RUSTFMT_FLAGS) --config-path $$conf rust/doorbell.rs samples/*/*.rs

clean: have-kdir
	+$(kbuild) clean

.PHONY: default help rtt rtt-qemu report bench module samples test test-debug torture model check shell lab lab-status lab-clean \
	have-kdir have-rust have-module modules modules_install clippy rustfmt rustfmtcheck rust-analyzer clean
