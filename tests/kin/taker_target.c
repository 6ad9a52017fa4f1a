/* SPDX-License-Identifier: MIT */
/*
 * What must hold of what bezoard takes, whatever the bytes: as a packet (judge.c), and
 * as a file that grows while it is read (files.c). The fuzzer's target, and
 * taker.c's. What comes behind them, batch and store, is here, and only counts.
 */
#include "taker_target.h"

#include <bezoar/bezoar.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "judge.h"
#include "read.h"

#define MUST(cond) ((cond) ? (void)0 : broken(#cond, __LINE__))
#define PID	77

size_t taker_items;

static struct item item;
static struct { uint64_t hash, skipped; } taken;
static struct store_file known;

static void broken(const char *what, int line)
{
	fprintf(stderr, "taker_target.c:%d: not so: %s\n", line, what);
	abort();
}

/* ------------------------------------------------- in the place of the store */

uint64_t clock_now(void)
{
	return 1;
}

void say(const char *fmt, ...)
{
	(void)fmt;
}

struct item *batch_room(struct batch *b)
{
	(void)b;
	return &item;
}

static void mix(uint64_t *hash, const void *bytes, size_t len)
{
	*hash = (*hash ^ bez_digest(bytes, len)) * 0x100000001b3u;
}

void batch_add(struct batch *b)
{
	(void)b;
	MUST(item.bytes >= BEZ_RECORD_LEAST && item.bytes <= BEZ_RECORD_MOST);
	MUST(item.origin == ORIGIN_FILE && item.client == CLIENT_NONE);
	MUST(item.kind == ITEM_RECORD || item.kind == ITEM_STRANGE);
	mix(&taken.hash, item.raw, item.bytes);
	taker_items++;
}

void batch_count(struct batch *b, enum count what, uint64_t n)
{
	(void)b;
	MUST(what == COUNT_SKIPPED || what == COUNT_TORN);
	if (what == COUNT_SKIPPED)
		taken.skipped += n;
}

int batch_put(struct batch *b)
{
	(void)b;
	return 0;
}

void store_file_at(struct store *s, struct store_file *file)
{
	(void)s;
	file->at = known.at;
	file->torn = known.torn;
}

enum store_answer store_file_note(struct store *s,
				  const struct store_file *file)
{
	(void)s;
	MUST(file->at >= known.at);
	known = *file;
	return STORE_OK;
}

/* ----------------------------------------------------------------- a packet */

static void packet(const uint8_t *bytes, size_t len, int cut)
{
	struct sender sender = { .pid = PID, .uid = 5, .own_of = PID };
	struct piece p = { .kind = PIECE_OTHER };
	enum count count = COUNTS;
	struct bez_record r;
	struct item got;
	uint64_t digest;

	if (!judge(bytes, len, cut, &sender, &got, &count)) {
		MUST(count == COUNT_LONG || count == COUNT_SHORT ||
		     count == COUNT_DAMAGED);
		/* nothing that is whole, and alone, is turned away */
		MUST(cut || !len || piece_first(bytes, len, 1, &p) != len ||
		     (p.kind != PIECE_RECORD && p.kind != PIECE_STRANGE));
		return;
	}
	MUST(!cut && got.bytes == len && len <= BEZ_RECORD_MOST);
	MUST(!memcmp(got.raw, bytes, len));
	MUST(got.pid == PID && got.uid == 5 && got.origin == ORIGIN_SOCKET);
	memcpy(&digest, bytes + len - 8, 8);
	MUST(digest == bez_digest(bytes, len - 8));
	if (got.kind == ITEM_STRANGE) {
		MUST(bytes[8] != BEZ_RECORD_VERSION || bytes[9] ||
		     len != sizeof(r));
		return;
	}
	MUST(len == sizeof(r));
	memcpy(&r, bytes, sizeof(r));
	MUST((got.kind == ITEM_RECORD) == (r.pid == PID));
}

/* The same as if its sender had made it right: magic, length, digest. */
static void mended(const uint8_t *data, size_t len)
{
	uint8_t bytes[BEZ_RECORD_MOST];
	uint64_t digest;

	if (len < BEZ_RECORD_LEAST || len > sizeof(bytes))
		return;
	memcpy(bytes, data, len);
	memcpy(bytes, BEZ_RECORD_MAGIC, 8);
	bytes[10] = (uint8_t)len;
	bytes[11] = (uint8_t)(len >> 8);
	digest = bez_digest(bytes, len - 8);
	memcpy(bytes + len - 8, &digest, 8);
	packet(bytes, len, 0);
	packet(bytes, len, 1);
	packet(bytes, len - 1, 0);
}

/* ------------------------------------------------------------------- a file */

static void turns(struct files *f, size_t size)
{
	static struct batch batch;
	size_t most = size + 8;

	do {
		files_turn(f, &batch);
		MUST(most--);
	} while (f->due_ns);
}

/* All pieces that can be told when there may be more behind them. */
static void file_of(const uint8_t *data, size_t size)
{
	static struct files f;
	char folder[] = "/dev/shm/bezoar-taker-XXXXXX";
	uint64_t hash = 0;
	size_t at = 0, len, items = 0, first = size ? data[0] % size : 0;
	struct piece p;
	int fd;

	while ((len = piece_first(data + at, size - at, 0, &p))) {
		if (p.kind == PIECE_RECORD || p.kind == PIECE_STRANGE) {
			mix(&hash, data + at, len);
			items++;
		}
		at += len;
	}
	taken.hash = taken.skipped = taker_items = 0;
	memset(&known, 0, sizeof(known));
	f.path = folder;
	MUST(mkdtemp(folder));
	f.folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MUST(f.folder >= 0);
	fd = openat(f.folder, "a", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
		    0600);
	MUST(fd >= 0);
	MUST(write(fd, data, first) == (ssize_t)first);
	turns(&f, size);
	MUST(write(fd, data + first, size - first) ==
	     (ssize_t)(size - first));
	turns(&f, size);
	/* and nothing is taken twice */
	turns(&f, size);
	close(fd);
	unlinkat(f.folder, "a", 0);
	close(f.folder);
	rmdir(folder);
	MUST(taken.hash == hash);
	MUST(taker_items == items);
	MUST(known.at <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* of its own size: what is read behind it is found */
	uint8_t *bytes = malloc(size ? size : 1);

	if (!bytes)
		return 0;
	memcpy(bytes, data, size);
	packet(bytes, size, 0);
	packet(bytes, size, 1);
	mended(bytes, size);
	file_of(bytes, size);
	free(bytes);
	return 0;
}
