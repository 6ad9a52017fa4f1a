/* SPDX-License-Identifier: MIT */
/* Into the kernel by the end of a task's step, or an exception. */
#include "kernel.h"

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, io_map;
} __attribute__((packed));

_Static_assert(sizeof(struct tss) == TSS_SIZE, "the processor's");
_Static_assert(sizeof(struct frame) == 176, "as boot.S has it");

/* Of machine checks, and of exceptions that end everything. */
enum { IST_MC = 1, IST_END = 2 };
#define STACK	8192

struct gate {
	uint16_t low, selector;
	uint8_t ist, type;
	uint16_t middle;
	uint32_t high, reserved;
};

extern struct tss tss[BOARD_CPUS];
struct tss tss[BOARD_CPUS];
static uint8_t ist_stack[BOARD_CPUS][2][STACK] __attribute__((aligned(16)));
static struct gate idt[VECTORS];


static void gate_set(uint32_t vector, uint32_t ist)
{
	uint64_t at = (uint64_t)trap_table + vector * 16;

	idt[vector] = (struct gate){
		.low = (uint16_t)at,
		.selector = KERNEL_CODE,
		.ist = (uint8_t)ist,
		.type = 0x8e,
		.middle = (uint16_t)(at >> 16),
		.high = (uint32_t)(at >> 32),
	};
}

/* The same for all of them, and each writes it before it can trap. */
void trap_start(uint32_t cpu)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) at = { sizeof(idt) - 1, (uint64_t)idt };
	uint32_t i;

	for (i = 0; i < VECTORS; i++)
		gate_set(i, i == VECTOR_MC ? IST_MC : IST_END);
	gate_set(VECTOR_DONE, 0);
	tss[cpu].ist[IST_MC - 1] = (uint64_t)ist_stack[cpu][0] + STACK;
	tss[cpu].ist[IST_END - 1] = (uint64_t)ist_stack[cpu][1] + STACK;
	tss[cpu].io_map = sizeof(struct tss);
	__asm__ volatile("lidt %0" :: "m"(at));
}

void *trap_rsp0(uint32_t cpu)
{
	return (uint8_t *)&tss[cpu] + __builtin_offsetof(struct tss, rsp);
}

/* Have @f lead back into enter_user()'s caller. */
static void leave_task(struct cpu *c, struct frame *f)
{
	c->user = *f;
	c->left_by = f->vector;
	f->rip = (uint64_t)leave_user;
	f->cs = KERNEL_CODE;
	f->ss = KERNEL_DATA;
	f->rflags = 2;
	f->rsp = tss[c->index].rsp[0];
}

static void end(const struct frame *f)
{
	uint64_t address;

	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	say("exception ");
	say_number(f->vector);
	say(" error ");
	say_number(f->error);
	say(" cs ");
	say_number(f->cs);
	say(" cr2 ");
	say_number(address);
	say("\n");
	panic("an exception at", f->rip);
}

struct frame *trap_entry(struct frame *f)
{
	struct cpu *c = this_cpu();
	uint64_t stack;
	struct frame *to;

	if (f->vector == VECTOR_DONE && (f->cs & 3)) {
		leave_task(c, f);
		return f;
	}
	if (f->vector != VECTOR_MC)
		end(f);
	/* Left by the stack that was interrupted: the one of machine checks may be
	 * written over once MCG_STATUS is clear. */
	stack = f->cs & 3 ? tss[c->index].rsp[0] : f->rsp;
	to = (struct frame *)(stack & ~15ull) - 1;
	mce_serve(f);
	/* what was found while the kernel deals with the last one is no task's end */
	if ((f->cs & 3) && (c->lost || c->no_return))
		leave_task(c, f);
	*to = *f;
	return to;
}
