/* SPDX-License-Identifier: MIT */
/*
 * What the monitor and the guest know of each other: ports, where things lie in the
 * first 2 MiB of guest memory, and the board, memory that both read and write. Each
 * field has one writer, who is named. None of it is ever lost.
 */
#ifndef TINYVM_BOARD_H
#define TINYVM_BOARD_H

#include <stdint.h>

/* Written to by the guest. The number of a frame is its address / 4096. */
enum board_port {
	PORT_CONSOLE = 0xe9,	/* 8 bits: a character */
	PORT_TOLD = 0x500,	/* + enum bez_vm_error, 32 bits: the frame that a bank
				 * has named */
	PORT_OUT = 0x510,	/* 32 bits: a frame that will never be used again */
	PORT_READY = 0x511,	/* this CPU takes machine checks */
	PORT_PANIC = 0x512	/* this CPU cannot go on, and has said why */
};

/* Selectors of the GDT, in the order of its entries. A TSS takes two of them. */
enum {
	KERNEL_CODE = 0x08,
	KERNEL_DATA = 0x10,
	USER_DATA = 0x1b,
	USER_CODE = 0x23,
	FIRST_TSS = 0x30
};

#define TSS_SIZE	104	/* without a map of ports */

/* The kernel's own memory; what comes behind it is for tasks. */
#define KERNEL_SPACE	(2u << 20)
#define KERNEL_BASE	0x100000u
#define GDT_AT		0x1000u
#define TABLES_AT	0x2000u	/* a page table of each level, from the top one on */

#define BOARD_CPUS	8
#define BOARD_RANGES	8
#define BOARD_FRAMES	65536
#define BOARD_TASKS	32	/* of a CPU; */
#define TASK_PAGES	16	/* all their pages are one page table */

#define IMAGE_MAGIC	0x6d7679746e696b62u

/* How the kernel's image begins. Addresses are physical and virtual at once. */
struct image {
	uint64_t magic;
	uint64_t entry;
	uint64_t text_end;	/* [KERNEL_BASE, text_end) is code and constants */
	uint64_t user;		/* [user, user_end) is the code of tasks */
	uint64_t user_end;
	uint64_t stacks;	/* [stacks, stacks_end) are their stacks */
	uint64_t stacks_end;
	uint64_t end;
	uint64_t board;
	uint64_t tss;		/* TSS_SIZE bytes for each of BOARD_CPUS */
};

/* By the guest, of one CPU. */
struct board_count {
	uint64_t machine_checks;
	uint64_t srar, srao;	/* signalled by a machine check */
	uint64_t broadcast;	/* another CPU's */
	uint64_t local;		/* LMCE: this CPU alone was told */
	uint64_t deferred;	/* found in a bank: of SRAO on AMD, of UCNA */
	uint64_t corrected;
	uint64_t dropped;	/* frames taken out of use */
	uint64_t again;		/* named, and out of use already */
	uint64_t repaired;	/* pages made anew from their seed */
	uint64_t killed;	/* tasks that lost a page, or their place (RIPV) */
	uint64_t restarted;	/* these, begun anew with other pages */
	uint64_t finished;	/* tasks that came to their end */
	uint64_t steps;		/* times that a task looked at all of its pages */
	uint64_t wrong_bytes;
	uint64_t nonsense;	/* what no machine would have said */
	uint64_t nonsense_value; /* of the first, said on the console */
};

struct board {
	/* by the monitor, before the guest runs */
	uint64_t seed;
	uint32_t cpus;
	uint32_t amd;		/* whose machine checks they are */
	uint32_t lmce;		/* use it, if there is */
	uint32_t ranges;
	struct {
		uint64_t frame, count;
	} range[BOARD_RANGES];
	/* by the monitor, at any time */
	uint32_t stop;
	/* by the guest: the frames that tasks use now, 0: none */
	uint32_t used[BOARD_CPUS][BOARD_TASKS * TASK_PAGES];
	struct board_count count[BOARD_CPUS];
};

#endif
