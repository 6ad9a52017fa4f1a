/* SPDX-License-Identifier: MIT */
/*
 * The guest's kernel. It has no interrupts but machine checks, and runs tasks one
 * after the other on each CPU. Tasks are code in ring 3 on pages of their own, which
 * the kernel itself never touches: what is lost there is met by tasks only.
 */
#ifndef TINYVM_KERNEL_H
#define TINYVM_KERNEL_H

#include <stdint.h>

#include "board.h"

#define PAGE	4096u
#define USER_STACK PAGE

/* What a trap leaves on the stack, see boot.S. */
struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* A task calls the kernel by an invalid opcode: a fault, which comes again should a
 * machine check have taken its place. (Of a trap nothing may be left then.) */
enum { VECTOR_DONE = 6, VECTOR_MC = 18, VECTORS = 32 };

struct task {
	uint64_t seed;
	uint32_t frame[TASK_PAGES];
	uint32_t rounds;	/* left; 0: there is none here now */
	uint32_t was_killed;
};

/* A queue of frame numbers. One CPU puts in and one takes out, or all hold a lock. */
struct queue {
	uint32_t at[256];
	volatile uint32_t head, tail;
};

struct cpu {
	uint32_t index;
	uint32_t current;	/* the number of the task in ring 3 */
	struct frame user;	/* where it was when it left */
	uint64_t left_by;	/* the vector */
	/* by the machine check handler, if it took the task off: */
	uint32_t lost;		/* its frame that is lost, or 0 */
	uint32_t no_return;	/* RIPV was clear */
	uint32_t serving;
	struct queue found;	/* by the handler: frames to take out later */
	struct queue inbox;	/* by other CPUs, under the lock of frames.c */
	struct task task[BOARD_TASKS];
	uint64_t generation;
};

/* Whose a frame is. */
enum frame_state { FRAME_FREE, FRAME_USED, FRAME_OUT, FRAME_NONE };
struct owner {
	uint8_t state, cpu, task, page;
};

extern struct board board;
extern struct cpu cpus[BOARD_CPUS];

/* boot.S */
void enter_user(const struct frame *from, void *rsp0);
extern const char leave_user[], trap_table[];
extern char user_stacks[];	/* USER_STACK bytes for each CPU */
/* user.c */
void user_fill(uint64_t at, uint64_t first, uint64_t pages, uint64_t seed);
void user_verify(uint64_t at, uint64_t first, uint64_t pages, uint64_t seed);

/* console.c */
void say(const char *text);
void say_number(uint64_t n);
void panic(const char *why, uint64_t value) __attribute__((noreturn));
/* Once said, it is only counted. */
void nonsense(const char *what, uint64_t value);

/* frames.c: which frames there are, who has them */
void frames_start(void);
/* 0: there is none any more */
uint32_t frame_take(uint32_t task, uint32_t page);
void frame_give(uint32_t frame);
/* Whose it is now; what is free is taken out of use at once. */
struct owner frame_find(uint32_t frame);
/* The owner has let go of it, for it is lost. */
void frame_out(uint32_t frame);
/* Is it one that tasks may have? Handler-safe: nothing is locked. */
int frame_known(uint32_t frame);
struct owner frame_owner(uint32_t frame);
/* Have @cpu take it out of use. */
void frame_send(uint32_t cpu, uint32_t frame);
uint32_t frame_received(void);

int queue_put(struct queue *q, uint32_t frame);
uint32_t queue_take(struct queue *q);

/* mce.c */
void mce_start(void);
void mce_serve(struct frame *f);
void mce_poll(void);

/* trap.c */
void trap_start(uint32_t cpu);
void *trap_rsp0(uint32_t cpu);
struct frame *trap_entry(struct frame *f);

/* tasks.c */
void tasks_start(void);
void tasks_run(void) __attribute__((noreturn));

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" :: "a"(value), "Nd"(port) : "memory");
}

static inline uint64_t msr_read(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void msr_write(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" :: "c"(msr), "a"((uint32_t)value),
			 "d"((uint32_t)(value >> 32)) : "memory");
}

/* By its task register, which is the one thing that no ring 3 code changes. */
static inline struct cpu *this_cpu(void)
{
	uint32_t selector;

	__asm__ volatile("str %0" : "=r"(selector));
	return &cpus[(selector - FIRST_TSS) / 16];
}

static inline struct board_count *counts(void)
{
	return &board.count[this_cpu()->index];
}

#endif
