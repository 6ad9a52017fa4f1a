/* SPDX-License-Identifier: MIT */
/*
 * Real machine checks: the lab's guest asks for one on a serial line of its
 * own, and monitor.py has QEMU raise it. What the processor does is real, and
 * so is all that the kernel does; only the memory cell is a good one.
 *
 * The page is lost for good, even where poison could be undone before: from the
 * first of these on the kernel refuses that (hw_memory_failure). Programs that
 * use this come last in the lab's cases.
 */
#ifndef BEZOAR_LAB_MCE_H
#define BEZOAR_LAB_MCE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum lab_mce_kind {
	LAB_MCE_LOAD,		/* action required, a data load; broadcast */
	LAB_MCE_LOCAL,		/* the same, on one processor (LMCE) */
	LAB_MCE_FETCH,		/* action required, an instruction fetch */
	LAB_MCE_NO_RESTART,	/* a data load, RIPV clear */
	LAB_MCE_OPTIONAL,	/* action optional, found by a scrubber */
	LAB_MCE_DEFERRED,	/* UCNA: told when the banks are polled */
	LAB_MCE_CORRECTED,	/* nothing is lost; told when they are polled */
};

struct lab_mce {
	enum lab_mce_kind kind;
	unsigned int cpu;	/* the processor that meets it */
	uint64_t phys;		/* the physical address: lab_phys() */
	/*
	 * Where it must be then: its instruction pointer in [@low, @high), in
	 * user mode, or in the kernel if that is a kernel's address. A machine
	 * check that requires action panics the guest anywhere else. Both 0:
	 * anywhere, for the others only.
	 */
	uintptr_t low, high;
	/* If not both 0: what a copy reads at that moment, RSI, too. */
	uintptr_t from, to;
};

/*
 * Wait until the processor is there, and raise it. The processor takes it
 * before its next instruction. One at a time; a later one waits. Returns 0, or
 * -ENODEV: no such line here; -EAGAIN: the processor was never there; -EINVAL:
 * refused, and the reason is printed; -EIO: no answer.
 */
int lab_mce(const struct lab_mce *mce);

/* Skip the case if there is no such line. */
void lab_need_mce(void);

/* The physical address of @p, 0 if no page is there. */
uint64_t lab_phys(const void *p);

/*
 * Touch @at again and again until *@stop, at least once. Of the first, the last
 * value that was read. The range of each, for lab_mce, is all of it.
 */
unsigned char lab_load_loop(const unsigned char *at, const atomic_int *stop);
void lab_store_loop(unsigned char *at, const atomic_int *stop,
		    unsigned char value);
extern const char lab_load_loop_end[], lab_store_loop_end[];

/* The kernel's routine that copies from user memory on this processor. Fails
 * the case if it has none that is known. */
void lab_copy_range(uintptr_t *ret_low, uintptr_t *ret_high);

/* This thread runs on @cpu alone from here on. */
void lab_stay_on(unsigned int cpu);

#endif
