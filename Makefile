# SPDX-License-Identifier: GPL-2.0
#
# doorbell: a software interrupt controller for eventfds. Try "make help".
#
# The kernel's build system builds the module itself; it reads Kbuild.

KDIR ?= /lib/modules/$(shell uname -r)/build
LAB := tools/lab/lab
ARGS ?=

# A kernel that has the driver in its tree is a flavour of the lab. In the environment KERNEL can belong to
# another build, so only a target of the lab reports a wrong one.
IN_TREE_KERNELS := in-tree in-tree-y in-tree-lto
ifneq ($(filter-out $(IN_TREE_KERNELS),$(KERNEL)),)
LAB = $(error there is no KERNEL=$(KERNEL): it is one of: $(IN_TREE_KERNELS). DOORBELL_KERNEL names a version)
else ifneq ($(KERNEL),)
ifneq ($(filter-out $(KERNEL),$(FLAVOUR)),)
LAB = $(error FLAVOUR and KERNEL exclude each other: leave one of them out)
endif
FLAVOUR := $(KERNEL)
endif
ifneq ($(FLAVOUR),)
export DOORBELL_FLAVOUR := $(FLAVOUR)
endif
# In the environment it belongs to a kernel's build.
ifeq ($(origin ARCH),command line)
export DOORBELL_ARCH := $(ARCH)
endif
ifneq ($(REPEAT),)
export DOORBELL_REPEAT := $(REPEAT)
endif
ifneq ($(LOAD),)
export DOORBELL_LOAD := $(LOAD)
endif

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR)
check-kdir := sh tools/check-kdir.sh

# As in the kernel's Makefile, only the command line overrides these.
RUSTC = rustc
BINDGEN = bindgen

default: modules

help:
	@echo 'In the lab: on any Debian 12 or 13; the first run sets up the lab'
	@echo '  make rtt          - boot a VM, load the module, print tables of round-trip'
	@echo '                      times'
	@echo '  make rtt-qemu     - measure doorbell writes by a guest of an unmodified QEMU'
	@echo '  make msix         - boot a guest that masks MSI-X vectors while they are'
	@echo '                      signalled; compare with VMMs without doorbell'
	@echo '  make msix-vhost   - kill the vhost-user backend of such a guest, and migrate'
	@echo '                      its VMM'
	@echo '  make report       - write these measurements with charts to'
	@echo '                      doorbell-report.html'
	@echo '  make test         - run all tests; ends with "N passed, N failed"'
	@echo '                      T="mask* relay": only these; T="!model": all but this;'
	@echo '                      T=lab:guest: only tools/lab/test/guest.sh'
	@echo '                      REPEAT=20 LOAD=20: 20 rounds of each, beside 20 busy'
	@echo '                      processes'
	@echo '  make test-debug   - run the tests on a debug kernel: KASAN, lockdep, kmemleak,'
	@echo '                      fault injection, KUnit, ...; the first run builds that'
	@echo '                      kernel'
	@echo '  make model        - explore every interleaving of a line, and check that'
	@echo '                      mutants fail'
	@echo '  make kvm-selftest - run the selftest of the change to KVM in'
	@echo '                      tools/in-tree/patches, without and with it'
	@echo '  make mutants      - make single mistakes in the module; tests must find each'
	@echo '                      T="quota*": only these; DURATION=200: stop 200 s after'
	@echo '                      the build'
	@echo '  make check        - run format, lint and documentation checks; FLAVOUR=7.2:'
	@echo '                      lint the module for it; ARCH=arm64: lint the tools for it'
	@echo '  make htmldocs     - build the pages in Documentation/ as HTML'
	@echo '  make deb          - build the Debian packages doorbell-dkms, -tools and -dev'
	@echo '                      in out/'
	@echo '  make test-install - install them in a fresh Debian, where dkms builds the'
	@echo '                      module'
	@echo '  make check-kernels - print the kernels of Debian that build the module today,'
	@echo '                      and those that do not; it continues after an interruption'
	@echo '  make in-tree      - put the driver into a kernel tree, build that kernel and'
	@echo '                      check it as a reviewer would; T="checkpatch sparse": only'
	@echo '                      these checks'
	@echo '  make crate        - check that the client library could be published;'
	@echo '                      publishes nothing'
	@echo '  make series       - check the changes to the kernel in tools/in-tree/patches,'
	@echo '                      and write them to out/patches*, as series to send'
	@echo '  make release-check - run all that a release needs; continues after a failure'
	@echo '  make torture DURATION=60 - run random operations from many threads for 60'
	@echo '                      seconds'
	@echo '  make endurance RINGS=100000000 - run torture in rounds, reload the module'
	@echo '                      meanwhile, and check that no memory leaks; HOURS=2: for'
	@echo '                      two hours'
	@echo '  make fuzz DURATION=60 - fuzz the device for 60 seconds; FLAVOUR=debug: guided'
	@echo '                      by coverage'
	@echo '  make samples      - run the samples; each prints its result'
	@echo '  make bench        - measure assigning, masks, the bus, and small against large'
	@echo '                      contexts; ARGS="assign": only that'
	@echo '  make bench-instructions - count the instructions of each path, of doorbell and'
	@echo '                      of its twin in C; ARGS="--filter ring": only these paths'
	@echo '  make module M=DIR - build your module in DIR against doorbell;'
	@echo '                      samples/template is an example to copy'
	@echo '  make shell        - open a shell in the VM, with the module loaded and the'
	@echo '                      tools in PATH'
	@echo '  make lab          - set up the lab only'
	@echo '  make lab-status   - print the parts of the lab, its place and its size'
	@echo '  make lab-clean    - remove the lab'
	@echo
	@echo 'Natively: for the running kernel, or KDIR=/path/to/its/build/directory'
	@echo '  make              - build the module; with CONFIG_SAMPLE_DOORBELL=m also the'
	@echo '                      samples'
	@echo '  make modules_install - install the module (as root)'
	@echo '  make clippy       - lint the module'
	@echo '  make rustfmtcheck - check the format of the module; make rustfmt changes it'
	@echo '  make rust-analyzer - write rust-project.json for an editor'
	@echo '  make clean        - remove all built files'
	@echo '  make dist         - write the tarball of a release to out/, from the last'
	@echo '                      commit'
	@echo
	@echo 'FLAVOUR=rt, debug, cfi, kcsan or 7.2: use PREEMPT_RT, the debug kernel, one that'
	@echo 'checks indirect calls and the time with interrupts off, one that finds data'
	@echo 'races, or Linux 7.2. All targets of the lab accept it. KERNEL=in-tree, in-tree-y'
	@echo 'or in-tree-lto: use a kernel with the driver in its tree, as a module, built in,'
	@echo 'or with LTO. ARCH=arm64: build for arm64 and boot an emulated arm64 guest: lab,'
	@echo 'test, rtt, shell, ...; with FLAVOUR=16k: Debian'"'"'s arm64 kernel with pages of 16'
	@echo 'KB. ARGS="..." is passed to the command: make rtt ARGS="--json". Variables of'
	@echo 'the lab, such as DOORBELL_LAB and DOORBELL_KERNEL: see Documentation/lab.rst.'

rtt report:
	@$(LAB) $@ $(ARGS)

rtt-qemu:
	@$(LAB) rtt qemu $(ARGS)

msix:
	@$(LAB) run /doorbell/tools/lab/guest/with-kvm msix-vmm masks $(ARGS)

msix-vhost:
	@$(LAB) run /doorbell/tools/lab/guest/with-kvm msix-vmm vhost $(ARGS)

bench:
ifneq ($(strip $(ARGS)),)
	@$(LAB) bench $(ARGS)
else
	@$(LAB) run /doorbell/tools/lab/guest/with-kvm \
		sh -c 'doorbell bench assign && doorbell bench mask && doorbell bench bus && doorbell bench scale'
endif

bench-instructions:
	@$(LAB) $@ $(ARGS)

module:
	@$(LAB) module '$(M)' $(ARGS)

# T='mask* relay': only these tests.
test:
	@$(LAB) test $(foreach t,$(T),'$(t)') $(ARGS)

in-tree:
	@$(LAB) in-tree $(foreach t,$(T),'$(t)') $(ARGS)

# DURATION=200: no further one begins after that time, which starts after the build of the joined module.
mutants:
	@$(LAB) mutants $(if $(findstring command,$(origin DURATION)),--duration '$(DURATION)') $(foreach t,$(T),'$(t)') $(ARGS)

check htmldocs shell model deb test-install crate series kvm-selftest check-kernels:
	@$(LAB) $@ $(ARGS)

release-check:
	@tools/release/check $(ARGS)

dist:
	@tools/release/dist

samples:
	@$(LAB) run /doorbell/samples/run $(ARGS)

test-debug:
	@$(MAKE) --no-print-directory test FLAVOUR=debug

DURATION ?= 60
torture:
	@$(LAB) torture '$(DURATION)' $(ARGS)

RINGS ?= 100000000
endurance:
	@$(if $(HOURS),$(if $(findstring file,$(origin RINGS)),,echo 'HOURS and RINGS exclude each other: leave one of them out' >&2; exit 1;)) :
	@$(LAB) endurance '$(if $(HOURS),$(HOURS)h,$(RINGS))' $(ARGS)

fuzz:
	@$(LAB) fuzz '$(DURATION)' $(ARGS)

lab:
	@$(LAB) setup $(ARGS)

lab-status lab-clean:
	@$(LAB) $(@:lab-%=%) $(ARGS)

# Checks with messages that say what to do; Kbuild's do not.
have-kdir:
	@$(check-kdir) exists $(KDIR)

have-rust:
	@$(check-kdir) build $(KDIR) '$(RUSTC)' '$(BINDGEN)'

# root need not have the compilers in PATH.
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

.PHONY: default help rtt rtt-qemu msix msix-vhost report bench bench-instructions module samples test test-debug torture endurance fuzz model mutants in-tree check htmldocs deb test-install crate kvm-selftest series check-kernels dist release-check shell lab lab-status lab-clean \
	have-kdir have-rust have-module modules modules_install clippy rustfmt rustfmtcheck rust-analyzer clean
