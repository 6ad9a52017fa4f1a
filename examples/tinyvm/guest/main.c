/* SPDX-License-Identifier: MIT */
/* The first C that a CPU runs. */
#include "kernel.h"

void kernel_main(uint32_t cpu);

/* What the compiler calls for structures. */
void *memcpy(void *to, const void *from, uint64_t n);
void *memset(void *to, int c, uint64_t n);

void *memcpy(void *to, const void *from, uint64_t n)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) :: "memory");
	return to;
}

void *memset(void *to, int c, uint64_t n)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
	return to;
}

void kernel_main(uint32_t cpu)
{
	static uint32_t started;

	trap_start(cpu);
	cpus[cpu].index = cpu;
	cpus[cpu].current = BOARD_TASKS;
	mce_start();
	if (cpu == 0) {
		frames_start();
		tasks_start();
		__atomic_store_n(&started, 1, __ATOMIC_RELEASE);
	}
	while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
	tasks_run();
}
