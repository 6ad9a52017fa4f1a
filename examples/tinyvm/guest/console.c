/* SPDX-License-Identifier: MIT */
/* What the kernel says, and how it ends if it must. */
#include "kernel.h"

void say(const char *text)
{
	while (*text)
		out8(PORT_CONSOLE, (uint8_t)*text++);
}

void say_number(uint64_t n)
{
	int shift = 60;

	say("0x");
	while (shift && !(n >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		out8(PORT_CONSOLE, (uint8_t)"0123456789abcdef"[n >> shift & 15]);
}

static void say_all(const char *kind, const char *what, uint64_t value)
{
	say(kind);
	say(what);
	say(": ");
	say_number(value);
	say("\n");
}

void panic(const char *why, uint64_t value)
{
	say_all("panic: ", why, value);
	out32(PORT_PANIC, 0);
	for (;;)
		__asm__ volatile("hlt");
}

void nonsense(const char *what, uint64_t value)
{
	struct board_count *c = counts();

	if (c->nonsense++)
		return;
	c->nonsense_value = value;
	say_all("nonsense: ", what, value);
}
