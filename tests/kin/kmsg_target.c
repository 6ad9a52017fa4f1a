/* SPDX-License-Identifier: MIT */
/*
 * What must hold of the parser of the kernel's log whatever it is given; the
 * fuzzer's target, and kmsg.c's. It aborts where something does not.
 */
#define _GNU_SOURCE
#include "kmsg_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(cond) ((cond) ? (void)0 : broken(#cond, __LINE__))

static void broken(const char *what, int line)
{
	fprintf(stderr, "kmsg_target.c:%d: not so: %s\n", line, what);
	abort();
}

/* Up to a newline that no blank follows. */
static size_t record(const uint8_t *data, size_t size)
{
	size_t len = 0;

	while (len < size && len < KMSG_RECORD_MOST) {
		len++;
		if (data[len - 1] == '\n' && (len == size || data[len] != ' '))
			break;
	}
	return len;
}

void kmsg_all(const uint8_t *data, size_t size,
	      void (*told)(void *to, const struct kmsg_said *said), void *to)
{
	static const struct kmsg none;
	struct kmsg k = none;
	struct kmsg_said said;
	size_t at = 0, len;

	for (; (len = record(data + at, size - at)); at += len) {
		/* of its own size: what is read behind it is found */
		char *bytes = malloc(len);

		if (!bytes)
			return;
		memcpy(bytes, data + at, len);
		memset(&said, 0x5a, sizeof(said));
		if (kmsg_take(&k, bytes, len, &said))
			told(to, &said);
		free(bytes);
	}
	if (kmsg_over(&k, &said))
		told(to, &said);
	MUST(!kmsg_waits(&k) && !kmsg_over(&k, &said));
}

struct sum {
	uint64_t hash, n;
	const uint8_t *data;
	size_t size;
};

static void mix(struct sum *s, uint64_t n)
{
	s->hash = (s->hash ^ n) * 0x100000001b3u;
}

static void look(void *to, const struct kmsg_said *said)
{
	struct sum *s = to;
	size_t i, len = strnlen(said->dimm, KMSG_DIMM);

	MUST((unsigned int)said->kind < KMSG_KINDS);
	MUST(said->frame >= -1 && said->frame < 1ll << 52);
	MUST(said->pid >= 0);
	MUST(said->pid == 0 || said->kind == KMSG_KILLED);
	MUST(said->seq <= INT64_MAX && said->usec <= INT64_MAX / 1000);
	MUST(said->len > 0 && said->len <= KMSG_TEXT);
	MUST(len < KMSG_DIMM);
	for (i = 0; i < len; i++)
		MUST(said->dimm[i] >= ' ' && said->dimm[i] <= '~');
	MUST(!len || (said->dimm[0] != ' ' && said->dimm[len - 1] != ' '));
	/* nothing is made up: the first line's beginning is there */
	for (i = 0; i < said->len && said->text[i] != '\n'; i++)
		;
	MUST(memmem(s->data, s->size, said->text, i));
	mix(s, said->seq);
	mix(s, (uint64_t)said->kind);
	mix(s, (uint64_t)said->frame);
	mix(s, (uint64_t)said->pid);
	s->n++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum once = { 0, 0, data, size }, twice = once;

	kmsg_all(data, size, look, &once);
	kmsg_all(data, size, look, &twice);
	MUST(once.hash == twice.hash && once.n == twice.n);
	return 0;
}
