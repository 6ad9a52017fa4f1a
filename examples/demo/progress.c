/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "progress.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static char line[160];		/* the latest */
static uint64_t next_ns;	/* when to show one */

static int is_terminal(void)
{
	return isatty(STDERR_FILENO);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void progress(const char *format, ...)
{
	uint64_t now = now_ns();
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (now < next_ns)
		return;
	next_ns = now + (is_terminal() ? 100000000 : 1000000000);
	/* to the end of the line: what was longer before is cleared */
	fprintf(stderr, is_terminal() ? "\r%s\033[K" : "%s\n", line);
}

void progress_end(void)
{
	fprintf(stderr, is_terminal() ? "\r%s\033[K\n" : "%s\n", line);
}
