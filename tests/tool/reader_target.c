/* SPDX-License-Identifier: MIT */
/*
 * What must hold of the reader of records whatever it is given; the fuzzer's
 * target, and replay.c's. It aborts where something does not.
 */
#include <bezoar/bezoar.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "read.h"
#include "reader_target.h"

#define MUST(cond) ((cond) ? (void)0 : broken(#cond, __LINE__))

/* What was read, for the comparison with what is read otherwise. */
struct seen {
	uint64_t hash;
	size_t bytes, records;
	size_t other;		/* of a piece that is not over */
};

static void broken(const char *what, int line)
{
	fprintf(stderr, "reader_target.c:%d: not so: %s\n", line, what);
	abort();
}

static void mix(struct seen *s, uint64_t n)
{
	s->hash = (s->hash ^ n) * 0x100000001b3u;
}

static void plain(const char *name, size_t len)
{
	char text[ESCAPED(128)];
	size_t i;

	escape(text, name, len);
	MUST(strlen(text) < sizeof(text));
	for (i = 0; text[i]; i++)
		MUST(text[i] >= ' ' && text[i] <= '~');
	for (i = 0; text[i]; i++) {
		MUST(text[i] != '"');
		if (text[i] == '\\')
			i++;
	}
}

static void look(struct seen *s, const struct piece *p,
		 const unsigned char *bytes, size_t len)
{
	const struct bez_record *r = &p->record;

	if (p->kind == PIECE_OTHER) {
		s->other += len;	/* in parts, or at once */
		return;
	}
	mix(s, s->other);
	s->other = 0;
	mix(s, (uint64_t)p->kind);
	mix(s, len);
	switch (p->kind) {
	case PIECE_RECORD:
		MUST(len == sizeof(*r));
		MUST(!memcmp(bytes, r, len));
		MUST(!memcmp(r->magic, BEZ_RECORD_MAGIC, 8));
		MUST(r->digest == bez_digest(r, len - 8));
		s->records++;
		plain(r->name, sizeof(r->name));
		plain(r->comm, sizeof(r->comm));
		plain(r->cgroup, sizeof(r->cgroup));
		return;
	case PIECE_STRANGE:
		MUST(len >= BEZ_RECORD_LEAST && len <= BEZ_RECORD_MOST);
		return;
	case PIECE_DAMAGED:
	case PIECE_TORN:
		MUST(len <= BEZ_RECORD_MOST);
		MUST(!memcmp(bytes, BEZ_RECORD_MAGIC, len < 8 ? len : 8));
		return;
	default:
		MUST(!"a kind of piece");
	}
}

/* As it comes from a pipe, @step bytes at a time. */
static struct seen read_all(const unsigned char *bytes, size_t len, size_t step)
{
	struct seen s = { 14695981039346656037u, 0, 0, 0 };
	struct piece p;
	size_t there = 0, done;

	for (;;) {
		there = len - there < step ? len : there + step;
		while ((done = piece_first(bytes + s.bytes, there - s.bytes,
					   there == len, &p))) {
			MUST(done <= there - s.bytes);
			look(&s, &p, bytes + s.bytes, done);
			s.bytes += done;
		}
		if (there == len)
			break;
		MUST(there - s.bytes < PIECE_ENOUGH);
	}
	mix(&s, s.other);
	MUST(s.bytes == len);
	return s;
}

/* Records that are whole, wherever they lie: none may be missed, but those that
 * lie in another. */
static size_t whole(const unsigned char *bytes, size_t len)
{
	size_t i = 0, found = 0;

	while (i + BEZ_RECORD_BYTES <= len) {
		uint64_t digest;

		memcpy(&digest, bytes + i + BEZ_RECORD_BYTES - 8, 8);
		if (memcmp(bytes + i, BEZ_RECORD_MAGIC "\1\0\200\1", 12) ||
		    digest != bez_digest(bytes + i, BEZ_RECORD_BYTES - 8)) {
			i++;
			continue;
		}
		found++;
		i += BEZ_RECORD_BYTES;
	}
	return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* of its own size: what is read behind it is found */
	unsigned char *bytes = malloc(size ? size : 1);
	struct seen all, parts;

	if (!bytes)
		return 0;
	memcpy(bytes, data, size);
	all = read_all(bytes, size, size ? size : 1);
	parts = read_all(bytes, size, 1 + size % 97);
	MUST(all.hash == parts.hash);
	MUST(all.records == parts.records);
	parts = read_all(bytes, size, 1);
	MUST(all.hash == parts.hash);
	MUST(all.records <= whole(bytes, size));
	free(bytes);
	return 0;
}

size_t reader_records(const uint8_t *data, size_t size)
{
	return read_all(data, size, size ? size : 1).records;
}
