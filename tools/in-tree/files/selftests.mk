# SPDX-License-Identifier: GPL-2.0-only
#
# make -C tools/testing/selftests TARGETS=doorbell builds the tests. The module doorbell must
# be loaded; those whose names begin with capi also load doorbell_test.

include progs.mk

TEST_GEN_PROGS := $(PROGS)

# The harness compares values of different signedness: 0 with an unsigned counter.
CFLAGS += -O2 -g -std=gnu11 -Wall -Wextra -Wno-sign-compare -pthread
CFLAGS += $(KHDR_INCLUDES) -I.. -I../../../lib/doorbell/c
LDFLAGS += -static

include ../lib.mk
